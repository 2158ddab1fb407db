//! Redis streams, each append synced: `XADD`, consumer groups, `XACK` with `XDEL`.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{Client, Cmd, cmd, pipe};
use rustix::process::Signal;

use crate::peer::{About, Blocker, Consumer, PAYLOAD, Peer, Producer, Work, Workers};
use crate::server::{Server, folder, free_port};

const STREAM: &str = "jobs";
const GROUP: &str = "workers";
/// Entries that a consumer takes at once.
const PREFETCH: usize = 16;

struct Redis {
    server: Server,
    client: Client,
    shared: MultiplexedConnection,
    version: String,
}

struct Caller(MultiplexedConnection);

struct Taker(MultiplexedConnection, String);

pub(super) async fn open(parent: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let folder = folder(parent, "data", None)?;
    let port = free_port()?;
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
        .arg(&folder)
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .args(["--save", "", "--daemonize", "no"]);
    let server = Server::start(command, &folder, port, Signal::TERM)?;
    let client = Client::open(format!("redis://127.0.0.1:{port}/"))?;
    let mut shared = client.get_multiplexed_async_connection().await?;
    let told: String = cmd("INFO").arg("server").query_async(&mut shared).await?;
    let version = told
        .lines()
        .find_map(|line| line.strip_prefix("redis_version:"))
        .unwrap_or("?")
        .trim()
        .to_owned();
    let mut create = cmd("XGROUP");
    create
        .arg("CREATE")
        .arg(STREAM)
        .arg(GROUP)
        .arg("0")
        .arg("MKSTREAM");
    create.query_async::<()>(&mut shared).await?;
    Ok(Box::new(Redis {
        server,
        client,
        shared,
        version,
    }))
}

fn add() -> Cmd {
    let mut add = cmd("XADD");
    add.arg(STREAM)
        .arg("*")
        .arg("payload")
        .arg(PAYLOAD.as_slice());
    add
}

/// The same from a thread that blocks.
fn blocker(client: &Client) -> anyhow::Result<Blocker> {
    let mut connection = client.get_connection()?;
    Ok(Box::new(move || {
        let _id: String = add().query(&mut connection)?;
        Ok(())
    }))
}

impl Peer for Redis {
    fn about(&self) -> About {
        About {
            settings: format!(
                "redis-server {}, appendfsync always; callers share one pipelined connection, consumers take {PREFETCH} and ack them together",
                self.version
            ),
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let caller = Caller(self.shared.clone());
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    fn blocker(&self) -> Work<'_, Blocker> {
        Box::pin(async { blocker(&self.client) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let mut consumers: Vec<Box<dyn Consumer>> = Vec::new();
            for number in 0..count {
                let connection = self.client.get_multiplexed_async_connection().await?;
                consumers.push(Box::new(Taker(connection, format!("worker-{number}"))));
            }
            Ok(Workers::pulling(consumers, &done))
        })
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            let _id: String = add().query_async(&mut self.0).await?;
            Ok(())
        })
    }
}

impl Consumer for Taker {
    fn job(&mut self) -> Work<'_, u64> {
        Box::pin(async {
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP").arg(GROUP).arg(&self.1);
            read.arg("COUNT").arg(PREFETCH).arg("BLOCK").arg(200);
            read.arg("STREAMS").arg(STREAM).arg(">");
            let reply: Option<StreamReadReply> = read.query_async(&mut self.0).await?;
            let entries = reply
                .into_iter()
                .flat_map(|reply| reply.keys)
                .flat_map(|key| key.ids);
            let ids: Vec<String> = entries.map(|entry| entry.id).collect();
            if !ids.is_empty() {
                let mut ack = pipe();
                ack.cmd("XACK").arg(STREAM).arg(GROUP).arg(&ids).ignore();
                ack.cmd("XDEL").arg(STREAM).arg(&ids).ignore();
                ack.query_async::<()>(&mut self.0).await?;
            }
            Ok(u64::try_from(ids.len())?)
        })
    }
}
