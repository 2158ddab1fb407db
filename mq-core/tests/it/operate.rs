//! What users and operators can do, in every state.

use mq_core::command::{OperateRefused, Operated, Operation, Settlement};
use mq_core::id::{MessageId, Seq, StoreTag};
use mq_core::key::DedupPolicy;
use mq_core::message::{Draft, Due};
use mq_core::name::{Label, QueueName};
use mq_core::state::{Completion, DeadReason, State};
use mq_core::view::StateKind;

use crate::rig::{
    Rig, deduped, delayed, draft, failure, in_queue, ordered, pool, priority, retained, secs,
    succeed,
};

/// A store with a message in the wanted state.
fn message_in(state: StateKind) -> (Rig, MessageId) {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = match state {
        StateKind::Scheduled => rig.enqueue(delayed(secs(60))),
        StateKind::Ready => rig.enqueue(draft()),
        StateKind::Blocked => {
            rig.enqueue(ordered(1));
            rig.enqueue(ordered(1))
        }
        StateKind::Held => rig.enqueue(Draft {
            hold: Some(Label::new("aside").unwrap()),
            ..draft()
        }),
        StateKind::Leased => {
            let id = rig.enqueue(draft());
            rig.grant_of(id);
            id
        }
        StateKind::Completed => {
            let id = rig.enqueue(retained(secs(60)));
            let token = rig.grant_of(id);
            rig.settle(token, succeed());
            id
        }
        StateKind::Dead => {
            let id = rig.enqueue(draft());
            let token = rig.grant_of(id);
            let dead = Settlement::DeadLetter {
                reason: DeadReason::DeadLettered,
                failure: failure("no"),
                note: Some("call them".to_owned()),
            };
            rig.settle(token, dead);
            id
        }
        StateKind::Superseded => {
            let id = rig.enqueue(deduped(1, DedupPolicy::Replace, 1));
            rig.grant_of(id);
            rig.enqueue(deduped(1, DedupPolicy::Replace, 2));
            id
        }
    };
    assert_eq!(rig.state(id).kind(), state);
    (rig, id)
}

/// Every operation with the states it is for.
fn table() -> Vec<(Operation, Vec<StateKind>)> {
    use StateKind::{Blocked, Completed, Dead, Held, Leased, Ready, Scheduled};
    vec![
        (
            Operation::Cancel,
            vec![Scheduled, Ready, Blocked, Leased, Held],
        ),
        (
            Operation::Hold(Label::new("aside").unwrap()),
            vec![Scheduled, Ready, Blocked],
        ),
        (Operation::Release, vec![Held]),
        (Operation::RunNow, vec![Scheduled]),
        (
            Operation::Reschedule(Due::After(secs(600))),
            vec![Scheduled, Ready, Blocked, Held],
        ),
        (
            Operation::SetPriority(priority(9)),
            vec![Scheduled, Ready, Blocked, Held],
        ),
        (
            Operation::MoveTo(QueueName::new("elsewhere").unwrap()),
            vec![Scheduled, Ready, Blocked, Held],
        ),
        (Operation::Replay { edit: None }, vec![Dead]),
        (Operation::Purge, vec![Held, Completed, Dead]),
    ]
}

#[test]
fn each_operation_works_in_its_states_and_is_refused_with_words_in_all_others() {
    for (operation, states) in table() {
        for state in StateKind::ALL {
            let (mut rig, id) = message_in(state);
            let before = rig.records();
            let answer = rig.operate(id, operation.clone());
            if states.contains(&state) {
                let expected = if state == StateKind::Leased {
                    Operated::Requested
                } else {
                    Operated::Done
                };
                assert_eq!(answer, Ok(expected), "{operation:?} {state:?}");
                assert_ne!(rig.records(), before, "{operation:?} {state:?} did nothing");
            } else {
                let refused = OperateRefused::WrongState {
                    id,
                    operation: operation.as_str(),
                    state: state.as_str(),
                };
                assert_eq!(answer, Err(refused));
                assert_eq!(rig.records(), before);
            }
            rig.check_recovery();
        }
    }
}

