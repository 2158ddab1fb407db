//! The queue manager: the one deterministic state machine behind the store.
//!
//! A *command* is checked against the state ([`QueueManager::decide`]) and becomes *events*; the engine journals them,
//! and [`QueueManager::apply`] makes them true, live and in recovery alike. What follows for others (a message may be
//! handed out) becomes effective in [`QueueManager::durable`].
//!
//! Invariants
//! 1. `apply` is the only thing that changes durable state; deciding and reading change nothing but counters.
//! 2. No clock, randomness, thread or I/O: time and a seed are inputs, choices are recorded in events.
//! 3. Every operation costs a bounded number of steps, or one for each message it was told to look at. Nothing scans.
//! 4. Room and keys are free when the event that frees them is applied: later frames become durable after earlier
//!    ones, so nothing can stand on the freed room and survive the loss of what freed it.
//! 5. A message is handed out only when everything that made it ready is durable.
//!
//! What it does not do: payloads (it never looks inside an envelope), waiting, journalling, handlers.

mod apply;
mod bulk;
mod chains;
mod change;
mod checkout;
mod columns;
mod dead;
mod enqueue;
mod entry;
mod explain;
mod find;
mod image;
mod keys;
mod lanes;
mod leases;
mod limbo;
mod names;
mod operate;
mod place;
mod pools;
mod read;
mod reopen;
mod roles;
mod room;
mod schedules;
mod settle;
mod table;
mod tally;
mod terms;
mod tick;
mod timers;
mod u48;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::command::Notice;
use crate::event::Event;
use crate::id::{Incarnation, Seq, StoreTag};
use crate::limits;
use crate::name::QueueName;
use crate::time::{Monotonic, Now, StoreTime, Timestamp};

pub use apply::ApplyError;
pub use explain::Explanation;
pub use image::{Image, RestoreError};
pub use read::{Glimpse, GrantFacts};
pub use terms::IndexView;

/// What the rules are configured with; the same for a store's whole life, except that budgets may change at an open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The store's tag in its ids.
    pub tag: StoreTag,
    /// Seed of the recorded jitter.
    pub seed: u64,
    /// Live messages at most.
    pub capacity_messages: u64,
    /// Bytes of live messages at most.
    pub capacity_bytes: u64,
    /// Bytes of dead letters at most; what happens beyond is said by `dead_full`.
    pub dead_bytes: u64,
    /// What happens when dead letters fill their budget.
    pub dead_full: DeadFull,
    /// Bytes of completed messages kept at most.
    pub completed_bytes: u64,
    /// Keys at most: idempotency keys in their window, dedup keys and ordering keys.
    pub keys: u64,
    /// How long an idempotency key answers with its message.
    pub idempotency_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tag: StoreTag::new(0),
            seed: 0,
            capacity_messages: limits::CAPACITY_MESSAGES_DEFAULT,
            capacity_bytes: limits::CAPACITY_BYTES_DEFAULT,
            dead_bytes: limits::DEAD_BYTES_DEFAULT,
            dead_full: DeadFull::default(),
            completed_bytes: limits::COMPLETED_BYTES_DEFAULT,
            keys: limits::KEYS_DEFAULT,
            idempotency_window: limits::IDEMPOTENCY_WINDOW_DEFAULT,
        }
    }
}

/// What happens when dead letters fill their budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeadFull {
    /// Queues that have some take no more messages until some are replayed or purged. Nothing is lost.
    #[default]
    StopIntake,
    /// Those that have been dead longest are removed for good, until the others fit. Each removal is journalled and counted.
    EvictOldest,
}

/// When the manager wants to be asked again: the earliest moment on each clock at which something happens by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadline {
    /// On the wall clock, by [`QueueManager::advance`].
    pub wall: Option<Timestamp>,
    /// On the monotonic clock, by [`QueueManager::tick`].
    pub monotonic: Option<Monotonic>,
    /// On the wall clock, by whoever fires schedules: [`QueueManager::due_schedules`].
    pub schedule: Option<Timestamp>,
    /// In store time, by both.
    pub store: Option<StoreTime>,
}

