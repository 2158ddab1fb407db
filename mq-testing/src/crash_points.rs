//! Crashes a store after each of its I/Os, in many ways, and then its recovery as well.
//!
//! A *scenario* is two closures. The workload opens a store on the disk it is given, uses it, and notes in its knowledge (an
//! [`Oracle`](crate::oracle::Oracle), say) what it was promised; it returns at the first error. The check opens a store on what a crash
//! left, runs it until it is empty, and says whether every promise was kept.
//!
//! Invariants:
//! 1. Equal plans on a deterministic store try equal crashes, on however many threads; the failure reported is the earliest.
//! 2. An error counts as the store's own fault unless the disk crashed: a store that gives up for another reason fails the test.
//!
//! What it does not do: damage to durable bytes, and errors of single calls ([`fault_points`](crate::fault_points)).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::oracle::Ending;
use crate::sim_disk::{CrashMode, SimDisk};

/// A way for one life of a store to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; everything written is still there, synced or not.
    Kill,
    /// The power is lost.
    Power(CrashMode),
}

impl Crash {
    /// The disk that is found after this end of the life on `disk`, which is dead from then on.
    #[must_use]
    pub fn strike(self, disk: &SimDisk) -> SimDisk {
        match self {
            Self::Kill => disk.restart_process(),
            Self::Power(mode) => disk.power_cycle(mode),
        }
    }

    /// What it means for promises.
    #[must_use]
    pub const fn ending(self) -> Ending {
        match self {
            Self::Kill => Ending::Killed,
            Self::Power(_) => Ending::PowerLost,
        }
    }

    /// The same kind of crash with other choices.
    #[must_use]
    pub fn reseeded(self, salt: u64) -> Self {
        match self {
            Self::Kill => Self::Kill,
            Self::Power(mode) => Self::Power(mode.reseeded(salt)),
        }
    }
}

/// How much to try.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The ways to crash at each crash point of the workload; seeds are varied with the point.
    pub crashes: Vec<Crash>,
    /// The workload crashes after every so many I/Os; 1 is every one.
    pub every: u64,
    /// The ways to crash the recovery.
    pub nested: Vec<Crash>,
    /// The recovery crashes after every so many of its I/Os, starting elsewhere for each crash before it.
    pub nested_every: u64,
    /// How many threads share the work.
    pub threads: usize,
}

impl Plan {
    /// Every I/O of the workload in each way (some of them twice), and every `nested_every`-th of the recovery in three.
    #[must_use]
    pub fn new(seed: u64, nested_every: u64) -> Self {
        let power = [
            CrashMode::LoseAll,
            CrashMode::KeepAll,
            CrashMode::Prefix(seed),
            CrashMode::Subset(seed),
            CrashMode::Subset(!seed),
            CrashMode::Page4k(seed),
            CrashMode::MissingOne(seed),
        ];
        let nested = [CrashMode::LoseAll, CrashMode::Subset(seed.rotate_left(32))];
        Self {
            crashes: std::iter::once(Crash::Kill)
                .chain(power.map(Crash::Power))
                .collect(),
            every: 1,
            nested: std::iter::once(Crash::Kill)
                .chain(nested.map(Crash::Power))
                .collect(),
            nested_every: nested_every.max(1),
            threads: 2,
        }
    }
}

/// A store to be opened after a crash.
#[derive(Debug)]
pub struct Reopened<'a, K> {
    /// What the crash left.
    pub disk: &'a SimDisk,
    /// What the test knows, to be told of this ending and of what comes.
    pub knowledge: &'a mut K,
    /// How the life before ended.
    pub ending: Ending,
}

/// What a check can say apart from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The store was run until it was empty, and every promise was kept.
    Complete,
    /// The disk crashed again before that; nothing seen until then broke a promise.
    Interrupted,
}

/// How much was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// I/Os of the workload when nothing goes wrong.
    pub workload_ios: u64,
    /// Runs of the workload that were cut short.
    pub crashes: u64,
    /// Recoveries run to their end, those after a second crash included.
    pub recoveries: u64,
    /// Recoveries that were themselves cut short.
    pub interrupted_recoveries: u64,
}

