//! Settings of one handler, and what may be wrong with them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use mq_core::limits::{LEASE_DEFAULT, LEASE_RANGE, PARALLELISM_MAX, TIMEOUT_DEFAULT};
use mq_core::name::QueueName;
use mq_core::retry::RetryPolicy;
use tower::{BoxError, Layer, Service};

use crate::defaults::ByQueue;
use crate::layer::{AnyLayer, AttemptRequest, AttemptResponse, AttemptService};
use crate::problem::Fault;
use crate::retry::Retry;

/// Stands for "as many as twice the cores of the machine", and any number by scaling.
pub const PARALLELISM_BY_CORES: RangeInclusive<usize> = 1..=usize::MAX;

/// Renewals per lease: one may be late without the lease running out.
const RENEWALS_PER_LEASE: u32 = 3;

/// Settings of one handler. What is not set comes from [`crate::WorkersBuilder::queue`], else from
/// [`crate::WorkersBuilder::defaults`], else it has the engine's default.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct HandlerOptions {
    parallelism: Option<RangeInclusive<usize>>,
    timeout: Option<Duration>,
    retry: Option<Retry>,
    lease: Option<Duration>,
    pub(crate) queue: Option<String>,
    pub(crate) layers: Vec<AnyLayer>,
    pub(crate) pool: Option<String>,
}

impl HandlerOptions {
    /// How many run at once: the end of the range to begin with, and no more or less than the range by scaling.
    /// Within 1 to [`PARALLELISM_MAX`].
    pub fn parallelism(mut self, range: RangeInclusive<usize>) -> Self {
        self.parallelism = Some(range);
        self
    }

    /// Time limit of one attempt, then it has failed; [`Duration::MAX`] for none. 5 minutes by default.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// How often and how soon failures are tried again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// How long a message stays with a program that no longer renews its lease: 1 second to 12 hours, 30 seconds by
    /// default. It is renewed three times as often while the handler lives.
    pub fn lease(mut self, duration: Duration) -> Self {
        self.lease = Some(duration);
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
        self.parallelism.is_some() || self.lease.is_some()
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
        let parallelism = self.parallelism.as_ref().unwrap_or(&PARALLELISM_BY_CORES);
        let (start, end) = (*parallelism.start(), *parallelism.end());
        let max = usize::try_from(PARALLELISM_MAX).unwrap_or(usize::MAX);
        let by_cores = *parallelism == PARALLELISM_BY_CORES;
        if !by_cores && (start == 0 || start > end || end > max) {
            faults.push(Fault::Parallelism { start, end });
        }
        if self.timeout.is_some_and(|limit| limit.is_zero()) {
            faults.push(Fault::Timeout);
        }
        let (shortest, longest) = LEASE_RANGE;
        let lease = self.lease.unwrap_or(LEASE_DEFAULT);
        if lease < shortest || lease > longest {
            faults.push(Fault::Lease { given: lease });
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
            timeout: self.time_limit(),
            retry: self.retry_policy(),
            by_queue: BTreeMap::new(),
            lease,
            renewal: lease / RENEWALS_PER_LEASE,
        }
    }

    /// These settings, and those of `other` where nothing is set; the layers of both, those of `other` outside.
    pub(crate) fn or(self, other: &Self) -> Self {
        Self {
            parallelism: self.parallelism.or_else(|| other.parallelism.clone()),
            timeout: self.timeout.or(other.timeout),
            retry: self.retry.or(other.retry),
            lease: self.lease.or(other.lease),
            queue: self.queue,
            layers: [other.layers.clone(), self.layers].concat(),
            pool: self.pool,
        }
    }

    /// How failures are tried again.
    pub(crate) fn retry_policy(&self) -> RetryPolicy {
        self.retry.unwrap_or_default().policy()
    }

    /// The time limit of one attempt; `None` for none.
    pub(crate) fn time_limit(&self) -> Option<Duration> {
        let limit = self.timeout.unwrap_or(TIMEOUT_DEFAULT);
        Some(limit).filter(|limit| *limit != Duration::MAX)
    }

    /// The settings of a [`crate::Handler`]; what is the trait's default counts as not set.
    pub(crate) fn of_trait(
        parallelism: RangeInclusive<usize>,
        timeout: Duration,
        retry: Retry,
    ) -> Self {
        Self {
            parallelism: Some(parallelism).filter(|range| *range != PARALLELISM_BY_CORES),
            timeout: Some(timeout).filter(|limit| *limit != TIMEOUT_DEFAULT),
            retry: Some(retry).filter(|retry| *retry != Retry::default()),
            ..Self::default()
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
    /// What differs for messages in these queues.
    pub(crate) by_queue: BTreeMap<QueueName, ByQueue>,
    pub(crate) lease: Duration,
    pub(crate) renewal: Duration,
}

impl Settings {
    /// How a failure of a message in `queue` is tried again.
    pub(crate) fn retry_in(&self, queue: &QueueName) -> RetryPolicy {
        let by_queue = self.by_queue.get(queue);
        by_queue.map_or(self.retry, |by_queue| by_queue.retry)
    }

    /// The time limit of an attempt at a message in `queue`.
    pub(crate) fn timeout_in(&self, queue: &QueueName) -> Option<Duration> {
        let by_queue = self.by_queue.get(queue);
        by_queue.map_or(self.timeout, |by_queue| by_queue.timeout)
    }

    /// The shortest time limit that an attempt can have.
    pub(crate) fn timeout_min(&self) -> Option<Duration> {
        let others = self
            .by_queue
            .values()
            .filter_map(|by_queue| by_queue.timeout);
        others.chain(self.timeout).min()
    }
}
