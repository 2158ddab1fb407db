//! yaque, a queue in files for one sender and one receiver, which writes and does not sync. Callers share the ends.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Mutex;
use yaque::{Receiver, Sender};

use crate::peer::{About, Consumer, PAYLOAD, Peer, Producer, Work, Workers};

struct Yaque {
    sender: Arc<Mutex<Sender>>,
    receiver: Arc<Mutex<Receiver>>,
}

struct Caller(Arc<Mutex<Sender>>);

struct Taker(Arc<Mutex<Receiver>>);

pub(super) async fn open(folder: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let (sender, receiver) = yaque::channel(folder.join("queue"))?;
    Ok(Box::new(Yaque {
        sender: Arc::new(Mutex::new(sender)),
        receiver: Arc::new(Mutex::new(receiver)),
    }))
}

impl Peer for Yaque {
    fn about(&self) -> About {
        About {
            settings: "yaque 0.6; one sender behind a lock, one receiver".to_owned(),
            synced: false,
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let caller = Caller(Arc::clone(&self.sender));
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    /// One, whatever was asked for: there is one receiver.
    fn workers(&self, _: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        let consumers = vec![Box::new(Taker(Arc::clone(&self.receiver))) as Box<dyn Consumer>];
        Box::pin(async move { Ok(Workers::pulling(consumers, &done)) })
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            self.0.lock().await.send(PAYLOAD).await?;
            Ok(())
        })
    }
}

impl Consumer for Taker {
    fn job(&mut self) -> Work<'_, u64> {
        Box::pin(async {
            let mut receiver = self.0.lock().await;
            let limit = tokio::time::sleep(Duration::from_millis(200));
            let Some(message) = receiver.recv_timeout(Box::pin(limit)).await? else {
                return Ok(0);
            };
            message.commit()?;
            Ok(1)
        })
    }
}
