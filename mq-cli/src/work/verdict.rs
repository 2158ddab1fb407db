//! What the end of a command means for its message: 0 is done, 75 later, 100 never, anything else a failed attempt.
//!
//! 75 is `EX_TEMPFAIL` of sysexits; 100 is what qmail's programs exit with for a permanent failure.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use mq_core::limits::ERROR_SIZE_MAX;

use crate::clock;

/// Exit code that asks to be called again later.
pub(crate) const EXIT_SNOOZE: i32 = 75;

/// Exit code that gives the message up.
pub(crate) const EXIT_DEAD_LETTER: i32 = 100;

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By itself, or killed by a signal from elsewhere.
    Exited(ExitStatus),
    /// As [`Ended::Exited`], with the end of what it said on standard error.
    ExitedSaying(ExitStatus, String),
    /// Killed when its time was up.
    TimedOut(Duration),
    /// Killed because the worker stops or lost its lease.
    Stopped,
    /// It could not be run at all.
    NotStarted(io::Error),
}

/// What becomes of the message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Ack,
    /// It comes back later, at no cost.
    Snooze,
    /// It is given up.
    DeadLetter(Reason),
    /// The attempt failed.
    Failed(Reason),
    /// The attempt was interrupted, at no cost.
    Interrupted,
}

/// Why an attempt did not succeed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Reason {
    /// `exit`, `signal`, `timeout` or `start`.
    pub(crate) class: &'static str,
    /// For people: what happened, and the end of what the command said about it.
    pub(crate) text: String,
}

impl Ended {
    /// Adds what the command said, if it said something.
    pub(crate) fn with_error_text(self, text: &str) -> Ended {
        match self {
            Ended::Exited(status) if !text.is_empty() => {
                Ended::ExitedSaying(status, text.to_owned())
            }
            ended @ (Ended::Exited(_)
            | Ended::ExitedSaying(..)
            | Ended::TimedOut(_)
            | Ended::Stopped
            | Ended::NotStarted(_)) => ended,
        }
    }

    /// What becomes of the message.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Ended::Exited(status) => judge(*status, ""),
            Ended::ExitedSaying(status, text) => judge(*status, text),
            Ended::TimedOut(limit) => {
                let limit = clock::duration(*limit);
                Verdict::Failed(Reason::new(
                    "timeout",
                    &format!("killed after {limit}, its time limit"),
                    "",
                ))
            }
            Ended::Stopped => Verdict::Interrupted,
            Ended::NotStarted(error) => Verdict::Failed(Reason::new(
                "start",
                "the command could not be run",
                &error.to_string(),
            )),
        }
    }
}

fn judge(status: ExitStatus, said: &str) -> Verdict {
    match (status.code(), status.signal()) {
        (Some(0), _) => Verdict::Ack,
        (Some(EXIT_SNOOZE), _) => Verdict::Snooze,
        (Some(EXIT_DEAD_LETTER), _) => Verdict::DeadLetter(Reason::new(
            "exit",
            &format!("exit code {EXIT_DEAD_LETTER}"),
            said,
        )),
        (Some(code), _) => Verdict::Failed(Reason::new("exit", &format!("exit code {code}"), said)),
        (None, Some(signal)) => Verdict::Failed(Reason::new(
            "signal",
            &format!("killed by signal {signal}"),
            said,
        )),
        (None, None) => Verdict::Failed(Reason::new("exit", &status.to_string(), said)),
    }
}

impl Reason {
    /// `happened`, and behind it as much of the end of `said` as an error text may hold.
    fn new(class: &'static str, happened: &str, said: &str) -> Reason {
        let room = ERROR_SIZE_MAX.saturating_sub(happened.len() + 2);
        let mut from = said.len().saturating_sub(room);
        while !said.is_char_boundary(from) {
            from += 1;
        }
        let text = match said.get(from..).filter(|said| !said.is_empty()) {
            Some(said) => format!("{happened}: {said}"),
            None => happened.to_owned(),
        };
        Reason { class, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(raw: i32, said: &str) -> Verdict {
        Ended::Exited(ExitStatus::from_raw(raw))
            .with_error_text(said)
            .verdict()
    }

    fn reason(class: &'static str, text: &str) -> Reason {
        Reason {
            class,
            text: text.to_owned(),
        }
    }

    #[test]
    fn exit_codes_decide() {
        assert_eq!(exited(0, "warning"), Verdict::Ack);
        assert_eq!(exited(75 << 8, "busy"), Verdict::Snooze);
        assert_eq!(
            exited(100 << 8, "gone"),
            Verdict::DeadLetter(reason("exit", "exit code 100: gone"))
        );
        assert_eq!(
            exited(3 << 8, ""),
            Verdict::Failed(reason("exit", "exit code 3"))
        );
        assert_eq!(
            exited(9, "x"),
            Verdict::Failed(reason("signal", "killed by signal 9: x"))
        );
    }

    #[test]
    fn a_stop_costs_nothing_and_a_timeout_is_a_failure() {
        assert_eq!(Ended::Stopped.verdict(), Verdict::Interrupted);
        let timed_out = Ended::TimedOut(Duration::from_secs(30)).verdict();
        assert_eq!(
            timed_out,
            Verdict::Failed(reason("timeout", "killed after 30s, its time limit"))
        );
    }

    #[test]
    fn the_error_text_keeps_its_end_and_its_limit() {
        let said = format!("{}the end", "é".repeat(ERROR_SIZE_MAX));
        let Verdict::Failed(reason) = exited(1 << 8, &said) else {
            panic!("exit code 1 is a failure");
        };
        assert!(reason.text.len() <= ERROR_SIZE_MAX && reason.text.len() > ERROR_SIZE_MAX - 4);
        assert!(reason.text.starts_with("exit code 1: é") && reason.text.ends_with("the end"));
    }
}
