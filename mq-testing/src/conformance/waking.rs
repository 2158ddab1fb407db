//! Rule 5: each way in which a message becomes ready reaches a pool that has a permit for it, without other traffic.
//!
//! Every check waits with a permit and an empty inbox, lets one thing happen, and expects a wake and a grant.

use std::time::Duration;

use mq_core::backend::OperateRequest;
use mq_core::command::Settlement;
use mq_core::key::DedupPolicy;
use mq_core::message::{Due, NewMessage};
use mq_core::name::Label;

use super::worker::{
    BACKOFF, LEASE, delayed, fail, message, ordered, queue, retry, succeed, unique,
};
use super::{Setup, Subject, checks};

checks![
    a_fresh_message_wakes,
    a_restored_message_wakes,
    a_message_restored_from_a_crash_wakes,
    a_failed_message_wakes_after_its_back_off,
    a_message_retried_at_once_wakes,
    a_snoozed_message_wakes_when_its_time_has_come,
    an_interrupted_message_wakes,
    a_message_given_back_wakes,
    a_delayed_message_wakes_when_it_falls_due,
    each_of_many_due_times_wakes,
    a_scheduled_message_told_to_run_now_wakes,
    a_message_rescheduled_to_now_wakes,
    a_released_message_wakes,
    a_resumed_queue_wakes,
    a_freed_ordering_key_wakes,
    an_ordering_key_freed_by_a_dead_letter_wakes,
    an_ordering_key_freed_by_a_cancellation_wakes,
    a_freed_dedup_key_wakes,
    a_replacement_follows_its_superseded_original,
    a_lost_lease_wakes_after_the_back_off,
    a_replayed_message_wakes,
    a_message_moved_to_a_served_queue_wakes,
    a_staged_message_wakes,
    permits_added_wake,
    a_pool_attached_late_is_woken,
];

fn a_fresh_message_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    assert_eq!(store.granted(&mut worker), []);
    let id = store.enqueue(message("a"));
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_restored_message_wakes(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    store.settle_down();
    store.reopen();
    let mut worker = store.worker_with(1);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_message_restored_from_a_crash_wakes(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    store.settle_down();
    store.crash();
    let mut worker = store.worker_with(1);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_failed_message_wakes_after_its_back_off(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    store.settle(grant.token, fail());
    store.advance(BACKOFF - Duration::from_millis(1));
    assert_eq!(store.granted(&mut worker), [], "not before its time");
    store.advance(Duration::from_millis(1));
    let again = store.grant(&mut worker);
    assert_eq!(
        (again.token.id, again.token.delivery, again.attempt),
        (id, 2, 2)
    );
}

fn a_message_retried_at_once_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    let settlement = Settlement::Fail {
        failure: super::worker::failure(),
        retry: retry(5),
        retry_in: Some(Duration::ZERO),
    };
    store.settle(grant.token, settlement);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_snoozed_message_wakes_when_its_time_has_come(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    let delay = Duration::from_secs(7);
    store.settle(grant.token, Settlement::Snooze { delay });
    assert_eq!(store.granted(&mut worker), []);
    store.advance(delay);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn an_interrupted_message_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    store.settle(grant.token, Settlement::Interrupt);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_message_given_back_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    store.backend().give_back(vec![grant.token]);
    let again = store.grant(&mut worker);
    assert_eq!((again.token.id, again.attempt), (id, 1), "it costs nothing");
}

fn a_delayed_message_wakes_when_it_falls_due(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let id = store.enqueue(delayed("a", Duration::from_secs(5)));
    store.advance(Duration::from_millis(4999));
    assert_eq!(store.granted(&mut worker), []);
    store.advance(Duration::from_millis(1));
    assert_eq!(store.granted(&mut worker), [id]);
}

fn each_of_many_due_times_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(20);
    let seconds = [9, 2, 7, 4, 4, 1, 8];
    let mut ids = seconds.map(|due| (due, store.enqueue(delayed("a", Duration::from_secs(due)))));
    ids.sort_unstable();
    for now in 1..=9 {
        store.advance(Duration::from_secs(1));
        let due = ids.iter().filter(|(due, _)| *due == now);
        let due: Vec<_> = due.map(|(_, id)| *id).collect();
        assert_eq!(store.granted(&mut worker), due, "after {now} s");
    }
}

fn a_scheduled_message_told_to_run_now_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let id = store.enqueue(delayed("a", Duration::from_secs(3600)));
    assert_eq!(store.granted(&mut worker), []);
    store.operate(id, OperateRequest::RunNow);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_message_rescheduled_to_now_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let id = store.enqueue(delayed("a", Duration::from_secs(3600)));
    store.operate(
        id,
        OperateRequest::Reschedule(Due::After(Duration::from_secs(9))),
    );
    assert_eq!(store.granted(&mut worker), []);
    store.operate(id, OperateRequest::Reschedule(Due::Now));
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_released_message_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let id = store.enqueue(NewMessage {
        hold: Label::new("review").ok(),
        ..message("a")
    });
    assert_eq!(store.granted(&mut worker), []);
    store.operate(id, OperateRequest::Release);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_resumed_queue_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    store.pause(true);
    let id = store.enqueue(message("a"));
    assert_eq!(store.granted(&mut worker), []);
    store.pause(false);
    assert_eq!(store.granted(&mut worker), [id]);
}

