//! The suites of `cargo xtask chaos`: the one place where a suite is registered.

mod bit_rot;
mod crash;
mod full_disk;
mod linearizability;
mod model;
mod poison;
mod readers;
mod real;
mod sequences;
mod simulated;
mod two_processes;
mod watermark;
mod year;

use crate::suite::{Level, Suite};

pub use two_processes::child_if_asked;

/// Every suite, in the order in which they run.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "crash-points",
        what: "lives of the engine die after every I/O, 8 or 16 ways; recoveries die too",
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
        name: "bit-rot",
        what: "bits, sectors and files of closed and crashed stores go bad, one at a time",
        from: Level::Quick,
        work: bit_rot::damages,
    },
    Suite {
        name: "watermark",
        what: "in every mode, damage to what was answered is refused, not taken for a torn end",
        from: Level::Quick,
        work: watermark::answers,
    },
    Suite {
        name: "sequences",
        what: "every sequence of up to three operations, a crash after each I/O",
        from: Level::Quick,
        work: sequences::all,
    },
    Suite {
        name: "crash-thrice",
        what: "the machine dies, and in the recovery, and in the recovery of that",
        from: Level::Quick,
        work: crash::thrice,
    },
    Suite {
        name: "poison",
        what: "one message kills the process beside 63 innocent ones",
        from: Level::Quick,
        work: poison::kills,
    },
    Suite {
        name: "readers",
        what: "what was handed out is read late, after its segments were copied, freed and reused",
        from: Level::Quick,
        work: readers::wait,
    },
    Suite {
        name: "year",
        what: "one message waits a year while many others come and go",
        from: Level::Quick,
        work: year::waits,
    },
    Suite {
        name: "model",
        what: "random commands and restarts, the engine and the naive model in lock-step",
        from: Level::Quick,
        work: model::sequences,
    },
    Suite {
        name: "linearizability",
        what: "small histories of real threads: some order explains every answer",
        from: Level::Quick,
        work: linearizability::histories,
    },
    Suite {
        name: "two-processes",
        what: "the second owner of a store is refused, whatever is done to the lock",
        from: Level::Quick,
        work: two_processes::owners,
    },
    Suite {
        name: "disk-full",
        what: "small simulated disks are filled, worked off while full, filled again",
        from: Level::Quick,
        work: full_disk::ordeals,
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
        from: Level::Default,
        work: real::full_disk,
    },
];
