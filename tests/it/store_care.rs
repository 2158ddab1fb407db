//! What is done to a store as a whole: snapshots on demand, backups.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mq::prelude::*;
use mq::{Lookup, NewMessage, SnapshotError};

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

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "busy", queue = "work")]
struct Busy {
    number: u64,
}

async fn busy(_: Busy) -> Outcome {
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_working_store_holds_what_was_answered_before_and_nothing_that_was_over() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::open(directory.path().join("data")).await.unwrap();
    let workers = engine.workers().handle(busy).start().unwrap();
    let (mut waiting, mut over) = (Vec::new(), Vec::new());
    for number in 0..100_u64 {
        let receipt = engine.enqueue_raw(message(&number.to_string())).await;
        waiting.push(receipt.unwrap().accepted.id);
        over.push(engine.enqueue(Busy { number }).await.unwrap().accepted.id);
    }
    engine
        .run_queue_until_empty(Some(&"work".parse().unwrap()))
        .await
        .unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let producer = tokio::spawn({
        let engine = engine.clone();
        async move {
            let mut number = 1_000;
            while stopped.try_recv().is_err() {
                engine.enqueue(Busy { number }).await.unwrap();
                number += 1;
            }
            number - 1_000
        }
    });
    let to = directory.path().join("backup");
    let told = Arc::new(AtomicU64::new(0));
    let telling = Arc::clone(&told);
    let backup = engine.admin().backup(&to);
    let backup = backup.on_progress(move |progress| telling.store(progress.copied, Relaxed));
    let report = backup.await.unwrap();
    stop.send(()).unwrap();
    assert!(producer.await.unwrap() > 0);
    workers.stop(mq::secs(5)).await;
    engine.close().await.unwrap();
    assert!(report.messages >= 100 && told.load(Relaxed) > 0);
    let copy = Engine::open(&to).await.unwrap();
    for (number, id) in waiting.iter().enumerate() {
        let envelope = copy.envelope(*id).await.unwrap().unwrap();
        assert_eq!(envelope.payload, number.to_string());
    }
    for id in over {
        let found = copy.message(id).await.unwrap();
        assert!(matches!(found, Lookup::SettledNotKept), "{found:?}");
    }
    let workers = copy.workers().handle(busy).start().unwrap();
    copy.run_queue_until_empty(Some(&"work".parse().unwrap()))
        .await
        .unwrap();
    workers.stop(mq::secs(5)).await;
    copy.close().await.unwrap();
}

#[tokio::test]
async fn a_backup_never_goes_where_something_is() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let engine = Engine::open(&data).await.unwrap();
    engine.enqueue_raw(message("kept")).await.unwrap();
    let into_itself = engine.admin().backup(&data).await.unwrap_err();
    assert_eq!(into_itself.code(), "target_in_use");
    let to = directory.path().join("backup");
    std::fs::create_dir(directory.path().join("backup.incomplete")).unwrap();
    let refused = engine.admin().backup(&to).await.unwrap_err();
    assert_eq!(refused.code(), "leftover");
    std::fs::remove_dir(directory.path().join("backup.incomplete")).unwrap();
    // An empty directory is as good as none.
    std::fs::create_dir(&to).unwrap();
    let report = engine.admin().backup(&to).await.unwrap();
    assert_eq!(report.messages, 1);
    let again = engine.admin().backup(&to).await.unwrap_err();
    assert_eq!(again.code(), "target_in_use");
    let names = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 2, "nothing but the store and its copy");
    engine.close().await.unwrap();
}

#[test]
fn a_picture_of_a_working_store_is_answered_on_its_socket() {
    use mq::control::{Answer, Call, Client};
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let engine = Engine::builder(&data).open_wait().unwrap();
    engine.enqueue_raw(message("kept")).wait().unwrap();
    let answer = Client::connect(&data).unwrap().call(&Call::Top {}).unwrap();
    let Answer::Top(top) = answer else {
        unreachable!("{answer:?}")
    };
    assert_eq!(top.pid, std::process::id());
    assert_eq!(
        (top.queues[0].queue.as_str(), top.queues[0].ready),
        ("mail", 1)
    );
    assert_eq!((top.running_count, top.dead), (0, 0));
    engine.close_wait().unwrap();
}

