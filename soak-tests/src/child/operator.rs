//! The operator: scales pools, pauses and resumes kinds, replays dead letters, keeps a schedule, reads figures.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::Context;
use mq::{Filter, Missed, Schedule};

use super::handlers::{Beat, POOLS};
use super::{Child, micros};
use crate::line::{Figures, Said};
use crate::plan::Dice;

const ROUND: Duration = Duration::from_secs(1);

/// Pauses the cold queue and puts the schedule.
///
/// # Errors
/// The engine refused.
pub(super) async fn set_up(child: &Child) -> anyhow::Result<()> {
    let admin = child.engine.admin();
    admin.queue("cold").pause().await?;
    let beat = Schedule::every(Duration::from_secs(1))
        .missed(Missed::Once)
        .message(Beat {});
    child.engine.schedules().put("beat", beat).await?;
    Ok(())
}

/// No schedule, no paused queue or kind, all workers.
///
/// # Errors
/// The engine refused.
pub(super) async fn open_everything(child: &Child) -> anyhow::Result<()> {
    child.engine.schedules().remove("beat").await?;
    let admin = child.engine.admin();
    admin.queue("cold").resume().await?;
    for (kind, most) in POOLS {
        admin.resume_kind(kind)?;
        admin.scale(kind, most).await?;
    }
    Ok(())
}

/// Works until the child ends.
pub(super) async fn operate(child: Arc<Child>, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    for round in 0_u64.. {
        rounds.tick().await;
        if child.ending.load(Relaxed) {
            return;
        }
        child.mouth.say(&Said::Figures(figures(&child)));
        if !child.draining.load(Relaxed)
            && let Err(error) = do_something(&child, round, &mut dice).await
        {
            child.mouth.trouble(format!("operator: {error:#}"));
        }
    }
}

async fn do_something(child: &Child, round: u64, dice: &mut Dice) -> anyhow::Result<()> {
    let admin = child.engine.admin();
    let chosen = usize::try_from(dice.below(POOLS.len() as u64)).unwrap_or_default();
    let Some((kind, most)) = POOLS.get(chosen).copied() else {
        return Ok(());
    };
    match round % 10 {
        2 => {
            // Never to a trickle for long: what comes in must get out.
            let workers = 2 + dice.below(most as u64 - 1);
            admin.scale(kind, usize::try_from(workers)?).await?;
        }
        5 => {
            replay_dead(child).await?;
        }
        7 => admin.pause_kind(kind)?,
        8 => POOLS
            .iter()
            .try_for_each(|(kind, _)| admin.resume_kind(kind))?,
        _ => {}
    }
    Ok(())
}

/// Replays all dead letters; answers how many.
///
/// # Errors
/// The engine refused.
pub(super) async fn replay_dead(child: &Child) -> anyhow::Result<u64> {
    let dead = child.engine.admin().dead_letters();
    if child.engine.stats().dead.total == 0 {
        return Ok(0);
    }
    let job = tokio::task::spawn_blocking(move || {
        let job = dead.replay_all(Filter::all()).wait()?;
        job.finished().wait()
    });
    let report = job.await.context("a replay")??;
    Ok(report.counts.done)
}

fn figures(child: &Child) -> Figures {
    let stats = child.engine.stats();
    let journal = stats.journal.as_ref();
    let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
    Figures {
        live: stats.store.live_messages,
        live_bytes: stats.store.live_bytes,
        dead: stats.dead.total,
        journal: journal.map_or(0, |it| it.size),
        segments: journal.map_or(0, |it| count(it.segments)),
        spares: journal.map_or(0, |it| it.spares),
        keys: stats.store.keys,
        clock_jumps: stats.clock_jumps,
        snapshots: journal.map_or(0, |it| it.snapshots.percentiles().count),
        sync_p99_micros: journal.map_or(0, |it| micros(it.sync().p99)),
    }
}
