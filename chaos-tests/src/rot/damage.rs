//! What can happen to the bytes of a store, one thing at a time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;

use mq_persistence::inspect::FileRole;
use mq_persistence::segment::DATA_START;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{SECTOR_SIZE, SimDisk};

use super::Specimen;

const SECTOR: u64 = SECTOR_SIZE as u64;
/// Header of a frame and of its first record.
const FRAME_HEAD: usize = 64 + 13;
/// The fields of a segment's header and of `IDENT`, of which there are two copies.
const FILE_HEAD: usize = 132;
/// Bytes behind the last one in use are zeros that nobody reads: so few of them are tried.
const UNUSED_EVERY: usize = 509;

/// One thing that happened. Files are numbers in [`Specimen::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// A bit turned over.
    Bit {
        /// Where.
        file: usize,
        /// The byte.
        at: u64,
        /// Which of its bits.
        bit: u8,
    },
    /// A sector was lost.
    Zeroed {
        /// Where.
        file: usize,
        /// Counted from 0.
        sector: u64,
    },
    /// A sector holds rubbish.
    Garbage {
        /// Where.
        file: usize,
        /// Counted from 0.
        sector: u64,
    },
    /// A write was lost: the sector holds what stood there earlier, in the file that is or was called so.
    Stale {
        /// Where.
        file: usize,
        /// Counted from 0.
        sector: u64,
        /// A number in [`Specimen::earlier`].
        moment: usize,
        /// The file it is taken from.
        from: usize,
    },
    /// A write went astray: the sector holds another one's bytes, which also stand where they belong.
    Misdirected {
        /// Where.
        file: usize,
        /// Counted from 0.
        sector: u64,
        /// The file that the bytes belong to.
        from: usize,
        /// The sector that they belong to.
        from_sector: u64,
    },
    /// Two sectors changed places.
    Swapped {
        /// Where.
        file: usize,
        /// Counted from 0.
        sector: u64,
        /// The other one.
        other: u64,
    },
    /// A file was cut.
    Cut {
        /// Which.
        file: usize,
        /// What is left of it.
        at: u64,
    },
    /// A file is gone.
    Deleted {
        /// Which.
        file: usize,
    },
    /// Two files changed names.
    Exchanged {
        /// One.
        file: usize,
        /// The other.
        other: usize,
    },
    /// A file is as it was earlier.
    Older {
        /// Which.
        file: usize,
        /// A number in [`Specimen::earlier`].
        moment: usize,
    },
}

/// One of how many places of each class is tried.
#[derive(Clone, Copy, Debug)]
pub struct Density {
    /// Bits of headers: of files, of frames, of snapshots.
    pub head_bits: u64,
    /// Bytes elsewhere, one bit of each.
    pub bytes: u64,
    /// Whether all bits of bytes elsewhere are turned over.
    pub all_bits: bool,
    /// Cuts.
    pub cuts: u64,
    /// Sectors, for each thing that can happen to one.
    pub sectors: u64,
    /// Sectors to be stale, misdirected or swapped in how many ways.
    pub ways: u64,
}

