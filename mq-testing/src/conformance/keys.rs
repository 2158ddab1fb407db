//! Idempotency, dedup and ordering keys, as far as a caller can see them.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::time::Duration;

use mq_core::backend::{EnqueueError, OperateRequest};
use mq_core::command::{Enqueue, EnqueueRefused};
use mq_core::key::DedupPolicy;
use mq_core::limits::IDEMPOTENCY_WINDOW_DEFAULT;
use mq_core::message::NewMessage;
use mq_core::state::{DeadReason, State};

use super::worker::{Answer, fail, idempotent, ordered, queue, succeed, unique};
use super::{Setup, Store, Subject, checks};

checks![
    the_same_idempotency_key_answers_the_first_id,
    an_idempotency_key_answers_after_its_message_is_gone_until_its_window_ends,
    an_idempotency_key_with_other_bytes_is_refused,
    the_same_idempotency_key_twice_in_one_batch_is_one_message,
    an_idempotency_key_survives_a_reopening,
    keys_of_two_queues_are_two_keys,
    replace_takes_the_place_of_a_waiting_message,
    replace_supersedes_a_running_message,
    keep_answers_the_existing_message,
    reject_refuses_while_the_key_is_held_and_no_longer,
    discard_identical_looks_at_the_bytes,
    run_once_more_lets_one_wait_behind_the_running_one,
    a_follower_that_is_cancelled_gives_the_key_back_to_the_running_message,
    the_same_dedup_key_twice_in_one_batch_is_refused,
    a_dead_message_holds_no_dedup_key,
    a_dead_message_releases_its_ordering_key_unless_told_to_halt,
    a_message_in_back_off_blocks_its_ordering_key,
];

fn the_same_idempotency_key_answers_the_first_id(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(idempotent("a", "order-7"));
    let again = store.receipt(idempotent("a", "order-7")).accepted;
    assert_eq!((again.id, again.enqueue), (id, Enqueue::Existing));
    assert_eq!(store.backend().stats().live_messages, 1);
}

fn an_idempotency_key_answers_after_its_message_is_gone_until_its_window_ends(
    subject: &dyn Subject,
) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(idempotent("a", "order-7"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.settle(grant.token, succeed());
    store.advance(IDEMPOTENCY_WINDOW_DEFAULT - Duration::from_millis(1));
    let again = store.receipt(idempotent("a", "order-7")).accepted;
    assert_eq!((again.id, again.enqueue), (id, Enqueue::Existing));
    store.advance(Duration::from_millis(1));
    let new = store.enqueue(idempotent("a", "order-7"));
    assert_ne!(new, id);
}

fn assert_refused(store: &dyn Store, message: NewMessage, expected: &EnqueueRefused) {
    match store.try_enqueue(vec![message]) {
        Err(EnqueueError::Refused { refused, messages }) => {
            assert_eq!((&refused, messages.len()), (expected, 1));
        }
        other => panic!("{expected:?} was expected, not {other:?}"),
    }
}

fn an_idempotency_key_with_other_bytes_is_refused(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(idempotent("a", "order-7"));
    assert_refused(
        &*store,
        idempotent("b", "order-7"),
        &EnqueueRefused::KeyReused { id },
    );
}

fn the_same_idempotency_key_twice_in_one_batch_is_one_message(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let batch = vec![idempotent("a", "order-7"), idempotent("a", "order-7")];
    let receipts = store.try_enqueue(batch).expect("it is accepted");
    let accepted: Vec<_> = receipts.iter().map(|receipt| receipt.accepted).collect();
    let [first, second] = accepted.as_slice() else {
        panic!("a receipt for each message: {accepted:?}");
    };
    assert_eq!(
        (first.enqueue, second.enqueue),
        (Enqueue::New, Enqueue::Existing)
    );
    assert_eq!(first.id, second.id);
}

fn an_idempotency_key_survives_a_reopening(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(idempotent("a", "order-7"));
    store.settle_down();
    let endings: [fn(&mut dyn Store); 2] = [|store| store.crash(), |store| store.reopen()];
    for end in endings {
        end(&mut *store);
        let again = store.receipt(idempotent("a", "order-7")).accepted;
        assert_eq!((again.id, again.enqueue), (id, Enqueue::Existing));
    }
}

fn keys_of_two_queues_are_two_keys(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let elsewhere = |mut message: NewMessage| {
        message.queue = queue("other");
        message
    };
    store.enqueue(idempotent("a", "x"));
    store.enqueue(elsewhere(idempotent("b", "x")));
    store.enqueue(unique("a", "x", DedupPolicy::Reject));
    store.enqueue(elsewhere(unique("b", "x", DedupPolicy::Reject)));
    let first = store.enqueue(ordered("a", "x"));
    let second = store.enqueue(elsewhere(ordered("b", "x")));
    store.settle_down();
    assert_eq!(
        (store.state(first), store.state(second)),
        (State::Ready, State::Ready)
    );
}

fn replace_takes_the_place_of_a_waiting_message(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let old = store.enqueue(unique("old", "x", DedupPolicy::Replace));
    store.advance(Duration::from_secs(1));
    let behind = store.enqueue(super::worker::message("behind"));
    let new = store
        .receipt(unique("new", "x", DedupPolicy::Replace))
        .accepted;
    assert_eq!(new.enqueue, Enqueue::Replaced { old });
    assert!(store.is_gone(old));
    let mut worker = store.worker_with(2);
    assert_eq!(
        store.granted(&mut worker),
        [new.id, behind],
        "the old place in line"
    );
}

fn replace_supersedes_a_running_message(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let old = store.enqueue(unique("old", "x", DedupPolicy::Replace));
    let grant = store.grant(&mut worker);
    let new = store
        .receipt(unique("new", "x", DedupPolicy::Replace))
        .accepted
        .id;
    assert_eq!(store.state(old), State::Superseded { by: new });
    assert_eq!(
        store.granted(&mut worker),
        [new],
        "without an ordering key it need not wait"
    );
    assert_eq!(
        store.settle(grant.token, fail()).state,
        None,
        "the outcome is discarded"
    );
    assert!(store.is_gone(old));
}

fn keep_answers_the_existing_message(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(unique("a", "x", DedupPolicy::Keep));
    let again = store.receipt(unique("b", "x", DedupPolicy::Keep)).accepted;
    assert_eq!((again.id, again.enqueue), (id, Enqueue::Existing));
    let envelope = store.backend().envelope(id).answer().expect("an answer");
    let envelope = envelope.expect("it reads").expect("it is there");
    assert_eq!(envelope.payload, "a");
}

fn reject_refuses_while_the_key_is_held_and_no_longer(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(unique("a", "x", DedupPolicy::Reject));
    let held = EnqueueRefused::KeyHeld { id };
    assert_refused(&*store, unique("b", "x", DedupPolicy::Reject), &held);
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    assert_refused(&*store, unique("b", "x", DedupPolicy::Reject), &held);
    store.settle(grant.token, succeed());
    store.enqueue(unique("b", "x", DedupPolicy::Reject));
}

fn discard_identical_looks_at_the_bytes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let policy = DedupPolicy::DiscardIdentical;
    let id = store.enqueue(unique("a", "x", policy));
    let same = store.receipt(unique("a", "x", policy)).accepted;
    assert_eq!((same.id, same.enqueue), (id, Enqueue::Discarded));
    let other = store.receipt(unique("b", "x", policy)).accepted;
    assert_eq!(other.enqueue, Enqueue::Replaced { old: id });
}

