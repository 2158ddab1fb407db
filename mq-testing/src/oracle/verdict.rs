//! The promises that were broken, with the messages they were broken for.

use std::fmt::{self, Debug};

/// How many offenders of a sort a printed verdict names.
const NAMED_MAX: usize = 8;

/// What the oracle found; every list empty is what a queue owes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a verdict that nobody reads acquits everyone"]
pub struct Verdict<Id> {
    /// Answered, never settled, and not there any more.
    pub lost: Vec<Id>,
    /// Seen, but never submitted, or refused.
    pub unexpected: Vec<Id>,
    /// Handed out with bytes that name no message.
    pub unknown_payloads: Vec<Vec<u8>>,
    /// Seen after a settlement that was answered.
    pub resurrected: Vec<Id>,
    /// Seen again in the life of the store in which their settlement was submitted.
    pub repeated: Vec<Id>,
    /// Seen with other bytes than were submitted.
    pub altered: Vec<Id>,
    /// Two live messages with one dedup key.
    pub rivals: Vec<(Id, Id)>,
    /// The second was handed out although the first, of the same ordering key, came before it and was not settled.
    pub out_of_order: Vec<(Id, Id)>,
    /// Messages of one batch, or staged in one settlement (of the message named first), of which only some are there, or which are there
    /// together with the message that staged them.
    pub split: Vec<(Option<Id>, Vec<Id>)>,
}

impl<Id> Verdict<Id> {
    pub(super) const fn clean() -> Self {
        Self {
            lost: Vec::new(),
            unexpected: Vec::new(),
            unknown_payloads: Vec::new(),
            resurrected: Vec::new(),
            repeated: Vec::new(),
            altered: Vec::new(),
            rivals: Vec::new(),
            out_of_order: Vec::new(),
            split: Vec::new(),
        }
    }

    /// Whether every promise was kept.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.unexpected.is_empty()
            && self.unknown_payloads.is_empty()
            && self.resurrected.is_empty()
            && self.repeated.is_empty()
            && self.altered.is_empty()
            && self.rivals.is_empty()
            && self.out_of_order.is_empty()
            && self.split.is_empty()
    }
}

impl<Id: Debug> Verdict<Id> {
    /// `Ok` when every promise was kept.
    ///
    /// # Errors
    /// What was broken, in words.
    pub fn into_result(self) -> Result<(), String> {
        if self.is_clean() {
            Ok(())
        } else {
            Err(self.to_string())
        }
    }
}

impl<Id: Debug> fmt::Display for Verdict<Id> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_clean() {
            return formatter.write_str("every promise was kept");
        }
        list(formatter, "lost", &self.lost)?;
        list(formatter, "unexpected", &self.unexpected)?;
        list(formatter, "unknown payloads", &self.unknown_payloads)?;
        list(formatter, "resurrected", &self.resurrected)?;
        list(formatter, "repeated", &self.repeated)?;
        list(formatter, "altered", &self.altered)?;
        list(formatter, "rivals", &self.rivals)?;
        list(formatter, "out of order", &self.out_of_order)?;
        list(formatter, "split", &self.split)
    }
}

fn list<T: Debug>(formatter: &mut fmt::Formatter<'_>, what: &str, offenders: &[T]) -> fmt::Result {
    if offenders.is_empty() {
        return Ok(());
    }
    write!(formatter, "{what} ({}):", offenders.len())?;
    for offender in offenders.iter().take(NAMED_MAX) {
        write!(formatter, " {offender:?}")?;
    }
    formatter.write_str(if offenders.len() > NAMED_MAX {
        " …; "
    } else {
        "; "
    })
}
