//! Which segments make up the journal, in order: followed back from the last one that was used.
//!
//! The first frame of each segment says where the journal before it ends. What lies behind that end, and segments numbered between,
//! do not belong to the journal: they are what an earlier recovery did not believe where it lay.
//!
//! Invariants: numbers descend on the way back; the chain reaches the snapshot's position, or the beginning of the journal.

use std::sync::Arc;

use super::files::missing;
use super::{SegmentOnDisk, SegmentsOnDisk};
use crate::frame::FrameFlags;
use crate::lsn::Lsn;
use crate::open::OpenError;
use crate::record::Previous;
use crate::scan::SegmentBytes;
use crate::segment::DATA_START;

/// The segments of the journal, oldest first.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) links: Vec<Link>,
    /// The last one.
    pub(super) top: Arc<SegmentBytes>,
}

/// One segment of the journal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) number: u32,
    /// How it follows on the one before.
    pub(super) previous: Previous,
    /// Where the journal leaves it, and the checksum of the frame there; `None` for the last one.
    pub(super) end: Option<(Lsn, u32)>,
}

/// Follows the chain back to `from`.
pub(super) fn follow(on_disk: &SegmentsOnDisk, from: Lsn) -> Result<Chain, OpenError> {
    let top = find_top(on_disk, from)?;
    let mut number = top.header().number;
    if number < from.segment() {
        return Err(lost_behind(on_disk, from));
    }
    let mut links: Vec<Link> = Vec::new();
    loop {
        let needed_by = links.last().map_or(number, |link| link.number);
        let segment = on_disk
            .get(number)
            .ok_or_else(|| missing(number, format!("segment {needed_by}, which follows on it")))?;
        let start = Lsn::new(number, DATA_START);
        let previous = read_previous(on_disk, segment)?;
        let end = links
            .last()
            .map(|link| (link.previous.end, link.previous.crc));
        links.push(Link {
            number,
            previous,
            end,
        });
        if previous.end.segment() >= number {
            return Err(segment.damaged(start, "it follows on a segment with a higher number"));
        }
        if is_reached(segment, end, previous.end, from)? {
            break;
        }
        number = previous.end.segment();
    }
    check_openings(on_disk, from)?;
    links.reverse();
    Ok(Chain { links, top })
}

/// Whether the chain can end with this segment, which the journal leaves at `end`.
fn is_reached(
    segment: &SegmentOnDisk,
    end: Option<(Lsn, u32)>,
    before: Lsn,
    from: Lsn,
) -> Result<bool, OpenError> {
    let number = segment.header.number;
    let start = Lsn::new(number, DATA_START);
    if number == from.segment() {
        return match end {
            Some((end, _)) if end < from => {
                Err(segment.damaged(end, "it ends here, but a snapshot was taken later"))
            }
            Some(_) | None => Ok(true),
        };
    }
    if before == Lsn::START && from == Lsn::START {
        return Ok(true);
    }
    if before.segment() < from.segment() || before == Lsn::START {
        let reason = format!("it follows on {before}, but a snapshot was taken at {from}");
        return Err(segment.damaged(start, reason));
    }
    Ok(false)
}

/// The last segment that was used: the one with the highest number that begins with a whole frame.
fn find_top(on_disk: &SegmentsOnDisk, from: Lsn) -> Result<Arc<SegmentBytes>, OpenError> {
    for segment in on_disk.by_number.values().rev() {
        let bytes = on_disk.load(segment)?;
        let first = bytes.frame(bytes.start());
        if first.is_ok_and(|frame| frame.header().flags.has(FrameFlags::FIRST)) {
            return Ok(Arc::new(bytes));
        }
    }
    // A store is not called one before the first frame of its first segment is synced.
    match on_disk.by_number.values().next() {
        None => Err(missing(from.segment().max(1), "the store")),
        Some(segment) => {
            let start = Lsn::new(segment.header.number, DATA_START);
            Err(segment.damaged(start, "no segment begins with a whole frame"))
        }
    }
}

/// The journal does not even come to the segment in which a snapshot was taken.
fn lost_behind(on_disk: &SegmentsOnDisk, from: Lsn) -> OpenError {
    let number = from.segment();
    on_disk.get(number).map_or_else(
        || missing(number, format!("a snapshot, which was taken at {from}")),
        |segment| {
            let reason = format!("it begins with no whole frame; a snapshot was taken at {from}");
            segment.damaged(Lsn::new(number, DATA_START), reason)
        },
    )
}

/// Checks that the first segment of each opening is there. It is made, and the opening noted in it, before any other: that the others
/// are there says that it was.
fn check_openings(on_disk: &SegmentsOnDisk, from: Lsn) -> Result<(), OpenError> {
    for segment in on_disk.by_number.values() {
        let opening = segment.header.opening;
        if opening >= from.segment() && on_disk.get(opening).is_none() {
            return Err(missing(opening, format!("{}, made after it", segment.name)));
        }
    }
    Ok(())
}

fn read_previous(on_disk: &SegmentsOnDisk, segment: &SegmentOnDisk) -> Result<Previous, OpenError> {
    let bytes = on_disk.load_front(segment)?;
    let previous = bytes.previous();
    previous.map_err(|reason| segment.damaged(bytes.start(), reason))
}
