//! mq itself, through its public interface, with default options but for room.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use mq::{Engine, Fail, HandlerOptions, NewMessage};
use mq_benches::store::CAPACITY;
use mq_core::command::Selector;

use crate::peer::{About, Blocker, PAYLOAD, Peer, Producer, Work, Workers};

const NAME: &str = "bench";

struct Mq(Engine);

struct Caller(Engine, NewMessage);

pub(super) async fn open(folder: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let builder = Engine::builder(folder.join("store")).capacity(CAPACITY);
    Ok(Box::new(Mq(builder.open().await?)))
}

impl Peer for Mq {
    fn about(&self) -> About {
        About {
            settings: "default options but for room; a handler is free when its ack is written, a job counts when its ack is synced".to_owned(),
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        Box::pin(async { Ok(Box::new(Caller(self.0.clone(), message()?)) as Box<dyn Producer>) })
    }

    fn blocker(&self) -> Work<'_, Blocker> {
        let engine = self.0.clone();
        Box::pin(async {
            let message = message()?;
            Ok(Box::new(move || {
                engine.enqueue_raw(message.clone()).wait()?;
                Ok(())
            }) as Blocker)
        })
    }

    fn close(self: Box<Self>) -> Work<'static, ()> {
        Box::pin(async move { Ok(self.0.close().await?) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let selector = Selector {
                queue: Some(NAME.parse()?),
                kind: None,
            };
            let options = HandlerOptions::default().parallelism(1..=count);
            let workers = self
                .0
                .workers()
                .handle_raw(selector, options, |_, _| async { Ok::<(), Fail>(()) })
                .start()?;
            let counter = tokio::spawn(count_acks(self.0.clone(), done));
            Ok(Workers::pushed(Box::new((workers, Ends(counter)))))
        })
    }
}

fn message() -> anyhow::Result<NewMessage> {
    let payload = Bytes::from_static(&PAYLOAD);
    Ok(NewMessage::new(NAME.parse()?, NAME.parse()?, payload))
}

/// Counts jobs as they leave the store: what the engine says of succeeded messages, after a sync that covers them.
async fn count_acks(engine: Engine, done: Arc<AtomicU64>) {
    loop {
        let succeeded = succeeded(&engine);
        if engine.sync().await.is_err() {
            return;
        }
        done.store(succeeded, Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

fn succeeded(engine: &Engine) -> u64 {
    engine.stats().outcomes.first().copied().unwrap_or_default()
}

struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            self.0.enqueue_raw(self.1.clone()).await?;
            Ok(())
        })
    }
}
