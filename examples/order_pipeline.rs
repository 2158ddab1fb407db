//! Order → payment → receipt: each step stages the next one, and its success commits both or neither.
//!
//! `cargo run --example order_pipeline`

use mq::prelude::*;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "shop.order", queue = "shop")]
struct PlaceOrder {
    id: u64,
    cents: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "shop.payment", queue = "shop")]
struct TakePayment {
    order: u64,
    cents: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "shop.receipt", queue = "shop")]
struct SendReceipt {
    order: u64,
}

async fn place_order(message: PlaceOrder, ctx: Ctx) -> Outcome {
    ctx.stage(TakePayment {
        order: message.id,
        cents: message.cents,
    })
    .await?;
    Ok(())
}

async fn take_payment(message: TakePayment, Attempt(attempt): Attempt, ctx: Ctx) -> Outcome {
    if message.order == 2 && attempt == 1 {
        let error = std::io::Error::other("the payment service did not answer");
        return Err(Fail::retry_in(mq::millis(50), error));
    }
    ctx.stage(SendReceipt {
        order: message.order,
    })
    .await?;
    Ok(())
}

async fn send_receipt(message: SendReceipt) -> Outcome {
    println!("receipt for order {}", message.order);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open("./data").await?;
    let workers = engine
        .workers()
        .handle(place_order)
        .handle(take_payment)
        .handle(send_receipt)
        .start()?;
    for (id, cents) in [(1, 995), (2, 250), (3, 99_900)] {
        engine
            .enqueue(PlaceOrder { id, cents })
            .idempotency_key(format!("order-{id}"))
            .ordering_key("customer-3") // one after the other
            .await?;
    }
    engine.run_until_empty().await?; // follow-ups included
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
