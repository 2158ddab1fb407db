//! The record outside: told every line that the child said, it says which promises were broken.
//!
//! Invariants
//! 1. A message whose enqueue was answered is listed in every audit until a handler said that it was about to finish it.
//! 2. A message of which the engine told, durably, that it is done is never listed and never handed out again.
//! 3. What is handed out was submitted before, with the bytes it has.
//! 4. Messages of one ordering key are handed out for the first time in the order of their enqueues; a batch comes as a
//!    whole or not at all; one idempotency key is one message; a staged message comes after its stager's success.
//!
//! What is not known when the child dies is allowed either way: an enqueue without answer, a success of which the engine
//! did not tell. The first listing after the next opening decides, and from then on it must stay so.

mod ledger;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use crate::line::{Fate, HandOut, Said};
use crate::plan::{Class, GROUP, Name, Plan, ordering_key};

use self::ledger::{Flag, Ledger, SeqSet};

/// Violations kept as text; the others are counted.
const VIOLATIONS_KEPT: usize = 50;
/// Late starts are told from resurrections among so many messages that were done last.
const RECENT: usize = 50_000;
/// Answered messages with an idempotency key that may be sent again.
const ONCE: usize = 64;

/// A message whose sequence number is known and which is not over.
#[derive(Clone, Copy, Debug)]
struct Live {
    name: Name,
    handed: HandOut,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    pub(crate) answered: u64,
    pub(crate) existing: u64,
    pub(crate) refused: u64,
    pub(crate) handed: u64,
    pub(crate) ticks: u64,
    pub(crate) done: u64,
    pub(crate) dead: u64,
    pub(crate) replayed: u64,
    pub(crate) late_starts: u64,
    pub(crate) audits: u64,
    pub(crate) listed: u64,
    pub(crate) decided_by_reopening: u64,
    pub(crate) lost: u64,
    pub(crate) resurrected: u64,
    pub(crate) altered: u64,
    pub(crate) other: u64,
}

impl Counts {
    /// Promises broken.
    pub(crate) const fn violations(&self) -> u64 {
        self.lost + self.resurrected + self.altered + self.other
    }
}

#[derive(Debug, Default)]
struct Audit {
    /// It is the first of this life: nothing moved while it was made.
    is_exact: bool,
    seq_max: u64,
    listed: HashSet<u64>,
    done_meanwhile: HashSet<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Judge {
    plan: Plan,
    ledger: Ledger,
    live: HashMap<u64, Live>,
    seqs: HashMap<Name, u64>,
    done: SeqSet,
    recent: HashMap<u64, HandOut>,
    recent_order: VecDeque<u64>,
    once: VecDeque<(Name, u64)>,
    /// Submitted with an idempotency key and not answered.
    unanswered_once: BTreeSet<Name>,
    /// Batches whose enqueue was not answered, by their first number.
    open_batches: BTreeSet<u64>,
    latest_of_key: HashMap<u64, Name>,
    audit: Option<Audit>,
    seq_max: u64,
    next_number: u64,
    drained: bool,
    machine_fails: bool,
    last_trouble: String,
    counts: Counts,
    violations: Vec<String>,
}

impl Judge {
    pub(crate) fn new(plan: Plan) -> Self {
        Self {
            plan,
            ledger: Ledger::default(),
            live: HashMap::new(),
            seqs: HashMap::new(),
            done: SeqSet::default(),
            recent: HashMap::new(),
            recent_order: VecDeque::new(),
            once: VecDeque::new(),
            unanswered_once: BTreeSet::new(),
            open_batches: BTreeSet::new(),
            latest_of_key: HashMap::new(),
            audit: None,
            seq_max: 0,
            next_number: 0,
            drained: false,
            machine_fails: false,
            last_trouble: String::new(),
            counts: Counts::default(),
            violations: Vec::new(),
        }
    }

    pub(crate) const fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// The first number that no message has.
    pub(crate) const fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Messages that are known to be in the store.
    pub(crate) fn live_len(&self) -> usize {
        self.live.len()
    }

