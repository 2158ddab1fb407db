//! The walk along the journal, frame by frame, into the state.
//!
//! Invariants:
//! 1. Each frame's header carries the checksum of the one before: no frame can be missing in between.
//! 2. The position a frame calls durable is not behind itself, and never goes back.
//! 3. Frames that are not known to be synced are kept at hand: their records are copied, and the places in them move to the copies.

use std::collections::VecDeque;
use std::sync::Arc;

use mq_core::canary;
use mq_core::id::Seq;

use super::chain::{Chain, Link};
use super::{
    Contradiction, JournalEnd, JournalFacts, LastTime, Replay, SegmentOnDisk, SegmentsOnDisk,
};
use crate::error::DecodeError;
use crate::frame::{Frame, FrameFlags, FrameHeader, PlaceChange, change_of};
use crate::identity::Identity;
use crate::lsn::Lsn;
use crate::open::OpenError;
use crate::places::Places;
use crate::record::{Previous, Record};
use crate::scan::{FrameView, SegmentBytes};
use crate::snapshot::SnapshotContents;

/// Where the walk ended.
#[derive(Debug)]
pub(super) struct Stop {
    /// The first position without a whole frame.
    pub(super) at: Lsn,
    /// What is wrong there.
    pub(super) reason: DecodeError,
    /// The last whole frame seals its segment, and the journal goes on in this one.
    pub(super) next: Option<u32>,
    /// What is special about the last whole frame.
    pub(super) flags: FrameFlags,
    pub(super) last: LastTime,
}

/// A frame that is not known to be synced.
struct Unproven {
    segment: Arc<SegmentBytes>,
    start: Lsn,
    end: Lsn,
    crc: u32,
}

