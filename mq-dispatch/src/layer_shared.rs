//! A layer whose service cannot be cloned, such as tower's rate limit, made usable around handlers.
//!
//! All clones take turns at the one service: who has the turn polls it until it is ready and calls it. So one message
//! at most waits for a service that is not ready, and the store keeps all others.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

/// Lets a layer whose service is not `Clone` stand around handlers.
///
/// ```
/// use mq_dispatch::SharedLayer;
/// use std::time::Duration;
/// # use tower::limit::RateLimitLayer;
///
/// let ten_per_second = SharedLayer::new(RateLimitLayer::new(10, Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SharedLayer<L>(L);

impl<L> SharedLayer<L> {
    /// Around this layer.
    pub fn new(layer: L) -> Self {
        Self(layer)
    }
}

impl<S, L: Layer<S>> Layer<S> for SharedLayer<L> {
    type Service = SharedService<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        SharedService {
            service: Arc::new(Mutex::new(self.0.layer(inner))),
            turns: Arc::new(Semaphore::new(1)),
            turn: Turn::NotAsked,
        }
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

enum Turn {
    NotAsked,
    Asked(Asked),
    Had(OwnedSemaphorePermit),
}

/// One of the clones that take turns at a service.
pub struct SharedService<S> {
    service: Arc<Mutex<S>>,
    turns: Arc<Semaphore>,
    turn: Turn,
}

impl<R, S: Service<R>> Service<R> for SharedService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        loop {
            match &mut self.turn {
                Turn::NotAsked => {
                    let asked = Arc::clone(&self.turns).acquire_owned();
                    self.turn = Turn::Asked(Box::pin(asked));
                }
                Turn::Asked(asked) => match ready!(asked.as_mut().poll(context)) {
                    Ok(turn) => self.turn = Turn::Had(turn),
                    // Nobody closes the semaphore.
                    Err(AcquireError { .. }) => self.turn = Turn::NotAsked,
                },
                Turn::Had(_) => return self.service.lock().poll_ready(context),
            }
        }
    }

    fn call(&mut self, request: R) -> S::Future {
        let answer = self.service.lock().call(request);
        if let Turn::Had(turn) = std::mem::replace(&mut self.turn, Turn::NotAsked) {
            drop(turn);
        }
        answer
    }
}

impl<S> Clone for SharedService<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            turns: Arc::clone(&self.turns),
            turn: Turn::NotAsked,
        }
    }
}

impl<S> fmt::Debug for SharedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedService").finish_non_exhaustive()
    }
}