    /// What a producer would send again after a crash: what was not answered, and some of what was.
    pub(crate) fn to_send_again(&self) -> Vec<Name> {
        let answered = self.once.iter().map(|(name, _)| *name);
        self.unanswered_once
            .iter()
            .copied()
            .chain(answered)
            .collect()
    }

    /// From now on the machine is made to fail (or not): the child may complain (or not).
    pub(crate) fn set_machine_fails(&mut self, fails: bool) {
        self.machine_fails = fails;
        self.last_trouble.clear();
    }

    /// The last complaint while the machine was made to fail.
    pub(crate) fn last_trouble(&self) -> &str {
        &self.last_trouble
    }

    pub(crate) fn violate(&mut self, text: String) {
        self.counts.other += 1;
        self.keep(text);
    }

    fn keep(&mut self, text: String) {
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(text);
        }
    }

    fn lost(&mut self, name: Name, seq: u64, when: &str) {
        self.counts.lost += 1;
        self.keep(format!("lost: {name:?}, message {seq}: {when}"));
    }

    fn resurrected(&mut self, seq: u64, when: &str) {
        self.counts.resurrected += 1;
        self.keep(format!("resurrected: message {seq}: {when}"));
    }

    /// One line of the child.
    pub(crate) fn hear(&mut self, said: &Said) {
        match said {
            Said::Submitted(name) => self.submitted(*name),
            Said::BatchSubmitted { number } => {
                for number in *number..number + GROUP {
                    self.submitted(Name::first_stage(number));
                }
                self.open_batches.insert(*number);
            }
            Said::Answered {
                name, seq, is_new, ..
            } => self.answered(*name, *seq, *is_new),
            Said::Refused(name) => {
                self.counts.refused += 1;
                self.ledger.set(*name, Flag::Refused);
                self.open_batches.remove(&(name.number() / GROUP * GROUP));
            }
            Said::Handed {
                name,
                seq,
                hand_out,
                checksum,
            } => self.handed(*name, *seq, *hand_out, *checksum),
            Said::Tick { seq, hand_out } => self.ticked(*seq, *hand_out),
            Said::Finishing {
                name,
                seq,
                hand_out,
            } => {
                if self.live.get(seq).is_some_and(|it| it.handed == *hand_out) {
                    self.ledger.set(*name, Flag::Finishing);
                }
            }
            Said::Told { seq, fate } => self.told(*seq, *fate),
            Said::AuditBegins(number) => {
                self.audit = Some(Audit {
                    is_exact: *number == 0,
                    seq_max: self.seq_max,
                    ..Audit::default()
                });
            }
            Said::Listed(seqs) => self.listed(seqs),
            Said::AuditEnds(_) => self.audited(),
            Said::Trouble(text) | Said::GaveUp(text) if self.machine_fails => {
                self.last_trouble.clone_from(text);
            }
            Said::Trouble(text) | Said::GaveUp(text) => {
                self.violate(format!("the child complains: {text}"));
            }
            Said::Drained => self.drained = true,
            Said::Opened { .. } | Said::Gap(_) | Said::Figures(_) | Said::Closed => {}
        }
    }

    /// The child's life is over; what it was about to say will not be said.
    pub(crate) fn died(&mut self) {
        self.audit = None;
    }

    fn submitted(&mut self, name: Name) {
        self.counts.submitted += 1;
        self.ledger.set(name, Flag::Submitted);
        self.next_number = self.next_number.max(name.number() + 1);
        if self.plan.class(name.number()) == Class::Once {
            self.unanswered_once.insert(name);
        }
    }

