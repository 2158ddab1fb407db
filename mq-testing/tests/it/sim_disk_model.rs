//! Random calls on a simulated file against the plainest model of one: a vector of bytes, and every version each sector had.

use std::collections::{BTreeMap, BTreeSet};

use mq_persistence::storage::{OpenMode, Storage, StorageFile};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, SECTOR_SIZE, SimDisk};

const SIZE_MAX: u64 = 12_000;

/// What a file may be.
#[derive(Default)]
struct Model {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// Every size since the last sync.
    sizes: BTreeSet<usize>,
    /// Every content of each sector since the last sync, padded with zeros.
    versions: BTreeMap<usize, BTreeSet<Vec<u8>>>,
}

impl Model {
    fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.now);
        self.remember();
    }

    fn sync(&mut self) {
        self.synced = self.now.clone();
        self.sizes.clear();
        self.versions.clear();
        self.remember();
    }

    fn remember(&mut self) {
        self.sizes.insert(self.now.len());
        for number in 0..usize::try_from(SIZE_MAX).unwrap().div_ceil(SECTOR_SIZE) {
            let start = (number * SECTOR_SIZE).min(self.now.len());
            let end = (start + SECTOR_SIZE).min(self.now.len());
            let mut sector = self.now[start..end].to_vec();
            sector.resize(SECTOR_SIZE, 0);
            self.versions.entry(number).or_default().insert(sector);
        }
    }

    /// Whether a crash that spoils no sector may leave these bytes.
    fn allows(&self, bytes: &[u8]) -> bool {
        self.sizes.contains(&bytes.len())
            && bytes.chunks(SECTOR_SIZE).enumerate().all(|(number, left)| {
                self.versions[&number]
                    .iter()
                    .any(|version| version[..left.len()] == *left)
            })
    }
}

fn step(random: &mut SplitMix64, file: &dyn StorageFile, model: &mut Model) {
    match random.below(10) {
        0 => {
            file.sync_data().unwrap();
            model.sync();
        }
        1 | 2 => {
            let size = random.below(SIZE_MAX);
            file.set_size(size).unwrap();
            model.change(|bytes| bytes.resize(usize::try_from(size).unwrap(), 0));
        }
        _ => {
            let offset = usize::try_from(random.below(SIZE_MAX - 3000)).unwrap();
            let mut bytes = vec![0; usize::try_from(random.below(3000)).unwrap()];
            if random.chance(3, 4) {
                random.fill(&mut bytes);
            }
            assert_eq!(file.write_at(&bytes, offset as u64).unwrap(), bytes.len());
            if !bytes.is_empty() {
                model.change(|now| {
                    now.resize(now.len().max(offset + bytes.len()), 0);
                    now[offset..offset + bytes.len()].copy_from_slice(&bytes);
                });
            }
        }
    }
}

fn run(seed: u64) {
    let mut random = SplitMix64::new(seed);
    let disk = SimDisk::new();
    disk.create_directory().unwrap();
    let file = disk.open("file", OpenMode::CreateNew).unwrap();
    disk.sync_directory().unwrap();
    let mut model = Model::default();
    model.remember();
    for _ in 0..40 {
        step(&mut random, file.as_ref(), &mut model);
        assert_eq!(
            disk.file_bytes("file").unwrap(),
            model.now,
            "seed {seed}: a reader sees something else"
        );
        let lost = disk
            .fork()
            .power_cycle(CrashMode::LoseAll)
            .file_bytes("file")
            .unwrap();
        assert_eq!(lost, model.synced, "seed {seed}: synced bytes changed");
        let kept = disk
            .fork()
            .power_cycle(CrashMode::KeepAll)
            .file_bytes("file")
            .unwrap();
        assert_eq!(kept, model.now, "seed {seed}: written bytes changed");
        for mode in [
            CrashMode::Prefix(random.next_u64()),
            CrashMode::Page4k(random.next_u64()),
        ] {
            let left = disk.fork().power_cycle(mode).file_bytes("file").unwrap();
            assert!(
                model.allows(&left),
                "seed {seed}: {mode:?} left what never was"
            );
        }
    }
}

#[test]
fn a_file_is_at_any_time_what_the_model_allows() {
    for seed in 0..300 {
        run(seed);
    }
}

#[test]
fn equal_seeds_leave_equal_disks() {
    for seed in 0..20 {
        let leave = || {
            let disk = SimDisk::new();
            disk.create_directory().unwrap();
            let file = disk.open("file", OpenMode::CreateNew).unwrap();
            let mut random = SplitMix64::new(seed);
            for _ in 0..20 {
                step(&mut random, file.as_ref(), &mut Model::default());
            }
            disk.sync_directory().unwrap();
            disk.power_cycle(CrashMode::Subset(seed))
                .file_bytes("file")
                .unwrap()
        };
        assert_eq!(leave(), leave(), "seed {seed}");
    }
}
