//! One file of the simulated disk: what its readers see, and what the device may hold instead.
//!
//! Invariants:
//! 1. Readers see `pages` up to `size`. A sector that is not in `pending` is the same on the device.
//! 2. A sector in `pending` has one durable version, and a newer one for each moment it was written since; the newest is in `pages`.
//! 3. Pages are shared between copies of a file until one of them is written, so that a copy of a disk costs little.
//! 4. A sector that a failed sync left behind (`abandoned`) reads new and stays old on the device until it is written again: no later
//!    sync writes it.
//!
//! What it does not do: names, faults, counting.
//!
//! Source for 4: Rebello et al., "Can applications recover from fsync failures?", USENIX ATC 2020.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::crash::{Chooser, PendingSummary, SectorFate};
use crate::random::SplitMix64;

/// What a device writes as one.
pub const SECTOR_SIZE: usize = 512;
/// What a kernel caches as one.
const PAGE_SIZE: usize = 4096;
const SECTORS_PER_PAGE: u64 = 8;
/// A larger file is a mistake of the test, not a test.
const FILE_SIZE_MAX: u64 = 1 << 32;
/// Versions kept between the durable one and the newest; older ones are forgotten, which only leaves fewer crashes to choose from.
const VERSIONS_BETWEEN_MAX: usize = 6;

type SectorBytes = [u8; SECTOR_SIZE];
const ZERO_SECTOR: SectorBytes = [0; SECTOR_SIZE];
type PageBytes = [u8; PAGE_SIZE];

#[derive(Clone, Debug)]
enum Page {
    /// Never written: no space is taken.
    Hole,
    /// Written with zeros only.
    Zeros,
    Bytes(Arc<PageBytes>),
}

/// A sector whose newest content is not known to be on the device.
#[derive(Clone, Debug)]
struct PendingSector {
    /// `None` stands for zeros.
    durable: Option<Arc<SectorBytes>>,
    between: Vec<(u64, Arc<SectorBytes>)>,
    newest: u64,
    abandoned: bool,
}

impl PendingSector {
    fn moments(&self) -> Vec<u64> {
        let between = self.between.iter().map(|(moment, _)| *moment);
        std::iter::once(0)
            .chain(between)
            .chain(std::iter::once(self.newest))
            .collect()
    }
}

/// A file.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: Vec<Page>,
    size: u64,
    pending: BTreeMap<u64, PendingSector>,
    durable_size: u64,
    /// Moment and size of each change since the last sync.
    pending_sizes: Vec<(u64, u64)>,
    sizes_abandoned: bool,
}

