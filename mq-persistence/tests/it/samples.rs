//! One value of everything that is written, each with and without what is optional.

use std::sync::Arc;

use bytes::Bytes;
use mq_core::event::{Changed, Enqueued, Event, LeaseAfter, ScheduleEvent};
use mq_core::id::{Incarnation, KindId, MessageId, QueueId, StoreTag};
use mq_core::image::{Holder, ImageRecord, MessageImage};
use mq_core::key::{Key, KeyHash};
use mq_core::message::{ContentType, Envelope, Priority};
use mq_core::name::{KindName, Label, QueueName, ScheduleName};
use mq_core::schedule::{LastFire, Schedule};
use mq_core::state::{Attempt, Completion, DeadReason, Failure, Outcome, StoredState, Tail};
use mq_core::time::{StoreTime, Timestamp};

use crate::fixture::{enqueued, seq};

/// Every event, by a name of its own.
pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let mut events = vec![
        (
            "opened",
            Event::Opened {
                incarnation: Incarnation(3),
                at: Timestamp::from_ms(1_700_000_000_000),
            },
        ),
        ("closed", Event::Closed),
        (
            "queue defined",
            Event::QueueDefined {
                id: QueueId(1),
                name: QueueName::new("mail").unwrap(),
            },
        ),
        (
            "kind defined",
            Event::KindDefined {
                id: KindId(2),
                name: KindName::new("email.welcome").unwrap(),
            },
        ),
        (
            "queue paused",
            Event::QueuePaused {
                queue: QueueId(1),
                paused: true,
            },
        ),
        ("enqueued, plain", Event::Enqueued(enqueued(17, None))),
        (
            "enqueued, with everything",
            Event::Enqueued(full_enqueued()),
        ),
        (
            "checked out",
            Event::CheckedOut {
                seq: seq(17),
                delivery: 2,
                solo: true,
            },
        ),
        (
            "returned",
            Event::Returned {
                seq: seq(17),
                delivery: 2,
            },
        ),
        ("finished", Event::Finished { seq: seq(17) }),
    ];
    events.extend(schedule_events());
    let changed = states().into_iter().zip(tails());
    events.extend(changed.map(|((name, state), tail)| {
        let changed = Changed {
            seq: seq(17),
            state,
            lease: if tail.cancel_requested {
                LeaseAfter::Kept
            } else {
                LeaseAfter::Ended
            },
            queue: QueueId(1),
            priority: Priority::new(9).unwrap(),
            order: 18,
            joined: Timestamp::from_ms(1_700_000_000_001),
            size: 300,
            tail: Box::new(tail),
            sealed: None,
        };
        (name, Event::Changed(changed))
    }));
    events
}

/// What happens to schedules, in an order that makes sense.
fn schedule_events() -> Vec<(&'static str, Event)> {
    let name = ScheduleName::new("nightly").unwrap();
    let next = Some(Timestamp::from_ms(1_700_000_000_000));
    let events = [
        (
            "schedule set",
            ScheduleEvent::Set {
                name: name.clone(),
                timing: Bytes::from_static(b"0 3 * * *"),
                template: Bytes::from_static(b"{}"),
                next,
            },
        ),
        (
            "schedule paused",
            ScheduleEvent::Paused {
                name: name.clone(),
                paused: true,
                next: None,
            },
        ),
        (
            "schedule fired",
            ScheduleEvent::Fired {
                name: name.clone(),
                due: Timestamp::from_ms(1_600_000_000_000),
                at: Timestamp::from_ms(1_600_000_000_001),
                runs: 1,
                skipped: 3,
                next,
            },
        ),
        ("schedule removed", ScheduleEvent::Removed { name }),
    ];
    events
        .into_iter()
        .map(|(name, event)| (name, Event::Schedule(event)))
        .collect()
}

