//! Every record of a store, one after the other.

use std::ops::ControlFlow;

use bytes::Bytes;
use mq_core::message::Envelope;
use mq_core::time::{StoreTime, Timestamp};

use super::describe::{Fields, describe};
use super::{FileRole, InspectError, files, read_identity};
use crate::checksum::Seed;
use crate::envelope::unseal;
use crate::error::DecodeError;
use crate::frame::{FrameFlags, FrameHeader};
use crate::lsn::Lsn;
use crate::record::{RawRecord, Record};
use crate::scan::{FrameView, SegmentBytes, undelivered};
use crate::segment::{Header, SEGMENT_HEADER_SIZE};
use crate::snapshot;
use crate::storage::{OpenMode, Storage, read_over_gaps};

/// One thing that a dump shows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are records, and they are streamed, not kept"
)]
pub enum Dumped {
    /// A record, whole.
    Record(DumpedRecord),
    /// Here a file ends, or cannot be read on.
    End(DumpedEnd),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedRecord {
    /// The file it stands in.
    pub file: String,
    /// The frame it belongs to; `None` in a snapshot.
    pub frame: Option<DumpedFrame>,
    /// Where it begins; `None` in a snapshot.
    pub lsn: Option<Lsn>,
    /// Bytes of all of it; `None` in a snapshot.
    pub size: Option<u64>,
    /// Its name.
    pub kind: &'static str,
    /// What it says, in the order of the format.
    pub fields: Fields,
    /// The envelope it carries, or what is wrong with that.
    pub envelope: Option<Result<Envelope, DecodeError>>,
}

/// The frame of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedFrame {
    /// Where it begins.
    pub lsn: Lsn,
    /// Everything before this was synced when it was written.
    pub durable: Lsn,
    /// Wall clock when it was written.
    pub wall: Timestamp,
    /// Store time when it was written.
    pub store: StoreTime,
    /// What is special about it.
    pub flags: Vec<&'static str>,
}

/// Where no whole frame follows in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpedEnd {
    /// The file.
    pub file: String,
    /// The first byte that is not shown.
    pub offset: u64,
    /// What is wrong there. In the unused part of a segment, nothing is.
    pub reason: String,
    /// The offset at which the dump goes on in the same file.
    pub goes_on: Option<u64>,
}

/// Shows every record of the snapshots and segments, in the order of their names, as far as it is whole; what is not is passed over and
/// said. `show` may end it early.
///
/// # Errors
/// [`InspectError`]: there is no store to look at.
pub fn dump(
    storage: &dyn Storage,
    show: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    for file in files(storage)? {
        let shown = match file.role {
            FileRole::Segment => dump_segment(storage, &file.name, show),
            FileRole::Snapshot => dump_snapshot(storage, &file.name, show),
            FileRole::Identity
            | FileRole::Lock
            | FileRole::Spare
            | FileRole::Scratch
            | FileRole::Aside
            | FileRole::Other => ControlFlow::Continue(()),
        };
        if shown.is_break() {
            break;
        }
    }
    Ok(())
}

fn dump_snapshot(
    storage: &dyn Storage,
    name: &str,
    show: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut end = |reason: String| {
        show(Dumped::End(DumpedEnd {
            file: name.to_owned(),
            offset: 0,
            reason,
            goes_on: None,
        }))
    };
    let identity = match read_identity(storage) {
        Ok(identity) => identity,
        Err(reason) => return end(format!("IDENT: {reason}")),
    };
    let contents = match snapshot::examine(storage, name, &identity) {
        Ok(contents) => contents,
        Err(reason) => return end(reason),
    };
    for record in contents.records() {
        match record {
            Ok(record) => show(Dumped::Record(of_image(name, Record::Image(record))))?,
            Err(damaged) => {
                return show(Dumped::End(DumpedEnd {
                    file: name.to_owned(),
                    offset: 0,
                    reason: damaged.reason,
                    goes_on: None,
                }));
            }
        }
    }
    ControlFlow::Continue(())
}

