//! One worker pool: from free workers to permits, from grants to started attempts, from ended attempts to free workers.
//!
//! Invariants: the store is called without the pool's lock held, and told about permits by one thread at a time; no more
//! attempts run than the limit says, except those that were running when it was lowered; a granted message that is not
//! started is given back.

mod view;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::{Backend, Delivery, Grant};
use mq_core::id::{LeaseToken, PoolId};
use mq_core::pending::{Pending, Promise};
use mq_core::retry::RetryPolicy;
use mq_core::state::Outcome;
use mq_core::time::Clock;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::attempt::{Conclusion, End, Job};
use crate::cancel::CancelReason;
use crate::gate::Gate;
use crate::layer::AttemptService;
use crate::lease::Lease;
use crate::log;
use crate::message::DecodeError;
use crate::observer::Observer;
use crate::options::Settings;
use crate::permits::{Change, Permits, Placement};
use crate::route::{Route, Routes};
use crate::settle::{Entry, Settler};
use crate::slots::Slots;
use crate::states::States;
use crate::stats::{Counters, add};

/// So many undecodable messages in a row pause a pool: it looks like the wrong program, not like bad messages.
const UNDECODABLE_ROW_MAX: u32 = 10;

/// What all pools of one set of workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) runtime: Handle,
    pub(crate) states: Arc<States>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) settler: Settler,
    /// Wakes the timers, which may have to look earlier than they meant to.
    pub(crate) timers: Notify,
}

/// Why a pool takes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// A user said so.
    ByUser,
    /// Too many undecodable messages in a row.
    Undecodable,
}

struct State {
    permits: Permits,
    slots: Slots,
    scaled: Vec<Promise<()>>,
    pause: Option<Pause>,
    closed: bool,
    /// Somebody tells the store about permits.
    telling: bool,
    /// Something has changed that it was not told.
    untold: bool,
    undecodable_row: u32,
}

pub(crate) struct Pool {
    /// The kind, or what the pool is called.
    pub(crate) name: String,
    /// Every name it answers to.
    pub(crate) names: Vec<String>,
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    /// The pool as the store knows it.
    pub(crate) line: PoolId,
    routes: Routes,
    shared: Arc<Shared>,
    /// Something arrived in an inbox.
    pub(crate) delivered: Arc<Notify>,
    /// A handler ended.
    left: Notify,
    state: Mutex<State>,
}

/// The parts of a new pool.
pub(crate) struct NewPool {
    /// Its own, if it has one; otherwise it is called as its handler.
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) line: PoolId,
    pub(crate) routes: Routes,
    pub(crate) delivered: Arc<Notify>,
}

