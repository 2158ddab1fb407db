//! Reading segments: header, frames, records, as they lie there. For recovery, compaction and the offline tools.
//!
//! Invariants:
//! 1. A frame is handed out only whole: its header validates in this segment at this position, its records fill it exactly and are as
//!    many as it says, `body_crc` covers their headers, and each record's checksum matches.
//! 2. Nothing here panics or allocates by a length that was read, whatever the bytes are.
//!
//! What it does not do: judge what a frame that is missing means (recovery does), follow the journal from segment to segment.

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::checksum::{Seed, go_on};
use crate::error::DecodeError;
use crate::frame::{FRAME_HEADER_SIZE, FrameFlags, FrameHeader};
use crate::lsn::Lsn;
use crate::record::{Previous, RawRecord, Record};
use crate::segment::{DATA_START, FRAME_ALIGN, Header, PAGE_SIZE, align_frame};
use crate::storage::{SealedMap, StorageFile, read_over_gaps, read_up_to_at};
use mq_core::canary;

/// [`FRAME_HEADER_SIZE`], for positions.
const FRAME_HEADER_LEN: u32 = 64;
const _: () = assert!(FRAME_HEADER_SIZE == FRAME_HEADER_LEN as usize);

/// The bytes of one segment, and what its header says.
pub struct SegmentBytes {
    header: Header,
    seed: Seed,
    store: Seed,
    /// The salt is lost with the header: headers of frames are believed if they lie where they say.
    is_unsalted: bool,
    /// Offsets of what the device did not deliver: zeros in `content`.
    gaps: Vec<Range<u64>>,
    content: Content,
}

enum Content {
    Map(SealedMap),
    Read(Vec<u8>),
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

impl SegmentBytes {
    /// Reads a segment that may still be written.
    ///
    /// # Errors
    /// What the file answered.
    pub fn read(file: &Arc<dyn StorageFile>, header: Header, store: Seed) -> io::Result<Self> {
        let size = usize::try_from(u64::from(header.size).min(file.size()?));
        let mut bytes = vec![0; size.map_err(io::Error::other)?];
        let read = read_up_to_at(&**file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(Self::of(header, store, Content::Read(bytes)))
    }

    /// Reads a segment of a damaged store, over what its device does not deliver: see [`SegmentBytes::gaps`].
    ///
    /// # Errors
    /// The file does not say how large it is.
    pub fn read_over_gaps(
        file: &Arc<dyn StorageFile>,
        header: Header,
        store: Seed,
    ) -> io::Result<Self> {
        let size = usize::try_from(u64::from(header.size).min(file.size()?));
        let (bytes, gaps) = read_over_gaps(&**file, size.map_err(io::Error::other)?);
        let mut segment = Self::of(header, store, Content::Read(bytes));
        segment.gaps = gaps;
        Ok(segment)
    }

    /// Maps a segment that nobody writes, cuts or recycles while the answer lives; reads it where maps are not supported.
    ///
    /// # Errors
    /// What the file answered.
    pub fn map(file: &Arc<dyn StorageFile>, header: Header, store: Seed) -> io::Result<Self> {
        match file.map()? {
            Some(map) => Ok(Self::of(header, store, Content::Map(map))),
            None => Self::read(file, header, store),
        }
    }

    /// Takes bytes that were read already.
    #[must_use]
    pub fn of_bytes(bytes: Vec<u8>, header: Header, store: Seed) -> Self {
        Self::of(header, store, Content::Read(bytes))
    }

    fn of(header: Header, store: Seed, content: Content) -> Self {
        Self {
            seed: header.seed(),
            header,
            store,
            is_unsalted: false,
            gaps: Vec::new(),
            content,
        }
    }

    /// The same bytes, when the header they came with was made up because the real one is lost.
    #[must_use]
    pub(crate) fn with_salt_unknown(mut self) -> Self {
        self.is_unsalted = true;
        self
    }

    /// Where the checksums of the store's records begin.
    pub(crate) const fn store(&self) -> Seed {
        self.store
    }

    fn decode_header(&self, at: Lsn) -> Result<(FrameHeader, u32), DecodeError> {
        if !self.is_unsalted {
            return FrameHeader::decode(self.from(at), self.seed);
        }
        let (header, crc) = FrameHeader::decode_unchecked(self.from(at))?;
        if header.lsn == at {
            return Ok((header, crc));
        }
        let what = "a frame's header";
        Err(DecodeError::Checksum { what })
    }

    /// What its header says.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.content
    }

    /// The position of its first frame.
    #[must_use]
    pub const fn start(&self) -> Lsn {
        Lsn::new(self.header.number, DATA_START)
    }

    /// The header of a frame at `at`, which is a position in this segment, with its checksum. The frame itself may be torn.
    ///
    /// # Errors
    /// [`DecodeError`]: no frame of this segment begins there.
    pub fn frame_header(&self, at: Lsn) -> Result<(FrameHeader, u32), DecodeError> {
        let (header, crc) = self.decode_header(at)?;
        if header.lsn == at || canary::sings("no-salt") {
            return Ok((header, crc));
        }
        let found = header.lsn.get();
        let what = "the position of a frame";
        Err(DecodeError::Value { what, found })
    }