    fn answered(&mut self, name: Name, seq: u64, is_new: bool) {
        let class = self.plan.class(name.number());
        self.seq_max = self.seq_max.max(seq);
        self.open_batches.remove(&(name.number() / GROUP * GROUP));
        if class == Class::Keep && !is_new {
            // The older message with its key stays; this one never comes into being.
            self.counts.existing += 1;
            self.ledger.set(name, Flag::Refused);
            return;
        }
        if class == Class::Once {
            self.unanswered_once.remove(&name);
            let known = self.once.iter().find(|(once, _)| *once == name);
            match known {
                Some((_, first)) if *first != seq => {
                    let first = *first;
                    return self.violate(format!("{name:?} is both message {first} and {seq}"));
                }
                Some(_) => {
                    self.counts.existing += u64::from(!is_new);
                    return;
                }
                None => self.once.push_back((name, seq)),
            }
            if self.once.len() > ONCE {
                self.once.pop_front();
            }
        }
        self.counts.answered += 1;
        self.ledger.set(name, Flag::Answered);
        self.know(name, seq);
    }

    /// From now on it is known which message this is.
    fn know(&mut self, name: Name, seq: u64) {
        self.seq_max = self.seq_max.max(seq);
        if self.done.contains(seq) {
            self.ledger.set(name, Flag::Done); // it was quicker than its receipt
            return;
        }
        let fresh = Live {
            name,
            handed: HandOut::default(),
        };
        self.live.entry(seq).or_insert(fresh);
        if let Some(other) = self.seqs.insert(name, seq).filter(|other| *other != seq) {
            self.violate(format!("{name:?} is both message {other} and {seq}"));
        }
    }

    fn handed(&mut self, name: Name, seq: u64, hand_out: HandOut, checksum: u32) {
        self.counts.handed += 1;
        if checksum != name.checksum() {
            self.counts.altered += 1;
            self.keep(format!(
                "altered: the payload of {name:?}, message {seq}, has other bytes"
            ));
        }
        if self.ledger.has(name, Flag::Refused) {
            self.violate(format!("{name:?} was refused and handed out"));
        }
        match name.staged_by() {
            Some(stager) if !self.may_be_done(stager) => {
                self.violate(format!("{name:?} came before the success of its stager"));
            }
            None if !self.ledger.has(name, Flag::Submitted) => {
                self.violate(format!("{name:?} was never submitted"));
            }
            _ => {}
        }
        if self.is_over(seq, hand_out) {
            return;
        }
        self.check_order(name);
        self.know(name, seq);
        self.ledger.set(name, Flag::Handed);
        self.ledger.clear(name, Flag::Finishing);
        if let Some(live) = self.live.get_mut(&seq) {
            live.handed = live.handed.max(hand_out);
        }
    }

    fn may_be_done(&self, name: Name) -> bool {
        self.ledger.has(name, Flag::Done) || self.ledger.has(name, Flag::Finishing)
    }

    /// Whether the message is done; if this hand-out came after the one that did it, that is a violation. One that came
    /// before may start late: its lease was lost meanwhile.
    fn is_over(&mut self, seq: u64, hand_out: HandOut) -> bool {
        if !self.done.contains(seq) {
            return false;
        }
        match self.recent.get(&seq) {
            Some(last) if hand_out <= *last => self.counts.late_starts += 1,
            _ => self.resurrected(seq, "handed out after it was done"),
        }
        true
    }

    fn ticked(&mut self, seq: u64, hand_out: HandOut) {
        self.counts.ticks += 1;
        self.seq_max = self.seq_max.max(seq);
        if !self.is_over(seq, hand_out) {
            self.recent.insert(seq, hand_out);
        }
    }

    fn check_order(&mut self, name: Name) {
        let is_first = !self.ledger.has(name, Flag::Handed) && !self.ledger.has(name, Flag::Dead);
        if self.plan.class(name.number()) != Class::Ordered || !is_first {
            return;
        }
        let latest = self
            .latest_of_key
            .entry(ordering_key(name.number()))
            .or_insert(name);
        if *latest > name {
            let latest = *latest;
            self.violate(format!(
                "{name:?} was handed out after its successor {latest:?}"
            ));
        } else {
            *latest = name;
        }
    }

