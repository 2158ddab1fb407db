//! Waiting until nothing is left to do.

use std::sync::Arc;

use mq::prelude::*;
use mq_testing::clock::ManualClock;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "idle.step")]
struct Step(u32);

async fn step(_: Step) -> Outcome {
    Ok(())
}

#[tokio::test]
async fn the_successors_of_an_ordering_key_are_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let workers = engine.workers().handle(step).start().unwrap();
    for round in 0..20 {
        let mut batch = engine.batch();
        for n in 0..20 {
            batch = batch.push_request(engine.enqueue(Step(n)).ordering_key("k"));
        }
        batch.await.unwrap();
        engine.run_until_empty().await.unwrap();
        assert_eq!(engine.stats().store.live_messages, 0, "round {round}");
    }
    workers.stop(secs(1)).await;
    engine.close().await.unwrap();
}

#[tokio::test]
async fn what_the_clock_has_just_made_due_is_waited_for() {
    let clock = Arc::new(ManualClock::default());
    let mut environment = mq::Environment::real();
    environment.clock = clock.clone();
    let engine = Engine::in_memory().environment(environment);
    let engine = engine.open().await.unwrap();
    let workers = engine.workers().handle(step).start().unwrap();
    for round in 0..50 {
        let later = engine.enqueue(Step(round)).delay(minutes(2));
        later.await.unwrap();
        engine.run_until_empty().await.unwrap();
        assert_eq!(engine.stats().store.live_messages, 1, "not due yet");
        clock.advance(minutes(2));
        engine.run_until_empty().await.unwrap();
        assert_eq!(engine.stats().store.live_messages, 0, "round {round}");
    }
    workers.stop(secs(1)).await;
}
