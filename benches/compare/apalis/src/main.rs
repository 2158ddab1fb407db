//! apalis-sqlite, tasks for Rust programs in SQLite: as its set-up leaves it (one connection with `synchronous = OFF`), and with
//! `synchronous = FULL` on every connection.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::bail;
use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use mq_compare::alone;
use mq_compare::peer::{About, PAYLOAD, Peer, Producer, Work, Workers};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};

/// Connections of the pool.
const CONNECTIONS: u32 = 8;

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
        let config = Config::default().queue("jobs");
        SqliteStorage::new(&self.pool).with_config(config)
    }
}

impl Peer for Apalis {
    fn about(&self) -> About {
        let setting = if self.synced {
            "synchronous = FULL on every connection"
        } else {
            "as its set-up leaves it"
        };
        About {
            settings: format!("apalis-sqlite 1.0, {setting}, {CONNECTIONS} connections"),
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

    /// Its workers, polled every 5 ms with batches of 64 and 64 at once, took 20 to 80 jobs a second here, a small part of what
    /// they can; that says more about this set-up than about them.
    fn workers(&self, _: usize, _: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async { bail!("no set-up of its workers that does them justice was found") })
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
