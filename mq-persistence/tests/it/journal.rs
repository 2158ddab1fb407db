//! A store without rules on top: messages come and go by plain events, and a model knows what must be found after any crash.
//!
//! The model keeps the state after each frame. What an opening finds must be one of these states: not older than the last frame that
//! was synced (or written, if only the process died), and every message in it must be readable, byte for byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use mq_core::event::Event;
use mq_core::id::{Incarnation, Seq};
use mq_core::image::{Holder, ImageRecord, MessageImage};
use mq_core::manager::Config;
use mq_core::message::Sealed;
use mq_persistence::compaction::still_lives;
use mq_persistence::frame::Frame;
use mq_persistence::keeper::Snapshotted;
use mq_persistence::open::{JournalOptions, OpenError, OpenInputs, Opened, open_into};
use mq_persistence::places::Places;
use mq_persistence::recovery::{Contradiction, Replay};
use mq_persistence::spares::Prepared;
use mq_testing::oracle::Ending;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::fixture::{enqueued, now, sealed, seq};

/// Segments of the smallest size, so that a short run changes segments often.
pub(crate) const SMALL: JournalOptions = JournalOptions {
    segment_size_first: 16 << 10,
    segment_size_max: 16 << 10,
    spares: 1,
    snapshot_after_min: 48 << 10,
    compaction_live_percent: 30,
};

/// The messages that are there, and the last number issued.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) live: BTreeSet<Seq>,
    pub(crate) last: Seq,
}

impl Replay for Model {
    fn image(&mut self, record: ImageRecord) -> Result<(), Contradiction> {
        match record {
            ImageRecord::Counters { last_seq, .. } => self.last = last_seq,
            ImageRecord::Message(message) => {
                self.live.insert(message.facts.seq);
            }
            ImageRecord::Queue { .. }
            | ImageRecord::Kind { .. }
            | ImageRecord::Schedule(_)
            | ImageRecord::Bulk(_)
            | ImageRecord::Key { .. } => {}
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<(), Contradiction> {
        let refuse = |reason: &str| {
            Err(Contradiction {
                reason: reason.to_owned(),
            })
        };
        match event {
            Event::Enqueued(enqueued) if enqueued.seq != self.last.next() => {
                refuse("a message is out of order")
            }
            Event::Enqueued(enqueued) => {
                self.last = enqueued.seq;
                self.live.insert(enqueued.seq);
                Ok(())
            }
            Event::Finished { seq } if !self.live.remove(seq) => refuse("it was over already"),
            _ => Ok(()),
        }
    }
}

impl Model {
    fn image(&self) -> Vec<ImageRecord> {
        let counters = ImageRecord::Counters {
            last_seq: self.last,
            last_order: self.last.get(),
            incarnation: Incarnation(1),
        };
        let messages = self.live.iter().map(|seq| {
            let facts = enqueued(seq.get(), None);
            ImageRecord::Message(MessageImage {
                state: facts.state.clone(),
                facts,
                tail: None,
                deliveries: 0,
                holder: Holder::Nobody,
            })
        });
        std::iter::once(counters).chain(messages).collect()
    }
}

/// What must be found after a crash.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The state after each frame that was begun, the empty one first.
    states: Vec<Model>,
    /// How many of them were written, beyond doubt.
    written: usize,
    /// How many of them were synced, beyond doubt.
    durable: usize,
    time: u64,
    /// Payloads are smaller than a sector.
    is_small: bool,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            states: vec![Model::default()],
            written: 0,
            durable: 0,
            time: 1_000,
            is_small: false,
        }
    }
}

impl Known {
    /// Of a store with small messages, every byte of which can be damaged in turn.
    pub(crate) fn small() -> Self {
        Self {
            is_small: true,
            ..Self::default()
        }
    }

    /// Everything happens so much later: identities depend on the time.
    pub(crate) fn shift_time(&mut self, ms: u64) {
        self.time += ms;
    }

    /// Small segments; with small messages, snapshots come sooner too.
    fn options(&self) -> JournalOptions {
        JournalOptions {
            snapshot_after_min: if self.is_small {
                5 << 10
            } else {
                SMALL.snapshot_after_min
            },
            ..SMALL
        }
    }

    /// How many frames after `found` there were; `None` if it never was.
    pub(crate) fn behind(&self, found: &Model) -> Option<usize> {
        let index = self.states.iter().position(|state| state == found)?;
        Some(self.states.len() - 1 - index)
    }

    /// The envelope of a message.
    pub(crate) fn envelope(&self, seq: Seq) -> bytes::Bytes {
        sealed(seq.get(), self.size_of(seq.get())).bytes
    }

    /// The size of a payload, by the number of its message: up to half a sector, or to several pages.
    fn size_of(&self, number: u64) -> usize {
        let size = SplitMix64::new(number).below(2_000);
        let size = match (self.is_small, number.is_multiple_of(37)) {
            (true, _) => size % 60,
            (false, true) => 20_000,
            (false, false) => size,
        };
        usize::try_from(size).unwrap()
    }

