//! Payloads of other versions, previous versions by key, and what operators set for a queue, through the facade.

use std::sync::Arc;

use mq::prelude::*;
use mq::{
    CheckProblem, CompletedAs, Dedup, Enqueue, EnqueueError, Lookup, MessageId, MessageState,
    NewMessage, QueueError, Stopped,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "order", version = 2, queue = "orders")]
struct Order {
    sku: String,
}

async fn order(message: Order, ctx: Ctx, State(seen): State<Seen>) -> Outcome {
    let before = ctx.previous::<Order>().await?;
    let before = before.map(|before| before.message.sku);
    drop(seen.0.send((message.sku.clone(), before)));
    if message.sku == "bad" {
        return Err(Fail::dead_letter("bad goods"));
    }
    Ok(())
}

#[derive(Clone)]
struct Seen(UnboundedSender<(String, Option<String>)>);

fn seen() -> (Seen, UnboundedReceiver<(String, Option<String>)>) {
    let (sender, receiver) = unbounded_channel();
    (Seen(sender), receiver)
}

fn stored(version: u16, payload: &'static [u8]) -> NewMessage {
    let mut message = NewMessage::new(
        "orders".parse().unwrap(),
        "order".parse().unwrap(),
        bytes::Bytes::from_static(payload),
    );
    message.envelope.version = version;
    message
}

async fn state(engine: &Engine, id: MessageId) -> Option<MessageState> {
    match engine.message(id).await.unwrap() {
        Lookup::Found(view) => Some(view.state),
        Lookup::SettledNotKept | Lookup::NeverIssued => None,
    }
}

fn sku(sku: &str) -> Order {
    Order {
        sku: sku.to_owned(),
    }
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "order", version = 1, queue = "orders")]
struct OldOrder {
    sku: String,
}

async fn old_order(_: OldOrder) -> Outcome {
    Ok(())
}

#[tokio::test]
async fn a_newer_message_is_held_until_a_program_that_reads_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    let old = engine.workers().handle(old_order).start().unwrap();
    let id = engine.enqueue(sku("new")).await.unwrap().id();
    let own = engine
        .enqueue(sku("own"))
        .hold("review")
        .await
        .unwrap()
        .id();
    engine.run_until_empty().await.unwrap();
    let label = "mq:version:2".parse().unwrap();
    assert_eq!(state(&engine, id).await, Some(MessageState::Held { label }));
    old.stop(secs(5)).await;
    engine.close().await.unwrap();

    let engine = Engine::open(folder.path()).await.unwrap();
    let (seen, mut came) = seen();
    let new = engine.workers().state(seen).handle(order).start().unwrap();
    assert_eq!(came.recv().await.unwrap().0, "new", "it goes on by itself");
    let label = "review".parse().unwrap();
    assert_eq!(
        state(&engine, own).await,
        Some(MessageState::Held { label })
    );
    new.stop(secs(5)).await;
}

#[tokio::test]
async fn a_check_reads_everything_stored_and_changes_nothing() {
    let engine = Engine::in_memory().open().await.unwrap();
    engine.enqueue(sku("good")).await.unwrap();
    engine.enqueue(sku("held")).hold("aside").await.unwrap();
    let broken = engine
        .enqueue_raw(stored(2, b"{\"sku\": 7}"))
        .await
        .unwrap();
    let newer = engine
        .enqueue_raw(stored(3, b"{\"sku\": \"x\"}"))
        .await
        .unwrap();
    engine
        .enqueue_raw(stored(0, b"{\"sku\": \"plain\"}"))
        .await
        .unwrap();
    let report = engine.check::<Order>().await.unwrap();
    assert!(!report.is_ok());
    assert_eq!((report.checked, report.failed, report.newer), (5, 1, 1));
    assert_eq!(report.by_state, [0, 4, 0, 0, 1, 0, 0, 0]);
    let ids: Vec<MessageId> = report.failures.iter().map(|failure| failure.id).collect();
    assert_eq!(ids, [broken.id(), newer.id()]);
    assert!(matches!(
        report.failures[0].problem,
        CheckProblem::Decode(_)
    ));
    assert_eq!(report.failures[1].version, 3);
    assert_eq!(engine.stats().store.live_messages, 5);
    engine.close().await.unwrap();
    assert!(engine.check::<Order>().await.is_err());
}

