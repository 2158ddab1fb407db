//! Rule 1: an enqueue is all or none, and what was answered can be read back.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use mq_core::backend::EnqueueError;
use mq_core::command::EnqueueRefused;
use mq_core::id::{MessageId, Seq, StoreTag};
use mq_core::key::DedupPolicy;
use mq_core::limits::HEADERS_SIZE_MAX;
use mq_core::state::State;
use mq_core::view::{Filter, Lookup, StateKind};

use super::worker::{Answer, message, queue, unique};
use super::{Setup, Subject, checks};

checks![
    an_enqueued_message_can_be_read_back,
    a_batch_is_answered_in_order_with_ascending_ids,
    an_invalid_message_refuses_its_whole_batch,
    a_refused_message_refuses_its_whole_batch_and_all_come_back,
    an_empty_batch_is_answered_with_nothing,
    an_id_that_was_never_issued_is_told_from_one_that_was_settled,
    a_list_shows_each_message_once_in_order,
    counts_follow_every_enqueue,
];

fn an_enqueued_message_can_be_read_back(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut sent = message("hello");
    sent.envelope.headers = vec![("tenant".to_owned(), "acme".to_owned())];
    let id = store.enqueue(sent.clone());
    let view = store.view(id);
    assert_eq!(
        (view.id, view.state, view.deliveries),
        (id, State::Ready, 0)
    );
    assert_eq!((view.queue, view.kind), (sent.queue, sent.kind));
    let envelope = store.backend().envelope(id).answer();
    let envelope = envelope.expect("an answer").expect("it is readable");
    assert_eq!(envelope.as_deref(), Some(&sent.envelope));
}

fn a_batch_is_answered_in_order_with_ascending_ids(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let batch = vec![message("a"), message("b"), message("c")];
    let receipts = store.try_enqueue(batch).expect("it is accepted");
    let ids: Vec<MessageId> = receipts.iter().map(|receipt| receipt.accepted.id).collect();
    assert!(ids.is_sorted() && ids.len() == 3, "{ids:?}");
    for (id, payload) in ids.iter().zip(["a", "b", "c"]) {
        let envelope = store.backend().envelope(*id).answer();
        let envelope = envelope.expect("an answer").expect("it is readable");
        assert_eq!(envelope.expect("it is stored").payload, payload);
    }
}

fn an_invalid_message_refuses_its_whole_batch(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut bad = message("bad");
    bad.envelope.headers = vec![("h".to_owned(), "x".repeat(HEADERS_SIZE_MAX))];
    match store.try_enqueue(vec![message("good"), bad]) {
        Err(EnqueueError::Invalid { index: 1, .. }) => {}
        other => panic!("message 1 is not valid, but the answer was {other:?}"),
    }
    assert_eq!(store.backend().stats().live_messages, 0);
}

fn a_refused_message_refuses_its_whole_batch_and_all_come_back(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let holder = store.enqueue(unique("1", "key", DedupPolicy::Reject));
    let batch = vec![message("good"), unique("2", "key", DedupPolicy::Reject)];
    match store.try_enqueue(batch) {
        Err(EnqueueError::Refused { refused, messages }) => {
            assert_eq!(refused, EnqueueRefused::KeyHeld { id: holder });
            let payloads: Vec<_> = messages.iter().map(|m| &m.envelope.payload[..]).collect();
            assert_eq!(payloads, [b"good".as_slice(), b"2".as_slice()]);
        }
        other => panic!("the key is held, but the answer was {other:?}"),
    }
    assert_eq!(store.backend().stats().live_messages, 1);
}

fn an_empty_batch_is_answered_with_nothing(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let receipts = store.try_enqueue(Vec::new()).expect("it is accepted");
    assert!(receipts.is_empty());
}

fn an_id_that_was_never_issued_is_told_from_one_that_was_settled(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let later = Seq::new(id.seq().get() + 100).expect("a small number");
    let not_yet = MessageId::new(id.unix_ms(), later, id.tag());
    let other_tag = StoreTag::new(id.tag().get() ^ 1);
    let of_another_store = MessageId::new(id.unix_ms(), id.seq(), other_tag);
    assert_eq!(store.lookup(not_yet), Lookup::NeverIssued);
    assert_eq!(store.lookup(of_another_store), Lookup::NeverIssued);
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.settle(grant.token, super::worker::succeed());
    assert_eq!(store.lookup(id), Lookup::SettledNotKept);
}

fn a_list_shows_each_message_once_in_order(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut ids: Vec<MessageId> = (0..7)
        .map(|n| store.enqueue(message(&n.to_string())))
        .collect();
    let mut elsewhere = message("elsewhere");
    elsewhere.queue = queue("other");
    store.enqueue(elsewhere);
    let filter = Filter {
        queue: Some(queue("q")),
        state: Some(StateKind::Ready),
        ..Filter::default()
    };
    let mut after = Seq::NONE;
    for _ in 0..100 {
        let page = store.backend().list(filter.clone(), after, 3).answer();
        let page = page.expect("an answer").expect("the store serves");
        assert!(
            page.messages.len() <= 3,
            "a page is no longer than asked for"
        );
        for view in page.messages {
            assert_eq!(view.id, ids.remove(0), "in order, none twice");
        }
        let Some(next) = page.next else {
            assert!(ids.is_empty(), "the last page ends the list: {ids:?}");
            return;
        };
        after = next;
    }
    panic!("the list does not end");
}

fn counts_follow_every_enqueue(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let batch = vec![message("a"), message("b")];
    store.try_enqueue(batch).expect("it is accepted");
    store.settle_down();
    let stats = store.backend().stats();
    assert_eq!((stats.live_messages, stats.enqueued), (2, 2));
    let counts = stats.queues.iter().find(|(name, _)| *name == queue("q"));
    let (_, counts) = counts.expect("the queue is known");
    assert_eq!(counts.by_state.iter().sum::<u64>(), 2);
}
