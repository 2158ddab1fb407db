//! Crashes a store after each of its I/Os, or makes each fail, in many ways; then crashes its recovery as well.
//!
//! A *scenario* is two closures. The workload opens a store on the disk it is given, uses it, and notes in its knowledge (an
//! [`Oracle`](crate::oracle::Oracle), say) what it was promised; it returns at the first error. The check opens a store on what a crash
//! left, runs it until it is empty, and says whether every promise was kept.
//!
//! Every trial is two lives and a verdict: the workload, disturbed and ended in some way; a recovery, undisturbed, or disturbed and
//! ended in turn; and then a recovery that nothing disturbs, after which every promise must be found kept.
//!
//! Invariants:
//! 1. Equal plans on a deterministic store make equal trials, on however many threads; the failure reported is the earliest.
//! 2. An error counts as the store's own fault unless its disk was disturbed: a store that gives up for another reason fails the test.
//! 3. A panic of either closure is a broken promise like any other, reported with its crash point.
//!
//! What it does not do: damage durable bytes, or notice a store that hangs.

mod scenario;

use std::fmt;

use crate::oracle::Ending;
use crate::sim_disk::{CrashMode, Fault, IoKind, SimDisk};
use scenario::{Scenario, Second};

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

    /// What it means for promises when the life on `disk` ends so.
    #[must_use]
    pub fn ending(self, disk: &SimDisk) -> Ending {
        match self {
            Self::Kill if !disk.took_back() => Ending::Killed,
            Self::Kill | Self::Power(_) => Ending::PowerLost,
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

/// What befalls a life before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// The disk answers no call after so many I/Os.
    CrashAfter(u64),
    /// One call fails.
    Fault {
        /// The kind of call.
        kind: IoKind,
        /// Which of its kind, counted from 1.
        nth: u64,
        /// How.
        fault: Fault,
    },
}

impl Disturbance {
    /// Arms it on a disk.
    pub fn arm(self, disk: &SimDisk) {
        match self {
            Self::CrashAfter(count) => disk.crash_after(count),
            Self::Fault { kind, nth, fault } => disk.fail_nth(kind, nth, fault),
        }
    }
}

/// How much to try.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The disk that each run gets a copy of: an empty one, or one with a limit, or with a store on it.
    pub start: SimDisk,
    /// The ways to end the workload's life, each tried; their seeds are varied from point to point.
    pub crashes: Vec<Crash>,
    /// The workload is disturbed at every so many of its I/Os; 1 is every one.
    pub every: u64,
    /// The ways to end the life of a disturbed recovery, each tried. When empty, no recovery is disturbed.
    pub nested: Vec<Crash>,
    /// A recovery is disturbed at every so many of its I/Os, beginning elsewhere for each crash before it.
    pub nested_every: u64,
    /// The faults to try, where faults are tried.
    pub faults: Vec<(IoKind, Fault)>,
    /// How many threads share the work.
    pub threads: usize,
}

impl Plan {
    /// Every I/O of the workload in eight ways, and every `nested_every`-th of each recovery in three.
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
            start: SimDisk::new(),
            crashes: std::iter::once(Crash::Kill)
                .chain(power.map(Crash::Power))
                .collect(),
            every: 1,
            nested: std::iter::once(Crash::Kill)
                .chain(nested.map(Crash::Power))
                .collect(),
            nested_every,
            faults: every_fault(),
            threads: 2,
        }
    }
}

/// Errors of every kind of call, short and interrupted transfers, and syncs that lose what they should have written.
fn every_fault() -> Vec<(IoKind, Fault)> {
    let errors = IoKind::ALL
        .iter()
        .flat_map(|kind| [(*kind, Fault::IoError), (*kind, Fault::NoSpace)]);
    let files = [IoKind::Open, IoKind::Create].map(|kind| (kind, Fault::NoFile));
    let transfers = [IoKind::Read, IoKind::Write]
        .into_iter()
        .flat_map(|kind| [(kind, Fault::Short), (kind, Fault::Interrupted)]);
    let syncs = [IoKind::SyncData, IoKind::SyncDirectory]
        .into_iter()
        .flat_map(|kind| [(kind, Fault::SyncLostKept), (kind, Fault::SyncLostReverted)]);
    let faults = errors.chain(files).chain(transfers).chain(syncs);
    faults.collect()
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

/// How a life went that broke no promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The store was run until it was empty, and every promise was kept.
    Complete,
    /// The disk crashed or failed a call, and the store gave up ([`SimDisk::was_disturbed`]); nothing seen until then broke a promise.
    Interrupted,
}

