//! Ordering keys: one after the other, whatever state the first one is in.

use mq_core::command::{Operation, Settlement};
use mq_core::id::MessageId;
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::message::{Draft, Due};
use mq_core::name::Label;
use mq_core::state::{DeadReason, State};

use crate::rig::{Rig, deduped, draft, fail, failure, ordered, secs, succeed};

/// A store with a pool and two messages of one key.
fn two() -> (Rig, MessageId, MessageId) {
    let mut rig = Rig::new();
    rig.open_pool();
    let (one, two) = (rig.enqueue(ordered(1)), rig.enqueue(ordered(1)));
    (rig, one, two)
}

fn dead_letter() -> Settlement {
    Settlement::DeadLetter {
        reason: DeadReason::DeadLettered,
        failure: failure("no"),
        note: None,
    }
}

#[test]
fn a_leased_head_blocks_its_key_and_no_other() {
    let (mut rig, one, two) = two();
    let other = rig.enqueue(ordered(2));
    let none = rig.enqueue(draft());
    assert_eq!(rig.state(two), State::Blocked { by: one });
    let token = rig.grant_of(one);
    assert_eq!(rig.grant_all(), [other, none]);
    rig.check_recovery();
    rig.settle(token, succeed());
    rig.grant_of(two);
}

#[test]
fn a_head_in_back_off_blocks_its_key() {
    let (mut rig, one, two) = two();
    let token = rig.grant_of(one);
    rig.settle(token, fail());
    assert_eq!(rig.grant(), None);
    assert_eq!(rig.state(two), State::Blocked { by: one });
    rig.pass(secs(1));
    assert_eq!(rig.grant_all(), [one]);
}

#[test]
fn a_snoozed_or_interrupted_head_blocks_its_key() {
    let (mut rig, one, two) = two();
    let token = rig.grant_of(one);
    rig.settle(token, Settlement::Snooze { delay: secs(60) });
    assert_eq!(rig.grant(), None);
    rig.pass(secs(60));
    let token = rig.grant_of(one);
    rig.settle(token, Settlement::Interrupt);
    let token = rig.grant_of(one);
    rig.settle(token, succeed());
    rig.grant_of(two);
}

#[test]
fn a_scheduled_head_blocks_its_key() {
    let mut rig = Rig::new();
    rig.open_pool();
    let one = rig.enqueue(Draft {
        due: Due::After(secs(60)),
        ..ordered(1)
    });
    let two = rig.enqueue(ordered(1));
    assert_eq!(rig.grant(), None);
    assert_eq!(rig.state(two), State::Blocked { by: one });
    rig.operate(one, Operation::RunNow).unwrap();
    assert_eq!(rig.grant_all(), [one]);
}

#[test]
fn a_successor_that_is_not_due_is_scheduled_and_then_blocked() {
    let mut rig = Rig::new();
    rig.open_pool();
    let one = rig.enqueue(ordered(1));
    let two = rig.enqueue(Draft {
        due: Due::After(secs(60)),
        ..ordered(1)
    });
    assert!(matches!(rig.state(two), State::Scheduled { .. }));
    let token = rig.grant_of(one);
    rig.pass(secs(20));
    rig.manager
        .extend(
            &rig.now,
            &mq_core::command::Extend {
                token,
                duration: secs(3600),
            },
        )
        .unwrap();
    rig.pass(secs(40));
    assert_eq!(rig.state(two), State::Blocked { by: one });
    rig.settle(token, succeed());
    rig.grant_of(two);
}

#[test]
fn a_held_head_blocks_its_key_until_it_is_released_or_purged() {
    let (mut rig, one, two) = two();
    let label = Label::new("wait").unwrap();
    rig.operate(one, Operation::Hold(label)).unwrap();
    assert_eq!(rig.grant(), None);
    assert_eq!(rig.state(two), State::Blocked { by: one });
    rig.operate(one, Operation::Purge).unwrap();
    rig.grant_of(two);
}

#[test]
fn a_dead_head_releases_its_key() {
    let (mut rig, one, two) = two();
    let token = rig.grant_of(one);
    rig.settle(token, dead_letter());
    rig.grant_of(two);
    rig.check_recovery();
}

#[test]
fn a_dead_head_that_halts_blocks_until_it_is_purged_or_replayed_at_the_tail() {
    let halting = || Draft {
        halt_on_dead: true,
        ..ordered(1)
    };
    for operation in [Operation::Purge, Operation::Replay { edit: None }] {
        let mut rig = Rig::new();
        rig.open_pool();
        let ids = rig.enqueue_all(vec![halting(), halting()]);
        let token = rig.grant_of(ids[0]);
        rig.settle(token, dead_letter());
        assert_eq!(rig.grant(), None);
        assert_eq!(rig.state(ids[1]), State::Blocked { by: ids[0] });
        rig.check_recovery();
        rig.operate(ids[0], operation).unwrap();
        let token = rig.grant_of(ids[1]);
        assert_eq!(rig.grant(), None);
        rig.settle(token, succeed());
        rig.check_recovery();
    }
}

