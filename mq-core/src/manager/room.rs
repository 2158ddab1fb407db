//! Room: what counts against which budget.
//!
//! Invariant: these sums are those of the entries in the table and of the leases' reservations, kept up with each event.

use crate::command::EnqueueRefused;

use super::entry::{Entry, Tag};

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Room {
    /// Live messages.
    pub(super) messages: u64,
    /// Bytes of live messages.
    pub(super) bytes: u64,
    /// Messages that leases reserved room for.
    pub(super) reserved_messages: u64,
    /// Bytes that leases reserved room for.
    pub(super) reserved_bytes: u64,
    /// Bytes of dead letters with their tails.
    pub(super) dead_bytes: u64,
    /// Bytes of kept completed messages with their tails.
    pub(super) completed_bytes: u64,
}

/// What a command takes and gives back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Need {
    /// Messages it adds.
    pub(super) messages: u64,
    /// Bytes it adds.
    pub(super) bytes: u64,
    /// Messages it gives back, those reserved before included.
    pub(super) freed_messages: u64,
    /// Bytes it gives back, those reserved before included.
    pub(super) freed_bytes: u64,
}

impl Room {
    /// Counts an entry in.
    pub(super) fn add(&mut self, entry: &Entry) {
        if entry.tag.is_live() {
            self.messages += 1;
            self.bytes += u64::from(entry.size);
        } else if entry.tag == Tag::Dead {
            self.dead_bytes += entry.kept_size();
        } else if entry.tag == Tag::Completed {
            self.completed_bytes += entry.kept_size();
        }
    }

    /// Counts an entry out.
    pub(super) fn remove(&mut self, entry: &Entry) {
        if entry.tag.is_live() {
            self.messages = self.messages.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(u64::from(entry.size));
        } else if entry.tag == Tag::Dead {
            self.dead_bytes = self.dead_bytes.saturating_sub(entry.kept_size());
        } else if entry.tag == Tag::Completed {
            self.completed_bytes = self.completed_bytes.saturating_sub(entry.kept_size());
        }
    }

    /// Messages in use, with what is reserved.
    pub(super) const fn used_messages(&self) -> u64 {
        self.messages.saturating_add(self.reserved_messages)
    }

    /// Bytes in use, with what is reserved.
    pub(super) const fn used_bytes(&self) -> u64 {
        self.bytes.saturating_add(self.reserved_bytes)
    }

    /// Whether `need` fits. A need that adds nothing on balance always does.
    pub(super) fn check(
        &self,
        need: &Need,
        messages: u64,
        bytes: u64,
    ) -> Result<(), EnqueueRefused> {
        let fits = |used: u64, added: u64, freed: u64, limit: u64, unit: &'static str| {
            if added <= freed || used.saturating_add(added - freed) <= limit {
                Ok(())
            } else {
                Err(EnqueueRefused::Full { used, limit, unit })
            }
        };
        fits(
            self.used_messages(),
            need.messages,
            need.freed_messages,
            messages,
            "messages",
        )?;
        fits(
            self.used_bytes(),
            need.bytes,
            need.freed_bytes,
            bytes,
            "bytes",
        )
    }
}
