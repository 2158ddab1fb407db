//! Ready services for a pool whose handler has layers: a message is asked for only when one of them can take it.
//!
//! tower's rule is that a service that has become ready stays so until it is called or dropped, and that what readiness
//! stands for (a place under a limit) is taken from then on. So each permit that the store has is backed by one ready
//! clone here. Clones that are not needed (the pool is paused, scaled down, stopped) are dropped, which gives their
//! places back.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tower::Service;

use crate::failure;
use crate::layer::AttemptService;

/// How long a service that failed to become ready is left alone.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

struct State {
    /// Cloned for each message.
    original: AttemptService,
    ready: Vec<AttemptService>,
    wanted: usize,
    closed: bool,
    broken: Option<String>,
}

pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

impl Gate {
    pub(crate) fn new(original: AttemptService) -> Arc<Self> {
        let state = State {
            original,
            ready: Vec::new(),
            wanted: 0,
            closed: false,
            broken: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    /// A service that is ready; it is to be called.
    pub(crate) fn take(&self) -> Option<AttemptService> {
        self.state.lock().ready.pop()
    }

    /// Has so many services ready from now on, as soon as they are; answers how many are. What is given back is to be
    /// dropped, without any lock held.
    #[must_use]
    pub(crate) fn want(&self, wanted: u32) -> (u32, Vec<AttemptService>) {
        let mut state = self.state.lock();
        state.wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let kept = state.ready.len().min(state.wanted);
        let surplus = state.ready.split_off(kept);
        drop(state);
        self.changed.notify_one();
        (u32::try_from(kept).unwrap_or(u32::MAX), surplus)
    }

    /// Lets everything go.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.wanted = 0;
        let ready = std::mem::take(&mut state.ready);
        drop(state);
        drop(ready);
        self.changed.notify_one();
    }

    /// What a layer said when it could not become ready, while it cannot.
    pub(crate) fn broken(&self) -> Option<String> {
        self.state.lock().broken.clone()
    }

    /// Makes services ready as long as some are wanted, and calls `more` for each.
    pub(crate) async fn keep(self: Arc<Self>, more: impl Fn()) {
        loop {
            let changed = self.changed.notified();
            let next = {
                let state = self.state.lock();
                if state.closed {
                    return;
                }
                (state.ready.len() < state.wanted).then(|| state.original.clone())
            };
            match next {
                Some(service) => {
                    if self.make_ready(service).await {
                        more();
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Waits until the service is ready or no longer wanted; answers whether there is one more.
    async fn make_ready(&self, mut service: AttemptService) -> bool {
        let became = loop {
            let changed = self.changed.notified();
            if !self.wants_more() {
                return false;
            }
            tokio::select! {
                became = poll_fn(|context| service.poll_ready(context)) => break became,
                () = changed => {}
            }
        };
        match became {
            Ok(()) => {
                let mut state = self.state.lock();
                state.broken = None;
                if state.closed {
                    return false;
                }
                state.ready.push(service);
                true
            }
            Err(error) => {
                let text = failure::chain(error.as_ref());
                tracing::error!(error = text, "a layer around a handler cannot become ready");
                self.state.lock().broken = Some(text);
                tokio::time::sleep(BROKEN_PAUSE).await;
                false
            }
        }
    }

    fn wants_more(&self) -> bool {
        let state = self.state.lock();
        state.ready.len() < state.wanted
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("ready", &self.state.lock().ready.len())
            .finish_non_exhaustive()
    }
}
