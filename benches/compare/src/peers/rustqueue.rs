//! rustqueue, a job queue for Rust programs, with its redb store: each push, pull and ack is a transaction.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustqueue::RustQueue;
use rustqueue::storage::BufferedRedbConfig;
use serde_json::json;

use crate::peer::{About, Consumer, LOOK_AGAIN, PAYLOAD, Peer, Producer, Work, Workers};

const NAME: &str = "jobs";

struct Redb(RustQueue, bool);

struct Caller(RustQueue, String);

/// As it ships, or with pushes and acks of a millisecond in one transaction.
pub(super) async fn open(folder: &Path, coalesces: bool) -> anyhow::Result<Box<dyn Peer>> {
    let mut builder = RustQueue::redb(folder.join("queue.redb"))?;
    if coalesces {
        builder = builder.with_write_coalescing(BufferedRedbConfig {
            interval_ms: 1,
            max_batch: 64,
        });
    }
    Ok(Box::new(Redb(builder.build()?, coalesces)))
}

impl Redb {
    fn caller(&self) -> Caller {
        Caller(
            self.0.clone(),
            String::from_utf8_lossy(&PAYLOAD).into_owned(),
        )
    }
}

impl Peer for Redb {
    fn about(&self) -> About {
        About {
            settings: if self.1 {
                "rustqueue 0.3, RustQueue::redb, write coalescing of 1 ms or 64".to_owned()
            } else {
                "rustqueue 0.3, RustQueue::redb as it ships".to_owned()
            },
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let caller = self.caller();
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        let consumers = (0..count)
            .map(|_| Box::new(self.caller()) as Box<dyn Consumer>)
            .collect();
        Box::pin(async move { Ok(Workers::pulling(consumers, &done)) })
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            self.0.push(NAME, "job", json!(self.1), None).await?;
            Ok(())
        })
    }
}

impl Consumer for Caller {
    fn job(&mut self) -> Work<'_, u64> {
        Box::pin(async {
            let jobs = self.0.pull(NAME, 1).await?;
            if jobs.is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            let mut count = 0;
            for job in jobs {
                self.0.ack(job.id, None).await?;
                count += 1;
            }
            Ok(count)
        })
    }
}
