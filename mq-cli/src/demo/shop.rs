//! The shop: order → payment → receipt, three typed handlers with staged follow-ups on one store. Runs in the child.
//!
//! Each handler appends its effect and then succeeds; its follow-up is committed with its success. Some payments fail
//! once and are retried; declined cards are given up and become dead letters.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, anyhow};
use mq::prelude::*;
use mq::{Cursor, Durability, Enqueue, Filter, Pending, Receipt, Retry};

use super::effects::{Effect, EffectsLog};
use super::orders::{self, Order, scramble};
use crate::exit::Result;

/// Enqueues in flight from the one producer.
const IN_FLIGHT: usize = 512;
/// A progress line is printed after so many effects.
const REPORT_EVERY: u64 = 250;

/// An order came in.
#[derive(Debug, Serialize, Deserialize, Message)]
#[message(kind = "shop.order", queue = "shop")]
struct PlaceOrder {
    order: Order,
}

/// It is to be paid.
#[derive(Debug, Serialize, Deserialize, Message)]
#[message(kind = "shop.payment", queue = "shop")]
struct TakePayment {
    order: String,
    cents: u64,
    card: String,
}

/// The customer gets a receipt.
#[derive(Debug, Serialize, Deserialize, Message)]
#[message(kind = "shop.receipt", queue = "shop", priority = 5)]
struct SendReceipt {
    order: String,
    cents: u64,
}

/// What handlers share.
#[derive(Clone, Debug)]
struct Shop {
    effects: Arc<EffectsLog>,
    count: Arc<AtomicU64>,
}

impl Shop {
    fn handled(&self, kind: &str, order: &str) -> anyhow::Result<()> {
        self.effects
            .append(&Effect::Handled {
                kind: kind.to_owned(),
                order: order.to_owned(),
            })
            .map_err(|failure| failure.error)?;
        let count = self.count.fetch_add(1, Relaxed) + 1;
        if count.is_multiple_of(REPORT_EVERY) {
            report(count);
        }
        Ok(())
    }
}

/// Tells whoever started the shop how many effects there are; without a reader the work goes on.
fn report(count: u64) {
    writeln!(io::stdout(), "effects {count}").ok();
}

async fn place_order(message: PlaceOrder, State(shop): State<Shop>, ctx: Ctx) -> Outcome {
    let Order {
        id, cents, card, ..
    } = message.order;
    shop.handled("order", &id)?;
    ctx.stage(TakePayment {
        order: id,
        cents,
        card,
    })
    .await?;
    Ok(())
}

async fn take_payment(
    message: TakePayment,
    State(shop): State<Shop>,
    Attempt(attempt): Attempt,
    ctx: Ctx,
) -> Outcome {
    if message.card.starts_with(orders::DECLINED) {
        shop.effects
            .append(&Effect::Dead {
                order: message.order.clone(),
            })
            .map_err(|failure| failure.error)?;
        return Err(
            Fail::dead_letter(anyhow!("card {} was declined", message.card))
                .note("ask the customer for another card"),
        );
    }
    if attempt == 1 && scramble(message.cents).is_multiple_of(40) {
        let retried = Effect::Retried {
            kind: "payment".to_owned(),
            order: message.order.clone(),
        };
        shop.effects
            .append(&retried)
            .map_err(|failure| failure.error)?;
        return Err(anyhow!("the payment service did not answer").into());
    }
    shop.handled("payment", &message.order)?;
    ctx.stage(SendReceipt {
        order: message.order,
        cents: message.cents,
    })
    .await?;
    Ok(())
}

async fn send_receipt(message: SendReceipt, State(shop): State<Shop>) -> Outcome {
    shop.handled("receipt", &message.order)?;
    Ok(())
}

fn store(folder: &Path) -> PathBuf {
    folder.join("store")
}

/// The child's part: send the orders (again), work until nothing is left to do, close.
pub(crate) fn run(folder: &Path) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(serve(folder))
}

