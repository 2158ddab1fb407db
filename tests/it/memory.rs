//! The engine without a journal is the same engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use mq::environment::Spawn;
use mq::prelude::*;
use mq::{Achieved, Enqueue, Environment};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "step")]
struct Step {
    left: u64,
}

#[derive(Clone)]
struct Steps(Arc<AtomicU64>);

async fn step(message: Step, State(steps): State<Steps>, ctx: Ctx) -> Outcome {
    steps.0.fetch_add(1, Relaxed);
    if let Some(left) = message.left.checked_sub(1) {
        ctx.stage(Step { left }).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_chain_runs_to_its_end_and_keys_work() {
    let engine = Engine::in_memory().open().await.unwrap();
    let steps = Steps(Arc::default());
    let workers = engine
        .workers()
        .state(steps.clone())
        .handle(step)
        .start()
        .unwrap();
    let first = engine
        .enqueue(Step { left: 99 })
        .idempotency_key("chain")
        .await
        .unwrap();
    let again = engine
        .enqueue(Step { left: 99 })
        .idempotency_key("chain")
        .await
        .unwrap();
    assert_eq!(first.durability, Achieved::Memory);
    assert_eq!(
        (again.accepted.id, again.accepted.enqueue),
        (first.accepted.id, Enqueue::Existing)
    );
    engine.run_until_empty().await.unwrap();
    assert_eq!(steps.0.load(Relaxed), 100);
    workers.stop(secs(5)).await;
    engine.close().await.unwrap();
}

/// Starts all threads but the one that commits.
#[derive(Debug)]
struct NobodyCommits;

impl Spawn for NobodyCommits {
    fn spawn(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>> {
        Ok(if name == "mq-commit" {
            std::thread::spawn(|| {})
        } else {
            std::thread::spawn(work)
        })
    }
}

#[tokio::test]
async fn whoever_brings_work_does_it_without_waking_another_thread() {
    let environment = Environment {
        spawn: Arc::new(NobodyCommits),
        ..Environment::real()
    };
    let engine = Engine::in_memory().environment(environment);
    let engine = engine.open().await.unwrap();
    let (tells, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |_: Step| {
        let told = tells.send(());
        async move { told.map_err(|_| Fail::retry("nobody listens")) }
    };
    let workers = engine.workers().handle(handler).start().unwrap();
    for left in 0..3 {
        engine.enqueue(Step { left }).await.unwrap();
        told.recv().await.unwrap();
    }
    workers.stop(secs(30)).await;
    assert_eq!(engine.stats().live_messages, 0);
    std::mem::forget(engine); // nobody is there to close it
}
