//! Running messages: one, all, over back-offs, with time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mq::prelude::*;
use mq_core::view::StateKind;
use mq_testing::Harness;
use parking_lot::Mutex;

use super::{Charge, Notify, charge, charge_of, decline};

#[mq_testing::test]
async fn a_message_that_always_fails_goes_dead_after_all_its_attempts() {
    let t = Harness::new().handle(decline);
    let id = t.enqueue(charge_of(9)).await;
    t.run_one().await.assert_retry().assert_error("declined");
    t.message(id).assert_scheduled().assert_attempts(1);
    let began = t.now();
    let ran = t.run_until_empty().await;
    assert_eq!(ran.len(), 19);
    t.message(id)
        .assert_dead("Declined")
        .assert_dead("budget_spent")
        .assert_attempts(20)
        .assert_failures(20)
        .assert_error("the card was declined");
    // 1 s, 2 s, 4 s … 5 min: the waiting was simulated, and all of it.
    let waited = t.now().since(began);
    assert!(waited > minutes(50) && waited < minutes(70), "{waited:?}");
}

#[mq_testing::test]
async fn what_a_handler_stages_is_seen_whether_somebody_handles_it_or_not() {
    async fn notify(_message: Notify) -> Outcome {
        Ok(())
    }
    for served in [false, true] {
        let t = Harness::new().handle(charge);
        let t = if served { t.handle(notify) } else { t };
        let id = t.enqueue(charge_of(9)).await;
        t.run_until_empty().await;
        t.message(id)
            .assert_succeeded()
            .assert_gone()
            .assert_attempts(1);
        t.assert_enqueued::<Notify>(|notify| notify.order == 9)
            .once();
        t.assert_enqueued::<Notify>(|notify| notify.order == 8)
            .never();
        t.assert_enqueued::<Charge>(|_| true).times(1);
        assert_eq!(t.enqueued::<Notify>(), [Notify { order: 9 }]);
        let left = t.stats().live_messages;
        assert_eq!(left, u64::from(!served));
    }
}

#[mq_testing::test]
async fn one_at_a_time_runs_in_the_order_of_the_enqueues_across_kinds() {
    type Seen = Arc<Mutex<Vec<String>>>;
    async fn charge(message: Charge, State(seen): State<Seen>) -> Outcome {
        seen.lock().push(format!("charge {}", message.order));
        Ok(())
    }
    async fn notify(message: Notify, State(seen): State<Seen>) -> Outcome {
        seen.lock().push(format!("notify {}", message.order));
        Ok(())
    }
    let seen = Seen::default();
    let t = Harness::new()
        .state(Arc::clone(&seen))
        .handle(charge)
        .handle(notify);
    t.enqueue(Notify { order: 1 }).await;
    t.enqueue(charge_of(2)).await;
    t.enqueue(Notify { order: 3 }).await;
    t.run_one().await.assert_ok();
    assert_eq!(*seen.lock(), ["notify 1"], "nothing else has started");
    t.run_one().await.assert_ok();
    t.run_one().await.assert_ok();
    assert_eq!(*seen.lock(), ["notify 1", "charge 2", "notify 3"]);
    assert!(t.try_run_one().await.is_none());
}

#[mq_testing::test]
async fn nothing_runs_by_itself_however_much_time_passes() {
    let t = Harness::new().handle(charge);
    let id = t
        .enqueue_with(charge_of(1), |request| request.delay(hours(1)))
        .await;
    t.advance(minutes(59)).await;
    t.message(id).assert_scheduled();
    assert!(t.try_run_one().await.is_none(), "it is not due");
    t.advance(minutes(1)).await;
    t.message(id).assert_ready().assert_attempts(0);
    t.advance(hours(5)).await;
    t.message(id).assert_ready().assert_attempts(0);
    t.run_one().await.assert_ok();
}

