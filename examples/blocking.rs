//! A program without async: blocking producers, blocking handlers on threads of their own.
//!
//! `cargo run --example blocking`

use mq::prelude::*;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "sms.send")]
struct Send {
    number: u64,
}

fn send(message: Send) -> Outcome {
    println!("sent to {}", message.number);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder("./data")
        .capacity(mq::Limit::messages(5_000_000))
        .open_wait()?;
    let workers = engine.workers().handle_blocking(send).start()?;
    let pending: Vec<_> = (0..10)
        .map(|number| engine.enqueue(Send { number }).submit())
        .collect::<Result<_, _>>()?;
    for answer in pending {
        answer.wait()?; // ten in flight, one sync
    }
    engine.run_until_empty_wait()?;
    workers.stop(secs(25)).wait();
    engine.close_wait()?;
    Ok(())
}
