//! Rule 4: outcome, staged messages and result are one change.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{SettleError, SettleRequest};
use mq_core::command::{EnqueueRefused, SettleRefused, Settlement};
use mq_core::key::DedupPolicy;
use mq_core::limits::{HEADERS_SIZE_MAX, RESULT_SIZE_MAX};
use mq_core::message::NewMessage;
use mq_core::state::{Completion, DeadReason, Outcome, State};

use super::worker::{Answer, BACKOFF, fail, failure, message, succeed, unique};
use super::{Setup, Subject, checks};

checks![
    success_without_retention_leaves_nothing,
    success_with_retention_keeps_state_and_result_until_it_is_over,
    a_failure_costs_an_attempt_and_says_why,
    a_spent_budget_makes_a_dead_letter,
    a_snooze_and_an_interruption_cost_nothing,
    a_dead_letter_by_choice_costs_no_failure,
    a_discarded_message_is_gone,
    staged_messages_are_committed_with_the_outcome,
    a_refused_staged_message_leaves_everything_as_it_was,
    an_invalid_staged_message_leaves_everything_as_it_was,
    staged_messages_of_a_stale_lease_are_not_committed,
    staged_messages_of_a_superseded_message_are_not_committed,
    a_result_over_the_limit_is_refused_and_the_lease_stays,
    each_settlement_of_a_batch_stands_for_itself,
    a_checkpoint_is_in_the_next_grant,
];

fn retained(payload: &str, for_seconds: u64) -> NewMessage {
    NewMessage {
        retain: Some(Duration::from_secs(for_seconds)),
        ..message(payload)
    }
}

fn success_without_retention_leaves_nothing(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    assert_eq!(store.settle(grant.token, succeed()).state, None);
    store.settle_down();
    assert!(store.is_gone(id));
    assert_eq!(store.backend().stats().live_messages, 0);
    let envelope = store.backend().envelope(id).answer().expect("an answer");
    assert_eq!(envelope.expect("it reads"), None);
}

fn success_with_retention_keeps_state_and_result_until_it_is_over(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(retained("a", 60));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let result = Some(Bytes::from_static(b"42"));
    let receipt = store.settle(
        grant.token,
        Settlement::Succeed {
            result: result.clone(),
        },
    );
    let completed = State::Completed {
        how: Completion::Succeeded,
    };
    assert_eq!(receipt.state.as_ref(), Some(&completed));
    store.advance(Duration::from_millis(59_999));
    let view = store.view(id);
    assert_eq!((view.state, view.tail.result), (completed, result));
    store.advance(Duration::from_millis(1));
    store.settle_down();
    assert!(store.is_gone(id), "its retention is over");
}

fn a_failure_costs_an_attempt_and_says_why(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let due = store.wall().after(BACKOFF);
    let receipt = store.settle(grant.token, fail());
    assert_eq!(receipt.state, Some(State::Scheduled { due }));
    let view = store.view(id);
    assert_eq!((view.tail.failures, view.deliveries), (1, 1));
    let attempt = view.tail.history.last().expect("it is remembered");
    assert_eq!((attempt.outcome, attempt.delivery), (Outcome::Failed, 1));
    assert_eq!(attempt.failure, Some(failure()));
}

fn a_spent_budget_makes_a_dead_letter(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(NewMessage {
        failures_max: Some(3),
        ..message("a")
    });
    let mut worker = store.worker_with(9);
    for attempt in 1..=3 {
        let grant = store.grant(&mut worker);
        assert_eq!(grant.attempt, attempt);
        store.settle(grant.token, fail());
        store.advance(BACKOFF);
    }
    let reason = DeadReason::BudgetSpent;
    assert_eq!(store.state(id), State::Dead { reason });
    assert_eq!(store.granted(&mut worker), []);
    assert_eq!(store.backend().stats().live_messages, 0);
}

fn a_snooze_and_an_interruption_cost_nothing(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(NewMessage {
        failures_max: Some(1),
        ..message("a")
    });
    let mut worker = store.worker_with(9);
    for _ in 0..3 {
        let delay = Duration::from_secs(1);
        let grant = store.grant(&mut worker);
        store.settle(grant.token, Settlement::Snooze { delay });
        store.advance(delay);
        let grant = store.grant(&mut worker);
        assert_eq!(grant.attempt, 1);
        store.settle(grant.token, Settlement::Interrupt);
    }
    let tail = store.view(id).tail;
    assert_eq!((tail.failures, tail.snoozes, tail.interruptions), (0, 3, 3));
    assert_eq!(tail.history.len(), 5, "the last five attempts are kept");
}

fn a_dead_letter_by_choice_costs_no_failure(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let reason = DeadReason::DeadLettered;
    let settlement = Settlement::DeadLetter {
        reason,
        failure: failure(),
        note: Some("ask the customer".to_owned()),
    };
    store.settle(grant.token, settlement);
    let view = store.view(id);
    assert_eq!(
        (view.state, view.tail.failures),
        (State::Dead { reason }, 0)
    );
    assert_eq!(view.tail.note.as_deref(), Some("ask the customer"));
}