impl Damage {
    /// Does it.
    ///
    /// # Errors
    /// There is no such place; that is a mistake in the suite.
    pub fn strike(self, specimen: &Specimen, disk: &SimDisk) -> io::Result<()> {
        let name = |file| specimen.name(file);
        match self {
            Self::Bit { file, at, bit } => disk.flip_bit(name(file), at, bit),
            Self::Zeroed { file, sector } => disk.zero_sector(name(file), sector),
            Self::Garbage { file, sector } => {
                let mut bytes = [0; SECTOR_SIZE];
                SplitMix64::new(sector ^ 0x6a12_ba6e).fill(&mut bytes);
                disk.overwrite(name(file), sector * SECTOR, &bytes)
            }
            Self::Stale {
                file,
                sector,
                moment,
                from,
            } => {
                let bytes = specimen.earlier_sector(moment, from, sector);
                let bytes = bytes.ok_or(io::ErrorKind::NotFound)?;
                disk.overwrite(name(file), sector * SECTOR, &bytes)
            }
            Self::Misdirected {
                file,
                sector,
                from,
                from_sector,
            } => {
                let bytes = specimen.sector(from, from_sector);
                let bytes = bytes.ok_or(io::ErrorKind::NotFound)?;
                disk.overwrite(name(file), sector * SECTOR, bytes)
            }
            Self::Swapped {
                file,
                sector,
                other,
            } => disk.swap_sectors(name(file), sector, other),
            Self::Cut { file, at } => disk.cut(name(file), at),
            Self::Deleted { file } => disk.delete(name(file)),
            Self::Exchanged { file, other } => disk.swap_files(name(file), name(other)),
            Self::Older { file, moment } => {
                let bytes = specimen.earlier_file(moment, file);
                disk.install(name(file), &bytes.ok_or(io::ErrorKind::NotFound)?)
            }
        }
    }

    /// The files that are not as they were.
    #[must_use]
    pub fn files(self) -> Vec<usize> {
        match self {
            Self::Bit { file, .. }
            | Self::Zeroed { file, .. }
            | Self::Garbage { file, .. }
            | Self::Stale { file, .. }
            | Self::Misdirected { file, .. }
            | Self::Swapped { file, .. }
            | Self::Cut { file, .. }
            | Self::Deleted { file }
            | Self::Older { file, .. } => vec![file],
            Self::Exchanged { file, other } => vec![file, other],
        }
    }

    /// The bytes that are not as they were, of one file, in two places or twice the same; `None` if it is the file as such.
    #[must_use]
    pub fn ranges(self) -> Option<[Range<u64>; 2]> {
        let of_sector = |sector: u64| sector * SECTOR..(sector + 1) * SECTOR;
        let (one, other) = match self {
            Self::Bit { at, .. } => (at..at + 1, at..at + 1),
            Self::Zeroed { sector, .. }
            | Self::Garbage { sector, .. }
            | Self::Stale { sector, .. }
            | Self::Misdirected { sector, .. } => (of_sector(sector), of_sector(sector)),
            Self::Swapped { sector, other, .. } => (of_sector(sector), of_sector(other)),
            Self::Cut { at, .. } => (at..u64::MAX, at..u64::MAX),
            Self::Deleted { .. } | Self::Exchanged { .. } | Self::Older { .. } => return None,
        };
        Some([one, other])
    }

    /// Whether it is one of the eighth part that is looked at twice.
    #[must_use]
    pub fn is_eighth(self) -> bool {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish().is_multiple_of(8)
    }

    /// Whether a file as such is gone, or another stands in its place.
    #[must_use]
    pub const fn is_of_whole_files(self) -> bool {
        matches!(
            self,
            Self::Deleted { .. } | Self::Exchanged { .. } | Self::Older { .. }
        )
    }
}

impl Specimen {
    /// All damage to be done, at this density; which places are left out depends on the seed.
    #[must_use]
    pub fn damages(&self, density: &Density, seed: u64) -> Vec<Damage> {
        let mut random = SplitMix64::new(seed);
        let mut all = Vec::new();
        for file in 0..self.files().len() {
            self.bits(file, density, &mut random, &mut all);
            self.sectors(file, density, &mut random, &mut all);
            self.whole(file, &mut all);
        }
        all
    }

