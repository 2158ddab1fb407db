//! The first minute: a store, a message, a handler.
//!
//! `cargo run --example hello`

use mq::prelude::*;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "email.welcome")]
struct SendWelcome {
    user_id: u64,
}

async fn send_welcome(message: SendWelcome) -> Outcome {
    println!("welcome, {}", message.user_id);
    Ok(())
}

#[tokio::main]
async fn main() -> mq::Result {
    let engine = Engine::open("./data").await?;
    let workers = engine.workers().handle(send_welcome).start()?;
    let receipt = engine.enqueue(SendWelcome { user_id: 7 }).await?;
    println!(
        "{} is {:?}: it survives a power cut",
        receipt.accepted.id, receipt.durability
    );

    engine.run_until_empty().await?; // a service would call run_until_signal(workers) instead
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
