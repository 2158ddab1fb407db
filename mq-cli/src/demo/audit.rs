//! The demo's proof: computed from the orders file and the effects log alone.
//!
//! Each order must have been handled once as order, as payment and as receipt; what is missing of these counts as lost.
//! More than once is allowed (at least once is the promise) and shown.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};

use super::effects::{self, Effect};
use super::orders;
use crate::exit::Result;

/// The steps each order goes through.
pub(crate) const KINDS: [&str; 3] = ["order", "payment", "receipt"];

/// What the two files say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Audit {
    lines: u64,
    orders: HashSet<String>,
    handled: HashMap<(String, String), u64>,
    retries: u64,
    dead: u64,
    replayed: u64,
    kills: u64,
    submitted: u64,
    duplicates: u64,
    seconds: f64,
    syncs_per_second: f64,
}

impl Audit {
    /// Reads both files of a demo's folder.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let mut audit = Self::default();
        orders::read(&folder.join(orders::FILE), |order| {
            audit.lines += 1;
            audit.orders.insert(order.id);
            Ok(())
        })?;
        effects::read(folder, |effect| audit.count(effect))?;
        Ok(audit)
    }

    fn count(&mut self, effect: Effect) {
        match effect {
            Effect::Handled { kind, order } => *self.handled.entry((kind, order)).or_default() += 1,
            Effect::Retried { .. } => self.retries += 1,
            Effect::Dead { .. } => self.dead += 1,
            Effect::Replayed { .. } => self.replayed += 1,
            Effect::Killed { .. } => self.kills += 1,
            Effect::Submitted { lines, duplicates } => {
                self.submitted += lines;
                self.duplicates += duplicates;
            }
            Effect::Ran {
                seconds,
                syncs_per_second,
            } => {
                self.seconds += seconds;
                self.syncs_per_second = syncs_per_second;
            }
        }
    }

    /// Steps of orders that never happened.
    pub(crate) fn lost(&self) -> u64 {
        let steps = self
            .orders
            .iter()
            .flat_map(|order| KINDS.map(|kind| (kind.to_owned(), order.clone())));
        steps
            .filter(|step| !self.handled.contains_key(step))
            .count() as u64
    }

    fn handled_by(&self, kind: &str) -> u64 {
        self.handled
            .iter()
            .filter(|((handled, _), _)| handled == kind)
            .map(|(_, count)| count)
            .sum()
    }

    fn handled_twice(&self) -> u64 {
        self.handled
            .values()
            .map(|count| count.saturating_sub(1))
            .sum()
    }

    /// The table that people read.
    pub(crate) fn table(&self) -> Table {
        let handled: u64 = self.handled.values().sum();
        let rate = if self.seconds > 0.0 {
            handled as f64 / self.seconds
        } else {
            0.0
        };
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let rows = [
            ("orders in the file", self.lines.to_string()),
            ("different orders", self.orders.len().to_string()),
            (
                "submitted, again after the kill",
                self.submitted.to_string(),
            ),
            ("duplicates refused", self.duplicates.to_string()),
            ("handled: order", self.handled_by("order").to_string()),
            ("handled: payment", self.handled_by("payment").to_string()),
            ("handled: receipt", self.handled_by("receipt").to_string()),
            ("retries", self.retries.to_string()),
            ("dead", self.dead.to_string()),
            ("replayed", self.replayed.to_string()),
            ("killed with SIGKILL", self.kills.to_string()),
            ("handled twice", self.handled_twice().to_string()),
            ("time", format!("{:.2} s", self.seconds)),
            ("rate", format!("{rate:.0} handled/s")),
            (
                "the disk's own sync rate",
                format!("{:.0} syncs/s", self.syncs_per_second),
            ),
        ];
        for (label, value) in rows {
            table.add_row([label.to_owned(), value]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}
