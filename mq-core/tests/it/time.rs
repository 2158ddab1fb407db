//! What time does: expiry, retention, deadlines, and clocks that jump.

use mq_core::command::Settlement;
use mq_core::message::Draft;
use mq_core::state::{Completion, DeadReason, State};
use mq_core::time::{Monotonic, StoreTime, Timestamp};

use crate::rig::{Rig, START, delayed, draft, idempotent, retained, secs, succeed};

const YEARS_50: u64 = 50 * 366 * 24 * 3600 * 1000;

fn expiring(seconds: u64) -> Draft {
    Draft {
        expires_in: Some(secs(seconds)),
        ..draft()
    }
}

#[test]
fn a_message_that_did_not_start_in_time_is_dead() {
    let mut rig = Rig::new();
    let id = rig.enqueue(expiring(10));
    rig.pass(secs(9));
    assert_eq!(rig.state(id), State::Ready);
    rig.pass(secs(1));
    let reason = DeadReason::Expired;
    assert_eq!(rig.state(id), State::Dead { reason });
    rig.open_pool();
    assert_eq!(rig.grant(), None);
    rig.check_recovery();
    rig.operate(id, mq_core::command::Operation::Replay { edit: None })
        .unwrap();
    rig.pass(secs(100));
    rig.check_recovery();
    rig.grant_of(id);
}

#[test]
fn a_message_that_started_does_not_expire() {
    let mut rig = Rig::new();
    rig.open_pool();
    let running = rig.enqueue(expiring(10));
    let token = rig.grant_of(running);
    rig.pass(secs(20));
    assert_eq!(rig.state(running), State::Leased { token });
    rig.settle(token, Settlement::Snooze { delay: secs(60) });
    rig.pass(secs(60));
    rig.grant_of(running);
    rig.check_recovery();
}

#[test]
fn a_message_that_failed_in_time_does_not_expire_while_it_waits_again() {
    let mut rig = Rig::new();
    let pool = rig.pool(crate::rig::pool(None, None), 1);
    let id = rig.enqueue(expiring(10));
    let token = rig.grant_of(id);
    rig.settle(token, crate::rig::fail());
    rig.pass(secs(20));
    assert_eq!(rig.state(id), State::Ready);
    rig.check_recovery();
    rig.manager.add_permits(pool, 1);
    rig.grant_of(id);
}

#[test]
fn a_message_given_back_unstarted_still_expires() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(expiring(10));
    let token = rig.grant_of(id);
    rig.pass(secs(20));
    rig.give_back(token);
    rig.tick();
    let reason = DeadReason::Expired;
    assert_eq!(rig.state(id), State::Dead { reason });
}

#[test]
fn retention_ends_in_store_time() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(retained(secs(60)));
    let token = rig.grant_of(id);
    rig.settle(token, succeed());
    let how = Completion::Succeeded;
    assert_eq!(rig.state(id), State::Completed { how });
    rig.check_recovery();
    rig.pass(secs(59));
    assert!(!rig.is_gone(id));
    rig.pass(secs(1));
    assert!(rig.is_gone(id));
    assert_eq!(rig.manager.stats(&rig.now).completed_bytes, 0);
}

#[test]
fn a_wall_clock_that_jumps_by_fifty_years_ends_no_lease_and_destroys_nothing() {
    for wall in [START + YEARS_50, START - YEARS_50] {
        let mut rig = Rig::new();
        rig.open_pool();
        let kept = rig.enqueue(retained(secs(60)));
        let token = rig.grant_of(kept);
        rig.settle(token, succeed());
        let leased = rig.enqueue(draft());
        let token = rig.grant_of(leased);
        let expiring = rig.enqueue(Draft {
            hold: Some(mq_core::name::Label::new("aside").unwrap()),
            ..expiring(60)
        });
        let key = rig.enqueue(idempotent(1, 1));
        rig.jump_wall(Timestamp::from_ms(wall));
        assert_eq!(rig.state(leased), State::Leased { token });
        assert!(matches!(rig.state(kept), State::Completed { .. }));
        assert!(matches!(rig.state(expiring), State::Held { .. }));
        assert_eq!(rig.try_enqueue(idempotent(1, 1)).unwrap().id, key);
        rig.settle(token, succeed());
        rig.check_recovery();
    }
}

