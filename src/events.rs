//! The stream of what happens in a store: for dashboards, tests and programs that react.
//!
//! Invariants
//! 1. An event is seen only when it is as durable as the engine promises: never before its sync.
//! 2. Memory is bounded: each listener has room for so many events. One that is too slow loses the oldest and is told how
//!    many, in their place in line ([`Event::Gap`]). Nobody is ever waited for.
//! 3. Without a listener (and without a log that wants it) nothing is derived.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mq_core::id::MessageId;
use mq_core::name::{KindName, Label, QueueName};
use mq_core::queue::QueueSettings;
use mq_core::state::{DeadReason, Failure};
use mq_core::time::Timestamp;
use parking_lot::{Condvar, Mutex};

use crate::engine::Engine;

/// Events that a listener has room for unless it says otherwise.
const CAPACITY_DEFAULT: usize = 1_024;
/// More room than this is not given, whatever was asked for.
const CAPACITY_MAX: usize = 1 << 20;

/// Something that happened, and is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// To a message.
    Message(MessageEvent),
    /// An operator changed the settings of a queue: paused or resumed it, say.
    QueueSet {
        /// Which.
        queue: QueueName,
        /// All of them, from now on.
        settings: Box<QueueSettings>,
    },
    /// So many events were not kept, because this listener was too slow. They happened before the next one.
    Gap {
        /// How many.
        missed: u64,
    },
}

/// What happened to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageEvent {
    /// Which.
    pub id: MessageId,
    /// Its queue.
    pub queue: QueueName,
    /// Its kind.
    pub kind: KindName,
    /// Which attempt it is in, or comes next.
    pub attempt: u32,
    /// What happened.
    pub what: What,
}

/// What happened to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// It entered the store.
    Enqueued {
        /// Not before this moment; `None` for at once.
        due: Option<Timestamp>,
    },
    /// A duplicate of it was answered with it, or discarded.
    Deduplicated,
    /// It was handed out.
    Started,
    /// It was given back without having started.
    GivenBack,
    /// It is done.
    Succeeded,
    /// There was nothing to do.
    Discarded,
    /// It was cancelled.
    Cancelled,
    /// An attempt failed; another one follows.
    RetryScheduled {
        /// When.
        due: Option<Timestamp>,
        /// What went wrong.
        failure: Option<Failure>,
    },
    /// Its handler asked to be called later.
    Snoozed {
        /// When.
        due: Option<Timestamp>,
    },
    /// A stop came in between.
    Interrupted,
    /// Its lease ran out; another attempt follows.
    LeaseExpired {
        /// When.
        due: Option<Timestamp>,
    },
    /// It was running when the process died.
    Crashed,
    /// It is a dead letter now.
    Dead {
        /// Why.
        reason: DeadReason,
        /// What went wrong, if it was an attempt.
        failure: Option<Failure>,
    },
    /// A dead letter came back.
    Replayed,
    /// It was set aside.
    Held {
        /// Under this label.
        label: Label,
    },
    /// It was let go on.
    Released,
    /// Its handler was asked to stop.
    CancelRequested,
    /// Another message takes its place.
    Superseded,
    /// Its due time, priority, queue, payload or checkpoint changed.
    Changed,
    /// It left the store: its retention is over, or it was purged.
    Removed,
}

#[derive(Debug, Default)]
struct Backlog {
    events: VecDeque<Event>,
    missed: u64,
    waker: Option<Waker>,
    closed: bool,
}

/// The engine's end of a stream.
#[derive(Debug)]
pub(crate) struct Tap {
    capacity: usize,
    backlog: Mutex<Backlog>,
    bell: Condvar,
    listeners: Arc<AtomicUsize>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Relaxed);
    }
}

impl Tap {
    fn put(&self, events: &[Event]) {
        let mut backlog = self.backlog.lock();
        for event in events {
            if backlog.events.len() == self.capacity {
                backlog.events.pop_front();
                backlog.missed += 1;
            }
            backlog.events.push_back(event.clone());
        }
        let waker = backlog.waker.take();
        drop(backlog);
        self.bell.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn close(&self) {
        self.backlog.lock().closed = true;
        self.put(&[]);
    }
}

impl Backlog {
    /// What comes next; `Ready(None)` if nothing ever does.
    fn next(&mut self) -> Poll<Option<Event>> {
        match std::mem::take(&mut self.missed) {
            0 => match self.events.pop_front() {
                Some(event) => Poll::Ready(Some(event)),
                None if self.closed => Poll::Ready(None),
                None => Poll::Pending,
            },
            missed => Poll::Ready(Some(Event::Gap { missed })),
        }
    }
}

/// Everybody who listens.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    /// How many; only a hint, so that nothing is derived for nobody.
    listeners: Arc<AtomicUsize>,
    all: Mutex<Vec<Weak<Tap>>>,
}

impl Taps {
    /// Whether nobody listens.
    pub(crate) fn is_empty(&self) -> bool {
        self.listeners.load(Relaxed) == 0
    }