#[test]
fn unknown_ids_are_told_from_settled_ones() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(draft());
    let other_store = MessageId::new(id.unix_ms(), id.seq(), StoreTag::new(7));
    let other_time = MessageId::new(id.unix_ms() + 1, id.seq(), id.tag());
    let future = MessageId::new(id.unix_ms(), Seq::new(99).unwrap(), id.tag());
    let nobody = MessageId::new(id.unix_ms(), Seq::NONE, id.tag());
    for id in [other_store, other_time, future, nobody] {
        let refused = rig.operate(id, Operation::Cancel).unwrap_err();
        assert_eq!(refused, OperateRefused::NeverIssued { id });
        let found = rig.manager.lookup(&rig.now, id);
        assert_eq!(found, mq_core::view::Lookup::NeverIssued);
    }
    let token = rig.grant_of(id);
    rig.settle(token, succeed());
    let refused = rig.operate(id, Operation::Cancel).unwrap_err();
    assert_eq!(refused, OperateRefused::NotKept { id });
}

#[test]
fn a_cancelled_waiting_message_is_kept_only_for_its_retention() {
    let (mut rig, id) = message_in(StateKind::Ready);
    rig.operate(id, Operation::Cancel).unwrap();
    assert!(rig.is_gone(id));
    let kept = rig.enqueue(retained(secs(60)));
    rig.operate(kept, Operation::Cancel).unwrap();
    let how = Completion::Cancelled;
    assert_eq!(rig.state(kept), State::Completed { how });
    assert_eq!(rig.grant(), None);
}

#[test]
fn a_held_message_is_invisible_to_processing_and_keeps_its_due_time() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(delayed(secs(60)));
    let label = Label::new("vip").unwrap();
    rig.operate(id, Operation::Hold(label.clone())).unwrap();
    assert_eq!(rig.state(id), State::Held { label });
    rig.pass(secs(30));
    rig.operate(id, Operation::Release).unwrap();
    assert!(matches!(rig.state(id), State::Scheduled { .. }));
    rig.pass(secs(30));
    rig.grant_of(id);
}

#[test]
fn a_moved_message_goes_by_its_new_queue_and_priority() {
    let mut rig = Rig::new();
    let ids = rig.enqueue_all(vec![draft(), draft(), in_queue("other")]);
    rig.operate(ids[1], Operation::MoveTo(QueueName::new("new").unwrap()))
        .unwrap();
    rig.operate(ids[0], Operation::SetPriority(priority(0)))
        .unwrap();
    assert_eq!(rig.view(ids[1]).queue.as_str(), "new");
    let stats = rig.manager.stats(&rig.now);
    let ready: Vec<u64> = stats
        .queues
        .iter()
        .map(|(_, queue)| queue.by_state[1])
        .collect();
    assert_eq!(ready, [1, 1, 1]);
    rig.pool(pool(Some("new"), None), 5);
    assert_eq!(rig.grant_all(), [ids[1]]);
    rig.open_pool();
    assert_eq!(rig.grant_all(), [ids[2], ids[0]]);
    rig.check_recovery();
}

#[test]
fn a_moved_message_keeps_its_keys() {
    let mut rig = Rig::new();
    let id = rig.enqueue(deduped(1, DedupPolicy::Reject, 1));
    rig.operate(id, Operation::MoveTo(QueueName::new("new").unwrap()))
        .unwrap();
    rig.try_enqueue(deduped(1, DedupPolicy::Reject, 1))
        .unwrap_err();
}

#[test]
fn a_replay_has_fresh_budgets_and_keeps_its_history_and_note() {
    let (mut rig, id) = message_in(StateKind::Dead);
    rig.operate(id, Operation::Replay { edit: None }).unwrap();
    let view = rig.view(id);
    assert_eq!(
        (view.state, view.tail.failures, view.tail.replays),
        (State::Ready, 0, 1)
    );
    assert_eq!(view.tail.history.len(), 1);
    assert_eq!(view.tail.note.as_deref(), Some("call them"));
    let token = rig.grant_of(id);
    assert_eq!(token.delivery, 2);
}

