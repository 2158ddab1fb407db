//! What the guides promise about writing producers and handlers, run as they are written there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mq::prelude::*;
use mq::{Completion, Dedup, Enqueue, Pending, Receipt};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "charge")]
struct Charge {
    order: u64,
    cents: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "sync")]
struct Sync {
    sku: String,
}

#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Resized {
    bytes: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "image.resize", output = Resized)]
struct Resize {
    id: u64,
}

fn charge() -> Charge {
    Charge {
        order: 7,
        cents: 100,
    }
}

#[tokio::test]
async fn a_request_is_awaited_submitted_batched_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let receipt = engine
        .enqueue(charge())
        .idempotency_key("order-7")
        .ordering_key("customer-3")
        .delay(secs(5))
        .priority(8)
        .header("tenant", "acme")
        .await
        .unwrap();
    let again = engine
        .enqueue(charge())
        .idempotency_key("order-7")
        .await
        .unwrap();
    assert_eq!(again.accepted.id, receipt.accepted.id);
    assert_eq!(again.accepted.enqueue, Enqueue::Existing);

    let pending: Pending<Receipt> = engine.enqueue(charge()).submit().unwrap();
    drop(pending); // takes nothing back
    let sku = "sku-1".to_owned();
    let dedup = Dedup::run_once_more(&sku);
    engine.enqueue(Sync { sku }).dedup(dedup).await.unwrap();
    let receipts = engine.batch().push(charge()).push(charge()).await.unwrap();
    assert_eq!(receipts.len(), 2);
    engine.try_enqueue(charge()).await.unwrap();
    engine.sync().await.unwrap();
    assert_eq!(engine.stats().enqueued, 6);

    let resize = |message: Resize| async move {
        Ok::<_, Fail>(Resized {
            bytes: message.id * 10,
        })
    };
    let workers = engine.workers().handle(resize).start().unwrap();
    let done: Completion<Resized> = engine
        .enqueue(Resize { id: 3 })
        .and_wait(secs(30))
        .await
        .unwrap();
    assert_eq!(done.output, Resized { bytes: 30 });
    workers.stop(secs(25)).await;
    engine.close().await.unwrap();

    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let after_a_restart = engine.completion::<Resize>(done.id).await.unwrap();
    assert_eq!(after_a_restart.output, done.output);
    engine.close().await.unwrap();
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "import")]
struct Import {
    rows: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "import.notify")]
struct Notify {
    rows: u64,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "import.index")]
struct Index {
    shard: u64,
}

#[tokio::test]
async fn a_handler_goes_on_from_its_checkpoint_and_stages_what_follows() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let followed = Arc::new(AtomicU64::new(0));
    let import = |message: Import, Attempt(attempt): Attempt, ctx: Ctx| async move {
        let mut at: u64 = ctx.checkpoint()?.unwrap_or(0);
        if attempt == 2 {
            assert_eq!(at, 2, "the second attempt goes on where the first one was");
        }
        while at < message.rows {
            ctx.check_cancelled()?;
            at += 1;
            ctx.progress(at, message.rows, "rows");
            ctx.save_checkpoint(&at).await?;
            if attempt == 1 && at == 2 {
                return Err(Fail::retry_in(mq::millis(1), std::io::Error::other("lost")));
            }
        }
        ctx.stage(Notify { rows: at }).delay(hours(1)).await?;
        ctx.stage_all((0..3).map(|shard| Index { shard })).await?;
        Ok::<(), Fail>(())
    };
    let seen = Arc::clone(&followed);
    let notify = move |message: Notify| {
        seen.fetch_add(message.rows, Ordering::Relaxed);
        async { Ok::<(), Fail>(()) }
    };
    let seen = Arc::clone(&followed);
    let index = move |message: Index| {
        seen.fetch_add(100 << message.shard, Ordering::Relaxed);
        async { Ok::<(), Fail>(()) }
    };
    let workers = engine
        .workers()
        .handle(import)
        .handle(notify)
        .handle(index)
        .start()
        .unwrap();
    engine.enqueue(Import { rows: 5 }).await.unwrap();
    engine.run_until_empty().await.unwrap();
    assert_eq!(followed.load(Ordering::Relaxed), 100 + 200 + 400);
    // Committed with the success, and not due yet.
    assert_eq!(engine.stats().total(mq::StateKind::Scheduled), 1);
    workers.stop(secs(25)).await;
    engine.close().await.unwrap();
}

