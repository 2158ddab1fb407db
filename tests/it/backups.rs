//! Backups beside everything else: a close, and each other.

use std::path::Path;
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use mq::environment::{Environment, Park, Parker};
use mq::{BackupError, Engine, NewMessage};
use mq_core::limits::BACKUP_RATE_MIN;

fn opened(folder: &Path) -> Engine {
    let mut environment = Environment::real();
    environment.park = Arc::new(Soundly(environment.park));
    let builder = Engine::builder(folder.join("data")).environment(environment);
    let engine = builder.open_wait().unwrap();
    let (queue, kind) = ("mail".parse().unwrap(), "welcome".parse().unwrap());
    let message = NewMessage::new(queue, kind, "{}".into());
    engine.enqueue_raw(message).wait().unwrap();
    engine
}

/// Places to sleep in from which a thread that makes a copy does not come back by itself, and not at once: whoever does not wait
/// for it is gone before.
#[derive(Debug)]
struct Soundly(Arc<dyn Park>);

#[derive(Debug)]
struct Sleeper(Arc<dyn Parker>);

impl Park for Soundly {
    fn parker(&self) -> Arc<dyn Parker> {
        Arc::new(Sleeper(self.0.parker()))
    }
}

impl Parker for Sleeper {
    fn park(&self, limit: Option<Duration>) {
        let thread = std::thread::current();
        let copies = matches!(thread.name(), Some("mq-backup" | "copying"));
        self.0.park(limit.filter(|_| !copies));
        for _ in 0..if copies { 200_000 } else { 0 } {
            std::thread::yield_now();
        }
    }

    fn unpark(&self) {
        self.0.unpark();
    }
}

/// What is in a folder, without the store.
fn beside(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "data").collect()
}

/// The first MiB takes 16 seconds at that rate: the copy waits, and is called from there.
#[test]
fn a_close_ends_a_backup_that_keeps_to_a_rate_and_leaves_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(folder.path());
    let (tells, told) = mpsc::channel();
    let backup = engine.admin().backup(folder.path().join("copy"));
    let backup = backup.rate(BACKUP_RATE_MIN);
    let backup = backup.on_progress(move |progress| tells.send(progress).unwrap_or_default());
    let thread = std::thread::Builder::new().name("copying".to_owned());
    let copying = thread.spawn(move || backup.wait()).unwrap();
    assert!(told.recv().unwrap().copied > 0);
    assert_eq!(beside(folder.path()), ["copy.incomplete"]);
    engine.close_wait().unwrap();
    assert_eq!(beside(folder.path()), [""; 0], "the close waits for it");
    let ended = copying.join().unwrap();
    assert!(matches!(ended, Err(BackupError::Stopped(_))), "{ended:?}");
}

#[tokio::test]
async fn a_close_ends_a_backup_on_its_own_thread_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let opening = std::thread::spawn(move || opened(&path));
    let engine = opening.join().unwrap();
    let (tells, told) = tokio::sync::oneshot::channel();
    let mut tells = Some(tells);
    let backup = engine.admin().backup(folder.path().join("copy"));
    let backup = backup.rate(BACKUP_RATE_MIN).on_progress(move |_| {
        tells.take().into_iter().for_each(|tells| {
            tells.send(()).unwrap_or_default();
        });
    });
    let copying = tokio::spawn(backup.into_future());
    told.await.unwrap();
    engine.close().await.unwrap();
    assert_eq!(beside(folder.path()), [""; 0]);
    let ended = copying.await.unwrap();
    assert!(matches!(ended, Err(BackupError::Stopped(_))), "{ended:?}");
}

#[test]
fn of_two_backups_to_one_place_one_is_made() {
    for round in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let engine = opened(folder.path());
        let to = folder.path().join("copy");
        let barrier = Arc::new(Barrier::new(2));
        let made = [(), ()].map(|()| {
            let (backup, barrier) = (engine.admin().backup(&to), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                backup.wait()
            })
        });
        let made = made.map(|copying| copying.join().unwrap());
        let won = made.iter().filter_map(|made| made.as_ref().ok());
        assert_eq!(
            won.map(|report| report.messages).sum::<u64>(),
            1,
            "{round}: {made:?}"
        );
        let lost: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
        assert_eq!(lost.len(), 1, "{round}: {made:?}");
        let code = lost.iter().map(|error| error.code()).collect::<String>();
        assert!(["leftover", "target_in_use"].contains(&&*code), "{code}");
        assert_eq!(beside(folder.path()), ["copy"]);
        engine.close_wait().unwrap();
        let storage: Arc<dyn mq_persistence::storage::Storage> =
            Arc::new(mq_persistence::storage::DirectoryStorage::new(&to));
        let verified = mq_persistence::inspect::verify(&storage).unwrap();
        assert!(verified.is_sound(), "{verified:?}");
        let copy = Engine::builder(&to).open_wait().unwrap();
        assert_eq!(copy.stats().live_messages, 1);
        copy.close_wait().unwrap();
    }
}

#[test]
fn a_rate_that_would_take_ages_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(folder.path());
    let backup = engine.admin().backup(folder.path().join("copy"));
    let refused = backup.rate(1).wait().unwrap_err();
    assert_eq!(refused.code(), "bad_value");
    assert!(refused.to_string().contains("65536"), "{refused}");
    assert_eq!(beside(folder.path()), [""; 0]);
    let quick = engine.admin().backup(folder.path().join("copy"));
    assert!(quick.rate(1 << 40).wait().is_ok());
    engine.close_wait().unwrap();
}

#[test]
fn a_closure_that_is_told_of_a_backup_may_hold_the_last_handle_of_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(folder.path());
    let backup = engine.admin().backup(folder.path().join("copy"));
    let report = backup.on_progress(move |_| assert!(engine.stopped().is_none()));
    let report = futures_executor::block_on(report.into_future()).unwrap();
    assert_eq!(report.messages, 1);
    let again = Engine::builder(folder.path().join("data")).wait_for_owner(mq::secs(60));
    again.open_wait().unwrap().close_wait().unwrap();
}

#[test]
fn a_closure_that_is_told_of_a_backup_may_drop_the_last_handle_of_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let engine = opened(folder.path());
    let backup = engine.admin().backup(folder.path().join("copy"));
    let mut last = Some(engine);
    let ended = backup.on_progress(move |_| drop(last.take())).wait();
    assert!(
        matches!(ended, Ok(_) | Err(BackupError::Stopped(_))),
        "{ended:?}"
    );
    let again = Engine::builder(folder.path().join("data")).wait_for_owner(mq::secs(60));
    again.open_wait().unwrap().close_wait().unwrap();
}
