//! Reading a stored payload: by whoever asked for it, and under no token.

use bytes::Bytes;
use chaos_tests::machine::Machine;
use mq_core::backend::WhenFull;
use mq_core::message::NewMessage;
use mq_testing::sim_disk::{IoKind, SimDisk};

/// The commit thread answers; the payload is read by whoever waits, and delays nobody's commit.
#[test]
fn a_payload_that_is_not_in_memory_is_read_by_who_asked_for_it() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let (queue, kind) = ("orders".parse().unwrap(), "order".parse().unwrap());
    let message = NewMessage::new(queue, kind, Bytes::from(vec![7; 20_000]));
    let sent = machine.backend().enqueue(vec![message], WhenFull::Refuse);
    let id = sent.wait().unwrap().unwrap()[0].accepted.id;
    let reads = || disk.count_of(IoKind::Read);
    let before = reads();
    let asked = machine.backend().envelope(id);
    machine.commit();
    assert!(asked.is_done());
    assert_eq!(reads(), before, "read under the log token");
    let envelope = asked.wait().unwrap().unwrap().unwrap();
    assert_eq!(envelope.payload.len(), 20_000);
    assert!(reads() > before);
}
