//! Reading a stored payload: by whoever asked for it, and under no token.

use bytes::Bytes;
use chaos_tests::machine::Machine;
use chaos_tests::puppets::Moment;
use mq_core::backend::WhenFull;
use mq_core::id::MessageId;
use mq_core::message::NewMessage;
use mq_core::time::Clock;
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

/// It fits into no cache, and its frame is being written: it is as whole as any other.
#[test]
fn a_payload_is_there_before_its_frame_is_written() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let (queue, kind) = ("orders".parse().unwrap(), "order".parse().unwrap());
    let message = NewMessage::new(queue, kind, Bytes::from(vec![7; 20_000]));
    let send = || {
        machine
            .backend()
            .enqueue(vec![message.clone()], WhenFull::Refuse)
    };
    let first = send().wait().unwrap().unwrap()[0].accepted.id;
    let wall = machine.clock().wall().as_ms();
    let mut last = first.seq();
    for moment in [
        Moment::Before(IoKind::Write),
        Moment::Before(IoKind::SyncData),
    ] {
        machine.hold_at(Some((moment, 1)));
        last = last.next();
        let id = MessageId::new(wall, last, first.tag());
        let sent = send();
        machine.commit();
        assert!(machine.is_held() && !sent.is_done());
        let asked = machine.backend().envelope(id);
        machine.hold_at(None);
        machine.commit();
        assert_eq!(sent.wait().unwrap().unwrap()[0].accepted.id, id);
        let envelope = asked.wait().unwrap().unwrap().unwrap();
        assert_eq!(envelope.payload.len(), 20_000);
    }
}