fn a_discarded_message_is_gone(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let failure = Some(failure());
    assert_eq!(
        store
            .settle(grant.token, Settlement::Discard { failure })
            .state,
        None
    );
    assert!(store.is_gone(id));
}

fn staged_messages_are_committed_with_the_outcome(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let staged = vec![message("b"), message("c")];
    let receipt = store.try_settle(grant.token, fail(), staged);
    let receipt = receipt.expect("it is taken");
    store.settle_down();
    assert_eq!(receipt.staged.len(), 2);
    for accepted in receipt.staged {
        assert_eq!(store.state(accepted.id), State::Ready);
    }
    assert_eq!(store.view(id).tail.failures, 1);
}

fn a_refused_staged_message_leaves_everything_as_it_was(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    let holder = store.enqueue(unique("held", "key", DedupPolicy::Reject));
    let before = store.backend().stats().live_messages;
    let staged = vec![message("b"), unique("c", "key", DedupPolicy::Reject)];
    match store.try_settle(grant.token, succeed(), staged) {
        Err(SettleError::Refused(SettleRefused::Staged(refused))) => {
            assert_eq!(refused, EnqueueRefused::KeyHeld { id: holder });
        }
        other => panic!("the key is held, but the answer was {other:?}"),
    }
    assert_eq!(store.state(id), State::Leased { token: grant.token });
    assert_eq!(store.backend().stats().live_messages, before);
    store.settle(grant.token, succeed());
}

fn an_invalid_staged_message_leaves_everything_as_it_was(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let id = store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    let mut bad = message("bad");
    bad.envelope.headers = vec![("h".to_owned(), "x".repeat(HEADERS_SIZE_MAX))];
    match store.try_settle(grant.token, succeed(), vec![message("b"), bad]) {
        Err(SettleError::Invalid { index: 1, .. }) => {}
        other => panic!("staged message 1 is not valid, but the answer was {other:?}"),
    }
    assert_eq!(store.state(id), State::Leased { token: grant.token });
    store.settle(grant.token, succeed());
}

fn staged_messages_of_a_stale_lease_are_not_committed(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    store.settle(grant.token, succeed());
    let answer = store.try_settle(grant.token, succeed(), vec![message("b")]);
    answer.expect_err("the lease is over");
    store.settle_down();
    assert_eq!(store.backend().stats().live_messages, 0);
}

fn staged_messages_of_a_superseded_message_are_not_committed(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    let old = store.enqueue(unique("old", "key", DedupPolicy::Replace));
    let grant = store.grant(&mut worker);
    let new = store
        .receipt(unique("new", "key", DedupPolicy::Replace))
        .accepted
        .id;
    assert_eq!(store.state(old), State::Superseded { by: new });
    let receipt = store.try_settle(grant.token, succeed(), vec![message("b")]);
    let receipt = receipt.expect("the answer is taken and discarded");
    assert_eq!((receipt.state, receipt.staged.len()), (None, 0));
    store.settle_down();
    assert!(store.is_gone(old));
    assert_eq!(store.backend().stats().live_messages, 1, "the new one");
}

fn a_result_over_the_limit_is_refused_and_the_lease_stays(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(1);
    store.enqueue(retained("a", 60));
    let grant = store.grant(&mut worker);
    let size = RESULT_SIZE_MAX + 1;
    let result = Some(Bytes::from(vec![0; size]));
    match store.try_settle(grant.token, Settlement::Succeed { result }, Vec::new()) {
        Err(SettleError::Refused(SettleRefused::ResultTooLarge { size: given })) => {
            assert_eq!(given, size);
        }
        other => panic!("the result is too large, but the answer was {other:?}"),
    }
    store.settle(grant.token, succeed());
}

fn each_settlement_of_a_batch_stands_for_itself(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(3);
    for payload in ["a", "b", "c"] {
        store.enqueue(message(payload));
    }
    let grants = store.grants(&mut worker);
    let tokens: Vec<_> = grants.iter().map(|grant| grant.token).collect();
    store.settle(*tokens.get(1).expect("three grants"), succeed());
    let request = |token: &mq_core::id::LeaseToken| SettleRequest {
        token: *token,
        settlement: succeed(),
        staged: Vec::new(),
    };
    let batch = tokens.iter().map(request).collect();
    let answers = store.backend().settle(batch).answer().expect("an answer");
    let taken: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, false, true]);
}

fn a_checkpoint_is_in_the_next_grant(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut worker = store.worker_with(2);
    store.enqueue(message("a"));
    let grant = store.grant(&mut worker);
    let checkpoint = Bytes::from_static(b"row 17");
    let answer = store
        .backend()
        .save_checkpoint(grant.token, checkpoint.clone());
    answer.answer().expect("an answer").expect("it is saved");
    store.settle(grant.token, fail());
    store.advance(BACKOFF);
    let again = store.grant(&mut worker);
    assert_eq!(again.checkpoint, Some(checkpoint));
    let last = again.last.expect("the last attempt");
    assert_eq!(
        (last.outcome, last.failure),
        (Outcome::Failed, Some(failure()))
    );
}
