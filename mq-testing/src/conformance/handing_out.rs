//! Rules 2 and 3: in order, to one holder at a time, never more than the permits.

use std::collections::BTreeSet;
use std::time::Duration;

use mq_core::backend::Delivery;
use mq_core::command::Selector;
use mq_core::id::MessageId;
use mq_core::message::{NewMessage, Priority};

use super::worker::{LEASE, Worker, kind, message, ordered, queue, succeed};
use super::{Setup, Subject, checks};

checks![
    nothing_is_handed_out_without_a_permit,
    every_permit_is_spent_on_at_most_one_grant,
    a_lane_is_handed_out_in_the_order_of_enqueue,
    the_more_urgent_of_two_goes_first,
    priority_overtakes_by_a_minute_for_each_step_and_no_more,
    a_pool_gets_only_what_its_selector_takes,
    a_pool_spends_its_permits_on_whatever_its_selectors_take,
    no_message_is_with_two_pools_at_a_time,
    withdrawn_permits_are_never_spent,
    a_pool_that_detaches_gives_back_what_it_did_not_take,
    a_detached_pool_gets_nothing_more,
    messages_of_an_ordering_key_run_one_after_the_other,
    an_ordering_key_blocks_no_other,
    a_paused_queue_hands_out_nothing,
    a_grant_says_what_the_producer_sent,
];

fn urgent(payload: &str, level: u8) -> NewMessage {
    NewMessage {
        priority: Priority::new(level).unwrap_or_default(),
        ..message(payload)
    }
}

fn nothing_is_handed_out_without_a_permit(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker();
    store.enqueue(message("a"));
    assert_eq!(store.granted(&mut worker), []);
}

fn every_permit_is_spent_on_at_most_one_grant(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(3);
    let ids: Vec<MessageId> = (0..5)
        .map(|n| store.enqueue(message(&n.to_string())))
        .collect();
    let grants = store.grants(&mut worker);
    assert_eq!(grants.len(), 3);
    for grant in grants {
        store.settle(grant.token, succeed());
    }
    assert_eq!(store.granted(&mut worker), [], "settling brings no permit");
    worker.add_permits(10);
    let rest: Vec<MessageId> = ids.into_iter().skip(3).collect();
    assert_eq!(store.granted(&mut worker), rest);
}

fn a_lane_is_handed_out_in_the_order_of_enqueue(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let ids: Vec<MessageId> = (0..100)
        .map(|n| store.enqueue(message(&n.to_string())))
        .collect();
    let mut worker = store.worker_with(100);
    assert_eq!(store.granted(&mut worker), ids);
}

fn the_more_urgent_of_two_goes_first(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let low = store.enqueue(urgent("low", 0));
    let high = store.enqueue(urgent("high", 9));
    let middle = store.enqueue(urgent("middle", 4));
    let mut worker = store.worker_with(3);
    assert_eq!(store.granted(&mut worker), [high, middle, low]);
}

fn priority_overtakes_by_a_minute_for_each_step_and_no_more(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let oldest = store.enqueue(urgent("oldest", 4));
    store.advance(Duration::from_secs(30));
    let old = store.enqueue(urgent("old", 4));
    store.advance(Duration::from_secs(45));
    let urgent = store.enqueue(urgent("urgent", 5));
    let mut worker = store.worker_with(3);
    assert_eq!(store.granted(&mut worker), [oldest, urgent, old]);
}

fn a_pool_gets_only_what_its_selector_takes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let other_queue = NewMessage {
        queue: queue("other"),
        ..message("a")
    };
    let other_kind = NewMessage {
        kind: kind("other"),
        ..message("b")
    };
    let both = NewMessage {
        queue: queue("other"),
        kind: kind("other"),
        ..message("c")
    };
    let ids = [other_queue, other_kind, both].map(|message| store.enqueue(message));
    let of_queue = Selector {
        queue: Some(queue("other")),
        kind: None,
    };
    let of_kind = Selector {
        queue: None,
        kind: Some(kind("other")),
    };
    let mut queue_worker = Worker::new(store.backend(), of_queue);
    queue_worker.add_permits(1);
    assert_eq!(store.granted(&mut queue_worker), ids[..1]);
    let mut kind_worker = Worker::new(store.backend(), of_kind);
    kind_worker.add_permits(5);
    assert_eq!(store.granted(&mut kind_worker), ids[1..]);
}

