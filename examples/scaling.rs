//! Pools of one handler and of several, and an operator who scales and pauses them while they work.
//!
//! `cargo run --example scaling`

use mq::prelude::*;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "image.resize", queue = "images")]
struct Resize {
    id: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "report.build", queue = "reports")]
struct Report {
    id: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "invoice.print", queue = "reports")]
struct Invoice {
    id: u64,
}

async fn resize(message: Resize) -> Outcome {
    println!("image {}", message.id);
    Ok(())
}

async fn report(message: Report) -> Outcome {
    println!("report {}", message.id);
    Ok(())
}

async fn invoice(message: Invoice) -> Outcome {
    println!("invoice {}", message.id);
    Ok(())
}

#[tokio::main]
async fn main() -> mq::Result {
    let engine = Engine::open("./data").await?;
    let workers = engine
        .workers()
        .handle_with(resize, |h| h.parallelism(1..=16)) // begins with 16; an operator may choose 1 to 16
        .pool("paper", |p| p.parallelism(1..=2)) // at most two at once of both kinds together
        .handle_with(report, |h| h.pool("paper").timeout(minutes(10)))
        .handle_with(invoice, |h| h.pool("paper"))
        .start()?;

    let admin = engine.admin();
    admin.scale("image.resize", 4).await?; // answered when no more than 4 can run
    admin.pause_kind("paper")?;
    for id in 0..20 {
        engine.enqueue(Resize { id }).await?;
    }
    for id in 0..3 {
        engine.enqueue(Report { id }).await?;
        engine.enqueue(Invoice { id }).await?;
    }
    admin.scale("image.resize", 16).await?;
    admin.resume_kind("paper")?;
    engine.run_until_empty().await?;
    for pool in admin.pools() {
        println!(
            "{}: limit {}, handled {}",
            pool.kind, pool.limit, pool.totals.succeeded
        );
    }

    let error = admin.scale("image.resize", 400).await.err();
    println!(
        "refused: {}",
        error.map(|e| e.to_string()).unwrap_or_default()
    );
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
