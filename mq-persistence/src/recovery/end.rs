//! Where no whole frame follows: is that the end of the journal, or is something missing that was promised?
//!
//! Every frame says up to where the journal was synced before it was written. So the position `p` without a whole frame is damage if
//!
//! 1. any frame behind `p`, in its segment or a later one, calls `p` synced, or
//! 2. a frame in the same segment begins further behind `p` than the log ever writes without syncing, or
//! 3. a frame behind `p` does not lie where it was written, or
//! 4. a snapshot was taken behind `p`, or the segment in which the journal goes on is gone.
//!
//! Else `p` is the end. Frames behind it that say nothing of the kind reached the disk out of order; nobody was told of them.
//!
//! Invariant: headers count as evidence even if the rest of their frame is torn. Nothing stale can be evidence: a header validates only
//! with its segment's salt and at its own position.

use super::chain::Chain;
use super::files::missing;
use super::replay::Stop;
use super::{JournalEnd, SegmentOnDisk, SegmentsOnDisk, TornTail};
use crate::frame::{FrameFlags, FrameHeader};
use crate::lsn::Lsn;
use crate::open::{Corruption, OpenError};
use crate::scan::SegmentBytes;
use crate::segment::{self, DATA_START};

/// What is behind the end.
pub(super) struct Judged {
    pub(super) end: JournalEnd,
    /// Segments behind the last one that were never written.
    pub(super) untouched: Vec<u32>,
}

/// Decides about the position at which the walk stopped.
pub(super) fn judge(
    chain: &Chain,
    on_disk: &SegmentsOnDisk,
    stop: &Stop,
    from: Lsn,
) -> Result<Judged, OpenError> {
    let top = chain.top.header().number;
    let at = match stop.next {
        None => stop.at,
        Some(next) if on_disk.get(next).is_some() => Lsn::new(next, DATA_START),
        Some(next) => return Err(missing(next, format!("segment {top}, which goes on in it"))),
    };
    let Some(segment) = on_disk.get(at.segment()) else {
        return Err(missing(at.segment(), "the journal"));
    };
    if at < from && stop.next.is_none() {
        let reason = format!("{}; a snapshot was taken later, at {from}", stop.reason);
        return Err(segment.damaged(at, reason));
    }
    let mut finding = Finding {
        at,
        dropped: 0,
        stop,
        damaged: segment,
    };
    if stop.next.is_none() {
        finding.look_behind(&chain.top, at)?;
    }
    let mut untouched = Vec::new();
    for (number, segment) in on_disk.by_number.range(top.saturating_add(1)..) {
        let bytes = on_disk.load(segment)?;
        let dropped = finding.dropped;
        finding.look_into(&bytes, segment)?;
        let is_current = segment.header.is_current_version();
        if finding.dropped == dropped && is_current && bytes.is_untouched() {
            untouched.push(*number);
        }
    }
    let is_own = stop.next.is_none() && is_begun(&chain.top, at);
    let end = finding.end(is_own);
    Ok(Judged { end, untouched })
}

struct Finding<'a> {
    at: Lsn,
    dropped: u32,
    stop: &'a Stop,
    damaged: &'a SegmentOnDisk,
}

impl Finding<'_> {
    /// Looks at all headers behind the end in its own segment.
    fn look_behind(&mut self, bytes: &SegmentBytes, at: Lsn) -> Result<(), OpenError> {
        let unsynced_max = bytes.header().unsynced_max;
        for (here, header) in bytes.headers_after(at) {
            let distance = here.offset().saturating_sub(at.offset());
            if header.lsn != here {
                return Err(stray(self.damaged, here, &header));
            }
            if header.durable > at || distance > unsynced_max {
                return Err(self.damage(&header, self.damaged, at));
            }
            self.dropped += 1;
        }
        Ok(())
    }

    /// Looks at all headers of a segment that does not begin with a whole frame.
    fn look_into(
        &mut self,
        bytes: &SegmentBytes,
        segment: &SegmentOnDisk,
    ) -> Result<(), OpenError> {
        let start = bytes.start();
        let before = Lsn::new(start.segment(), start.offset() - 1);
        for (here, header) in bytes.headers_after(before) {
            if header.lsn != here {
                return Err(stray(segment, here, &header));
            }
            if header.durable > self.at {
                // The first frame of this segment is what is missing, if the journal came this far; else something before it.
                return Err(self.damage(&header, segment, start));
            }
            self.dropped += 1;
        }
        Ok(())
    }

    fn damage(&self, evidence: &FrameHeader, segment: &SegmentOnDisk, at: Lsn) -> OpenError {
        OpenError::Corrupt(Box::new(Corruption {
            file: segment.name.clone(),
            offset: at.offset().into(),
            lsn: Some(at),
            evidence: Some(evidence.lsn),
            reason: self.stop.reason.to_string(),
        }))
    }

    fn end(&self, is_begun: bool) -> JournalEnd {
        if self.dropped > 0 || is_begun {
            return JournalEnd::Torn(TornTail {
                file: segment::name(self.at.segment()),
                offset: self.at.offset(),
                reason: self.stop.reason.to_string(),
                frames_dropped: self.dropped + u32::from(is_begun),
            });
        }
        if self.stop.flags.has(FrameFlags::CLEAN) {
            JournalEnd::Clean
        } else if self.stop.flags.has(FrameFlags::IDLE) {
            JournalEnd::Marked
        } else {
            JournalEnd::Unmarked
        }
    }
}

/// A frame does not lie where it was written: what belongs here is gone, or nothing does.
fn stray(segment: &SegmentOnDisk, here: Lsn, header: &FrameHeader) -> OpenError {
    let reason = format!("the frame that belongs at {} lies here", header.lsn);
    segment.damaged(here, reason)
}

/// Whether a frame of this segment was begun at `at`, as far as can be told: its header validates, or its magic number and position
/// stand there.
fn is_begun(bytes: &SegmentBytes, at: Lsn) -> bool {
    bytes.frame_header(at).is_ok() || bytes.names_itself(at)
}
