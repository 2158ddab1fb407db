//! What a loss of power leaves behind: for each change that was pending, which of its versions the device kept.
//!
//! The model: a device keeps, for every 512-byte sector written since the last sync, any version the sector had since then, and each
//! sector decides for itself; sizes and names decide for themselves too. A sector that was being written may hold part of the new
//! bytes or garbage. A sector that was not written is never touched: that is the contract a store may rely on.
//!
//! What it does not do: decide about changes made durable by a sync. They stay.
//!
//! Source: Pillai et al., "All file systems are not created equal", OSDI 2014, for what may be reordered; TigerBeetle's storage
//! simulator for garbage in pending sectors.

use crate::random::SplitMix64;

/// What happens to everything that was not synced when the power goes. Equal modes on equal disks leave equal disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Nothing of it was on the device yet.
    LoseAll,
    /// All of it was.
    KeepAll,
    /// What was done first is there, up to some operation, which may be cut between two of its sectors; the rest is not.
    Prefix(u64),
    /// Every sector, size and name for itself: any of its versions, torn, or garbage.
    Subset(u64),
    /// As `Subset`, but the eight sectors of a 4096-byte page share one moment, and none is torn.
    Page4k(u64),
    /// All of it was there but one sector or one name.
    MissingOne(u64),
}

impl CrashMode {
    /// The same kind of crash with other choices, derived from its seed and `salt`.
    #[must_use]
    pub fn reseeded(self, salt: u64) -> Self {
        let mixed =
            |seed: u64| SplitMix64::new(seed ^ salt.wrapping_mul(0x2545_f491_4f6c_dd1d)).next_u64();
        match self {
            Self::LoseAll => Self::LoseAll,
            Self::KeepAll => Self::KeepAll,
            Self::Prefix(seed) => Self::Prefix(mixed(seed)),
            Self::Subset(seed) => Self::Subset(mixed(seed)),
            Self::Page4k(seed) => Self::Page4k(mixed(seed)),
            Self::MissingOne(seed) => Self::MissingOne(mixed(seed)),
        }
    }
}

/// The moments at which something pending was done, and how many things are pending: what a mode needs to know before it chooses.
#[derive(Debug, Default)]
pub(super) struct PendingSummary {
    /// Ascending, each once.
    pub(super) moments: Vec<u64>,
    /// Sectors and names that are pending.
    pub(super) items: u64,
}

/// What became of one sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectorFate {
    /// It holds its version of this index; 0 is the durable one.
    Version(usize),
    /// The first bytes are of the newest version, the rest of the durable one.
    Torn {
        /// How many bytes are new.
        new_len: usize,
    },
    /// Random bytes.
    Garbage(u64),
}

/// Takes the decisions of one crash.
#[derive(Debug)]
pub(super) struct Chooser {
    rule: Rule,
    random: SplitMix64,
}

#[derive(Debug)]
enum Rule {
    Lose,
    Keep,
    Prefix {
        cut: u64,
        sectors_of_cut: u64,
    },
    Subset {
        kept_of_8: u64,
        spoiled_of_16: u64,
        names_in_order: bool,
    },
    Pages {
        cut: u64,
    },
    Missing {
        index: u64,
        met: u64,
    },
}

impl Chooser {
    pub(super) fn new(mode: CrashMode, pending: &PendingSummary) -> Self {
        let seed = match mode {
            CrashMode::LoseAll | CrashMode::KeepAll => 0,
            CrashMode::Prefix(seed)
            | CrashMode::Subset(seed)
            | CrashMode::Page4k(seed)
            | CrashMode::MissingOne(seed) => seed,
        };
        let mut random = SplitMix64::new(seed);
        let rule = match mode {
            CrashMode::LoseAll => Rule::Lose,
            CrashMode::KeepAll => Rule::Keep,
            CrashMode::Prefix(_) => {
                let cut = one_of(&mut random, &pending.moments);
                Rule::Prefix {
                    cut,
                    sectors_of_cut: random.below(9),
                }
            }
            // Few and many losses, none and many spoiled sectors: one rate for all would leave most combinations untried.
            CrashMode::Subset(_) => Rule::Subset {
                kept_of_8: random.pick(&[1, 4, 7]).copied().unwrap_or(4),
                spoiled_of_16: random.pick(&[0, 0, 1, 8]).copied().unwrap_or(0),
                names_in_order: random.chance(1, 2),
            },
            CrashMode::Page4k(_) => Rule::Pages { cut: 0 },
            CrashMode::MissingOne(_) => Rule::Missing {
                index: random.below(pending.items),
                met: 0,
            },
        };
        Self { rule, random }
    }

