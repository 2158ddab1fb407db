//! The main path: command → decide → append → apply → effects. Everything here happens under the manager token.
//!
//! A command is decided by the queue manager; its events are appended to the open frame and applied, in that order;
//! what may be seen of it becomes an [`Effect`] that waits for the frame. The frame itself is written and synced by
//! whoever holds the log token ([`super::shell`]), which tells the desk how far it got.
//!
//! Invariants
//! 1. Frames are numbered by marks: `synced ≤ written < open`. Only the open frame is appended to.
//! 2. A command's events stand in one frame: a frame is handed over only between commands.
//! 3. No I/O and no waiting: the token is held for microseconds.

mod bulk;
mod fitting;
mod mistakes;
mod room;
mod rounds;
mod schedules;
mod settling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mq_core::canary;
use mq_core::command::Notice;
use mq_core::event::Event;
use mq_core::few::Few;
use mq_core::id::Seq;
use mq_core::manager::{Close, Command, QueueManager};
use mq_core::time::{Monotonic, Now};
use mq_persistence::compaction::still_lives;
use mq_persistence::frame::{Frame, Relocation};
use mq_persistence::places::Places;
use mq_persistence::spares::{SparePool, Work};

pub(crate) use bulk::{BulkStep, Stepped};
pub(crate) use fitting::frees_room;
pub(crate) use mistakes::as_answered;

use super::cache::EnvelopeCache;
use super::effects::{Effect, Effects, Needs};
use super::inbox::{Body, Handed, Inboxes};
use super::jobs::SettleJob;
use super::sight::Sight;
use super::telling::{self, Cause, Interest};
use super::time_keeper::TimeKeeper;
use super::waiters::Waiters;
use fitting::FrameRoom;

/// A frame is handed over when it has grown to this many bytes, so that one sync never waits for an endless drain.
const FRAME_SIZE_TARGET: usize = 4 << 20;
/// … or to this many records.
const FRAME_LEN_TARGET: usize = 8_192;
/// A frame may always grow to this many bytes, unless space is scarce.
const FRAME_SIZE_MIN: usize = 64 << 10;
/// Bytes that what is not weighed beforehand may take: a lease that is granted, say.
const CHANGE_SIZE: usize = 1 << 10;
/// In the default mode anything written is synced within this time.
pub(crate) const SYNC_WITHIN: Duration = Duration::from_millis(10);

/// The journal's side of the desk; absent in memory-only mode.
#[derive(Debug)]
pub(crate) struct Paper {
    pub(crate) frame: Frame,
    pub(crate) places: Places,
    /// Says how much can be written for certain.
    pub(crate) spares: Arc<SparePool>,
}

/// What did not fit into the open frame any more: it is the first of the next one.
#[derive(Debug)]
enum PutOff {
    Enqueue(room::PutOffEnqueue),
    Settle(Box<SettleJob>),
}

#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) manager: QueueManager,
    pub(crate) paper: Option<Paper>,
    pub(crate) cache: EnvelopeCache,
    pub(crate) sight: Arc<Sight>,
    events: Vec<Event>,
    notices: Vec<Notice>,
    effects: Effects,
    /// Cached envelopes that the settlement in work has left behind.
    spent: Vec<Bytes>,
    /// What lets messages leave the store while it is decided, for those who are told.
    cause: Cause,
    pub(crate) pools: Inboxes,
    waiting_for_room: room::Lines,
    put_off: VecDeque<PutOff>,
    /// Who waits for messages to be over.
    pub(crate) waiters: Waiters,
    open: u64,
    written: u64,
    synced: u64,
    open_events: usize,
    /// Somebody waits for this frame to be synced.
    sync_wanted: u64,
    sync_by: Option<Monotonic>,
    /// In weaker modes what is written counts as durable for handing out.
    written_is_durable: bool,
    disk_low: bool,
    /// How large the open frame may become.
    room: FrameRoom,
    /// Something waits for more room than there is.
    lacks_room: bool,
    /// Bytes of the frame that was handed over and is not written yet.
    in_flight: u32,
    /// Schedules fire in this process.
    fires_schedules: bool,
    /// `Closed` stands in the journal: nothing may follow it.
    closed: bool,
    fault: Option<String>,
    late: mistakes::Late,
    pub(crate) time: TimeKeeper,
    sync_within: Option<Duration>,
}

/// What a desk is set up with.
#[derive(Debug)]
pub(crate) struct DeskSetup {
    pub(crate) manager: QueueManager,
    /// `None` in memory-only mode.
    pub(crate) paper: Option<Paper>,
    pub(crate) cache: EnvelopeCache,
    pub(crate) time: TimeKeeper,
    pub(crate) sight: Arc<Sight>,
    /// In weaker modes what is written counts as durable for handing out.
    pub(crate) written_is_durable: bool,
    /// Anything written is synced within this time; `None` leaves it to the operating system.
    pub(crate) sync_within: Option<Duration>,
    /// Schedules fire in this process.
    pub(crate) fires_schedules: bool,
}

