//! The watchdog: notices work that nobody takes, although it could be, and workers that do not work. It looks when the
//! housekeeper takes its samples, every few seconds, and decides nothing.
//!
//! Invariants: an alarm is raised once, when its reason has lasted for its time, and cleared once, when it is over; both are
//! logged. At most [`ALARMS_MAX`] reasons are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use mq_core::telemetry::store;
use mq_core::view::Stats as StoreStats;
use mq_dispatch::Illness;

use crate::health::{Alarm, HealthCheck};

/// Reasons that are kept; what is beyond waits until one of them is over.
const ALARMS_MAX: usize = 100;
/// A kind that nobody serves is reported after this long: programs start their workers one after the other.
pub(crate) const UNSERVED_AFTER: Duration = Duration::from_secs(30);
/// Ready work and free workers without a hand-out are reported after this long.
pub(crate) const NOT_TAKEN_AFTER: Duration = Duration::from_secs(10);

/// What is wrong, without its words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Unserved { queue: String, kind: String },
    NotTaken,
    Stuck { kind: String },
    Undecodable { kind: String },
    Layer { kind: String },
}

#[derive(Clone, Debug)]
struct Known {
    since: Duration,
    raised: bool,
    text: String,
}

/// What was noticed so far.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    known: BTreeMap<Reason, Known>,
    checked_out: u64,
}

/// What the watchdog looks at.
pub(crate) struct View<'a> {
    pub(crate) now: Duration,
    pub(crate) stats: &'a StoreStats,
    /// Some pool has a permit for a ready message.
    pub(crate) could_grant: bool,
    pub(crate) illnesses: Vec<Illness>,
}

impl Watch {
    /// Looks at how things are.
    pub(crate) fn look(&mut self, view: View<'_>) {
        let now = view.now;
        let found = self.find(view);
        let over: Vec<Reason> = self
            .known
            .keys()
            .filter(|reason| !found.contains_key(reason))
            .cloned()
            .collect();
        for reason in over {
            if self.known.remove(&reason).is_some_and(|known| known.raised) {
                log_cleared(&reason);
            }
        }
        for (reason, text) in found {
            if self.known.len() < ALARMS_MAX || self.known.contains_key(&reason) {
                self.note(reason, text, now);
            }
        }
    }

    /// The alarms that are raised, at `now`.
    pub(crate) fn alarms(&self, now: Duration) -> Vec<Alarm> {
        let raised = self.known.iter().filter(|(_, known)| known.raised);
        raised
            .map(|(reason, known)| Alarm {
                check: reason.check(),
                reason: known.text.clone(),
                next_step: reason.next_step(),
                lasts: now.saturating_sub(known.since),
            })
            .collect()
    }

    fn note(&mut self, reason: Reason, text: String, now: Duration) {
        let after = reason.after();
        let known = self.known.entry(reason.clone()).or_insert(Known {
            since: now,
            raised: false,
            text: String::new(),
        });
        known.text = text;
        if !known.raised && now.saturating_sub(known.since) >= after {
            known.raised = true;
            log_raised(&reason, &known.text);
        }
    }

    fn find(&mut self, view: View<'_>) -> BTreeMap<Reason, String> {
        let mut found = BTreeMap::new();
        for (queue, kind, ready) in view.stats.unserved.iter().take(ALARMS_MAX) {
            let reason = Reason::Unserved {
                queue: queue.to_string(),
                kind: kind.to_string(),
            };
            let text = format!(
                "{ready} ready messages of kind {kind} in queue {queue} and no worker pool for them"
            );
            found.insert(reason, text);
        }
        let handed_out = view.stats.checked_out != self.checked_out;
        self.checked_out = view.stats.checked_out;
        if view.could_grant && !handed_out {
            let text = "there are ready messages and free workers, but nothing is handed out";
            found.insert(Reason::NotTaken, text.to_owned());
        }
        for illness in view.illnesses {
            let text = illness.to_string();
            match illness {
                Illness::AllStuck { kind, .. } => found.insert(Reason::Stuck { kind }, text),
                Illness::Undecodable { kind } => found.insert(Reason::Undecodable { kind }, text),
                Illness::Layer { kind, .. } => found.insert(Reason::Layer { kind }, text),
                Illness::Stopped(_) => None,
            };
        }
        found
    }
}

