//! The suites of `cargo xtask chaos`: the one place where a suite is registered.

mod crash;

use crate::suite::{Level, Suite};

/// Every suite, in the order in which they run.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "crash-points",
        what: "two lives of the engine die after every I/O, 8 ways; recoveries die too",
        from: Level::Quick,
        work: crash::points,
    },
    Suite {
        name: "failing-calls",
        what: "the N-th call of every kind fails, for every N, in every way",
        from: Level::Quick,
        work: crash::failing_calls,
    },
    Suite {
        name: "failing-recovery",
        what: "after a crash, the N-th call of the recovery fails",
        from: Level::Quick,
        work: crash::failing_recovery,
    },
];
