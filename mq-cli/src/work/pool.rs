//! The workers of `mq work`: the engine hands out, a command runs, its verdict goes back.

use std::time::Duration;

use mq::{Ctx, Fail, Workers};
use mq_core::backend::Grant;
use mq_core::command::Selector;
use mq_core::limits::GRACE_DEFAULT;
use mq_dispatch::{CancelReason, HandlerOptions};
use tokio::sync::watch;

use super::Plan;
use super::child::Job;
use super::verdict::{Reason, Verdict};
use crate::exit::{Exit, Failure, Result};
use crate::store::Store;

/// Running commands.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: Workers,
    at_once: watch::Sender<bool>,
}

/// Starts working on what `plan` is about. Needs a runtime.
///
/// # Errors
/// When the store or the system refuses.
pub(crate) fn start(store: &Store, plan: &Plan) -> Result<Pool> {
    let (at_once, stopping) = watch::channel(false);
    let selector = Selector {
        queue: Some(plan.scope.queue.clone()),
        kind: plan.scope.kind.clone(),
    };
    // The command's own time limit ends it and says so; the engine needs none beside it.
    let options = HandlerOptions::default()
        .parallelism(1..=plan.parallelism)
        .timeout(Duration::MAX)
        .retry(plan.retry.into());
    let plan = plan.clone();
    let handler = move |grant, ctx| attempt(plan.clone(), grant, ctx, stopping.clone());
    let workers = store
        .engine()
        .workers()
        .handle_raw(selector, options, handler)
        .start();
    let workers = workers.map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(Pool { workers, at_once })
}

impl Pool {
    /// Takes nothing new and waits for the commands that run, up to the grace, or until `hurry` resolves; those that
    /// are left are killed, at no cost to their messages.
    pub(crate) async fn stop(self, hurry: impl Future<Output = ()>) {
        let stopped = self.workers.stop(GRACE_DEFAULT);
        tokio::pin!(stopped);
        tokio::select! {
            _ = &mut stopped => return,
            () = hurry => {}
        }
        self.at_once.send_replace(true);
        stopped.await;
    }
}

async fn attempt(
    plan: Plan,
    grant: Grant,
    ctx: Ctx,
    stopping: watch::Receiver<bool>,
) -> std::result::Result<(), Fail> {
    let job = Job {
        payload: grant.envelope.payload.clone(),
        message_id: grant.token.id.to_string(),
        attempt: grant.attempt,
        queue: grant.queue.to_string(),
        kind: grant.kind.to_string(),
        lease: grant.token.to_string(),
    };
    let ended = plan.program.run(job, stop(&ctx, stopping)).await;
    answer(ended.verdict(), plan.snooze, ctx.cancel_reason())
}

/// Resolves when the engine asks for a stop, or the user for the second time.
async fn stop(ctx: &Ctx, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        _ = ctx.cancelled() => {}
        // An error means that the pool is gone, which is a stop too.
        _ = stopping.wait_for(|at_once| *at_once) => {}
    }
}

fn answer(
    verdict: Verdict,
    snooze: Duration,
    cancelled: Option<CancelReason>,
) -> std::result::Result<(), Fail> {
    match verdict {
        Verdict::Ack => Ok(()),
        Verdict::Snooze => Err(Fail::snooze(snooze)),
        Verdict::DeadLetter(reason) => Err(classed(reason, Fail::dead_letter)),
        Verdict::Failed(reason) => Err(classed(reason, Fail::retry)),
        Verdict::Interrupted if cancelled == Some(CancelReason::Requested) => Err(Fail::cancel()),
        Verdict::Interrupted => Err(Fail::interrupt()),
    }
}

fn classed(reason: Reason, fail: impl FnOnce(Reason) -> Fail) -> Fail {
    let class = reason.class;
    fail(reason).error_type(class)
}
