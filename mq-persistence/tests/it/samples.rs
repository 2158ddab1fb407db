//! One value of everything that is written, each with and without what is optional.

use std::sync::Arc;

use bytes::Bytes;
use mq_core::bulk::{BulkCounts, BulkEnd, BulkId, BulkJob};
use mq_core::event::{BulkEvent, Changed, Enqueued, Event, LeaseAfter, ScheduleEvent};
use mq_core::id::{Incarnation, KindId, MessageId, QueueId, StoreTag};
use mq_core::image::{Holder, ImageRecord, MessageImage};
use mq_core::index::{Form, Index, Scalar, Term, Terms};
use mq_core::key::{Key, KeyHash};
use mq_core::message::{ContentType, Envelope, Priority};
use mq_core::name::{KindName, Label, QueueName, ScheduleName};
use mq_core::queue::{FOREVER, QueueChange, QueueSettings};
use mq_core::schedule::{LastFire, Schedule};
use mq_core::state::{
    Attempt, Completion, DeadReason, Edit, EditKind, Failure, Outcome, StoredState, Tail,
};
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
            "queue settings",
            Event::QueueSet {
                queue: QueueId(1),
                settings: Box::new(QueueSettings::default().with(QueueChange::Pause(true))),
            },
        ),
        (
            "queue settings, all of them",
            Event::QueueSet {
                queue: QueueId(1),
                settings: every_setting(),
            },
        ),
        (
            "kind settings",
            Event::KindSet {
                kind: KindId(2),
                index: index(),
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
    events.extend(bulk_events());
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
            terms: tail.cancel_requested.then(terms),
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
    let mut records = vec![
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
                settings: every_setting(),
            },
        ),
        (
            "kind",
            ImageRecord::Kind {
                id: KindId(2),
                name: KindName::new("email.welcome").unwrap(),
                index: index(),
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
    ];
    let bulk = bulk_jobs().into_iter();
    records.extend(bulk.map(|(name, job)| (name, ImageRecord::Bulk(job))));
    records
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

fn index() -> Index {
    Index::parse(["/order/sku", "/a~1b"]).unwrap()
}

fn terms() -> Terms {
    let values = [Scalar::Text("tea"), Scalar::Number(250.0)];
    let index = index();
    let terms = index
        .fields()
        .iter()
        .zip(values)
        .map(|(field, value)| Term {
            pointer: field.hash(),
            form: Form::of(value),
        });
    Terms::new(terms.collect())
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
        terms: terms(),
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

/// One change of each kind.
fn edits() -> Vec<Edit> {
    let label = || Label::new("review").unwrap();
    let queue = |name| QueueName::new(name).unwrap();
    let kinds = [
        EditKind::Cancel,
        EditKind::Hold { label: label() },
        EditKind::Release { label: label() },
        EditKind::RunNow,
        EditKind::Reschedule {
            due: Timestamp::from_ms(1_700_000_070_000),
        },
        EditKind::SetPriority {
            from: Priority::DEFAULT,
            to: Priority::new(9).unwrap(),
        },
        EditKind::Move {
            from: queue("mail"),
            to: queue("slow"),
        },
        EditKind::Replay { edited: true },
    ];
    let edit = |(what, at)| Edit {
        at: Timestamp::from_ms(at),
        by: "Zoë".to_owned(),
        what,
    };
    kinds
        .into_iter()
        .zip(1_700_000_000_600..)
        .map(edit)
        .collect()
}

/// A bulk job in each of its states.
fn bulk_jobs() -> Vec<(&'static str, Arc<BulkJob>)> {
    let at = Timestamp::from_ms(1_700_000_000_700);
    let running = BulkJob {
        id: BulkId(7),
        spec: Bytes::from_static(b"{\"do\":\"hold\"}"),
        cutoff: seq(99),
        by: "Zoë".to_owned(),
        started: at,
        cursor: seq(17),
        counts: BulkCounts::of([1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ended: None,
    };
    let ended = |how| {
        Arc::new(BulkJob {
            ended: Some((how, at)),
            ..running.clone()
        })
    };
    vec![
        ("bulk job, completed", ended(BulkEnd::Completed)),
        (
            "bulk job, cancelled",
            ended(BulkEnd::Cancelled {
                by: "me".to_owned(),
            }),
        ),
        (
            "bulk job, failed",
            ended(BulkEnd::Failed {
                reason: "no such word".to_owned(),
            }),
        ),
        ("bulk job, running", Arc::new(running)),
    ]
}

/// What happens to a bulk job.
fn bulk_events() -> Vec<(&'static str, Event)> {
    let at = Timestamp::from_ms(1_700_000_000_700);
    let id = BulkId(7);
    let started = BulkEvent::Started {
        id,
        spec: Bytes::from_static(b"{\"do\":\"hold\"}"),
        cutoff: mq_core::id::Seq::NONE,
        by: "Zoë".to_owned(),
        at,
    };
    let stepped = BulkEvent::Stepped {
        id,
        cursor: seq(17),
        counts: BulkCounts::of([1, 2, 3, 4, 5, 6, 7, 8, 9]),
    };
    let how = BulkEnd::Cancelled {
        by: "me".to_owned(),
    };
    let ended = BulkEvent::Ended { id, how, at };
    vec![
        ("bulk started", Event::Bulk(started)),
        ("bulk stepped", Event::Bulk(stepped)),
        ("bulk ended", Event::Bulk(ended)),
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
        edits: edits(),
    };
    let failed = Tail {
        failures: 3,
        ..Tail::default()
    };
    vec![Tail::default(), full, failed, Tail::default()]
}

fn every_setting() -> Box<QueueSettings> {
    let changes = [
        QueueChange::Pause(true),
        QueueChange::HoldNew(Some(Label::new("review").unwrap())),
        QueueChange::RetainCompleted(Some(FOREVER)),
        QueueChange::LimitMessages(Some(10_000)),
    ];
    let settings = changes.into_iter();
    Box::new(settings.fold(QueueSettings::default(), QueueSettings::with))
}
