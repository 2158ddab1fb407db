//! What a damaged store still has: who it is, its segments, the order of those that make up its journal, its snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use mq_core::image::ImageRecord;

use super::{Loss, SalvageError};
use crate::frame::FrameFlags;
use crate::identity::{IDENT_NAME, Identity};
use crate::inspect::{FileFacts, FileRole, read_identity};
use crate::lsn::Lsn;
use crate::open::OpenInputs;
use crate::pins::{SegmentFile, Segments};
use crate::scan::{SegmentBytes, undelivered};
use crate::segment::{self, Header, SEGMENT_HEADER_SIZE};
use crate::snapshot::{self, SnapshotContents};
use crate::storage::{OpenMode, Storage, read_over_gaps};

/// See the head of this file.
pub(super) struct Source {
    storage: Arc<dyn Storage>,
    pub(super) identity: Identity,
    pub(super) identity_lost: bool,
    segments: BTreeMap<u32, Segment>,
    /// The newest snapshot that is whole.
    pub(super) snapshot: Option<SnapshotContents>,
    /// Facts of snapshots that are not: names of queues and kinds may be among them.
    pub(super) loose: Vec<ImageRecord>,
    pub(super) losses: Vec<Loss>,
}

struct Segment {
    name: String,
    /// `None` if it is damaged: then the checksums of frames are not known, those of records are.
    header: Option<Header>,
    size: u32,
    is_cut: bool,
}

/// A segment of the journal, and where the journal leaves it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) number: u32,
    pub(super) end: Option<u32>,
}

impl Source {
    /// Looks at all files.
    pub(super) fn look(
        storage: &Arc<dyn Storage>,
        files: &[FileFacts],
        inputs: &mut OpenInputs<'_>,
    ) -> Result<Self, SalvageError> {
        let mut losses = Vec::new();
        let segments = list(&**storage, files, &mut losses);
        let (identity, identity_lost) = match read_identity(&**storage) {
            Ok(identity) => (identity, false),
            Err(reason) => {
                losses.push(whole_file(IDENT_NAME, reason));
                let header = segments.values().find_map(|it| it.header.as_ref());
                let header = header.ok_or(SalvageError::NothingWhole)?;
                let drawn = Identity::draw(inputs.random, header.created);
                let uuid = header.uuid;
                (Identity { uuid, ..drawn }, true)
            }
        };
        let mut source = Self {
            storage: Arc::clone(storage),
            identity,
            identity_lost,
            segments,
            snapshot: None,
            loose: Vec::new(),
            losses,
        };
        source.look_at_snapshots(files);
        source.mend_headers();
        Ok(source)
    }

    fn look_at_snapshots(&mut self, files: &[FileFacts]) {
        for file in files.iter().filter(|file| file.role == FileRole::Snapshot) {
            match snapshot::examine(&*self.storage, &file.name, &self.identity) {
                Ok(contents) => {
                    let generation = contents.facts.generation;
                    let best = self.snapshot.as_ref();
                    if best.is_none_or(|best| best.facts.generation < generation) {
                        self.snapshot = Some(contents);
                    }
                }
                Err(reason) => {
                    let loose = snapshot::loose_records(&*self.storage, &file.name, &self.identity);
                    self.loose.extend(loose);
                    self.losses.push(whole_file(&file.name, reason));
                }
            }
        }
    }

    /// Headers that are damaged, from what a snapshot says of their segments.
    fn mend_headers(&mut self) {
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        for entry in &snapshot.segments {
            let Some(segment) = self.segments.get_mut(&entry.number) else {
                continue;
            };
            if segment.header.is_none() {
                let created = self.identity.created;
                let (number, size, salt) = (entry.number, entry.size, entry.salt);
                segment.header = Some(Header::new(&self.identity, number, size, salt, created));
            }
        }
    }

    /// Where replay begins.
    pub(super) fn from(&self) -> Lsn {
        self.snapshot.as_ref().map_or(Lsn::START, |it| it.facts.at)
    }

    /// All segments, for reading payloads.
    pub(super) fn to_segments(&self) -> Segments {
        let segments = Segments::new(self.identity.clone());
        for (number, segment) in &self.segments {
            segments.add(Arc::new(SegmentFile::new(
                Arc::clone(&self.storage),
                segment.name.clone(),
                *number,
                segment.size,
                segment.header.as_ref().map_or(0, |header| header.salt),
                None,
            )));
        }
        segments
    }

    /// The name and the bytes of a segment.
    pub(super) fn bytes(&self, number: u32) -> Result<(&str, SegmentBytes), Loss> {
        let Some(segment) = self.segments.get(&number) else {
            return Err(whole_file(&segment::name(number), "it is missing"));
        };
        let read = || -> io::Result<SegmentBytes> {
            let file = self.storage.open(&segment.name, OpenMode::Read)?;
            let store = self.identity.seed();
            match &segment.header {
                Some(header) => SegmentBytes::read_over_gaps(&file, header.clone(), store),
                None => {
                    let header = Header::new(
                        &self.identity,
                        number,
                        segment.size,
                        0,
                        self.identity.created,
                    );
                    let bytes = SegmentBytes::read_over_gaps(&file, header, store);
                    bytes.map(SegmentBytes::with_salt_unknown)
                }
            }
        };
        let bytes = read().map_err(|error| whole_file(&segment.name, error))?;
        Ok((&segment.name, bytes))
    }

