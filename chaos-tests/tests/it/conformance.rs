//! The engine keeps every promise of a backend, on a simulated disk and in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use chaos_tests::machine::Machine;
use mq::Limit;
use mq_core::backend::Backend;
use mq_core::time::{Clock, Timestamp};
use mq_testing::clock::ManualClock;
use mq_testing::conformance::{self, Setup, Store, Subject};
use mq_testing::crash_points::Crash;
use mq_testing::sim_disk::SimDisk;

#[derive(Debug)]
struct EngineSubject;

#[derive(Debug)]
struct EngineStore {
    setup: Setup,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    life: u64,
    machine: Option<Machine>,
}

impl EngineStore {
    fn machine(&self) -> &Machine {
        self.machine.as_ref().unwrap()
    }

    fn open(&mut self) {
        let capacity = Limit::messages(self.setup.capacity_messages);
        self.life += 1;
        let opened = Machine::open_on(&self.disk, Arc::clone(&self.clock), self.life, |builder| {
            builder.capacity(capacity).dead_bytes(self.setup.dead_bytes)
        });
        self.machine = Some(opened.unwrap());
    }
}

impl Subject for EngineSubject {
    fn open(&self, setup: &Setup) -> Box<dyn Store> {
        let mut store = EngineStore {
            setup: *setup,
            disk: SimDisk::new(),
            clock: Arc::default(),
            life: 0,
            machine: None,
        };
        store.open();
        Box::new(store)
    }
}

impl Store for EngineStore {
    fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(self.machine().backend())
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.machine().settle_down();
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn set_wall(&self, wall: Timestamp) {
        self.clock.set_wall(wall);
        self.machine().settle_down();
    }

    fn settle_down(&self) {
        self.machine().settle_down();
    }

    fn reopen(&mut self) {
        self.machine.take().unwrap().close().unwrap();
        self.open();
    }

    fn crash(&mut self) {
        let left = Crash::Kill.strike(&self.disk);
        drop(self.machine.take());
        self.disk = left;
        self.open();
    }
}

#[test]
fn the_engine_keeps_every_promise_of_a_backend() {
    let checks = conformance::all();
    let broken: Vec<&str> = checks
        .iter()
        .inspect(|(name, _)| println!("{name}"))
        .filter(|(_, check)| catch_unwind(AssertUnwindSafe(|| check(&EngineSubject))).is_err())
        .map(|(name, _)| *name)
        .collect();
    assert!(
        broken.is_empty(),
        "{} of {} checks failed: {broken:#?}",
        broken.len(),
        checks.len()
    );
}
