//! Many messages in one step, and the three ways in which an enqueue can meet one that is there already.
//!
//! `cargo run --example batch_and_dedup`

use mq::prelude::*;
use mq::{Dedup, Enqueue};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "stock.sync")]
struct SyncStock {
    sku: String,
    pieces: u32,
}

async fn sync(message: SyncStock) -> Outcome {
    println!("{} has {} pieces", message.sku, message.pieces);
    Ok(())
}

fn stock(sku: &str, pieces: u32) -> SyncStock {
    SyncStock {
        sku: sku.to_owned(),
        pieces,
    }
}

#[tokio::main]
async fn main() -> mq::Result {
    let engine = Engine::open("./data").await?;

    // All or none: one frame of the journal, one sync, a receipt each.
    let mut batch = engine.batch();
    for number in 0..100 {
        batch = batch.push(stock(&format!("sku-{number}"), number));
    }
    println!("{} messages in one step", batch.await?.len());

    // A producer's retry: the second answer is the first one's id.
    let first = engine
        .enqueue(stock("sku-200", 1))
        .idempotency_key("import-7/line-200")
        .await?;
    let again = engine
        .enqueue(stock("sku-200", 1))
        .idempotency_key("import-7/line-200")
        .await?;
    assert_eq!(first.accepted.id, again.accepted.id);
    assert_eq!(again.accepted.enqueue, Enqueue::Existing);

    // A newer fact makes the waiting one pointless: it takes its place in line.
    engine
        .enqueue(stock("sku-300", 5))
        .dedup(Dedup::replace("sku-300"))
        .await?;
    let newer = engine
        .enqueue(stock("sku-300", 4))
        .dedup(Dedup::replace("sku-300"))
        .await?;
    assert!(matches!(newer.accepted.enqueue, Enqueue::Replaced { .. }));

    // The same fact again costs nothing.
    let same = engine
        .enqueue(stock("sku-300", 4))
        .dedup(Dedup::discard_identical("sku-300"))
        .await?;
    assert_eq!(same.accepted.enqueue, Enqueue::Discarded);

    let workers = engine.workers().handle(sync).start()?;
    engine.run_until_empty().await?;
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
