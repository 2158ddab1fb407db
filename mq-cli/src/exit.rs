//! What the program's exit codes mean, and the error that carries one.
//!
//! The table is a contract: scripts branch on it. Each error is given its code where it arises; `main` only prints.

use std::fmt;
use std::io;
use std::process::ExitCode;

use mq::control::{CallError, ClientError};
use mq_core::backend::{EnqueueError, Stopped};
use mq_core::pending::Abandoned;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Something failed; the message says what is true now.
    Failed = 1,
    /// The command line is wrong; nothing was done.
    Usage = 2,
    /// Another process owns the store; nothing was done.
    Owned = 3,
    /// The store is corrupt; nothing was changed.
    Corrupt = 4,
    /// The store or the message named is not there.
    NotFound = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Owned => 3,
            Exit::Corrupt => 4,
            Exit::NotFound => 5,
        })
    }
}

/// Why the program ends with another code than 0.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// What happened, what is true now, what to do.
    pub(crate) error: anyhow::Error,
}

/// What a verb returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with its exit code.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Failure {
        Failure {
            exit,
            error: error.into(),
        }
    }

    /// A mistake on the command line that only shows when its parts are seen together.
    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, anyhow::anyhow!("{message}\nSee mq --help."))
    }

    /// Whether the reader of the program's output went away, as in `mq messages ls | head`.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let error = self.error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        // The writer's own error, so that a broken pipe is still recognised below the encoder.
        Failure::new(Exit::Failed, io::Error::from(error))
    }
}

impl From<EnqueueError> for Failure {
    fn from(error: EnqueueError) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}

impl From<Stopped> for Failure {
    fn from(error: Stopped) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}

impl From<Abandoned> for Failure {
    fn from(error: Abandoned) -> Failure {
        Failure::new(Exit::Failed, error)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        let exit = match error.code.as_str() {
            "never_issued" | "not_kept" | "unknown_kind" | "unknown_schedule" | "unknown_job"
            | "no_handlers" => Exit::NotFound,
            "expression" | "zone" | "never" | "interval" | "filter" | "index" | "bad_value"
            | "option" => Exit::Usage,
            "unreadable" | "unsound" => Exit::Corrupt,
            "target_in_use" | "leftover" | "unsuitable" => Exit::Usage,
            _ => Exit::Failed,
        };
        Failure::new(exit, error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Refused(error) => error.into(),
            error => Failure::new(Exit::Failed, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_same_code_whoever_owns_the_store() {
        let refused = |code: &str| {
            let error: CallError =
                serde_json::from_value(serde_json::json!({"code": code, "message": "x"})).unwrap();
            (
                Failure::from(error.clone()).exit,
                Failure::from(ClientError::Refused(error)).exit,
            )
        };
        for (code, exit) in [
            ("never_issued", Exit::NotFound),
            ("not_kept", Exit::NotFound),
            ("unknown_schedule", Exit::NotFound),
            ("expression", Exit::Usage),
            ("unreadable", Exit::Corrupt),
            ("wrong_state", Exit::Failed),
        ] {
            assert_eq!(refused(code), (exit, exit));
        }
    }

    #[test]
    fn the_page_says_with_which_code_the_program_ends_for_which_word() {
        let page = include_str!("../../docs/cli.md").replace('\n', " ");
        let words = |number: u8| -> Vec<String> {
            let sentence = page.split(&format!("with {number} for ")).nth(1).unwrap();
            let sentence = sentence.split(';').next().unwrap();
            let words = sentence.split('`').skip(1).step_by(2);
            words.map(str::to_owned).collect()
        };
        for (exit, count) in [(Exit::NotFound, 6), (Exit::Usage, 10), (Exit::Corrupt, 2)] {
            let words = words(exit as u8);
            assert_eq!(words.len(), count, "{words:?}");
            for code in words {
                let error = serde_json::json!({"code": code, "message": "x"});
                let error: CallError = serde_json::from_value(error).unwrap();
                assert_eq!(Failure::from(error).exit, exit, "{code}");
            }
        }
    }

    #[test]
    fn a_broken_pipe_is_recognised_below_the_json_encoder() {
        struct Closed;
        impl io::Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let failure = Failure::from(serde_json::to_writer(Closed, "x").unwrap_err());
        assert!(failure.is_broken_pipe());
        assert!(!Failure::usage("x").is_broken_pipe());
    }
}
