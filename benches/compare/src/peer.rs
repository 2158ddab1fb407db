//! What a peer is: something that takes a payload and says when it is safe, and hands it out until it is acked.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Bytes of every payload.
pub const PAYLOAD_SIZE: usize = 256;
/// The payload.
pub static PAYLOAD: [u8; PAYLOAD_SIZE] = [b'x'; PAYLOAD_SIZE];
/// How long a consumer that finds nothing waits before it looks again, where the peer cannot wait by itself.
pub const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Work that a peer does for the race.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + Send + 'a>>;

/// Opens a peer in a folder.
pub type Open = for<'a> fn(&'a Path) -> Work<'a, Box<dyn Peer>>;

/// Enqueues the payload and blocks until the peer says that it is safe.
pub type Blocker = Box<dyn FnMut() -> anyhow::Result<()> + Send>;

/// What a peer says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Version and settings.
    pub settings: String,
    /// An answered enqueue is synced, as it says.
    pub synced: bool,
}

/// A queue in the race.
pub trait Peer: Send + Sync {
    /// What it is.
    fn about(&self) -> About;

    /// The processes that store: their syncs are counted. This process is one of them for a library.
    fn processes(&self) -> Vec<u32>;

    /// One more caller.
    fn producer(&self) -> Work<'_, Box<dyn Producer>>;

    /// A caller for a thread that blocks: by default one of those for tasks, driven on that thread.
    fn blocker(&self) -> Work<'_, Blocker> {
        Box::pin(async {
            let (mut producer, runtime) = (self.producer().await?, Handle::current());
            Ok(Box::new(move || runtime.block_on(producer.enqueue())) as Blocker)
        })
    }

    /// Ends it, where dropping it is not enough.
    fn close(self: Box<Self>) -> Work<'static, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Starts so many handlers that do nothing, and counts each job whose ack was confirmed, where the peer confirms acks.
    fn workers(&self, count: usize, done: Arc<AtomicU64>) -> Work<'_, Workers>;
}

/// One caller: it has one enqueue in flight.
pub trait Producer: Send {
    /// Enqueues the payload; ready when the peer says that it is safe.
    fn enqueue(&mut self) -> Work<'_, ()>;
}

/// One consumer that asks for work.
pub trait Consumer: Send + 'static {
    /// Waits a little for a job, does nothing, acks it; says how many were done.
    fn job(&mut self) -> Work<'_, u64>;
}

/// Handlers at work; they end with this.
pub struct Workers {
    ends: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
    /// What else has to live as long.
    keeps: Vec<Box<dyn std::any::Any + Send>>,
}

impl Workers {
    /// Lets each consumer ask for work, again and again.
    #[must_use]
    pub fn pulling(consumers: Vec<Box<dyn Consumer>>, done: &Arc<AtomicU64>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let tasks = consumers
            .into_iter()
            .map(|mut consumer| {
                let (ends, done) = (Arc::clone(&ends), Arc::clone(done));
                tokio::spawn(async move {
                    while !ends.load(Relaxed) {
                        done.fetch_add(consumer.job().await?, Relaxed);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        Self {
            ends,
            tasks,
            keeps: Vec::new(),
        }
    }

    /// Handlers that the peer calls by itself; they end when `keeps` is dropped.
    #[must_use]
    pub fn pushed(keeps: Box<dyn std::any::Any + Send>) -> Self {
        Self {
            ends: Arc::default(),
            tasks: Vec::new(),
            keeps: vec![keeps],
        }
    }

    /// Whether a consumer has ended, which it should not while the race is on; its error then.
    ///
    /// # Errors
    /// What the consumer met.
    pub async fn check(&mut self) -> anyhow::Result<()> {
        while let Some(place) = self.tasks.iter().position(JoinHandle::is_finished) {
            self.tasks.swap_remove(place).await??;
        }
        Ok(())
    }

    /// Ends them, each after the job it has.
    ///
    /// # Errors
    /// What a consumer met.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.ends.store(true, Relaxed);
        for task in self.tasks.drain(..) {
            tokio::time::timeout(Duration::from_secs(10), task).await???;
        }
        drop(self.keeps);
        Ok(())
    }
}
