//! What is logged of each attempt: names, levels and fields in one place. Costs nothing while nobody listens.

use std::time::Duration;

use mq_core::backend::Grant;
use mq_core::command::Settlement;
use mq_core::state::{Failure, Outcome};
use mq_core::telemetry::{attempt, error_type};

use crate::attempt::Conclusion;
use crate::lease::Lease;
use crate::observer::Ended;
use crate::stats::Class;

/// A handler starts.
pub(crate) fn started(grant: &Grant, waited: Option<Duration>) {
    tracing::debug!(
        name: attempt::STARTED,
        target: attempt::TARGET,
        message_id = %grant.token.id,
        queue = %grant.queue,
        kind = %grant.kind,
        attempt = grant.attempt,
        wait_s = waited.map(|waited| waited.as_secs_f64()),
        "a handler starts"
    );
}

/// An attempt ended; answers that in a few words.
pub(crate) fn ended(lease: &Lease, conclusion: &Conclusion) -> Ended {
    let failure = failure_of(&conclusion.settlement);
    let ended = Ended {
        outcome: conclusion.outcome,
        error_type: error_type_of(conclusion.outcome, conclusion.class),
        ran: lease.started.elapsed(),
    };
    match ended.error_type {
        Some(error_type) => failed(lease, &ended, error_type, failure),
        None => completed(lease, &ended),
    }
    ended
}

/// The lease of an attempt was lost: what it answers is not taken.
pub(crate) fn lost(lease: &Lease) -> Ended {
    let ended = Ended {
        outcome: Outcome::LeaseExpired,
        error_type: Some(error_type::LEASE_LOST),
        ran: lease.started.elapsed(),
    };
    failed(lease, &ended, error_type::LEASE_LOST, None);
    ended
}

/// A handler asked for more time.
pub(crate) fn extended(grant: &Grant, duration: Duration) {
    tracing::debug!(
        name: attempt::LEASE_EXTENDED,
        target: attempt::TARGET,
        message_id = %grant.token.id,
        queue = %grant.queue,
        kind = %grant.kind,
        attempt = grant.attempt,
        duration_s = duration.as_secs_f64(),
        "a handler extends its lease"
    );
}

fn completed(lease: &Lease, ended: &Ended) {
    let grant = &lease.grant;
    tracing::info!(
        name: attempt::COMPLETED,
        target: attempt::TARGET,
        message_id = %grant.token.id,
        queue = %grant.queue,
        kind = %grant.kind,
        attempt = grant.attempt,
        outcome = ended.outcome.as_str(),
        duration_s = ended.ran.as_secs_f64(),
        "a handler completed"
    );
}

fn failed(lease: &Lease, ended: &Ended, error_type: &str, failure: Option<&Failure>) {
    let grant = &lease.grant;
    tracing::warn!(
        name: attempt::FAILED,
        target: attempt::TARGET,
        message_id = %grant.token.id,
        queue = %grant.queue,
        kind = %grant.kind,
        attempt = grant.attempt,
        outcome = ended.outcome.as_str(),
        error_type,
        error_class = failure.map(|failure| failure.error_type.as_str()),
        error = failure.map(|failure| failure.text.as_str()),
        duration_s = ended.ran.as_secs_f64(),
        "a handler failed"
    );
}

const fn failure_of(settlement: &Settlement) -> Option<&Failure> {
    match settlement {
        Settlement::Fail { failure, .. }
        | Settlement::SetAside { failure, .. }
        | Settlement::DeadLetter { failure, .. } => Some(failure),
        Settlement::Discard { failure } => failure.as_ref(),
        Settlement::Succeed { .. }
        | Settlement::Again { .. }
        | Settlement::Snooze { .. }
        | Settlement::Interrupt
        | Settlement::Cancel => None,
    }
}

/// What went wrong, in few words; `None` if nothing did.
const fn error_type_of(outcome: Outcome, class: Class) -> Option<&'static str> {
    match class {
        Class::Panicked => return Some(error_type::PANIC),
        Class::TimedOut => return Some(error_type::TIMEOUT),
        Class::Undecodable => return Some(error_type::DECODE),
        Class::Plain | Class::Newer => {}
    }
    match outcome {
        Outcome::Failed | Outcome::DeadLettered => Some(error_type::HANDLER),
        Outcome::LeaseExpired | Outcome::Crashed => Some(error_type::LEASE_LOST),
        Outcome::Succeeded
        | Outcome::Snoozed
        | Outcome::Interrupted
        | Outcome::Cancelled
        | Outcome::Discarded => None,
    }
}
