//! For tests of programs built on mq, and of mq itself. A dev-dependency: nothing that runs in production depends on it.
//!
//! - [`Harness`] with [`test`](macro@test): your handlers on the real engine with a simulated disk and clock, and crashes
//!   where you want them. This is the part for users; the guide is docs/testing-your-handlers.md. (Feature `harness`, on by
//!   default.)
//! - [`call`] and [`Unit`]: one handler, called once, without an engine, in any async test.
//! - The rest is what mq is tested with, and what another implementor of the backend contract can be tested with: the
//!   simulated disk, the oracle of what a queue owes, the naive model, the conformance suite, drivers of crashes and faults.

pub mod clock;
pub mod conformance;
pub mod crash_points;
#[cfg(feature = "harness")]
mod harness;
pub mod logs;
pub mod naive;
pub mod oracle;
pub mod random;
pub mod sim_disk;

#[cfg(feature = "harness")]
pub use harness::{
    Called, Effects, Enqueued, Explored, Finished, Harness, Observed, Ran, TestName, Unit, call,
    explore, explore_test, run, run_test,
};
/// Makes an async function a test that runs in a simulated world: see the macro's own page, and [`Harness`].
#[cfg(feature = "harness")]
pub use mq_macros::test;
