//! A long job that saves where it is: a retry, a crash or a deploy goes on from its checkpoint.
//!
//! `cargo run --example long_import`

use mq::prelude::*;

const ROWS: u64 = 1_000;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "import.rows")]
struct Import {
    file: String,
}

async fn import(message: Import, Attempt(attempt): Attempt, ctx: Ctx) -> Outcome {
    let mut at: u64 = ctx.checkpoint()?.unwrap_or(0);
    println!("attempt {attempt} of {} goes on at row {at}", message.file);
    while at < ROWS {
        ctx.check_cancelled()?;
        if attempt == 1 && at == 400 {
            return Err(Fail::retry_in(
                mq::duration::millis(10),
                std::io::Error::other("the file server went away"),
            ));
        }
        at += 100;
        ctx.progress(at, ROWS, "rows");
        ctx.save_checkpoint(&at).await?;
    }
    println!("{} is done", message.file);
    Ok(())
}

#[tokio::main]
async fn main() -> mq::Result {
    let engine = Engine::open("./data").await?;
    let workers = engine.workers().handle(import).start()?;
    engine
        .enqueue(Import {
            file: "customers.csv".to_owned(),
        })
        .await?;
    engine.run_until_empty().await?;
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