#[test]
fn rescheduling_moves_a_message_both_ways() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(draft());
    rig.operate(id, Operation::Reschedule(Due::After(secs(100))))
        .unwrap();
    assert_eq!(rig.grant(), None);
    rig.operate(id, Operation::Reschedule(Due::After(secs(10))))
        .unwrap();
    rig.pass(secs(10));
    let token = rig.grant_of(id);
    rig.give_back(token);
    rig.operate(id, Operation::Reschedule(Due::After(secs(10))))
        .unwrap();
    rig.operate(id, Operation::Reschedule(Due::Now)).unwrap();
    rig.grant_of(id);
}

#[test]
fn a_paused_queue_hands_out_nothing_and_takes_everything() {
    let mut rig = Rig::new();
    rig.open_pool();
    let before = rig.enqueue(draft());
    rig.pause("q", true);
    rig.pause("new", true);
    let during = rig.enqueue(draft());
    let new = rig.enqueue(in_queue("new"));
    let other = rig.enqueue(in_queue("other"));
    assert_eq!(rig.grant_all(), [other]);
    rig.check_recovery();
    rig.reopen();
    rig.open_pool();
    rig.operate(before, Operation::Cancel).unwrap();
    assert_eq!(rig.grant_all(), [other], "pausing survives a restart");
    rig.pause("q", false);
    rig.pause("new", false);
    assert_eq!(rig.grant_all(), [during, new]);
}

#[test]
fn every_change_of_an_operator_waits_for_the_disk() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(Draft {
        hold: Some(Label::new("aside").unwrap()),
        ..draft()
    });
    rig.synced = false;
    rig.operate(id, Operation::Release).unwrap();
    let first = rig.mark;
    rig.mark += 1;
    rig.operate(id, Operation::SetPriority(priority(9)))
        .unwrap();
    assert_eq!(rig.grant(), None);
    rig.manager.durable(first);
    assert_eq!(rig.grant(), None, "its second change is not durable");
    rig.sync();
    rig.grant_of(id);
}

#[test]
fn rescheduling_a_ready_message_to_now_keeps_its_place() {
    let mut rig = Rig::new();
    rig.open_pool();
    let first = rig.enqueue(draft());
    rig.pass(secs(1));
    let second = rig.enqueue(draft());
    rig.pass(secs(1));
    rig.operate(first, Operation::Reschedule(Due::Now)).unwrap();
    assert_eq!(rig.grant_all(), [first, second]);
}

#[test]
fn dead_letters_are_counted_as_they_come_and_go_and_the_oldest_is_known() {
    let (mut rig, id) = message_in(StateKind::Dead);
    rig.pass(secs(60));
    let stats = rig.manager.stats(&rig.now);
    assert_eq!((stats.died, stats.replayed), (1, 0));
    assert_eq!(stats.oldest_dead, Some(secs(60)));
    let [counted] = &stats.dead_counts[..] else {
        panic!("{stats:?}");
    };
    assert_eq!(counted.reason, DeadReason::DeadLettered);
    assert_eq!((counted.queue.as_str(), counted.count), ("q", 1));
    rig.operate(id, Operation::Replay { edit: None }).unwrap();
    let stats = rig.manager.stats(&rig.now);
    assert_eq!((stats.died, stats.replayed), (1, 1));
    assert_eq!(stats.oldest_dead, None);
    assert_eq!(stats.dead_counts, []);
    let (mut rig, id) = message_in(StateKind::Dead);
    rig.operate(id, Operation::Purge).unwrap();
    assert_eq!(
        rig.manager.stats(&rig.now).oldest_dead,
        None,
        "a purged one is forgotten"
    );
}