/// Changes a bit of `victim` wherever a segment of the journal holds it, in place: the files may be in use.
fn damage(store: &std::path::Path, victim: &[u8]) -> usize {
    let mut hits = 0;
    for entry in std::fs::read_dir(store).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().starts_with("j-") {
            continue; // a spare, say, which may get another name at any time
        }
        let path = entry.path();
        let bytes = std::fs::read(&path).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        for at in (0..bytes.len()).filter(|at| bytes.get(*at..).unwrap().starts_with(victim)) {
            let changed = [bytes.get(at).unwrap() ^ 1];
            file.write_all_at(&changed, u64::try_from(at).unwrap())
                .unwrap();
            hits += 1;
        }
    }
    hits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_rotted_goes_dead_at_once_and_says_so_and_the_others_are_done() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let engine = Engine::open(&path).await.unwrap();
    let mut ids = Vec::new();
    for number in 700_001..700_010_u64 {
        ids.push(engine.enqueue(Busy { number }).await.unwrap().accepted.id);
    }
    engine.close().await.unwrap();
    drop(engine);
    // An opening keeps no payload in memory, and what no snapshot follows is not copied elsewhere either: it is read when it is its turn.
    let engine = Engine::open(&path).await.unwrap();
    assert!(damage(&path, b"700005") > 0);
    let workers = engine.workers().handle(busy).start().unwrap();
    let work = "work".parse().unwrap();
    engine.run_queue_until_empty(Some(&work)).await.unwrap();
    let dead = engine
        .admin()
        .dead_letters()
        .list(mq::Filter::new())
        .await
        .unwrap();
    assert_eq!(dead.messages.len(), 1);
    let found = dead.messages.first().unwrap();
    assert_eq!(found.id, ids[4]);
    assert_eq!(found.tail.failures, 0, "it was not tried again");
    let shown = engine
        .admin()
        .dead_letters()
        .show(ids[4])
        .await
        .unwrap_err();
    assert_eq!(shown.code(), "unreadable");
    let explained = format!("{:?}", found);
    assert!(explained.contains("damaged"), "{explained}");
    workers.stop(mq::secs(5)).await;
    engine.close().await.unwrap();
}

#[test]
fn a_store_opens_and_closes_without_tokio() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let engine = futures_executor::block_on(Engine::open(&path)).unwrap();
    futures_executor::block_on(async { engine.enqueue_raw(message("kept")).await }).unwrap();
    futures_executor::block_on(engine.close()).unwrap();
    drop(engine);
    let engine = Engine::builder(&path).open_wait().unwrap();
    assert_eq!(engine.stats().live_messages, 1);
    engine.close_wait().unwrap();
}

#[test]
fn no_store_is_made_among_the_files_of_somebody_else() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("Cargo.toml"), "[package]").unwrap();
    let refused = Engine::builder(directory.path()).open_wait().unwrap_err();
    assert_eq!(refused.code(), "unsuitable");
    assert!(refused.to_string().contains("Cargo.toml"), "{refused}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let mount = tempfile::tempdir().unwrap();
    std::fs::create_dir(mount.path().join("lost+found")).unwrap();
    let engine = Engine::builder(mount.path()).open_wait().unwrap();
    engine.close_wait().unwrap();
}

#[test]
fn a_look_at_a_store_does_not_make_the_start_of_its_program_fail() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let look = Engine::builder(&path).briefly().open_wait().unwrap();
    let start = std::thread::spawn({
        let path = path.clone();
        move || Engine::builder(path).open_wait()
    });
    look.close_wait().unwrap();
    drop(look);
    let engine = start.join().unwrap().unwrap();
    let refused = Engine::builder(&path).open_wait().unwrap_err();
    assert_eq!(refused.code(), "in_use", "an owner who stays");
    engine.close_wait().unwrap();
}
