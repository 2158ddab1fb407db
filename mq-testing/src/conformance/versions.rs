//! What becomes of one message again and again: previous versions, replacement of dead letters, processing again, being
//! set aside; and what a queue's operator sets for new messages.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{EnqueueError, Grant, OperateRequest, Previous, PreviousOf, WhenFull};
use mq_core::command::{Enqueue, EnqueueRefused, Settlement};
use mq_core::id::MessageId;
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::{Due, NewMessage};
use mq_core::name::Label;
use mq_core::queue::{FOREVER, QueueChange, QueueSettings};
use mq_core::state::{Completion, State};

use super::worker::{Answer, Worker, failure, message, ordered, queue, succeed, unique};
use super::{Setup, Store, Subject, checks};

checks![
    a_success_is_the_previous_version_until_the_next_one,
    what_fails_leaves_the_previous_version_alone,
    a_success_that_is_not_kept_ends_the_previous_version_too,
    discard_identical_compares_with_the_previous_version,
    discard_identical_lets_a_message_in_while_a_dead_letter_stands_between,
    upsert_takes_the_place_of_dead_letters,
    upsert_replaces_what_waits_like_replace,
    a_message_can_be_processed_again_with_fresh_budgets,
    what_is_staged_with_another_run_is_committed,
    a_message_that_is_set_aside_keeps_its_keys_and_waits_for_its_release,
    a_queue_can_hold_its_new_messages,
    a_queue_can_keep_its_completed_messages,
    a_result_that_is_waited_for_is_kept,
    a_queue_with_a_limit_refuses_producers_only,
    who_waits_for_a_queue_at_its_limit_is_let_in_or_refused_in_time_and_holds_up_no_other,
    a_batch_that_not_even_an_empty_queue_would_take_does_not_wait,
    settings_of_a_queue_survive,
];

const HOUR: Duration = Duration::from_secs(3600);

fn version(payload: &'static str, policy: DedupPolicy) -> NewMessage {
    NewMessage {
        retain: Some(FOREVER),
        ..unique(payload, "sku-1", policy)
    }
}

fn run(store: &dyn Store, worker: &mut Worker, settlement: Settlement) -> MessageId {
    worker.add_permits(1);
    let grant = store.grant(worker);
    store.settle(grant.token, settlement);
    store.settle_down();
    grant.token.id
}

fn with_result(result: &'static str) -> Settlement {
    Settlement::Succeed {
        result: Some(Bytes::from_static(result.as_bytes())),
    }
}

fn dead_letter() -> Settlement {
    Settlement::DeadLetter {
        reason: mq_core::state::DeadReason::DeadLettered,
        failure: failure(),
        note: None,
    }
}

fn ask(store: &dyn Store, of: PreviousOf) -> Option<Previous> {
    let answer = store.backend().previous(of).answer();
    answer.expect("the store answers").expect("it can be read")
}

fn previous(store: &dyn Store) -> Option<(MessageId, Bytes)> {
    let key = Key::new("sku-1").expect("a valid key");
    let found = ask(store, PreviousOf::Key(queue("q"), key))?;
    Some((found.id, found.envelope.payload.clone()))
}

fn set(store: &dyn Store, change: QueueChange) {
    let answer = store.backend().set_queue(queue("q"), change).answer();
    answer
        .expect("the store answers")
        .expect("the store serves");
}

fn label(text: &str) -> Label {
    Label::new(text).expect("a valid label")
}

fn a_success_is_the_previous_version_until_the_next_one(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let mut worker = store.worker();
    assert_eq!(previous(&*store), None);
    store.enqueue(version("one", DedupPolicy::Keep));
    let one = run(&*store, &mut worker, with_result("first"));
    let two = store.enqueue(version("two", DedupPolicy::Keep));
    let before = ask(&*store, PreviousOf::Message(two)).expect("the first is kept");
    assert_eq!(
        (before.id, &before.envelope.payload[..]),
        (one, &b"one"[..])
    );
    assert_eq!(before.result.as_deref(), Some(&b"first"[..]));
    store.crash();
    assert_eq!(previous(&*store), Some((one, Bytes::from_static(b"one"))));
    let mut worker = store.worker();
    run(&*store, &mut worker, succeed());
    assert!(store.is_gone(one), "there is one previous version");
    store.reopen();
    assert_eq!(previous(&*store), Some((two, Bytes::from_static(b"two"))));
    store.operate(two, OperateRequest::Purge);
    assert_eq!(previous(&*store), None);
}

