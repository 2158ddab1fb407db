//! How messages run in a test: one at a time, or all of them; and how time passes.
//!
//! Invariants: nothing is handed out outside of these calls. A call that would never end fails and says what goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use mq_core::backend::Backend;
use mq_core::id::{MessageId, Seq};
use mq_core::state::{Outcome, State};
use mq_core::time::{Clock, Timestamp};
use mq_core::view::{Filter, MessageView, StateKind};

use super::process::Process;
use super::ran::Ran;
use super::{Harness, fail};

/// Attempts in one call before it is a livelock.
pub(super) const ATTEMPTS_MAX: usize = 10_000;
/// Turns of the engine without an attempt that begins or ends before a call gives up.
const TURNS_MAX: usize = 20_000;
/// If nothing at all happens for so long, nothing will. Tokio's timers reach little further than two years.
const STILL: Duration = Duration::from_secs(366 * 86_400);
/// Messages looked at with one call.
const PAGE: usize = 256;
/// Messages that a failure names.
const NAMED_MAX: usize = 5;

impl Harness {
    /// Runs one attempt of the message that has been ready for longest (by its place in line, within its kind by the
    /// engine's order), to its end. Time passes only while the handler waits for it.
    ///
    /// It returns when the outcome is written; a power cut may still undo that until the next sync (within 10 ms of
    /// simulated time, or when anything about the store is looked at), and the message is then handed out again.
    ///
    /// # Panics
    /// If no message is ready that a handler takes.
    pub async fn run_one(&self) -> Ran {
        match self.try_run_one().await {
            Some(ran) => ran,
            None => fail(&format!("no message is ready to run\n{}", self.inventory())),
        }
    }

    /// As [`Harness::run_one`]; `None` if no message is ready that a handler takes.
    pub async fn try_run_one(&self) -> Option<Ran> {
        loop {
            let index = self.hand_out_one().await?;
            let ended = self.drive("run_one", false, |_| {
                let record = self.record.lock();
                record.handed.get(index).and_then(Ran::of)
            });
            let ran = ended.await;
            if ran.outcome != Some(Outcome::Crashed) {
                return Some(ran);
            }
        }
    }

    /// Starts one attempt and returns when its handler waits for something, or has ended. For crashes in the middle of a
    /// handler; the attempt goes on whenever the test waits for the harness.
    ///
    /// # Panics
    /// If no message is ready that a handler takes.
    pub async fn start_one(&self) -> MessageId {
        let Some(index) = self.hand_out_one().await else {
            fail(&format!("no message is ready to run\n{}", self.inventory()))
        };
        self.world.settle().await;
        let record = self.record.lock();
        match record.handed.get(index) {
            Some(handed) => handed.token.id,
            None => fail("the attempt that was started is not on record"),
        }
    }

    /// Runs every message that a handler takes, with the handlers' parallelism, until none is ready, running or waiting
    /// for a retry or after a snooze, and all of it is synced. The clock moves over the waiting times. What is scheduled
    /// and was never tried, held or paused stays, and so does what no handler takes. Answers what ran, in order.
    ///
    /// # Panics
    /// On a livelock: more than [`Harness::attempts_max`] attempts, or a handler that never ends; the text names the
    /// messages.
    pub async fn run_until_empty(&self) -> Vec<Ran> {
        let before = self.record.lock().handed.len();
        self.drive("run_until_empty", true, |process| {
            self.is_empty(process).then_some(())
        })
        .await;
        self.process().gate.close();
        self.sync().await;
        let record = self.record.lock();
        record
            .handed
            .iter()
            .skip(before)
            .filter_map(Ran::of)
            .collect()
    }

    /// Waits until everything decided so far is synced: no crash undoes it.
    pub async fn sync(&self) {
        if let Err(stopped) = self.engine().sync().await {
            fail(&format!("the store does not serve any more: {stopped}"));
        }
    }