    /// The frame at `at`, which is a position in this segment.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong with it.
    pub fn frame(&self, at: Lsn) -> Result<FrameView<'_>, DecodeError> {
        let (header, crc) = self.frame_header(at)?;
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        let body = self.from(at).get(FRAME_HEADER_SIZE..size);
        let frame = FrameView {
            header,
            crc,
            body: body.ok_or(DecodeError::Value {
                what: "the size of a frame",
                found: header.size.into(),
            })?,
        };
        frame.verify(self.store)?;
        Ok(frame)
    }

    /// What the device did not deliver, as offsets in order. Among [`bytes`](Self::bytes) it stands as zeros, but nobody knows what is
    /// there.
    #[must_use]
    pub fn gaps(&self) -> &[Range<u64>] {
        &self.gaps
    }

    /// What of the frame that begins at `at`, or would, the device did not deliver.
    pub(crate) fn gap_in_frame(&self, at: Lsn) -> Option<&Range<u64>> {
        let size = self.frame_header(at).map_or(FRAME_ALIGN, |it| it.0.size);
        let (start, end) = (u64::from(at.offset()), u64::from(at.plus(size).offset()));
        let mut gaps = self.gaps.iter();
        gaps.find(|gap| gap.start < end && start < gap.end)
    }

    /// Whether the magic number of a frame and the position `at` stand at `at`, as in a header that is damaged elsewhere.
    #[must_use]
    pub fn names_itself(&self, at: Lsn) -> bool {
        FrameHeader::names(self.from(at), at)
    }

    /// How the segment follows on the one before, if the first record of its first frame says so. The rest of that frame may be torn.
    ///
    /// # Errors
    /// [`DecodeError`]: no segment that was used begins like that.
    pub fn previous(&self) -> Result<Previous, DecodeError> {
        let what = "the first record of a segment";
        let (header, _) = self.frame_header(self.start())?;
        let bytes = self.from(self.start()).get(FRAME_HEADER_SIZE..);
        let (raw, _) = RawRecord::split(bytes.unwrap_or_default())?;
        raw.verify(self.store)?;
        match raw.decode()? {
            Record::Previous(previous) if header.flags.has(FrameFlags::FIRST) => Ok(previous),
            Record::Previous(_)
            | Record::Event(_)
            | Record::Image(_)
            | Record::Relocated { .. }
            | Record::Next { .. }
            | Record::Ignored { .. } => Err(DecodeError::Text { what }),
        }
    }

    /// The headers of all frames that begin after `after`, torn or not, wherever one could begin, and whether or not it was written
    /// there. For what lies behind the end.
    pub fn headers_after(&self, after: Lsn) -> impl Iterator<Item = (Lsn, FrameHeader)> {
        let first = align_frame(after.offset().saturating_add(1)).max(DATA_START);
        let end = u32::try_from(self.content.len()).unwrap_or(u32::MAX);
        (first..end)
            .step_by(FRAME_ALIGN as usize)
            .map(|offset| Lsn::new(self.header.number, offset))
            .filter_map(|at| {
                let (header, _) = self.decode_header(at).ok()?;
                Some((at, header))
            })
    }

    /// Whether nothing was ever written where the first frame goes.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        let page = DATA_START as usize..(DATA_START + PAGE_SIZE) as usize;
        let bytes = self.content.get(page);
        bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
    }

    fn from(&self, at: Lsn) -> &[u8] {
        let offset = usize::try_from(at.offset()).unwrap_or(usize::MAX);
        self.content.get(offset..).unwrap_or_default()
    }
}

/// What people are told of a stretch that the device does not deliver.
pub(crate) fn undelivered(gap: &Range<u64>) -> String {
    let size = gap.end - gap.start;
    format!(
        "the device does not deliver {size} bytes at offset {}",
        gap.start
    )
}

impl fmt::Debug for SegmentBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentBytes")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

/// A whole frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameView<'a> {
    header: FrameHeader,
    crc: u32,
    body: &'a [u8],
}

impl<'a> FrameView<'a> {
    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// The checksum of its header.
    #[must_use]
    pub const fn crc(&self) -> u32 {
        self.crc
    }

    /// Where the next frame begins.
    #[must_use]
    pub const fn end(&self) -> Lsn {
        self.header.lsn.plus(align_frame(self.header.size))
    }

    /// Its records in order, each with its position.
    pub fn records(&self) -> impl Iterator<Item = (Lsn, RawRecord<'a>)> + use<'a> {
        let mut rest = self.body;
        let mut at = self.header.lsn.plus(FRAME_HEADER_LEN);
        (0..self.header.records).map_while(move |_| {
            let (raw, after) = RawRecord::split(rest).ok()?;
            let here = at;
            at = at.plus(u32::try_from(raw.size()).unwrap_or(u32::MAX));
            rest = after;
            Some((here, raw))
        })
    }

    fn verify(&self, store: Seed) -> Result<(), DecodeError> {
        let mut rest = self.body;
        let mut crc = store.begin();
        for _ in 0..self.header.records {
            let (raw, after) = RawRecord::split(rest)?;
            crc = go_on(crc, raw.header());
            raw.verify(store)?;
            rest = after;
        }
        if !rest.is_empty() {
            let count = rest.len() as u64;
            return Err(DecodeError::Trailing { count });
        }
        if crc != self.header.body_crc {
            let what = "the sequence of a frame's records";
            return Err(DecodeError::Checksum { what });
        }
        Ok(())
    }
}