/// Only the commands of this crate are commands.
pub(crate) trait Sealed {}

/// A command that becomes events.
#[expect(
    private_bounds,
    reason = "sealed: the journal knows the events of these commands only"
)]
pub trait Command: Sealed {
    /// What it answers.
    type Answer;
    /// Why it is refused.
    type Refused;

    /// Checks the command against the state and appends the events it becomes; nothing is appended if it is refused.
    ///
    /// # Errors
    /// The refusal says what is true now; nothing was changed.
    fn decide(
        &self,
        manager: &QueueManager,
        now: &Now,
        events: &mut Vec<Event>,
    ) -> Result<Self::Answer, Self::Refused>;
}

/// Open the store: the next incarnation; what was handed out becomes suspect.
#[derive(Clone, Copy, Debug)]
pub struct Open;

/// Close the store in order: nothing that is handed out becomes suspect.
#[derive(Clone, Copy, Debug)]
pub struct Close;

/// The rules and their state.
#[derive(Debug)]
pub struct QueueManager {
    config: Config,
    incarnation: Incarnation,
    last_seq: Seq,
    last_order: u64,
    names: names::Names,
    /// By index, as in `names`.
    lines: Vec<lanes::Line>,
    table: table::Table,
    terms: terms::TermTable,
    timers: timers::Timers,
    window: keys::Window,
    /// The live message that holds each dedup key.
    dedup: keys::Index,
    /// The previous version of each dedup key: its last success, while that is retained.
    previous: keys::Index,
    /// Dead letters by dedup key; several may have one.
    dead_keys: keys::Index,
    /// Dead letters by line and reason.
    dead: Vec<dead::Reasons>,
    chains: chains::Chains,
    /// By leader: who waits until it is over.
    followers: keys::NumberMap<u64, Seq>,
    /// Messages that wait and are to be cancelled by the next tick.
    cancelling: BTreeSet<Seq>,
    limbo: limbo::Limbo,
    /// The wall clock at the last `advance`: what was due by then needs no timer.
    advanced: Timestamp,
    leases: leases::Leases,
    pools: pools::Pools,
    granting: Option<checkout::Granting>,
    room: room::Room,
    schedules: schedules::Schedules,
    bulk: bulk::Bulk,
    notices: Vec<Notice>,
    tally: tally::Tally,
}

/// What a manager had counted at some moment.
#[derive(Clone, Debug)]
pub struct Counted(tally::Tally);