/// Every fact of an image.
pub(crate) fn image_records() -> Vec<(&'static str, ImageRecord)> {
    vec![
        (
            "counters",
            ImageRecord::Counters {
                last_seq: seq(99),
                last_order: 100,
                incarnation: Incarnation(3),
            },
        ),
        (
            "queue",
            ImageRecord::Queue {
                id: QueueId(1),
                name: QueueName::new("mail").unwrap(),
                paused: false,
            },
        ),
        (
            "kind",
            ImageRecord::Kind {
                id: KindId(2),
                name: KindName::new("email.welcome").unwrap(),
            },
        ),
        (
            "schedule",
            ImageRecord::Schedule(Arc::new(Schedule {
                name: ScheduleName::new("nightly").unwrap(),
                timing: Bytes::from_static(b"0 3 * * *"),
                template: Bytes::from_static(b"{}"),
                next: Some(Timestamp::from_ms(1_700_000_000_000)),
                paused: true,
                last: Some(LastFire {
                    due: Timestamp::from_ms(1_600_000_000_000),
                    at: Timestamp::from_ms(1_600_000_000_001),
                }),
                runs: 7,
                skipped: 2,
            })),
        ),
        (
            "message",
            ImageRecord::Message(MessageImage {
                facts: full_enqueued(),
                state: states().remove(0).1,
                tail: Some(Box::new(tails().remove(1))),
                deliveries: 4,
                holder: Holder::SoloLease,
            }),
        ),
        (
            "key",
            ImageRecord::Key {
                hash: KeyHash(0x1111),
                seq: seq(17),
                at: Timestamp::from_ms(1_700_000_000_000),
                payload: KeyHash(0x2222),
                until: StoreTime::from_ms(5_000),
            },
        ),
    ]
}

/// Envelopes: the least and the most.
pub(crate) fn envelopes() -> Vec<(&'static str, Envelope)> {
    let plain = Envelope {
        payload: Bytes::from_static(b"{}"),
        ..Envelope::default()
    };
    let id = MessageId::new(1_700_000_000_000, seq(5), StoreTag::new(7));
    let full = Envelope {
        version: 2,
        content_type: ContentType::Binary,
        payload: Bytes::from_static(b"\x00\xff payload"),
        headers: vec![("tenant".to_owned(), "acme".to_owned())],
        idempotency_key: Some(Key::new(&b"order-7"[..]).unwrap()),
        dedup_key: Some(Key::new(&b"sku-1"[..]).unwrap()),
        ordering_key: Some(Key::new(&b"customer-3"[..]).unwrap()),
        correlation: Some(id),
        cause: Some(id),
    };
    vec![("plain", plain), ("with everything", full)]
}

fn full_enqueued() -> Enqueued {
    Enqueued {
        state: StoredState::Held {
            label: Label::new("review").unwrap(),
            due: Timestamp::from_ms(1_700_000_060_000),
        },
        order: 3,
        joined: Timestamp::from_ms(1_600_000_000_000),
        expires: Some(StoreTime::from_ms(9_000)),
        idempotency: Some((KeyHash(0xa1), StoreTime::from_ms(8_000))),
        dedup: Some(KeyHash(0xa2)),
        behind: Some(seq(4)),
        ordering: Some(KeyHash(0xa3)),
        halt_on_dead: true,
        payload: KeyHash(0xa4),
        failures_max: Some(5),
        retain_ms: Some(60_000),
        size: 300,
        ..enqueued(18, None)
    }
}

fn states() -> Vec<(&'static str, StoredState)> {
    let at = Timestamp::from_ms(1_700_000_060_000);
    vec![
        ("changed to pending", StoredState::Pending { due: at }),
        (
            "changed to completed",
            StoredState::Completed {
                how: Completion::Cancelled,
                until: StoreTime::from_ms(7_000),
            },
        ),
        (
            "changed to dead",
            StoredState::Dead {
                reason: DeadReason::Crashed,
                at,
            },
        ),
        (
            "changed to superseded",
            StoredState::Superseded { by: seq(20) },
        ),
    ]
}

fn tails() -> Vec<Tail> {
    let attempt = |outcome, failure| Attempt {
        delivery: 2,
        ended: Timestamp::from_ms(1_700_000_000_500),
        outcome,
        failure,
    };
    let failure = Failure {
        error_type: "Declined".to_owned(),
        text: "card declined: über limit".to_owned(),
    };
    let full = Tail {
        failures: 1,
        crashes: 2,
        snoozes: 3,
        interruptions: 4,
        replays: 5,
        history: vec![
            attempt(Outcome::Failed, Some(failure)),
            attempt(Outcome::DeadLettered, None),
        ],
        checkpoint: Some(Bytes::from_static(b"row 7")),
        result: Some(Bytes::new()),
        cancel_requested: true,
        note: Some("ask the customer".to_owned()),
    };
    let failed = Tail {
        failures: 3,
        ..Tail::default()
    };
    vec![Tail::default(), full, failed, Tail::default()]
}
