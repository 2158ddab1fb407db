//! The filters that every state of a sequence is looked at with.

use mq_core::id::Seq;
use mq_core::key::KeyHash;
use mq_core::message::Priority;
use mq_core::name::Label;
use mq_core::state::DeadReason;
use mq_core::time::{Now, Timestamp};
use mq_core::view::{Filter, KeyIs, StateKind};

use crate::rig::{kind, queue};

/// One filter for each condition, and some that go together.
pub(super) fn filters(now: &Now) -> Vec<Filter> {
    let any = Filter::default;
    let states = StateKind::ALL.map(|state| Filter {
        state: Some(state),
        ..any()
    });
    let keys = [KeyIs::Idempotency, KeyIs::Dedup, KeyIs::Ordering].map(|key| key(KeyHash(1)));
    let keyed = keys.into_iter().flat_map(|key| {
        let key = Some(key);
        let live = Filter {
            key,
            live: true,
            ..any()
        };
        [Filter { key, ..any() }, live]
    });
    let moment = Some(Timestamp::from_ms(now.wall.as_ms().saturating_sub(1_000)));
    let others = [
        Filter {
            queue: Some(queue("a")),
            kind: Some(kind("x")),
            ..any()
        },
        Filter {
            retrying: true,
            ..any()
        },
        Filter {
            reason: Some(DeadReason::BudgetSpent),
            ..any()
        },
        Filter {
            error_type: Some("Test".to_owned()),
            ..any()
        },
        Filter {
            label: Some(Label::new("later").unwrap()),
            ..any()
        },
        Filter {
            priority: Some(Priority::DEFAULT),
            last: Seq::new(3),
            ..any()
        },
        Filter {
            from: moment,
            ..any()
        },
        Filter {
            before: moment,
            ..any()
        },
        Filter {
            older: moment,
            ..any()
        },
    ];
    states.into_iter().chain(keyed).chain(others).collect()
}
