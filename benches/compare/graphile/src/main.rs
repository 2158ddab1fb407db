//! graphile_worker, jobs for Rust programs in PostgreSQL, with the settings that its documentation gives for throughput: a local
//! queue that fetches many jobs at once, and completions in batches.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use graphile_worker::{
    IntoTaskHandlerResult, JobComplete, JobSpec, LocalQueueConfig, TaskHandler, Worker,
    WorkerContext, WorkerOptions, WorkerUtils,
};
use mq_compare::alone;
use mq_compare::peer::{About, PAYLOAD, Peer, Producer, Work, Workers};
use mq_compare::postgresql::{self, CONNECTIONS};
use mq_compare::server::Server;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// Jobs that the local queue fetches at once.
const LOCAL_QUEUE: usize = 500;
/// How long completions are collected.
const COMPLETION_DELAY: Duration = Duration::from_millis(1);

#[derive(Clone, Deserialize, Serialize)]
struct Job {
    payload: String,
}

impl TaskHandler for Job {
    const IDENTIFIER: &'static str = "job";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        Ok::<(), String>(())
    }
}

struct Graphile {
    server: Server,
    pool: PgPool,
    utils: WorkerUtils,
}

struct Caller(WorkerUtils, Job);

fn main() -> anyhow::Result<()> {
    alone::run(&[("graphile_worker", |folder| Box::pin(open(folder)))])
}

async fn open(folder: &Path) -> anyhow::Result<Box<dyn Peer>> {
    let server = postgresql::start(folder)?;
    let address = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(server.port)
        .username(postgresql::USER)
        .database(postgresql::DATABASE);
    // It waits by itself until the server lets somebody in.
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(30))
        .connect_with(address)
        .await?;
    let utils = options(&pool).init().await?.create_utils();
    Ok(Box::new(Graphile {
        server,
        pool,
        utils,
    }))
}

fn options(pool: &PgPool) -> WorkerOptions {
    WorkerOptions::default()
        .define_job::<Job>()
        .listen_os_shutdown_signals(false)
        .pg_pool(pool.clone())
}

impl Peer for Graphile {
    fn about(&self) -> About {
        let milliseconds = COMPLETION_DELAY.as_millis();
        About {
            settings: format!(
                "graphile_worker 0.14 on PostgreSQL with default settings, {CONNECTIONS} connections, local queue of {LOCAL_QUEUE}, completions in batches of {milliseconds} ms; a job counts when its completion is committed"
            ),
            synced: true,
        }
    }

    fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }

    fn producer(&self) -> Work<'_, Box<dyn Producer>> {
        let payload = String::from_utf8_lossy(&PAYLOAD).into_owned();
        let caller = Caller(self.utils.clone(), Job { payload });
        Box::pin(async { Ok(Box::new(caller) as Box<dyn Producer>) })
    }

    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers> {
        Box::pin(async move {
            let worker = options(&self.pool)
                .concurrency(count)
                .local_queue(LocalQueueConfig::default().with_size(LOCAL_QUEUE))
                .complete_job_batch_delay(COMPLETION_DELAY)
                .on(JobComplete, move |_| {
                    done.fetch_add(1, Relaxed);
                    std::future::ready(())
                })
                .init()
                .await?;
            let worker = Arc::new(worker);
            let running = Arc::clone(&worker);
            tokio::spawn(async move { running.run().await });
            Ok(Workers::pushed(Box::new(Running(worker))))
        })
    }
}

/// A worker that runs until this is dropped.
struct Running(Arc<Worker>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.request_shutdown();
    }
}

impl Producer for Caller {
    fn enqueue(&mut self) -> Work<'_, ()> {
        Box::pin(async {
            self.0.add_job(self.1.clone(), JobSpec::default()).await?;
            Ok(())
        })
    }
}
