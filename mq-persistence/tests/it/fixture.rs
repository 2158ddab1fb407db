//! What the tests of this crate share: an identity, messages, positions.

use std::sync::Arc;

use bytes::Bytes;
use mq_core::event::Enqueued;
use mq_core::id::{Incarnation, KindId, QueueId, Seq, StoreTag};
use mq_core::image::{Holder, ImageRecord, MessageImage};
use mq_core::index::{Index, Terms};
use mq_core::key::KeyHash;
use mq_core::message::{Envelope, Priority, Sealed};
use mq_core::name::{KindName, QueueName};
use mq_core::state::StoredState;
use mq_core::time::{Monotonic, Now, StoreTime, Timestamp};
use mq_persistence::identity::Identity;
use mq_persistence::pins::{SegmentFile, Segments};
use mq_persistence::storage::Storage;
use mq_testing::sim_disk::SimDisk;

/// A store's identity, always the same.
pub(crate) fn identity() -> Identity {
    Identity {
        uuid: *b"0123456789abcdef",
        tag: StoreTag::new(7),
        secret: *b"fedcba9876543210",
        created: Timestamp::from_ms(1_000),
    }
}

pub(crate) fn seq(number: u64) -> Seq {
    Seq::new(number).expect("a small number")
}

pub(crate) fn now(ms: u64) -> Now {
    Now {
        wall: Timestamp::from_ms(ms),
        monotonic: Monotonic::from_ms(ms),
        store: StoreTime::from_ms(ms),
    }
}

/// A disk whose data directory exists.
pub(crate) fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_directory().unwrap();
    disk
}

/// Segments that stand on no disk, numbered 1 to `count`, of 1 MiB each.
pub(crate) fn segments(count: u32) -> Arc<Segments> {
    let segments = Segments::new(identity());
    for number in 1..=count {
        segments.add(Arc::new(SegmentFile::new(
            Arc::new(disk()),
            mq_persistence::segment::name(number),
            number,
            1 << 20,
            u64::from(number),
            None,
        )));
    }
    Arc::new(segments)
}

/// The envelope of a message whose payload is `size` bytes that depend on its number.
pub(crate) fn sealed(number: u64, size: usize) -> Sealed {
    let payload: Vec<u8> = number
        .to_le_bytes()
        .into_iter()
        .cycle()
        .take(size)
        .collect();
    let envelope = Envelope {
        payload: Bytes::from(payload),
        ..Envelope::default()
    };
    mq_persistence::envelope::seal(&envelope, &identity())
}

/// A plain message that waits.
pub(crate) fn enqueued(number: u64, sealed: Option<Sealed>) -> Enqueued {
    Enqueued {
        seq: seq(number),
        at: Timestamp::from_ms(number),
        queue: QueueId(1),
        kind: KindId(1),
        priority: Priority::DEFAULT,
        state: StoredState::Pending {
            due: Timestamp::from_ms(0),
        },
        order: number,
        joined: Timestamp::from_ms(number),
        expires: None,
        idempotency: None,
        dedup: None,
        behind: None,
        ordering: None,
        halt_on_dead: false,
        payload: KeyHash(0),
        failures_max: None,
        retain_ms: None,
        terms: Terms::NONE,
        size: sealed
            .as_ref()
            .map_or(0, |it| u32::try_from(it.bytes.len()).unwrap()),
        sealed,
    }
}

/// The image of a manager with these messages.
pub(crate) fn image(messages: impl IntoIterator<Item = u64>) -> Vec<ImageRecord> {
    let messages: Vec<u64> = messages.into_iter().collect();
    let last = messages.iter().max().copied().unwrap_or(0);
    let mut records = vec![
        ImageRecord::Counters {
            last_seq: seq(last),
            last_order: last,
            incarnation: Incarnation(3),
        },
        ImageRecord::Queue {
            id: QueueId(1),
            name: QueueName::new("mail").unwrap(),
            settings: Box::new(mq_core::queue::QueueSettings {
                paused: true,
                ..mq_core::queue::QueueSettings::default()
            }),
        },
        ImageRecord::Kind {
            id: KindId(1),
            name: KindName::new("welcome").unwrap(),
            index: Index::NONE,
        },
    ];
    records.extend(messages.into_iter().map(|number| {
        let facts = enqueued(number, None);
        ImageRecord::Message(MessageImage {
            state: facts.state.clone(),
            facts,
            tail: None,
            deliveries: 2,
            holder: Holder::Suspect,
        })
    }));
    records
}
