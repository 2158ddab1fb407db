//! What the sequences consist of. Small numbers everywhere, so that steps meet: few keys, few queues, few moments.

use std::time::Duration;

use bytes::Bytes;
use mq_core::command::{Operation, PoolLine, PoolSpec, Selector, Settlement};
use mq_core::index::Terms;
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::message::{Draft, Due, Edited, Priority, Sealed};
use mq_core::name::Label;
use mq_core::queue::{FOREVER, QueueChange};
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::state::DeadReason;
use mq_core::time::Timestamp;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use super::world::KEYS_AMPLE;
use crate::rig::{START, failure, kind, queue, secs};

/// A sequence and the budgets of the store it is played on.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) capacity_messages: u64,
    pub(super) capacity_bytes: u64,
    pub(super) keys: u64,
    pub(super) dead_bytes: u64,
    pub(super) steps: Vec<Step>,
}

/// One step. Messages, leases and pools are named by their number, modulo how many there are.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Enqueue(Vec<Draft>),
    Attach(PoolSpec),
    Detach(usize),
    AddPermits(usize, u32),
    Withdraw(usize, u32),
    HandOut(usize),
    Settle(usize, Settlement, Vec<Draft>),
    GiveBack(usize),
    Extend(usize, Duration),
    Checkpoint(usize),
    Reserve(usize, u64, u64),
    Operate(usize, Operation),
    SetQueue(&'static str, QueueChange),
    Pass(Duration),
    SetWall(Timestamp),
    /// From now on frames become durable at once, or only when something waits for them.
    Synced(bool),
    Image,
    /// Loses so many commands, if that many are not durable.
    Crash(usize),
    /// Hands out whatever it can and crashes, so many times.
    CrashRunning(usize),
    Close,
}

pub(super) fn plan(steps_max: usize) -> impl Strategy<Value = Plan> {
    let budgets = (
        select(vec![6, 1_000, 1_000]),
        select(vec![2_500, 1 << 30, 1 << 30]),
        select(vec![4, KEYS_AMPLE, KEYS_AMPLE]),
        select(vec![150, 1 << 30, 1 << 30]),
    );
    (budgets, vec(step(), 1..steps_max)).prop_map(|(budgets, steps)| Plan {
        capacity_messages: budgets.0,
        capacity_bytes: budgets.1,
        keys: budgets.2,
        dead_bytes: budgets.3,
        steps,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let common = prop_oneof![
        6 => vec(draft(), 1..4).prop_map(Step::Enqueue),
        2 => pool().prop_map(Step::Attach),
        4 => (number(), 1u32..4).prop_map(|(pool, permits)| Step::AddPermits(pool, permits)),
        6 => (1usize..5).prop_map(Step::HandOut),
        8 => (number(), settlement(), vec(draft(), 0..2))
            .prop_map(|(lease, settlement, staged)| Step::Settle(lease, settlement, staged)),
        8 => (number(), operation()).prop_map(|(message, operation)| Step::Operate(message, operation)),
        5 => moment().prop_map(Step::Pass),
    ];
    let rare = prop_oneof![
        1 => number().prop_map(Step::Detach),
        1 => (number(), 1u32..4).prop_map(|(pool, permits)| Step::Withdraw(pool, permits)),
        3 => number().prop_map(Step::GiveBack),
        2 => (number(), moment()).prop_map(|(lease, until)| Step::Extend(lease, until)),
        1 => number().prop_map(Step::Checkpoint),
        2 => (number(), 1u64..4, 0u64..2_000)
            .prop_map(|(lease, messages, bytes)| Step::Reserve(lease, messages, bytes)),
        2 => (select(vec!["a", "b", "c"]), change())
            .prop_map(|(queue, change)| Step::SetQueue(queue, change)),
        1 => wall().prop_map(Step::SetWall),
        2 => any::<bool>().prop_map(Step::Synced),
        1 => Just(Step::Image),
        3 => (0usize..4).prop_map(Step::Crash),
        1 => (1usize..5).prop_map(Step::CrashRunning),
        1 => Just(Step::Close),
    ];
    prop_oneof![3 => common, 1 => rare]
}

fn change() -> impl Strategy<Value = QueueChange> {
    prop_oneof![
        3 => any::<bool>().prop_map(QueueChange::Pause),
        1 => weighted(0.3, Just(Label::new("new").unwrap())).prop_map(QueueChange::HoldNew),
        2 => weighted(0.7, select(vec![secs(10), FOREVER])).prop_map(QueueChange::RetainCompleted),
        1 => weighted(0.5, 0u64..6).prop_map(QueueChange::LimitMessages),
    ]
}

/// Often a recent one.
fn number() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0usize..3, 1 => 0usize..40]
}

fn moment() -> impl Strategy<Value = Duration> {
    select(vec![0, 1, 999, 1_000, 4_000, 10_000, 30_000, 100_000]).prop_map(Duration::from_millis)
}

/// A wall clock set far forward, back a little, or far back.
fn wall() -> impl Strategy<Value = Timestamp> {
    let year = 365 * 24 * 3_600 * 1_000;
    select(vec![
        START + 50 * year,
        START + 5_000,
        START,
        START - 50 * year,
    ])
    .prop_map(Timestamp::from_ms)
}

