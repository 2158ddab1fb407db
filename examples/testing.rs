//! Testing handlers: the real engine on a simulated disk and clock, with crashes where they hurt.
//!
//! In your program these are tests, under `#[mq_testing::test]` and `#[mq_testing::test(explore)]`; see
//! docs/testing-your-handlers.md. Here they run as a program: `cargo run --example testing`

use mq::prelude::*;
use mq_testing::{Effects, Harness, explore, run};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "shop.charge")]
struct Charge {
    order: u64,
    cents: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "shop.notify")]
struct Notify {
    order: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the card was declined")]
struct Declined;

/// The bank knows idempotency keys: `bank.happen` without one would charge twice after a crash, and `explore` says so.
async fn charge(message: Charge, State(bank): State<Effects>, ctx: Ctx) -> Outcome {
    if message.cents > 10_000 {
        return Err(Declined.into());
    }
    let order = message.order;
    bank.happen_once(ctx.id(), format!("charge order {order}"))
        .await;
    ctx.stage(Notify { order }).await?;
    Ok(())
}

async fn declined_cards_end_dead() {
    let t = Harness::new().state(Effects::new()).handle(charge);
    let (order, cents) = (9, 99_900);
    let id = t.enqueue(Charge { order, cents }).await;
    t.run_one().await.assert_retry();
    t.run_until_empty().await; // moves the clock over back-offs
    t.message(id).assert_dead("Declined").assert_attempts(20);
    t.assert_enqueued::<Notify>(|_| true).never();
    let t = t.crash().await; // power cut at this point
    t.message(id).assert_dead("Declined");
    println!("a declined card is dead after 20 attempts, and stays so after a power cut");
}

async fn nobody_is_charged_twice() {
    let bank = Effects::new();
    let t = Harness::new().state(bank.clone()).handle(charge);
    let (order, cents) = (9, 995);
    t.enqueue(Charge { order, cents }).await;
    t.run_until_empty().await; // with one trouble in here, at another point each time
    bank.assert_times("charge order 9", 1);
    t.assert_enqueued::<Notify>(|notify| notify.order == 9)
        .once();
}

fn main() {
    run(7, declined_cards_end_dead);
    let explored = explore(7, nobody_is_charged_twice);
    println!(
        "nobody was charged twice in {} runs with one trouble each",
        explored.runs
    );
}
