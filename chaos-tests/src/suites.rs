//! The suites of `cargo xtask chaos`: the one place where a suite is registered.

mod crash;
mod real;
mod simulated;

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
    Suite {
        name: "simulation",
        what: "random lives of the whole engine from a seed, short and long",
        from: Level::Quick,
        work: simulated::lives,
    },
    Suite {
        name: "replay",
        what: "the same seed twice: the same sights, the same bytes on the disk",
        from: Level::Quick,
        work: simulated::replays,
    },
    Suite {
        name: "kills",
        what: "SIGKILL at any moment, over real files; an oracle outside",
        from: Level::Quick,
        work: real::kills,
    },
    Suite {
        name: "injected-calls",
        what: "strace lets the N-th system call fail, or kills at it",
        from: Level::Quick,
        work: real::injected_calls,
    },
    Suite {
        name: "power-ext4",
        what: "a real ext4 is cut off from its device under load",
        from: Level::Quick,
        work: real::power_ext4,
    },
    Suite {
        name: "power-xfs",
        what: "a real xfs is cut off from its device under load",
        from: Level::Quick,
        work: real::power_xfs,
    },
    Suite {
        name: "lost-write-back",
        what: "the memory behind a device runs out: real write-back errors",
        from: Level::Quick,
        work: real::lost_write_back,
    },
    Suite {
        name: "full-disk",
        what: "a real disk is filled, worked off while full, filled again",
        from: Level::Nightly,
        work: real::full_disk,
    },
];
