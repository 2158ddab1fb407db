//! Reads a snapshot: checks the whole of it first, then hands out what it holds, block by block.
//!
//! Invariants: memory is one block, whatever the file claims; any bytes may stand in the file.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::layout::{
    BLOCK_HEAD_SIZE, BLOCK_SIZE_MAX, BlockHead, BlockKind, END_SIZE, End, HEAD_SIZE, Head, chain,
};
use crate::checksum::Seed;
use crate::error::DecodeError;
use crate::identity::{HeaderError, Identity};
use crate::storage::{StorageFile, read_exact_at};

/// What is wrong with the file of a snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The system did not deliver the bytes.
    #[error("the file cannot be read")]
    Io(#[from] io::Error),
    /// A newer version wrote it and says that we cannot read it.
    #[error("it needs a reader of format {required}")]
    Newer { required: u16 },
    /// It belongs to another store.
    #[error("it belongs to another store")]
    OtherStore,
    /// It is not what was written.
    #[error("{reason} (at offset {offset})")]
    Damaged { offset: u64, reason: DecodeError },
    /// It is not what was written: its parts do not fit together.
    #[error("{reason} (at offset {offset})")]
    Inconsistent { offset: u64, reason: &'static str },
}

/// The file of a snapshot whose head and end were checked.
#[derive(Clone, Debug)]
pub(super) struct SnapshotFile {
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) head: Head,
    pub(super) end: End,
    pub(super) size: u64,
    seed: Seed,
}

/// One block, checked.
pub(super) struct Block {
    pub(super) kind: BlockKind,
    pub(super) entries: u32,
    pub(super) body: Bytes,
    crc: u32,
    pub(super) offset: u64,
    index: u32,
    next: u64,
}

impl SnapshotFile {
    /// Looks at head and end: cheap, and enough to tell which of two snapshots is newer.
    pub(super) fn open(file: Arc<dyn StorageFile>, identity: &Identity) -> Result<Self, Fault> {
        let size = file.size()?;
        let end_size = (BLOCK_HEAD_SIZE + END_SIZE) as u64;
        if size < HEAD_SIZE as u64 + end_size {
            return Err(inconsistent(size, "the file ends before the snapshot does"));
        }
        let mut bytes = [0; HEAD_SIZE];
        read_exact_at(&*file, &mut bytes, 0)?;
        let (head, seed) = Head::decode(&bytes).map_err(|error| match error {
            HeaderError::Newer { required } => Fault::Newer { required },
            HeaderError::Damaged(reason) => Fault::Damaged { offset: 0, reason },
        })?;
        if head.uuid != identity.uuid {
            return Err(Fault::OtherStore);
        }
        let mut snapshot = Self {
            file,
            head,
            end: End::default(),
            size,
            seed,
        };
        let last = snapshot.block(size - end_size)?;
        if last.kind != BlockKind::End || last.next != size {
            return Err(inconsistent(last.offset, "the last block is another one"));
        }
        snapshot.end = decoded(End::decode(&last.body), last.offset)?;
        Ok(snapshot)
    }

    /// Checks every block, and that no block is missing, doubled or out of place.
    pub(super) fn verify(&self) -> Result<(), Fault> {
        let mut offset = HEAD_SIZE as u64;
        let mut found = End {
            places_at: self.end.places_at,
            records_at: self.end.records_at,
            ..End::default()
        };
        for index in 0.. {
            let block = self.block(offset)?;
            if block.index != index {
                return Err(inconsistent(offset, "a block stands in another's place"));
            }
            let entries = u64::from(block.entries);
            match block.kind {
                BlockKind::Segments => found.segments += entries,
                BlockKind::Places => found.places += entries,
                BlockKind::Records => found.records += entries,
                BlockKind::End => break,
            }
            found.chain = chain(found.chain, block.crc);
            offset = block.next;
        }
        if found != self.end {
            return Err(inconsistent(offset, "the totals do not match the blocks"));
        }
        Ok(())
    }

    /// The first blocks: the segments.
    pub(super) fn segments(&self) -> Blocks {
        self.blocks(BlockKind::Segments, HEAD_SIZE as u64, self.end.segments)
    }

    pub(super) fn places(&self) -> Blocks {
        self.blocks(BlockKind::Places, self.end.places_at, self.end.places)
    }

    pub(super) fn records(&self) -> Blocks {
        self.blocks(BlockKind::Records, self.end.records_at, self.end.records)
    }

    fn blocks(&self, kind: BlockKind, offset: u64, entries: u64) -> Blocks {
        Blocks {
            snapshot: self.clone(),
            kind,
            offset,
            left: entries,
        }
    }

    /// Reads and checks the block at `offset`.
    fn block(&self, offset: u64) -> Result<Block, Fault> {
        let mut bytes = [0; BLOCK_HEAD_SIZE];
        let body_at = offset.saturating_add(BLOCK_HEAD_SIZE as u64);
        if body_at > self.size {
            return Err(inconsistent(offset, "the file ends inside a block"));
        }
        read_exact_at(&*self.file, &mut bytes, offset)?;
        let head = decoded(BlockHead::decode(&bytes), offset)?;
        let next = body_at + u64::from(head.size);
        let len = usize::try_from(head.size).unwrap_or(usize::MAX);
        if len > BLOCK_SIZE_MAX || next > self.size {
            return Err(inconsistent(offset, "a block is larger than any can be"));
        }
        let mut body = vec![0; len];
        read_exact_at(&*self.file, &mut body, body_at)?;
        if !head.matches(self.seed, &bytes, &body) {
            let reason = DecodeError::Checksum { what: "a block" };
            return Err(Fault::Damaged { offset, reason });
        }
        Ok(Block {
            kind: head.kind,
            entries: head.entries,
            body: body.into(),
            crc: head.crc,
            index: head.index,
            offset,
            next,
        })
    }
}

/// The blocks of one kind, one after the other.
#[derive(Debug)]
pub(super) struct Blocks {
    snapshot: SnapshotFile,
    kind: BlockKind,
    offset: u64,
    left: u64,
}

impl Blocks {
    /// The next one; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Block>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        let block = self.snapshot.block(self.offset)?;
        if block.kind != self.kind || block.entries == 0 {
            return Err(inconsistent(self.offset, "a block is of another kind"));
        }
        self.left = self.left.saturating_sub(block.entries.into());
        self.offset = block.next;
        Ok(Some(block))
    }
}

fn decoded<T>(result: Result<T, DecodeError>, offset: u64) -> Result<T, Fault> {
    result.map_err(|reason| Fault::Damaged { offset, reason })
}

const fn inconsistent(offset: u64, reason: &'static str) -> Fault {
    Fault::Inconsistent { offset, reason }
}
