//! Order → payment → receipt: each step stages the next one, and its success commits both or neither.
//!
//! `cargo run --example order_pipeline`

use mq::prelude::*;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "shop.order", queue = "shop")]
struct PlaceOrder {
    id: u64,
    customer: u64,
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
        return Err(Fail::retry_in(
            mq::duration::millis(50),
            std::io::Error::other("the payment service did not answer"),
        ));
    }
    if message.cents > 10_000 {
        return Err(Fail::dead_letter(std::io::Error::other("declined")).note("ask the customer"));
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
        let order = PlaceOrder {
            id,
            customer: 3,
            cents,
        };
        engine
            .enqueue(order)
            .idempotency_key(format!("order-{id}"))
            .ordering_key("customer-3")
            .await?;
    }
    engine.run_until_empty().await?;

    let dead = engine.admin().dead_letters();
    for letter in dead
        .list(mq::Filter::default(), mq::Seq::NONE, 10)
        .await?
        .messages
    {
        println!("dead: {} {:?}", letter.id, letter.tail.note);
        dead.replay_edited(
            letter.id,
            serde_json::to_vec(&TakePayment {
                order: 3,
                cents: 9_990,
            })?,
        )
        .await?;
    }
    engine.run_until_empty().await?;
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
