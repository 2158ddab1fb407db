//! Handlers through the facade: what they are promised when the world is not as it should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use mq::prelude::*;
use mq::{Cursor, DeadReason, EnqueueError, Filter, Limit, MessageState, NewMessage, secs};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "count", queue = "work")]
struct Count {
    by: u64,
}

#[derive(Clone)]
struct Total(Arc<AtomicU64>);

async fn count(message: Count, State(total): State<Total>) -> Outcome {
    total.0.fetch_add(message.by, Relaxed);
    Ok(())
}

#[tokio::test]
async fn a_handler_registered_twice_is_an_error_at_start() {
    let engine = Engine::in_memory().open().await.unwrap();
    let total = Total(Arc::default());
    let error = engine
        .workers()
        .state(total)
        .handle(count)
        .handle(count)
        .start()
        .unwrap_err();
    assert!(error.to_string().contains("count"), "{error}");
}

#[tokio::test]
async fn an_undecodable_payload_goes_dead_at_once_and_the_others_are_handled() {
    let engine = Engine::in_memory().open().await.unwrap();
    let total = Total(Arc::default());
    let workers = engine
        .workers()
        .state(total.clone())
        .handle(count)
        .start()
        .unwrap();
    let broken = NewMessage::new(
        "work".parse().unwrap(),
        "count".parse().unwrap(),
        Bytes::from_static(b"{\"by\": \"many\"}"),
    );
    let id = engine.enqueue_raw(broken).await.unwrap().accepted.id;
    engine.enqueue(Count { by: 3 }).await.unwrap();
    engine.run_until_empty().await.unwrap();
    assert_eq!(total.0.load(Relaxed), 3);
    let dead = engine
        .admin()
        .dead_letters()
        .list(Filter::new())
        .await
        .unwrap()
        .messages;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].id, &dead[0].state),
        (
            id,
            &MessageState::Dead {
                reason: DeadReason::Undecodable
            }
        )
    );
    assert_eq!(dead[0].deliveries, 1, "no retry loop");
    workers.stop(secs(5)).await;
}

#[tokio::test]
async fn a_kind_nobody_serves_waits_is_reported_and_blocks_nobody() {
    let engine = Engine::in_memory().open().await.unwrap();
    let total = Total(Arc::default());
    let workers = engine
        .workers()
        .state(total.clone())
        .handle(count)
        .start()
        .unwrap();
    let stranger = NewMessage::new(
        "work".parse().unwrap(),
        "stranger".parse().unwrap(),
        Bytes::from_static(b"{}"),
    );
    engine.enqueue_raw(stranger).await.unwrap();
    let receipt = engine.enqueue(Count { by: 1 }).await.unwrap();
    while engine.message(receipt.accepted.id).await.unwrap() != mq::Lookup::SettledNotKept {
        tokio::task::yield_now().await;
    }
    let unserved = engine.stats().store.unserved;
    assert_eq!(unserved.len(), 1);
    assert_eq!((unserved[0].1.as_str(), unserved[0].2), ("stranger", 1));
    workers.stop(secs(5)).await;
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "greedy", queue = "work")]
struct Greedy;

async fn greedy(_: Greedy, State(engine): State<Engine>, State(seen): State<Total>) -> Outcome {
    match engine.enqueue(Greedy).await {
        Err(EnqueueError::WouldDeadlock { messages }) => {
            seen.0.fetch_add(messages.len() as u64, Relaxed);
            Ok(())
        }
        other => Err(std::io::Error::other(format!("{other:?}")).into()),
    }
}

#[tokio::test]
async fn a_handler_that_enqueues_into_a_full_store_is_told_that_it_would_deadlock() {
    let engine = Engine::in_memory()
        .capacity(Limit::messages(64))
        .open()
        .await
        .unwrap();
    for _ in 0..64 {
        engine.enqueue(Greedy).delay(secs(3600)).await.unwrap();
    }
    let held = engine
        .messages(Filter::new())
        .page(Cursor::START, 1)
        .await
        .unwrap()
        .messages[0]
        .id;
    let seen = Total(Arc::default());
    let workers = engine
        .workers()
        .state(engine.clone())
        .state(seen.clone())
        .handle(greedy)
        .start()
        .unwrap();
    engine.run_now(held).await.unwrap();
    engine.run_until_empty().await.unwrap();
    assert_eq!(seen.0.load(Relaxed), 1);
    workers.stop(secs(5)).await;
}

#[tokio::test]
async fn a_full_store_takes_more_as_soon_as_there_is_room() {
    let engine = Engine::in_memory()
        .capacity(Limit::messages(64))
        .open()
        .await
        .unwrap();
    for _ in 0..64 {
        engine.enqueue(Count { by: 1 }).await.unwrap();
    }
    let error = engine.try_enqueue(Count { by: 1 }).await.unwrap_err();
    let mq::TryEnqueueError::Full {
        used: 64,
        limit: 64,
        message,
        ..
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(message.by, 1, "the work comes back");
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.enqueue(Count { by: 1 }).await }
    });
    let total = Total(Arc::default());
    let workers = engine
        .workers()
        .state(total.clone())
        .handle(count)
        .start()
        .unwrap();
    waiting.await.unwrap().unwrap();
    engine.run_until_empty().await.unwrap();
    assert_eq!(total.0.load(Relaxed), 65);
    workers.stop(secs(5)).await;
}
