//! The engine without a journal is the same engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mq::prelude::*;
use mq::{Achieved, Enqueue};

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
