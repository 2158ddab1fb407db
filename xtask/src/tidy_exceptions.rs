//! What `cargo xtask tidy` excuses, each by name and with a reason.
//!
//! An entry that excuses nothing fails the check: the table can only shrink.

use std::fmt;

use crate::tidy::{Offence, Rule};

/// One excused offence: every offence of this rule, in this file, with this name.
#[derive(Debug)]
pub(crate) struct Exception {
    /// The rule that may be broken.
    pub(crate) rule: Rule,
    /// In which file.
    pub(crate) path: &'static str,
    /// By what: the name a complaint carries, such as a function or a word.
    pub(crate) name: &'static str,
    /// Why it may.
    pub(crate) reason: &'static str,
}

/// The table.
pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        rule: Rule::Unsafe,
        path: "mq-core/src/ring.rs",
        name: "unsafe",
        reason: "the lock-free ring hands out slots that only one side may touch at a time",
    },
    Exception {
        rule: Rule::Unsafe,
        path: "mq-core/src/ring/tests.rs",
        name: "unsafe",
        reason: "a stalled producer or consumer can only be staged through the ring's private, unsafe steps",
    },
    Exception {
        rule: Rule::Unsafe,
        path: "mq-persistence/src/storage/map.rs",
        name: "unsafe",
        reason: "mapping a sealed segment is unsafe by the system's contract",
    },
];

impl Exception {
    /// Whether this entry is about `offence`.
    pub(crate) fn names(&self, offence: &Offence) -> bool {
        self.rule == offence.rule && self.path == offence.path && self.name == offence.name
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Exception {
            rule,
            path,
            name,
            reason,
        } = self;
        write!(
            out,
            "{path}: the exception {rule:?} for {name} ({reason}) excuses nothing: delete it"
        )
    }
}