fn run_once_more_lets_one_wait_behind_the_running_one(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let policy = DedupPolicy::RunOnceMore;
    let mut worker = store.worker_with(9);
    store.pause(true);
    let running = store.enqueue(unique("1", "x", policy));
    let waiting = store.receipt(unique("2", "x", policy)).accepted;
    assert_eq!((waiting.id, waiting.enqueue), (running, Enqueue::Existing));
    store.pause(false);
    let grant = store.grant(&mut worker);
    let more = store.enqueue(unique("3", "x", policy));
    store.settle_down();
    assert_eq!(store.state(more), State::Blocked { by: running });
    let again = store.receipt(unique("4", "x", policy)).accepted;
    assert_eq!((again.id, again.enqueue), (more, Enqueue::Existing));
    store.settle(grant.token, succeed());
    assert_eq!(store.granted(&mut worker), [more]);
}

fn a_follower_that_is_cancelled_gives_the_key_back_to_the_running_message(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(9);
    let running = store.enqueue(unique("1", "x", DedupPolicy::RunOnceMore));
    let grant = store.grant(&mut worker);
    let more = store.enqueue(unique("2", "x", DedupPolicy::RunOnceMore));
    store.operate(more, OperateRequest::Cancel);
    let again = store.receipt(unique("3", "x", DedupPolicy::Keep)).accepted;
    assert_eq!((again.id, again.enqueue), (running, Enqueue::Existing));
    store.settle(grant.token, succeed());
}

fn the_same_dedup_key_twice_in_one_batch_is_refused(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let batch = vec![
        super::worker::message("plain"),
        unique("1", "x", DedupPolicy::Keep),
        unique("2", "x", DedupPolicy::Keep),
    ];
    match store.try_enqueue(batch) {
        Err(EnqueueError::Refused { refused, .. }) => {
            let twice = EnqueueRefused::KeyTwiceInBatch {
                first: 1,
                second: 2,
            };
            assert_eq!(refused, twice);
        }
        other => panic!("the key stands twice, but the answer was {other:?}"),
    }
}

fn a_dead_message_holds_no_dedup_key(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let dead = store.enqueue(NewMessage {
        failures_max: Some(1),
        ..unique("1", "x", DedupPolicy::Reject)
    });
    let grant = store.grant(&mut worker);
    store.settle(grant.token, fail());
    let reason = DeadReason::BudgetSpent;
    assert_eq!(store.state(dead), State::Dead { reason });
    store.enqueue(unique("2", "x", DedupPolicy::Reject));
}

fn a_dead_message_releases_its_ordering_key_unless_told_to_halt(subject: &dyn Subject) {
    for halt_on_dead in [false, true] {
        let store = subject.open(&Setup::default());
        let mut worker = store.worker_with(2);
        store.enqueue(NewMessage {
            failures_max: Some(1),
            halt_on_dead,
            ..ordered("1", "x")
        });
        let second = store.enqueue(ordered("2", "x"));
        let grant = store.grant(&mut worker);
        store.settle(grant.token, fail());
        let expected: &[_] = if halt_on_dead { &[] } else { &[second] };
        assert_eq!(store.granted(&mut worker), expected);
    }
}

fn a_message_in_back_off_blocks_its_ordering_key(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(3);
    let first = store.enqueue(ordered("1", "x"));
    let second = store.enqueue(ordered("2", "x"));
    let grant = store.grant(&mut worker);
    store.settle(grant.token, fail());
    assert_eq!(store.granted(&mut worker), []);
    assert_eq!(store.state(second), State::Blocked { by: first });
    store.advance(super::worker::BACKOFF);
    let again = store.grant(&mut worker);
    assert_eq!(again.token.id, first);
    store.settle(again.token, succeed());
    assert_eq!(store.granted(&mut worker), [second]);
}
