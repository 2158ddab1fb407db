//! Makes each I/O of a store fail once, in many ways, and opens the store again.
//!
//! The closures are those of [`crash_points`](crate::crash_points). The workload may fail at the fault or live with it; whatever it was
//! promised before, and whatever it is promised after, must hold when the store is opened again.
//!
//! What it does not do: two faults in one run, but for those that last.

use crate::crash_points::{Checked, Crash, CrashFailure, Reopened};
use crate::sim_disk::{Fault, IoKind, SimDisk};

/// Which faults to try, and what follows each.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    /// The calls to fail, and how.
    pub faults: Vec<(IoKind, Fault)>,
    /// How the life with the fault ends, each tried.
    pub crashes: Vec<Crash>,
}

/// How much was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultReport {
    /// Runs of the workload with a fault.
    pub faults: u64,
    /// Of these, the runs in which the workload saw an error.
    pub noticed: u64,
    /// Recoveries run to their end.
    pub recoveries: u64,
}

/// Runs `workload` once to count its calls of each kind, then again with each of them failing; ends that life in each of the plan's
/// ways, and checks the store that is opened after.
///
/// # Errors
/// The first fault after which a promise was broken.
pub fn fail_everywhere<K, W, C>(
    plan: &FaultPlan,
    workload: W,
    check: C,
) -> Result<FaultReport, CrashFailure>
where
    K: Default + Clone,
    W: Fn(&SimDisk, &mut K) -> Result<(), String>,
    C: Fn(Reopened<'_, K>) -> Result<Checked, String>,
{
    let healthy = SimDisk::new();
    workload(&healthy, &mut K::default()).map_err(|reason| CrashFailure {
        point: None,
        reason: format!("the workload failed without any fault: {reason}"),
        trace: healthy.trace(),
    })?;
    let mut report = FaultReport::default();
    for (kind, fault) in plan.faults.iter().copied() {
        for nth in 1..=healthy.count_of(kind) {
            let (disk, mut knowledge) = (SimDisk::new(), K::default());
            disk.fail_nth(kind, nth, fault);
            report.faults += 1;
            report.noticed += u64::from(workload(&disk, &mut knowledge).is_err());
            for crash in plan.crashes.iter().map(|crash| crash.reseeded(nth)) {
                let left = crash.strike(&disk);
                let ending = crash.ending();
                let checked = check(Reopened {
                    disk: &left,
                    knowledge: &mut knowledge.clone(),
                    ending,
                });
                let broken = match checked {
                    Ok(Checked::Complete) => None,
                    Ok(Checked::Interrupted) => Some("the check did not come to an end".to_owned()),
                    Err(reason) => Some(reason),
                };
                if let Some(reason) = broken {
                    let reason =
                        format!("{fault:?} at {kind:?} number {nth}, then {crash:?}: {reason}");
                    return Err(CrashFailure {
                        point: None,
                        reason,
                        trace: left.trace(),
                    });
                }
                report.recoveries += 1;
            }
        }
    }
    Ok(report)
}
