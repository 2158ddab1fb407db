//! What a crash of the process costs, and whom: suspects and their solo runs.

use mq_core::command::{Operation, Settlement};
use mq_core::id::MessageId;
use mq_core::state::{DeadReason, Outcome, State};

use crate::rig::{Rig, draft, fail, of_kind, ordered, pool, secs, succeed};

/// A store that crashed while `count` messages ran.
fn crashed(count: usize) -> (Rig, Vec<MessageId>) {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(); count]);
    assert_eq!(rig.grant_all(), ids);
    rig.crash();
    (rig, ids)
}

#[test]
fn suspects_run_one_at_a_time_beside_normal_work() {
    let (mut rig, suspects) = crashed(3);
    let normal = rig.enqueue_all(vec![draft(); 2]);
    assert_eq!(rig.manager.stats(&rig.now).suspects, 3);
    rig.check_recovery();
    rig.open_pool();
    let first = rig.grant_of(suspects[0]);
    assert!(rig.manager.grant_facts(suspects[0].seq()).unwrap().suspect);
    assert_eq!(rig.grant_all(), normal, "the other suspects wait");
    rig.check_recovery();
    rig.settle(first, succeed());
    let second = rig.grant_of(suspects[1]);
    assert_eq!(rig.grant(), None);
    rig.settle(second, fail());
    assert!(!rig.view(suspects[1]).suspect, "it answered");
    rig.grant_of(suspects[2]);
}

#[test]
fn a_crash_costs_an_innocent_bystander_nothing() {
    let (rig, suspects) = crashed(2);
    for id in suspects {
        let view = rig.view(id);
        assert_eq!((view.tail.crashes, view.tail.failures), (0, 0));
        assert_eq!(view.tail.history[0].outcome, Outcome::Crashed);
        assert_eq!((view.state, view.suspect), (State::Ready, true));
    }
}

#[test]
fn three_crashes_in_its_own_solo_run_make_a_message_dead() {
    let (mut rig, ids) = crashed(2);
    let (poison, innocent) = (ids[0], ids[1]);
    for crashes in 1..=3 {
        rig.open_pool();
        rig.grant_of(poison);
        assert_eq!(rig.grant(), None);
        rig.crash();
        assert_eq!(rig.view(poison).tail.crashes, crashes);
        rig.check_recovery();
    }
    let reason = DeadReason::Crashed;
    assert_eq!(rig.state(poison), State::Dead { reason });
    rig.open_pool();
    rig.grant_of(innocent);
    assert_eq!(rig.view(innocent).tail.crashes, 0);
}

#[test]
fn a_suspect_given_back_unstarted_stays_suspect() {
    let (mut rig, ids) = crashed(1);
    rig.open_pool();
    let token = rig.grant_of(ids[0]);
    rig.give_back(token);
    let view = rig.view(ids[0]);
    assert_eq!((view.suspect, view.tail.crashes), (true, 0));
    let token = rig.grant_of(ids[0]);
    rig.settle(token, Settlement::Interrupt);
    assert!(!rig.view(ids[0]).suspect);
}

#[test]
fn a_suspect_nobody_serves_does_not_keep_others_from_running() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![of_kind("unserved"), of_kind("served")]);
    rig.grant_all();
    rig.crash();
    rig.pool(pool(None, Some("served")), 5);
    assert_eq!(rig.grant_all(), [ids[1]]);
}

#[test]
fn suspects_go_in_order_across_pools() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![of_kind("b"), of_kind("a"), of_kind("b")]);
    rig.grant_all();
    rig.crash();
    rig.pool(pool(None, Some("a")), 5);
    rig.pool(pool(None, Some("b")), 5);
    for id in ids {
        let token = rig.grant_of(id);
        assert_eq!(rig.grant(), None);
        rig.settle(token, succeed());
    }
}

#[test]
fn a_suspect_in_a_paused_queue_waits_and_others_run() {
    let (mut rig, ids) = crashed(1);
    rig.pause("q", true);
    rig.open_pool();
    let other = rig.enqueue(crate::rig::in_queue("other"));
    assert_eq!(rig.grant_all(), [other]);
    rig.pause("q", false);
    assert_eq!(rig.grant_all(), ids);
}

#[test]
fn operators_can_change_suspects() {
    let (mut rig, ids) = crashed(3);
    rig.operate(ids[0], Operation::Cancel).unwrap();
    let due = mq_core::message::Due::After(secs(60));
    rig.operate(ids[1], Operation::Reschedule(due)).unwrap();
    let label = mq_core::name::Label::new("look").unwrap();
    rig.operate(ids[2], Operation::Hold(label)).unwrap();
    rig.check_recovery();
    rig.open_pool();
    assert_eq!(rig.grant(), None);
    rig.operate(ids[2], Operation::Release).unwrap();
    let token = rig.grant_of(ids[2]);
    assert!(rig.view(ids[2]).suspect);
    rig.settle(token, succeed());
    rig.pass(secs(60));
    rig.grant_of(ids[1]);
    assert!(rig.view(ids[1]).suspect);
}

#[test]
fn a_suspect_still_blocks_its_ordering_key() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![ordered(1), ordered(1)]);
    rig.grant_of(ids[0]);
    rig.crash();
    assert_eq!(rig.state(ids[1]), State::Blocked { by: ids[0] });
    rig.open_pool();
    let token = rig.grant_of(ids[0]);
    rig.settle(token, succeed());
    rig.grant_of(ids[1]);
}

#[test]
fn a_process_killed_while_it_recovers_costs_nobody_anything() {
    let (mut rig, ids) = crashed(1);
    for _ in 0..5 {
        rig.crash();
    }
    assert_eq!(rig.view(ids[0]).tail.crashes, 0);
    assert_eq!(rig.view(ids[0]).tail.history.len(), 1);
}