    /// Whether the file of a segment was cut.
    pub(super) fn is_cut(&self, number: u32) -> bool {
        self.segments.get(&number).is_some_and(|it| it.is_cut)
    }

    /// Whether the file of the last segment, or of one behind it, was cut: what was there is not known.
    pub(super) fn is_cut_from(&self, top: u32) -> bool {
        let mut segments = self.segments.range(top..);
        segments.any(|(_, segment)| segment.is_cut)
    }

    /// What is missing of segments behind the last one that must have been there, or begun: the one that the last names, and the first of
    /// an opening in which others were made.
    pub(super) fn missing_behind(&self, top: u32, next: Option<u32>) -> Vec<Loss> {
        let headers = self.segments.values().filter_map(|it| it.header.as_ref());
        let openings = headers.map(|header| header.opening).filter(|it| *it > top);
        let wanted: BTreeSet<u32> = openings.chain(next.filter(|it| *it > top)).collect();
        let missing = wanted.iter().filter_map(|number| {
            if !self.segments.contains_key(number) {
                return Some(whole_file(&segment::name(*number), "it is missing"));
            }
            let (name, bytes) = self.bytes(*number).ok()?;
            let gap = bytes.gap_in_frame(bytes.start())?;
            Some(whole_file(name, undelivered(gap)))
        });
        missing.collect()
    }

    /// The segments of the journal from the snapshot on, oldest first; followed back from the last that was used, past what is missing.
    pub(super) fn chain(&self, losses: &mut Vec<Loss>) -> Vec<Link> {
        let from = self.from();
        let mut links = Vec::new();
        let mut next = self.top().map(|number| Link { number, end: None });
        while let Some(link) = next.take() {
            links.push(link);
            if link.number <= from.segment() {
                break;
            }
            let previous = self.bytes(link.number).ok();
            let previous = previous.and_then(|(_, bytes)| bytes.previous().ok());
            let below = self.segments.range(..link.number).next_back();
            let below = below.map(|(number, _)| Link {
                number: *number,
                end: None,
            });
            next = match previous {
                Some(previous) if previous.end == Lsn::START => None,
                Some(previous) if self.segments.contains_key(&previous.end.segment()) => {
                    Some(Link {
                        number: previous.end.segment(),
                        end: Some(previous.end.offset()),
                    })
                }
                Some(previous) => {
                    let missing = segment::name(previous.end.segment());
                    losses.push(whole_file(&missing, "it is missing"));
                    below.filter(|below| below.number < previous.end.segment())
                }
                None => below,
            };
        }
        links.reverse();
        links
    }

    /// The last segment that was used, as far as can be told.
    fn top(&self) -> Option<u32> {
        let used = |number: &u32| {
            let Ok((_, bytes)) = self.bytes(*number) else {
                return false;
            };
            let start = bytes.start();
            let first = bytes.frame(start);
            let begins = first.is_ok_and(|frame| frame.header().flags.has(FrameFlags::FIRST));
            let before = Lsn::new(*number, start.offset() - 1);
            let begun = self.is_cut(*number) && bytes.frame_header(start).is_ok();
            begins
                || begun
                || bytes
                    .headers_after(before)
                    .any(|(_, header)| header.durable > start)
        };
        self.segments.keys().rev().copied().find(used)
    }
}

/// The segment files, with their headers as far as they are whole.
fn list(
    storage: &dyn Storage,
    files: &[FileFacts],
    losses: &mut Vec<Loss>,
) -> BTreeMap<u32, Segment> {
    let mut segments = BTreeMap::new();
    for file in files {
        let Some(number) = segment::number_of(&file.name) else {
            continue;
        };
        let actual = file.size.and_then(|size| u32::try_from(size).ok());
        let actual = actual.unwrap_or(u32::MAX);
        let read = || -> io::Result<_> {
            let opened = storage.open(&file.name, OpenMode::Read)?;
            Ok(read_over_gaps(&*opened, SEGMENT_HEADER_SIZE)) // there are two copies in it
        };
        let header = read()
            .map_err(|error| error.to_string())
            .and_then(|(bytes, gaps)| {
                let gap = gaps.first().map(undelivered);
                let header = Header::decode(&bytes);
                let header = header.map_err(|error| gap.unwrap_or_else(|| error.to_string()))?;
                if header.number == number {
                    Ok(header)
                } else {
                    Err(format!("it is the segment {}, renamed", header.number))
                }
            });
        let size = header.as_ref().map_or(actual, |header| header.size);
        match &header {
            Ok(header) if actual < header.size => losses.push(Loss {
                file: file.name.clone(),
                offset: Some(actual.into()),
                size: Some(u64::from(header.size - actual)),
                reason: "the file was cut".to_owned(),
            }),
            Ok(_) => {}
            Err(reason) => losses.push(Loss {
                file: file.name.clone(),
                offset: Some(0),
                size: Some(SEGMENT_HEADER_SIZE as u64),
                reason: reason.clone(),
            }),
        }
        let is_cut = actual < size;
        segments.insert(
            number,
            Segment {
                name: file.name.clone(),
                header: header.ok(),
                size,
                is_cut,
            },
        );
    }
    segments
}

/// A file that is of no use as a whole.
pub(super) fn whole_file(file: &str, reason: impl ToString) -> Loss {
    Loss {
        file: file.to_owned(),
        offset: None,
        size: None,
        reason: reason.to_string(),
    }
}