    /// Notes how a life ended. What a loss of power may have taken stays in doubt until an opening has found it or not.
    fn ended(&mut self, ending: Ending) {
        if ending == Ending::PowerLost {
            self.doubt();
        }
    }

    /// A sync failed: what was not synced before may be gone at once.
    fn doubt(&mut self) {
        self.written = self.durable;
    }

    /// Says what is wrong with `found`; else takes it as the present.
    pub(crate) fn settle_on(&mut self, found: &Model) -> Result<(), String> {
        let least = self.written;
        let Some(index) = self.states.iter().position(|state| state == found) else {
            return Err(format!("a state that never was: {found:?}"));
        };
        if index < least {
            return Err(format!("frame {index} of at least {least} was found"));
        }
        self.states.truncate(index + 1);
        (self.written, self.durable) = (index, index);
        Ok(())
    }

    /// The newest state.
    pub(crate) fn state(&self) -> &Model {
        self.states.last().unwrap()
    }
}

pub(crate) fn inputs(time: u64, random: &mut dyn FnMut() -> u64) -> OpenInputs<'_> {
    OpenInputs {
        wall: now(time).wall,
        random,
        config: Config::default(),
        owner: "a test".to_owned(),
    }
}

/// Opens what is on the disk.
pub(crate) fn open(
    disk: &SimDisk,
    options: &JournalOptions,
    time: u64,
) -> Result<Opened<Model>, OpenError> {
    let mut random = SplitMix64::new(time ^ 0x5eed);
    let mut random = || random.next_u64();
    let inputs = inputs(time, &mut random);
    open_into(Arc::new(disk.clone()), options, inputs, |_| {
        Model::default()
    })
}

/// An open store, and what is known of it.
pub(crate) struct Journal<'a> {
    pub(crate) opened: Opened<Model>,
    pub(crate) known: &'a mut Known,
    frame: Frame,
}

impl<'a> Journal<'a> {
    /// Opens the store and checks what was found. An error is text, for whoever drives the test.
    pub(crate) fn open(
        disk: &SimDisk,
        known: &'a mut Known,
        ending: Ending,
    ) -> Result<Self, String> {
        known.time += 10_000;
        known.ended(ending);
        let opened = open(disk, &known.options(), known.time).map_err(|error| error.to_string())?;
        known.settle_on(&opened.manager)?;
        check_envelopes(known, &opened.manager, &opened.places)?;
        let frame = Frame::new(&opened.identity);
        Ok(Self {
            opened,
            known,
            frame,
        })
    }

    fn now(&mut self) -> mq_core::time::Now {
        self.known.time += 7;
        now(self.known.time)
    }

    /// Writes one frame: some messages come, some go, and some records of old segments move.
    pub(crate) fn write(&mut self, random: &mut SplitMix64) -> Result<(), String> {
        let mut state = self.known.state().clone();
        for _ in 0..=random.below(3) {
            self.enqueue(&mut state);
        }
        while state.live.len() > 12 {
            let live: Vec<Seq> = state.live.iter().copied().collect();
            // The oldest stay longest, so that compaction has something to do.
            let chosen = *random.pick(&live[2..]).unwrap();
            self.append(&Event::Finished { seq: chosen }, &mut state);
        }
        self.move_some()?;
        self.known.states.push(state);
        let now = self.now();
        let written = self
            .opened
            .log
            .write(&mut self.frame, &now)
            .map_err(|error| {
                self.known.doubt();
                error.to_string()
            })?;
        self.known.written = self.known.states.len() - 1;
        self.opened.places.note(&written);
        self.frame.reuse(written.changes);
        Ok(())
    }

    fn enqueue(&mut self, state: &mut Model) {
        let number = state.last.get() + 1;
        let bytes = self.known.envelope(seq(number));
        let crc = self.opened.identity.seed().checksum(&bytes);
        let sealed = Sealed { bytes, crc };
        self.append(&Event::Enqueued(enqueued(number, Some(sealed))), state);
    }

    fn append(&mut self, event: &Event, state: &mut Model) {
        state.event(event).unwrap();
        self.frame.append(event);
    }

