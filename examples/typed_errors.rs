//! What a handler can say besides "done": each ending is a value, and every error becomes one by `?`.
//!
//! `cargo run --example typed_errors`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mq::prelude::*;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "shop.charge")]
struct Charge {
    order: u64,
    cents: u64,
}

#[derive(Debug, thiserror::Error)]
enum PayError {
    #[error("no card for order {0}")]
    NoCard(u64),
    #[error("asked too often, again in {0} ms")]
    RateLimited(u64),
    #[error("declined with code {0}")]
    Declined(u16),
    #[error("the bank does not answer")]
    Unreachable,
}

/// Stands for a payment service, which is busy when it is asked for the first time.
#[derive(Clone, Default)]
struct Payments(Arc<AtomicBool>);

impl Payments {
    async fn card(&self, order: u64) -> Result<&'static str, PayError> {
        (order != 1)
            .then_some("4242")
            .ok_or(PayError::NoCard(order))
    }

    async fn charge(&self, _card: &str, cents: u64, attempt: u32) -> Result<(), PayError> {
        match (cents, attempt) {
            (0..=99, 1) => Err(PayError::Unreachable),
            (500, _) if !self.0.swap(true, Ordering::Relaxed) => Err(PayError::RateLimited(20)),
            (10_000.., _) => Err(PayError::Declined(402)),
            _ => Ok(()),
        }
    }
}

async fn charge(message: Charge, State(pay): State<Payments>, Attempt(n): Attempt) -> Outcome {
    let card = pay.card(message.order).await.or_discard()?; // gone for good
    match pay.charge(card, message.cents, n).await {
        Ok(()) => Ok(()),
        Err(PayError::RateLimited(after)) => Err(Fail::snooze(mq::millis(after))), // costs no attempt
        Err(e @ PayError::Declined(_)) => Err(Fail::dead_letter(e).note("ask the customer")),
        Err(e) if n >= 3 => Err(Fail::retry_in(minutes(30), e)),
        Err(e) => Err(e.into()), // the handler's back-off
    }
}

#[tokio::main]
async fn main() -> mq::Result {
    let engine = Engine::open("./data").await?;
    let retry = Retry::fixed(mq::millis(10)).max_attempts(8);
    let workers = engine
        .workers()
        .state(Payments::default())
        .handle_with(charge, |h| h.retry(retry))
        .start()?;
    for (order, cents) in [(1, 250), (2, 50), (3, 500), (4, 99_900)] {
        engine.enqueue(Charge { order, cents }).await?;
    }
    engine.run_until_empty().await?;
    let pools = engine.admin().pools();
    println!("{:?}", pools.first().map(|pool| pool.totals));
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