/// What readers are told of the desk itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeskFacts {
    /// Enqueues that wait for room.
    pub(crate) waiting_for_room: u64,
    /// New messages are refused, because the disk has no more than settling needs.
    pub(crate) disk_low: bool,
    /// Jumps of the wall clock.
    pub(crate) jumps: u64,
    /// Of these, backwards.
    pub(crate) jumps_backward: u64,
}

/// An open frame, handed over to the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handover {
    pub(crate) mark: u64,
    /// How many events and copies stand in it.
    pub(crate) len: usize,
    pub(crate) has_events: bool,
    pub(crate) sync: bool,
}

impl Desk {
    pub(crate) fn new(setup: DeskSetup) -> Self {
        let DeskSetup {
            manager,
            paper,
            cache,
            time,
            sight,
            written_is_durable,
            sync_within,
            fires_schedules,
        } = setup;
        Self {
            manager,
            paper,
            cache,
            time,
            sight,
            written_is_durable,
            sync_within,
            fires_schedules,
            events: Vec::new(),
            notices: Vec::new(),
            effects: Effects::default(),
            spent: Vec::new(),
            cause: Cause::Plain,
            pools: Inboxes::default(),
            waiting_for_room: room::Lines::default(),
            put_off: VecDeque::new(),
            waiters: Waiters::default(),
            open: 1,
            written: 0,
            synced: 0,
            open_events: 0,
            sync_wanted: 0,
            sync_by: None,
            disk_low: false,
            room: FrameRoom::default(),
            lacks_room: false,
            in_flight: 0,
            closed: false,
            fault: None,
            late: Default::default(),
        }
    }

    // ---- command → decide → append → apply ------------------------------------------------------------------------

    /// Decides a command and makes its events true. The answer must leave through an effect.
    pub(crate) fn decide<C: Command>(
        &mut self,
        now: &Now,
        command: &C,
    ) -> Result<C::Answer, C::Refused> {
        let answer = self.manager.decide(now, command, &mut self.events)?;
        self.append_and_apply(now);
        Ok(answer)
    }

    fn append_and_apply(&mut self, now: &Now) {
        if self.events.is_empty() {
            return;
        }
        self.open_events += self.events.len();
        if self.sync_by.is_none() && !canary::sings("ack-never-synced") {
            self.sync_by = self.sync_within.map(|limit| now.monotonic.after(limit));
        }
        let interest = self.sight.interest();
        let mut told = Vec::new();
        let mut events = std::mem::take(&mut self.events); // by reference: an event is hundreds of bytes
        for event in &events {
            let before = telling::before(interest, &self.manager, event);
            if let Some(paper) = &mut self.paper
                && !mistakes::is_forgotten(event)
                && !self.late.keeps(event)
            {
                paper.frame.append(event);
            }
            if let Err(contradiction) = self.manager.apply(event, self.open) {
                self.fault.get_or_insert_with(|| contradiction.to_string());
            }
            if let Event::Finished { seq } = event {
                let envelope = self.cache.remove(*seq);
                if let Cause::Settled(..) = self.cause {
                    self.spent.extend(envelope);
                }
            }
            self.waiters.note(event);
            told.extend(telling::told(
                interest,
                &self.manager,
                before,
                event,
                self.cause,
            ));
        }
        events.clear();
        self.events = events;
        self.late.end_of_command();
        self.tell(told);
    }

    /// Lets what happened be told with the sync that makes it durable; nobody hurries that for it.
    fn tell(&mut self, events: Vec<crate::events::Event>) {
        if events.is_empty() {
            return;
        }
        let (needs, rests_on) = (self.durably(), self.newest());
        self.effects
            .push(needs, rests_on, telling::effect(&self.sight, events));
    }

    /// The newest frame in which something stands: what is decided now rests on it.
    fn newest(&self) -> u64 {
        self.open - u64::from(self.open_events == 0)
    }

    /// What counts as durable for handing out.
    fn durably(&self) -> Needs {
        if self.written_is_durable {
            Needs::Write
        } else {
            Needs::Sync
        }
    }

    /// If somebody's turn comes when what was decided is durable: do not let it wait for the 10 ms.
    fn hurry_if_awaited(&mut self) {
        if !self.written_is_durable && self.manager.awaits_durable() {
            self.want_sync();
        }
    }

    /// Queues an effect behind everything decided so far.
    pub(crate) fn push(&mut self, needs: Needs, effect: Effect) {
        let rests_on = self.newest();
        if needs == Needs::Sync {
            self.sync_wanted = self.sync_wanted.max(rests_on);
        }
        let needs = mistakes::misjudged(needs, &effect);
        let early = matches!(effect, Effect::Hand(..)) && canary::sings("handler-before-the-write");
        self.effects
            .push(needs, if early { 0 } else { rests_on }, effect);
    }

    // ---- pools ----------------------------------------------------------------------------------------------------