fn dump_segment(
    storage: &dyn Storage,
    name: &str,
    show: &mut dyn FnMut(Dumped) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let bytes = match read_segment(storage, name) {
        Ok(bytes) => bytes,
        Err(reason) => {
            return show(Dumped::End(DumpedEnd {
                file: name.to_owned(),
                offset: 0,
                reason,
                goes_on: None,
            }));
        }
    };
    let mut at = Some(bytes.start());
    while let Some(here) = at {
        match bytes.frame(here) {
            Ok(frame) => {
                for (lsn, raw) in frame.records() {
                    show(of_record(name, &frame, lsn, &raw))?;
                }
                at = Some(frame.end());
            }
            Err(reason) => {
                at = next_whole(&bytes, here);
                let gap = bytes.gap_in_frame(here);
                let reason = gap.map_or_else(|| reason.to_string(), undelivered);
                show(Dumped::End(DumpedEnd {
                    file: name.to_owned(),
                    offset: here.offset().into(),
                    reason,
                    goes_on: at.map(|lsn| lsn.offset().into()),
                }))?;
            }
        }
    }
    ControlFlow::Continue(())
}

/// Reads a segment by the uuid in its own header: one whose store is not known any more can be shown too.
pub(super) fn read_segment(storage: &dyn Storage, name: &str) -> Result<SegmentBytes, String> {
    let file = storage.open(name, OpenMode::Read);
    let file = file.map_err(|error| error.to_string())?;
    let (header, gaps) = read_over_gaps(&*file, SEGMENT_HEADER_SIZE);
    let gap = gaps.first().map(undelivered);
    let header = Header::decode(&header);
    let header = header.map_err(|error| gap.unwrap_or_else(|| error.to_string()))?;
    let store = Seed::of(&header.uuid);
    SegmentBytes::read_over_gaps(&file, header, store).map_err(|error| error.to_string())
}

/// The first whole frame behind `after`.
fn next_whole(bytes: &SegmentBytes, after: Lsn) -> Option<Lsn> {
    let mut headers = bytes.headers_after(after);
    let found = headers.find(|(here, _)| bytes.frame(*here).is_ok());
    found.map(|(here, _)| here)
}

fn of_record(name: &str, frame: &FrameView<'_>, lsn: Lsn, raw: &RawRecord<'_>) -> Dumped {
    let record = match raw.decode() {
        Ok(record) => record,
        Err(reason) => {
            return Dumped::End(DumpedEnd {
                file: name.to_owned(),
                offset: lsn.offset().into(),
                reason: reason.to_string(),
                goes_on: Some(u64::from(lsn.offset()) + raw.size() as u64),
            });
        }
    };
    let envelope = raw.envelope();
    let (kind, fields) = describe(&record);
    Dumped::Record(DumpedRecord {
        file: name.to_owned(),
        frame: Some(of_frame(frame.header())),
        lsn: Some(lsn),
        size: Some(raw.size() as u64),
        kind,
        fields,
        envelope: (!envelope.is_empty()).then(|| unseal(&Bytes::copy_from_slice(envelope))),
    })
}

fn of_image(name: &str, record: Record) -> DumpedRecord {
    let (kind, fields) = describe(&record);
    DumpedRecord {
        file: name.to_owned(),
        frame: None,
        lsn: None,
        size: None,
        kind,
        fields,
        envelope: None,
    }
}

fn of_frame(header: &FrameHeader) -> DumpedFrame {
    let names = [
        (FrameFlags::FIRST, "first"),
        (FrameFlags::SEAL, "seal"),
        (FrameFlags::IDLE, "idle"),
        (FrameFlags::CLEAN, "clean"),
        (FrameFlags::RECOVERY, "recovery"),
    ];
    let set = names.iter().filter(|(flag, _)| header.flags.has(*flag));
    DumpedFrame {
        lsn: header.lsn,
        durable: header.durable,
        wall: header.wall,
        store: header.store,
        flags: set.map(|(_, name)| *name).collect(),
    }
}
