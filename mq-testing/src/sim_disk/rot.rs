//! Damage to bytes and names that were durable: what a device may do in years, and what people do with `rm`.
//!
//! These calls act on the device and the cache alike, are not counted, hit no fault, and work on a crashed disk. What was pending in the
//! place they touch is durable from then on. A store may answer them with a refusal; a test that expects every message back must not
//! use them.

use std::io;
use std::sync::Arc;

use super::content::{Content, SECTOR_SIZE};
use super::{SimDisk, state};

impl SimDisk {
    /// Turns over one bit of a byte; `bit` counts from 0, modulo 8.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` when the file has no such byte.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) -> io::Result<()> {
        self.change(name, |content| {
            let mut byte = [0];
            content.read(&mut byte, offset);
            content.spoil(&byte.map(|byte| byte ^ (1 << (bit % 8))), offset)
        })
    }

    /// Overwrites bytes within a file: a misdirected or a stale write.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` when the file has no such bytes.
    pub fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(name, |content| content.spoil(bytes, offset))
    }

    /// Fills the sector of this number with zeros, as far as the file reaches.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` when the file has no such sector.
    pub fn zero_sector(&self, name: &str, sector: u64) -> io::Result<()> {
        self.change(name, |content| {
            let (offset, len) = sector_range(content, sector)?;
            content.spoil([0; SECTOR_SIZE].get(..len).unwrap_or_default(), offset)
        })
    }

    /// The device does not deliver a sector any more: from now on, through crashes too, every read that touches it answers EIO.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` when the file has no such sector.
    pub fn fail_sector(&self, name: &str, sector: u64) -> io::Result<()> {
        let mut state = self.lock_state();
        let file = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        sector_range(state.content(file)?, sector)?;
        state.bad_sectors.insert((file, sector));
        Ok(())
    }

    /// Exchanges the contents of two sectors of a file.
    ///
    /// # Errors
    /// `NotFound`, or `UnexpectedEof` when either is not wholly within the file.
    pub fn swap_sectors(&self, name: &str, one: u64, other: u64) -> io::Result<()> {
        self.change(name, |content| {
            let offsets = [one * SECTOR_SIZE as u64, other * SECTOR_SIZE as u64];
            let contents = offsets.map(|offset| {
                let mut bytes = [0; SECTOR_SIZE];
                content.read(&mut bytes, offset);
                bytes
            });
            let [(at_one, of_other), (at_other, of_one)] =
                [(offsets[0], contents[1]), (offsets[1], contents[0])];
            content.spoil(&of_other, at_one)?;
            content.spoil(&of_one, at_other)
        })
    }

    /// Sets the size of a file.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn cut(&self, name: &str, size: u64) -> io::Result<()> {
        self.change(name, |content| content.spoil_size(size))
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn delete(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.names.spoil(|names| {
            names.remove(name);
        });
        Ok(())
    }

    /// Exchanges two files.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn swap_files(&self, one: &str, other: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        let (one, other) = (state::plain(one)?, state::plain(other)?);
        let file_of_one = state.names.get(&one).ok_or(io::ErrorKind::NotFound)?;
        let file_of_other = state.names.get(&other).ok_or(io::ErrorKind::NotFound)?;
        state.names.spoil(|names| {
            names.insert(one, file_of_other);
            names.insert(other, file_of_one);
        });
        Ok(())
    }

    /// Puts a file of these bytes under a name, in place of what may have that name: a copy from elsewhere. The data directory is
    /// made when it is missing.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is not plain, `FileTooLarge`.
    pub fn install(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock_state();
        let name = state::plain(name)?;
        let content = Content::durable(bytes)?;
        state.make_directory();
        state.sync_parent();
        let file = state.add_file(content);
        state.names.spoil(|names| {
            names.insert(Arc::clone(&name), file);
        });
        Ok(())
    }

    /// The names there are now, sorted.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        self.lock_state()
            .names
            .all()
            .map(|(name, _)| name.to_string())
            .collect()
    }

    /// The bytes a reader of the file sees now, or `None` when there is none of that name.
    #[must_use]
    pub fn file_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock_state();
        state.names.get(name).map(|file| state.bytes_of(file))
    }

    fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut Content) -> io::Result<()>,
    ) -> io::Result<()> {
        change(self.lock_state().content_named(name)?)
    }
}

/// Where a sector is in the file, and how much of it the file has.
fn sector_range(content: &Content, sector: u64) -> io::Result<(u64, usize)> {
    let offset = sector * SECTOR_SIZE as u64;
    let len = content
        .size()
        .saturating_sub(offset)
        .min(SECTOR_SIZE as u64);
    match usize::try_from(len) {
        Ok(len) if len > 0 => Ok((offset, len)),
        Ok(_) | Err(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
