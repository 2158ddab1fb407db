//! Names people choose: queues, kinds, hold labels, schedules. Checked once, at the edge.
//!
//! A name has 1 to 128 bytes of `A–Z a–z 0–9 . _ : / -`, so that it can stand in a path, a metric label and a terminal.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::NAME_SIZE_MAX;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters; give it 1 to 128.
    #[error(
        "a {what} must not be empty; use 1 to {NAME_SIZE_MAX} characters of A-Z a-z 0-9 . _ : / -"
    )]
    Empty {
        /// `queue`, `kind`, `label` or `schedule name`.
        what: &'static str,
    },
    /// It is longer than [`NAME_SIZE_MAX`] bytes.
    #[error("a {what} of {size} bytes is too long; the limit is {NAME_SIZE_MAX}")]
    TooLong {
        /// `queue`, `kind`, `label` or `schedule name`.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
    },
    /// It contains a character outside the allowed set.
    #[error(
        "a {what} must not contain {character:?} (at byte {at}); allowed are A-Z a-z 0-9 . _ : / -"
    )]
    Character {
        /// `queue`, `kind`, `label` or `schedule name`.
        what: &'static str,
        /// The first offender.
        character: char,
        /// Its byte offset.
        at: usize,
    },
}

impl NameError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "name"
    }
}

fn check(what: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > NAME_SIZE_MAX {
        return Err(NameError::TooLong {
            what,
            size: text.len(),
        });
    }
    let offender = text
        .char_indices()
        .find(|(_, c)| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | ':' | '/' | '-'));
    offender.map_or(Ok(()), |(at, character)| {
        Err(NameError::Character {
            what,
            character,
            at,
        })
    })
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and wraps a name.
            ///
            /// # Errors
            /// [`NameError`] if it is empty, too long or has a character outside the allowed set.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check($what, text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// Name of a queue: a line of messages that can be paused as one.
    QueueName, "queue"
}
name! {
    /// Kind of a message: which handler it is for. A stable string the author writes, not a type's name.
    KindName, "kind"
}
name! {
    /// Label of a hold: a status of the user's own, invisible to processing.
    Label, "label"
}
name! {
    /// Name of a schedule.
    ScheduleName, "schedule name"
}