fn what_fails_leaves_the_previous_version_alone(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker();
    store.enqueue(version("one", DedupPolicy::Keep));
    let one = run(&*store, &mut worker, succeed());
    let other_ends = [
        dead_letter(),
        Settlement::Discard { failure: None },
        Settlement::Cancel,
    ];
    for settlement in other_ends {
        store.enqueue(version("two", DedupPolicy::Keep));
        run(&*store, &mut worker, settlement);
        assert_eq!(previous(&*store).map(|(id, _)| id), Some(one));
    }
}

fn a_success_that_is_not_kept_ends_the_previous_version_too(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker();
    store.enqueue(version("one", DedupPolicy::Keep));
    run(&*store, &mut worker, succeed());
    store.enqueue(unique("two", "sku-1", DedupPolicy::Keep));
    run(&*store, &mut worker, succeed());
    assert_eq!(previous(&*store), None, "it would be an outdated one");
}

fn discard_identical_compares_with_the_previous_version(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let mut worker = store.worker();
    store.enqueue(version("one", DedupPolicy::DiscardIdentical));
    let one = run(&*store, &mut worker, succeed());
    store.crash();
    let same = store
        .receipt(version("one", DedupPolicy::DiscardIdentical))
        .accepted;
    assert_eq!((same.id, same.enqueue), (one, Enqueue::Discarded));
    let two = store.enqueue(version("two", DedupPolicy::DiscardIdentical));
    let back = store
        .receipt(version("one", DedupPolicy::DiscardIdentical))
        .accepted;
    assert_eq!(
        back.enqueue,
        Enqueue::Replaced { old: two },
        "what waits counts more than what was processed"
    );
}

fn discard_identical_lets_a_message_in_while_a_dead_letter_stands_between(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker();
    store.enqueue(version("one", DedupPolicy::DiscardIdentical));
    run(&*store, &mut worker, succeed());
    store.enqueue(version("two", DedupPolicy::DiscardIdentical));
    run(&*store, &mut worker, dead_letter());
    let back = store
        .receipt(version("one", DedupPolicy::DiscardIdentical))
        .accepted;
    assert_eq!(back.enqueue, Enqueue::New);
}

fn upsert_takes_the_place_of_dead_letters(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let mut worker = store.worker();
    let mut dead = Vec::new();
    for payload in ["one", "two"] {
        store.enqueue(version(payload, DedupPolicy::Keep));
        dead.push(run(&*store, &mut worker, dead_letter()));
    }
    let newest = dead.last().copied().expect("two are dead");
    store.crash();
    let new = store
        .receipt(version("three", DedupPolicy::Upsert))
        .accepted;
    assert_eq!(new.enqueue, Enqueue::Replaced { old: newest });
    assert!(dead.iter().all(|id| store.is_gone(*id)), "none is left");
    let note = store.view(new.id).tail.note.unwrap_or_default();
    assert!(
        note.contains(&newest.to_string()) && note.contains("no money"),
        "{note}"
    );
    store.reopen();
    assert!(store.view(new.id).tail.note.is_some());
    let mut worker = store.worker();
    assert_eq!(run(&*store, &mut worker, succeed()), new.id);
}

fn upsert_replaces_what_waits_like_replace(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let one = store.enqueue(version("one", DedupPolicy::Upsert));
    let grant = store.grant(&mut worker);
    let two = store.receipt(version("two", DedupPolicy::Upsert)).accepted;
    assert_eq!(two.enqueue, Enqueue::Replaced { old: one });
    assert_eq!(store.state(one), State::Superseded { by: two.id });
    store.settle(grant.token, succeed());
    let three = store
        .receipt(version("three", DedupPolicy::Upsert))
        .accepted;
    assert_eq!(three.enqueue, Enqueue::Replaced { old: two.id });
}

fn granted_again(store: &dyn Store, worker: &mut Worker, id: MessageId) -> Grant {
    worker.add_permits(1);
    let grant = store.grant(worker);
    assert_eq!(grant.token.id, id);
    grant
}