async fn serve(folder: &Path) -> Result {
    let effects = Arc::new(EffectsLog::open(folder)?);
    let mut before = 0;
    super::effects::read(folder, |effect| {
        before += u64::from(matches!(effect, Effect::Handled { .. }))
    })?;
    let engine = Engine::builder(store(folder))
        .durability(Durability::Synced)
        .open()
        .await
        .context("cannot open the store")?;
    let shop = Shop {
        effects: Arc::clone(&effects),
        count: Arc::new(AtomicU64::new(before)),
    };
    let workers = engine
        .workers()
        .state(shop.clone())
        .handle_with(place_order, |h| h.parallelism(1..=16))
        .handle_with(take_payment, |h| {
            h.parallelism(1..=16)
                .retry(Retry::fixed(Duration::from_millis(50)).max_attempts(5))
        })
        .handle_with(send_receipt, |h| h.parallelism(1..=16))
        .start()
        .context("cannot start the workers")?;
    submit_all(&engine, folder, &effects).await?;
    engine
        .run_until_empty()
        .await
        .context("the engine stopped")?;
    report(shop.count.load(Relaxed));
    workers.stop(Duration::from_secs(25)).await;
    engine.close().await.context("cannot close the store")?;
    Ok(())
}

/// A producer that does not know which of its orders arrived sends them all: the order's number is the idempotency key.
async fn submit_all(engine: &Engine, folder: &Path, effects: &EffectsLog) -> Result {
    let mut orders = Vec::new();
    orders::read(&folder.join(orders::FILE), |order| {
        orders.push(order);
        Ok(())
    })?;
    let (mut lines, mut duplicates) = (0, 0);
    let mut in_flight: std::collections::VecDeque<Pending<Receipt>> =
        std::collections::VecDeque::new();
    for order in orders {
        if in_flight.len() >= IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            duplicates += u64::from(is_duplicate(&oldest.await.context("an order was refused")?));
        }
        let key = order.id.clone();
        in_flight.push_back(
            engine
                .enqueue(PlaceOrder { order })
                .idempotency_key(key)
                .submit()
                .context("an order was refused")?,
        );
        lines += 1;
    }
    for last in in_flight {
        duplicates += u64::from(is_duplicate(&last.await.context("an order was refused")?));
    }
    effects.append(&Effect::Submitted { lines, duplicates })
}

fn is_duplicate(receipt: &Receipt) -> bool {
    receipt.accepted.enqueue == Enqueue::Existing
}

/// The operator's part: every declined payment gets another card and goes back into its queue.
pub(crate) async fn replay_dead_letters(folder: &Path, effects: &EffectsLog) -> Result<u64> {
    let engine = Engine::open(store(folder))
        .await
        .context("cannot open the store")?;
    let dead = engine.admin().dead_letters();
    let (mut after, mut replayed) = (Cursor::START, 0);
    loop {
        let page = dead
            .messages(Filter::new())
            .page(after, 100)
            .await
            .context("cannot list the dead letters")?;
        for view in &page.messages {
            let (_, envelope) = dead
                .show(view.id)
                .await
                .context("cannot read a dead letter")?
                .context("a dead letter went away")?;
            let envelope = envelope.context("a dead letter has no payload")?;
            let mut payment: TakePayment = serde_json::from_slice(&envelope.payload)
                .context("a dead letter is not a payment")?;
            payment.card = payment.card.replacen(orders::DECLINED, "4242-4242", 1);
            effects.append(&Effect::Replayed {
                order: payment.order.clone(),
            })?;
            let corrected = serde_json::to_vec(&payment).context("cannot write a payment")?;
            dead.replay(view.id)
                .edit(corrected)
                .await
                .context("cannot replay a dead letter")?;
            replayed += 1;
        }
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    engine.close().await.context("cannot close the store")?;
    Ok(replayed)
}
