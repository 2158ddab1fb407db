//! Leases: who holds a message, for how long, and what a late answer is worth.

use bytes::Bytes;
use mq_core::command::{
    Extend, GiveBack, Notice, Operation, Reserve, SaveCheckpoint, Settle, SettleRefused,
    Settlement, StaleLease,
};
use mq_core::id::{Incarnation, LeaseToken, MessageId};
use mq_core::limits::{CHECKPOINT_SIZE_MAX, ERROR_SIZE_MAX, HISTORY_LEN_MAX, RESULT_SIZE_MAX};
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::state::{DeadReason, Failure, Outcome, State};

use crate::rig::{Rig, draft, fail, failure, policy, pool, retained, secs, succeed};

fn leased() -> (Rig, MessageId, LeaseToken) {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(draft());
    let token = rig.grant_of(id);
    (rig, id, token)
}

/// Whatever can be asked under a lease is refused under this token, and counted.
fn assert_stale(rig: &mut Rig, token: LeaseToken) {
    let before = rig.manager.stats(&rig.now).stale;
    let records = rig.records();
    let stale = StaleLease { token };
    let refused = SettleRefused::Stale(stale);
    assert_eq!(
        rig.try_settle(token, succeed(), vec![]).unwrap_err(),
        refused
    );
    assert_eq!(rig.run(&GiveBack { token }).unwrap_err(), stale);
    let duration = secs(60);
    let extend = Extend { token, duration };
    assert_eq!(rig.manager.extend(&rig.now, &extend).unwrap_err(), stale);
    let checkpoint = Bytes::from_static(b"at");
    let save = SaveCheckpoint { token, checkpoint };
    assert_eq!(rig.run(&save).unwrap_err(), refused);
    let reserve = Reserve {
        token,
        messages: 1,
        bytes: 1,
    };
    assert_eq!(rig.manager.reserve(&reserve).unwrap_err(), refused);
    assert_eq!(rig.manager.stats(&rig.now).stale, before + 5);
    assert_eq!(rig.records(), records, "a stale lease changed something");
}

#[test]
fn a_settled_lease_is_stale() {
    let (mut rig, _, token) = leased();
    rig.settle(token, succeed());
    assert_stale(&mut rig, token);
}

#[test]
fn a_lease_that_ran_out_is_stale_also_when_the_message_was_handed_out_again() {
    let (mut rig, id, token) = leased();
    rig.pass(secs(30));
    assert_stale(&mut rig, token);
    rig.pass(secs(1));
    let second = rig.grant_of(id);
    assert_stale(&mut rig, token);
    rig.settle(second, succeed());
}

#[test]
fn a_lease_of_another_opening_is_stale() {
    let (mut rig, id, token) = leased();
    rig.crash();
    assert_stale(&mut rig, token);
    rig.open_pool();
    let second = rig.grant_of(id);
    assert_eq!(second.incarnation, Incarnation(2));
    let forged = LeaseToken {
        incarnation: Incarnation(1),
        ..second
    };
    assert_stale(&mut rig, forged);
}

#[test]
fn a_lease_of_another_store_or_message_is_stale() {
    let (mut rig, _, token) = leased();
    let other = MessageId::new(token.id.unix_ms() + 1, token.id.seq(), token.id.tag());
    assert_stale(&mut rig, LeaseToken { id: other, ..token });
}

#[test]
fn a_lease_that_runs_out_counts_as_a_failure_and_is_told() {
    let (mut rig, id, token) = leased();
    let pool = mq_core::id::PoolId(0);
    rig.pass(secs(29));
    assert_eq!(rig.state(id), State::Leased { token });
    rig.pass(secs(1));
    assert!(matches!(rig.state(id), State::Scheduled { .. }));
    assert_eq!(rig.notices(), [Notice::LeaseLost { pool, token }]);
    let tail = rig.view(id).tail;
    assert_eq!(
        (tail.failures, tail.history[0].outcome),
        (1, Outcome::LeaseExpired)
    );
    for _ in 0..2 {
        rig.pass(secs(1));
        rig.grant_of(id);
        rig.pass(secs(30));
    }
    let reason = DeadReason::BudgetSpent;
    assert_eq!(rig.state(id), State::Dead { reason });
    rig.check_recovery();
}

#[test]
fn a_settlement_tells_nobody_that_the_lease_was_lost() {
    let (mut rig, _, token) = leased();
    rig.settle(token, fail());
    rig.pass(secs(60));
    assert_eq!(rig.notices(), []);
}

