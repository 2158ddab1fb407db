//! What the simulation knows of one message, beside the oracle.

use bytes::Bytes;
use mq_core::id::MessageId;
use mq_core::key::DedupPolicy;

/// What must hold for a number that only grows: up to a kill, and up to a power cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    pub(super) written: u32,
    pub(super) synced: u32,
}

/// One message.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) id: Option<MessageId>,
    pub(super) dedup: Option<(u64, DedupPolicy)>,
    pub(super) ordered: bool,
    /// That it is there was answered, and is synced.
    pub(super) answered: bool,
    /// It can no more come back: its end was answered.
    pub(super) over: bool,
    /// Its end was submitted otherwise than by a replacement.
    pub(super) ending: bool,
    /// It is a dead letter, as far as was answered.
    pub(super) dead: bool,
    /// A user asked for it to be cancelled while it ran.
    pub(super) asked: bool,
    /// Attempts that were recorded.
    pub(super) attempt: Floor,
    /// The last hand-out that was seen since the last power cut.
    pub(super) delivery: u32,
    /// It was running when the process was killed: the next hand-out is a suspect's. Durable after the next opening.
    pub(super) expect_suspect: Option<bool>,
    /// Lives that ended while its solo run was handed out.
    pub(super) solo_crashes: u32,
    /// Lives in whose end it may have been handed out alone without being seen.
    pub(super) solo_maybe: u32,
    /// The checkpoint that was answered, and what it may be instead since.
    pub(super) checkpoints: Vec<Option<Bytes>>,
}

impl Default for Fact {
    fn default() -> Self {
        Self {
            id: None,
            dedup: None,
            ordered: false,
            answered: false,
            over: false,
            ending: false,
            dead: false,
            asked: false,
            attempt: Floor::default(),
            delivery: 0,
            expect_suspect: None,
            solo_crashes: 0,
            solo_maybe: 0,
            checkpoints: vec![None],
        }
    }
}

impl Fact {
    /// Fresh budgets: it is being replayed, or is to run again.
    pub(super) fn refresh(&mut self) {
        self.attempt = Floor::default();
        self.expect_suspect = None;
        self.solo_crashes = 0;
        self.solo_maybe = 0;
        self.checkpoints.push(None);
    }

    /// Everything written so far is synced.
    pub(super) const fn promote(&mut self) {
        self.answered |= self.id.is_some();
        self.attempt.synced = self.attempt.written;
    }

    /// The power went.
    pub(super) fn power_lost(&mut self) {
        self.attempt.written = self.attempt.synced;
        self.delivery = 0;
        self.id = self.id.filter(|_| self.answered);
        self.expect_suspect = self.expect_suspect.filter(|durable| *durable);
    }
}
