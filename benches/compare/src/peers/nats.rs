//! NATS JetStream, a work-queue stream on files, which answers before anything is synced.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer as Pull, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use rustix::process::Signal;

use crate::peer::{About, Consumer, PAYLOAD, Peer, Producer, Work, Workers};
use crate::server::{Server, folder, free_port};

const NAME: &str = "jobs";
/// Messages that a consumer takes at once.
const PREFETCH: usize = 16;

struct Nats {
    server: Server,
    context: Context,
    consumer: Pull<pull::Config>,
    version: String,
}

struct Caller(Context);

struct Taker(Pull<pull::Config>);

pub(super) async fn open(parent: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let folder = folder(parent, "data", None)?;
    let port = free_port()?;
    let mut command = Command::new("nats-server");
    command
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(&folder);
    let server = Server::start(command, &folder, port, Signal::TERM)?;
    let client = async_nats::connect(format!("127.0.0.1:{port}")).await?;
    let version = client.server_info().version;
    let context = jetstream::new(client);
    let stream = context
        .create_stream(Config {
            name: NAME.to_owned(),
            subjects: vec![NAME.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            ..Config::default()
        })
        .await?;
    let consumer = stream
        .create_consumer(pull::Config {
            durable_name: Some(NAME.to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 100_000,
            ..pull::Config::default()
        })
        .await?;
    Ok(Box::new(Nats {
        server,
        context,
        consumer,
        version,
    }))
}

impl Peer for Nats {
    fn about(&self) -> About {
        About {
            settings: format!(
                "nats-server {}, file storage, default sync_interval (2 min); consumers take {PREFETCH} and ack them together",
                self.version
            ),
            synced: false,
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let caller = Caller(self.context.clone());
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        let consumers = (0..count)
            .map(|_| Box::new(Taker(self.consumer.clone())) as Box<dyn Consumer>)
            .collect();
        Box::pin(async move { Ok(Workers::pulling(consumers, &done)) })
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            let payload = Bytes::from_static(&PAYLOAD);
            self.0.publish(NAME, payload).await?.await?;
            Ok(())
        })
    }
}

impl Consumer for Taker {
    fn job(&mut self) -> Work<'_, u64> {
        Box::pin(async {
            let mut batch = self
                .0
                .batch()
                .max_messages(PREFETCH)
                .expires(Duration::from_millis(200))
                .messages()
                .await?;
            let mut acks = Vec::new();
            while let Some(message) = batch.next().await {
                let message = message.map_err(|error| anyhow::anyhow!(error))?;
                acks.push(async move { message.double_ack().await });
            }
            let acked = join_all(acks).await;
            let count = acked.len();
            for ack in acked {
                ack.map_err(|error| anyhow::anyhow!(error))?;
            }
            Ok(u64::try_from(count)?)
        })
    }
}
