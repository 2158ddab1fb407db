//! effectum, a job queue for Rust programs in SQLite: pushed to workers, completed by the library.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use effectum::{Error, Job, JobRunner, Queue, RunningJob, Worker};
use mq_compare::alone;
use mq_compare::peer::{About, PAYLOAD, Peer, Producer, Work, Workers};

const NAME: &str = "job";

struct Effectum(Arc<Queue>);

struct Caller(Arc<Queue>);

fn main() -> anyhow::Result<()> {
    alone::run(&[("effectum", |folder| Box::pin(open(folder)))])
}

/// Its thread that writes ends outside of a runtime, where its pool of connections panics and says so; by then everything is measured.
async fn open(folder: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let queue = Queue::new(&folder.join("queue.db")).await?;
    Ok(Box::new(Effectum(Arc::new(queue))))
}

impl Peer for Effectum {
    fn about(&self) -> About {
        About {
            settings: "effectum 0.7 as shipped; a job counts when its worker has completed it"
                .to_owned(),
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let caller = Caller(Arc::clone(&self.0));
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let runner = JobRunner::builder(NAME, handle).build();
            let worker = Worker::builder(&self.0, ())
                .max_concurrency(u16::try_from(count)?)
                .jobs([runner])
                .build()
                .await?;
            let counter = counting(worker, done);
            Ok(Workers::pushed(Box::new(counter)))
        })
    }
}

async fn handle(_: RunningJob, _: ()) -> Result<(), Error> {
    Ok(())
}

/// Copies the worker's own count of finished jobs, until dropped.
fn counting(worker: Worker, done: Arc<AtomicU64>) -> Counting {
    Counting(tokio::spawn(async move {
        loop {
            done.store(worker.counts().finished, Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }))
}

struct Counting(tokio::task::JoinHandle<()>);

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            let job = Job::builder(NAME).payload(PAYLOAD.to_vec()).build();
            self.0.add_job(job).await?;
            Ok(())
        })
    }
}