#[mq_testing::test]
async fn a_message_that_is_scheduled_stays_when_everything_else_ran() {
    let t = Harness::new().handle(charge);
    let later = t
        .enqueue_with(charge_of(1), |request| request.delay(hours(1)))
        .await;
    let now = t.enqueue(charge_of(2)).await;
    assert_eq!(t.run_until_empty().await.len(), 1);
    t.message(now).assert_succeeded();
    t.message(later).assert_scheduled();
}

#[mq_testing::test]
async fn a_wall_clock_that_jumps_moves_due_times() {
    let t = Harness::new().handle(charge);
    let id = t
        .enqueue_with(charge_of(1), |request| request.delay(hours(1)))
        .await;
    t.set_wall(t.now().after(hours(2))).await;
    t.message(id).assert_ready();
    assert_eq!(t.engine().clock_jumps(), 1);
}

#[mq_testing::test]
async fn a_handler_that_sleeps_takes_simulated_time_and_keeps_its_lease() {
    async fn slow(_message: Charge) -> Outcome {
        tokio::time::sleep(minutes(4)).await;
        Ok(())
    }
    let t = Harness::new().handle(slow);
    let id = t.enqueue(charge_of(1)).await;
    let began = t.now();
    t.run_one().await.assert_ok();
    assert!(t.now().since(began) >= minutes(4));
    t.message(id).assert_succeeded().assert_attempts(1);
}

#[mq_testing::test]
async fn a_handler_over_its_time_limit_has_failed() {
    async fn hangs(_message: Charge) -> Outcome {
        std::future::pending().await
    }
    let t = Harness::new().handle_with(hangs, |options| options.timeout(secs(10)));
    t.enqueue(charge_of(1)).await;
    t.run_one().await.assert_retry().assert_error("timeout");
}

#[mq_testing::test]
async fn every_ending_has_its_word() {
    async fn ends(message: Charge) -> Outcome {
        match message.order {
            1 => Err(Fail::snooze(minutes(2))),
            2 => Err(Fail::discard("no such customer")),
            3 => Err(Fail::dead_letter("stolen card").note("call the bank")),
            4 => Err(Fail::cancel()),
            5 => Err(Fail::interrupt()),
            _ => panic!("what is order {}?", message.order),
        }
    }
    let t = Harness::new().handle(ends);
    let mut ids = Vec::new();
    for order in 1..=6 {
        ids.push(t.enqueue(charge_of(order)).await);
    }
    t.run_one().await.assert_snoozed();
    t.message(ids[0]).assert_scheduled().assert_failures(0);
    t.run_one().await.assert_discarded();
    t.message(ids[1]).assert_discarded();
    t.run_one().await.assert_dead("stolen card");
    t.message(ids[2]).assert_dead("call the bank");
    t.run_one().await.assert_cancelled();
    t.run_one().await.assert_interrupted();
    t.message(ids[4]).assert_ready().assert_failures(0);
    let interrupted = t.run_one().await.assert_interrupted();
    assert_eq!(interrupted.id, ids[4], "it kept its place in line");
}

#[mq_testing::test]
async fn a_panic_is_a_failed_attempt() {
    async fn panics(_message: Charge) -> Outcome {
        panic!("index out of bounds")
    }
    let t = Harness::new().handle(panics);
    t.enqueue(charge_of(1)).await;
    t.run_one()
        .await
        .assert_retry()
        .assert_error("index out of bounds");
}

#[mq_testing::test]
async fn results_can_be_looked_at() {
    #[derive(Serialize, Deserialize, Message)]
    #[message(kind = "add", output = u64)]
    struct Add(u64, u64);
    async fn add(message: Add) -> Result<u64, Fail> {
        Ok(message.0 + message.1)
    }
    let t = Harness::new().handle(add);
    let id = t.enqueue(Add(2, 3)).await;
    assert_eq!(t.run_one().await.assert_ok().result::<u64>(), 5);
    t.message(id).assert_result(&5_u64);
    let kept = t
        .enqueue_with(Add(4, 5), |request| request.retain(hours(1)))
        .await;
    t.run_one().await.assert_ok();
    t.message(kept)
        .assert_state(StateKind::Completed)
        .assert_succeeded()
        .assert_result(&9_u64);
}