impl Content {
    /// A file that is on the device as it is.
    pub(super) fn durable(bytes: &[u8]) -> io::Result<Self> {
        let mut content = Self::default();
        content.write(0, bytes, 0)?;
        content.sync();
        Ok(content)
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of space taken.
    pub(super) fn allocated(&self) -> u64 {
        let taken = self
            .pages
            .iter()
            .filter(|page| !matches!(page, Page::Hole))
            .count();
        (taken * PAGE_SIZE) as u64
    }

    /// Bytes of space that writing `len` bytes at `offset` would take in addition.
    pub(super) fn would_allocate(&self, len: usize, offset: u64) -> u64 {
        let end = offset.saturating_add(len as u64);
        let (first, last) = (offset / PAGE_SIZE as u64, end.div_ceil(PAGE_SIZE as u64));
        let taken = (first..last)
            .filter(|index| {
                let page = usize::try_from(*index)
                    .ok()
                    .and_then(|index| self.pages.get(index));
                !matches!(page, None | Some(Page::Hole))
            })
            .count();
        (last - first).saturating_sub(taken as u64) * PAGE_SIZE as u64
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let len = usize::try_from(self.size.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut rest = buffer.get_mut(..len).unwrap_or_default();
        let mut position = offset;
        while !rest.is_empty() {
            let (page, within) = split(position, PAGE_SIZE);
            let step = rest.len().min(PAGE_SIZE - within);
            let (now, later) = rest.split_at_mut(step);
            match self.pages.get(page) {
                Some(Page::Bytes(bytes)) => {
                    now.copy_from_slice(bytes.get(within..within + step).unwrap_or_default());
                }
                Some(Page::Hole | Page::Zeros) | None => now.fill(0),
            }
            rest = later;
            position += step as u64;
        }
        len
    }

    /// Writes all of `bytes` into the cache.
    pub(super) fn write(&mut self, moment: u64, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        if bytes.is_empty() {
            return Ok(());
        }
        if end > self.size {
            self.resize(moment, end)?;
        }
        let mut rest = bytes;
        let mut position = offset;
        while !rest.is_empty() {
            let (_, within) = split(position, SECTOR_SIZE);
            let (now, later) = rest.split_at(rest.len().min(SECTOR_SIZE - within));
            self.write_in_sector(moment, now, position);
            position += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    /// Cuts the file, or grows it with a hole.
    pub(super) fn resize(&mut self, moment: u64, size: u64) -> io::Result<()> {
        if size > FILE_SIZE_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if size == self.size {
            return Ok(());
        }
        self.zero_from(moment, size);
        self.pages.resize(
            split(size.next_multiple_of(PAGE_SIZE as u64), PAGE_SIZE).0,
            Page::Hole,
        );
        self.size = size;
        self.pending_sizes.push((moment, size));
        self.sizes_abandoned = false;
        Ok(())
    }

    /// Everything pending reaches the device.
    pub(super) fn sync(&mut self) {
        self.pending.retain(|_, sector| sector.abandoned);
        if !self.sizes_abandoned {
            self.durable_size = self.size;
            self.pending_sizes.clear();
        }
    }

    /// A sync fails and marks everything pending as clean: readers still see it, no later sync writes it.
    pub(super) fn abandon(&mut self) {
        for sector in self.pending.values_mut() {
            sector.abandoned = true;
        }
        self.sizes_abandoned = !self.pending_sizes.is_empty();
    }

    /// The cache forgets what was abandoned, and readers see what the device holds.
    pub(super) fn forget_abandoned(&mut self) {
        if self.sizes_abandoned {
            self.cut_pages(self.durable_size);
            self.pending_sizes.clear();
            self.sizes_abandoned = false;
        }
        let abandoned: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, sector)| sector.abandoned)
            .map(|(number, _)| *number)
            .collect();
        for number in abandoned {
            if let Some(sector) = self.pending.remove(&number) {
                self.put_sector(number, &known(sector.durable.as_ref()));
            }
        }
    }

    /// Whether the device holds all of it.
    pub(super) fn is_durable(&self) -> bool {
        self.pending.is_empty() && self.pending_sizes.is_empty()
    }

    /// Adds what is pending here.
    pub(super) fn summarize(&self, moments: &mut BTreeSet<u64>, summary: &mut PendingSummary) {
        summary.items += self
            .pending
            .values()
            .filter(|sector| !sector.abandoned)
            .count() as u64;
        for sector in self.pending.values() {
            moments.extend(sector.between.iter().map(|(moment, _)| *moment));
            moments.insert(sector.newest);
        }
        moments.extend(self.pending_sizes.iter().map(|(moment, _)| *moment));
    }

    /// The file as the device holds it after a crash.
    pub(super) fn after_crash(&self, chooser: &mut Chooser) -> Self {
        let mut left = Self {
            pages: self.pages.clone(),
            size: self.size,
            ..Self::default()
        };
        let size = self.size_after_crash(chooser);
        let pages = split(size.next_multiple_of(PAGE_SIZE as u64), PAGE_SIZE).0;
        left.pages.resize(pages.max(left.pages.len()), Page::Hole);
        let mut page = None;
        for (number, sector) in &self.pending {
            if page != Some(number / SECTORS_PER_PAGE) {
                page = Some(number / SECTORS_PER_PAGE);
                chooser.enter_page(&self.moments_in_page(number / SECTORS_PER_PAGE));
            }
            self.decide_sector(chooser, *number, sector, &mut left);
        }
        left.cut_pages(size);
        left.durable_size = size;
        left
    }

    /// Changes the bytes on the device and in the cache; what was pending in their sectors is durable from then on.
    pub(super) fn spoil(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.write(0, bytes, offset)?;
        for number in offset / SECTOR_SIZE as u64..end.div_ceil(SECTOR_SIZE as u64) {
            self.pending.remove(&number);
        }
        Ok(())
    }

    /// Changes the size on the device and in the cache.
    pub(super) fn spoil_size(&mut self, size: u64) -> io::Result<()> {
        self.resize(0, size)?;
        self.sync();
        Ok(())
    }

    fn size_after_crash(&self, chooser: &mut Chooser) -> u64 {
        if self.sizes_abandoned || self.pending_sizes.is_empty() {
            return self.durable_size;
        }
        let mut moments = vec![0];
        moments.extend(self.pending_sizes.iter().map(|(moment, _)| *moment));
        match chooser.size(&moments).checked_sub(1) {
            Some(index) => self
                .pending_sizes
                .get(index)
                .map_or(self.size, |(_, size)| *size),
            None => self.durable_size,
        }
    }

    fn moments_in_page(&self, page: u64) -> Vec<u64> {
        let mut moments = BTreeSet::new();
        for (_, sector) in self
            .pending
            .range(page * SECTORS_PER_PAGE..(page + 1) * SECTORS_PER_PAGE)
        {
            moments.extend(sector.between.iter().map(|(moment, _)| *moment));
            moments.insert(sector.newest);
        }
        moments.into_iter().collect()
    }

    /// Puts what the device kept of one pending sector into `left`.
    fn decide_sector(
        &self,
        chooser: &mut Chooser,
        number: u64,
        sector: &PendingSector,
        left: &mut Self,
    ) {
        let moments = sector.moments();
        let fate = if sector.abandoned {
            SectorFate::Version(0)
        } else {
            chooser.sector(&moments)
        };
        match fate {
            SectorFate::Version(0) => left.put_sector(number, &known(sector.durable.as_ref())),
            SectorFate::Version(index) => {
                // The newest version is the one the pages already hold.
                if let Some((_, bytes)) = sector.between.get(index - 1) {
                    left.put_sector(number, bytes);
                }
            }
            SectorFate::Torn { new_len } => {
                let mut bytes = known(sector.durable.as_ref());
                let newest = self.sector(number);
                for (old, new) in bytes.iter_mut().zip(newest).take(new_len) {
                    *old = new;
                }
                left.put_sector(number, &bytes);
            }
            SectorFate::Garbage(seed) => {
                let mut bytes = [0; SECTOR_SIZE];
                SplitMix64::new(seed).fill(&mut bytes);
                left.put_sector(number, &bytes);
            }
        }
    }

    /// Writes bytes that lie within one sector and within the size.
    fn write_in_sector(&mut self, moment: u64, bytes: &[u8], position: u64) {
        let number = position / SECTOR_SIZE as u64;
        let (page, within) = split(position, PAGE_SIZE);
        let range = within..within + bytes.len();
        let unchanged = match self.pages.get_mut(page) {
            Some(Page::Bytes(old)) => old.get(range.clone()) == Some(bytes),
            Some(hole @ (Page::Hole | Page::Zeros)) => {
                *hole = Page::Zeros;
                ZERO_SECTOR.get(..bytes.len()) == Some(bytes)
            }
            None => return,
        };
        let abandoned = self
            .pending
            .get(&number)
            .is_some_and(|sector| sector.abandoned);
        if unchanged && !abandoned {
            return;
        }
        self.remember(moment, number);
        if let Some(target) = self.page_mut(page).and_then(|page| page.get_mut(range)) {
            target.copy_from_slice(bytes);
        }
    }

    /// Keeps the sector's present content as a version before it is changed.
    fn remember(&mut self, moment: u64, number: u64) {
        let present = self.sector(number);
        match self.pending.get_mut(&number) {
            None => {
                let durable = (present != ZERO_SECTOR).then(|| Arc::new(present));
                let sector = PendingSector {
                    durable,
                    between: Vec::new(),
                    newest: moment,
                    abandoned: false,
                };
                self.pending.insert(number, sector);
            }
            Some(sector) => {
                // An abandoned version was never on its way to the device.
                if sector.abandoned {
                    sector.between.clear();
                } else {
                    sector.between.push((sector.newest, Arc::new(present)));
                }
                if sector.between.len() > VERSIONS_BETWEEN_MAX {
                    sector.between.remove(0);
                }
                sector.abandoned = false;
                sector.newest = moment;
            }
        }
    }

    /// Zeroes what lies beyond `size`, remembering what was there: a cut that is not durable may not have happened.
    fn zero_from(&mut self, moment: u64, size: u64) {
        let mut position = size;
        while position < self.size {
            let (page, within) = split(position, PAGE_SIZE);
            if !matches!(self.pages.get(page), Some(Page::Bytes(_))) {
                position += (PAGE_SIZE - within) as u64;
                continue;
            }
            let len = SECTOR_SIZE - split(position, SECTOR_SIZE).1;
            self.write_in_sector(moment, ZERO_SECTOR.get(..len).unwrap_or_default(), position);
            position += len as u64;
        }
    }

    /// Sets the size without a trace of what was beyond.
    fn cut_pages(&mut self, size: u64) {
        let (page, within) = split(size, PAGE_SIZE);
        self.pages.resize(
            split(size.next_multiple_of(PAGE_SIZE as u64), PAGE_SIZE).0,
            Page::Hole,
        );
        if within > 0
            && matches!(self.pages.get(page), Some(Page::Bytes(_)))
            && let Some(beyond) = self.page_mut(page).and_then(|page| page.get_mut(within..))
        {
            beyond.fill(0);
        }
        self.pending
            .retain(|number, _| number * (SECTOR_SIZE as u64) < size);
        self.size = size;
    }

    fn sector(&self, number: u64) -> SectorBytes {
        let mut bytes = [0; SECTOR_SIZE];
        let (page, within) = split(number * SECTOR_SIZE as u64, PAGE_SIZE);
        if let Some(Page::Bytes(page)) = self.pages.get(page)
            && let Some(present) = page.get(within..within + SECTOR_SIZE)
        {
            bytes.copy_from_slice(present);
        }
        bytes
    }

    fn put_sector(&mut self, number: u64, bytes: &SectorBytes) {
        let (page, within) = split(number * SECTOR_SIZE as u64, PAGE_SIZE);
        let needless =
            matches!(self.pages.get(page), Some(Page::Hole | Page::Zeros)) && *bytes == ZERO_SECTOR;
        if !needless
            && let Some(target) = self
                .page_mut(page)
                .and_then(|page| page.get_mut(within..within + SECTOR_SIZE))
        {
            target.copy_from_slice(bytes);
        }
    }

    fn page_mut(&mut self, index: usize) -> Option<&mut PageBytes> {
        let page = self.pages.get_mut(index)?;
        if !matches!(page, Page::Bytes(_)) {
            *page = Page::Bytes(Arc::new([0; PAGE_SIZE]));
        }
        match page {
            Page::Bytes(bytes) => Some(Arc::make_mut(bytes)),
            Page::Hole | Page::Zeros => None,
        }
    }
}

fn known(bytes: Option<&Arc<SectorBytes>>) -> SectorBytes {
    bytes.map_or([0; SECTOR_SIZE], |bytes| **bytes)
}

/// Which unit a position is in, and where in it.
fn split(position: u64, unit: usize) -> (usize, usize) {
    let position = usize::try_from(position).unwrap_or(usize::MAX);
    (position / unit, position % unit)
}