#[test]
fn a_program_without_async_works_on_its_own_threads() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::builder(folder.path().join("data"))
        .durability(mq::Durability::Synced)
        .capacity(mq::Limit::messages(5_000_000).bytes(1 << 30))
        .open_wait()
        .unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&sent);
    let send = move |message: Charge| -> Outcome {
        seen.fetch_add(message.cents, Ordering::Relaxed);
        Ok(())
    };
    let workers = engine.workers().handle_blocking(send).start().unwrap();
    engine.enqueue(charge()).wait().unwrap();
    engine.run_until_empty_wait().unwrap();
    assert_eq!(sent.load(Ordering::Relaxed), 100);
    workers.stop(secs(25)).wait();
    engine.close_wait().unwrap();
}

#[derive(Clone)]
struct Store;

struct Resizer {
    store: Store,
}

#[derive(Debug, thiserror::Error)]
#[error("no such image")]
struct ResizeError;

impl Store {
    fn resize(&self, id: u64) -> Result<Resized, ResizeError> {
        let bytes = id.checked_mul(10).ok_or(ResizeError)?;
        Ok(Resized { bytes })
    }
}

impl Handler<Resize> for Resizer {
    type Error = ResizeError;

    const PARALLELISM: std::ops::RangeInclusive<usize> = 1..=4;
    const TIMEOUT: std::time::Duration = minutes(2);

    fn retry(&self) -> Retry {
        Retry::exponential(secs(1)..=minutes(10)).max_attempts(8)
    }

    async fn run(&self, message: Resize, ctx: Ctx) -> Result<Resized, ResizeError> {
        assert_eq!(ctx.kind().as_str(), "image.resize");
        self.store.resize(message.id)
    }
}

async fn decline(_message: Charge) -> Outcome {
    Err(Fail::dead_letter(std::io::Error::other("no money")).note("ask the customer"))
}

#[tokio::test]
async fn every_form_of_handler_is_registered_and_everything_an_operator_asks_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let crunch = |_: Sync| -> Outcome { Ok(()) };
    let workers = engine
        .workers()
        .state(Store)
        .handle_with(decline, |h| h.parallelism(1..=8).timeout(secs(10)))
        .handler(Resizer { store: Store })
        .handle_blocking(crunch)
        .layer(mq::TraceLayer::new())
        .start()
        .unwrap();
    let admin = engine.admin();
    admin.scale("image.resize", 3).await.unwrap();
    admin.pause_queue("default").await.unwrap();
    let id = engine.enqueue(charge()).await.unwrap().id();
    let why = admin.explain(id).await.unwrap();
    assert!(why.to_string().contains("mq queue resume"), "{why}");
    admin.resume_queue("default").await.unwrap();
    let done = engine.enqueue(Resize { id: 4 }).and_wait(secs(30)).await;
    assert_eq!(done.unwrap().output, Resized { bytes: 40 });
    engine.run_until_empty().await.unwrap();

    let stats = engine.stats();
    assert_eq!(stats.dead.total, 1);
    assert!(stats.to_prometheus().contains("mq_dlq_depth 1"));
    let dead = admin.dead_letters();
    let listed = dead
        .list(mq::Filter::reason("dead_lettered"))
        .await
        .unwrap();
    assert_eq!(listed.messages.len(), 1);
    let all = engine.messages(mq::Filter::new().kind("charge").state(mq::StateKind::Dead));
    assert_eq!(
        all.page(mq::Cursor::START, 100).await.unwrap().messages,
        listed.messages
    );
    dead.replay(id)
        .edit("{\"order\":7,\"cents\":1}")
        .await
        .unwrap();
    engine.run_until_empty().await.unwrap();
    let job = dead.replay_all(mq::Filter::new().kind("charge")).rate(50);
    assert_eq!(job.await.unwrap().finished().await.unwrap().counts.done, 1);
    engine.run_until_empty().await.unwrap();
    assert!(engine.check::<Charge>().await.unwrap().is_ok());
    let later = engine.enqueue(charge()).delay(hours(1)).await.unwrap().id();
    engine.cancel(later).await.unwrap();
    dead.purge(mq::older_than(mq::days(30))).await.unwrap();
    workers.stop(secs(25)).await;
    engine.close().await.unwrap();
}
