//! Recovery: from what a disk holds to the state it stands for, or to a precise refusal.
//!
//! In order: the segments are listed and their headers checked (`files`); the chain of segments that make up the journal is followed
//! back from the last one that was used (`chain`); its frames are replayed from the snapshot on (`replay`); where they end, it is
//! decided whether that is the end of the journal or damage (`end`).
//!
//! Invariants:
//! 1. Nothing is written. What goes on after the end is written by the log, into a new segment, as one frame.
//! 2. Frames that may never have been synced are not believed where they lie: they are handed back as copies for that frame.
//! 3. Of what was synced, everything is replayed or the answer is an error that names file and offset. Only frames that no later one
//!    calls synced can be taken for a torn tail.
//! 4. It can be interrupted anywhere and run again, any number of times, with the same result.
//!
//! What it does not do: create a store, take the lock, choose the snapshot, write.
//!
//! Source for 2: Rebello et al., "Can applications recover from fsync failures?", USENIX ATC 2020; for 3: Alagappan et al.,
//! "Protocol-aware recovery for consensus-based storage", FAST 2018, and the sync offsets in Pebble's log.

mod chain;
mod end;
mod files;
mod replay;

use std::sync::Arc;

use mq_core::event::Event;
use mq_core::image::ImageRecord;
use mq_core::time::{StoreTime, Timestamp};

use crate::frame::Frame;
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::open::OpenError;
use crate::pins::{SegmentFile, Segments};
use crate::places::Places;
use crate::record::Previous;
use crate::snapshot::{DamagedSnapshot, SnapshotContents};
use files::SegmentOnDisk;
pub(crate) use files::{Access, SegmentsOnDisk, header_error};

/// What a journal is replayed into: the queue manager, or what a test or tool collects.
pub trait Replay {
    /// Takes a fact of a snapshot.
    ///
    /// # Errors
    /// [`Contradiction`] if it cannot be true beside the facts before it.
    fn image(&mut self, record: ImageRecord) -> Result<(), Contradiction>;

    /// Takes an event that happened after all that came before.
    ///
    /// # Errors
    /// [`Contradiction`] if it cannot have happened then.
    fn event(&mut self, event: &Event) -> Result<(), Contradiction>;
}

/// A record is whole but says what cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Contradiction {
    /// Why it cannot be.
    pub reason: String,
}

/// How the journal ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalEnd {
    /// The store was closed in order.
    Clean,
    /// With a mark that everything before it was synced. If a frame came after it, nothing of that frame reached the disk.
    Marked,
    /// With a frame that no later one calls synced. If a frame came after it, nothing of that frame reached the disk.
    Unmarked,
    /// With a frame that is not whole: one that was being written when the process or the machine died, and was never promised. Damage
    /// to the very last frame that was synced looks the same.
    Torn(TornTail),
}

/// Where and how a journal is torn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: String,
    /// Where the first frame that is not whole begins.
    pub offset: u32,
    /// What is wrong with it.
    pub reason: String,
    /// Frames behind it that are left out, whole or not: none of them calls anything synced that is missing.
    pub frames_dropped: u32,
}

/// What recovery read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFacts {
    /// Segments of the journal, those before the snapshot included.
    pub segments: usize,
    /// Frames replayed.
    pub frames: u64,
    /// Records replayed.
    pub records: u64,
    /// Bytes of the segments that were read.
    pub bytes: u64,
    /// Everything before this was known to be synced.
    pub durable: Lsn,
    /// The first byte that was not read any more.
    pub read_end: Lsn,
    /// Records behind `durable`, which were copied into the new segment.
    pub copied: u64,
    /// How it ended.
    pub end: JournalEnd,
}

/// The journal as it was found, and what the log needs to go on.
pub(crate) struct Recovered {
    /// The first frame of the new segment: how it follows, and the copies.
    pub(crate) frame: Frame,
    /// Where the journal before the new segment ends, and the checksum of the frame there.
    pub(crate) previous: Previous,
    /// Both clocks when the last frame was written.
    pub(crate) last: LastTime,
    /// Segments that were never used, by ascending number.
    pub(crate) untouched: Vec<SegmentFile>,
    pub(crate) facts: JournalFacts,
}

/// The clocks, as the last frame or snapshot recorded them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastTime {
    pub(crate) wall: Timestamp,
    pub(crate) store: StoreTime,
}

/// What recovery works with.
pub(crate) struct Recovery<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) on_disk: &'a SegmentsOnDisk,
    pub(crate) snapshot: Option<&'a SnapshotContents>,
    pub(crate) damaged: &'a [DamagedSnapshot],
    pub(crate) places: &'a mut Places,
    pub(crate) replay: &'a mut dyn Replay,
}

impl Recovery<'_> {
    /// Replays everything.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed on the disk.
    pub(crate) fn run(self) -> Result<Recovered, OpenError> {
        let from = self.snapshot.map_or(Lsn::START, |it| it.facts.at);
        if let Some(snapshot) = self.snapshot {
            files::check_against(self.on_disk, snapshot)?;
        }
        let chain = chain::follow(self.on_disk, from).map_err(|error| {
            // Without the snapshot that stood in for them, old segments are rightly gone.
            self.damaged
                .first()
                .filter(|_| matches!(error, OpenError::MissingSegment { .. }))
                .map_or(error, |damaged| OpenError::of_snapshot(damaged.clone()))
        })?;
        let mut walk = replay::Walk::new(self.replay, self.places, from);
        if let Some(snapshot) = self.snapshot {
            walk.restore(snapshot)?;
        }
        let stop = walk.chain(&chain, self.on_disk)?;
        let judged = end::judge(&chain, self.on_disk, &stop, from)?;
        let segments = walk.places().segments();
        adopt(segments, self.on_disk, &judged.untouched);
        if let Some(segment) = walk.places().missing_segment() {
            return Err(files::missing(segment, "a message whose envelope is in it"));
        }
        let (frame, previous, facts) = walk.finish(self.identity, &stop, judged.end);
        Ok(Recovered {
            frame,
            previous,
            last: stop.last,
            untouched: judged
                .untouched
                .iter()
                .filter_map(|number| self.on_disk.get(*number))
                .map(|segment| self.on_disk.to_file(segment))
                .collect(),
            facts: JournalFacts {
                segments: self.on_disk.by_number.len() - judged.untouched.len(),
                ..facts
            },
        })
    }
}

/// Makes all segments but those never used known to the store; what nothing lives in is freed by the ordinary rule.
fn adopt(segments: &Segments, on_disk: &SegmentsOnDisk, untouched: &[u32]) {
    for (number, segment) in &on_disk.by_number {
        if !untouched.contains(number) {
            segments.add(Arc::new(on_disk.to_file(segment)));
        }
    }
}
