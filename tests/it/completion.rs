//! Waiting for what a handler returned: with the enqueue, by id, and after a restart.

use mq::prelude::*;
use mq::{Completion, Dedup, MessageId, Stopped, WaitError, Workers, WorkersBuilder};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Resized {
    width: u32,
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "image.resize", queue = "images", output = Resized)]
struct Resize {
    width: u32,
}

async fn resize(message: Resize) -> Result<Resized, Fail> {
    match message.width {
        0 => Err(Fail::discard("there is nothing to resize")),
        1 => Err(Fail::dead_letter("a pixel cannot be resized")),
        2 => Err(Fail::cancel()),
        width => Ok(Resized { width: width / 2 }),
    }
}

fn workers(engine: &Engine) -> Workers {
    let builder: WorkersBuilder = engine.workers().handle(resize);
    builder.start().unwrap()
}

async fn refused(engine: &Engine, width: u32) -> WaitError {
    let request = engine.enqueue(Resize { width });
    request.and_wait(secs(60)).await.unwrap_err()
}

#[tokio::test]
async fn and_wait_answers_what_the_handler_returned_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    let running = workers(&engine);
    let done: Completion<Resized> = engine
        .enqueue(Resize { width: 8 })
        .and_wait(secs(60))
        .await
        .unwrap();
    assert_eq!(done.output, Resized { width: 4 });
    running.stop(secs(5)).await;
    engine.close().await.unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    let again = engine.completion::<Resize>(done.id).await.unwrap();
    assert_eq!(again, done, "its result is kept for an hour");
    let bytes = engine.completion_raw(done.id).await.unwrap().output;
    assert_eq!(bytes.as_deref(), Some(&br#"{"width":4}"#[..]));
}

#[tokio::test]
async fn a_wait_that_timed_out_goes_on_in_the_next_life_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    let request = engine.enqueue(Resize { width: 10 });
    let late = request.and_wait(std::time::Duration::ZERO).await;
    let Err(WaitError::TimedOut { id, .. }) = late else {
        panic!("{late:?}")
    };
    engine.close().await.unwrap();
    let engine = Engine::open(folder.path()).await.unwrap();
    let asked = tokio::spawn({
        let asked = engine.completion::<Resize>(id).within(secs(60));
        async move { asked.await }
    });
    let running = workers(&engine);
    assert_eq!(asked.await.unwrap().unwrap().output, Resized { width: 5 });
    running.stop(secs(5)).await;
}

#[tokio::test]
async fn every_other_end_is_an_error_with_its_reason() {
    let engine = Engine::in_memory().open().await.unwrap();
    let running = workers(&engine);
    let discarded = refused(&engine, 0).await;
    assert!(
        matches!(&discarded, WaitError::Discarded { error: Some(error), .. } if error.text.contains("nothing to resize")),
        "{discarded:?}"
    );
    let dead = refused(&engine, 1).await;
    assert!(
        dead.code() == "dead" && dead.to_string().contains("a pixel cannot be resized"),
        "{dead}"
    );
    let again = engine.completion::<Resize>(dead.id().unwrap()).await;
    assert_eq!(again.unwrap_err().code(), "dead", "it stays dead");
    assert_eq!(refused(&engine, 2).await.code(), "cancelled");
    running.stop(secs(5)).await;
}

#[tokio::test]
async fn what_an_operator_or_producer_does_to_a_message_reaches_those_who_wait() {
    let engine = Engine::in_memory().open().await.unwrap();
    let wait = |id: MessageId| {
        let waiting = std::future::IntoFuture::into_future(engine.completion::<Resize>(id));
        async move { waiting.await.unwrap_err() }
    };
    let cancelled = engine.enqueue(Resize { width: 8 }).await.unwrap().id();
    let waiting = wait(cancelled);
    engine.cancel(cancelled).await.unwrap();
    assert_eq!(waiting.await.code(), "cancelled");

    let held = engine.enqueue(Resize { width: 8 }).hold("aside").await;
    let held = held.unwrap().id();
    let waiting = wait(held);
    engine.admin().dead_letters().purge(held).await.unwrap();
    assert_eq!(waiting.await.code(), "not_kept");

    let first = engine.enqueue(Resize { width: 8 }).dedup(Dedup::replace(7));
    let first = first.await.unwrap().id();
    let waiting = wait(first);
    let second = engine.enqueue(Resize { width: 9 }).dedup(Dedup::replace(7));
    let second = second.await.unwrap();
    assert_eq!(second.replaced(), Some(first));
    let replaced = waiting.await;
    assert!(
        matches!(replaced, WaitError::Replaced { by: Some(by), .. } if by == second.id()),
        "{replaced:?}"
    );

    let other = Engine::in_memory().open().await.unwrap();
    let foreign = other.completion::<Resize>(first).await.unwrap_err();
    assert_eq!(foreign.code(), "never_issued");
}

