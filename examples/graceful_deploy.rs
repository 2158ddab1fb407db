//! A deploy: the new process waits for the store while the old one ends, and what was interrupted costs no attempt.
//!
//! Both processes are played by one program here. `cargo run --example graceful_deploy`

use std::sync::Arc;

use mq::prelude::*;
use tokio::sync::Notify;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "video.encode")]
struct Encode {
    id: u64,
}

/// Works for hours in the old version, and is quick in the new one.
async fn encode(
    message: Encode,
    ctx: Ctx,
    Attempt(attempt): Attempt,
    State(version): State<u32>,
    State(started): State<Arc<Notify>>,
) -> Outcome {
    println!(
        "version {version} encodes {}, attempt {attempt}",
        message.id
    );
    started.notify_one();
    if version == 1 {
        ctx.cancelled().await; // until the stop asks it to end
        ctx.check_cancelled()?;
    }
    Ok(())
}

async fn open(version: u32) -> mq::Result<(Engine, mq::Workers, Arc<Notify>)> {
    let engine = Engine::builder("./data")
        .wait_for_owner(secs(30)) // the old process may still be ending
        .open()
        .await?;
    let started = Arc::new(Notify::new());
    let workers = engine
        .workers()
        .state(version)
        .state(Arc::clone(&started))
        .handle(encode)
        .start()?;
    Ok((engine, workers, started))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (old, workers, started) = open(1).await?;
    let receipt = old.enqueue(Encode { id: 7 }).await?;
    started.notified().await;

    let new = tokio::spawn(open(2)); // the deploy starts the new version …
    let report = workers.stop(secs(0)).await; // … and ends the old one: no grace here, 25 s is usual
    println!(
        "asked to stop: {}, aborted: {}",
        report.asked_to_stop, report.aborted
    );
    old.close().await?;
    drop((old, workers));

    let (engine, workers, _) = new.await??;
    engine.run_until_empty().await?;
    println!("{}", engine.admin().explain(receipt.accepted.id).await?);
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
