//! Crashes and failing calls at every place of a fixed workload.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mq_persistence::storage::Filesystem;
use mq_testing::crash_points::{
    Checked, Crash, CrashFailure, CrashReport, Plan, Reopened, crash_everywhere, fail_everywhere,
    fail_recovery_everywhere,
};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, SimDisk};

use crate::suite::{Outcome, Run};
use crate::workload::{Knowledge, check, house_is_kept, two_lives};

/// A crash after every I/O, and a second one after every so many I/Os of each recovery.
pub(super) fn points(run: &Run) -> Outcome {
    let plan = plan(run, run.level.of(7, 3, 1));
    match crash_everywhere(&plan, two_lives, counting(run)) {
        Ok(report) if report.workload_ios < 100 || report.recoveries < 25_000 => {
            Outcome::Failed(format!("the workload became too small: {report:?}"))
        }
        Ok(_) => points_of_housekeeping(run, plan),
        Err(failure) => judge(Err(failure)),
    }
}

/// The same where segments are removed and not recycled. What goes wrong there is a matter of names, of which few are pending at a
/// time: more combinations of them are tried.
fn points_of_housekeeping(run: &Run, mut plan: Plan) -> Outcome {
    plan.start.pose_as(Filesystem::Btrfs);
    plan.nested_every = run.level.of(41, 7, 1);
    let seeds = (1..=4).map(|salt| run.seed.rotate_left(8 * salt));
    let more = seeds.flat_map(|seed| [CrashMode::Page4k(seed), CrashMode::Subset(seed)]);
    plan.crashes.extend(more.map(Crash::Power));
    judge(crash_everywhere(&plan, house_is_kept, counting(run)))
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

/// A crash in the two lives, one in the recovery, one in the recovery of that, and sometimes more.
pub(super) fn thrice(run: &Run) -> Outcome {
    let healthy = SimDisk::new();
    if let Err(reason) = two_lives(&healthy, &mut Knowledge::default()) {
        return Outcome::Failed(format!("undisturbed: {reason}"));
    }
    let ios = healthy.io_count();
    let cases = run.level.of(500, 10_000, 1_000_000);
    run.each_seed(cases, |seed| {
        let crashes = die_again_and_again(seed, ios)?;
        run.tried(crashes);
        Ok(())
    })
    .into()
}

/// Answers how often it died.
fn die_again_and_again(seed: u64, ios: u64) -> Result<u64, String> {
    let mut random = SplitMix64::new(seed);
    let (mut disk, mut known) = (SimDisk::new(), Knowledge::default());
    disk.crash_after(random.below(ios + 1));
    match catch_unwind(AssertUnwindSafe(|| two_lives(&disk, &mut known))) {
        Ok(Err(reason)) if !disk.was_disturbed() => return Err(reason),
        Ok(_) => {}
        Err(_) => return Err("the workload panicked".to_owned()),
    }
    let recoveries = 2 + random.below(3);
    for recovery in 0..=recoveries {
        let crash = any_crash(&mut random);
        let ending = crash.ending(&disk);
        disk = crash.strike(&disk);
        let is_last = recovery == recoveries;
        if !is_last {
            // An opening takes about a dozen I/Os; what it is opened for, hundreds.
            let within = if random.chance(3, 4) { 16 } else { 200 };
            disk.crash_after(random.below(within));
        }
        let checked = check(Reopened {
            disk: &disk,
            knowledge: &mut known,
            ending,
        });
        match checked {
            Ok(Checked::Complete) => {}
            Ok(Checked::Interrupted) if !is_last => {}
            Ok(Checked::Interrupted) => return Err("the check gave up undisturbed".to_owned()),
            Err(reason) => {
                return Err(format!(
                    "in recovery {recovery}: {reason}\nthe last I/Os were\n{}",
                    disk.trace()
                ));
            }
        }
    }
    Ok(recoveries + 1)
}

fn any_crash(random: &mut SplitMix64) -> Crash {
    let seed = random.next_u64();
    let crashes = [
        Crash::Kill,
        Crash::Power(CrashMode::LoseAll),
        Crash::Power(CrashMode::KeepAll),
        Crash::Power(CrashMode::Prefix(seed)),
        Crash::Power(CrashMode::Subset(seed)),
        Crash::Power(CrashMode::Page4k(seed)),
        Crash::Power(CrashMode::MissingOne(seed)),
    ];
    random.pick(&crashes).copied().unwrap_or(Crash::Kill)
}
