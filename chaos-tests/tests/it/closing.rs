//! A store that is opened for a moment, again and again, does not grow, and a close that dies behind its mark loses nothing.

use bytes::Bytes;
use chaos_tests::machine::Machine;
use mq_core::backend::WhenFull;
use mq_core::id::{MessageId, Seq};
use mq_core::message::NewMessage;
use mq_core::view::{Filter, Lookup};
use mq_testing::crash_points::Crash;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

const MIB: usize = 1 << 20;

/// Opens a store with the usual sizes.
fn open(disk: &SimDisk, life: u64) -> Machine {
    let usual = |builder: mq::Builder| builder.segment_size_max(64 << 20).snapshot_after(256 << 20);
    Machine::open_with(disk, life, usual).unwrap()
}

fn enqueue(machine: &Machine, payload: &str) -> MessageId {
    let queue = "orders".parse().unwrap();
    let message = NewMessage::new(
        queue,
        "order".parse().unwrap(),
        Bytes::from(payload.to_owned()),
    );
    let backend = machine.backend();
    let receipts = backend.enqueue(vec![message], WhenFull::Refuse).wait();
    receipts.unwrap().unwrap()[0].accepted.id
}

fn size(disk: &SimDisk) -> usize {
    let names = disk.file_names();
    let sizes = names.iter().filter_map(|name| disk.file_bytes(name));
    sizes.map(|bytes| bytes.len()).sum()
}

fn segments(disk: &SimDisk) -> usize {
    let names = disk.file_names();
    names.iter().filter(|name| name.ends_with(".seg")).count()
}

/// The first tick of an opening finishes it, in a frame that nothing but the opening waits for.
#[test]
fn an_opening_does_not_wait_for_the_time_of_a_sync() {
    let disk = SimDisk::new();
    let written = |builder: mq::Builder| builder.durability(mq::Durability::Buffered);
    let machine = Machine::open_with(&disk, 0, written).unwrap();
    let id = enqueue(&machine, "cancelled while it runs");
    assert_eq!(machine.take(1).len(), 1);
    let cancel = mq_core::backend::OperateRequest::Cancel;
    machine
        .backend()
        .operate(id, cancel)
        .wait()
        .unwrap()
        .unwrap();
    machine.commit();
    let left = Crash::Kill.strike(&disk);
    drop(machine);
    let machine = Machine::open_with(&left, 1, written).unwrap();
    assert_eq!(machine.backend().stats().live_messages, 0);
}

fn is_there(machine: &Machine, id: MessageId, payload: &str) -> bool {
    let found = machine.backend().message(id).wait().unwrap().unwrap();
    let envelope = machine.backend().envelope(id).wait().unwrap().unwrap();
    matches!(found, Lookup::Found(_))
        && envelope.is_some_and(|envelope| envelope.payload == payload.as_bytes())
}

#[test]
fn a_store_that_is_only_looked_at_does_not_grow() {
    let disk = SimDisk::new();
    let mut machine = open(&disk, 0);
    let id = enqueue(&machine, "kept");
    machine.maintain();
    machine.close().unwrap();
    let mut sizes = Vec::new();
    for life in 1..=250 {
        let mut machine = open(&disk, life);
        let page = machine
            .backend()
            .list(Filter::default(), Seq::NONE, 10)
            .wait();
        assert_eq!(page.unwrap().unwrap().messages.len(), 1);
        if life % 5 == 0 {
            machine.maintain();
        }
        machine.close().unwrap();
        sizes.push(size(&disk));
    }
    let largest = sizes.iter().max().unwrap();
    assert!(
        *largest <= 8 * MIB,
        "{largest} bytes: {:?}",
        disk.file_names()
    );
    let (early, late) = sizes.split_at(100);
    let in_mib = |sizes: &[usize]| sizes.iter().max().map(|size| size / MIB);
    assert!(in_mib(late) <= in_mib(early), "{sizes:?}");
    assert!(is_there(&open(&disk, 300), id, "kept"));
}

#[test]
fn a_message_in_each_of_many_short_openings_costs_no_segment_each() {
    let disk = SimDisk::new();
    let mut ids = Vec::new();
    for life in 0..250 {
        let mut machine = open(&disk, life);
        ids.push(enqueue(&machine, &life.to_string()));
        machine.close().unwrap();
        assert!(segments(&disk) <= 9, "{:?}", disk.file_names());
    }
    assert!(size(&disk) <= 10 * MIB, "{}", size(&disk));
    let machine = open(&disk, 300);
    for (life, id) in ids.iter().enumerate() {
        assert!(is_there(&machine, *id, &life.to_string()));
    }
}

/// A few short openings with a message in each; answers the messages.
fn short_lives(disk: &SimDisk, lives: u64) -> Vec<MessageId> {
    (0..lives)
        .map(|life| {
            let mut machine = open(disk, life);
            let id = enqueue(&machine, &life.to_string());
            machine.close().unwrap();
            id
        })
        .collect()
}

#[test]
fn a_close_that_dies_anywhere_loses_nothing() {
    const LIVES: u64 = 9; // enough for a close that copies, takes a snapshot and frees
    let mut trials = 0;
    for crash in [
        Crash::Kill,
        Crash::Power(CrashMode::LoseAll),
        Crash::Power(CrashMode::Subset(7)),
        Crash::Power(CrashMode::Page4k(7)),
    ] {
        for after in 0.. {
            let disk = SimDisk::new();
            let mut ids = short_lives(&disk, LIVES - 1);
            let mut machine = open(&disk, LIVES);
            ids.push(enqueue(&machine, &(LIVES - 1).to_string()));
            machine.commit();
            let before = disk.io_count();
            disk.crash_after(before + after);
            drop(machine.close());
            let is_over = !disk.has_crashed();
            let disk = crash.strike(&disk);
            let machine = open(&disk, 100);
            for (life, id) in ids.iter().enumerate() {
                assert!(
                    is_there(&machine, *id, &life.to_string()),
                    "message {life} after {crash:?} behind {after} I/Os of the close"
                );
            }
            trials += 1;
            if is_over {
                break;
            }
        }
    }
    assert!(trials > 60, "{trials}");
}

#[test]
fn a_snapshot_that_fails_behind_the_close_is_none_of_the_messages() {
    for kind in [IoKind::Rename, IoKind::SyncDirectory, IoKind::Remove] {
        let disk = SimDisk::new();
        short_lives(&disk, 3);
        let mut machine = open(&disk, 4);
        let id = enqueue(&machine, "last");
        machine.commit();
        disk.fail_from(kind, 1, Fault::IoError);
        drop(machine.close()); // refused if the failure met the maintenance thread before it
        disk.clear_faults();
        let machine = open(&disk.restart_process(), 5);
        assert!(is_there(&machine, id, "last"), "{kind:?}");
    }
}
