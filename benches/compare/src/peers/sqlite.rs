//! A table in SQLite, as many teams write it by hand: one connection behind a lock, write-ahead log, full synchronisation.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::anyhow;
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Mutex;

use crate::peer::{About, Blocker, Consumer, LOOK_AGAIN, PAYLOAD, Peer, Producer, Work, Workers};

type Shared = Arc<Mutex<Connection>>;

struct Sqlite(Shared);

struct Caller(Shared);

pub(super) async fn open(folder: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let connection = Connection::open(folder.join("queue.db"))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         CREATE TABLE jobs (
             id INTEGER PRIMARY KEY,
             state INTEGER NOT NULL DEFAULT 0,
             taken_at INTEGER,
             payload BLOB NOT NULL
         );
         CREATE INDEX jobs_ready ON jobs (id) WHERE state = 0;",
    )?;
    Ok(Box::new(Sqlite(Arc::new(Mutex::new(connection)))))
}

fn with<T>(
    shared: &Shared,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> anyhow::Result<T> {
    let connection = shared.lock().map_err(|_| anyhow!("a holder panicked"))?;
    Ok(work(&connection)?)
}

fn insert(shared: &Shared) -> anyhow::Result<()> {
    with(shared, |connection| {
        let mut insert = connection.prepare_cached("INSERT INTO jobs (payload) VALUES (?1)")?;
        insert.execute(params![PAYLOAD])
    })?;
    Ok(())
}

impl Peer for Sqlite {
    fn about(&self) -> About {
        About {
            settings: format!(
                "SQLite {}, WAL, synchronous = FULL, one connection; a job is an update and a delete",
                rusqlite::version()
            ),
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let caller = Caller(Arc::clone(&self.0));
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    fn blocker(&self) -> Work<'_, Blocker> {
        let shared = Arc::clone(&self.0);
        Box::pin(async { Ok(Box::new(move || insert(&shared)) as Blocker) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        let consumers = (0..count)
            .map(|_| Box::new(Caller(Arc::clone(&self.0))) as Box<dyn Consumer>)
            .collect();
        Box::pin(async move { Ok(Workers::pulling(consumers, &done)) })
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            insert(&self.0)?;
            // A task that never waits would keep the others out.
            tokio::task::yield_now().await;
            Ok(())
        })
    }
}

impl Consumer for Caller {
    fn job(&mut self) -> Work<'_, u64> {
        Box::pin(async {
            let taken: Option<(i64, Vec<u8>)> = with(&self.0, |connection| {
                let mut take = connection.prepare_cached(
                    "UPDATE jobs SET state = 1, taken_at = unixepoch()
                     WHERE id = (SELECT id FROM jobs WHERE state = 0 ORDER BY id LIMIT 1)
                     RETURNING id, payload",
                )?;
                let row = take.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
                row.optional()
            })?;
            let Some((id, _payload)) = taken else {
                tokio::time::sleep(LOOK_AGAIN).await;
                return Ok(0);
            };
            tokio::task::yield_now().await;
            with(&self.0, |connection| {
                let mut delete = connection.prepare_cached("DELETE FROM jobs WHERE id = ?1")?;
                delete.execute([id])
            })?;
            tokio::task::yield_now().await;
            Ok(1)
        })
    }
}