    /// Lets time pass, on both clocks, with everything that is due in it: messages become ready, leases run out, running
    /// handlers go on. Nothing new is handed out.
    pub async fn advance(&self, duration: Duration) {
        self.process();
        self.world.idle.quiesce().await;
        let now = self.world.clock.monotonic();
        let until = self.world.clock.instant(now + duration);
        while tokio::time::Instant::now() < until {
            let step = until.min(tokio::time::Instant::now() + STILL);
            tokio::time::sleep_until(step).await;
        }
        self.world.idle.quiesce().await;
        self.world.tell(format_args!("{duration:?} have passed"));
    }

    /// What the wall clock shows. It begins at 2026-01-01T00:00:00Z.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.clock.wall()
    }

    /// Sets the wall clock alone, forward or back, as an administrator would: due times follow it, leases do not.
    pub async fn set_wall(&self, wall: Timestamp) {
        let process = self.process();
        self.world
            .tell(format_args!("the wall clock is set to {wall}"));
        self.world.clock.set_wall(wall);
        process.puppets.call_all();
        self.world.idle.quiesce().await;
    }

    /// Hands one message out; answers its place in the record.
    async fn hand_out_one(&self) -> Option<usize> {
        let process = self.process();
        self.world.settle().await;
        let before = self.record.lock().handed.len();
        let mut tried = Vec::new();
        for message in self.all(&process, Some(StateKind::Ready)) {
            for pool in process.gate.pools_for(&message) {
                if tried.contains(&pool) {
                    continue;
                }
                tried.push(pool);
                process.gate.release(pool);
                self.world.settle().await;
                if self.record.lock().handed.len() > before {
                    return Some(before);
                }
                process.gate.take_back(pool);
            }
        }
        None
    }

    /// Lets things happen and time pass until `done` answers, through the troubles that are planned. With `freely`,
    /// messages are handed out as in production.
    async fn drive<T>(
        &self,
        what: &str,
        freely: bool,
        mut done: impl FnMut(&Process) -> Option<T>,
    ) -> T {
        loop {
            if freely {
                self.process().gate.open();
            }
            let before = self.arm();
            let ended = self.live_until(what, &mut done).await;
            self.disarm(before);
            if !self.rise_again().await
                && let Some(value) = ended
            {
                return value;
            }
        }
    }

    /// Lets things happen and time pass until `done` answers, or until the process dies.
    async fn live_until<T>(
        &self,
        what: &str,
        done: &mut impl FnMut(&Process) -> Option<T>,
    ) -> Option<T> {
        let process = self.process();
        let has_died = || process.lifeline.is_cut() || process.disk.has_crashed();
        let (mut progress, mut turns) = (self.progress(), 0);
        let attempts_before = progress.0;
        let too_many = || self.progress().0 - attempts_before > self.attempts_max;
        loop {
            self.world.idle.quiesce_unless(too_many).await;
            if too_many() {
                fail(&self.livelock(what, attempts_before));
            }
            if has_died() {
                return None;
            }
            if let Some(value) = done(&process) {
                return Some(value);
            }
            if has_died() {
                return None;
            }
            if let Some(stopped) = process.engine.stopped() {
                fail(&format!("{what}: {stopped}"));
            }
            let now = self.progress();
            turns = if now == progress { turns + 1 } else { 0 };
            progress = now;
            // Looking may have called the engine's threads: what comes of that is not what is waited for.
            self.world.idle.quiesce_unless(too_many).await;
            if self.progress() != progress {
                continue;
            }
            if turns > TURNS_MAX || !self.something_happens().await {
                fail(&self.stuck(what));
            }
        }
    }

    /// Attempts begun and ended.
    fn progress(&self) -> (usize, usize) {
        let record = self.record.lock();
        (record.handed.len(), record.ended)
    }

    /// Waits for the next turn of the engine; `false` if there will be none.
    async fn something_happens(&self) -> bool {
        tokio::select! {
            biased;
            () = self.world.idle.next_turn() => true,
            () = tokio::time::sleep(STILL) => false,
        }
    }

    /// Whether nothing is left to run.
    fn is_empty(&self, process: &Process) -> bool {
        let stats = process.engine.stats();
        let count = |state: StateKind| -> u64 {
            let queues = stats.queues.iter();
            queues
                .filter_map(|(_, queue)| queue.by_state.get(state as usize))
                .sum()
        };
        if count(StateKind::Leased) + count(StateKind::Superseded) > 0 {
            return false;
        }
        if count(StateKind::Ready) + count(StateKind::Scheduled) == 0 {
            return true;
        }
        let is_paused = |message: &MessageView| {
            let mut queues = stats.queues.iter();
            queues.any(|(name, queue)| queue.paused && *name == message.queue)
        };
        let waits = |message: &MessageView| match message.state {
            State::Ready => true,
            State::Scheduled { .. } => message.deliveries > 0,
            State::Blocked { .. }
            | State::Leased { .. }
            | State::Held { .. }
            | State::Completed { .. }
            | State::Dead { .. }
            | State::Superseded { .. } => false,
        };
        let all = self.all(process, None);
        !all.iter()
            .any(|message| waits(message) && process.gate.serves(message) && !is_paused(message))
    }

    /// Every message in the store, or those in one state.
    pub(super) fn all(&self, process: &Process, state: Option<StateKind>) -> Vec<MessageView> {
        let filter = Filter {
            state,
            ..Filter::default()
        };
        let (mut all, mut after) = (Vec::new(), Seq::NONE);
        loop {
            let page = process.gate.list(filter.clone(), after, PAGE).wait();
            let Ok(Ok(page)) = page else { return all };
            all.extend(page.messages);
            match page.next {
                Some(next) => after = next,
                None => return all,
            }
        }
    }

    /// What is in the store, for people.
    pub(super) fn inventory(&self) -> String {
        let process = self.process();
        let all = self.all(&process, None);
        if all.is_empty() {
            return "the store is empty".to_owned();
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for message in &all {
            let unserved = if process.gate.serves(message) {
                ""
            } else {
                " (no handler takes this kind)"
            };
            let state = message.state.kind().as_str();
            *counts
                .entry(format!("{} {state}{unserved}", message.kind))
                .or_default() += 1;
        }
        let lines = counts
            .into_iter()
            .map(|(what, count)| format!("\n  {count} × {what}"));
        format!("in the store:{}", lines.collect::<String>())
    }

    fn livelock(&self, what: &str, since: usize) -> String {
        let record = self.record.lock();
        let mut attempts: BTreeMap<MessageId, usize> = BTreeMap::new();
        for handed in record.handed.iter().skip(since) {
            *attempts.entry(handed.token.id).or_default() += 1;
        }
        let messages = attempts.len();
        let mut busiest: Vec<(MessageId, usize)> = attempts.into_iter().collect();
        busiest.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let lines = busiest
            .into_iter()
            .take(NAMED_MAX)
            .filter_map(|(id, count)| {
                let known = record.messages.get(&id)?;
                let last = known.last.as_ref().and_then(|ended| ended.outcome);
                let last = last.map_or("running", |outcome| outcome.as_str());
                Some(format!(
                    "\n  #{} {}: {count} attempts, the last one {last}",
                    id.seq(),
                    known.kind
                ))
            });
        let lines: String = lines.collect();
        format!(
            "{what}: livelock: {} attempts of {messages} messages, and there is still work; a handler that snoozes or \
             stages its own kind for ever never ends (raise Harness::attempts_max if this is no mistake)\nthe busiest:{lines}",
            self.attempts_max
        )
    }

    fn stuck(&self, what: &str) -> String {
        let record = self.record.lock();
        let running: Vec<String> = record
            .running()
            .take(NAMED_MAX)
            .map(|handed| {
                format!(
                    "\n  #{} {}, attempt {}",
                    handed.token.id.seq(),
                    handed.kind,
                    handed.attempt
                )
            })
            .collect();
        drop(record);
        if running.is_empty() {
            return format!(
                "{what}: nothing runs and nothing will become ready\n{}",
                self.inventory()
            );
        }
        format!(
            "{what}: a handler waits for something that does not come, though time has passed; running:{}",
            running.concat()
        )
    }
}