fn a_message_can_be_processed_again_with_fresh_budgets(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let mut worker = store.worker();
    let id = store.enqueue(ordered("a", "key"));
    let next = store.enqueue(ordered("b", "key"));
    run(&*store, &mut worker, super::worker::fail());
    store.advance(super::worker::BACKOFF);
    let grant = granted_again(&*store, &mut worker, id);
    let saved = store
        .backend()
        .save_checkpoint(grant.token, Bytes::from_static(b"5"));
    saved.answer().expect("an answer").expect("it is saved");
    assert_eq!(grant.attempt, 2);
    let due = store.wall().after(HOUR);
    let again = Settlement::Again { due: Due::At(due) };
    store.settle(grant.token, again);
    store.settle_down();
    store.crash();
    assert_eq!(store.state(id), State::Scheduled { due });
    let mut worker = store.worker();
    store.advance(HOUR);
    let grant = granted_again(&*store, &mut worker, id);
    assert_eq!((grant.attempt, grant.checkpoint), (1, None));
    store.settle(grant.token, succeed());
    worker.add_permits(1);
    assert_eq!(
        store.granted(&mut worker),
        [next],
        "its key was blocked so long"
    );
}

fn what_is_staged_with_another_run_is_committed(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    let again = Settlement::Again { due: Due::Now };
    let settled = store.try_settle(grant.token, again, vec![message("b")]);
    let settled = settled.expect("it is taken");
    let [staged] = settled.staged.as_slice() else {
        panic!("one was staged: {settled:?}")
    };
    worker.add_permits(2);
    let mut granted = store.granted(&mut worker);
    granted.sort_unstable();
    assert_eq!(granted, [id, staged.id]);
}

fn a_message_that_is_set_aside_keeps_its_keys_and_waits_for_its_release(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let mut worker = store.worker();
    let id = store.enqueue(version("a", DedupPolicy::Keep));
    let aside = Settlement::SetAside {
        label: label("review"),
        failure: failure(),
    };
    run(&*store, &mut worker, aside);
    store.crash();
    assert_eq!(
        store.state(id),
        State::Held {
            label: label("review")
        }
    );
    let again = store.receipt(version("b", DedupPolicy::Keep)).accepted;
    assert_eq!((again.id, again.enqueue), (id, Enqueue::Existing));
    let view = store.view(id);
    assert_eq!((view.tail.failures, view.tail.snoozes), (0, 1));
    store.operate(id, OperateRequest::Release);
    let mut worker = store.worker_with(1);
    assert_eq!(store.granted(&mut worker), [id]);
}

fn a_queue_can_hold_its_new_messages(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let before = store.enqueue(message("before"));
    set(&*store, QueueChange::HoldNew(Some(label("review"))));
    let held = store.enqueue(message("a"));
    assert_eq!(
        store.state(held),
        State::Held {
            label: label("review")
        }
    );
    let own = store.enqueue(NewMessage {
        hold: Some(label("own")),
        ..message("b")
    });
    assert_eq!(
        store.state(own),
        State::Held {
            label: label("own")
        }
    );
    let mut worker = store.worker_with(9);
    assert_eq!(store.granted(&mut worker), [before]);
    set(&*store, QueueChange::HoldNew(None));
    let after = store.enqueue(message("c"));
    assert_eq!(store.granted(&mut worker), [after]);
    assert_eq!(
        store.state(held),
        State::Held {
            label: label("review")
        }
    );
}

fn a_queue_can_keep_its_completed_messages(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker();
    set(&*store, QueueChange::RetainCompleted(Some(HOUR)));
    let kept = store.enqueue(message("a"));
    run(&*store, &mut worker, succeed());
    let how = Completion::Succeeded;
    assert_eq!(store.state(kept), State::Completed { how });
    let shorter = store.enqueue(NewMessage {
        retain: Some(Duration::from_secs(1)),
        ..message("b")
    });
    run(&*store, &mut worker, succeed());
    store.advance(Duration::from_secs(1));
    assert!(store.is_gone(shorter), "its own word counts");
    store.advance(HOUR);
    assert!(store.is_gone(kept));
    set(&*store, QueueChange::RetainCompleted(Some(FOREVER)));
    let kept = store.enqueue(message("c"));
    run(&*store, &mut worker, succeed());
    store.advance(Duration::from_secs(100 * 366 * 24 * 3600));
    assert_eq!(store.state(kept), State::Completed { how });
}

fn a_result_that_is_waited_for_is_kept(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker();
    let awaited = |payload| NewMessage {
        awaited: true,
        ..message(payload)
    };
    let how = Completion::Succeeded;
    set(
        &*store,
        QueueChange::RetainCompleted(Some(Duration::from_secs(1))),
    );
    let hour = store.enqueue(awaited("a"));
    run(&*store, &mut worker, succeed());
    store.advance(HOUR - Duration::from_secs(1));
    assert_eq!(store.state(hour), State::Completed { how });
    store.advance(Duration::from_secs(1));
    assert!(store.is_gone(hour));
    set(&*store, QueueChange::RetainCompleted(Some(2 * HOUR)));
    let longer = store.enqueue(awaited("b"));
    run(&*store, &mut worker, succeed());
    store.advance(HOUR);
    assert_eq!(store.state(longer), State::Completed { how });
}