/// See the head of this file.
pub(super) struct Walk<'a> {
    replay: &'a mut dyn Replay,
    places: &'a mut Places,
    /// Everything before this is in the snapshot.
    from: Lsn,
    /// What the last frame calls durable.
    durable: Lsn,
    /// The checksum of the frame before the next one.
    crc: u32,
    /// Of the frame that ends where the journal is known to be synced.
    proven_crc: u32,
    unproven: VecDeque<Unproven>,
    flags: FrameFlags,
    next: Option<u32>,
    last: LastTime,
    frames: u64,
    records: u64,
    bytes: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(replay: &'a mut dyn Replay, places: &'a mut Places, from: Lsn) -> Self {
        Self {
            replay,
            places,
            from,
            durable: Lsn::START,
            crc: 0,
            proven_crc: 0,
            unproven: VecDeque::new(),
            flags: FrameFlags::NONE,
            next: None,
            last: LastTime::default(),
            frames: 0,
            records: 0,
            bytes: 0,
        }
    }

    pub(super) const fn places(&self) -> &Places {
        self.places
    }

    /// Begins with what a snapshot holds.
    pub(super) fn restore(&mut self, snapshot: &SnapshotContents) -> Result<(), OpenError> {
        for record in snapshot.records() {
            let record = record.map_err(OpenError::of_snapshot)?;
            let taken = self.replay.image(record);
            taken.map_err(|contradiction| OpenError::Contradiction {
                file: snapshot.name().to_owned(),
                offset: 0,
                contradiction,
            })?;
        }
        for place in snapshot.places() {
            let (seq, place) = place.map_err(OpenError::of_snapshot)?;
            self.places.restore(seq, place);
        }
        self.last = LastTime {
            wall: snapshot.facts.wall,
            store: snapshot.facts.store,
        };
        Ok(())
    }

    /// Walks along all segments of the journal, to where it ends.
    pub(super) fn chain(
        &mut self,
        chain: &Chain,
        on_disk: &SegmentsOnDisk,
    ) -> Result<Stop, OpenError> {
        let mut stop = (chain.top.start(), DecodeError::Trailing { count: 0 });
        let mut is_first = true;
        for link in &chain.links {
            let Some(segment) = on_disk.get(link.number) else {
                continue; // the chain was made of these
            };
            if is_first {
                self.crc = link.previous.crc;
            } else if self.crc != link.previous.crc {
                let start = Lsn::new(link.number, crate::segment::DATA_START);
                return Err(segment.damaged(start, "it follows on another frame"));
            }
            is_first = false;
            let bytes = match link.end {
                Some(_) => Arc::new(on_disk.load(segment)?),
                None => Arc::clone(&chain.top),
            };
            self.bytes += u64::from(segment.header.size);
            stop = self.segment(&bytes, segment, link)?;
        }
        let (at, reason) = stop;
        Ok(Stop {
            at,
            reason,
            next: self.next,
            flags: self.flags,
            last: self.last,
        })
    }

    /// Walks along one segment; answers where and why it stopped.
    fn segment(
        &mut self,
        bytes: &Arc<SegmentBytes>,
        segment: &SegmentOnDisk,
        link: &Link,
    ) -> Result<(Lsn, DecodeError), OpenError> {
        let end = link.end.map(|(end, _)| end);
        let mut at = bytes.start();
        while Some(at) != end {
            let is_beyond = end.is_some_and(|end| at > end);
            match bytes.frame(at) {
                Ok(frame) if !is_beyond => {
                    self.frame(bytes, segment, &frame)?;
                    at = frame.end();
                }
                Ok(_) => {
                    let reason = "a frame lies across where the journal goes on elsewhere";
                    return Err(segment.damaged(at, reason));
                }
                Err(reason) if end.is_some() => return Err(segment.damaged(at, reason)),
                Err(reason) => return Ok((at, reason)),
            }
        }
        self.next = None;
        Ok((at, DecodeError::Trailing { count: 0 }))
    }

    fn frame(
        &mut self,
        bytes: &Arc<SegmentBytes>,
        segment: &SegmentOnDisk,
        frame: &FrameView<'_>,
    ) -> Result<(), OpenError> {
        let header = frame.header();
        self.check(header, frame.end())
            .map_err(|reason| segment.damaged(header.lsn, reason))?;
        self.crc = frame.crc();
        self.durable = header.durable;
        self.flags = header.flags;
        self.next = None;
        if header.lsn >= self.from {
            self.last = LastTime {
                wall: header.wall,
                store: header.store,
            };
            self.frames += 1;
            for (at, raw) in frame.records() {
                let record = raw.decode();
                let record = record.map_err(|reason| segment.damaged(at, reason))?;
                self.record(&record, header.flags)
                    .map_err(|contradiction| OpenError::Contradiction {
                        file: segment.name.clone(),
                        offset: at.offset().into(),
                        contradiction,
                    })?;
                if let Some(change) = change_of(&raw, &record, at) {
                    self.places.apply(&change, frame.end());
                }
            }
        }
        self.unproven.push_back(Unproven {
            segment: Arc::clone(bytes),
            start: header.lsn,
            end: frame.end(),
            crc: frame.crc(),
        });
        self.settle();
        Ok(())
    }

    fn check(&self, header: &FrameHeader, end: Lsn) -> Result<(), &'static str> {
        if header.previous_crc != self.crc {
            return Err("a frame before it is missing");
        }
        if header.durable > header.lsn || header.durable < self.durable {
            return Err("it calls durable what cannot be");
        }
        if header.lsn < self.from && self.from < end {
            return Err("a snapshot was taken in the middle of it");
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, flags: FrameFlags) -> Result<(), Contradiction> {
        let refuse = |reason: &str| {
            Err(Contradiction {
                reason: reason.to_owned(),
            })
        };
        match record {
            Record::Event(event) => {
                self.records += 1;
                self.replay.event(event)
            }
            Record::Next { segment } if flags.has(FrameFlags::SEAL) => {
                self.next = Some(*segment);
                Ok(())
            }
            Record::Previous(_) if flags.has(FrameFlags::FIRST) => Ok(()),
            Record::Relocated { .. } | Record::Ignored { .. } => Ok(()),
            Record::Next { .. } => refuse("a segment goes on elsewhere before its end"),
            Record::Previous(_) => refuse("a segment begins in its middle"),
            Record::Image(_) => refuse("a fact of a snapshot stands in the journal"),
        }
    }

    /// Up to here the journal is known to be synced.
    fn proven(&self) -> Lsn {
        self.durable.max(self.from)
    }

    /// Lets go of frames that are now known to be synced.
    fn settle(&mut self) {
        let proven = self.proven();
        while let Some(frame) = self.unproven.front() {
            if frame.end > proven {
                break;
            }
            self.proven_crc = frame.crc;
            self.unproven.pop_front();
        }
    }

    /// The frame with which a new segment begins, and what is to be reported.
    pub(super) fn finish(
        self,
        identity: &Identity,
        stop: &Stop,
        end: JournalEnd,
    ) -> (Frame, Previous, JournalFacts) {
        let previous = Previous {
            end: self.proven(),
            crc: self.proven_crc,
            read_end: stop.at,
            frames: u32::try_from(self.unproven.len()).unwrap_or(u32::MAX),
        };
        let mut frame = Frame::new(identity);
        frame.append_previous(&previous);
        let believed = usize::from(!canary::sings("unsynced-tail-not-copied"));
        let copied = self
            .unproven
            .iter()
            .take(believed.saturating_mul(usize::MAX))
            .map(|unproven| copy(unproven, self.places, &mut frame))
            .sum();
        let facts = JournalFacts {
            segments: 0,
            frames: self.frames,
            records: self.records,
            bytes: self.bytes,
            durable: previous.end,
            read_end: stop.at,
            copied,
            end,
        };
        (frame, previous, facts)
    }
}

/// Copies the records of a frame, but for what only concerns the segment it lies in; answers how many. Places that lie in it move.
fn copy(unproven: &Unproven, places: &Places, into: &mut Frame) -> u64 {
    let Ok(frame) = unproven.segment.frame(unproven.start) else {
        return 0; // it was whole when it was read, and nobody writes it
    };
    let mut copied = 0;
    for (at, raw) in frame.records() {
        match raw.decode() {
            Ok(Record::Previous(_) | Record::Next { .. }) | Err(_) => {}
            Ok(
                record @ (Record::Event(_)
                | Record::Image(_)
                | Record::Relocated { .. }
                | Record::Ignored { .. }),
            ) => {
                let placed = change_of(&raw, &record, at).and_then(PlaceChange::placed_seq);
                let lies_here = |seq: &Seq| places.find(*seq).is_some_and(|place| place.at == at);
                into.append_copy(raw.bytes(), placed.filter(lies_here));
                copied += 1;
            }
        }
    }
    copied
}
