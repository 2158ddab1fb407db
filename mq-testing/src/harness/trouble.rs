//! What goes wrong in one run of an explored scenario, and when: one trouble, at one point of all those that a run without
//! trouble passes.
//!
//! Invariants: points are counted the same way in every run, so that the run with trouble is, up to its point, the run
//! without. Trouble comes only while the harness runs messages, never while the test sets its stage.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// One trouble at one point; points are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The power is cut before this operation on the disk.
    Disk(u64),
    /// The process dies before this step of a handler.
    Step(u64),
    /// This answer of a handler reaches the store only when its lease has run out.
    Late(u64),
    /// The wall clock jumps at this hand-out.
    Clock(u64),
}

impl Trouble {
    const fn parts(self) -> (&'static str, u64) {
        match self {
            Self::Disk(point) => ("disk", point),
            Self::Step(point) => ("step", point),
            Self::Late(point) => ("late", point),
            Self::Clock(point) => ("clock", point),
        }
    }

    /// For people.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Disk(point) => format!("the power cut before disk operation {point}"),
            Self::Step(point) => format!("the process killed before handler step {point}"),
            Self::Late(point) => format!("answer {point} of a handler late, its lease run out"),
            Self::Clock(point) => format!("the wall clock jumping at hand-out {point}"),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, point) = self.parts();
        write!(f, "{word}:{point}")
    }
}

/// The text names no trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoTrouble;

impl FromStr for Trouble {
    type Err = NoTrouble;

    fn from_str(text: &str) -> Result<Self, NoTrouble> {
        let (word, point) = text.split_once(':').ok_or(NoTrouble)?;
        let point = point.parse().map_err(|_| NoTrouble)?;
        let all = [
            Self::Disk(point),
            Self::Step(point),
            Self::Late(point),
            Self::Clock(point),
        ];
        let mut named = all.into_iter().filter(|trouble| trouble.parts().0 == word);
        named.next().ok_or(NoTrouble)
    }
}

/// Points passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Points {
    disk: u64,
    steps: u64,
    answers: u64,
    hand_outs: u64,
}

impl Points {
    /// Every trouble that can come at these points.
    pub(super) fn troubles(self) -> Vec<Trouble> {
        let disk = (0..self.disk).map(Trouble::Disk);
        let steps = (0..self.steps).map(Trouble::Step);
        let late = (0..self.answers).map(Trouble::Late);
        let clock = (0..self.hand_outs).map(Trouble::Clock);
        disk.chain(steps).chain(late).chain(clock).collect()
    }
}

/// What is to go wrong in one run, and how far the run is.
#[derive(Debug, Default)]
pub(super) struct Plan {
    trouble: Option<Trouble>,
    points: Mutex<Points>,
    /// The power was cut once; it is not cut again.
    was_cut: AtomicBool,
}

impl Plan {
    pub(super) fn new(trouble: Option<Trouble>) -> Self {
        Self {
            trouble,
            points: Mutex::default(),
            was_cut: AtomicBool::new(false),
        }
    }

    /// The points passed so far.
    pub(super) fn points(&self) -> Points {
        *self.points.lock()
    }

    fn passes(&self, count: impl FnOnce(&mut Points) -> &mut u64, at: fn(u64) -> Trouble) -> bool {
        let mut points = self.points.lock();
        let count = count(&mut points);
        let here = *count;
        *count += 1;
        self.trouble == Some(at(here))
    }

    /// A handler is about to do a step; `true` if the process dies before it.
    pub(super) fn dies_at_step(&self) -> bool {
        self.passes(|points| &mut points.steps, Trouble::Step)
    }

    /// A handler has answered; `true` if its answer comes late.
    pub(super) fn is_late(&self) -> bool {
        self.passes(|points| &mut points.answers, Trouble::Late)
    }

    /// A message is handed out; `true` if the wall clock jumps.
    pub(super) fn clock_jumps(&self) -> bool {
        self.passes(|points| &mut points.hand_outs, Trouble::Clock)
    }

    /// How many more operations on the disk are done before the power is cut; `None` if it is not.
    pub(super) fn disk_left(&self) -> Option<u64> {
        match self.trouble? {
            Trouble::Disk(_) if self.was_cut.load(Ordering::Acquire) => None,
            Trouble::Disk(point) => point.checked_sub(self.points.lock().disk),
            Trouble::Step(_) | Trouble::Late(_) | Trouble::Clock(_) => None,
        }
    }

    /// The power was cut.
    pub(super) fn power_was_cut(&self) {
        self.was_cut.store(true, Ordering::Release);
    }

    /// So many operations on the disk were done.
    pub(super) fn disk_passed(&self, operations: u64) {
        self.points.lock().disk += operations;
    }
}
