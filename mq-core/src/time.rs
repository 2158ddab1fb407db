//! Three kinds of time, never mixed, and all of them inputs: nothing in this crate reads a clock.
//!
//! | clock | type | used for |
//! |---|---|---|
//! | wall | [`Timestamp`] | due times, back-off, what people read |
//! | monotonic | [`Monotonic`] | leases and timeouts: a wall clock that jumps ends no lease |
//! | store | [`StoreTime`] | whatever destroys (retention, key windows, expiry): a jump of years destroys nothing |

use std::fmt;
use std::time::Duration;

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

macro_rules! milliseconds {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The latest representable moment.
            pub const MAX: Self = Self(u64::MAX);

            /// Wraps milliseconds.
            #[must_use]
            pub const fn from_ms(ms: u64) -> Self {
                Self(ms)
            }

            /// Milliseconds since this clock's zero.
            #[must_use]
            pub const fn as_ms(self) -> u64 {
                self.0
            }

            /// Later by `duration` (whole milliseconds); stops at [`Self::MAX`].
            #[must_use]
            pub fn after(self, duration: Duration) -> Self {
                Self(self.0.saturating_add(whole_ms(duration)))
            }

            /// Time passed since `earlier`; zero if `earlier` is later.
            #[must_use]
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_millis(self.0.saturating_sub(earlier.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} ms", self.0)
            }
        }
    };
}

milliseconds! {
    /// Wall clock: milliseconds since the Unix epoch. May jump either way.
    Timestamp
}
milliseconds! {
    /// Monotonic clock: milliseconds since the engine was opened. Never on disk.
    Monotonic
}
milliseconds! {
    /// Store time: monotonic while the store is open, plus at most 24 h for each gap while it was closed.
    StoreTime
}

/// One reading of all three clocks; taken once per batch, so that everything in a batch happens at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall clock.
    pub wall: Timestamp,
    /// Monotonic clock.
    pub monotonic: Monotonic,
    /// Store time.
    pub store: StoreTime,
}

/// The clock seam: what the engine asks for the time. Real, manual and simulated clocks implement it.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Wall clock now.
    fn wall(&self) -> Timestamp;
    /// Time since an arbitrary fixed start; never goes back.
    fn monotonic(&self) -> Duration;
}
