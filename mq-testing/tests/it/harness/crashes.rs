//! Crashes: what was promised is kept, what was running stops where it is, and runs again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mq::prelude::*;
use mq_testing::Harness;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind};

use super::{Charge, Notify, charge, charge_of, decline};

#[mq_testing::test(seeds = 12)]
async fn what_was_answered_survives_a_power_cut() {
    let t = Harness::new().handle(decline);
    let dead = t.enqueue(charge_of(9)).await;
    t.run_until_empty().await;
    let waiting = t.enqueue(charge_of(10)).await;
    let t = t.crash().await;
    t.message(dead).assert_dead("Declined").assert_attempts(20);
    t.message(waiting).assert_ready().assert_attempts(0);
    t.run_one().await.assert_retry();
}

#[mq_testing::test(seeds = 12)]
async fn a_handler_that_ran_when_the_power_went_runs_again() {
    #[derive(Clone, Default)]
    struct Counts(Arc<(AtomicUsize, AtomicUsize)>);
    async fn slow(_message: Charge, State(counts): State<Counts>) -> Outcome {
        counts.0.0.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(secs(12)).await;
        counts.0.1.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    let counts = Counts::default();
    let t = Harness::new().state(counts.clone()).handle(slow);
    let id = t.enqueue(charge_of(1)).await;
    t.start_one().await;
    t.advance(secs(10)).await;
    let t = t.crash().await;
    t.advance(minutes(10)).await;
    assert_eq!(counts.0.1.load(Ordering::Relaxed), 0, "the dead run on");
    t.run_until_empty().await;
    t.message(id)
        .assert_succeeded()
        .assert_failures_at_most_none();
    assert_eq!(counts.0.0.load(Ordering::Relaxed), 2);
    assert_eq!(counts.0.1.load(Ordering::Relaxed), 1);
}

trait NoFailures {
    fn assert_failures_at_most_none(self);
}

impl NoFailures for mq_testing::Observed {
    fn assert_failures_at_most_none(self) {
        assert!(self.view().is_none_or(|view| view.tail.failures == 0));
    }
}

#[mq_testing::test(seeds = 24)]
async fn an_attempt_and_what_it_staged_survive_together_or_not_at_all() {
    let t = Harness::new().handle(charge);
    let id = t.enqueue(charge_of(9)).await;
    t.run_one().await.assert_ok();
    let t = t.crash().await; // the outcome was written, and perhaps not synced
    let staged = t.stats().live_messages;
    if t.try_run_one().await.is_some() {
        assert_eq!(staged, 1, "only the message that comes again");
    }
    t.message(id).assert_succeeded();
    assert_eq!(t.stats().live_messages, 1);
}

#[mq_testing::test]
async fn a_power_cut_that_loses_all_that_was_not_synced_hands_out_again() {
    async fn plain(_message: Charge) -> Outcome {
        Ok(())
    }
    let t = Harness::new().handle(plain);
    let id = t.enqueue(charge_of(9)).await;
    t.run_one().await.assert_ok();
    let t = t.crash_with(CrashMode::LoseAll).await;
    t.message(id).assert_ready();
    t.run_one().await.assert_ok();
    t.sync().await;
    let t = t.crash_with(CrashMode::LoseAll).await;
    t.message(id).assert_succeeded();
}

#[mq_testing::test]
async fn a_killed_process_loses_nothing_that_was_written() {
    let t = Harness::new().handle(charge);
    let id = t.enqueue(charge_of(9)).await;
    t.run_one().await.assert_ok();
    let t = t.kill().await;
    t.message(id).assert_succeeded();
    t.assert_enqueued::<Notify>(|notify| notify.order == 9)
        .once();
}

#[mq_testing::test]
async fn a_restart_costs_a_running_handler_no_attempt() {
    async fn obeys(_message: Charge, ctx: Ctx) -> Outcome {
        ctx.cancelled().await;
        ctx.check_cancelled()?;
        Ok(())
    }
    let t = Harness::new().handle(obeys);
    let id = t.enqueue(charge_of(1)).await;
    t.start_one().await;
    let t = t.restart().await;
    t.message(id).assert_ready().assert_failures(0);
}

#[mq_testing::test]
async fn crash_after_crash_is_the_same_store() {
    let mut t = Harness::new().handle(charge);
    let mut ids = Vec::new();
    for order in 0..10 {
        ids.push(t.enqueue(charge_of(order)).await);
        t = match order % 3 {
            0 => t.crash().await,
            1 => t.kill().await,
            _ => t.restart().await,
        };
    }
    t.run_until_empty().await;
    for id in ids {
        t.message(id).assert_succeeded();
    }
    t.assert_enqueued::<Notify>(|_| true).times(10);
}

#[mq_testing::test]
async fn a_disk_that_fails_stops_the_engine_and_the_next_life_goes_on() {
    let t = Harness::new().handle(charge);
    let id = t.enqueue(charge_of(1)).await;
    t.disk().fail_nth(IoKind::SyncData, 1, Fault::IoError);
    let refused = t.engine().enqueue(charge_of(2)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(t.engine().stopped().is_some());
    let t = t.kill().await;
    t.message(id).assert_ready();
    t.run_until_empty().await;
}