    /// Spends permits on ready messages; the leases leave when this frame is written, those of one pool together.
    pub(crate) fn grant(&mut self, now: &Now) {
        while !self.is_full() && !self.closed {
            // Small: that the frame is not full is enough.
            let Some((event, granted)) = self.manager.next_grant(now) else {
                break;
            };
            self.events.push(event);
            self.append_and_apply(now);
            if let Some(facts) = self.manager.grant_facts(granted.seq) {
                let body = self.body(granted.seq);
                let lease = Handed::Grant {
                    granted,
                    facts,
                    body,
                };
                self.pools.put(granted.pool, lease);
            }
        }
        self.hand_out(Needs::Write);
    }

    /// Lets what was put for pools leave.
    fn hand_out(&mut self, needs: Needs) {
        while let Some((inbox, batch)) = self.pools.take() {
            self.push(needs, Effect::Hand(inbox, batch));
        }
    }

    fn body(&self, seq: Seq) -> Body {
        if let Some(envelope) = self.cache.get(seq) {
            return Body::Cached(envelope.clone());
        }
        let pinned = self.paper.as_ref().and_then(|paper| paper.places.pin(seq));
        pinned.map_or(Body::Missing, Body::Cold)
    }

    fn deliver_notices(&mut self) {
        self.manager.take_notices(&mut self.notices);
        let notices = std::mem::take(&mut self.notices);
        for notice in &notices {
            let (pool, handed) = match *notice {
                Notice::CancelRequested { pool, token } => (pool, Handed::CancelRequested(token)),
                Notice::LeaseLost { pool, token } => (pool, Handed::LeaseLost(token)),
            };
            self.pools.put(pool, handed);
        }
        self.hand_out(self.durably());
        self.notices = notices;
        self.notices.clear();
    }

    /// Asks for a sync of everything decided so far.
    pub(crate) fn want_sync(&mut self) {
        self.sync_wanted = self.newest();
    }

    /// Writes down that the store is closed in order; nothing is decided after it.
    pub(crate) fn close(&mut self, now: &Now) {
        if self.decide(now, &Close).is_err() {
            self.fault
                .get_or_insert_with(|| "the manager refused to close".to_owned());
        }
        self.closed = true;
    }

    /// Copies records to the end of the journal; what was settled or moved since they were read is left out. Answers how many.
    pub(crate) fn relocate(&mut self, now: &Now, relocations: &[Relocation]) -> usize {
        let Some(paper) = &mut self.paper else {
            return 0;
        };
        let size_max = self.room.of(Work::Freeing);
        let before = self.open_events;
        for relocation in relocations
            .iter()
            .filter(|relocation| still_lives(&paper.places, relocation))
        {
            if paper.frame.size() + relocation.sealed.bytes.len() + CHANGE_SIZE > size_max {
                break; // they stay where they are, and are looked at again
            }
            paper.frame.append_relocation(relocation);
            self.open_events += 1;
        }
        if self.sync_by.is_none() {
            self.sync_by = self.sync_within.map(|limit| now.monotonic.after(limit));
        }
        self.open_events - before
    }

    /// What readers are told of the desk itself.
    pub(crate) fn facts(&self) -> DeskFacts {
        DeskFacts {
            waiting_for_room: u64::try_from(self.waiting_for_room.len()).unwrap_or(u64::MAX),
            disk_low: self.disk_low,
            jumps: self.time.jumps(),
            jumps_backward: self.time.jumps_backward(),
        }
    }

    /// Whether `Closed` stands in the journal.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// An event that contradicted the state: a bug, and a reason to stop.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Moves out everything that waits, to be told why the engine stopped. Not here: who is told may call the engine.
    pub(crate) fn give_up(&mut self) -> Vec<Effect> {
        let waiting = self.waiting_for_room.drain();
        let refused = waiting.map(|job| Effect::Enqueue(job, Ok(Few::new())));
        let waiters = self.waiters.give_up();
        let put_off = self.put_off.drain(..).map(|put_off| match put_off {
            PutOff::Enqueue(put_off) => Effect::Enqueue(put_off.job, Ok(Few::new())),
            PutOff::Settle(job) => Effect::Settle(job),
        });
        let waiting = refused.chain(waiters).chain(put_off);
        self.effects.drain().chain(waiting).collect()
    }

    /// A message was edited: this is its envelope from now on.
    pub(crate) fn replace_envelope(&mut self, seq: Seq, envelope: &Bytes) {
        self.cache.replace(seq, envelope, self.open);
    }

    /// The envelope of a message, or where it can be read: also of one whose frame is not written yet.
    pub(crate) fn find_envelope(&self, seq: Seq) -> Body {
        if let Some(envelope) = self.cache.edited(seq) {
            return Body::Cached(envelope.clone());
        }
        match self.body(seq) {
            Body::Missing => self
                .cache
                .passing(seq)
                .map_or(Body::Missing, |envelope| Body::Cached(envelope.clone())),
            body => body,
        }
    }
}
