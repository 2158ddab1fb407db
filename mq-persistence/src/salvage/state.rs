//! Replay over damage: what can be true is taken, what contradicts it is passed over, and what is lost is counted.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use mq_core::event::Event;
use mq_core::id::{KindId, MessageId, QueueId, Seq, StoreTag};
use mq_core::image::{ImageRecord, MessageImage};
use mq_core::manager::{Config, QueueManager};
use mq_core::name::{KindName, QueueName};
use mq_core::state::StoredState;

use super::source::{Link, Source, whole_file};
use super::walk::{Piece, Stretch, walk};
use super::{LISTED_MAX, LostMessage, SalvageReport};
use crate::frame::{FrameHeader, PlaceChange, change_of};
use crate::lsn::Lsn;
use crate::places::Places;
use crate::record::{RawRecord, Record};
use crate::recovery::LastTime;

/// What is known so far.
pub(super) struct State {
    pub(super) manager: QueueManager,
    tag: StoreTag,
    pub(super) places: Places,
    pub(super) report: SalvageReport,
    pub(super) last: LastTime,
    names: Names,
    /// The last sequence seen.
    last_seq: Seq,
    /// Something was lost since the last enqueue that was seen in a whole frame.
    gap: bool,
    /// The segment in which the journal goes on after the last that was seen.
    next: Option<u32>,
    /// Records come out of what is damaged.
    is_loose: bool,
    /// Messages mentioned after the last loss, and the last sequence before it.
    mentioned: HashSet<Seq>,
    horizon: Option<Seq>,
    /// The last sequence of the last loss, with what was whole in its stretch: their ends may be lost.
    doubtful: Option<Seq>,
    /// Messages whose enqueue was not found: still alive when last mentioned, and over.
    orphans: BTreeSet<Seq>,
    over: BTreeSet<Seq>,
    /// Queues whose settings stand behind the last loss.
    pub(super) queues_set: BTreeSet<QueueId>,
}

/// Names of queues and kinds, wherever they stand, and the largest numbers that are used.
#[derive(Default)]
struct Names {
    queues: BTreeMap<u32, QueueName>,
    kinds: BTreeMap<u32, KindName>,
    queue_max: Option<u32>,
    kind_max: Option<u32>,
}

impl State {
    pub(super) fn new(source: &Source, config: &Config) -> Self {
        let manager = QueueManager::new(Config {
            tag: source.identity.tag,
            ..config.clone()
        });
        Self {
            manager,
            tag: source.identity.tag,
            places: Places::new(Arc::new(source.to_segments())),
            report: SalvageReport {
                losses: source.losses.clone(),
                identity_lost: source.identity_lost,
                ..SalvageReport::default()
            },
            last: LastTime::default(),
            names: Names::default(),
            last_seq: Seq::NONE,
            gap: false,
            next: None,
            is_loose: false,
            mentioned: HashSet::new(),
            horizon: None,
            doubtful: None,
            orphans: BTreeSet::new(),
            over: BTreeSet::new(),
            queues_set: BTreeSet::new(),
        }
    }

    /// Takes what the snapshot holds.
    pub(super) fn begin(&mut self, source: &Source) {
        source
            .loose
            .iter()
            .for_each(|record| self.names.note(record));
        let Some(snapshot) = &source.snapshot else {
            return;
        };
        self.report.snapshot = Some(snapshot.name().to_owned());
        for record in snapshot.records().flatten() {
            self.names.note(&record);
            if let ImageRecord::Counters { last_seq, .. } = &record {
                self.last_seq = *last_seq;
            }
            if let Err(error) = self.manager.restore(record) {
                self.note_loss(whole_file(snapshot.name(), error));
            }
        }
        for (seq, place) in snapshot.places().flatten() {
            self.places.restore(seq, place);
        }
        self.last = LastTime {
            wall: snapshot.facts.wall,
            store: snapshot.facts.store,
        };
    }

    /// Takes what the journal holds from there on.
    pub(super) fn replay(&mut self, source: &Source) {
        let mut missing = Vec::new();
        let chain = source.chain(&mut missing);
        let from = source.from();
        for link in &chain {
            self.pieces(source, *link, &chain, &mut |state, piece| {
                if let Piece::Record(_, _, Record::Event(event)) = piece {
                    state.names.note_event(event);
                }
            });
        }
        self.define_names();
        if let Some(first) = chain.first()
            && from == Lsn::START
            && let Ok((name, bytes)) = source.bytes(first.number)
            && bytes.previous().is_ok_and(|it| it.end != Lsn::START)
        {
            let reason = "no snapshot is whole, and the journal before this segment was freed";
            missing.push(whole_file(name, reason));
        }
        for link in &chain {
            // What is missing before this segment belongs here.
            let (before, later): (Vec<_>, Vec<_>) = missing.into_iter().partition(|loss| {
                crate::segment::number_of(&loss.file).is_some_and(|lost| lost <= link.number)
            });
            missing = later;
            before.into_iter().for_each(|loss| self.note_loss(loss));
            self.pieces(source, *link, &chain, &mut |state, piece| {
                state.take(piece);
            });
        }
        missing.into_iter().for_each(|loss| self.note_loss(loss));
        let top = chain.last().map_or(0, |link| link.number);
        let behind = source.missing_behind(top, self.next);
        behind.into_iter().for_each(|loss| self.note_loss(loss));
        if source.is_cut_from(top) {
            self.doubt();
        }
        if self.gap {
            self.report
                .unknown
                .push((self.last_seq.get() + 1, u64::MAX));
        }
        self.settle_orphans();
    }

