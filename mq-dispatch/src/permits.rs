//! The arithmetic of one pool: how many messages more it can take.
//!
//! A free worker is a permit at the store, which chooses among all that the pool serves when it spends it. What arrives
//! beyond the free workers (after scaling down or a pause) is given back.
//!
//! Invariants: `busy` never exceeds `limit` except after scaling down; `returning ≤ unspent`.

/// What becomes of a granted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// A worker is free.
    Start,
    /// It goes back to the store.
    GiveBack,
}

/// What to tell the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// So many permits more.
    Add(u32),
    /// So many back.
    TakeBack(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Permits {
    limit: u32,
    busy: u32,
    open: bool,
    /// It is not opened again.
    closed: bool,
    /// Services that are ready; without layers nothing has to be.
    ready: Option<u32>,
    /// Permits that the store has.
    unspent: u32,
    /// Those of them that it was asked to give back.
    returning: u32,
}

impl Permits {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit,
            busy: 0,
            open: true,
            closed: false,
            ready: None,
            unspent: 0,
            returning: 0,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Whether new messages are taken; none are once it is closed.
    pub(crate) fn set_open(&mut self, open: bool) {
        self.open = open && !self.closed;
    }

    /// Takes no new messages for good.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.open = false;
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

    /// A message arrived.
    pub(crate) fn granted(&mut self) -> Placement {
        self.unspent = self.unspent.saturating_sub(1);
        self.returning = self.returning.min(self.unspent);
        if self.idle() == 0 || self.ready == Some(0) {
            return Placement::GiveBack;
        }
        self.busy += 1;
        self.ready = self.ready.map(|services| services - 1);
        Placement::Start
    }

    /// Workers became free.
    pub(crate) fn freed(&mut self, workers: u32) {
        self.busy = self.busy.saturating_sub(workers);
    }

    /// What to tell the store so that it has as many permits as there are free workers.
    pub(crate) fn correct(&mut self) -> Option<Change> {
        let wanted = self.idle().min(self.ready.unwrap_or(u32::MAX));
        let there = self.unspent - self.returning;
        if there < wanted {
            self.unspent += wanted - there;
            Some(Change::Add(wanted - there))
        } else if there > wanted {
            self.returning += there - wanted;
            Some(Change::TakeBack(there - wanted))
        } else {
            None
        }
    }

    /// The store gave `answered` of the `asked` permits back.
    pub(crate) fn taken_back(&mut self, asked: u32, answered: u32) {
        self.returning = self.returning.saturating_sub(asked);
        self.unspent = self.unspent.saturating_sub(answered);
        self.returning = self.returning.min(self.unspent);
    }

    /// Whether no more than the limit can run at any moment from now.
    pub(crate) fn is_in_force(&self) -> bool {
        self.busy.saturating_add(self.unspent) <= self.limit
    }
}

#[cfg(test)]
mod tests;
