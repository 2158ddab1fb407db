//! Idempotency and dedup keys.

use mq_core::command::{
    Enqueue, EnqueueBatch, EnqueueRefused, OperateRefused, Operation, Settlement,
};
use mq_core::id::MessageId;
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::manager::Config;
use mq_core::message::Draft;
use mq_core::state::{DeadReason, State};

use crate::rig::{Rig, deduped, draft, fail, failure, idempotent, ordered, secs, succeed};

const DAY: u64 = 24 * 3600;

/// A store with a pool and a holder of dedup key 1 with payload 1.
fn held() -> (Rig, MessageId) {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(deduped(1, DedupPolicy::Keep, 1));
    (rig, id)
}

#[test]
fn an_idempotency_key_answers_the_first_id_even_after_the_message_is_gone() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(idempotent(1, 10));
    let again = rig.try_enqueue(idempotent(1, 10)).unwrap();
    assert_eq!((again.id, again.enqueue), (id, Enqueue::Existing));
    let token = rig.grant_of(id);
    rig.settle(token, succeed());
    assert!(rig.is_gone(id));
    assert_eq!(rig.try_enqueue(idempotent(1, 10)).unwrap().id, id);
    rig.check_recovery();
    rig.reopen();
    assert_eq!(rig.try_enqueue(idempotent(1, 10)).unwrap().id, id);
    assert_eq!(rig.manager.stats(&rig.now).duplicates, 1, "since the open");
}

#[test]
fn an_idempotency_key_with_other_bytes_is_refused() {
    let mut rig = Rig::new();
    let id = rig.enqueue(idempotent(1, 10));
    let refused = rig.try_enqueue(idempotent(1, 11)).unwrap_err();
    assert_eq!(refused, EnqueueRefused::KeyReused { id });
}

#[test]
fn an_idempotency_key_is_forgotten_after_its_window_of_store_time() {
    let mut rig = Rig::new();
    let id = rig.enqueue(idempotent(1, 10));
    rig.pass(secs(DAY - 1));
    assert_eq!(rig.try_enqueue(idempotent(1, 10)).unwrap().id, id);
    rig.pass(secs(1));
    assert_eq!(rig.manager.stats(&rig.now).keys, 0);
    let again = rig.try_enqueue(idempotent(1, 11)).unwrap();
    assert_eq!(again.enqueue, Enqueue::New);
    rig.check_recovery();
}

#[test]
fn an_idempotency_key_twice_in_a_batch_answers_once() {
    let mut rig = Rig::new();
    let ids = rig.enqueue_all(vec![idempotent(1, 10), draft(), idempotent(1, 10)]);
    assert_eq!(ids[0], ids[2]);
    assert_eq!(rig.manager.stats(&rig.now).live_messages, 2);
    let drafts = vec![idempotent(2, 10), idempotent(2, 11)];
    let refused = rig
        .run(&EnqueueBatch {
            drafts: drafts.into(),
        })
        .unwrap_err();
    assert!(matches!(refused, EnqueueRefused::KeyReused { .. }));
}

#[test]
fn the_key_budget_refuses_keyed_enqueues_and_forgets_nothing_early() {
    let mut rig = Rig::with(Config {
        keys: 3,
        ..Config::default()
    });
    rig.open_pool();
    let first = rig.enqueue(idempotent(1, 10));
    rig.enqueue(deduped(2, DedupPolicy::Reject, 0));
    let ordered_id = rig.enqueue(ordered(3));
    rig.enqueue(ordered(3));
    for keyed in [
        idempotent(4, 0),
        deduped(4, DedupPolicy::Keep, 0),
        ordered(4),
    ] {
        let refused = rig.try_enqueue(keyed).unwrap_err();
        assert_eq!(refused, EnqueueRefused::KeysFull { limit: 3 });
    }
    rig.enqueue(draft());
    assert_eq!(rig.try_enqueue(idempotent(1, 10)).unwrap().id, first);
    assert!(!rig.is_gone(ordered_id));
    rig.pass(secs(DAY));
    rig.enqueue(ordered(4));
}

#[test]
fn keep_answers_the_existing_message_whatever_it_does() {
    let (mut rig, id) = held();
    let same = |rig: &mut Rig| {
        let again = rig.try_enqueue(deduped(1, DedupPolicy::Keep, 2)).unwrap();
        assert_eq!((again.id, again.enqueue), (id, Enqueue::Existing));
    };
    same(&mut rig);
    let token = rig.grant_of(id);
    same(&mut rig);
    rig.settle(token, fail());
    same(&mut rig);
    rig.pass(secs(1));
    let token = rig.grant_of(id);
    rig.settle(token, succeed());
    let new = rig.try_enqueue(deduped(1, DedupPolicy::Keep, 2)).unwrap();
    assert_eq!(new.enqueue, Enqueue::New);
}