fn a_pool_spends_its_permits_on_whatever_its_selectors_take(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let of_kind = |name: &str| Selector {
        queue: None,
        kind: Some(kind(name)),
    };
    let mut worker = Worker::of(store.backend(), vec![of_kind("one"), of_kind("two")]);
    worker.add_permits(2);
    let kinds = ["two", "three", "one", "two"];
    let ids = kinds.map(|name| {
        let message = NewMessage {
            kind: kind(name),
            ..message(name)
        };
        store.enqueue(message)
    });
    assert_eq!(
        store.granted(&mut worker),
        [ids[0], ids[2]],
        "in order, and no more"
    );
    worker.add_permits(5);
    assert_eq!(store.granted(&mut worker), [ids[3]]);
}

fn no_message_is_with_two_pools_at_a_time(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut workers = [store.worker_with(30), store.worker_with(30)];
    for n in 0..50 {
        store.enqueue(message(&n.to_string()));
    }
    let mut seen = BTreeSet::new();
    for worker in &mut workers {
        for id in store.granted(worker) {
            assert!(seen.insert(id), "{id} was handed out twice");
        }
    }
    assert_eq!(seen.len(), 50);
}

fn withdrawn_permits_are_never_spent(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(5);
    let first = store.enqueue(message("a"));
    assert_eq!(store.granted(&mut worker), [first]);
    assert_eq!(worker.withdraw(3), 3);
    assert_eq!(worker.withdraw(3), 1, "one was left");
    assert_eq!(worker.withdraw(3), 0);
    store.enqueue(message("b"));
    assert_eq!(store.granted(&mut worker), []);
}

fn a_pool_that_detaches_gives_back_what_it_did_not_take(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let leaver = store.worker_with(2);
    let ids = [store.enqueue(message("a")), store.enqueue(message("b"))];
    store.settle_down();
    leaver.detach();
    let mut worker = store.worker_with(5);
    assert_eq!(store.granted(&mut worker), ids, "in their old order");
    assert_eq!(store.view(ids[0]).tail.failures, 0);
}

fn a_detached_pool_gets_nothing_more(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let worker = store.worker_with(2);
    let pool = worker.pool;
    worker.detach();
    let id = store.enqueue(message("a"));
    store.settle_down();
    let mut arrived: Vec<Delivery> = Vec::new();
    store.backend().take(pool, &mut arrived);
    assert!(arrived.is_empty(), "{arrived:?}");
    assert_eq!(store.state(id), mq_core::state::State::Ready);
}

fn messages_of_an_ordering_key_run_one_after_the_other(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let ids = ["1", "2", "3"].map(|payload| store.enqueue(ordered(payload, "customer")));
    let mut worker = store.worker_with(3);
    for id in ids {
        let grant = store.grant(&mut worker);
        assert_eq!(grant.token.id, id);
        store.settle(grant.token, succeed());
    }
}

fn an_ordering_key_blocks_no_other(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let first = store.enqueue(ordered("1", "a"));
    store.enqueue(ordered("2", "a"));
    let other = store.enqueue(ordered("3", "b"));
    let plain = store.enqueue(message("4"));
    let mut worker = store.worker_with(4);
    assert_eq!(store.granted(&mut worker), [first, other, plain]);
}

fn a_paused_queue_hands_out_nothing(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.pause(true);
    store.enqueue(message("a"));
    let elsewhere = store.enqueue(NewMessage {
        queue: queue("other"),
        ..message("b")
    });
    let mut worker = store.worker_with(5);
    assert_eq!(store.granted(&mut worker), [elsewhere]);
}

fn a_grant_says_what_the_producer_sent(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let sent = message("work");
    let id = store.enqueue(sent.clone());
    let enqueued = store.wall();
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    assert_eq!((grant.token.id, grant.token.delivery), (id, 1));
    assert_eq!((&grant.queue, &grant.kind), (&sent.queue, &sent.kind));
    assert_eq!(*grant.envelope, sent.envelope);
    assert_eq!((grant.attempt, grant.suspect), (1, false));
    assert_eq!((grant.enqueued, grant.due), (enqueued, enqueued));
    assert_eq!((grant.checkpoint, grant.last), (None, None));
    store.advance(LEASE / 2);
    assert_eq!(store.granted(&mut worker), []);
}
