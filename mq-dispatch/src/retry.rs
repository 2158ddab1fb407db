//! How often and how soon a handler's failures are tried again, in the words of users.

use std::ops::RangeInclusive;
use std::time::Duration;

use mq_core::limits::FAILURES_UNLIMITED;
use mq_core::retry::{Backoff, RetryPolicy};

/// Failure budget and back-off of a handler. By default 20 attempts, exponential from 1 second to 5 minutes.
///
/// ```
/// use mq_dispatch::Retry;
/// use std::time::Duration;
///
/// let retry = Retry::exponential(Duration::from_secs(1)..=Duration::from_secs(600)).max_attempts(8);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry(RetryPolicy);

impl Retry {
    /// The first failure is the last.
    #[must_use]
    pub fn never() -> Self {
        Self::immediately().max_attempts(1)
    }

    /// Again at once.
    #[must_use]
    pub fn immediately() -> Self {
        Self::with(Backoff::None)
    }

    /// Always after the same delay.
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        Self::with(Backoff::Fixed(delay))
    }

    /// The first delay, then twice, three times as long and so on, up to the last; ±10 %.
    #[must_use]
    pub fn linear(delays: RangeInclusive<Duration>) -> Self {
        let (first, max) = delays.into_inner();
        Self::with(Backoff::Linear { first, max })
    }

    /// The first delay, then twice as long each time, up to the last; ±10 %.
    #[must_use]
    pub fn exponential(delays: RangeInclusive<Duration>) -> Self {
        let (first, max) = delays.into_inner();
        Self::with(Backoff::Exponential { first, max })
    }

    /// How many attempts may fail before the message goes dead: 1 to 1000.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.0.failures_max = attempts;
        self
    }

    /// Failures never make the message go dead.
    #[must_use]
    pub fn unlimited_attempts(mut self) -> Self {
        self.0.failures_max = FAILURES_UNLIMITED;
        self
    }

    /// As the rules take it.
    #[must_use]
    pub const fn policy(&self) -> RetryPolicy {
        self.0
    }

    fn with(backoff: Backoff) -> Self {
        Self(RetryPolicy {
            backoff,
            ..RetryPolicy::default()
        })
    }
}

impl From<RetryPolicy> for Retry {
    fn from(policy: RetryPolicy) -> Self {
        Self(policy)
    }
}