#[test]
fn reject_refuses_while_the_key_is_held() {
    let (mut rig, id) = held();
    let refused = rig
        .try_enqueue(deduped(1, DedupPolicy::Reject, 2))
        .unwrap_err();
    assert_eq!(refused, EnqueueRefused::KeyHeld { id });
    assert_eq!(rig.manager.stats(&rig.now).duplicates, 1);
}

#[test]
fn replace_takes_the_old_place_with_a_new_id_and_fresh_budgets() {
    let (mut rig, old) = held();
    let token = rig.grant_of(old);
    rig.settle(token, fail());
    rig.pass(secs(1));
    let behind = rig.enqueue(draft());
    let new = rig
        .try_enqueue(deduped(1, DedupPolicy::Replace, 2))
        .unwrap();
    assert_eq!(new.enqueue, Enqueue::Replaced { old });
    assert!(rig.is_gone(old));
    assert_eq!(rig.view(new.id).tail.failures, 0);
    rig.check_recovery();
    assert_eq!(rig.grant_all(), [new.id, behind]);
}

#[test]
fn replacing_a_running_message_discards_its_outcome_and_runs_the_new_one_at_once() {
    let (mut rig, old) = held();
    let token = rig.grant_of(old);
    let new = rig.enqueue(deduped(1, DedupPolicy::Replace, 2));
    assert_eq!(rig.state(old), State::Superseded { by: new });
    assert_eq!(rig.manager.stats(&rig.now).live_messages, 1);
    rig.check_recovery();
    let second = rig.grant_of(new);
    let settled = rig.try_settle(token, fail(), vec![draft()]).unwrap();
    assert_eq!((settled.state, settled.staged), (None, vec![]));
    assert!(rig.is_gone(old), "a superseded message is not retried");
    rig.settle(second, succeed());
    assert_eq!(rig.manager.stats(&rig.now).live_messages, 0);
}

#[test]
fn a_superseded_message_leaves_when_its_lease_runs_out_or_the_process_dies() {
    let (mut rig, old) = held();
    rig.grant_of(old);
    let new = rig.enqueue(deduped(1, DedupPolicy::Replace, 2));
    rig.pass(secs(30));
    assert!(rig.is_gone(old));
    rig.grant_of(new);
    let newer = rig.enqueue(deduped(1, DedupPolicy::Replace, 3));
    rig.crash();
    assert!(rig.is_gone(new));
    rig.open_pool();
    assert_eq!(rig.grant_all(), [newer]);
}

#[test]
fn discard_identical_drops_the_same_bytes_and_replaces_others() {
    let (mut rig, old) = held();
    let same = rig
        .try_enqueue(deduped(1, DedupPolicy::DiscardIdentical, 1))
        .unwrap();
    assert_eq!((same.id, same.enqueue), (old, Enqueue::Discarded));
    let other = rig
        .try_enqueue(deduped(1, DedupPolicy::DiscardIdentical, 2))
        .unwrap();
    assert_eq!(other.enqueue, Enqueue::Replaced { old });
}

#[test]
fn run_once_more_lets_one_wait_behind_the_running_one() {
    let (mut rig, one) = held();
    let more = || deduped(1, DedupPolicy::RunOnceMore, 2);
    assert_eq!(
        rig.try_enqueue(more()).unwrap().id,
        one,
        "it waits: it is enough"
    );
    let token = rig.grant_of(one);
    let two = rig.try_enqueue(more()).unwrap();
    assert_eq!(two.enqueue, Enqueue::New);
    assert_eq!(rig.state(two.id), State::Blocked { by: one });
    assert_eq!(rig.try_enqueue(more()).unwrap().id, two.id);
    assert_eq!(rig.grant(), None);
    rig.check_recovery();
    rig.settle(token, fail());
    rig.pass(secs(1));
    let token = rig.grant_of(one);
    assert_eq!(rig.grant(), None, "it is not over yet");
    rig.synced = false;
    rig.settle(token, succeed());
    assert_eq!(rig.grant(), None, "not durable");
    rig.sync();
    rig.grant_of(two.id);
}

#[test]
fn a_replaced_follower_hands_its_wait_on() {
    let (mut rig, one) = held();
    let token = rig.grant_of(one);
    rig.enqueue(deduped(1, DedupPolicy::RunOnceMore, 2));
    let three = rig.enqueue(deduped(1, DedupPolicy::Replace, 3));
    assert_eq!(rig.state(three), State::Blocked { by: one });
    rig.check_recovery();
    rig.settle(token, succeed());
    rig.grant_of(three);
}

#[test]
fn a_follower_survives_the_crash_of_the_running_one() {
    let (mut rig, one) = held();
    rig.grant_of(one);
    let two = rig.enqueue(deduped(1, DedupPolicy::RunOnceMore, 2));
    rig.crash();
    rig.open_pool();
    let token = rig.grant_of(one);
    assert_eq!(rig.grant(), None);
    rig.settle(token, succeed());
    rig.grant_of(two);
}

