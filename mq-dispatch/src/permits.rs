//! The arithmetic of one pool: how many messages more it can take, and from which line.
//!
//! A pool has one line per kind it serves: the kind itself, then its aliases. A free worker is a permit at the first
//! line; each alias has at most one permit, so a message of an alias can arrive when no worker is free. It then waits
//! in the pool. What arrives beyond that (after scaling down or a pause) is given back.
//!
//! Invariants: `busy` never exceeds `limit` except after scaling down; `returning ≤ unspent` at each line.

/// What becomes of a granted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// A worker is free.
    Start,
    /// It waits in the pool for the next free worker.
    Wait,
    /// It goes back to the store.
    GiveBack,
}

/// What to tell the store about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correction {
    pub(crate) line: usize,
    pub(crate) change: Change,
}

/// A change of permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// So many more.
    Add(u32),
    /// So many back.
    TakeBack(u32),
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// Permits that the store has.
    unspent: u32,
    /// Those of them that it was asked to give back.
    returning: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Permits {
    limit: u32,
    busy: u32,
    waiting: u32,
    open: bool,
    /// Services that are ready; without layers nothing has to be.
    ready: Option<u32>,
    lines: Vec<Line>,
}

impl Permits {
    pub(crate) fn new(limit: u32, lines: usize) -> Self {
        Self {
            limit,
            busy: 0,
            waiting: 0,
            open: true,
            ready: None,
            lines: vec![Line::default(); lines],
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Whether new messages are taken.
    pub(crate) fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Workers that could start a message, if services are ready.
    pub(crate) fn idle(&self) -> u32 {
        if self.open {
            self.limit.saturating_sub(self.busy)
        } else {
            0
        }
    }

    /// So many services are ready: no more messages can start.
    pub(crate) fn set_ready(&mut self, services: u32) {
        self.ready = Some(services);
    }

    /// Takes a free worker and a ready service, if there are both.
    fn start(&mut self) -> bool {
        let can = self.busy < self.limit && self.ready != Some(0);
        if can {
            self.busy += 1;
            self.ready = self.ready.map(|services| services - 1);
        }
        can
    }

    /// A message arrived from `line`.
    pub(crate) fn granted(&mut self, line: usize) -> Placement {
        if let Some(line) = self.lines.get_mut(line) {
            line.unspent = line.unspent.saturating_sub(1);
            line.returning = line.returning.min(line.unspent);
        }
        let aliases = self.lines.len().saturating_sub(1);
        if !self.open {
            Placement::GiveBack
        } else if self.start() {
            Placement::Start
        } else if usize::try_from(self.waiting).is_ok_and(|waiting| waiting < aliases) {
            self.waiting += 1;
            Placement::Wait
        } else {
            Placement::GiveBack
        }
    }

    /// Workers became free.
    pub(crate) fn freed(&mut self, workers: u32) {
        self.busy = self.busy.saturating_sub(workers);
    }

    /// Takes a free worker for a message that waits; `false` if there is none.
    pub(crate) fn start_waiting(&mut self) -> bool {
        let can = self.open && self.waiting > 0 && self.start();
        if can {
            self.waiting -= 1;
        }
        can
    }

    /// A message that waited went away without having started.
    pub(crate) fn left_waiting(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// What to tell the store so that it has as many permits as there are free workers.
    pub(crate) fn correct(&mut self, corrections: &mut Vec<Correction>) {
        let able = self.idle().min(self.ready.unwrap_or(u32::MAX));
        let free = able.saturating_sub(self.waiting);
        for (index, line) in self.lines.iter_mut().enumerate() {
            let wanted = if index == 0 { free } else { free.min(1) };
            let there = line.unspent - line.returning;
            let change = if there < wanted {
                line.unspent += wanted - there;
                Change::Add(wanted - there)
            } else if there > wanted {
                line.returning += there - wanted;
                Change::TakeBack(there - wanted)
            } else {
                continue;
            };
            corrections.push(Correction {
                line: index,
                change,
            });
        }
    }

    /// The store gave `answered` of the `asked` permits back.
    pub(crate) fn taken_back(&mut self, line: usize, asked: u32, answered: u32) {
        if let Some(line) = self.lines.get_mut(line) {
            line.returning = line.returning.saturating_sub(asked);
            line.unspent = line.unspent.saturating_sub(answered);
            line.returning = line.returning.min(line.unspent);
        }
    }

    /// Whether no more than the limit can run at any moment from now.
    pub(crate) fn is_in_force(&self) -> bool {
        let first = self.lines.first().map_or(0, |line| line.unspent);
        self.busy.saturating_add(first) <= self.limit
    }
}

#[cfg(test)]
mod tests;