#[tokio::test]
async fn a_sync_that_sends_everything_processes_what_changed_and_sees_what_was_before() {
    let engine = Engine::in_memory().open().await.unwrap();
    let (seen, mut came) = seen();
    let workers = engine.workers().state(seen).handle(order).start().unwrap();
    let send = async |text: &str| {
        let receipt = engine.enqueue(sku(text)).dedup(Dedup::idempotent("sku-1"));
        let receipt = receipt.await.unwrap();
        engine.run_until_empty().await.unwrap();
        receipt.accepted.enqueue
    };
    assert_eq!(send("one").await, Enqueue::New);
    assert_eq!(send("one").await, Enqueue::Discarded);
    assert_eq!(send("bad").await, Enqueue::New);
    assert_eq!(send("two").await, Enqueue::New);
    let expected = [("one", None), ("bad", Some("one")), ("two", Some("one"))];
    for (message, before) in expected {
        let (came, saw) = came.recv().await.unwrap();
        assert_eq!((came.as_str(), saw.as_deref()), (message, before));
    }
    let previous = engine.previous::<Order>("sku-1").await.unwrap().unwrap();
    assert_eq!(previous.message.sku, "two");
    let upserted = engine.enqueue(sku("three")).dedup(Dedup::upsert("sku-1"));
    assert!(upserted.await.unwrap().replaced().is_some(), "the dead one");
    assert_eq!(engine.stats().store.dead_bytes, 0);
    assert!(engine.previous::<Order>("unknown").await.unwrap().is_none());
    workers.stop(secs(5)).await;
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "poll")]
struct Poll;

#[derive(Clone)]
struct Runs(Arc<std::sync::atomic::AtomicU32>);

async fn poll(_: Poll, ctx: Ctx, State(runs): State<Runs>) -> Outcome {
    use std::sync::atomic::Ordering::Relaxed;
    match runs.0.fetch_add(1, Relaxed) {
        0 => Err(std::io::Error::other("once").into()),
        1 => {
            ctx.stage(sku("staged")).await?;
            Err(Fail::again_in(std::time::Duration::ZERO))
        }
        2 => {
            assert_eq!(ctx.attempt(), 1, "fresh budgets");
            Err(Fail::hold("review", "somebody has to look"))
        }
        _ => Ok(()),
    }
}

#[tokio::test]
async fn a_handler_can_run_again_and_can_ask_for_people() {
    let retry = mq::Retry::immediately().max_attempts(2);
    let engine = Engine::in_memory().retry(retry).open().await.unwrap();
    let runs = Runs(Arc::default());
    let (seen, mut came) = seen();
    let workers = engine.workers().state(runs).state(seen);
    let workers = workers.handle(poll).handle(order).start().unwrap();
    let id = engine.enqueue(Poll).retain(secs(60)).await.unwrap().id();
    engine.run_until_empty().await.unwrap();
    let label = "review".parse().unwrap();
    assert_eq!(state(&engine, id).await, Some(MessageState::Held { label }));
    assert_eq!(came.recv().await.unwrap().0, "staged");
    engine.release(id).await.unwrap();
    let done = engine.completion::<Poll>(id).within(secs(60)).await;
    assert!(done.is_ok(), "{done:?}");
    let how = CompletedAs::Succeeded;
    assert_eq!(
        state(&engine, id).await,
        Some(MessageState::Completed { how })
    );
    workers.stop(secs(5)).await;
}

#[tokio::test]
async fn settings_of_a_queue_are_stored_and_bad_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    let orders = engine.admin().queue("orders");
    orders.hold_new("review").await.unwrap();
    orders.retain_completed(mq::FOREVER).await.unwrap();
    orders.limit_messages(1).await.unwrap();
    orders.pause().await.unwrap();
    assert!(matches!(
        orders.hold_new("").await,
        Err(QueueError::Name(_))
    ));
    let bad = engine.admin().queue("no such\nname");
    assert!(matches!(bad.pause().await, Err(QueueError::Name(_))));
    engine.close().await.unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    let orders = engine.admin().queue("orders");
    let settings = orders.settings().await.unwrap();
    assert!(settings.paused && settings.retain_completed == Some(mq::FOREVER));
    let id = engine.enqueue(sku("one")).await.unwrap().id();
    let label = "review".parse().unwrap();
    assert_eq!(state(&engine, id).await, Some(MessageState::Held { label }));
    let refused = engine.try_enqueue(sku("two")).await.unwrap_err();
    let refused = EnqueueError::from(refused);
    assert!(
        matches!(&refused, EnqueueError::QueueFull { used: 1, limit: 1, messages, .. } if messages.len() == 1),
        "{refused:?}"
    );
    orders.limit_messages(None).await.unwrap();
    orders.hold_new(None).await.unwrap();
    orders.resume().await.unwrap();
    engine.enqueue(sku("two")).await.unwrap();
    engine.close().await.unwrap();
    let closed = orders.pause().await;
    assert!(matches!(closed, Err(QueueError::Stopped(Stopped::Closed))));
}