    fn pieces(
        &mut self,
        source: &Source,
        link: Link,
        chain: &[Link],
        visit: &mut dyn FnMut(&mut Self, &Piece<'_>),
    ) {
        let (name, bytes) = match source.bytes(link.number) {
            Ok(found) => found,
            Err(loss) => return visit(self, &Piece::Loss(loss)),
        };
        let stretch = Stretch {
            from: source.from(),
            end: link.end,
            is_cut: source.is_cut(link.number),
            is_top: chain.last().is_some_and(|last| last.number == link.number),
        };
        walk(&bytes, name, stretch, &mut |piece| visit(self, &piece));
    }

    fn take(&mut self, piece: &Piece<'_>) {
        match piece {
            Piece::Frame(header) => self.frame(header),
            Piece::Record(at, raw, record) => self.record(*at, raw, record),
            Piece::Loss(loss) => self.note_loss(loss.clone()),
            Piece::Torn(text) => self.report.notes.push(text.clone()),
        }
    }

    fn frame(&mut self, header: &FrameHeader) {
        self.is_loose = false;
        self.next = None;
        self.last = LastTime {
            wall: header.wall,
            store: header.store,
        };
    }

    fn note_loss(&mut self, loss: super::Loss) {
        self.report.losses.push(loss);
        self.doubt();
    }

    /// From here on it is not known what happened before.
    fn doubt(&mut self) {
        self.gap = true;
        self.is_loose = true;
        self.horizon = Some(self.last_seq);
        self.doubtful = self.horizon;
        self.mentioned.clear();
        self.queues_set.clear();
    }

    /// Whether part of what happened is lost.
    pub(super) const fn is_doubted(&self) -> bool {
        self.horizon.is_some()
    }

    fn record(&mut self, at: Lsn, raw: &RawRecord<'_>, record: &Record) {
        if let Record::Next { segment } = record
            && !self.is_loose
        {
            self.next = Some(*segment);
        }
        let change = change_of(raw, record, at);
        let is_taken = match record {
            Record::Event(event) => self.event(event),
            Record::Relocated { .. } => true,
            Record::Image(_)
            | Record::Previous(_)
            | Record::Next { .. }
            | Record::Ignored { .. } => false,
        };
        if is_taken {
            self.report.records += 1;
            if let Some(change) = change {
                self.places.apply(&change, at);
            }
        }
    }

    /// Whether it could be taken.
    fn event(&mut self, event: &Event) -> bool {
        if let Event::Enqueued(enqueued) = event {
            // Sequences are issued one after the other: one that is passed over is in what is lost.
            let next = self.last_seq.get() + 1;
            if enqueued.seq.get() > next {
                self.report.unknown.push((next, enqueued.seq.get() - 1));
            }
            self.gap &= self.is_loose;
            self.last_seq = self.last_seq.max(enqueued.seq);
            if self.is_loose {
                self.doubtful = Some(self.last_seq);
            }
        }
        let taken = self.manager.apply(event, 0).is_ok();
        if let Event::QueueSet { queue, .. } = event
            && !self.is_loose
        {
            self.queues_set.insert(*queue);
        }
        if let Some(seq) = seq_of(event) {
            // What is whole in a damaged stretch proves nothing about what came later in it.
            if !self.is_loose {
                self.mentioned.insert(seq);
            }
            match event {
                Event::Finished { .. } if !taken => {
                    self.orphans.remove(&seq);
                    self.over.insert(seq);
                }
                Event::Changed(_) if !taken && seq > self.horizon.unwrap_or(Seq::NONE) => {
                    self.orphans.insert(seq);
                }
                _ => {}
            }
        }
        taken
    }

    /// Messages that were changed but never seen enqueued are lost; what ended is not.
    fn settle_orphans(&mut self) {
        for seq in std::mem::take(&mut self.orphans) {
            self.report.note_lost(LostMessage {
                seq: seq.get(),
                id: None,
                reason: "its enqueue is in what is lost".to_owned(),
            });
        }
        let over = std::mem::take(&mut self.over);
        for (first, last) in &mut self.report.unknown {
            // Rows shrink from both ends by what is known to have ended.
            while first <= last && Seq::new(*first).is_some_and(|seq| over.contains(&seq)) {
                *first += 1;
            }
            while first <= last && Seq::new(*last).is_some_and(|seq| over.contains(&seq)) {
                *last -= 1;
            }
        }
        self.report.unknown.retain(|(first, last)| first <= last);
    }

    /// Defines every queue and kind that is mentioned anywhere, in order; those whose name is lost get one.
    fn define_names(&mut self) {
        let names = std::mem::take(&mut self.names);
        for number in 0..names.queue_max.map_or(0, |last| last.saturating_add(1)) {
            let known = names.queues.get(&number).cloned();
            let made = format!("salvaged-queue-{number}");
            if let Some(name) = known.clone().or_else(|| QueueName::new(&made).ok()) {
                let id = QueueId(number);
                self.define(&Event::QueueDefined { id, name }, known.is_none(), made);
            }
        }
        for number in 0..names.kind_max.map_or(0, |last| last.saturating_add(1)) {
            let known = names.kinds.get(&number).cloned();
            let made = format!("salvaged-kind-{number}");
            if let Some(name) = known.clone().or_else(|| KindName::new(&made).ok()) {
                let id = KindId(number);
                self.define(&Event::KindDefined { id, name }, known.is_none(), made);
            }
        }
    }

    /// Defines a name that is not in the snapshot, and says so if it is a made one.
    fn define(&mut self, event: &Event, is_made: bool, name: String) {
        if self.manager.apply(event, 0).is_ok() && is_made {
            self.report.renamed.push(name);
        }
    }

    /// A message cannot come out: it leaves the state.
    pub(super) fn lose(&mut self, message: &MessageImage, reason: String) {
        let seq = message.facts.seq;
        let forgotten = self.manager.apply(&Event::Finished { seq }, 0);
        if forgotten.is_ok() {
            self.places
                .apply(&PlaceChange::Forgotten { seq }, Lsn::START);
        }
        self.report.note_lost(LostMessage {
            seq: seq.get(),
            id: Some(id_of(message, self.tag)),
            reason,
        });
    }

    /// A message comes out; it may have ended in what is lost.
    pub(super) fn save(&mut self, message: &MessageImage) {
        self.report.messages += 1;
        let seq = message.facts.seq;
        let is_alive = matches!(
            message.state,
            StoredState::Pending { .. } | StoredState::Held { .. }
        );
        let is_before = self.doubtful.is_some_and(|last| seq <= last);
        if is_alive && is_before && !self.mentioned.contains(&seq) {
            self.report.may_run_again_count += 1;
            if self.report.may_run_again.len() < LISTED_MAX {
                let id = id_of(message, self.tag);
                self.report.may_run_again.push(id);
            }
        }
    }
}

fn id_of(message: &MessageImage, tag: StoreTag) -> MessageId {
    MessageId::new(message.facts.at.as_ms(), message.facts.seq, tag)
}

impl Names {
    fn note(&mut self, record: &ImageRecord) {
        if let ImageRecord::Queue { id, name, .. } = record {
            self.queues.insert(id.0, name.clone());
            self.queue_max = self.queue_max.max(Some(id.0));
        }
        if let ImageRecord::Kind { id, name, .. } = record {
            self.kinds.insert(id.0, name.clone());
            self.kind_max = self.kind_max.max(Some(id.0));
        }
    }

