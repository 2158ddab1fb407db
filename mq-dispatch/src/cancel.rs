//! The request to stop that reaches one running handler.
//!
//! The reason lies in one atomic, set once; whoever waits is woken after it is set. The first reason stays.
//!
//! | move | side | ordering | partner, reason |
//! |---|---|---|---|
//! | `request` | timers, pool, stop | `Release` (exchange) | `reason`: what was written before the request is seen after it |
//! | `reason` | handler, settlement | `Acquire` | `request` |

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// Why a handler is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelReason {
    /// A user cancelled the message.
    Requested,
    /// The program stops.
    Shutdown,
    /// The lease ran out or the message was superseded: whatever the handler answers is refused.
    LeaseLost,
    /// The handler's time limit has passed.
    Timeout,
}

impl CancelReason {
    /// The words in errors and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "the message was cancelled",
            Self::Shutdown => "the program stops",
            Self::LeaseLost => "the lease was lost",
            Self::Timeout => "its time limit has passed",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Requested => 1,
            Self::Shutdown => 2,
            Self::LeaseLost => 3,
            Self::Timeout => 4,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Requested),
            2 => Some(Self::Shutdown),
            3 => Some(Self::LeaseLost),
            4 => Some(Self::Timeout),
            _ => None,
        }
    }
}

/// The handler was asked to stop. Return it with `?`: what becomes of the message follows from the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the handler was asked to stop: {}", reason.as_str())]
pub struct Cancelled {
    /// Why.
    pub reason: CancelReason,
}

/// One handler's request to stop.
#[derive(Debug, Default)]
pub(crate) struct CancelSignal {
    reason: AtomicU8,
    requested: Notify,
}

impl CancelSignal {
    /// Asks to stop; answers whether this was the first time.
    pub(crate) fn request(&self, reason: CancelReason) -> bool {
        let first = self
            .reason
            .compare_exchange(0, reason.code(), Ordering::Release, Ordering::Relaxed)
            .is_ok();
        if first {
            self.requested.notify_waiters();
        }
        first
    }

    /// Why it was asked to stop, if it was.
    pub(crate) fn reason(&self) -> Option<CancelReason> {
        CancelReason::of(self.reason.load(Ordering::Acquire))
    }

    /// Waits until it is asked to stop.
    pub(crate) async fn requested(&self) -> CancelReason {
        loop {
            // Made before the look, so that a request in between wakes it.
            let requested = self.requested.notified();
            if let Some(reason) = self.reason() {
                return reason;
            }
            requested.await;
        }
    }
}