    fn told(&mut self, seq: u64, fate: Fate) {
        match fate {
            Fate::Done => {
                self.counts.done += 1;
                if let Some(audit) = &mut self.audit {
                    audit.done_meanwhile.insert(seq);
                }
                self.is_done(seq);
            }
            Fate::Dead => {
                self.counts.dead += 1;
                if let Some(name) = self.live.get(&seq).map(|live| live.name) {
                    self.ledger.set(name, Flag::Dead);
                }
            }
            Fate::Replayed => self.counts.replayed += 1,
        }
    }

    fn is_done(&mut self, seq: u64) {
        self.done.insert(seq);
        let live = self.live.remove(&seq);
        let last = live.map_or_else(
            || self.recent.get(&seq).copied().unwrap_or_default(),
            |live| live.handed,
        );
        self.recent.insert(seq, last);
        self.recent_order.push_back(seq);
        if self.recent_order.len() > RECENT
            && let Some(old) = self.recent_order.pop_front()
        {
            self.recent.remove(&old);
        }
        if let Some(live) = live {
            self.name_is_done(live.name);
        }
    }

    fn name_is_done(&mut self, name: Name) {
        self.seqs.remove(&name);
        self.ledger.set(name, Flag::Done);
        // Its success brought the next stage into being.
        if self.plan.class(name.number()) == Class::Chain
            && let Some(next) = name.next_stage()
        {
            self.ledger.set(next, Flag::Submitted);
            self.ledger.set(next, Flag::Answered);
        }
    }

    fn listed(&mut self, seqs: &[u64]) {
        self.counts.listed += seqs.len() as u64;
        for seq in seqs {
            let Some(audit) = &mut self.audit else {
                return self.violate("a listing outside of an audit".to_owned());
            };
            audit.listed.insert(*seq);
            let is_exact = audit.is_exact;
            if self.done.contains(*seq) && !audit.done_meanwhile.contains(seq) {
                self.resurrected(*seq, "listed after it was done");
            }
            if is_exact && let Some(live) = self.live.get(seq) {
                // It was about to finish, and did not.
                self.ledger.clear(live.name, Flag::Finishing);
            }
        }
    }

    fn audited(&mut self) {
        let Some(audit) = self.audit.take() else {
            return self.violate("an audit ended that had not begun".to_owned());
        };
        self.counts.audits += 1;
        let missing: Vec<(u64, Name)> = self
            .live
            .iter()
            .filter(|(seq, _)| **seq <= audit.seq_max && !audit.listed.contains(seq))
            .map(|(seq, live)| (*seq, live.name))
            .collect();
        for (seq, name) in missing {
            if !self.ledger.has(name, Flag::Finishing) {
                self.lost(
                    name,
                    seq,
                    "not listed, and no handler was about to finish it",
                );
                self.is_done(seq);
            } else if audit.is_exact {
                self.counts.decided_by_reopening += 1;
                self.is_done(seq);
            }
        }
    }

    /// After everything was worked off, and a last audit: whatever was promised has come.
    pub(crate) fn finish(&mut self) {
        if !self.drained {
            self.violate("the store was not worked off".to_owned());
        }
        let mut missing = Vec::new();
        for name in self.ledger.names() {
            let owed = self.ledger.has(name, Flag::Answered) && !self.ledger.has(name, Flag::Done);
            let is_pinned = self.plan.class(name.number()) == Class::Pinned;
            if owed && !(is_pinned && self.seqs.contains_key(&name)) {
                missing.push(name);
            }
        }
        for name in missing {
            let seq = self.seqs.get(&name).copied().unwrap_or_default();
            self.lost(name, seq, "not done after everything was worked off");
        }
        let torn: Vec<u64> = self
            .open_batches
            .iter()
            .copied()
            .filter(|first| {
                let members = *first..first + GROUP;
                let came = members
                    .filter(|number| self.ledger.has(Name::first_stage(*number), Flag::Handed))
                    .count();
                came != 0 && came as u64 != GROUP
            })
            .collect();
        for first in torn {
            self.violate(format!("of the batch {first} only some came"));
        }
    }
}
