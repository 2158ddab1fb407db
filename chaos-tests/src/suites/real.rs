//! The engine on real files, in a process of its own that is killed and whose machine is made to fail: the suites of
//! `soak-tests`, with the sizes that each level has.

use soak_tests::real::{self, Order, Problem};

use crate::suite::{Outcome, Run};

fn outcome(result: Result<(), Problem>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed,
        Err(Problem::Skipped(reason)) => Outcome::Skipped(reason),
        Err(Problem::Broken(reason)) => Outcome::Failed(reason),
    }
}

fn with(run: &Run, cases: u64, suite: impl FnOnce(&Order<'_>) -> Result<(), Problem>) -> Outcome {
    outcome(suite(&Order {
        seed: run.seed,
        cases: run.cases.unwrap_or(cases),
        tried: &|faults| run.tried(faults),
    }))
}

/// SIGKILL at any moment.
pub(super) fn kills(run: &Run) -> Outcome {
    with(run, run.level.of(20, 200, 5_000), real::kills)
}

/// The N-th system call fails or kills.
pub(super) fn injected_calls(run: &Run) -> Outcome {
    with(run, run.level.of(19, 76, 247), real::injected_calls)
}

/// Power cuts under ext4.
pub(super) fn power_ext4(run: &Run) -> Outcome {
    with(run, run.level.of(3, 25, 500), |order| {
        real::power_cuts("ext4", order)
    })
}

/// Power cuts under xfs.
pub(super) fn power_xfs(run: &Run) -> Outcome {
    with(run, run.level.of(3, 25, 500), |order| {
        real::power_cuts("xfs", order)
    })
}

/// Write-back that fails.
pub(super) fn lost_write_back(run: &Run) -> Outcome {
    with(run, run.level.of(1, 5, 50), real::lost_write_back)
}

/// A small disk that is full.
pub(super) fn full_disk(run: &Run) -> Outcome {
    with(run, run.level.of(1, 5, 100), real::full_disk)
}