#[test]
fn an_extended_lease_lasts_from_now() {
    let (mut rig, id, token) = leased();
    rig.pass(secs(20));
    let duration = secs(100);
    let extend = Extend { token, duration };
    rig.manager.extend(&rig.now, &extend).unwrap();
    rig.pass(secs(99));
    assert_eq!(rig.state(id), State::Leased { token });
    rig.pass(secs(1));
    assert!(matches!(rig.state(id), State::Scheduled { .. }));
}

#[test]
fn a_lease_given_back_unstarted_costs_nothing_and_keeps_its_place() {
    let (mut rig, id, token) = leased();
    let other = rig.enqueue(draft());
    rig.give_back(token);
    let view = rig.view(id);
    assert_eq!((view.state, view.tail.history.len()), (State::Ready, 0));
    rig.check_recovery();
    assert_eq!(rig.grant_of(id).delivery, 2);
    rig.grant_of(other);
    assert_stale(&mut rig, token);
}

#[test]
fn a_checkpoint_outlives_failures_and_crashes() {
    let (mut rig, id, token) = leased();
    let checkpoint = Bytes::from_static(b"at 7");
    let save = SaveCheckpoint {
        token,
        checkpoint: checkpoint.clone(),
    };
    rig.run(&save).unwrap();
    assert_eq!(rig.state(id), State::Leased { token });
    rig.settle(token, fail());
    rig.pass(secs(1));
    rig.grant_of(id);
    rig.crash();
    rig.open_pool();
    rig.grant_of(id);
    let facts = rig.manager.grant_facts(id.seq()).unwrap();
    assert_eq!(facts.checkpoint, Some(checkpoint));
    assert_eq!(facts.attempt, 2);
    assert_eq!(facts.last.unwrap().outcome, Outcome::Crashed);
}

#[test]
fn a_checkpoint_or_result_over_its_limit_is_refused_and_the_lease_stays() {
    let (mut rig, id, token) = leased();
    let size = CHECKPOINT_SIZE_MAX + 1;
    let checkpoint = Bytes::from(vec![0; size]);
    let refused = rig.run(&SaveCheckpoint { token, checkpoint }).unwrap_err();
    assert_eq!(refused, SettleRefused::CheckpointTooLarge { size });
    let size = RESULT_SIZE_MAX + 1;
    let result = Some(Bytes::from(vec![0; size]));
    let refused = rig.try_settle(token, Settlement::Succeed { result }, vec![]);
    assert_eq!(refused.unwrap_err(), SettleRefused::ResultTooLarge { size });
    assert_eq!(rig.state(id), State::Leased { token });
}

#[test]
fn results_are_kept_with_retained_messages() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(retained(secs(60)));
    let token = rig.grant_of(id);
    let result = Some(Bytes::from_static(b"42"));
    let settlement = Settlement::Succeed {
        result: result.clone(),
    };
    rig.settle(token, settlement);
    assert_eq!(rig.view(id).tail.result, result);
    rig.check_recovery();
}

#[test]
fn the_message_s_own_budget_beats_the_policy_of_its_handler() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(mq_core::message::Draft {
        failures_max: Some(1),
        ..draft()
    });
    let token = rig.grant_of(id);
    let reason = DeadReason::BudgetSpent;
    let dead = State::Dead { reason };
    assert_eq!(rig.settle(token, fail()).state, Some(dead));
}

#[test]
fn a_handler_may_choose_its_own_back_off() {
    let (mut rig, id, token) = leased();
    let settlement = Settlement::Fail {
        failure: failure("later"),
        retry: policy(),
        retry_in: Some(secs(100)),
    };
    rig.settle(token, settlement);
    rig.pass(secs(99));
    assert_eq!(rig.grant(), None);
    rig.pass(secs(1));
    rig.grant_of(id);
}

#[test]
fn jitter_is_recorded_and_the_same_for_the_same_seed() {
    let due = |seed: u64| {
        let mut rig = Rig::with(mq_core::manager::Config {
            seed,
            ..Default::default()
        });
        rig.open_pool();
        let id = rig.enqueue(draft());
        let token = rig.grant_of(id);
        let (first, max) = (secs(100), secs(1_000));
        let retry = RetryPolicy {
            failures_max: 9,
            backoff: Backoff::Exponential { first, max },
        };
        let settlement = Settlement::Fail {
            failure: failure("no"),
            retry,
            retry_in: None,
        };
        let Some(State::Scheduled { due }) = rig.settle(token, settlement).state else {
            panic!("it is not scheduled");
        };
        rig.check_recovery();
        due.since(rig.now.wall)
    };
    assert_eq!(due(1), due(1));
    let spread: std::collections::BTreeSet<_> = (0..20).map(due).collect();
    assert!(spread.len() > 10, "{spread:?}");
    assert!(
        spread
            .iter()
            .all(|delay| (secs(90)..=secs(110)).contains(delay))
    );
}

