//! What a measurement says: value, what it is divided by, ratio, goal, met.

use serde::Serialize;

/// One measured goal.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Which goal, such as `S1`.
    pub id: &'static str,
    /// What was measured.
    pub workload: String,
    /// The median of the runs.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it is divided by, in the same unit.
    pub baseline: f64,
    /// `value / baseline`.
    pub ratio: f64,
    /// The floor or ceiling of the ratio.
    pub goal: f64,
    /// Whether the goal is a floor (`true`) or a ceiling.
    pub at_least: bool,
    /// Whether it was reached.
    pub met: bool,
}

impl Measured {
    /// Divides and judges.
    #[must_use]
    pub fn new(
        id: &'static str,
        workload: impl Into<String>,
        unit: &'static str,
        value: f64,
        baseline: f64,
        goal: Goal,
    ) -> Self {
        let ratio = value / baseline;
        let (goal, at_least) = match goal {
            Goal::AtLeast(floor) => (floor, true),
            Goal::AtMost(ceiling) => (ceiling, false),
        };
        let met = if at_least {
            ratio >= goal
        } else {
            ratio <= goal
        };
        Self {
            id,
            workload: workload.into(),
            value,
            unit,
            baseline,
            ratio,
            goal,
            at_least,
            met,
        }
    }

    /// A line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let sign = if self.at_least { "≥" } else { "≤" };
        let met = if self.met { "met" } else { "MISSED" };
        format!(
            "{:4} {:46} {:>12.1} {:10} / {:>12.1} = {:>7.3}  goal {sign} {:<6} {met}",
            self.id, self.workload, self.value, self.unit, self.baseline, self.ratio, self.goal
        )
    }
}

/// What a ratio has to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// A floor.
    AtLeast(f64),
    /// A ceiling.
    AtMost(f64),
}

/// The middle one; of an even number, the lower middle.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}
