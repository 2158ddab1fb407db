//! One segment of a damaged journal, piece by piece: what is whole, and where something is missing.
//!
//! Where no whole frame follows, the rules of recovery decide whether that is damage or the end: damage if the journal is known to go on
//! in the segment, if a frame behind calls it synced, or if the device does not deliver it: then nobody knows what is there. Records in
//! what is damaged are looked for byte by byte, if all of it was written: each has a checksum of its own. What is behind a torn end was
//! never promised, and is left.

use super::Loss;
use crate::checksum::Seed;
use crate::error::DecodeError;
use crate::frame::{FrameFlags, FrameHeader};
use crate::lsn::Lsn;
use crate::record::{RECORD_HEADER_SIZE, RawRecord, Record};
use crate::scan::{SegmentBytes, undelivered};

/// Where to walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// Nothing before this is asked for.
    pub(super) from: Lsn,
    /// Where the journal leaves the segment; `None` if that is not known.
    pub(super) end: Option<u32>,
    /// The file was cut: what does not follow was there.
    pub(super) is_cut: bool,
    /// No segment follows.
    pub(super) is_top: bool,
}

/// What is met.
pub(super) enum Piece<'a> {
    /// A whole frame begins.
    Frame(&'a FrameHeader),
    /// A whole record.
    Record(Lsn, RawRecord<'a>, &'a Record),
    /// Something is missing.
    Loss(Loss),
    /// A torn end, which nobody was promised.
    Torn(String),
}

/// Walks along a segment. See the head of this file.
pub(super) fn walk(
    bytes: &SegmentBytes,
    name: &str,
    stretch: Stretch,
    visit: &mut dyn FnMut(Piece<'_>),
) {
    let mut at = bytes.start();
    if stretch.from.segment() == at.segment() {
        at = at.max(stretch.from);
    }
    let is_over = |at: Lsn| stretch.end.is_some_and(|end| at.offset() >= end);
    let mut is_sealed = false;
    while !is_over(at) {
        match bytes.frame(at) {
            Ok(frame) => {
                let header = frame.header();
                visit(Piece::Frame(header));
                for (here, raw) in frame.records() {
                    record(name, here, raw, visit);
                }
                is_sealed = header.flags.has(FrameFlags::SEAL);
                at = frame.end();
            }
            Err(_) if is_sealed => return,
            Err(reason) => match over_damage(bytes, name, (at, reason), stretch, visit) {
                Some(next) => at = next,
                None => return,
            },
        }
    }
}

/// A record in a whole frame.
fn record(name: &str, at: Lsn, raw: RawRecord<'_>, visit: &mut dyn FnMut(Piece<'_>)) {
    match raw.decode() {
        Ok(record) => visit(Piece::Record(at, raw, &record)),
        Err(reason) => visit(Piece::Loss(Loss {
            file: name.to_owned(),
            offset: Some(at.offset().into()),
            size: Some(raw.size() as u64),
            reason: reason.to_string(),
        })),
    }
}

/// Says what is missing at `at`, tries the records there, and answers where a whole frame follows.
fn over_damage(
    bytes: &SegmentBytes,
    name: &str,
    (at, reason): (Lsn, DecodeError),
    stretch: Stretch,
    visit: &mut dyn FnMut(Piece<'_>),
) -> Option<Lsn> {
    let end = stretch.end.map(|end| Lsn::new(at.segment(), end));
    let next = bytes
        .headers_after(at)
        .map(|(here, _)| here)
        .take_while(|here| end.is_none_or(|end| *here < end))
        .find(|here| bytes.frame(*here).is_ok());
    let unsynced_max = bytes.header().unsynced_max;
    let proves = |(here, header): (Lsn, FrameHeader)| {
        header.durable > at || here.offset().saturating_sub(at.offset()) > unsynced_max
    };
    let gap = bytes.gap_in_frame(at);
    let goes_on = stretch.is_cut || end.is_some() || (next.is_some() && !stretch.is_top);
    let was_there = goes_on || bytes.headers_after(at).any(proves);
    if !was_there && gap.is_none() {
        if bytes.frame_header(at).is_ok() || bytes.names_itself(at) {
            let offset = at.offset();
            visit(Piece::Torn(format!(
                "{name} ends at offset {offset} with a torn frame ({reason}), of which nobody was promised anything"
            )));
        }
        return None;
    }
    let begun = bytes.headers_after(at).map(|(here, _)| here).last();
    let until = next.or(end);
    let reason = gap.map_or_else(|| reason.to_string(), undelivered);
    visit(Piece::Loss(Loss {
        file: name.to_owned(),
        offset: Some(at.offset().into()),
        size: until.map(|until| u64::from(until.offset() - at.offset())),
        reason,
    }));
    if !was_there {
        return next; // it may have been torn: between its sectors there may be some of an earlier life
    }
    let own = bytes.frame_header(at).ok();
    let own = own.map(|(header, _)| at.plus(header.size));
    if let Some(until) = until.or(begun).or(own) {
        let until = if goes_on {
            until
        } else {
            until.min(synced_to(bytes, at))
        };
        loose_records(bytes, at, until, visit);
    }
    next
}

/// Up to where headers behind `at` prove that the segment was synced.
fn synced_to(bytes: &SegmentBytes, at: Lsn) -> Lsn {
    let unsynced_max = bytes.header().unsynced_max;
    let proven = bytes.headers_after(at).map(|(here, header)| {
        let within = here.offset().saturating_sub(unsynced_max);
        header.durable.max(Lsn::new(here.segment(), within))
    });
    proven.max().unwrap_or(at)
}

/// The records between `from` and `until` that are whole, wherever they begin: what a record must look like is so narrow, and its checksum
/// so wide, that each byte can be tried. All of it must have been written in this life of the segment: records of an earlier one are as
/// whole.
fn loose_records(bytes: &SegmentBytes, from: Lsn, until: Lsn, visit: &mut dyn FnMut(Piece<'_>)) {
    let to_size = |at: Lsn| usize::try_from(at.offset()).unwrap_or(usize::MAX);
    let all = bytes.bytes();
    let mut rest = all
        .get(to_size(from)..to_size(until).min(all.len()))
        .unwrap_or_default();
    let mut at = from;
    while rest.len() >= RECORD_HEADER_SIZE {
        let step = match whole_record(rest, bytes.store()) {
            Some((raw, record)) => {
                visit(Piece::Record(at, raw, &record));
                raw.size()
            }
            None => 1,
        };
        at = at.plus(u32::try_from(step).unwrap_or(u32::MAX));
        rest = rest.get(step..).unwrap_or_default();
    }
}

/// The record at the front, if one is there, and whole. What costs least is asked first: a checksum over whatever lengths any bytes
/// claim, at each byte, would take days.
fn whole_record(bytes: &[u8], store: Seed) -> Option<(RawRecord<'_>, Record)> {
    let (raw, _) = RawRecord::split(bytes).ok()?;
    if !raw.is_plausible() {
        return None;
    }
    let record = raw.decode().ok()?;
    raw.verify(store).ok()?;
    Some((raw, record))
}