/// One crash, and perhaps one of the recovery after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// I/Os of the workload before it.
    pub after: u64,
    /// The way it crashed.
    pub crash: Crash,
    /// I/Os of the recovery before the second crash, and the way of that.
    pub then: Option<(u64, Crash)>,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct CrashFailure {
    /// Where; [`crash_at`] goes there again. `None` when the workload failed without any crash.
    pub point: Option<CrashPoint>,
    /// What was wrong.
    pub reason: String,
    /// The last calls that changed the disk.
    pub trace: String,
}

impl fmt::Display for CrashFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.point {
            Some(point) => writeln!(formatter, "at {point:?}: {}", self.reason)?,
            None => writeln!(formatter, "without any crash: {}", self.reason)?,
        }
        write!(formatter, "the last I/Os were\n{}", self.trace)
    }
}

impl std::error::Error for CrashFailure {}

/// Runs `workload` once to count its I/Os, then again with a crash after each of them; opens the store on everything those crashes may
/// leave, and crashes that recovery too.
///
/// # Errors
/// The earliest crash after which a promise was broken.
pub fn crash_everywhere<K, W, C>(
    plan: &Plan,
    workload: W,
    check: C,
) -> Result<CrashReport, CrashFailure>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String> + Sync,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String> + Sync,
{
    let scenario = Scenario {
        plan,
        workload,
        check,
        marker: std::marker::PhantomData,
    };
    let workload_ios = scenario.count()?;
    let threads = plan.threads.max(1) as u64;
    let earliest = AtomicU64::new(u64::MAX);
    let results = std::thread::scope(|scope| {
        let run = |first| scenario.share(first, threads, workload_ios, &earliest);
        let started: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || run(first)))
            .collect();
        started
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect::<Vec<_>>()
    });
    let mut report = CrashReport {
        workload_ios,
        ..CrashReport::default()
    };
    let mut failures = Vec::new();
    for result in results {
        match result {
            Ok(Ok(part)) => report.add(part),
            Ok(Err(failure)) => failures.push(failure),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    match failures
        .into_iter()
        .min_by_key(|failure| failure.point.map(|point| point.after))
    {
        Some(failure) => Err(failure),
        None => Ok(report),
    }
}

/// Goes to one crash point again, to look at it closely.
///
/// # Errors
/// The broken promise.
pub fn crash_at<K, W, C>(point: CrashPoint, workload: W, check: C) -> Result<(), CrashFailure>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String>,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String>,
{
    let (disk, mut knowledge) = (SimDisk::new(), K::default());
    disk.crash_after(point.after);
    run_workload(&workload, &disk, &mut knowledge).map_err(|failure| failure.at(point))?;
    let mut left = point.crash.strike(&disk);
    let mut ending = point.crash.ending();
    if let Some((after, crash)) = point.then {
        left.crash_after(after);
        run_check(&check, &left, &mut knowledge, ending).map_err(|failure| failure.at(point))?;
        left = crash.strike(&left);
        ending = crash.ending();
    }
    run_check(&check, &left, &mut knowledge, ending)
        .map(drop)
        .map_err(|failure| failure.at(point))
}

impl CrashReport {
    const fn add(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.recoveries += other.recoveries;
        self.interrupted_recoveries += other.interrupted_recoveries;
    }
}

impl CrashFailure {
    const fn at_no_point(reason: String, trace: String) -> Self {
        Self {
            point: None,
            reason,
            trace,
        }
    }

    const fn at(mut self, point: CrashPoint) -> Self {
        self.point = Some(point);
        self
    }
}

/// A plan and what it is for.
struct Scenario<'a, K, W, C> {
    plan: &'a Plan,
    workload: W,
    check: C,
    marker: std::marker::PhantomData<fn() -> K>,
}

impl<K, W, C> Scenario<'_, K, W, C>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String>,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String>,
{
    /// How many I/Os the workload has.
    fn count(&self) -> Result<u64, CrashFailure> {
        let disk = SimDisk::new();
        run_workload(&self.workload, &disk, &mut K::default())?;
        Ok(disk.io_count())
    }

    /// Tries every `threads`-th crash point, unless an earlier one failed elsewhere.
    fn share(
        &self,
        first: u64,
        threads: u64,
        workload_ios: u64,
        earliest: &AtomicU64,
    ) -> Result<CrashReport, CrashFailure> {
        let mut report = CrashReport::default();
        let every = self.plan.every.max(1);
        for round in (first..).step_by(usize::try_from(threads).unwrap_or(1)) {
            let after = round * every;
            // Relaxed: a thread that sees it late only works in vain.
            if after > workload_ios || after > earliest.load(Ordering::Relaxed) {
                break;
            }
            if let Err(failure) = self.crash_workload(after, &mut report) {
                earliest.fetch_min(after, Ordering::Relaxed);
                return Err(failure);
            }
        }
        Ok(report)
    }