/// Brings one message of a key to a worker, with another one behind it, and ends the first.
fn frees_a_key(subject: &dyn Subject, second: NewMessage, first: NewMessage, end: Settlement) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    store.enqueue(first);
    let grant = store.grant(&mut worker);
    let id = store.enqueue(second);
    assert_eq!(store.granted(&mut worker), [], "the key is not free");
    store.settle(grant.token, end);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_freed_ordering_key_wakes(subject: &dyn Subject) {
    frees_a_key(subject, ordered("2", "x"), ordered("1", "x"), succeed());
}

fn an_ordering_key_freed_by_a_dead_letter_wakes(subject: &dyn Subject) {
    let end = Settlement::DeadLetter {
        reason: mq_core::state::DeadReason::DeadLettered,
        failure: super::worker::failure(),
        note: None,
    };
    frees_a_key(subject, ordered("2", "x"), ordered("1", "x"), end);
}

fn an_ordering_key_freed_by_a_cancellation_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let first = store.enqueue(NewMessage {
        due: Due::After(Duration::from_secs(60)),
        ..ordered("1", "x")
    });
    let second = store.enqueue(ordered("2", "x"));
    assert_eq!(store.granted(&mut worker), [], "the head waits, so both do");
    store.operate(first, OperateRequest::Cancel);
    assert_eq!(store.granted(&mut worker), [second]);
}

fn a_freed_dedup_key_wakes(subject: &dyn Subject) {
    let once_more = |payload| unique(payload, "x", DedupPolicy::RunOnceMore);
    frees_a_key(subject, once_more("2"), once_more("1"), succeed());
}

fn a_replacement_follows_its_superseded_original(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let both = |payload| {
        let mut message = unique(payload, "x", DedupPolicy::Replace);
        message.envelope.ordering_key = Some(super::worker::key("o"));
        message
    };
    store.enqueue(both("old"));
    let grant = store.grant(&mut worker);
    let new = store.receipt(both("new")).accepted.id;
    assert_eq!(store.granted(&mut worker), [], "the old one still runs");
    store.settle(grant.token, fail());
    assert_eq!(store.granted(&mut worker), [new]);
}

fn a_lost_lease_wakes_after_the_back_off(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    assert_eq!(grant.token.id, id);
    store.advance(LEASE);
    let lost = store.deliveries(&mut worker);
    assert_eq!(lost.len(), 1, "the loss is reported: {lost:?}");
    store.advance(BACKOFF);
    let again = store.grant(&mut worker);
    assert_eq!(
        (again.token.id, again.attempt),
        (id, 2),
        "it cost a failure"
    );
}

fn a_replayed_message_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    let id = store.enqueue(NewMessage {
        failures_max: Some(1),
        ..message("a")
    });
    let grant = store.grant(&mut worker);
    store.settle(grant.token, fail());
    assert_eq!(store.granted(&mut worker), []);
    store.operate(id, OperateRequest::Replay { edit: None });
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_message_moved_to_a_served_queue_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.pause(true);
    let mut worker = store.worker_with(1);
    let id = store.enqueue(message("a"));
    assert_eq!(store.granted(&mut worker), []);
    store.operate(id, OperateRequest::MoveTo(queue("open")));
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_staged_message_wakes(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    let answer = store.try_settle(grant.token, succeed(), vec![message("b")]);
    let staged = answer.map(|receipt| receipt.staged).unwrap_or_default();
    let ids: Vec<_> = staged.iter().map(|accepted| accepted.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(store.granted(&mut worker), ids);
}

fn permits_added_wake(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker();
    let id = store.enqueue(message("a"));
    assert_eq!(store.granted(&mut worker), []);
    worker.add_permits(1);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_pool_attached_late_is_woken(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let ids = ["a", "b"].map(|payload| store.enqueue(message(payload)));
    store.settle_down();
    let mut worker = store.worker_with(5);
    assert_eq!(store.granted(&mut worker), ids);
}