impl Reason {
    const fn check(&self) -> HealthCheck {
        match self {
            Self::Unserved { .. } => HealthCheck::Unserved,
            Self::NotTaken => HealthCheck::NotTaken,
            Self::Stuck { .. } | Self::Layer { .. } => HealthCheck::WorkersStuck,
            Self::Undecodable { .. } => HealthCheck::Undecodable,
        }
    }

    const fn after(&self) -> Duration {
        match self {
            Self::Unserved { .. } => UNSERVED_AFTER,
            Self::NotTaken => NOT_TAKEN_AFTER,
            Self::Stuck { .. } | Self::Undecodable { .. } | Self::Layer { .. } => Duration::ZERO,
        }
    }

    const fn next_step(&self) -> &'static str {
        match self {
            Self::Unserved { .. } => {
                "register a handler for the kind, or cancel or move the messages"
            }
            Self::NotTaken => "look at the health of the disk; if it answers, restart the program",
            Self::Stuck { .. } => {
                "restart the program; let its handlers heed their cancellation or run shorter"
            }
            Self::Layer { .. } => "mend the layer around the handler, then restart the program",
            Self::Undecodable { .. } => {
                "check the program's version, replay the dead letters, then resume the kind"
            }
        }
    }
}

fn log_raised(reason: &Reason, text: &str) {
    tracing::warn!(
        name: store::WATCHDOG,
        target: store::TARGET,
        check = reason.check().as_str(),
        reason = text,
        next_step = reason.next_step(),
        "the watchdog found something that needs a person"
    );
}

fn log_cleared(reason: &Reason) {
    tracing::info!(
        name: store::WATCHDOG_OVER,
        target: store::TARGET,
        check = reason.check().as_str(),
        reason = ?reason,
        "what the watchdog found is over"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watch: &mut Watch, seconds: u64, could_grant: bool, illnesses: Vec<Illness>) {
        watch.look(View {
            now: Duration::from_secs(seconds),
            stats: &StoreStats::default(),
            could_grant,
            illnesses,
        });
    }

    fn checks(watch: &Watch) -> Vec<HealthCheck> {
        let alarms = watch.alarms(Duration::from_secs(1_000));
        alarms.into_iter().map(|alarm| alarm.check).collect()
    }

    #[test]
    fn work_that_free_workers_do_not_get_is_reported_after_its_time() {
        let mut watch = Watch::default();
        look(&mut watch, 0, true, Vec::new());
        look(&mut watch, 5, true, Vec::new());
        assert_eq!(checks(&watch), []);
        look(&mut watch, 10, true, Vec::new());
        assert_eq!(checks(&watch), [HealthCheck::NotTaken]);
        look(&mut watch, 15, false, Vec::new());
        assert_eq!(checks(&watch), []);
    }

    #[test]
    fn a_hand_out_in_between_begins_anew() {
        let mut watch = Watch::default();
        look(&mut watch, 0, true, Vec::new());
        let handed_out = StoreStats {
            checked_out: 1,
            ..StoreStats::default()
        };
        watch.look(View {
            now: Duration::from_secs(9),
            stats: &handed_out,
            could_grant: true,
            illnesses: Vec::new(),
        });
        look(&mut watch, 12, true, Vec::new());
        assert_eq!(checks(&watch), []);
    }

    #[test]
    fn stuck_pools_and_undecodable_kinds_are_reported_at_once() {
        let kind = || "resize".to_owned();
        let stuck = Illness::AllStuck {
            kind: kind(),
            stuck: 2,
        };
        let mut watch = Watch::default();
        look(
            &mut watch,
            0,
            false,
            vec![stuck, Illness::Undecodable { kind: kind() }],
        );
        assert_eq!(
            checks(&watch),
            [HealthCheck::WorkersStuck, HealthCheck::Undecodable]
        );
        look(&mut watch, 5, false, Vec::new());
        assert_eq!(checks(&watch), []);
    }
}
