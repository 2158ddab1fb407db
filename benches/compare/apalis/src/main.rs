//! apalis-sqlite, tasks for Rust programs in SQLite: as its set-up leaves it (one connection with `synchronous = OFF`), and with
//! `synchronous = FULL` on every connection.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use mq_compare::alone;
use mq_compare::peer::{About, PAYLOAD, Peer, Producer, Work, Workers};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};

/// Connections of the pool.
const CONNECTIONS: u32 = 8;
/// Tasks that a worker takes at once.
const PREFETCH: usize = 64;

struct Apalis {
    pool: SqlitePool,
    synced: bool,
}

struct Caller(SqliteStorage<String>, String);

fn main() -> anyhow::Result<()> {
    alone::run(&[
        ("apalis-sqlite, as shipped", |folder| {
            Box::pin(open(folder, false))
        }),
        ("apalis-sqlite, FULL", |folder| Box::pin(open(folder, true))),
    ])
}

async fn open(folder: &Path, synced: bool) -> anyhow::Result<Box<dyn Peer>> {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("queue.db"))
        .create_if_missing(true)
        .busy_timeout(Duration::from_secs(30))
        .synchronous(SqliteSynchronous::Full);
    let connect = || SqlitePoolOptions::new().max_connections(CONNECTIONS);
    let mut pool = connect().connect_with(options.clone()).await?;
    SqliteStorage::setup(&pool).await?;
    if synced {
        // Connections that the set-up has not touched.
        pool.close().await;
        pool = connect().connect_with(options).await?;
    }
    Ok(Box::new(Apalis { pool, synced }))
}

impl Apalis {
    fn storage(&self) -> SqliteStorage<String> {
        let config = Config::default().queue("jobs").batch_size(PREFETCH);
        SqliteStorage::new(&self.pool).with_config(config)
    }
}

impl Peer for Apalis {
    fn about(&self) -> About {
        let (name, setting) = if self.synced {
            (
                "apalis-sqlite, FULL",
                "synchronous = FULL on every connection",
            )
        } else {
            ("apalis-sqlite, as shipped", "as its set-up leaves it")
        };
        About {
            name: name.to_owned(),
            settings: format!(
                "apalis-sqlite 1.0, {setting}, {CONNECTIONS} connections, batches of {PREFETCH}; a job counts when its handler has run"
            ),
            synced: self.synced,
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let payload = String::from_utf8_lossy(&PAYLOAD).into_owned();
        let caller = Caller(self.storage(), payload);
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let worker = WorkerBuilder::new("bench")
                .backend(self.storage())
                .data(done)
                .concurrency(count)
                .build(handle);
            let task = tokio::spawn(async move { worker.run().await });
            Ok(Workers::pushed(Box::new(Aborted(task.abort_handle()))))
        })
    }
}

async fn handle(_: String, done: Data<Arc<AtomicU64>>) -> Result<(), BoxDynError> {
    done.fetch_add(1, Relaxed);
    Ok(())
}

/// A task that ends with this.
struct Aborted(tokio::task::AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            self.0.push(self.1.clone()).await?;
            Ok(())
        })
    }
}