#[test]
fn a_dead_message_frees_its_dedup_key_and_a_replay_must_find_it_free() {
    let (mut rig, one) = held();
    let token = rig.grant_of(one);
    let dead = Settlement::DeadLetter {
        reason: DeadReason::Undecodable,
        failure: failure("?"),
        note: Some("look".to_owned()),
    };
    rig.settle(token, dead);
    let two = rig.enqueue(deduped(1, DedupPolicy::Reject, 1));
    let refused = rig
        .operate(one, Operation::Replay { edit: None })
        .unwrap_err();
    let expected = OperateRefused::KeyHeld {
        id: one,
        holder: two,
    };
    assert_eq!(refused, expected);
    let token = rig.grant_of(two);
    rig.settle(token, succeed());
    rig.operate(one, Operation::Replay { edit: None }).unwrap();
    let refused = rig
        .try_enqueue(deduped(1, DedupPolicy::Reject, 1))
        .unwrap_err();
    assert_eq!(refused, EnqueueRefused::KeyHeld { id: one });
    rig.check_recovery();
}

#[test]
fn a_dedup_key_twice_in_a_batch_is_refused_whole() {
    let mut rig = Rig::new();
    let drafts = vec![
        draft(),
        deduped(1, DedupPolicy::Keep, 1),
        deduped(1, DedupPolicy::Replace, 1),
    ];
    let refused = rig
        .run(&EnqueueBatch {
            drafts: drafts.into(),
        })
        .unwrap_err();
    let expected = EnqueueRefused::KeyTwiceInBatch {
        first: 1,
        second: 2,
    };
    assert_eq!(refused, expected);
    assert_eq!(rig.manager.stats(&rig.now).live_messages, 0);
}

#[test]
fn a_handler_may_stage_a_message_with_its_own_dedup_key() {
    let (mut rig, one) = held();
    let token = rig.grant_of(one);
    let next = vec![deduped(1, DedupPolicy::Reject, 1)];
    let settled = rig.try_settle(token, succeed(), next).unwrap();
    assert_eq!(settled.staged[0].enqueue, Enqueue::New);
    let token = rig.grant_of(settled.staged[0].id);
    let next = vec![deduped(1, DedupPolicy::Replace, 2)];
    let settled = rig.try_settle(token, fail(), next).unwrap();
    let old = token.id;
    assert_eq!(settled.staged[0].enqueue, Enqueue::Replaced { old });
    assert!(rig.is_gone(old));
    rig.check_recovery();
}

#[test]
fn a_handler_that_fails_and_stages_once_more_of_its_own_key_is_enough_itself() {
    let (mut rig, one) = held();
    let token = rig.grant_of(one);
    let more = vec![deduped(1, DedupPolicy::RunOnceMore, 2)];
    let settled = rig.try_settle(token, fail(), more).unwrap();
    assert_eq!(
        settled.staged[0].id, one,
        "it waits again: nothing runs that could miss the news"
    );
    assert_eq!(settled.staged[0].enqueue, Enqueue::Existing);
}

#[test]
fn a_cancelled_follower_gives_the_key_back_to_the_running_message() {
    let (mut rig, one) = held();
    let token = rig.grant_of(one);
    let two = rig.enqueue(deduped(1, DedupPolicy::RunOnceMore, 2));
    rig.operate(two, Operation::Cancel).unwrap();
    let refused = rig
        .try_enqueue(deduped(1, DedupPolicy::Reject, 3))
        .unwrap_err();
    assert_eq!(refused, EnqueueRefused::KeyHeld { id: one });
    rig.check_recovery();
    rig.settle(token, succeed());
    rig.try_enqueue(deduped(1, DedupPolicy::Reject, 3)).unwrap();
}

#[test]
fn ten_thousand_keys_of_each_sort_are_found_again_after_the_table_grew() {
    let mut rig = Rig::new();
    let keys = 0..10_000u128;
    for key in keys.clone() {
        rig.enqueue(Draft {
            ordering: Some(KeyHash(key)),
            idempotency: Some(KeyHash(key)),
            ..deduped(key, DedupPolicy::Keep, 1)
        });
    }
    assert_eq!(rig.manager.stats(&rig.now).keys, 30_000);
    for key in keys {
        let again = rig.try_enqueue(deduped(key, DedupPolicy::Keep, 1)).unwrap();
        assert_eq!(again.enqueue, Enqueue::Existing);
        let again = rig.try_enqueue(idempotent(key, 1)).unwrap();
        assert_eq!(again.enqueue, Enqueue::Existing);
    }
    rig.open_pool();
    let stats = rig.manager.stats(&rig.now);
    assert_eq!((stats.live_messages, stats.keys), (10_000, 30_000));
    while let Some(granted) = rig.grant() {
        rig.settle(granted.token, succeed());
        rig.manager.add_permits(granted.pool, 1);
    }
    assert_eq!(rig.manager.stats(&rig.now).keys, 10_000, "the window stays");
}