/// How much was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// I/Os of the workload when nothing disturbs it.
    pub workload_ios: u64,
    /// Runs of the workload that were disturbed.
    pub disturbed: u64,
    /// Of these, the ones that ended early.
    pub gave_up: u64,
    /// Recoveries run to their end with every promise found kept, those after a second crash included.
    pub recoveries: u64,
    /// Recoveries that were disturbed themselves.
    pub disturbed_recoveries: u64,
}

impl CrashReport {
    const fn add(&mut self, other: Self) {
        self.disturbed += other.disturbed;
        self.gave_up += other.gave_up;
        self.recoveries += other.recoveries;
        self.disturbed_recoveries += other.disturbed_recoveries;
    }
}

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// What befell the workload.
    pub workload: Disturbance,
    /// How that life ended.
    pub crash: Crash,
    /// What befell the recovery, and how that life ended.
    pub then: Option<(Disturbance, Crash)>,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct CrashFailure {
    /// Where; [`crash_at`] goes there again. `None` when the workload failed undisturbed, or panicked.
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
            None => writeln!(formatter, "in the workload: {}", self.reason)?,
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
    let scenario = Scenario::new(plan, workload, check);
    let healthy = scenario.run_undisturbed()?;
    scenario.try_all(&healthy, &scenario.crashes_of(&healthy), Second::Crashes)
}

/// Runs `workload` once to count its calls of each kind, then again with each of them failing in each of the plan's ways; ends that life,
/// opens the store, and crashes that recovery too.
///
/// # Errors
/// The earliest fault after which a promise was broken.
pub fn fail_everywhere<K, W, C>(
    plan: &Plan,
    workload: W,
    check: C,
) -> Result<CrashReport, CrashFailure>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String> + Sync,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String> + Sync,
{
    let scenario = Scenario::new(plan, workload, check);
    let healthy = scenario.run_undisturbed()?;
    scenario.try_all(&healthy, &scenario.faults_of(&healthy), Second::Crashes)
}

/// As [`crash_everywhere`], but the recoveries do not crash: their calls fail.
///
/// # Errors
/// The earliest fault of a recovery after which a promise was broken.
pub fn fail_recovery_everywhere<K, W, C>(
    plan: &Plan,
    workload: W,
    check: C,
) -> Result<CrashReport, CrashFailure>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String> + Sync,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String> + Sync,
{
    let scenario = Scenario::new(plan, workload, check);
    let healthy = scenario.run_undisturbed()?;
    scenario.try_all(&healthy, &scenario.crashes_of(&healthy), Second::Faults)
}

/// Makes one trial again, to look at it closely; `start` is that of the plan.
///
/// # Errors
/// The broken promise.
pub fn crash_at<K, W, C>(
    start: &SimDisk,
    point: CrashPoint,
    workload: W,
    check: C,
) -> Result<(), CrashFailure>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String>,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String>,
{
    let (disk, mut knowledge) = (start.fork(), K::default());
    point.workload.arm(&disk);
    scenario::run_workload(&workload, &disk, &mut knowledge)?;
    let mut left = point.crash.strike(&disk);
    let mut ending = point.crash.ending(&disk);
    if let Some((disturbance, crash)) = point.then {
        disturbance.arm(&left);
        scenario::run_check(&check, &left, &mut knowledge, ending)
            .map_err(|failure| failure.at(point))?;
        ending = crash.ending(&left);
        left = crash.strike(&left);
    }
    scenario::run_check(&check, &left, &mut knowledge, ending)
        .and_then(|checked| scenario::expect_complete(checked, &left))
        .map_err(|failure| failure.at(point))
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