#[test]
fn the_history_keeps_the_last_five_attempts_with_texts_cut_between_characters() {
    let mut rig = Rig::new();
    rig.open_pool();
    let id = rig.enqueue(draft());
    let retry = RetryPolicy {
        failures_max: 100,
        backoff: Backoff::None,
    };
    for _ in 0..8 {
        let token = rig.grant_of(id);
        let text = "ä".repeat(ERROR_SIZE_MAX);
        let error_type = format!("x{}", "ä".repeat(200));
        let settlement = Settlement::Fail {
            failure: Failure { error_type, text },
            retry,
            retry_in: None,
        };
        rig.settle(token, settlement);
    }
    let history = rig.view(id).tail.history;
    let deliveries: Vec<u32> = history.iter().map(|attempt| attempt.delivery).collect();
    assert_eq!(deliveries, [4, 5, 6, 7, 8]);
    assert_eq!(history.len(), HISTORY_LEN_MAX);
    let failure = history[4].failure.as_ref().unwrap();
    assert_eq!(failure.text.len(), ERROR_SIZE_MAX);
    assert_eq!(failure.error_type.len(), 255, "256 would cut a character");
}

#[test]
fn a_settlement_and_what_it_stages_are_one() {
    let (mut rig, id, token) = leased();
    let settled = rig
        .try_settle(token, succeed(), vec![draft(), draft()])
        .unwrap();
    assert!(rig.is_gone(id));
    let ids: Vec<MessageId> = settled.staged.iter().map(|accepted| accepted.id).collect();
    assert_eq!(rig.grant_all(), ids);
    rig.check_recovery();
}

#[test]
fn a_refused_staged_message_leaves_the_lease_as_it_was() {
    let (mut rig, id, token) = leased();
    rig.enqueue(crate::rig::deduped(1, mq_core::key::DedupPolicy::Reject, 1));
    let staged = vec![
        draft(),
        crate::rig::deduped(1, mq_core::key::DedupPolicy::Reject, 1),
    ];
    let refused = rig.try_settle(token, succeed(), staged).unwrap_err();
    assert!(matches!(refused, SettleRefused::Staged(_)));
    assert_eq!(rig.state(id), State::Leased { token });
    let settle = Settle {
        token,
        settlement: succeed(),
        staged: vec![],
    };
    rig.run(&settle).unwrap();
}

#[test]
fn a_cancelled_running_message_is_asked_and_its_answer_decides() {
    for (settlement, outcome) in [
        (succeed(), Outcome::Succeeded),
        (Settlement::Cancel, Outcome::Cancelled),
        (fail(), Outcome::Cancelled),
        (Settlement::Interrupt, Outcome::Cancelled),
        (Settlement::Snooze { delay: secs(1) }, Outcome::Cancelled),
    ] {
        let mut rig = Rig::new();
        let pool = rig.pool(pool(None, None), 1);
        let id = rig.enqueue(retained(secs(60)));
        let token = rig.grant_of(id);
        let asked = rig.operate(id, Operation::Cancel).unwrap();
        assert_eq!(asked, mq_core::command::Operated::Requested);
        rig.operate(id, Operation::Cancel).unwrap();
        let notices = [Notice::CancelRequested { pool, token }];
        assert_eq!(rig.notices(), notices, "told once");
        rig.check_recovery();
        rig.settle(token, settlement);
        assert_eq!(rig.view(id).tail.history[0].outcome, outcome);
        assert!(matches!(rig.state(id), State::Completed { .. }));
        rig.check_recovery();
    }
}

#[test]
fn a_cancelled_message_does_not_run_again_after_a_lost_lease_or_a_crash() {
    for lose in [
        |rig: &mut Rig, _: LeaseToken| rig.pass(secs(30)),
        |rig: &mut Rig, token: LeaseToken| {
            rig.give_back(token);
            assert!(rig.manager.next_deadline().store.is_some());
            rig.tick();
        },
        |rig: &mut Rig, _: LeaseToken| rig.crash(),
        |rig: &mut Rig, _: LeaseToken| rig.reopen(),
    ] {
        let (mut rig, id, token) = leased();
        rig.operate(id, Operation::Cancel).unwrap();
        lose(&mut rig, token);
        assert!(rig.is_gone(id));
        rig.open_pool();
        assert_eq!(rig.grant(), None);
    }
}
