//! One life of the simulated process: an engine on the simulated machine, with the user's handlers at work.
//!
//! Invariant: a life ends as a process does. Dropped or killed, its handlers stop where they are; only [`Process::stop`]
//! ends it in order.

use std::sync::Arc;
use std::time::Duration;

use mq::environment::Environment;
use mq::{Builder, Engine, Timers, Workers};
use mq_core::backend::Backend;
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::gate::Gate;
use super::handlers::Handlers;
use super::life::Lifeline;
use super::puppets::Puppets;
use super::record::Record;
use super::world::{Directed, World};
use crate::sim_disk::SimDisk;

/// Segments and snapshots of a simulated store: small, so that tests reach rotation and snapshots and stay quick.
const SEGMENT_SIZE_MAX: u32 = 2 << 20;
const SNAPSHOT_AFTER: u64 = 1 << 20;

pub(super) type Options = Box<dyn Fn(Builder) -> Builder + Send + Sync>;

/// What every life starts with.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) handlers: Handlers,
    pub(super) options: Vec<Options>,
}

/// The engine and its surroundings, for one life.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) engine: Engine,
    pub(super) workers: Option<Workers>,
    pub(super) gate: Arc<Gate>,
    pub(super) disk: SimDisk,
    pub(super) lifeline: Arc<Lifeline>,
    pub(super) puppets: Puppets,
    metronome: AbortHandle,
    world: Arc<World>,
}

impl Process {
    /// Opens the store on `disk` and starts the handlers.
    pub(super) fn start(
        world: &Arc<World>,
        setup: &Setup,
        disk: SimDisk,
        record: &Arc<Mutex<Record>>,
    ) -> Result<Self, String> {
        let clock = Arc::clone(&world.clock);
        let puppets = Puppets::new(Arc::clone(&clock) as _);
        puppets.set_latency(world.disk_latency());
        let environment = Environment {
            storage: Some(Arc::new(disk.clone())),
            clock,
            seed: Some(world.random()),
            spawn: Arc::new(puppets.clone()),
            park: Arc::new(puppets.clone()),
        };
        let builder = Engine::builder("simulated")
            .environment(environment)
            .segment_size_max(SEGMENT_SIZE_MAX)
            .snapshot_after(SNAPSHOT_AFTER);
        let options = setup.options.iter();
        let builder = options.fold(builder, |builder, option| option(builder));
        let engine = builder
            .open_wait()
            .map_err(|error| format!("the store could not be opened: {}", chain(&error)))?;
        let lifeline = Lifeline::new(world);
        world.idle.direct(Directed {
            puppets: puppets.clone(),
            disk: disk.clone(),
            lifeline: Arc::clone(&lifeline),
        });
        let mut gate = None;
        let workers = engine.workers().timers(Timers::Runtime).through(|store| {
            let made = Gate::new(
                store,
                Arc::clone(world),
                Arc::clone(record),
                Arc::clone(&lifeline),
            );
            gate = Some(Arc::clone(&made));
            made as Arc<dyn Backend>
        });
        let workers = setup.handlers.register(workers, &lifeline).start();
        let ticking = metronome(Arc::clone(world), puppets.clone());
        let mut process = Self {
            workers: None,
            gate: gate.ok_or("nothing stands between engine and workers")?,
            engine,
            disk,
            lifeline,
            metronome: tokio::spawn(ticking).abort_handle(),
            puppets,
            world: Arc::clone(world),
        };
        let workers = workers
            .map_err(|error| format!("the handlers could not be started: {}", chain(&error)))?;
        process.workers = Some(workers);
        Ok(process)
    }

    /// Ends it in order: running handlers get `grace`, then everything is synced and closed.
    pub(super) async fn stop(&self, grace: Duration) -> Result<(), String> {
        if let Some(workers) = &self.workers {
            workers.stop(grace).await;
        }
        let closed = self.engine.close().await;
        closed.map_err(|stopped| format!("the store could not be closed: {stopped}"))
    }
}

impl Process {
    /// It is over: handlers stop where they are, and the engine's threads are on their own for their end.
    pub(super) fn die(&self) {
        self.lifeline.cut();
        self.metronome.abort();
        self.world.idle.leave_alone(&self.lifeline);
        self.puppets.release();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.die();
        drop(self.workers.take());
    }
}

/// Wakes the engine's threads when the time comes that they sleep until.
async fn metronome(world: Arc<World>, puppets: Puppets) {
    loop {
        let turned = world.idle.next_turn();
        let mut turned = std::pin::pin!(turned);
        if let Some(start) = puppets.next_start() {
            let moment = tokio::time::sleep_until(world.clock.instant(start));
            tokio::select! {
                biased;
                () = &mut turned => {}
                () = puppets.next_call() => {} // perhaps for earlier than that
                () = moment => turned.await, // the runtime is idle next, and the thread gets its turn
            }
        } else {
            tokio::select! {
                biased;
                () = turned => {}
                () = puppets.next_call() => {}
            }
        }
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
