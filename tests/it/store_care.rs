//! What is done to a store as a whole: snapshots on demand.

use mq::{Engine, NewMessage, SnapshotError};

fn message(text: &str) -> NewMessage {
    NewMessage::new(
        "mail".parse().unwrap(),
        "welcome".parse().unwrap(),
        text.to_owned().into(),
    )
}

#[tokio::test]
async fn a_snapshot_on_demand_covers_what_was_answered_and_the_next_opening_begins_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let engine = Engine::open(&path).await.unwrap();
    for number in 0..10 {
        engine
            .enqueue_raw(message(&number.to_string()))
            .await
            .unwrap();
    }
    let admin = engine.admin();
    let (first, second) = tokio::join!(admin.snapshot(), admin.snapshot());
    let (first, second) = (first.unwrap(), second.unwrap());
    let facts = if first.generation > second.generation {
        first
    } else {
        second
    };
    assert_eq!(facts.places, 10);
    engine.close().await.unwrap();
    drop(engine);
    let engine = Engine::open(&path).await.unwrap();
    let found = engine.report().unwrap().snapshot.unwrap();
    assert_eq!(found, facts);
    assert_eq!(engine.stats().live_messages, 10);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_refused_with_a_reason_where_there_can_be_none() {
    let engine = Engine::in_memory().open().await.unwrap();
    let refused = engine.admin().snapshot().await.unwrap_err();
    assert_eq!(refused.code(), "in_memory");
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().join("data")).await.unwrap();
    engine.close().await.unwrap();
    let refused = engine.admin().snapshot().await;
    assert!(matches!(refused, Err(SnapshotError::Stopped(_))));
}
