//! Full means back-pressure: nothing is dropped, room comes back with every settlement, and a settlement always has room.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::time::Duration;

use mq_core::backend::{EnqueueError, OperateRequest, SettleError, WhenFull};
use mq_core::command::{EnqueueRefused, SettleRefused};
use mq_core::message::NewMessage;

use super::worker::{Answer, Worker, fail, message, queue, succeed};
use super::{Setup, Store, Subject, checks};

checks![
    a_full_store_refuses_and_gives_the_messages_back,
    a_batch_that_does_not_fit_is_refused_as_a_whole,
    an_enqueue_that_waits_is_accepted_when_room_is_freed,
    an_enqueue_that_waits_too_long_is_refused,
    a_full_store_can_be_worked_off,
    reserved_room_is_kept_for_its_lease,
    reserved_room_comes_back_with_the_lease,
    a_dead_letter_leaves_the_capacity,
    a_queue_that_filled_the_budget_of_dead_letters_takes_no_more_until_some_are_purged,
];

const SMALL: Setup = Setup {
    capacity_messages: 64,
    dead_bytes: 1 << 20,
};

fn filled(subject: &dyn Subject) -> Box<dyn Store> {
    let store = subject.open(&SMALL);
    let batch = (0..64).map(|n| message(&n.to_string())).collect();
    store.try_enqueue(batch).expect("they fit");
    store
}

fn assert_full(answer: Result<Vec<mq_core::backend::Receipt>, EnqueueError>, used: u64) {
    match answer {
        Err(EnqueueError::Refused { refused, messages }) => {
            let full = EnqueueRefused::Full {
                used,
                limit: 64,
                unit: "messages",
            };
            assert_eq!(refused, full);
            assert!(!messages.is_empty(), "the messages come back");
        }
        other => panic!("the store is full, but the answer was {other:?}"),
    }
}

fn a_full_store_refuses_and_gives_the_messages_back(subject: &dyn Subject) {
    let store = filled(subject);
    assert_full(store.try_enqueue(vec![message("one more")]), 64);
    assert_eq!(store.backend().stats().live_messages, 64);
}

fn a_batch_that_does_not_fit_is_refused_as_a_whole(subject: &dyn Subject) {
    let store = subject.open(&SMALL);
    let batch = (0..60).map(|n| message(&n.to_string())).collect();
    store.try_enqueue(batch).expect("they fit");
    let batch = (0..5).map(|n| message(&n.to_string())).collect();
    assert_full(store.try_enqueue(batch), 60);
    assert_eq!(store.backend().stats().live_messages, 60);
}

fn an_enqueue_that_waits_is_accepted_when_room_is_freed(subject: &dyn Subject) {
    let store = filled(subject);
    let limit = WhenFull::Wait(Duration::from_secs(10));
    let pending = store.backend().enqueue(vec![message("waits")], limit);
    store.settle_down();
    assert!(!pending.is_done(), "there is no room");
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.settle(grant.token, succeed());
    store.settle_down();
    let receipts = pending.answer().expect("an answer").expect("there is room");
    assert_eq!(receipts.len(), 1);
}

fn an_enqueue_that_waits_too_long_is_refused(subject: &dyn Subject) {
    let store = filled(subject);
    let limit = Duration::from_secs(10);
    let pending = store
        .backend()
        .enqueue(vec![message("waits")], WhenFull::Wait(limit));
    store.advance(limit - Duration::from_millis(1));
    store.settle_down();
    assert!(!pending.is_done(), "its time is not over");
    store.advance(Duration::from_millis(1));
    store.settle_down();
    assert_full(pending.answer().expect("an answer"), 64);
}

fn a_full_store_can_be_worked_off(subject: &dyn Subject) {
    let store = filled(subject);
    let mut worker = store.worker_with(64);
    let grants = store.grants(&mut worker);
    assert_eq!(grants.len(), 64);
    for (index, grant) in grants.iter().enumerate() {
        let settlement = if index % 2 == 0 { succeed() } else { fail() };
        store.settle(grant.token, settlement);
    }
    store.settle_down();
    assert_eq!(store.backend().stats().live_messages, 32);
}

fn reserved_room_is_kept_for_its_lease(subject: &dyn Subject) {
    let store = subject.open(&SMALL);
    let batch = (0..62).map(|n| message(&n.to_string())).collect();
    store.try_enqueue(batch).expect("they fit");
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let reserved = store.backend().reserve(grant.token, 2, 100).answer();
    reserved.expect("an answer").expect("there is room");
    assert_full(store.try_enqueue(vec![message("intruder")]), 64);
    let more = store.backend().reserve(grant.token, 1, 0).answer();
    match more.expect("an answer") {
        Err(SettleError::Refused(SettleRefused::Staged(EnqueueRefused::Full { .. }))) => {}
        other => panic!("there is no room left, but the answer was {other:?}"),
    }
    let staged = vec![message("x"), message("y")];
    let receipt = store.try_settle(grant.token, fail(), staged);
    assert_eq!(receipt.expect("its room was reserved").staged.len(), 2);
    store.settle_down();
    assert_eq!(store.backend().stats().live_messages, 64);
}

fn reserved_room_comes_back_with_the_lease(subject: &dyn Subject) {
    let store = subject.open(&SMALL);
    let batch = (0..62).map(|n| message(&n.to_string())).collect();
    store.try_enqueue(batch).expect("they fit");
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let reserved = store.backend().reserve(grant.token, 2, 100).answer();
    reserved.expect("an answer").expect("there is room");
    store.backend().give_back(vec![grant.token]);
    store.settle_down();
    let batch = vec![message("x"), message("y")];
    store.try_enqueue(batch).expect("the reservation is over");
}

fn a_dead_letter_leaves_the_capacity(subject: &dyn Subject) {
    let store = filled(subject);
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let settlement = mq_core::command::Settlement::DeadLetter {
        reason: mq_core::state::DeadReason::DeadLettered,
        failure: super::worker::failure(),
        note: None,
    };
    store.settle(grant.token, settlement);
    store.settle_down();
    assert!(store.backend().stats().dead_bytes > 0);
    let one: Vec<NewMessage> = vec![message("one more")];
    store.try_enqueue(one).expect("there is room for one");
}

fn a_queue_that_filled_the_budget_of_dead_letters_takes_no_more_until_some_are_purged(
    subject: &dyn Subject,
) {
    let store = subject.open(&SMALL);
    let mut worker = store.worker_with(2);
    let die = |worker: &mut Worker| {
        let dead = store.enqueue(NewMessage {
            failures_max: Some(1),
            ..message(&"x".repeat(600 << 10))
        });
        let grant = store.grant(worker);
        store.settle(grant.token, fail());
        store.settle_down();
        dead
    };
    let dead = [die(&mut worker), die(&mut worker)];
    match store.try_enqueue(vec![message("one more")]) {
        Err(EnqueueError::Refused { refused, messages }) => {
            let full = matches!(refused, EnqueueRefused::DeadLettersFull { .. });
            assert!(full && messages.len() == 1, "{refused:?}");
        }
        other => panic!("the budget is full, but the answer was {other:?}"),
    }
    store.enqueue(NewMessage {
        queue: queue("other"),
        ..message("elsewhere")
    });
    let [first, _] = dead;
    store.operate(first, OperateRequest::Purge);
    store.settle_down();
    store.enqueue(message("one more"));
}
