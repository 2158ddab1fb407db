//! Crashes and failing calls at every place of a fixed workload.

use mq_testing::crash_points::{
    Checked, CrashFailure, CrashReport, Plan, Reopened, crash_everywhere, fail_everywhere,
    fail_recovery_everywhere,
};

use crate::suite::{Outcome, Run};
use crate::workload::{Knowledge, check, two_lives};

/// A crash after every I/O, and a second one after every so many I/Os of each recovery.
pub(super) fn points(run: &Run) -> Outcome {
    let mut plan = plan(run, run.level.of(31, 7, 1));
    plan.every = run.level.of(3, 1, 1);
    judge(crash_everywhere(&plan, two_lives, counting(run)))
}

/// Every call of every kind fails.
pub(super) fn failing_calls(run: &Run) -> Outcome {
    let mut plan = plan(run, run.level.of(61, 31, 5));
    plan.every = run.level.of(7, 2, 1);
    plan.crashes.truncate(run.level.of(3, 4, 8));
    if run.level < crate::suite::Level::Nightly {
        plan.nested.clear();
    }
    judge(fail_everywhere(&plan, two_lives, counting(run)))
}

/// Every call of every kind fails in the opening after a crash.
pub(super) fn failing_recovery(run: &Run) -> Outcome {
    let mut plan = plan(run, run.level.of(41, 17, 3));
    plan.every = run.level.of(53, 23, 7);
    plan.crashes.truncate(run.level.of(2, 4, 8));
    plan.nested.truncate(run.level.of(1, 2, 3));
    judge(fail_recovery_everywhere(&plan, two_lives, counting(run)))
}

fn plan(run: &Run, nested_every: u64) -> Plan {
    let mut plan = Plan::new(run.seed, nested_every);
    plan.threads = run.threads;
    plan
}

/// The check, counted: each one stands for at least one crash or failed call.
fn counting(
    run: &Run,
) -> impl Fn(Reopened<'_, Knowledge>) -> Result<Checked, String> + Sync + use<'_> {
    |reopened| {
        run.tried(1);
        check(reopened)
    }
}

fn judge(report: Result<CrashReport, CrashFailure>) -> Outcome {
    match report {
        Ok(report) if report.recoveries == 0 => {
            Outcome::Failed(format!("nothing was tried: {report:?}"))
        }
        Ok(_) => Outcome::Passed,
        Err(failure) => Outcome::Failed(failure.to_string()),
    }
}