fn a_queue_with_a_limit_refuses_producers_only(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    set(&*store, QueueChange::LimitMessages(Some(2)));
    store.enqueue(version("a", DedupPolicy::Replace));
    store.enqueue(message("b"));
    match store.try_enqueue(vec![message("c")]) {
        Err(EnqueueError::Refused {
            refused: EnqueueRefused::QueueFull {
                used: 2, limit: 2, ..
            },
            messages,
        }) => assert_eq!(messages.len(), 1, "the work comes back"),
        other => panic!("the queue is full, not {other:?}"),
    }
    store.receipt(version("instead of a", DedupPolicy::Replace));
    let elsewhere = NewMessage {
        queue: queue("other"),
        ..message("d")
    };
    store.enqueue(elsewhere);
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let staged = vec![message("e"), message("f")];
    let settled = store.try_settle(grant.token, succeed(), staged);
    assert_eq!(settled.expect("handlers cannot wait").staged.len(), 2);
    set(&*store, QueueChange::LimitMessages(None));
    store.enqueue(message("g"));
}

fn who_waits_for_a_queue_at_its_limit_is_let_in_or_refused_in_time_and_holds_up_no_other(
    subject: &dyn Subject,
) {
    let store = subject.open(&Setup::default());
    set(&*store, QueueChange::LimitMessages(Some(1)));
    store.enqueue(message("a"));
    let limit = Duration::from_secs(10);
    let wait = |text| {
        let batch = vec![message(text)];
        store.backend().enqueue(batch, WhenFull::Wait(limit))
    };
    let (second, third) = (wait("b"), wait("c"));
    let elsewhere = NewMessage {
        queue: queue("other"),
        ..message("d")
    };
    let other = store
        .backend()
        .enqueue(vec![elsewhere], WhenFull::Wait(limit));
    store.settle_down();
    assert!(other.is_done(), "it is for another queue");
    assert!(!second.is_done() && !third.is_done(), "the queue is full");
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.settle(grant.token, succeed());
    store.settle_down();
    assert!(!third.is_done(), "there was room for one");
    let receipts = second.answer().expect("an answer").expect("there is room");
    assert_eq!(receipts.len(), 1);
    store.advance(limit);
    store.settle_down();
    match third.answer().expect("an answer") {
        Err(EnqueueError::Refused {
            refused: EnqueueRefused::QueueFull { used: 1, .. },
            messages,
        }) => assert_eq!(messages.len(), 1, "the work comes back"),
        other => panic!("it waited too long, but the answer was {other:?}"),
    }
    let raised = wait("e");
    set(&*store, QueueChange::LimitMessages(Some(2)));
    store.settle_down();
    raised.answer().expect("an answer").expect("there is room");
}

fn a_batch_that_not_even_an_empty_queue_would_take_does_not_wait(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    set(&*store, QueueChange::LimitMessages(Some(1)));
    let batch = vec![message("a"), message("b")];
    let limit = WhenFull::Wait(Duration::from_secs(10));
    let refused = store.backend().enqueue(batch, limit);
    store.settle_down();
    match refused.answer().expect("it would hold up who fits") {
        Err(EnqueueError::Refused {
            refused: EnqueueRefused::QueueFull { limit: 1, .. },
            messages,
        }) => assert_eq!(messages.len(), 2, "the work comes back"),
        other => panic!("no queue has room for it, but the answer was {other:?}"),
    }
    store.enqueue(message("c"));
}

fn settings_of_a_queue_survive(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let changes = [
        QueueChange::Pause(true),
        QueueChange::HoldNew(Some(label("review"))),
        QueueChange::RetainCompleted(Some(FOREVER)),
        QueueChange::LimitMessages(Some(7)),
    ];
    for change in changes.clone() {
        set(&*store, change);
    }
    let wanted = changes
        .into_iter()
        .fold(QueueSettings::default(), QueueSettings::with);
    store.settle_down();
    store.crash();
    store.reopen();
    let settings = store.backend().queue_settings(queue("q")).answer();
    let settings = settings.expect("the store answers");
    assert_eq!(settings.expect("the store serves"), wanted);
    let unknown = store.backend().queue_settings(queue("unknown")).answer();
    let unknown = unknown.expect("the store answers");
    assert_eq!(unknown.expect("the store serves"), QueueSettings::default());
}
