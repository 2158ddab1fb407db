//! beanstalkd with a binlog that is synced at every write: `put`, `reserve`, `delete` over its text protocol.

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, bail};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::peer::{About, Blocker, Consumer, PAYLOAD, PAYLOAD_SIZE, Peer, Producer, Work, Workers};
use crate::server::{Server, folder, free_port};

struct Beanstalkd {
    server: Server,
    version: String,
}

/// A connection with one command in flight.
struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
}

pub(super) async fn open(parent: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let folder = folder(parent, "data", None)?;
    let port = free_port()?;
    let mut command = Command::new("beanstalkd");
    command
        .args(["-l", "127.0.0.1", "-p", &port.to_string(), "-f0", "-b"])
        .arg(&folder);
    let server = Server::start(command, &folder, port, Signal::TERM)?;
    let mut connection = Connection::open(port).await?;
    let stats = connection.say(b"stats\r\n").await?;
    let size = stats.strip_prefix("OK ").context("no stats")?.parse()?;
    let stats = String::from_utf8(connection.body(size).await?)?;
    let version = stats
        .lines()
        .find_map(|line| line.strip_prefix("version: "))
        .unwrap_or("?")
        .trim_matches('"')
        .to_owned();
    Ok(Box::new(Beanstalkd { server, version }))
}

impl Connection {
    async fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            line: String::new(),
        })
    }

    /// Sends a command and reads the first line of its answer.
    async fn say(&mut self, command: &[u8]) -> anyhow::Result<String> {
        self.stream.get_mut().write_all(command).await?;
        self.line.clear();
        self.stream.read_line(&mut self.line).await?;
        Ok(self.line.trim_end().to_owned())
    }

    /// Reads the body behind such a line.
    async fn body(&mut self, size: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = vec![0; size + 2];
        self.stream.read_exact(&mut body).await?;
        body.truncate(size);
        Ok(body)
    }
}

fn put() -> Vec<u8> {
    let mut command = format!("put 1024 0 60 {PAYLOAD_SIZE}\r\n").into_bytes();
    command.extend_from_slice(&PAYLOAD);
    command.extend_from_slice(b"\r\n");
    command
}

fn check_put(answer: &str) -> anyhow::Result<()> {
    if !answer.starts_with("INSERTED") {
        bail!("put was answered with {answer:?}");
    }
    Ok(())
}

/// The same from a thread that blocks.
fn blocker(port: u16) -> anyhow::Result<Blocker> {
    let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    let mut stream = std::io::BufReader::new(stream);
    let mut line = String::new();
    Ok(Box::new(move || {
        stream.get_mut().write_all(&put())?;
        line.clear();
        stream.read_line(&mut line)?;
        check_put(&line)
    }))
}

impl Peer for Beanstalkd {
    fn about(&self) -> About {
        About {
            settings: format!(
                "beanstalkd {} -f0; a connection for each caller",
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
            let connection = Connection::open(self.server.port).await?;
            Ok(Box::new(connection) as Box<dyn Producer>)
        })
    }

    fn blocker(&self) -> Work<'_, Blocker> {
        Box::pin(async { blocker(self.server.port) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let mut consumers: Vec<Box<dyn Consumer>> = Vec::new();
            for _ in 0..count {
                consumers.push(Box::new(Connection::open(self.server.port).await?));
            }
            Ok(Workers::pulling(consumers, &done))
        })
    }
}

impl Producer for Connection {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            let answer = self.say(&put()).await?;
            check_put(&answer)
        })
    }
}

impl Consumer for Connection {
    fn job(&mut self) -> Work<'_, u64> {
        Box::pin(async {
            let answer = self.say(b"reserve-with-timeout 1\r\n").await?;
            if answer == "TIMED_OUT" {
                return Ok(0);
            }
            let mut words = answer.split(' ').skip(1);
            let id = words.next().context("reserve without an id")?.to_owned();
            let size = words.next().context("reserve without a size")?.parse()?;
            self.body(size).await?;
            let answer = self.say(format!("delete {id}\r\n").as_bytes()).await?;
            if answer != "DELETED" {
                bail!("delete was answered with {answer:?}");
            }
            Ok(1)
        })
    }
}