    /// Bits and cuts.
    fn bits(&self, file: usize, density: &Density, random: &mut SplitMix64, all: &mut Vec<Damage>) {
        let Some((name, bytes)) = self.files().get(file) else {
            return;
        };
        let role = FileRole::of(name);
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let mut frame = None;
        for at in 0..bytes.len() {
            if at % SECTOR_SIZE == 0 && bytes.get(at..at + 4) == Some(b"mqFr") {
                frame = Some(at);
            }
            if at > used && at % UNUSED_EVERY != 0 {
                continue;
            }
            let is_head = match role {
                FileRole::Segment => {
                    let in_frame = frame.is_some_and(|start| at - start < FRAME_HEAD);
                    let in_file = at < 2 * SECTOR_SIZE && at % SECTOR_SIZE < FILE_HEAD;
                    in_frame || (in_file && at < DATA_START as usize)
                }
                FileRole::Identity => at % SECTOR_SIZE < FILE_HEAD,
                FileRole::Snapshot => true,
                FileRole::Lock
                | FileRole::Spare
                | FileRole::Scratch
                | FileRole::Aside
                | FileRole::Other => false,
            };
            let place = at as u64;
            for bit in 0..8 {
                let is_tried = if is_head || density.all_bits {
                    random.chance(1, density.head_bits)
                } else {
                    bit == 0 && random.chance(1, density.bytes)
                };
                if is_tried {
                    let bit = if is_head || density.all_bits {
                        bit
                    } else {
                        u8::try_from(random.below(8)).unwrap_or(0)
                    };
                    all.push(Damage::Bit {
                        file,
                        at: place,
                        bit,
                    });
                }
            }
            if random.chance(1, density.cuts) {
                all.push(Damage::Cut { file, at: place });
            }
        }
    }

    fn sectors(
        &self,
        file: usize,
        density: &Density,
        random: &mut SplitMix64,
        all: &mut Vec<Damage>,
    ) {
        for sector in 0..self.sectors_of(file) {
            if !random.chance(1, density.sectors) {
                continue;
            }
            all.push(Damage::Zeroed { file, sector });
            all.push(Damage::Garbage { file, sector });
            all.extend(self.stale(file, sector, density.ways, random));
            for _ in 0..density.ways {
                let other = random.below(self.sectors_of(file));
                all.push(Damage::Swapped {
                    file,
                    sector,
                    other,
                });
                let from = random.below(self.files().len() as u64);
                let from = usize::try_from(from).unwrap_or(0);
                let from_sector = random.below(self.sectors_of(from).max(1));
                if self.sector(from, from_sector).is_some() {
                    all.push(Damage::Misdirected {
                        file,
                        sector,
                        from,
                        from_sector,
                    });
                }
            }
        }
    }

    /// Each version that stood in this sector earlier, newest first, and the same sector of other files in some moments.
    fn stale(&self, file: usize, sector: u64, ways: u64, random: &mut SplitMix64) -> Vec<Damage> {
        let mut seen = vec![self.sector(file, sector).map(<[u8]>::to_vec)];
        let mut found = Vec::new();
        let strange = (0..ways).map(|_| {
            let moment = random.below(self.earlier().len() as u64);
            let from = random.below(self.files().len() as u64);
            [moment, from].map(|number| usize::try_from(number).unwrap_or(0))
        });
        let strange: Vec<[usize; 2]> = strange.collect();
        let own = (0..self.earlier().len()).rev().map(|moment| [moment, file]);
        for [moment, from] in own.chain(strange) {
            let bytes = self.earlier_sector(moment, from, sector);
            if bytes.is_some() && !seen.contains(&bytes) {
                seen.push(bytes);
                found.push(Damage::Stale {
                    file,
                    sector,
                    moment,
                    from,
                });
            }
        }
        found
    }

    /// What happens to files as such.
    fn whole(&self, file: usize, all: &mut Vec<Damage>) {
        all.push(Damage::Deleted { file });
        let others = file + 1..self.files().len();
        all.extend(others.map(|other| Damage::Exchanged { file, other }));
        let mut seen = vec![self.files().get(file).map(|(_, bytes)| bytes.clone())];
        for moment in (0..self.earlier().len()).rev() {
            let bytes = self.earlier_file(moment, file);
            if bytes.is_some() && !seen.contains(&bytes) {
                seen.push(bytes);
                all.push(Damage::Older { file, moment });
            }
        }
    }
}