#[test]
fn due_times_follow_the_wall_clock() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(delayed(secs(3600)));
    rig.jump_wall(Timestamp::from_ms(START + 3_600_000));
    rig.grant_of(id);
    rig.enqueue(delayed(secs(60)));
    rig.jump_wall(Timestamp::from_ms(START - YEARS_50));
    rig.pass(secs(120));
    assert_eq!(rig.grant(), None);
}

#[test]
fn a_wall_clock_that_went_back_keeps_the_order_of_enqueues() {
    let mut rig = Rig::new();
    rig.open_pool();
    let first = rig.enqueue_all(vec![draft(); 3]);
    rig.jump_wall(Timestamp::from_ms(START - 1_000));
    let second = rig.enqueue_all(vec![draft(); 3]);
    assert_eq!(rig.grant_all(), [first, second].concat());
}

#[test]
fn a_lease_runs_out_on_the_monotonic_clock_alone() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(draft());
    rig.grant_of(id);
    rig.now.monotonic = Monotonic::from_ms(30_000);
    rig.tick();
    assert!(matches!(rig.state(id), State::Scheduled { .. }));
}

#[test]
fn the_next_deadline_names_the_earliest_moment_on_each_clock() {
    let mut rig = Rig::new();
    rig.open_pool();
    let none = rig.manager.next_deadline();
    assert_eq!((none.wall, none.monotonic, none.store), (None, None, None));
    rig.enqueue(delayed(secs(20)));
    rig.enqueue(delayed(secs(10)));
    let id = rig.enqueue(draft());
    rig.grant_of(id);
    rig.enqueue(expiring(50));
    rig.enqueue(idempotent(1, 1));
    let deadline = rig.manager.next_deadline();
    assert_eq!(deadline.wall, Some(Timestamp::from_ms(START + 10_000)));
    assert_eq!(deadline.monotonic, Some(Monotonic::from_ms(30_000)));
    assert_eq!(deadline.store, Some(StoreTime::from_ms(50_001)));
}

#[test]
fn a_tick_does_no_more_than_it_is_told() {
    let mut rig = Rig::new();
    rig.enqueue_all(vec![expiring(10); 10]);
    rig.now.store = StoreTime::from_ms(20_000);
    let mut events = Vec::new();
    rig.manager.tick(&rig.now, 4, &mut events);
    assert_eq!(events.len(), 4);
    rig.commit(events);
    assert!(rig.manager.next_deadline().store.unwrap() < rig.now.store);
    rig.tick();
    assert_eq!(rig.manager.stats(&rig.now).queues[0].1.by_state[6], 10);
}

#[test]
fn very_late_due_times_do_not_overflow() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(Draft {
        due: mq_core::message::Due::At(Timestamp::MAX),
        ..draft()
    });
    rig.check_recovery();
    rig.jump_wall(Timestamp::MAX);
    rig.grant_of(id);
}

#[test]
fn very_many_messages_due_at_once_become_ready_over_several_calls() {
    let mut rig = Rig::new();
    rig.enqueue_all(vec![delayed(secs(1)); 10_000]);
    rig.enqueue_all(vec![delayed(secs(1)); 10_000]);
    rig.now.wall = rig.now.wall.after(secs(1));
    let mut calls = 0;
    while rig
        .manager
        .next_deadline()
        .wall
        .is_some_and(|due| due <= rig.now.wall)
    {
        rig.manager.advance(&rig.now);
        calls += 1;
    }
    assert_eq!(calls, 2, "one call would hold everybody else up for long");
    assert_eq!(rig.manager.stats(&rig.now).queues[0].1.by_state[1], 20_000);
}