    fn note_event(&mut self, event: &Event) {
        if let Event::QueueDefined { id, name } = event {
            self.queues.insert(id.0, name.clone());
            self.queue_max = self.queue_max.max(Some(id.0));
        }
        if let Event::KindDefined { id, name } = event {
            self.kinds.insert(id.0, name.clone());
            self.kind_max = self.kind_max.max(Some(id.0));
        }
        if let Event::Enqueued(enqueued) = event {
            self.queue_max = self.queue_max.max(Some(enqueued.queue.0));
            self.kind_max = self.kind_max.max(Some(enqueued.kind.0));
        }
        if let Event::Changed(changed) = event {
            self.queue_max = self.queue_max.max(Some(changed.queue.0));
        }
    }
}

/// Which message an event is about.
fn seq_of(event: &Event) -> Option<Seq> {
    match event {
        Event::Enqueued(enqueued) => Some(enqueued.seq),
        Event::Changed(changed) => Some(changed.seq),
        Event::CheckedOut { seq, .. } | Event::Returned { seq, .. } | Event::Finished { seq } => {
            Some(*seq)
        }
        Event::Opened { .. }
        | Event::Closed
        | Event::QueueDefined { .. }
        | Event::KindDefined { .. }
        | Event::QueueSet { .. }
        | Event::KindSet { .. }
        | Event::Schedule(_)
        | Event::Bulk(_) => None,
    }
}
