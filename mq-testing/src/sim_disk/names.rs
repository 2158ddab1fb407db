//! The directory of the simulated disk: which name leads to which file, now and on the device.
//!
//! Invariants:
//! 1. `durable` changes only when the directory is synced; until then each change in `pending` may or may not be on the device, in any
//!    combination: a rename may be there before the creation it builds on, or before the data of its file.
//! 2. A rename is one change: there is no moment at which both names, or neither, lead to the file.
//!
//! What it does not do: contents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::crash::{Chooser, PendingSummary};

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileId(pub(super) u64);

type Map = BTreeMap<Arc<str>, FileId>;

#[derive(Clone, Debug)]
enum Change {
    Create { name: Arc<str>, file: FileId },
    Remove { name: Arc<str>, file: FileId },
    Rename { to: Arc<str>, file: FileId },
}

#[derive(Clone, Debug)]
struct PendingChange {
    moment: u64,
    change: Change,
    /// A failed sync left it behind; no later one writes it.
    abandoned: bool,
}

/// A directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    current: Map,
    durable: Map,
    pending: Vec<PendingChange>,
}

impl Names {
    pub(super) fn get(&self, name: &str) -> Option<FileId> {
        self.current.get(name).copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, FileId)> {
        self.current.iter().map(|(name, file)| (name, *file))
    }

    pub(super) fn create(&mut self, moment: u64, name: &Arc<str>, file: FileId) {
        self.change(
            moment,
            Change::Create {
                name: Arc::clone(name),
                file,
            },
        );
    }

    /// The file that had the name, if there was one.
    pub(super) fn remove(&mut self, moment: u64, name: &str) -> Option<FileId> {
        let (name, file) = self
            .current
            .get_key_value(name)
            .map(|(name, file)| (Arc::clone(name), *file))?;
        self.change(moment, Change::Remove { name, file });
        Some(file)
    }

    /// Whether there was a file of that name.
    pub(super) fn rename(&mut self, moment: u64, from: &str, to: &Arc<str>) -> bool {
        let Some(file) = self.get(from) else {
            return false;
        };
        self.change(
            moment,
            Change::Rename {
                to: Arc::clone(to),
                file,
            },
        );
        true
    }

    pub(super) fn sync(&mut self) {
        for pending in self.pending.iter().filter(|pending| !pending.abandoned) {
            apply(&mut self.durable, &pending.change);
        }
        self.pending.retain(|pending| pending.abandoned);
    }

    pub(super) fn abandon(&mut self) {
        for pending in &mut self.pending {
            pending.abandoned = true;
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn summarize(&self, moments: &mut BTreeSet<u64>, summary: &mut PendingSummary) {
        let live = self.pending.iter().filter(|pending| !pending.abandoned);
        moments.extend(live.clone().map(|pending| pending.moment));
        summary.items += live.count() as u64;
    }

    /// The directory as the device holds it after a crash.
    pub(super) fn after_crash(&self, chooser: &mut Chooser) -> Self {
        let live: Vec<&PendingChange> = self
            .pending
            .iter()
            .filter(|pending| !pending.abandoned)
            .collect();
        let moments: Vec<u64> = live.iter().map(|pending| pending.moment).collect();
        let mut left = self.durable.clone();
        for (pending, kept) in live.into_iter().zip(chooser.names(&moments)) {
            if kept {
                apply(&mut left, &pending.change);
            }
        }
        Self {
            current: left.clone(),
            durable: left,
            pending: Vec::new(),
        }
    }

    /// Changes what the device holds; what was pending is durable from then on.
    pub(super) fn spoil(&mut self, spoil: impl FnOnce(&mut Map)) {
        spoil(&mut self.current);
        self.durable = self.current.clone();
        self.pending.clear();
    }

    fn change(&mut self, moment: u64, change: Change) {
        apply(&mut self.current, &change);
        self.pending.push(PendingChange {
            moment,
            change,
            abandoned: false,
        });
    }
}

fn apply(map: &mut Map, change: &Change) {
    match change {
        Change::Create { name, file } => {
            map.insert(Arc::clone(name), *file);
        }
        Change::Remove { name, file } => {
            if map.get(name) == Some(file) {
                map.remove(name);
            }
        }
        Change::Rename { to, file } => {
            map.retain(|_, other| other != file);
            map.insert(Arc::clone(to), *file);
        }
    }
}