#[tokio::test]
async fn a_close_tells_those_who_wait() {
    let engine = Engine::in_memory().open().await.unwrap();
    let id = engine.enqueue(Resize { width: 8 }).await.unwrap().id();
    let waiting = std::future::IntoFuture::into_future(engine.completion::<Resize>(id));
    engine.close().await.unwrap();
    let told = waiting.await.unwrap_err();
    assert!(
        matches!(told, WaitError::Stopped(Stopped::Closed)),
        "{told:?}"
    );
    let told = engine.completion::<Resize>(id).await.unwrap_err();
    assert!(
        matches!(told, WaitError::Stopped(Stopped::Closed)),
        "{told:?}"
    );
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "image.resize", queue = "images", output = String)]
struct Mistaken {
    width: u32,
}

#[tokio::test]
async fn a_result_of_another_type_is_an_error_and_not_lost() {
    let engine = Engine::in_memory().open().await.unwrap();
    let running = workers(&engine);
    let request = engine.enqueue(Mistaken { width: 8 });
    let error = request.and_wait(secs(60)).await.unwrap_err();
    assert_eq!(error.code(), "output");
    let bytes = engine.completion_raw(error.id().unwrap()).await.unwrap();
    assert!(bytes.output.is_some());
    running.stop(secs(5)).await;
}

#[test]
fn a_program_without_async_waits_on_its_thread() {
    let engine = Engine::in_memory().open_wait().unwrap();
    let running = workers(&engine);
    let done = engine
        .enqueue(Resize { width: 6 })
        .and_wait(secs(60))
        .wait();
    let done = done.unwrap();
    assert_eq!(done.output, Resized { width: 3 });
    let again = engine.completion::<Resize>(done.id).wait().unwrap();
    assert_eq!(again, done);
    running.stop(secs(5)).wait();
}

#[tokio::test]
async fn a_blocking_wait_on_a_runtime_thread_is_refused_and_nothing_is_sent() {
    let engine = Engine::in_memory().open().await.unwrap();
    let refused = engine.enqueue(Resize { width: 6 }).and_wait(secs(1)).wait();
    assert!(matches!(refused, Err(WaitError::OnRuntimeThread)));
    assert_eq!(engine.stats().enqueued, 0);
}

#[tokio::test]
async fn waiters_are_bounded_and_those_who_leave_make_room() {
    let engine = Engine::in_memory().open().await.unwrap();
    let id = engine.enqueue(Resize { width: 8 }).await.unwrap().id();
    let wait = || std::future::IntoFuture::into_future(engine.completion::<Resize>(id));
    let mut waiting: Vec<_> = (0..65_536).map(|_| wait()).collect();
    assert_eq!(wait().await.unwrap_err().code(), "too_many_waiters");
    waiting.pop();
    let last = wait();
    engine.cancel(id).await.unwrap();
    assert_eq!(last.await.unwrap_err().code(), "cancelled");
}

/// Whatever a program drops while it unwinds may call the engine, which is none the worse for it.
#[test]
fn a_program_that_panics_while_it_waits_does_not_stop_the_engine() {
    let engine = Engine::in_memory().open_wait().unwrap();
    let other = engine.clone();
    let panicked = std::thread::spawn(move || {
        let sent = other.enqueue(Resize { width: 8 }).wait().unwrap();
        let _waits = other.completion_raw(sent.accepted.id).into_future();
        panic!("the program's own");
    });
    panicked.join().unwrap_err();
    assert_eq!(engine.stopped(), None);
    engine.enqueue(Resize { width: 2 }).wait().unwrap();
}
