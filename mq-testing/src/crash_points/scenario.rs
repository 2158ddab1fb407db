//! Makes the trials of a plan, one after the other or on several threads.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use super::{Checked, Crash, CrashFailure, CrashPoint, CrashReport, Disturbance, Plan, Reopened};
use crate::oracle::Ending;
use crate::sim_disk::SimDisk;

/// What disturbs the recoveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Second {
    Crashes,
    Faults,
}

/// A plan and what it is for.
pub(super) struct Scenario<'a, K, W, C> {
    plan: &'a Plan,
    workload: W,
    check: C,
    knowledge: PhantomData<fn() -> K>,
}

/// A life that ended, and how.
struct Ended<'a, K> {
    disk: &'a SimDisk,
    knowledge: &'a K,
    disturbance: Disturbance,
    crash: Crash,
}

impl<'a, K, W, C> Scenario<'a, K, W, C>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String>,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String>,
{
    pub(super) const fn new(plan: &'a Plan, workload: W, check: C) -> Self {
        Self {
            plan,
            workload,
            check,
            knowledge: PhantomData,
        }
    }

    /// The disk after the whole workload; it knows how many calls that was.
    pub(super) fn run_undisturbed(&self) -> Result<SimDisk, CrashFailure> {
        let disk = self.plan.start.fork();
        run_workload(&self.workload, &disk, &mut K::default())?;
        Ok(disk)
    }

    /// A crash after every so many I/Os of the workload, before the first and after the last included.
    pub(super) fn crashes_of(&self, healthy: &SimDisk) -> Vec<Disturbance> {
        (0..=healthy.io_count())
            .step_by(step(self.plan.every))
            .map(Disturbance::CrashAfter)
            .collect()
    }

    /// Every so many calls of the workload failing.
    pub(super) fn faults_of(&self, healthy: &SimDisk) -> Vec<Disturbance> {
        self.faults(healthy, 0, self.plan.every)
    }

    /// Makes the trials that begin with each of `disturbances`, shared among threads.
    pub(super) fn try_all(
        &self,
        healthy: &SimDisk,
        disturbances: &[Disturbance],
        second: Second,
    ) -> Result<CrashReport, CrashFailure>
    where
        W: Sync,
        C: Sync,
    {
        let threads = self.plan.threads.max(1);
        let earliest = AtomicUsize::new(usize::MAX);
        let share = |first| {
            let mut report = CrashReport::default();
            for (index, disturbance) in disturbances.iter().enumerate().skip(first).step_by(threads)
            {
                // Relaxed: a thread that sees it late only works in vain.
                if index > earliest.load(Ordering::Relaxed) {
                    break;
                }
                if let Err(failure) =
                    self.disturb_workload(index as u64, *disturbance, second, &mut report)
                {
                    earliest.fetch_min(index, Ordering::Relaxed);
                    return Err((index, failure));
                }
            }
            Ok(report)
        };
        let shares: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads)
                .map(|first| scope.spawn(move || share(first)))
                .collect();
            started.into_iter().map(ScopedJoinHandle::join).collect()
        });
        let mut report = CrashReport {
            workload_ios: healthy.io_count(),
            ..CrashReport::default()
        };
        let mut failures = Vec::new();
        for share in shares {
            match share.unwrap_or_else(|panic| resume_unwind(panic)) {
                Ok(part) => report.add(part),
                Err(failure) => failures.push(failure),
            }
        }
        match failures.into_iter().min_by_key(|(index, _)| *index) {
            Some((_, failure)) => Err(failure),
            None => Ok(report),
        }
    }

    /// All that can follow one disturbance of the workload.
    fn disturb_workload(
        &self,
        salt: u64,
        disturbance: Disturbance,
        second: Second,
        report: &mut CrashReport,
    ) -> Result<(), CrashFailure> {
        let (disk, mut knowledge) = (self.plan.start.fork(), K::default());
        disturbance.arm(&disk);
        let ran = run_workload(&self.workload, &disk, &mut knowledge)?;
        report.disturbed += 1;
        report.gave_up += u64::from(ran == Checked::Interrupted);
        for (index, crash) in (0..).zip(&self.plan.crashes) {
            let crash = crash.reseeded(salt);
            let ended = Ended {
                disk: &disk,
                knowledge: &knowledge,
                disturbance,
                crash,
            };
            let point = CrashPoint {
                workload: disturbance,
                crash,
                then: None,
            };
            let left = crash.strike(&disk);
            let ending = crash.ending(&disk);
            self.recover(&left, &mut knowledge.clone(), point, ending, report)?;
            let salt = salt.wrapping_mul(7).wrapping_add(index);
            self.disturb_recovery(salt, &ended, self.seconds(second, &left, salt), report)?;
        }
        Ok(())
    }

    /// What is to disturb the recovery that `left` has just seen undisturbed.
    fn seconds(&self, second: Second, left: &SimDisk, salt: u64) -> Vec<Disturbance> {
        let every = self.plan.nested_every.max(1);
        match second {
            Second::Crashes => {
                let points = (salt % every..=left.io_count()).step_by(step(every));
                points.map(Disturbance::CrashAfter).collect()
            }
            Second::Faults => self.faults(left, salt, every),
        }
    }

    /// Every so many of the calls that `healthy` has seen, failing in each of the plan's ways.
    fn faults(&self, healthy: &SimDisk, salt: u64, every: u64) -> Vec<Disturbance> {
        let every = every.max(1);
        let of_kind = |(kind, fault)| {
            let points = (1 + salt % every..=healthy.count_of(kind)).step_by(step(every));
            points.map(move |nth| Disturbance::Fault { kind, nth, fault })
        };
        self.plan.faults.iter().copied().flat_map(of_kind).collect()
    }

    /// All that can follow when the recovery is disturbed as well.
    fn disturb_recovery(
        &self,
        salt: u64,
        ended: &Ended<'_, K>,
        disturbances: Vec<Disturbance>,
        report: &mut CrashReport,
    ) -> Result<(), CrashFailure> {
        if self.plan.nested.is_empty() {
            return Ok(());
        }
        for (index, disturbance) in (0..).zip(disturbances) {
            let point = CrashPoint {
                workload: ended.disturbance,
                crash: ended.crash,
                then: None,
            };
            let left = ended.crash.strike(ended.disk);
            disturbance.arm(&left);
            let mut knowledge = ended.knowledge.clone();
            let ending = ended.crash.ending(ended.disk);
            run_check(&self.check, &left, &mut knowledge, ending).map_err(|failure| {
                // No second crash is needed to see this again; the disturbance is.
                failure.at(CrashPoint {
                    then: Some((disturbance, Crash::Kill)),
                    ..point
                })
            })?;
            report.disturbed_recoveries += 1;
            for crash in &self.plan.nested {
                let crash = crash.reseeded(salt.wrapping_add(index));
                let point = CrashPoint {
                    then: Some((disturbance, crash)),
                    ..point
                };
                self.recover(
                    &crash.strike(&left),
                    &mut knowledge.clone(),
                    point,
                    crash.ending(&left),
                    report,
                )?;
            }
        }
        Ok(())
    }

    /// A recovery that nothing disturbs must come to its end.
    fn recover(
        &self,
        left: &SimDisk,
        knowledge: &mut K,
        point: CrashPoint,
        ending: Ending,
        report: &mut CrashReport,
    ) -> Result<(), CrashFailure> {
        run_check(&self.check, left, knowledge, ending)
            .and_then(|checked| expect_complete(checked, left))
            .map_err(|failure| failure.at(point))?;
        report.recoveries += 1;
        Ok(())
    }
}