#[mq_testing::test]
async fn blocking_handlers_run_to_their_end_and_may_wait_for_the_engine() {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "that is what a handler takes"
    )]
    fn blocks(message: Charge, ctx: Ctx, State(engine): State<OnceEngine>) -> Outcome {
        ctx.save_checkpoint(&message.order).wait()?;
        ctx.stage(Notify { order: 1 }).wait()?;
        if let Some(engine) = engine.0.lock().as_ref() {
            engine.enqueue(Notify { order: 2 }).wait()?;
        }
        Ok(())
    }
    #[derive(Clone, Default)]
    struct OnceEngine(Arc<Mutex<Option<Engine>>>);
    let shared = OnceEngine::default();
    let t = Harness::new().state(shared.clone()).handle_blocking(blocks);
    *shared.0.lock() = Some(t.engine().clone());
    let id = t.enqueue(charge_of(7)).await;
    t.run_one().await.assert_ok();
    t.message(id).assert_succeeded();
    t.assert_enqueued::<Notify>(|_| true).times(2);
    shared.0.lock().take();
}

#[mq_testing::test]
async fn handlers_run_beside_each_other_when_everything_runs() {
    #[derive(Clone, Default)]
    struct Beside(Arc<(AtomicUsize, AtomicUsize)>);
    async fn counts(_message: Charge, State(beside): State<Beside>) -> Outcome {
        let now = beside.0.0.fetch_add(1, Ordering::Relaxed) + 1;
        beside.0.1.fetch_max(now, Ordering::Relaxed);
        tokio::time::sleep(secs(1)).await;
        beside.0.0.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
    let beside = Beside::default();
    let t = Harness::new()
        .state(beside.clone())
        .handle_with(counts, |options| options.parallelism(1..=4));
    for order in 0..10 {
        t.enqueue(charge_of(order)).await;
    }
    t.run_until_empty().await;
    assert_eq!(beside.0.1.load(Ordering::Relaxed), 4);
}

#[mq_testing::test]
async fn a_test_can_act_while_a_handler_runs() {
    async fn waits(_message: Charge, ctx: Ctx) -> Outcome {
        ctx.cancelled().await;
        Err(Fail::cancel())
    }
    let t = Harness::new().handle(waits);
    let id = t.enqueue(charge_of(1)).await;
    assert_eq!(t.start_one().await, id);
    t.message(id).assert_state(StateKind::Leased);
    t.engine().cancel(id).await.unwrap();
    t.run_until_empty().await;
    t.message(id).assert_gone();
}

#[mq_testing::test]
async fn keys_and_paused_queues_do_what_they_do_in_production() {
    let t = Harness::new().handle(charge);
    let first = t
        .enqueue_with(charge_of(1), |request| request.idempotency_key("order-1"))
        .await;
    let again = t
        .enqueue_with(charge_of(1), |request| request.idempotency_key("order-1"))
        .await;
    assert_eq!(first, again);
    t.engine().admin().pause_queue("default").await.unwrap();
    assert!(t.run_until_empty().await.is_empty(), "the queue is paused");
    t.engine().admin().resume_queue("default").await.unwrap();
    assert_eq!(t.run_until_empty().await.len(), 1);
    assert_eq!(t.engine().clock_jumps(), 0);
}

#[mq_testing::test]
async fn a_message_of_unlimited_attempts_outlives_every_budget() {
    let t = Harness::new().handle(decline);
    let id = t
        .enqueue_with(charge_of(9), |request| request.unlimited_attempts())
        .await;
    for _ in 0..40 {
        t.run_one().await.assert_retry();
        t.advance(minutes(6)).await;
    }
    t.message(id).assert_attempts(40);
    let t = t.crash().await;
    t.run_one().await.assert_retry();
}
