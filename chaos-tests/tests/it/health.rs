//! Health and the watchdog: what is wrong is said with a reason and a next step, once, and its end too.

use std::time::Duration;

use bytes::Bytes;
use chaos_tests::machine::Machine;
use mq::{Health, HealthCheck, Limit};
use mq_core::backend::WhenFull;
use mq_core::command::Settlement;
use mq_core::message::NewMessage;
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

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

/// Enqueues until one is refused.
fn fill(machine: &Machine) {
    for _ in 0..400 {
        if !enqueue(machine, 20_000) {
            return;
        }
        machine.maintain();
    }
}

fn health(machine: &Machine) -> Health {
    machine.engine().unwrap().health()
}

/// The names of the checks that fail.
fn failing(machine: &Machine) -> Vec<HealthCheck> {
    health(machine).failing().map(|(check, _)| check).collect()
}

fn pass(machine: &Machine, seconds: u64) {
    machine.pass(Duration::from_secs(seconds));
    machine.maintain();
}

#[test]
fn a_new_store_is_live_and_ready_and_says_so_check_by_check() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let health = health(&machine);
    assert!(health.live && health.ready);
    let text = health.to_string();
    assert!(text.contains("[+]journal_writable ok\n"), "{text}");
    assert_eq!(text.lines().count(), HealthCheck::ALL.len() + 1);
    assert!(text.ends_with("live: yes, ready: yes"), "{text}");
}

#[test]
fn a_failed_sync_ends_live_and_names_the_next_step() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    disk.fail_from(IoKind::SyncData, 1, Fault::IoError);
    let sent = machine
        .backend()
        .enqueue(vec![message(1)], WhenFull::Refuse);
    assert!(sent.wait().unwrap().is_err());
    let health = health(&machine);
    assert!(!health.live && !health.ready);
    let (check, failing) = health.failing().next().unwrap();
    assert_eq!(check, HealthCheck::JournalWritable);
    assert!(failing.reason.contains("sync"), "{}", failing.reason);
    assert!(failing.next_step.contains("restart"));
}

#[test]
fn a_full_store_is_not_ready_and_is_again_when_there_is_room() {
    let limit = |builder: mq::Builder| builder.capacity(Limit::messages(64));
    let machine = Machine::open_with(&SimDisk::new(), 0, limit).unwrap();
    while enqueue(&machine, 1) {}
    assert!(health(&machine).live && !health(&machine).ready);
    assert_eq!(failing(&machine), [HealthCheck::Intake]);
    let grant = machine.take(1).remove(0);
    let done = Settlement::Succeed { result: None };
    machine.settle(&grant, done, Vec::new()).unwrap();
    machine.settle_down();
    assert!(health(&machine).ready);
}

#[test]
fn a_full_disk_is_not_ready() {
    let disk = SimDisk::with_capacity(3 << 20);
    let machine = Machine::open(&disk, 0).unwrap();
    fill(&machine);
    let health = health(&machine);
    assert!(health.live && !health.ready, "{health}");
    assert!(
        failing(&machine).contains(&HealthCheck::DiskFree),
        "{health}"
    );
}

#[test]
fn too_many_open_files_are_no_full_disk() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    for kind in [IoKind::Open, IoKind::Create] {
        disk.fail_from(kind, 1, Fault::NoFile);
    }
    fill(&machine);
    let now = health(&machine);
    assert!(now.live && !now.ready, "{now}");
    let (check, failing) = now.failing().next().unwrap();
    assert_eq!(check, HealthCheck::DiskFree);
    assert!(failing.reason.contains("too many files"), "{now}");
    assert!(!failing.next_step.contains("disk"), "{now}");
    disk.clear_faults();
    machine.maintain();
    assert!(health(&machine).ready);
}

#[test]
fn large_batches_on_a_nearly_full_disk_are_refused_and_stop_nothing() {
    for (len, size) in [(40, 16_000), (7, 100_000), (1, 900_000)] {
        let disk = SimDisk::with_capacity(12 << 20);
        let machine = Machine::open(&disk, 0).unwrap();
        let mut refused = 0;
        for _ in 0..60 {
            let batch = vec![message(size); len];
            let sent = machine.backend().enqueue(batch, WhenFull::Refuse).wait();
            refused += u64::from(sent.unwrap().is_err());
            // The disk fills further while nothing is let in.
            if refused % 3 == 0 {
                machine.maintain();
            }
            let health = health(&machine);
            assert!(health.live, "{len} of {size} bytes: {health}");
        }
        assert!(refused > 0, "{len} of {size} bytes fit for ever");
        for grant in machine.take(1_000) {
            let done = Settlement::Succeed { result: None };
            machine.settle(&grant, done, Vec::new()).unwrap();
            machine.maintain();
        }
        assert!(enqueue(&machine, 1), "there is room again");
    }
}

#[test]
fn a_kind_that_nobody_serves_is_reported_after_half_a_minute_and_no_more_when_it_is_served() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let engine = machine.engine().unwrap().clone();
    machine.detach_pool();
    assert!(enqueue(&machine, 1));
    pass(&machine, 5);
    pass(&machine, 20);
    assert_eq!(
        failing(&machine),
        [],
        "programs start their workers one by one"
    );
    pass(&machine, 20);
    assert_eq!(failing(&machine), [HealthCheck::Unserved]);
    assert!(health(&machine).ready, "other kinds go on");
    let alarms = engine.stats().alarms;
    assert_eq!(alarms.len(), 1);
    assert!(alarms[0].reason.contains("kind order in queue orders"));
    assert!(alarms[0].lasts >= Duration::from_secs(30));
    assert!(alarms[0].next_step.contains("handler"));
    let text = engine.stats().to_prometheus();
    assert!(
        text.contains("mq_watchdog_alarms{check=\"kinds_served\"} 1\n"),
        "{text}"
    );
    let pool = machine.attach_pool().unwrap();
    pass(&machine, 6);
    assert_eq!(failing(&machine), []);
    machine.backend().detach(pool);
}

#[test]
fn an_engine_that_is_being_closed_is_live_and_not_ready() {
    let mut machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let engine = machine.engine().unwrap().clone();
    machine.close().unwrap();
    let health = engine.health();
    assert!(health.live && !health.ready);
    let failing: Vec<HealthCheck> = health.failing().map(|(check, _)| check).collect();
    assert_eq!(failing, [HealthCheck::NotDraining]);
}
