//! What users do to single messages.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{OperateError, OperateRequest};
use mq_core::command::{OperateRefused, Settlement};
use mq_core::id::{MessageId, Seq};
use mq_core::key::DedupPolicy;
use mq_core::message::{Due, NewMessage, Priority};
use mq_core::name::Label;
use mq_core::state::{DeadReason, State};

use super::worker::{BACKOFF, delayed, fail, failure, message, ordered, queue, succeed, unique};
use super::{Setup, Store, Subject, checks};

checks![
    a_held_message_waits_for_its_release,
    a_rescheduled_message_waits_for_its_new_time,
    a_new_priority_moves_a_message,
    a_moved_message_is_in_the_other_queue,
    a_replay_has_fresh_budgets_and_keeps_its_history,
    a_replay_can_change_the_payload,
    a_replay_goes_to_the_end_of_its_ordering_key,
    a_replay_whose_dedup_key_is_held_is_refused,
    a_purged_message_is_gone,
    a_message_not_started_in_time_expires,
    an_operation_on_the_wrong_state_says_so,
    an_operation_on_an_unknown_message_says_so,
];

fn a_held_message_waits_for_its_release(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let label = Label::new("review").expect("a valid label");
    store.operate(id, OperateRequest::Hold(label.clone()));
    assert_eq!(store.state(id), State::Held { label });
    let mut worker = store.worker_with(1);
    assert_eq!(store.granted(&mut worker), []);
    store.operate(id, OperateRequest::Release);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_rescheduled_message_waits_for_its_new_time(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let due = store.wall().after(Duration::from_secs(20));
    store.operate(id, OperateRequest::Reschedule(Due::At(due)));
    store.settle_down();
    assert_eq!(store.state(id), State::Scheduled { due });
    let mut worker = store.worker_with(1);
    store.advance(Duration::from_millis(19_999));
    assert_eq!(store.granted(&mut worker), []);
    store.advance(Duration::from_millis(1));
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_new_priority_moves_a_message(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let first = store.enqueue(message("a"));
    let second = store.enqueue(message("b"));
    let high = Priority::new(9).expect("a valid priority");
    store.operate(second, OperateRequest::SetPriority(high));
    assert_eq!(store.view(second).priority, high);
    let mut worker = store.worker_with(2);
    assert_eq!(store.granted(&mut worker), [second, first]);
}

fn a_moved_message_is_in_the_other_queue(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    store.operate(id, OperateRequest::MoveTo(queue("other")));
    assert_eq!(store.view(id).queue, queue("other"));
    let mut worker = store.worker_with(1);
    assert_eq!(store.grant(&mut worker).queue, queue("other"));
}

fn dead_letter(store: &dyn Store, message: NewMessage) -> MessageId {
    let id = store.enqueue(NewMessage {
        failures_max: Some(2),
        ..message
    });
    let mut worker = store.worker_with(2);
    for _ in 0..2 {
        let grant = store.grant(&mut worker);
        assert_eq!(grant.token.id, id);
        store.settle(grant.token, fail());
        store.advance(BACKOFF);
    }
    worker.detach();
    id
}

fn a_replay_has_fresh_budgets_and_keeps_its_history(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = dead_letter(&*store, message("a"));
    store.operate(id, OperateRequest::Replay { edit: None });
    store.settle_down();
    let view = store.view(id);
    assert_eq!(view.state, State::Ready);
    assert_eq!((view.tail.failures, view.tail.replays), (0, 1));
    assert_eq!(view.tail.history.len(), 2);
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    assert_eq!((grant.attempt, grant.token.delivery), (1, 3));
    store.settle(grant.token, fail());
    let due = store.wall().after(BACKOFF);
    assert_eq!(store.state(id), State::Scheduled { due });
}

fn a_replay_can_change_the_payload(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut sent = message("broken");
    sent.envelope.headers = vec![("tenant".to_owned(), "acme".to_owned())];
    let id = dead_letter(&*store, sent.clone());
    let edit = Some(Bytes::from_static(b"mended"));
    store.operate(id, OperateRequest::Replay { edit });
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    assert_eq!(grant.envelope.payload, "mended");
    assert_eq!(grant.envelope.headers, sent.envelope.headers);
    store.settle(grant.token, succeed());
}

fn a_replay_goes_to_the_end_of_its_ordering_key(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let dead = dead_letter(&*store, ordered("1", "x"));
    let other = store.enqueue(ordered("2", "x"));
    store.operate(dead, OperateRequest::Replay { edit: None });
    let mut worker = store.worker_with(2);
    let grant = store.grant(&mut worker);
    assert_eq!(grant.token.id, other);
    store.settle(grant.token, succeed());
    assert_eq!(store.granted(&mut worker), [dead]);
}

fn a_replay_whose_dedup_key_is_held_is_refused(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = dead_letter(&*store, unique("1", "x", DedupPolicy::Reject));
    let holder = store.enqueue(unique("2", "x", DedupPolicy::Reject));
    match store.try_operate(id, OperateRequest::Replay { edit: None }) {
        Err(OperateError::Refused(refused)) => {
            assert_eq!(refused, OperateRefused::KeyHeld { id, holder });
        }
        other => panic!("the key is held, but the answer was {other:?}"),
    }
}

fn a_purged_message_is_gone(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = dead_letter(&*store, message("a"));
    assert!(store.backend().stats().dead_bytes > 0);
    store.operate(id, OperateRequest::Purge);
    assert!(store.is_gone(id));
    assert_eq!(store.backend().stats().dead_bytes, 0);
}

fn a_message_not_started_in_time_expires(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let expires_in = Some(Duration::from_secs(10));
    let expiring = |payload| NewMessage {
        expires_in,
        ..message(payload)
    };
    let started = store.enqueue(expiring("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let waiting = store.enqueue(expiring("b"));
    store.advance(Duration::from_secs(10));
    store.settle_down();
    let reason = DeadReason::Expired;
    assert_eq!(store.state(waiting), State::Dead { reason });
    assert_eq!(store.state(started), State::Leased { token: grant.token });
}

fn assert_wrong_state(store: &dyn Store, id: MessageId, request: OperateRequest, word: &str) {
    match store.try_operate(id, request) {
        Err(OperateError::Refused(OperateRefused::WrongState { state, .. })) => {
            assert_eq!(state, word);
        }
        other => panic!("it is {word}, but the answer was {other:?}"),
    }
}

fn an_operation_on_the_wrong_state_says_so(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let ready = store.enqueue(message("a"));
    assert_wrong_state(&*store, ready, OperateRequest::Release, "ready");
    assert_wrong_state(
        &*store,
        ready,
        OperateRequest::Replay { edit: None },
        "ready",
    );
    assert_wrong_state(&*store, ready, OperateRequest::Purge, "ready");
    let scheduled = store.enqueue(delayed("b", Duration::from_secs(60)));
    assert_wrong_state(&*store, scheduled, OperateRequest::Purge, "scheduled");
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let label = Label::new("x").expect("a valid label");
    assert_wrong_state(&*store, ready, OperateRequest::Hold(label), "leased");
    let settlement = Settlement::DeadLetter {
        reason: DeadReason::Undecodable,
        failure: failure(),
        note: None,
    };
    store.settle(grant.token, settlement);
    assert_wrong_state(&*store, ready, OperateRequest::Cancel, "dead");
}

fn an_operation_on_an_unknown_message_says_so(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let later = Seq::new(id.seq().get() + 9).expect("a small number");
    let unknown = MessageId::new(id.unix_ms(), later, id.tag());
    match store.try_operate(unknown, OperateRequest::Cancel) {
        Err(OperateError::Refused(OperateRefused::NeverIssued { id })) => assert_eq!(id, unknown),
        other => panic!("it was never issued, but the answer was {other:?}"),
    }
    store.operate(id, OperateRequest::Cancel);
    match store.try_operate(id, OperateRequest::Cancel) {
        Err(OperateError::Refused(OperateRefused::NotKept { id: gone })) => assert_eq!(gone, id),
        other => panic!("it is gone, but the answer was {other:?}"),
    }
}
