//! Cancelling: at once while a message waits, by asking while it runs.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::time::Duration;

use mq_core::backend::{Delivery, Grant, OperateRequest};
use mq_core::command::{Operated, Settlement};
use mq_core::id::MessageId;
use mq_core::message::NewMessage;
use mq_core::state::{Completion, State};

use super::worker::{LEASE, Worker, delayed, fail, message, succeed};
use super::{Setup, Store, Subject, checks};

checks![
    a_waiting_message_is_cancelled_at_once,
    a_cancelled_message_with_retention_is_kept,
    a_running_handler_is_asked_to_stop,
    a_handler_that_succeeds_all_the_same_has_succeeded,
    a_cancelled_message_never_comes_back,
];

fn a_waiting_message_is_cancelled_at_once(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let ready = store.enqueue(message("a"));
    let scheduled = store.enqueue(delayed("b", Duration::from_secs(60)));
    for id in [ready, scheduled] {
        let done = store.try_operate(id, OperateRequest::Cancel);
        assert_eq!(done.expect("it is allowed"), Operated::Done);
        assert!(store.is_gone(id));
    }
    let mut worker = store.worker_with(2);
    store.advance(Duration::from_secs(60));
    assert_eq!(store.granted(&mut worker), []);
}

fn a_cancelled_message_with_retention_is_kept(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(NewMessage {
        retain: Some(Duration::from_secs(60)),
        ..message("a")
    });
    store.operate(id, OperateRequest::Cancel);
    let how = Completion::Cancelled;
    assert_eq!(store.state(id), State::Completed { how });
}

/// A message that runs and whose handler was asked to stop.
fn asked(store: &dyn Store, worker: &mut Worker) -> (MessageId, Grant) {
    let id = store.enqueue(message("a"));
    let grant = store.grant(worker);
    let done = store.try_operate(id, OperateRequest::Cancel);
    assert_eq!(done.expect("it is allowed"), Operated::Requested);
    let deliveries = store.deliveries(worker);
    match deliveries.as_slice() {
        [Delivery::CancelRequested(token)] => assert_eq!(*token, grant.token),
        other => panic!("the request was expected, not {other:?}"),
    }
    (id, grant)
}

fn a_running_handler_is_asked_to_stop(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let (id, grant) = asked(&*store, &mut worker);
    assert_eq!(store.state(id), State::Leased { token: grant.token });
    assert_eq!(store.settle(grant.token, Settlement::Cancel).state, None);
    assert!(store.is_gone(id));
}

fn a_handler_that_succeeds_all_the_same_has_succeeded(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let (_, grant) = asked(&*store, &mut worker);
    let before = store.backend().stats().outcomes;
    store.settle(grant.token, succeed());
    let after = store.backend().stats().outcomes;
    let [succeeded, ..] = after;
    assert_eq!(succeeded, before.first().map_or(1, |count| count + 1));
}

fn a_cancelled_message_never_comes_back(subject: &dyn Subject) {
    let ends: [fn(&dyn Store, &Grant); 5] = [
        |store, grant| {
            store.settle(grant.token, fail());
        },
        |store, grant| {
            let delay = Duration::from_secs(1);
            store.settle(grant.token, Settlement::Snooze { delay });
        },
        |store, grant| {
            store.settle(grant.token, Settlement::Interrupt);
        },
        |store, grant| store.backend().give_back(vec![grant.token]),
        |store, _| store.advance(LEASE),
    ];
    for end in ends {
        let store = subject.open(&Setup::default());
        let mut worker = store.worker_with(5);
        let (id, grant) = asked(&*store, &mut worker);
        end(&*store, &grant);
        store.settle_down();
        assert!(store.is_gone(id), "{:?}", store.lookup(id));
    }
}
