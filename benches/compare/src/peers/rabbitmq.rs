//! RabbitMQ with a quorum queue: publisher confirms, consumers with prefetch, acks.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use rustix::process::Signal;

use crate::peer::{About, PAYLOAD, Peer, Producer, Work, Workers};
use crate::server::{Server, User, folder, free_port};

const QUEUE: &str = "jobs";
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

struct RabbitMq {
    server: Server,
    connection: Connection,
    _names: Names,
}

/// The daemon by which Erlang's nodes find one another; it ends with this.
struct Names(Child);

struct Caller(Channel);

pub(super) async fn open(parent: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let user = User::instead_of_root("rabbitmq")?;
    let folder = folder(parent, "rabbitmq", user)?;
    let (port, names, distribution) = (free_port()?, free_port()?, free_port()?);
    let mut daemon = Command::new("epmd");
    daemon.args(["-address", "127.0.0.1", "-port", &names.to_string()]);
    let daemon = daemon
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("epmd (Erlang) is not installed")?;
    let daemon = Names(daemon);
    let plugins = folder.join("plugins");
    std::fs::write(&plugins, "[].")?;
    let mut command = Command::new(PROGRAM);
    command
        .current_dir(&folder)
        .env("HOME", &folder)
        .env("ERL_EPMD_PORT", names.to_string())
        .env("RABBITMQ_NODENAME", format!("bench-{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
        .env("RABBITMQ_LOG_BASE", folder.join("logs"))
        .env("RABBITMQ_SCHEMA_DIR", folder.join("schema"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", folder.join("config"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("none"))
        .env("RABBITMQ_CONF_ENV_FILE", folder.join("none"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", &plugins)
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1}",
        );
    if let Some(user) = user {
        user.run(&mut command);
    }
    let server = Server::start(command, &folder, port, Signal::TERM)?;
    let address = format!("amqp://127.0.0.1:{port}/%2f");
    let connection = Connection::connect(&address, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(QUEUE.into(), options, arguments)
        .await?;
    Ok(Box::new(RabbitMq {
        server,
        connection,
        _names: daemon,
    }))
}

impl Drop for Names {
    fn drop(&mut self) {
        // The folder goes with the run, and nobody else knows this daemon.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Peer for RabbitMq {
    fn about(&self) -> About {
        About {
            settings: "rabbitmq-server of Debian, quorum queue on one node, publisher confirms, a channel for each caller; prefetch of 16, acks are not confirmed".to_owned(),
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        Box::pin(async {
            let channel = self.connection.create_channel().await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            Ok(Box::new(Caller(channel)) as Box<dyn Producer>)
        })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let mut tasks = Vec::new();
            for _ in 0..count {
                let channel = self.connection.create_channel().await?;
                channel.basic_qos(16, BasicQosOptions::default()).await?;
                let options = BasicConsumeOptions::default();
                let table = FieldTable::default();
                let mut jobs = channel
                    .basic_consume(QUEUE.into(), "".into(), options, table)
                    .await?;
                let done = Arc::clone(&done);
                tasks.push(Aborted(tokio::spawn(async move {
                    let _channel = channel;
                    while let Some(Ok(job)) = jobs.next().await {
                        if job.ack(BasicAckOptions::default()).await.is_err() {
                            return;
                        }
                        done.fetch_add(1, Relaxed);
                    }
                })));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Workers::pushed(Box::new(tasks)))
        })
    }
}

/// A task that ends with this.
struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            let confirm = self
                .0
                .basic_publish(
                    "".into(),
                    QUEUE.into(),
                    BasicPublishOptions::default(),
                    &PAYLOAD,
                    BasicProperties::default().with_delivery_mode(2),
                )
                .await?;
            confirm.await?;
            Ok(())
        })
    }
}
