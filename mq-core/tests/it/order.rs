//! In which order ready messages are handed out.

use mq_core::command::{Operation, Settlement};
use mq_core::id::MessageId;
use mq_core::state::State;
use mq_core::time::Timestamp;

use crate::rig::{Rig, START, at_priority, delayed, draft, fail, in_queue, of_kind, pool, secs};

#[test]
fn messages_of_a_lane_go_first_in_first_out() {
    let mut rig = Rig::new();
    rig.open_pool();
    // More than a chunk of a lane, so that chunks are joined in order.
    let ids = rig.enqueue_all(vec![draft(); 1_500]);
    rig.manager.add_permits(mq_core::id::PoolId(0), 1_000);
    assert_eq!(rig.grant_all(), ids);
}

#[test]
fn ten_heads_compete_and_the_most_urgent_wins() {
    let mut rig = Rig::new();
    rig.open_pool();
    let mut ids: Vec<MessageId> = (0..10)
        .map(|level| rig.enqueue(at_priority(level)))
        .collect();
    ids.reverse();
    assert_eq!(rig.grant_all(), ids);
}

#[test]
fn a_step_of_priority_overtakes_a_minute_of_waiting_and_no_more() {
    let mut rig = Rig::new();
    rig.open_pool();
    let low = rig.enqueue(at_priority(4));
    rig.pass(secs(59));
    let overtakes = rig.enqueue(at_priority(5));
    rig.pass(secs(2));
    let too_late = rig.enqueue(at_priority(5));
    assert_eq!(rig.grant_all(), [overtakes, low, too_late]);
}

#[test]
fn of_equal_rank_the_earlier_enqueue_goes_first() {
    let mut rig = Rig::new();
    rig.open_pool();
    let first = rig.enqueue(of_kind("b"));
    let second = rig.enqueue(of_kind("a"));
    let third = rig.enqueue(in_queue("a"));
    assert_eq!(rig.grant_all(), [first, second, third]);
}

#[test]
fn a_retry_stands_where_its_due_time_puts_it() {
    let mut rig = Rig::new();
    rig.open_pool();
    let failed = rig.enqueue(draft());
    let token = rig.grant_of(failed);
    rig.settle(token, fail());
    let before = rig.enqueue(draft());
    rig.pass(secs(2));
    let after = rig.enqueue(draft());
    assert_eq!(rig.grant_all(), [before, failed, after]);
}

#[test]
fn an_interrupted_message_keeps_its_place_and_a_snoozed_one_does_not() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(); 4]);
    let (one, two) = (rig.grant_of(ids[0]), rig.grant_of(ids[1]));
    rig.settle(one, Settlement::Snooze { delay: secs(1) });
    rig.settle(two, Settlement::Interrupt);
    rig.pass(secs(1));
    assert_eq!(rig.grant_all(), [ids[1], ids[2], ids[3], ids[0]]);
    let tail = rig.view(ids[0]).tail;
    assert_eq!((tail.failures, tail.snoozes), (0, 1));
    assert_eq!(rig.view(ids[1]).tail.interruptions, 1);
}

#[test]
fn a_scheduled_message_joins_at_its_due_time() {
    let mut rig = Rig::new();
    rig.open_pool();
    let later = rig.enqueue(delayed(secs(10)));
    let due = Timestamp::from_ms(START + 10_000);
    assert_eq!(rig.state(later), State::Scheduled { due });
    assert_eq!(rig.manager.next_deadline().wall, Some(due));
    rig.pass(secs(9));
    assert_eq!(rig.grant(), None);
    let before = rig.enqueue(draft());
    rig.pass(secs(1));
    let same_moment = rig.enqueue(draft());
    assert_eq!(rig.grant_all(), [before, later, same_moment]);
    rig.check_recovery();
}

#[test]
fn messages_that_leave_a_lane_in_the_middle_are_passed_over() {
    let mut rig = Rig::new();
    rig.pool(pool(None, None), 5_000);
    let ids = rig.enqueue_all(vec![draft(); 2_000]);
    for id in ids.iter().skip(1).step_by(2) {
        rig.operate(*id, Operation::Cancel).unwrap();
    }
    for id in &ids[600..1_200] {
        if !rig.is_gone(*id) {
            let label = mq_core::name::Label::new("aside").unwrap();
            rig.operate(*id, Operation::Hold(label)).unwrap();
            rig.operate(*id, Operation::Release).unwrap();
        }
    }
    let expected: Vec<MessageId> = ids.iter().copied().step_by(2).collect();
    assert_eq!(rig.grant_all(), expected);
}

#[test]
fn a_message_that_changes_its_priority_there_and_back_is_handed_out_once() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(); 3]);
    for level in [9, 4, 9, 4] {
        let priority = crate::rig::priority(level);
        rig.operate(ids[1], Operation::SetPriority(priority))
            .unwrap();
    }
    assert_eq!(rig.grant_all(), ids);
}

#[test]
fn order_survives_a_restart() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(); 6]);
    let token = rig.grant_of(ids[0]);
    rig.settle(token, fail());
    rig.pass(secs(5));
    let last = rig.enqueue(draft());
    rig.operate(ids[3], Operation::SetPriority(crate::rig::priority(5)))
        .unwrap();
    rig.reopen();
    rig.open_pool();
    assert_eq!(
        rig.grant_all(),
        [ids[3], ids[1], ids[2], ids[4], ids[5], ids[0], last]
    );
}
