//! A backup of a store whose disk fails under it.

use bytes::Bytes;
use chaos_tests::machine::Machine;
use mq::Durability;
use mq_core::backend::{Stopped, WhenFull};
use mq_core::message::NewMessage;
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

/// What is answered in this mode is written and not synced: the image of a backup is what syncs it.
#[test]
fn an_image_that_cannot_be_synced_stops_the_engine_and_leaves_no_copy() {
    let disk = SimDisk::new();
    let buffered = |builder: mq::Builder| builder.durability(Durability::Buffered);
    let machine = Machine::open_with(&disk, 0, buffered).unwrap();
    let (queue, kind) = ("orders".parse().unwrap(), "order".parse().unwrap());
    let message = NewMessage::new(queue, kind, Bytes::from_static(b"1"));
    let enqueued = machine.backend().enqueue(vec![message], WhenFull::Refuse);
    assert!(enqueued.wait().unwrap().is_ok());
    assert!(!disk.is_synced());
    let folder = tempfile::tempdir().unwrap();
    let engine = machine.engine().unwrap().clone();
    disk.fail_nth(IoKind::SyncData, 1, Fault::SyncLostKept);
    let backup = engine.admin().backup(folder.path().join("copy"));
    let failed = backup.wait().unwrap_err();
    assert_eq!(failed.code(), "poisoned", "{failed}");
    let stopped = engine.stopped();
    assert!(
        matches!(&stopped, Some(Stopped::Poisoned { operation, .. }) if operation.contains("sync")),
        "{stopped:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_backup_while_a_frame_waits_for_room_says_so_and_is_made_when_there_is_some() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let (queue, kind) = ("orders".parse().unwrap(), "order".parse().unwrap());
    let message = NewMessage::new(queue, kind, Bytes::from_static(b"1"));
    disk.fail_from(IoKind::Write, 1, Fault::NoSpace);
    let sent = machine.backend().enqueue(vec![message], WhenFull::Refuse);
    machine.commit();
    assert!(!sent.is_done(), "its frame waits");
    let folder = tempfile::tempdir().unwrap();
    let admin = machine.engine().unwrap().admin();
    let copy = || admin.backup(folder.path().join("copy")).wait();
    let refused = copy().unwrap_err();
    assert_eq!(refused.code(), "no_room", "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(machine.engine().unwrap().stopped().is_none());
    disk.clear_faults();
    assert_eq!(copy().unwrap().messages, 1);
    assert!(sent.wait().unwrap().is_ok());
}