    /// A new listener, with room for so many events.
    fn listen(&self, capacity: usize) -> Events {
        self.listeners.fetch_add(1, Relaxed);
        let tap = Arc::new(Tap {
            capacity,
            backlog: Mutex::default(),
            bell: Condvar::new(),
            listeners: Arc::clone(&self.listeners),
        });
        let mut all = self.all.lock();
        all.retain(|tap| tap.strong_count() > 0);
        all.push(Arc::downgrade(&tap));
        Events { tap }
    }

    /// Gives each listener its copy.
    pub(crate) fn put(&self, events: &[Event]) {
        let taps: Vec<Arc<Tap>> = self.all.lock().iter().filter_map(Weak::upgrade).collect();
        taps.iter().for_each(|tap| tap.put(events));
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        let taps = std::mem::take(&mut *self.all.lock());
        taps.iter()
            .filter_map(Weak::upgrade)
            .for_each(|tap| tap.close());
    }
}

/// A stream of events. Dropped, it ends; the engine does not wait for it.
///
/// ```
/// # use mq::{Event, NewMessage, What};
/// let engine = mq::Engine::in_memory().open_wait()?;
/// let mut events = engine.events();
/// let message = NewMessage::new("mail".parse()?, "welcome".parse()?, "{}".into());
/// let id = engine.enqueue_raw(message).wait()?.accepted.id;
/// match events.wait() {
///     Some(Event::Message(event)) => assert_eq!((event.id, event.what), (id, What::Enqueued { due: None })),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Events {
    tap: Arc<Tap>,
}

impl Events {
    /// The next event; `None` once the engine has stopped and everything was read.
    pub async fn next(&mut self) -> Option<Event> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Events::next`], for streams and futures written by hand.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut backlog = self.tap.backlog.lock();
        let next = backlog.next();
        if next.is_pending() {
            backlog.waker = Some(context.waker().clone());
        }
        next
    }

    /// As [`Events::next`], on this thread. Never call it on a thread of an async runtime.
    pub fn wait(&mut self) -> Option<Event> {
        let mut backlog = self.tap.backlog.lock();
        loop {
            if let Poll::Ready(next) = backlog.next() {
                return next;
            }
            self.tap.bell.wait(&mut backlog);
        }
    }

    /// As [`Events::wait`], but gives up after `limit`: then `None`, as at the end.
    pub fn wait_for(&mut self, limit: Duration) -> Option<Event> {
        let mut backlog = self.tap.backlog.lock();
        loop {
            if let Poll::Ready(next) = backlog.next() {
                return next;
            }
            if self.tap.bell.wait_for(&mut backlog, limit).timed_out() {
                return None;
            }
        }
    }

    /// The next event if there is one already; never waits.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.tap.backlog.lock().next() {
            Poll::Ready(next) => next,
            Poll::Pending => None,
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.tap.backlog.lock().events.len();
        f.debug_struct("Events")
            .field("len", &len)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// What happens from now on, with room for 1,024 events. A listener that is too slow loses the oldest ones and is told
    /// so by [`Event::Gap`]; nobody waits for it.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events_up_to(NonZeroUsize::new(CAPACITY_DEFAULT).unwrap_or(NonZeroUsize::MIN))
    }

    /// As [`Engine::events`], with room for `capacity` events, at most 1,048,576. An event takes about 200 bytes, with its
    /// error text up to 4 KiB more.
    #[must_use]
    pub fn events_up_to(&self, capacity: NonZeroUsize) -> Events {
        let shell = self.shell();
        let events = shell.sight.taps.listen(capacity.get().min(CAPACITY_MAX));
        if shell.stopped().is_some() {
            events.tap.close();
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paused(number: usize) -> Event {
        Event::QueueSet {
            queue: format!("q{number}").parse().unwrap(),
            settings: Box::default(),
        }
    }

    fn listener(capacity: usize) -> (Taps, Events) {
        let taps = Taps::default();
        let events = taps.listen(capacity);
        (taps, events)
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_is_told_how_many_in_their_place() {
        let (taps, mut events) = listener(3);
        taps.put(&(0..5).map(paused).collect::<Vec<_>>());
        assert_eq!(events.try_next(), Some(Event::Gap { missed: 2 }));
        assert_eq!(events.try_next(), Some(paused(2)));
        taps.put(&[paused(5), paused(6)]);
        assert_eq!(events.try_next(), Some(Event::Gap { missed: 1 }));
        assert_eq!(events.try_next(), Some(paused(4)));
        assert_eq!(events.try_next(), Some(paused(5)));
        assert_eq!(events.try_next(), Some(paused(6)));
        assert_eq!(events.try_next(), None);
    }

    #[test]
    fn what_came_before_the_end_is_read_before_the_end() {
        let (taps, mut events) = listener(3);
        taps.put(&[paused(0)]);
        taps.close();
        assert_eq!(events.wait(), Some(paused(0)));
        assert_eq!(events.wait(), None);
    }

    #[test]
    fn a_listener_that_is_gone_is_forgotten() {
        let (taps, events) = listener(3);
        assert!(!taps.is_empty());
        drop(events);
        assert!(taps.is_empty());
    }
}