    /// All that can follow a crash of the workload after `after` I/Os.
    fn crash_workload(&self, after: u64, report: &mut CrashReport) -> Result<(), CrashFailure> {
        let (disk, mut knowledge) = (SimDisk::new(), K::default());
        disk.crash_after(after);
        run_workload(&self.workload, &disk, &mut knowledge)?;
        report.crashes += 1;
        for (index, crash) in (0..).zip(&self.plan.crashes) {
            let point = CrashPoint {
                after,
                crash: crash.reseeded(after),
                then: None,
            };
            let left = point.crash.strike(&disk);
            run_check(
                &self.check,
                &left,
                &mut knowledge.clone(),
                point.crash.ending(),
            )
            .and_then(|checked| expect_complete(checked, &left))
            .map_err(|failure| failure.at(point))?;
            report.recoveries += 1;
            let start = after.wrapping_mul(7).wrapping_add(index);
            self.crash_recovery(point, &disk, &knowledge, (start, left.io_count()), report)?;
        }
        Ok(())
    }

    /// All that can follow a second crash: the recovery after `point` has `ios` I/Os.
    fn crash_recovery(
        &self,
        point: CrashPoint,
        disk: &SimDisk,
        knowledge: &K,
        (start, ios): (u64, u64),
        report: &mut CrashReport,
    ) -> Result<(), CrashFailure> {
        if self.plan.nested.is_empty() {
            return Ok(());
        }
        let every = self.plan.nested_every.max(1);
        let step = usize::try_from(every).unwrap_or(usize::MAX);
        for after in (start % every..=ios).step_by(step) {
            let left = point.crash.strike(disk);
            left.crash_after(after);
            let mut knowledge = knowledge.clone();
            run_check(&self.check, &left, &mut knowledge, point.crash.ending())
                .map_err(|failure| failure.at(point))?;
            report.interrupted_recoveries += 1;
            for crash in &self.plan.nested {
                let crash = crash.reseeded(after);
                let point = CrashPoint {
                    then: Some((after, crash)),
                    ..point
                };
                let left = crash.strike(&left);
                run_check(&self.check, &left, &mut knowledge.clone(), crash.ending())
                    .and_then(|checked| expect_complete(checked, &left))
                    .map_err(|failure| failure.at(point))?;
                report.recoveries += 1;
            }
        }
        Ok(())
    }
}

/// Runs the workload; an error is one only when the disk did not crash.
fn run_workload<K>(
    workload: impl Fn(&SimDisk, &mut K) -> Result<(), String>,
    disk: &SimDisk,
    knowledge: &mut K,
) -> Result<(), CrashFailure> {
    match workload(disk, knowledge) {
        Ok(()) => Ok(()),
        Err(_) if disk.has_crashed() => Ok(()),
        Err(reason) => Err(CrashFailure::at_no_point(
            format!("the workload failed: {reason}"),
            disk.trace(),
        )),
    }
}

fn run_check<K>(
    check: impl Fn(Reopened<'_, K>) -> Result<Checked, String>,
    disk: &SimDisk,
    knowledge: &mut K,
    ending: Ending,
) -> Result<Checked, CrashFailure> {
    let checked = check(Reopened {
        disk,
        knowledge,
        ending,
    })
    .map_err(|reason| CrashFailure::at_no_point(reason, disk.trace()))?;
    match checked {
        Checked::Interrupted if !disk.has_crashed() => {
            let reason = "the check was interrupted, but the disk had not crashed".to_owned();
            Err(CrashFailure::at_no_point(reason, disk.trace()))
        }
        Checked::Interrupted | Checked::Complete => Ok(checked),
    }
}

fn expect_complete(checked: Checked, disk: &SimDisk) -> Result<(), CrashFailure> {
    match checked {
        Checked::Complete => Ok(()),
        Checked::Interrupted => Err(CrashFailure::at_no_point(
            "the check did not come to an end".to_owned(),
            disk.trace(),
        )),
    }
}