    /// Tells that the sectors asked about next share a page whose pending versions were made at `moments`.
    pub(super) fn enter_page(&mut self, moments: &[u64]) {
        if let Rule::Pages { cut } = &mut self.rule {
            *cut = one_of(&mut self.random, moments);
        }
    }

    /// The fate of a sector whose versions were made at `moments`, ascending, the first of them the durable version at moment 0.
    pub(super) fn sector(&mut self, moments: &[u64]) -> SectorFate {
        let newest = moments.len().saturating_sub(1);
        match &mut self.rule {
            Rule::Lose => SectorFate::Version(0),
            Rule::Keep => SectorFate::Version(newest),
            Rule::Prefix {
                cut,
                sectors_of_cut,
            } => {
                let index = newest_up_to(moments, *cut);
                if index == 0 || moments.get(index) != Some(cut) {
                    return SectorFate::Version(index);
                }
                // The operation at the cut got as far as its first sectors.
                let reached = *sectors_of_cut > 0;
                *sectors_of_cut = sectors_of_cut.saturating_sub(1);
                SectorFate::Version(if reached { index } else { index - 1 })
            }
            Rule::Subset {
                kept_of_8,
                spoiled_of_16,
                ..
            } => {
                if self.random.chance(*spoiled_of_16, 16) {
                    spoiled(&mut self.random)
                } else if self.random.chance(*kept_of_8, 8) {
                    SectorFate::Version(newest)
                } else {
                    let index = self.random.below(newest as u64);
                    SectorFate::Version(usize::try_from(index).unwrap_or(0))
                }
            }
            Rule::Pages { cut } => SectorFate::Version(newest_up_to(moments, *cut)),
            Rule::Missing { index, met } => {
                *met += 1;
                SectorFate::Version(if *met - 1 == *index { 0 } else { newest })
            }
        }
    }

    /// Which of a size's versions was kept; `moments` as for [`sector`](Self::sector).
    pub(super) fn size(&mut self, moments: &[u64]) -> usize {
        let newest = moments.len().saturating_sub(1);
        match &self.rule {
            Rule::Lose => 0,
            Rule::Keep | Rule::Missing { .. } => newest,
            Rule::Prefix { cut, .. } => newest_up_to(moments, *cut),
            Rule::Subset { .. } | Rule::Pages { .. } => {
                usize::try_from(self.random.below(moments.len() as u64)).unwrap_or(0)
            }
        }
    }

    /// Which of the changes of names, made at `moments`, were kept.
    pub(super) fn names(&mut self, moments: &[u64]) -> Vec<bool> {
        let in_order = matches!(
            &self.rule,
            Rule::Subset {
                names_in_order: true,
                ..
            }
        );
        if in_order {
            let cut = one_of(&mut self.random, moments);
            return moments.iter().map(|moment| *moment <= cut).collect();
        }
        moments.iter().map(|moment| self.name(*moment)).collect()
    }

    /// Whether a single change of a name, made at `moment`, was kept.
    pub(super) fn name(&mut self, moment: u64) -> bool {
        match &mut self.rule {
            Rule::Lose => false,
            Rule::Keep => true,
            Rule::Prefix { cut, .. } => moment <= *cut,
            Rule::Subset { .. } | Rule::Pages { .. } => self.random.chance(1, 2),
            Rule::Missing { index, met } => {
                *met += 1;
                *met - 1 != *index
            }
        }
    }
}

/// One of the moments, or 0: before all of them.
fn one_of(random: &mut SplitMix64, moments: &[u64]) -> u64 {
    match random.below(moments.len() as u64 + 1).checked_sub(1) {
        Some(index) => usize::try_from(index)
            .ok()
            .and_then(|index| moments.get(index))
            .copied()
            .unwrap_or(0),
        None => 0,
    }
}

/// The index of the last version made at or before `cut`.
fn newest_up_to(moments: &[u64], cut: u64) -> usize {
    moments
        .partition_point(|moment| *moment <= cut)
        .saturating_sub(1)
}

fn spoiled(random: &mut SplitMix64) -> SectorFate {
    if random.chance(1, 2) {
        SectorFate::Garbage(random.next_u64())
    } else {
        let new_len = usize::try_from(1 + random.below(511)).unwrap_or(1);
        SectorFate::Torn { new_len }
    }
}
