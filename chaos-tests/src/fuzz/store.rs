//! Targets that damage a store: whatever was done to its files, it is refused, or it opens and every payload is whole.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use mq_core::command::Settlement;
use mq_persistence::inspect;
use mq_persistence::storage::Storage;
use mq_testing::sim_disk::SimDisk;

use crate::machine::Machine;
use crate::workload::{Knowledge, is_whole, two_lives};

/// Bytes of one change of a file.
const CHANGE_SIZE: usize = 9;
const CHANGES_MAX: usize = 32;

/// A store with a history of two lives. Made once.
fn base() -> SimDisk {
    static BASE: OnceLock<SimDisk> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let disk = SimDisk::new();
        if let Err(error) = two_lives(&disk, &mut Knowledge::default()) {
            eprintln!("the base store: {error}");
        }
        disk
    });
    base.fork()
}

/// Each nine bytes change a file of a store; then it is verified, dumped, opened and worked off.
pub fn store(data: &[u8]) {
    let disk = base();
    for change in data.chunks_exact(CHANGE_SIZE).take(CHANGES_MAX) {
        damage(&disk, change);
    }
    judge(&disk);
}

/// The bytes stand in the newest snapshot of a store, from some place on.
pub fn snapshot(data: &[u8]) {
    let Some((place, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let disk = base();
    let names = disk.file_names();
    let Some(name) = names.iter().find(|name| name.starts_with("snap")) else {
        return;
    };
    let mut bytes = disk.file_bytes(name).unwrap_or_default();
    let place = usize::from(u16::from_le_bytes(*place)).min(bytes.len());
    bytes.resize(bytes.len().max(place + rest.len()), 0);
    for (byte, new) in bytes.iter_mut().skip(place).zip(rest) {
        *byte = *new;
    }
    drop(disk.install(name, &bytes));
    judge(&disk);
}

fn damage(disk: &SimDisk, change: &[u8]) {
    let [file, kind, a, b, c, d, e, f, g] = *change else {
        return;
    };
    let names = disk.file_names();
    let Some(name) = names.get(usize::from(file) % names.len().max(1)) else {
        return;
    };
    let size = disk.file_bytes(name).map_or(0, |bytes| bytes.len() as u64);
    let offset = u64::from(u32::from_le_bytes([a, b, c, d])) % size.max(1);
    let changed = match kind % 7 {
        0 => disk.flip_bit(name, offset, e % 8),
        1 | 2 => disk.overwrite(name, offset, &[e, f, g]),
        3 => disk.zero_sector(name, offset / 512),
        4 => disk.swap_sectors(name, offset / 512, u64::from(e)),
        5 => disk.cut(name, offset),
        _ => match names.get(usize::from(e) % names.len()) {
            Some(other) if f % 4 > 0 => disk.swap_files(name, other),
            Some(_) | None => disk.delete(name),
        },
    };
    drop(changed); // beyond the end of the file, say
}

fn judge(disk: &SimDisk) {
    let storage: Arc<dyn Storage> = Arc::new(disk.fork());
    drop(inspect::verify(&storage));
    drop(inspect::dump(&*storage, &mut |_| ControlFlow::Continue(())));
    let Ok(machine) = Machine::open(disk, 3) else {
        return;
    };
    for _ in 0..20 {
        let grants = machine.take(64);
        if grants.is_empty() {
            break;
        }
        for grant in grants {
            assert!(is_whole(&grant.envelope.payload), "a payload was altered");
            drop(machine.settle(&grant, Settlement::Succeed { result: None }, Vec::new()));
        }
    }
    machine.maintain();
}
