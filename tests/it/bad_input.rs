//! Bad input: a typed error that names the next step, and nothing lost.

use std::time::Duration;

use bytes::Bytes;
use mq::prelude::*;
use mq::{Durability, EnqueueError, Limit, NewMessage, OpenError};

fn message(payload: &'static [u8]) -> NewMessage {
    NewMessage::new(
        "q".parse().unwrap(),
        "k".parse().unwrap(),
        Bytes::from_static(payload),
    )
}

#[test]
fn every_bad_option_is_reported_at_once_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let builder = Engine::builder(&path)
        .capacity(Limit::messages(1).bytes(5))
        .payload_size_max(64 << 20)
        .durability(Durability::Interval(Duration::ZERO))
        .keys(0);
    let error = builder.open_wait().unwrap_err();
    let OpenError::Options(bad) = &error else {
        panic!("{error:?}")
    };
    let names: Vec<&str> = bad.iter().map(|option| option.option).collect();
    assert_eq!(
        names,
        [
            "capacity.messages",
            "capacity.bytes",
            "payload_size_max",
            "keys",
            "durability interval in ms"
        ]
    );
    assert!(error.to_string().contains("allowed is 64 to"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_data_directory_that_is_a_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::fs::write(&path, b"precious").unwrap();
    let error = Engine::builder(&path).open_wait().unwrap_err();
    assert!(error.to_string().contains("directory"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_store_in_use_is_refused_and_names_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let owner = Engine::builder(&path).open_wait().unwrap();
    let error = Engine::builder(&path).open_wait().unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("pid {}", std::process::id())),
        "{error}"
    );
    owner.enqueue_raw(message(b"{}")).wait().unwrap();
    owner.close_wait().unwrap();
    Engine::builder(&path).open_wait().unwrap();
}

#[test]
fn what_cannot_be_stored_is_refused_with_its_limit() {
    let engine = Engine::in_memory()
        .payload_size_max(1_000)
        .open_wait()
        .unwrap();
    let refusal = |request: mq::Request| request.wait().unwrap_err();
    let large = NewMessage::new(
        "q".parse().unwrap(),
        "k".parse().unwrap(),
        Bytes::from(vec![0; 1_001]),
    );
    let error = refusal(engine.enqueue_raw(large));
    assert!(
        matches!(error, EnqueueError::Invalid { index: 0, .. })
            && error.to_string().contains("1001"),
        "{error}"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).idempotency_key("")).code(),
        "key"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).ordering_key(vec![0; 513])).code(),
        "key"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).queue("")).code(),
        "name"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).queue("new\nline")).code(),
        "name"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).queue(&"q".repeat(129))).code(),
        "name"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).priority(10)).code(),
        "priority"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).header("", "value")).code(),
        "invalid"
    );
    assert_eq!(
        refusal(
            engine
                .enqueue_raw(message(b""))
                .header("big", "v".repeat(20_000))
        )
        .code(),
        "invalid"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).max_attempts(1_001)).code(),
        "invalid"
    );
    assert_eq!(
        refusal(engine.enqueue_raw(message(b"")).delay(Duration::MAX)).code(),
        "invalid"
    );
    assert_eq!(engine.stats().live_messages, 0);
}

#[test]
fn one_bad_message_keeps_its_whole_batch_out() {
    let engine = Engine::in_memory()
        .payload_size_max(10)
        .open_wait()
        .unwrap();
    let error = engine
        .batch()
        .push_raw(message(b"good"))
        .push_raw(message(b"much too large"))
        .wait()
        .unwrap_err();
    assert!(
        matches!(error, EnqueueError::Invalid { index: 1, .. }),
        "{error:?}"
    );
    assert_eq!(engine.stats().live_messages, 0);
}

#[tokio::test]
async fn waiting_on_a_runtime_thread_is_an_error_and_sends_nothing() {
    let engine = Engine::in_memory().open().await.unwrap();
    let error = engine.enqueue_raw(message(b"{}")).wait().unwrap_err();
    assert!(matches!(error, EnqueueError::OnRuntimeThread), "{error:?}");
    assert_eq!(engine.stats().live_messages, 0);
    engine.enqueue_raw(message(b"{}")).await.unwrap();
    assert_eq!(engine.stats().live_messages, 1);
}

#[tokio::test]
async fn an_enqueue_after_close_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    engine.close().await.unwrap();
    let error = engine.enqueue_raw(message(b"{}")).await.unwrap_err();
    assert!(matches!(error, EnqueueError::Closed), "{error:?}");
    engine.close().await.unwrap();
}

#[tokio::test]
async fn an_engine_dropped_without_close_has_flushed_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let engine = Engine::builder(&path)
        .durability(Durability::Buffered)
        .open()
        .await
        .unwrap();
    let receipt = engine.enqueue_raw(message(b"{}")).await.unwrap();
    assert_eq!(receipt.durability, mq::Achieved::Written);
    drop(engine);
    let engine = Engine::open(&path).await.unwrap();
    assert_eq!(engine.stats().live_messages, 1);
}

#[tokio::test]
async fn an_id_of_another_store_is_not_found_here() {
    let one = Engine::in_memory().open().await.unwrap();
    let other = Engine::in_memory().open().await.unwrap();
    let id = one.enqueue_raw(message(b"{}")).await.unwrap().accepted.id;
    other.enqueue_raw(message(b"{}")).await.unwrap();
    assert_eq!(other.message(id).await.unwrap(), mq::Lookup::NeverIssued);
    assert!(
        other
            .cancel(id)
            .await
            .unwrap_err()
            .to_string()
            .contains("never issued")
    );
}