impl Pool {
    pub(crate) fn new(new: NewPool, shared: Arc<Shared>) -> Arc<Self> {
        let NewPool {
            name,
            settings,
            line,
            routes,
            delivered,
        } = new;
        routes.scale(settings.limit);
        let names: Vec<String> = name.iter().chain(routes.names()).cloned().collect();
        let state = State {
            permits: Permits::new(settings.limit),
            slots: Slots::default(),
            scaled: Vec::new(),
            pause: None,
            closed: false,
            telling: false,
            untold: false,
            undecodable_row: 0,
        };
        Arc::new(Self {
            name: names.first().cloned().unwrap_or_default(),
            names,
            settings,
            counters: Counters::default(),
            line,
            routes,
            shared,
            delivered,
            left: Notify::new(),
            state: Mutex::new(state),
        })
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// Takes in what arrives until the pool is closed and empty.
    pub(crate) async fn receive(self: Arc<Self>) {
        let mut inbox = Vec::new();
        loop {
            self.delivered.notified().await;
            self.take_in(&mut inbox);
            if self.state.lock().closed {
                return;
            }
        }
    }

    /// Takes in what has arrived.
    pub(crate) fn take_in(self: &Arc<Self>, inbox: &mut Vec<Delivery>) {
        self.shared.backend.take(self.line, inbox);
        if !inbox.is_empty() {
            self.sort(inbox);
        }
    }

    fn sort(self: &Arc<Self>, inbox: &mut Vec<Delivery>) {
        let mut jobs = Vec::with_capacity(inbox.len());
        let mut back = Vec::new();
        let mut notices = Vec::new();
        let mut state = self.state.lock();
        let was_idle = state.slots.len() == 0;
        for delivery in inbox.drain(..) {
            match delivery {
                Delivery::Grant(grant) => match (self.routes.of(&grant), state.permits.granted()) {
                    (Some(route), Placement::Start) => {
                        jobs.push(self.prepare(&mut state, grant, route));
                    }
                    (_, Placement::GiveBack) => back.push(grant.token),
                    (None, Placement::Start) => {
                        // The store has granted what was not asked for.
                        state.permits.freed(1);
                        back.push(grant.token);
                    }
                },
                Delivery::CancelRequested(token) => notices.push((token, CancelReason::Requested)),
                Delivery::LeaseLost(token) => notices.push((token, CancelReason::LeaseLost)),
            }
        }
        drop(state);
        if was_idle {
            self.shared.timers.notify_one();
        }
        for job in jobs {
            self.start(job);
        }
        for (token, reason) in notices {
            self.notice(token, reason);
        }
        let gave_back = !back.is_empty();
        self.give_back(back);
        if gave_back {
            self.balance();
        }
    }

    fn prepare(self: &Arc<Self>, state: &mut State, grant: Grant, route: &Route) -> Job {
        let timeout = route.settings.timeout_in(&grant.queue);
        let lease = Arc::new(Lease::new(
            grant,
            Arc::clone(&self.shared.states),
            Arc::clone(&self.shared.backend),
            timeout,
        ));
        let slot = state.slots.insert(Arc::clone(&lease));
        let mut job = Job::new(lease, Arc::clone(self), slot);
        job.service = route.runner.gate().and_then(|gate| gate.take());
        job
    }

    fn start(&self, job: Job) {
        add(&self.counters.started, 1);
        let grant = &job.lease.grant;
        let waited = self.shared.clock.as_ref().map(|clock| {
            let waited = clock.wall().since(grant.due.max(grant.enqueued));
            self.counters.wait.record(waited);
            waited
        });
        log::started(grant, waited);
        if let Some(observer) = &self.shared.observer {
            job.lease.observe(|| observer.started(grant, waited));
        }
        if let Some(route) = self.routes.of(grant) {
            route.runner.start(job);
        }
    }

    fn give_back(&self, tokens: Vec<LeaseToken>) {
        if !tokens.is_empty() {
            add(
                &self.counters.given_back,
                u64::try_from(tokens.len()).unwrap_or(0),
            );
            self.shared.backend.give_back(tokens);
        }
    }

    /// The store says something about a lease that this pool holds.
    pub(crate) fn notice(self: &Arc<Self>, token: LeaseToken, reason: CancelReason) {
        let Some(lease) = self.state.lock().slots.find(token).cloned() else {
            return;
        };
        match reason {
            CancelReason::LeaseLost => {
                lease.stop_soon(reason, Instant::now());
                self.shared.timers.notify_one();
            }
            CancelReason::Requested | CancelReason::Shutdown | CancelReason::Timeout => {
                lease.cancel.request(reason);
            }
        }
    }

    /// An attempt ended by itself.
    pub(crate) fn ended(self: &Arc<Self>, slot: usize, lease: &Lease, end: End) {
        self.counters.run.record(lease.started.elapsed());
        let coming = self.shared.settler.announce();
        let claimed = lease.claim();
        self.leave(slot, Some(&end));
        if !claimed {
            drop(coming);
            self.free(1);
            return;
        }
        let conclusion = Conclusion::of(lease, end, self.retry_of(lease));
        self.conclude(lease, &conclusion);
        coming.push(Entry::new(Arc::clone(self), lease, conclusion, true));
    }

    /// It is known how an attempt ended: whoever watches is told.
    fn conclude(&self, lease: &Lease, conclusion: &Conclusion) {
        if is_over(conclusion.outcome) {
            let attempt = u64::from(lease.grant.attempt);
            self.counters.attempts.record_number(attempt);
        }
        lease.ended(&log::ended(lease, conclusion));
    }

    /// An attempt was dropped: aborted by the timers or a stop, or its runtime went away.
    pub(crate) fn abandoned(self: &Arc<Self>, slot: usize, lease: &Lease) {
        let coming = self.shared.settler.announce();
        let claimed = lease.claim();
        self.leave(slot, None);
        if claimed {
            let conclusion = Conclusion::interrupted();
            self.conclude(lease, &conclusion);
            let entry = Entry::new(Arc::clone(self), lease, conclusion, true);
            self.shared.settler.settle_blindly(entry);
        }
        drop(coming);
        self.free(1);
    }

    /// A handler is gone; a row of undecodable messages goes on or ends with it.
    fn leave(self: &Arc<Self>, slot: usize, end: Option<&End>) {
        let is_malformed = matches!(end, Some(End::Undecodable(DecodeError::Malformed { .. })));
        let mut state = self.state.lock();
        state.slots.remove(slot);
        let row = if is_malformed {
            state.undecodable_row + 1
        } else {
            0
        };
        state.undecodable_row = row;
        let too_many = row > UNDECODABLE_ROW_MAX && state.pause.is_none();
        drop(state);
        self.left.notify_waiters();
        if too_many {
            tracing::error!(kind = %self.name, "message after message cannot be decoded; the pool is paused");
            self.pause(Pause::Undecodable);
        }
    }

    /// Settles in the handler's stead; this side has claimed the lease. What is returned waits for the answer.
    pub(crate) fn settle_for(
        self: &Arc<Self>,
        lease: &Lease,
    ) -> impl Future<Output = ()> + Send + 'static {
        let reason = lease.cancel.reason().unwrap_or(CancelReason::Timeout);
        let token = lease.grant.token;
        tracing::warn!(%token, kind = %self.name, reason = reason.as_str(), "a handler did not stop when it was asked to; its lease is taken away");
        let asked = if reason == CancelReason::LeaseLost {
            add(&self.counters.refused, 1);
            lease.ended(&log::lost(lease));
            None
        } else {
            let ran = lease.started.elapsed();
            let conclusion = Conclusion::forced(reason, ran, self.retry_of(lease));
            self.conclude(lease, &conclusion);
            let entry = Entry::new(Arc::clone(self), lease, conclusion, false);
            Some(self.shared.settler.ask(entry))
        };
        let shared = Arc::clone(&self.shared);
        async move {
            if let Some(asked) = asked {
                shared.settler.hear(asked).await;
            }
        }
    }