fn due() -> impl Strategy<Value = Due> {
    prop_oneof![
        6 => Just(Due::Now),
        2 => moment().prop_map(Due::After),
        1 => wall().prop_map(Due::At),
    ]
}

fn policy() -> impl Strategy<Value = DedupPolicy> {
    select(vec![
        DedupPolicy::Replace,
        DedupPolicy::Keep,
        DedupPolicy::Reject,
        DedupPolicy::DiscardIdentical,
        DedupPolicy::RunOnceMore,
        DedupPolicy::Upsert,
    ])
}

fn key() -> impl Strategy<Value = KeyHash> {
    (1u128..4).prop_map(KeyHash)
}

fn draft() -> impl Strategy<Value = Draft> {
    let place = (
        select(vec!["a", "a", "b"]),
        select(vec!["x", "y"]),
        select(vec![0, 4, 4, 5, 9]),
        due(),
        weighted(0.1, Just(Label::new("held").unwrap())),
    );
    let keys = (
        weighted(0.2, key()),
        weighted(0.4, (key(), policy())),
        weighted(0.4, key()),
        any::<bool>(),
        (1u128..3).prop_map(KeyHash),
    );
    let limits = (
        weighted(0.2, moment()),
        weighted(0.2, 0u32..3),
        weighted(0.3, moment()),
        select(vec![1, 100, 1_000]),
        weighted(0.1, Just(())).prop_map(|awaited| awaited.is_some()),
    );
    (place, keys, limits).prop_map(|(place, keys, limits)| Draft {
        queue: queue(place.0),
        kind: kind(place.1),
        priority: Priority::new(place.2).unwrap(),
        due: place.3,
        hold: place.4,
        idempotency: keys.0,
        dedup: keys.1,
        ordering: keys.2,
        halt_on_dead: keys.3,
        payload: keys.4,
        expires_in: limits.0,
        failures_max: limits.1,
        retain: limits.2,
        awaited: limits.4,
        terms: Terms::NONE,
        sealed: sealed(limits.3),
    })
}

fn sealed(size: usize) -> Sealed {
    Sealed {
        bytes: Bytes::from(vec![0; size]),
        crc: 0,
    }
}

fn pool() -> impl Strategy<Value = PoolSpec> {
    let queues = select(vec![None, None, Some("a"), Some("b")]);
    let kinds = select(vec![None, None, Some("x")]);
    let line = (queues, kinds, retry()).prop_map(|(queues, kinds, retry)| PoolLine {
        selector: Selector {
            queue: queues.map(queue),
            kind: kinds.map(kind),
        },
        retry,
    });
    (vec(line, 1..=2), select(vec![4, 30])).prop_map(|(lines, lease)| PoolSpec {
        lines,
        lease: secs(lease),
    })
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let backoff = select(vec![Backoff::None, Backoff::Fixed(secs(4))]);
    (select(vec![1, 2, 20]), backoff).prop_map(|(failures_max, backoff)| RetryPolicy {
        failures_max,
        backoff,
    })
}

fn settlement() -> impl Strategy<Value = Settlement> {
    let result = weighted(0.3, Just(Bytes::from_static(b"result")));
    let fail = (retry(), weighted(0.3, moment())).prop_map(|(retry, retry_in)| Settlement::Fail {
        failure: failure("no"),
        retry,
        retry_in,
    });
    prop_oneof![
        3 => result.prop_map(|result| Settlement::Succeed { result }),
        4 => fail,
        1 => moment().prop_map(|delay| Settlement::Snooze { delay }),
        1 => due().prop_map(|due| Settlement::Again { due }),
        1 => Just(Settlement::SetAside {
            label: Label::new("aside").unwrap(),
            failure: failure("not now"),
        }),
        1 => Just(Settlement::Interrupt),
        1 => weighted(0.5, Just("why".to_owned())).prop_map(|note| Settlement::DeadLetter {
            reason: DeadReason::Undecodable,
            failure: failure("bad bytes"),
            note,
        }),
        1 => weighted(0.5, Just(failure("moot"))).prop_map(|failure| Settlement::Discard { failure }),
        1 => Just(Settlement::Cancel),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let edit = select(vec![1, 500]).prop_map(|size| {
        Box::new(Edited {
            sealed: sealed(size),
            terms: Terms::NONE,
        })
    });
    let edit = weighted(0.5, edit);
    prop_oneof![
        3 => Just(Operation::Cancel),
        2 => Just(Operation::Hold(Label::new("later").unwrap())),
        2 => Just(Operation::Release),
        1 => Just(Operation::RunNow),
        2 => due().prop_map(Operation::Reschedule),
        2 => select(vec![0, 4, 9])
            .prop_map(|level| Operation::SetPriority(Priority::new(level).unwrap())),
        2 => select(vec!["a", "b", "c"]).prop_map(|name| Operation::MoveTo(queue(name))),
        3 => edit.prop_map(|edit| Operation::Replay { edit }),
        1 => Just(Operation::Purge),
    ]
}
