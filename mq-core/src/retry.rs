//! When a failed message is tried again: a pure function of policy, failures and recorded randomness.

use std::time::Duration;

use crate::limits::{
    BACKOFF_RANGE_DEFAULT, FAILURES_DEFAULT, FAILURES_MAX, FAILURES_UNLIMITED, JITTER_PERCENT,
};

/// How the delay grows from failure to failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backoff {
    /// At once.
    None,
    /// Always the same delay.
    Fixed(Duration),
    /// `first × failures`, at most `max`.
    Linear {
        /// Delay after the first failure.
        first: Duration,
        /// The longest delay.
        max: Duration,
    },
    /// `first × 2^(failures − 1)`, at most `max`.
    Exponential {
        /// Delay after the first failure.
        first: Duration,
        /// The longest delay.
        max: Duration,
    },
}

impl Backoff {
    /// Delay before the next attempt after `failures` failures (1 or more), without jitter.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let grown = |first: Duration, factor: u32, max: Duration| {
            first
                .checked_mul(factor)
                .map_or(max, |delay| delay.min(max))
        };
        match *self {
            Self::None => Duration::ZERO,
            Self::Fixed(delay) => delay,
            Self::Linear { first, max } => grown(first, failures.max(1), max),
            Self::Exponential { first, max } => {
                let factor = 1u32.checked_shl(failures.max(1) - 1).unwrap_or(u32::MAX);
                grown(first, factor, max)
            }
        }
    }

    /// [`Backoff::delay`] moved by up to ±[`JITTER_PERCENT`] per cent, chosen by `random` (any 64 bits), so that
    /// messages that failed together do not come back together. [`Backoff::None`] and [`Backoff::Fixed`] have no jitter.
    #[must_use]
    pub fn jittered(&self, failures: u32, random: u64) -> Duration {
        let delay = self.delay(failures);
        match self {
            Self::None | Self::Fixed(_) => delay,
            Self::Linear { .. } | Self::Exponential { .. } => {
                let span = 2 * JITTER_PERCENT * 10 + 1; // per mille, both ways
                let per_mille = 1000 - JITTER_PERCENT * 10 + random % span;
                let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX / 2000);
                Duration::from_millis(ms.saturating_mul(per_mille) / 1000)
            }
        }
    }
}

/// Budget and back-off of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RetryPolicy {
    /// Failures before the message goes dead: 0 means the first failure is the last.
    /// Within 0 ..= [`FAILURES_MAX`], or [`FAILURES_UNLIMITED`]; other values are taken as the largest.
    pub failures_max: u32,
    /// Delay between attempts.
    pub backoff: Backoff,
}

impl RetryPolicy {
    /// Whether a message with so many failures goes dead.
    #[must_use]
    pub fn is_spent(&self, failures: u32) -> bool {
        self.failures_max != FAILURES_UNLIMITED
            && failures >= self.failures_max.clamp(1, FAILURES_MAX)
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let (first, max) = BACKOFF_RANGE_DEFAULT;
        Self {
            failures_max: FAILURES_DEFAULT,
            backoff: Backoff::Exponential { first, max },
        }
    }
}