    /// How failures of this message are tried again.
    pub(crate) fn retry_of(&self, lease: &Lease) -> RetryPolicy {
        let route = self.routes.of(&lease.grant);
        let settings = route.map_or(&self.settings, |route| &route.settings);
        settings.retry_in(&lease.grant.queue)
    }

    /// Workers became free.
    pub(crate) fn free(self: &Arc<Self>, workers: u32) {
        self.state.lock().permits.freed(workers);
        self.balance();
    }

    /// Says how many ready services are wanted, and sees how many there are: of those handlers that have layers, of
    /// each. Drop what is returned without the lock.
    fn see_ready(&self, state: &mut State) -> Vec<AttemptService> {
        let mut all_surplus = Vec::new();
        let mut least = None;
        for gate in self.routes.gates() {
            let (ready, surplus) = gate.want(state.permits.idle());
            least = Some(least.map_or(ready, |least: u32| least.min(ready)));
            all_surplus.extend(surplus);
        }
        if let Some(ready) = least {
            state.permits.set_ready(ready);
        }
        all_surplus
    }

    /// What decides about readiness, of those handlers that have layers.
    pub(crate) fn gates(&self) -> impl Iterator<Item = &Arc<Gate>> {
        self.routes.gates()
    }

    /// The shortest time limit that an attempt can have.
    pub(crate) fn timeout_min(&self) -> Option<Duration> {
        self.routes.timeout_min()
    }