impl QueueManager {
    /// A manager without messages.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            incarnation: Incarnation::default(),
            last_seq: Seq::NONE,
            last_order: 0,
            names: names::Names::default(),
            lines: Vec::new(),
            table: table::Table::default(),
            terms: terms::TermTable::default(),
            timers: timers::Timers::default(),
            window: keys::Window::default(),
            dedup: keys::Index::default(),
            previous: keys::Index::default(),
            dead_keys: keys::Index::default(),
            dead: Vec::new(),
            chains: chains::Chains::default(),
            followers: keys::NumberMap::default(),
            cancelling: BTreeSet::new(),
            limbo: limbo::Limbo::default(),
            advanced: Timestamp::default(),
            leases: leases::Leases::default(),
            pools: pools::Pools::default(),
            granting: None,
            room: room::Room::default(),
            schedules: schedules::Schedules::default(),
            bulk: bulk::Bulk::default(),
            notices: Vec::new(),
            tally: tally::Tally::default(),
        }
    }

    /// Checks a command and appends the events it becomes, to be journalled and applied in this order before the next
    /// command is decided.
    ///
    /// # Errors
    /// The command's refusal; nothing was appended.
    pub fn decide<C: Command>(
        &self,
        now: &Now,
        command: &C,
        events: &mut Vec<Event>,
    ) -> Result<C::Answer, C::Refused> {
        command.decide(self, now, events)
    }

    /// Makes an event true. `mark` numbers the frame it stands in and never decreases; that messages may be handed out
    /// because of it waits for [`QueueManager::durable`] with that mark.
    ///
    /// # Errors
    /// [`ApplyError`] if the event contradicts the state; nothing was changed.
    pub fn apply(&mut self, event: &Event, mark: u64) -> Result<(), ApplyError> {
        self.apply_event(event, mark)
    }

    /// Everything applied with this mark or a smaller one is durable: what follows from it becomes effective. Recovery
    /// says `durable(u64::MAX)`, at the end or after any frame; that lifts no mark of later events.
    pub fn durable(&mut self, mark: u64) {
        self.release_limbo(mark);
    }

    /// Makes ready what has fallen due on the wall clock and forgets keys whose window is over. A large number of
    /// messages due at once takes several calls: [`QueueManager::next_deadline`] stays in the past until they are ready.
    pub fn advance(&mut self, now: &Now) {
        self.advance_to(now);
    }

    /// The counters, for [`QueueManager::count_back`].
    #[must_use]
    pub fn counted(&self) -> Counted {
        Counted(self.tally.clone())
    }

    /// Takes the counters back to where they were before what was decided since: none of it was applied, nor is it going to be.
    pub fn count_back(&mut self, counted: Counted) {
        self.tally = counted.0;
    }

    /// Appends the events of what time has done: leases that ran out, messages that expired, retentions that ended. At
    /// most `limit` of them; to be journalled and applied like those of a command.
    pub fn tick(&self, now: &Now, limit: usize, events: &mut Vec<Event>) {
        self.tick_events(now, limit, events);
    }

    /// When something happens by itself next.
    #[must_use]
    pub fn next_deadline(&self) -> Deadline {
        self.deadline()
    }

    /// Moves what pools must be told about their leases into `into`.
    pub fn take_notices(&mut self, into: &mut Vec<Notice>) {
        into.append(&mut self.notices);
    }

    /// Whether something becomes ready when what was applied is durable: then a sync is worth its while now.
    #[must_use]
    pub fn awaits_durable(&self) -> bool {
        !self.limbo.is_empty()
    }

    /// Bytes that count against the capacity.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.room.used_bytes()
    }

    /// Messages that are ready, leased or waiting for another attempt, in `queue` or in all, without those that only wait in
    /// queues that are paused: what is left to do before the store is idle.
    #[must_use]
    pub fn active(&self, queue: Option<&QueueName>) -> u64 {
        self.chosen(queue).map(names::Queue::active).sum()
    }

    /// Whether a blocked message of `queue`, or of any, may become active when what was applied is durable: it follows one
    /// that has just been settled. Then [`QueueManager::active`] is not the last word.
    #[must_use]
    pub fn may_follow(&self, queue: Option<&QueueName>) -> bool {
        let has_blocked =
            |queue: &names::Queue| queue.count_of(crate::view::StateKind::Blocked) > 0;
        self.awaits_durable() && self.chosen(queue).any(has_blocked)
    }

    fn chosen(&self, queue: Option<&QueueName>) -> impl Iterator<Item = &names::Queue> {
        let queues = self.names.queues().map(|(_, known)| known);
        queues.filter(move |known| queue.is_none_or(|name| *name == known.name))
    }

    /// Whether a message is in the store.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.table.get(seq).is_some()
    }

    /// The number of this opening.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The last sequence number issued.
    #[must_use]
    pub const fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Steps of work since the manager was made: look-ups of messages and operations on the trees that order them. For
    /// tests that hold each operation to a bound whatever the number of messages.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.table.steps()
    }

    fn keys_len(&self) -> u64 {
        self.window.len() + self.dedup.len() + self.chains.len()
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