    fn move_some(&mut self) -> Result<(), String> {
        let read = self.opened.keeper.read_live(4_000);
        for relocation in read.map_err(|error| error.to_string())? {
            if still_lives(&self.opened.places, &relocation) {
                self.frame.append_relocation(&relocation);
            }
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), String> {
        if let Err(error) = self.opened.log.sync() {
            self.known.doubt();
            return Err(error.to_string());
        }
        self.known.durable = self.known.states.len() - 1;
        Ok(())
    }

    /// Syncs, and writes a frame while the sync is under way.
    fn sync_beside_a_write(&mut self, random: &mut SplitMix64) -> Result<(), String> {
        let covered = self.known.states.len() - 1;
        let pending = self.opened.log.begin_sync();
        let pending = pending.map_err(|error| error.to_string())?;
        let written = self.write(random);
        if let Some(pending) = pending {
            let ended = self.opened.log.end_sync(pending.run());
            ended.map_err(|error| {
                self.known.doubt();
                error.to_string()
            })?;
            self.known.durable = self.known.durable.max(covered);
        }
        written
    }

    pub(crate) fn idle_mark(&mut self) -> Result<(), String> {
        let now = self.now();
        let marked = self.opened.log.idle_mark(&now);
        marked.map_err(|error| {
            self.known.doubt();
            error.to_string()
        })
    }

    /// All that the housekeeper wants done.
    pub(crate) fn keep(&mut self) -> Result<(), String> {
        let now = self.now();
        let state = self.known.state().clone();
        let Opened {
            keeper,
            log,
            places,
            ..
        } = &mut self.opened;
        let survey = keeper.survey(places, log.written(), log.durable());
        if survey.snapshot {
            let (at, image) = (log.written(), places.image());
            if let Err(error) = log.sync() {
                self.known.doubt();
                return Err(error.to_string());
            }
            self.known.durable = self.known.states.len() - 1;
            let records = state.image().into_iter();
            let taken = keeper.snapshot(records, image, (at, log.durable()), &now);
            match taken.map_err(|error| error.to_string())? {
                Snapshotted::Taken(_) => {}
                Snapshotted::NoRoom => return Err("a disk without limit is full".to_owned()),
            }
        }
        keeper.reclaim();
        loop {
            match keeper.prepare_spares().map_err(|error| error.to_string())? {
                Prepared::Progress => {}
                Prepared::Enough => return Ok(()),
                Prepared::DiskLow => return Err("a disk without limit is low".to_owned()),
            }
        }
    }

    /// Marks the end of the log, and no more.
    pub(crate) fn close(mut self) -> Result<(), String> {
        let now = self.now();
        if let Err(error) = self.opened.log.close(&now) {
            self.known.doubt();
            return Err(error.to_string());
        }
        self.known.durable = self.known.states.len() - 1;
        Ok(())
    }

    /// Closes as an engine does: what lives in old segments is copied to the end, the log is closed, and behind that a snapshot is
    /// taken and given back what is over.
    pub(crate) fn close_down(mut self) -> Result<(), String> {
        self.gather_up()?;
        let now = self.now();
        let state = self.known.state().clone();
        let Opened {
            log,
            mut keeper,
            mut places,
            lock: _held,
            ..
        } = self.opened;
        let end = log.close(&now).map_err(|error| {
            self.known.doubt();
            error.to_string()
        })?;
        self.known.durable = self.known.states.len() - 1;
        if keeper.pays_at_close(&places, end) {
            let records = state.image().into_iter();
            let taken = keeper.snapshot(records, places.image(), (end, end), &now);
            taken.map_err(|error| error.to_string())?;
        }
        keeper.take_at_close(&mut places, end);
        let given_back = keeper.give_back_at_close();
        given_back.map_err(|error| error.to_string())
    }

    fn gather_up(&mut self) -> Result<(), String> {
        let Opened {
            keeper,
            log,
            places,
            ..
        } = &mut self.opened;
        keeper.survey(places, log.written(), log.durable());
        let read = keeper.read_live_at_close();
        for relocation in read.map_err(|error| error.to_string())? {
            if still_lives(places, &relocation) {
                self.frame.append_relocation(&relocation);
            }
        }
        if self.frame.is_empty() {
            return Ok(());
        }
        self.known.states.push(self.known.state().clone());
        let now = self.now();
        let written = self.opened.log.write(&mut self.frame, &now);
        let written = written.map_err(|error| {
            self.known.doubt();
            error.to_string()
        })?;
        self.opened.places.note(&written);
        self.frame.reuse(written.changes);
        Ok(())
    }

    /// Writes, syncs and keeps house, some frames long.
    pub(crate) fn run(&mut self, frames: u64, random: &mut SplitMix64) -> Result<(), String> {
        for _ in 0..frames {
            self.write(random)?;
            match random.below(5) {
                0 => {}
                2 => self.sync_beside_a_write(random)?,
                1 => {
                    self.sync()?;
                    self.idle_mark()?;
                }
                _ => self.sync()?,
            }
            if random.chance(1, 5) {
                self.keep()?;
            }
        }
        Ok(())
    }
}

/// Every message that is there can be read back as it was, and no other has a place.
fn check_envelopes(known: &Known, model: &Model, places: &Places) -> Result<(), String> {
    if places.len() != model.live.len() as u64 {
        return Err(format!(
            "{} messages have {} places",
            model.live.len(),
            places.len()
        ));
    }
    for seq in &model.live {
        let pinned = places.pin(*seq).ok_or(format!("{seq} has no place"))?;
        let read = pinned.read().map_err(|error| error.to_string())?;
        if read.bytes != known.envelope(*seq) {
            return Err(format!("{seq} came back with other bytes"));
        }
    }
    Ok(())
}
