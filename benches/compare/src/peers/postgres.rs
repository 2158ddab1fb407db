//! PostgreSQL with a table of jobs and `FOR UPDATE SKIP LOCKED`: one transaction for each job, open while it is handled.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use anyhow::Context;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use crate::peer::{About, Consumer, LOOK_AGAIN, PAYLOAD, Peer, Producer, Work, Workers};
use crate::postgresql::{self, CONNECTIONS, DATABASE, USER};
use crate::server::Server;

struct Postgres {
    server: Server,
    callers: Vec<(Arc<Client>, Statement)>,
    next: AtomicUsize,
    version: String,
}

struct Caller(Arc<Client>, Statement);

struct Taker {
    client: Client,
    select: Statement,
    delete: Statement,
}

pub(super) async fn open(parent: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let server = postgresql::start(parent)?;
    let port = server.port;
    let client = connect(port).await?;
    client
        .batch_execute("CREATE TABLE jobs (id bigserial PRIMARY KEY, payload bytea NOT NULL)")
        .await?;
    let version = client.query_one("SHOW server_version", &[]).await?.get(0);
    let mut callers = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = connect(port).await?;
        let insert = "INSERT INTO jobs (payload) VALUES ($1) RETURNING id";
        let insert = client.prepare(insert).await?;
        callers.push((Arc::new(client), insert));
    }
    Ok(Box::new(Postgres {
        server,
        callers,
        next: AtomicUsize::new(0),
        version,
    }))
}

/// A connection. The port may be open before the server lets anybody in.
async fn connect(port: u16) -> anyhow::Result<Client> {
    let address = format!("host=127.0.0.1 port={port} user={USER} dbname={DATABASE}");
    let mut tries = 0;
    loop {
        match tokio_postgres::connect(&address, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                return Ok(client);
            }
            Err(error) if tries > 100 => return Err(error.into()),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
        tries += 1;
    }
}

impl Peer for Postgres {
    fn about(&self) -> About {
        About {
            settings: format!(
                "PostgreSQL {}, default settings, {CONNECTIONS} connections; a job is select for update skip locked and delete in one transaction",
                self.version
            ),
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        Box::pin(async {
            let place = self.next.fetch_add(1, Relaxed) % self.callers.len();
            let (client, insert) = self.callers.get(place).context("no connection")?;
            let caller = Caller(Arc::clone(client), insert.clone());
            Ok(Box::new(caller) as Box<dyn Producer>)
        })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let mut consumers: Vec<Box<dyn Consumer>> = Vec::new();
            for _ in 0..count {
                let client = connect(self.server.port).await?;
                let select =
                    "SELECT id, payload FROM jobs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
                consumers.push(Box::new(Taker {
                    select: client.prepare(select).await?,
                    delete: client.prepare("DELETE FROM jobs WHERE id = $1").await?,
                    client,
                }));
            }
            Ok(Workers::pulling(consumers, &done))
        })
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            let payload: &[u8] = &PAYLOAD;
            self.0.query_one(&self.1, &[&payload]).await?;
            Ok(())
        })
    }
}

impl Consumer for Taker {
    fn job(&mut self) -> Work<'_, u64> {
        Box::pin(async {
            // Both pairs go out together, so that a job takes two round trips.
            let (begun, taken) = futures::join!(
                self.client.batch_execute("BEGIN"),
                self.client.query_opt(&self.select, &[]),
            );
            begun?;
            let Some(row) = taken? else {
                self.client.batch_execute("ROLLBACK").await?;
                tokio::time::sleep(LOOK_AGAIN).await;
                return Ok(0);
            };
            let id: i64 = row.get(0);
            let id: &[&(dyn ToSql + Sync)] = &[&id];
            let (deleted, committed) = futures::join!(
                self.client.execute(&self.delete, id),
                self.client.batch_execute("COMMIT"),
            );
            committed?;
            Ok(deleted?)
        })
    }
}