#[test]
fn a_replay_joins_the_tail() {
    let (mut rig, one, two) = two();
    let token = rig.grant_of(one);
    rig.settle(token, dead_letter());
    let three = rig.enqueue(ordered(1));
    rig.operate(one, Operation::Replay { edit: None }).unwrap();
    let four = rig.enqueue(ordered(1));
    rig.check_recovery();
    for id in [two, three, one, four] {
        let token = rig.grant_of(id);
        assert_eq!(rig.grant(), None);
        rig.settle(token, succeed());
    }
}

#[test]
fn a_replaced_head_that_still_runs_blocks_the_one_in_its_place() {
    let mut rig = Rig::new();
    rig.open_pool();
    let keyed = |payload| Draft {
        ordering: Some(KeyHash(1)),
        ..deduped(7, DedupPolicy::Replace, payload)
    };
    let old = rig.enqueue(keyed(1));
    let token = rig.grant_of(old);
    let behind = rig.enqueue(ordered(1));
    let new = rig.enqueue(keyed(2));
    assert_eq!(rig.state(old), State::Superseded { by: new });
    assert_eq!(rig.state(new), State::Blocked { by: old });
    assert_eq!(rig.grant(), None);
    rig.check_recovery();
    assert_eq!(rig.settle(token, succeed()).state, None);
    let token = rig.grant_of(new);
    rig.settle(token, succeed());
    rig.grant_of(behind);
}

#[test]
fn a_replaced_head_that_waits_gives_its_place_away() {
    let mut rig = Rig::new();
    rig.open_pool();
    let keyed = |payload| Draft {
        ordering: Some(KeyHash(1)),
        ..deduped(7, DedupPolicy::Replace, payload)
    };
    let old = rig.enqueue(keyed(1));
    let behind = rig.enqueue(ordered(1));
    let new = rig.enqueue(keyed(2));
    assert!(rig.is_gone(old));
    rig.check_recovery();
    let token = rig.grant_of(new);
    rig.settle(token, succeed());
    rig.grant_of(behind);
}

#[test]
fn a_successor_cannot_pass_an_outcome_that_is_not_durable() {
    let (mut rig, one, two) = two();
    let token = rig.grant_of(one);
    rig.synced = false;
    rig.settle(token, succeed());
    let three = rig.enqueue(ordered(1));
    assert_eq!(rig.grant(), None);
    rig.manager.advance(&rig.now);
    assert_eq!(rig.grant(), None);
    rig.sync();
    rig.grant_of(two);
    assert!(matches!(rig.state(three), State::Blocked { .. }));
}

#[test]
fn a_successor_whose_enqueue_became_durable_first_waits_for_the_outcome() {
    let mut rig = Rig::new();
    rig.open_pool();
    let one = rig.enqueue(ordered(1));
    let token = rig.grant_of(one);
    rig.synced = false;
    let two = rig.enqueue(ordered(1));
    let enqueued = rig.mark;
    rig.mark += 1;
    rig.settle(token, succeed());
    rig.manager.durable(enqueued);
    assert_eq!(rig.grant(), None, "the outcome is not durable");
    rig.sync();
    rig.grant_of(two);
}

#[test]
fn a_successor_that_falls_due_meanwhile_waits_for_the_outcome() {
    let mut rig = Rig::new();
    rig.open_pool();
    let one = rig.enqueue(ordered(1));
    let two = rig.enqueue(Draft {
        due: Due::After(secs(5)),
        ..ordered(1)
    });
    let token = rig.grant_of(one);
    rig.synced = false;
    rig.settle(token, succeed());
    rig.pass(secs(5));
    assert_eq!(rig.grant(), None, "the outcome is not durable");
    rig.sync();
    rig.grant_of(two);
}

#[test]
fn a_long_chain_goes_in_order_through_a_crash() {
    let mut rig = Rig::new();
    let pool = rig.open_pool();
    let ids = rig.enqueue_all(vec![ordered(1); 50]);
    for id in &ids[..20] {
        let token = rig.grant_of(*id);
        rig.settle(token, succeed());
    }
    rig.manager.detach_pool(pool);
    rig.crash();
    rig.open_pool();
    for id in &ids[20..] {
        let token = rig.grant_of(*id);
        assert_eq!(rig.grant(), None);
        rig.settle(token, succeed());
    }
    assert_eq!(rig.manager.stats(&rig.now).keys, 0);
}

#[test]
fn a_replacement_under_another_ordering_key_joins_the_tail_of_that_key() {
    let mut rig = Rig::new();
    rig.open_pool();
    let keyed = |ordering| Draft {
        ordering: Some(KeyHash(ordering)),
        ..deduped(7, DedupPolicy::Replace, ordering)
    };
    rig.enqueue(keyed(1));
    let running = rig.enqueue(ordered(2));
    rig.grant_all();
    let new = rig.enqueue(keyed(2));
    assert_eq!(rig.state(new), State::Blocked { by: running });
    assert_eq!(rig.grant(), None, "two of one ordering key would run");
}
