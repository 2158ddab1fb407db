//! Writes a snapshot, block by block.
//!
//! Invariant: memory is one block. Bytes are synced as they are written, in stretches, so that the last sync is short and the syncs of
//! the log do not wait behind a long one.

use std::io;

use super::layout::{BLOCK_HEAD_SIZE, BLOCK_SIZE, BlockHead, BlockKind, End, Head, chain};
use crate::checksum::Seed;
use crate::storage::{StorageFile, write_all_at};

/// Bytes written between two syncs.
const STRETCH: u64 = 8 << 20;

/// A snapshot being written to the front of a file, over whatever stands there.
pub(super) struct SnapshotWriter<'a> {
    file: &'a dyn StorageFile,
    seed: Seed,
    position: u64,
    unsynced: u64,
    /// Room for the head, and the body so far.
    block: Vec<u8>,
    kind: BlockKind,
    entries: u32,
    index: u32,
    end: End,
}

impl<'a> SnapshotWriter<'a> {
    pub(super) fn begin(file: &'a dyn StorageFile, head: &Head) -> io::Result<Self> {
        let bytes = head.encode();
        write_all_at(file, &bytes, 0)?;
        let size = bytes.len() as u64;
        Ok(Self {
            file,
            seed: Seed::of(&bytes),
            position: size,
            unsynced: size,
            block: vec![0; BLOCK_HEAD_SIZE],
            kind: BlockKind::Segments,
            entries: 0,
            index: 0,
            end: End::default(),
        })
    }

    /// Adds an entry. `encode` is told whether it is the first of its block. Answers whether a block was written.
    pub(super) fn entry(
        &mut self,
        kind: BlockKind,
        encode: impl FnOnce(&mut Vec<u8>, bool),
    ) -> io::Result<bool> {
        let full = self.block.len() >= BLOCK_SIZE || kind != self.kind;
        let written = full && self.entries > 0;
        if written {
            self.flush()?;
        }
        self.kind = kind;
        encode(&mut self.block, self.entries == 0);
        self.entries += 1;
        Ok(written)
    }

    /// Writes what is left, cuts the file to its size and syncs it; answers that size and the totals.
    pub(super) fn finish(mut self) -> io::Result<(u64, End)> {
        if self.entries > 0 {
            self.flush()?;
        }
        let end = self.end;
        self.kind = BlockKind::End;
        end.encode(&mut self.block);
        self.entries = 1;
        self.flush()?;
        if self.file.size()? != self.position {
            self.file.set_size(self.position)?;
        }
        self.file.sync_data()?;
        Ok((self.position, end))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.count();
        if let Some((room, body)) = self.block.split_first_chunk_mut::<BLOCK_HEAD_SIZE>() {
            let about = (self.index, self.kind, self.entries);
            let (head, crc) = BlockHead::encode(body, self.seed, about);
            *room = head;
            self.end.chain = chain(self.end.chain, crc);
        }
        write_all_at(self.file, &self.block, self.position)?;
        let size = self.block.len() as u64;
        self.position += size;
        self.unsynced += size;
        self.index += 1;
        self.entries = 0;
        self.block.truncate(BLOCK_HEAD_SIZE);
        if self.unsynced >= STRETCH {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn count(&mut self) {
        let entries = u64::from(self.entries);
        match self.kind {
            BlockKind::Segments => self.end.segments += entries,
            BlockKind::Places => {
                mark_first(&mut self.end.places_at, self.position);
                self.end.places += entries;
            }
            BlockKind::Records => {
                mark_first(&mut self.end.records_at, self.position);
                self.end.records += entries;
            }
            BlockKind::End => {}
        }
    }
}

/// Remembers where the first block of a kind stands; 0, where the head is, means "none yet".
const fn mark_first(offset: &mut u64, position: u64) {
    if *offset == 0 {
        *offset = position;
    }
}
