//! The naive model keeps every promise of a backend; and the suite notices one that does not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::Backend;
use mq_core::time::{Clock, Timestamp};
use mq_testing::clock::ManualClock;
use mq_testing::conformance::{self, Setup, Store, Subject};
use mq_testing::naive::{Limits, Naive};

#[derive(Debug)]
struct NaiveSubject;

#[derive(Debug)]
struct NaiveStore {
    clock: Arc<ManualClock>,
    naive: Arc<Naive>,
}

impl Subject for NaiveSubject {
    fn open(&self, setup: &Setup) -> Box<dyn Store> {
        let clock = Arc::new(ManualClock::default());
        let limits = Limits {
            capacity_messages: setup.capacity_messages,
            dead_bytes: setup.dead_bytes,
            ..Limits::default()
        };
        let naive = Arc::new(Naive::new(Arc::clone(&clock) as Arc<dyn Clock>, limits));
        Box::new(NaiveStore { clock, naive })
    }
}

impl Store for NaiveStore {
    fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.naive) as Arc<dyn Backend>
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.naive.pump();
    }

    fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn set_wall(&self, wall: Timestamp) {
        self.clock.set_wall(wall);
        self.naive.pump();
    }

    fn settle_down(&self) {}

    fn reopen(&mut self) {
        self.naive = Arc::new(self.naive.reopen());
    }

    fn crash(&mut self) {
        self.naive = Arc::new(self.naive.crash());
    }
}

#[test]
fn the_naive_model_keeps_every_promise_of_a_backend() {
    let broken: Vec<&str> = conformance::all()
        .into_iter()
        .filter(|(_, check)| catch_unwind(AssertUnwindSafe(|| check(&NaiveSubject))).is_err())
        .map(|(name, _)| name)
        .collect();
    assert!(broken.is_empty(), "broken promises: {broken:#?}");
}

/// A store that forgets everything when it is opened again.
#[derive(Debug)]
struct Forgetful;

#[derive(Debug)]
struct ForgetfulStore(NaiveStore);

impl Subject for Forgetful {
    fn open(&self, _: &Setup) -> Box<dyn Store> {
        let clock = Arc::new(ManualClock::default());
        let naive = Arc::new(Naive::new(
            Arc::clone(&clock) as Arc<dyn Clock>,
            Limits::default(),
        ));
        Box::new(ForgetfulStore(NaiveStore { clock, naive }))
    }
}

impl Store for ForgetfulStore {
    fn backend(&self) -> Arc<dyn Backend> {
        self.0.backend()
    }

    fn advance(&self, by: Duration) {
        self.0.clock.advance(by); // and tells nobody that the time has come
    }

    fn wall(&self) -> Timestamp {
        self.0.wall()
    }

    fn set_wall(&self, wall: Timestamp) {
        self.0.set_wall(wall);
    }

    fn settle_down(&self) {}

    fn reopen(&mut self) {
        let clock = Arc::clone(&self.0.clock) as Arc<dyn Clock>;
        self.0.naive = Arc::new(Naive::new(clock, Limits::default()));
    }

    fn crash(&mut self) {
        self.reopen();
    }
}

#[test]
fn the_suite_notices_a_store_that_forgets_and_misses_its_times() {
    let kept = |name: &str| {
        let mut all = conformance::all().into_iter();
        let (_, check) = all
            .find(|(check, _)| *check == name)
            .expect("the check exists");
        catch_unwind(AssertUnwindSafe(|| check(&Forgetful))).is_ok()
    };
    assert!(kept("a_fresh_message_wakes"), "what works is not blamed");
    for name in [
        "a_restored_message_wakes",
        "messages_survive_in_their_order",
        "an_idempotency_key_survives_a_reopening",
        "a_delayed_message_wakes_when_it_falls_due",
        "a_lost_lease_wakes_after_the_back_off",
        "a_full_store_refuses_and_gives_the_messages_back",
    ] {
        assert!(!kept(name), "{name} should have failed");
    }
}