/// Runs the workload; an error is one only when nothing disturbed its disk.
pub(super) fn run_workload<K>(
    workload: impl Fn(&SimDisk, &mut K) -> Result<(), String>,
    disk: &SimDisk,
    knowledge: &mut K,
) -> Result<Checked, CrashFailure> {
    let reason = match catching_panics(|| workload(disk, knowledge)) {
        Ok(Ok(())) => return Ok(Checked::Complete),
        Ok(Err(_)) if disk.was_disturbed() => return Ok(Checked::Interrupted),
        Ok(Err(reason)) => format!("it failed undisturbed: {reason}"),
        Err(panic) => format!("it panicked: {panic}"),
    };
    Err(CrashFailure::at_no_point(reason, disk.trace()))
}

/// Runs the check; giving up is right only when something disturbed its disk.
pub(super) fn run_check<K>(
    check: impl Fn(Reopened<'_, K>) -> Result<Checked, String>,
    disk: &SimDisk,
    knowledge: &mut K,
    ending: Ending,
) -> Result<Checked, CrashFailure> {
    let reason = match catching_panics(|| {
        check(Reopened {
            disk,
            knowledge,
            ending,
        })
    }) {
        Ok(Ok(Checked::Complete)) => return Ok(Checked::Complete),
        Ok(Ok(Checked::Interrupted)) if disk.was_disturbed() => return Ok(Checked::Interrupted),
        Ok(Ok(Checked::Interrupted)) => "the check gave up undisturbed".to_owned(),
        Ok(Err(reason)) => reason,
        Err(panic) => format!("the check panicked: {panic}"),
    };
    Err(CrashFailure::at_no_point(reason, disk.trace()))
}

pub(super) fn expect_complete(checked: Checked, disk: &SimDisk) -> Result<(), CrashFailure> {
    match checked {
        Checked::Complete => Ok(()),
        Checked::Interrupted => Err(CrashFailure::at_no_point(
            "the check did not come to its end".to_owned(),
            disk.trace(),
        )),
    }
}

/// What `run` answers, or what it said when it panicked. Of what it used, only the disk is looked at afterwards, and no panic leaves
/// that half changed.
fn catching_panics<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        text.or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a text".to_owned())
    })
}

fn step(every: u64) -> usize {
    usize::try_from(every.max(1)).unwrap_or(usize::MAX)
}
