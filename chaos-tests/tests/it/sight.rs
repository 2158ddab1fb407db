//! What an engine shows of itself: statistics, on a machine whose disk and clock the test holds.

use std::time::Duration;

use bytes::Bytes;
use chaos_tests::machine::Machine;
use mq::{Limit, Refusal, StateKind, Stats};
use mq_core::backend::WhenFull;
use mq_core::command::Settlement;
use mq_core::message::NewMessage;
use mq_core::state::{DeadReason, Failure};
use mq_testing::sim_disk::SimDisk;

fn message(size: usize) -> NewMessage {
    NewMessage::new(
        "orders".parse().unwrap(),
        "order".parse().unwrap(),
        Bytes::from(vec![7; size]),
    )
}

fn enqueue(machine: &Machine, size: usize) -> bool {
    let sent = machine
        .backend()
        .enqueue(vec![message(size)], WhenFull::Refuse);
    sent.wait().unwrap().is_ok()
}

fn stats(machine: &Machine) -> Stats {
    machine.engine().unwrap().stats()
}

fn refused(stats: &Stats, reason: Refusal) -> u64 {
    let found = stats.refused.iter().find(|(known, _)| *known == reason);
    found.unwrap().1
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn syncs_frames_and_the_journal_are_measured() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let before = stats(&machine).journal;
    assert_eq!(before, None, "nobody has looked yet");
    machine.maintain();
    let taken = stats(&machine).journal.unwrap().snapshots;
    assert_eq!(taken.count(), 1, "the segment of the store's making");
    for _ in 0..3 {
        assert!(enqueue(&machine, 1_000));
    }
    machine.maintain();
    let journal = stats(&machine).journal.unwrap();
    assert!(journal.syncs.count() >= 3, "{journal:?}");
    assert!(journal.appends.count() >= 3 && journal.batches.sum() >= 3);
    assert_eq!((journal.lag, journal.busy_for), (0, None));
    assert!(journal.since_snapshot >= 3_000 && journal.size > 0);
    assert_eq!(journal.snapshot_age, Some(Duration::ZERO));
    assert!(journal.segments >= 1);
}

#[test]
fn refusals_are_counted_by_reason() {
    let limit = |builder: mq::Builder| builder.capacity(Limit::messages(64));
    let machine = Machine::open_with(&SimDisk::new(), 0, limit).unwrap();
    while enqueue(&machine, 1) {}
    let too_large = vec![message(2 << 20)];
    let sent = machine.backend().enqueue(too_large, WhenFull::Refuse);
    assert!(sent.wait().unwrap().is_err());
    let stats = stats(&machine);
    assert_eq!(refused(&stats, Refusal::Full), 1);
    assert_eq!(refused(&stats, Refusal::Invalid), 1);
    assert_eq!(refused(&stats, Refusal::KeysFull), 0);
    assert_eq!((stats.enqueued, stats.capacity), (64, Limit::messages(64)));
}

#[test]
fn dead_letters_have_a_number_an_age_and_a_growth() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    machine.maintain();
    assert!(enqueue(&machine, 1));
    let grant = machine.take(1).remove(0);
    let settlement = Settlement::DeadLetter {
        reason: DeadReason::DeadLettered,
        failure: Failure::default(),
        note: None,
    };
    machine.settle(&grant, settlement, Vec::new()).unwrap();
    machine.pass(seconds(90));
    machine.maintain();
    let dead = stats(&machine).dead;
    assert_eq!((dead.total, dead.growth), (1, 1));
    assert_eq!(dead.oldest, Some(seconds(90)));
}

#[test]
fn rates_are_those_of_the_last_minute() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    machine.maintain();
    for _ in 0..12 {
        machine.pass(seconds(5));
        for _ in 0..10 {
            assert!(enqueue(&machine, 1));
        }
        machine.maintain();
    }
    let rate = stats(&machine).rates.enqueued;
    assert!((rate - 2.0).abs() < 0.01, "{rate} per second");
}

#[test]
fn a_disk_that_fills_is_forecast_to_be_full() {
    let disk = SimDisk::with_capacity(64 << 20);
    let machine = Machine::open(&disk, 0).unwrap();
    machine.maintain();
    for _ in 0..20 {
        machine.pass(seconds(5));
        for _ in 0..4 {
            assert!(enqueue(&machine, 40_000));
        }
        machine.maintain();
    }
    let stats = stats(&machine);
    let disk = stats.disk.unwrap();
    let full_in = disk.full_in.expect("a forecast");
    assert!(disk.free.unwrap() > disk.limit && !disk.refuses);
    assert!(
        full_in > seconds(60) && full_in < seconds(3_600),
        "{full_in:?} for {disk:?}"
    );
    assert_eq!(stats.total(StateKind::Ready), 80);
    assert_eq!(stats.oldest_ready(), Some(seconds(95)));
}

#[test]
fn a_wall_clock_that_goes_back_is_counted() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let start = stats(&machine).at;
    machine.clock().set_wall(start.after(seconds(3_600)));
    machine.commit();
    assert_eq!(stats(&machine).clock_jumps_backward, 0);
    machine.clock().set_wall(start);
    let stats = stats(&machine);
    assert_eq!((stats.clock_jumps, stats.clock_jumps_backward), (2, 1));
}
