//! The seeds of the fuzz targets, and mutations of them, on every machine: none of them panics or breaks a promise.

use std::path::Path;

use chaos_tests::fuzz::TARGETS;
use mq_testing::random::SplitMix64;

/// Mutations of all seeds of a target together, and of one of them at most.
const MUTATIONS: usize = 150;
const MUTATIONS_OF_ONE_MAX: usize = 12;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = std::fs::read_dir(folder.join(target)).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

fn mutated(seed: &[u8], random: &mut SplitMix64) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap();
        match random.below(3) {
            0 if at < bytes.len() => bytes[at] = random.next_u64().to_le_bytes()[0],
            1 => bytes.truncate(at),
            _ => bytes.insert(at.min(bytes.len()), random.next_u64().to_le_bytes()[0]),
        }
    }
    bytes
}

#[test]
fn every_target_has_seeds_and_survives_them_and_their_neighbours() {
    for target in TARGETS {
        let seeds = seeds(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        let mut random = SplitMix64::new(20_261_127);
        let mutations = (MUTATIONS / seeds.len()).clamp(1, MUTATIONS_OF_ONE_MAX);
        for seed in &seeds {
            (target.attempt)(seed);
            for _ in 0..mutations {
                (target.attempt)(&mutated(seed, &mut random));
            }
        }
    }
}
