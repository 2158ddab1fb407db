//! Settings of one handler, and what may be wrong with them.

use std::ops::RangeInclusive;
use std::time::Duration;

use mq_core::limits::{LEASE_DEFAULT, LEASE_RANGE, PARALLELISM_MAX, TIMEOUT_DEFAULT};
use mq_core::retry::RetryPolicy;
use tower::{BoxError, Layer, Service};

use crate::layer::{AnyLayer, AttemptRequest, AttemptResponse, AttemptService};
use crate::problem::Fault;
use crate::retry::Retry;

/// Stands for "as many as twice the cores of the machine", and any number by scaling.
pub const PARALLELISM_BY_CORES: RangeInclusive<usize> = 1..=usize::MAX;

/// Renewals per lease: one may be late without the lease running out.
const RENEWALS_PER_LEASE: u32 = 3;

/// Settings of one handler; what is not set has the default of the whole engine.
#[must_use]
#[derive(Clone, Debug)]
pub struct HandlerOptions {
    parallelism: RangeInclusive<usize>,
    timeout: Duration,
    retry: Retry,
    lease: Duration,
    pub(crate) queue: Option<String>,
    pub(crate) layers: Vec<AnyLayer>,
    pub(crate) pool: Option<String>,
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self {
            parallelism: PARALLELISM_BY_CORES,
            timeout: TIMEOUT_DEFAULT,
            retry: Retry::default(),
            lease: LEASE_DEFAULT,
            queue: None,
            layers: Vec::new(),
            pool: None,
        }
    }
}

impl HandlerOptions {
    /// How many run at once: the end of the range to begin with, and no more or less than the range by scaling.
    /// Within 1 to [`PARALLELISM_MAX`].
    pub fn parallelism(mut self, range: RangeInclusive<usize>) -> Self {
        self.parallelism = range;
        self
    }

    /// Time limit of one attempt, then it has failed; [`Duration::MAX`] for none. 5 minutes by default.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How often and how soon failures are tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// How long a message stays with a program that no longer renews its lease: 1 second to 12 hours, 30 seconds by
    /// default. It is renewed three times as often while the handler lives.
    pub fn lease(mut self, duration: Duration) -> Self {
        self.lease = duration;
        self
    }

    /// Only messages of this queue; of all queues by default.
    pub fn queue(mut self, name: &str) -> Self {
        self.queue = Some(name.to_owned());
        self
    }

    /// Shares the workers of a pool with its other handlers: no more messages of all of them together run at once than
    /// [`crate::WorkersBuilder::pool`] says, the most urgent ones first. The pool's parallelism and lease are those of
    /// its handlers; each has time limit, retry and layers of its own.
    pub fn pool(mut self, name: &str) -> Self {
        self.pool = Some(name.to_owned());
        self
    }

    /// Whether it says what only a pool of its own can have.
    pub(crate) fn has_size(&self) -> bool {
        self.parallelism != PARALLELISM_BY_CORES || self.lease != LEASE_DEFAULT
    }

    /// Puts a tower layer around this handler, inside those of [`crate::WorkersBuilder::layer`].
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<AttemptService> + Send + Sync + 'static,
        L::Service: Service<AttemptRequest, Response = AttemptResponse> + Clone + Send + 'static,
        <L::Service as Service<AttemptRequest>>::Error: Into<BoxError>,
        <L::Service as Service<AttemptRequest>>::Future: Send + 'static,
    {
        self.layers.push(AnyLayer::new(layer));
        self
    }

    /// What the pool works with, with everything wrong with it added to `faults`.
    pub(crate) fn settings(&self, cores: usize, faults: &mut Vec<Fault>) -> Settings {
        let (start, end) = (*self.parallelism.start(), *self.parallelism.end());
        let max = usize::try_from(PARALLELISM_MAX).unwrap_or(usize::MAX);
        let by_cores = self.parallelism == PARALLELISM_BY_CORES;
        if !by_cores && (start == 0 || start > end || end > max) {
            faults.push(Fault::Parallelism { start, end });
        }
        if self.timeout.is_zero() {
            faults.push(Fault::Timeout);
        }
        let (shortest, longest) = LEASE_RANGE;
        if self.lease < shortest || self.lease > longest {
            faults.push(Fault::Lease { given: self.lease });
        }
        let end = end.min(max);
        let limit = if by_cores {
            cores.saturating_mul(2).clamp(1, max)
        } else {
            end
        };
        Settings {
            scale: narrow(start)..=narrow(end),
            limit: narrow(limit),
            timeout: Some(self.timeout).filter(|limit| *limit != Duration::MAX),
            retry: self.retry.policy(),
            lease: self.lease,
            renewal: self.lease / RENEWALS_PER_LEASE,
        }
    }
}

/// Settings of a pool that several handlers share.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct PoolOptions(HandlerOptions);

impl PoolOptions {
    /// How many messages of all its handlers run at once: the end of the range to begin with, and no more or less than
    /// the range by scaling. Within 1 to [`PARALLELISM_MAX`].
    pub fn parallelism(self, range: RangeInclusive<usize>) -> Self {
        Self(self.0.parallelism(range))
    }

    /// See [`HandlerOptions::lease`].
    pub fn lease(self, duration: Duration) -> Self {
        Self(self.0.lease(duration))
    }

    pub(crate) fn settings(&self, cores: usize, faults: &mut Vec<Fault>) -> Settings {
        self.0.settings(cores, faults)
    }
}

fn narrow(workers: usize) -> u32 {
    u32::try_from(workers).unwrap_or(PARALLELISM_MAX)
}

/// Checked settings of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Within which it can be scaled.
    pub(crate) scale: RangeInclusive<u32>,
    /// How many run at once to begin with.
    pub(crate) limit: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: RetryPolicy,
    pub(crate) lease: Duration,
    pub(crate) renewal: Duration,
}