    /// Tells the store how many workers are free. One caller at a time does, for those too that come meanwhile: changes
    /// reach the store in the order in which they were computed.
    pub(crate) fn balance(self: &Arc<Self>) {
        let mut surplus = Vec::new();
        let mut scaled = Vec::new();
        let mut state = self.state.lock();
        state.untold = true;
        if state.telling {
            return;
        }
        state.telling = true;
        while std::mem::take(&mut state.untold) {
            let mut change = None;
            if !state.closed {
                surplus.extend(self.see_ready(&mut state));
                change = state.permits.correct();
            }
            scaled.append(&mut state.take_scaled());
            drop(state);
            self.tell(change);
            state = self.state.lock();
        }
        state.telling = false;
        drop(state);
        drop(surplus);
        keep_all(scaled);
    }

    fn tell(self: &Arc<Self>, change: Option<Change>) {
        match change {
            Some(Change::Add(permits)) => self.shared.backend.checkout(self.line, permits),
            Some(Change::TakeBack(permits)) => {
                let answer = self.shared.backend.withdraw(self.line, permits);
                self.take_back(permits, answer);
            }
            None => {}
        }
    }

    fn take_back(self: &Arc<Self>, asked: u32, answer: Pending<u32>) {
        let pool = Arc::clone(self);
        drop(self.shared.runtime.spawn(async move {
            let answered = answer.await.unwrap_or(asked);
            let mut state = pool.state.lock();
            state.permits.taken_back(asked, answered);
            let scaled = state.take_scaled();
            drop(state);
            keep_all(scaled);
        }));
    }

    /// Lets `limit` run at once from now on; answered when it is in force.
    pub(crate) fn scale(self: &Arc<Self>, limit: u32) -> Pending<()> {
        let (promise, pending) = Pending::new();
        {
            let mut state = self.state.lock();
            state.permits.set_limit(limit);
            state.scaled.push(promise);
        }
        self.routes.scale(limit);
        self.balance();
        pending
    }

    /// Takes nothing new for now.
    pub(crate) fn pause(self: &Arc<Self>, why: Pause) {
        let mut state = self.state.lock();
        state.pause = Some(why);
        state.permits.set_open(false);
        drop(state);
        self.balance();
    }

    /// Takes new messages again.
    pub(crate) fn resume(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.pause = None;
        state.undecodable_row = 0;
        let open = !state.closed;
        state.permits.set_open(open);
        drop(state);
        self.balance();
    }

    /// Takes nothing new for good, even if somebody resumes it who came before the stop.
    pub(crate) fn stop_accepting(self: &Arc<Self>) {
        self.state.lock().permits.close();
        self.pause(Pause::ByUser);
    }

    /// Leaves the store. What arrives from now on goes back by itself.
    pub(crate) fn detach(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let scaled = std::mem::take(&mut state.scaled);
        drop(state);
        self.shared.backend.detach(self.line);
        keep_all(scaled);
        self.routes.close();
        self.delivered.notify_one();
    }

    /// Waits until at most `left` handlers run.
    pub(crate) async fn wait_until_left(&self, left: usize) {
        loop {
            let changed = self.left.notified();
            if self.state.lock().slots.len() <= left {
                return;
            }
            changed.await;
        }
    }

    /// Makes leases last; those that are lost are told so.
    pub(crate) async fn renew(self: Arc<Self>, tokens: Vec<LeaseToken>, lease: Duration) {
        let asked = self.shared.backend.extend(tokens.clone(), lease);
        let Ok(answers) = asked.await else {
            return;
        };
        for (token, answer) in tokens.into_iter().zip(answers) {
            if answer.is_err() {
                self.notice(token, CancelReason::LeaseLost);
            }
        }
    }
}

impl State {
    /// Whoever waits for the limit, if it is in force.
    fn take_scaled(&mut self) -> Vec<Promise<()>> {
        if self.permits.is_in_force() {
            std::mem::take(&mut self.scaled)
        } else {
            Vec::new()
        }
    }
}

/// Whether the message needs no other attempt.
const fn is_over(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Succeeded | Outcome::Cancelled | Outcome::Discarded | Outcome::DeadLettered => {
            true
        }
        Outcome::Failed
        | Outcome::Snoozed
        | Outcome::Interrupted
        | Outcome::LeaseExpired
        | Outcome::Crashed => false,
    }
}

fn keep_all(promises: Vec<Promise<()>>) {
    for promise in promises {
        promise.keep(());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
