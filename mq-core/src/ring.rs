//! A bounded first-in, first-out ring for many producers and many consumers, without locks.
//!
//! Positions count up for ever; the slot of a position is `position % capacity`. Producers claim positions
//! from `tail`, consumers from `head`, each by one compare-and-swap for a whole run of positions. Every slot
//! carries a *turn* that says whose it is, seen from a position `p` that maps to it:
//!
//! | turn           | state     | may touch the value                                  |
//! |----------------|-----------|------------------------------------------------------|
//! | `p`            | free      | the producer that claimed `p`                        |
//! | `p + 1`        | published | the consumer that claimed `p`                        |
//! | `p + capacity` | free      | the producer of the next lap, for which this is `p`  |
//!
//! Source: Dmitry Vyukov, "Bounded MPMC queue",
//! <https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue>. The claim of a run is ours.
//!
//! # Moves and their orderings
//!
//! | move                     | side     | ordering | partner              | reason                                           |
//! |--------------------------|----------|----------|----------------------|--------------------------------------------------|
//! | `Cursor::position`       | both     | Relaxed  | none                 | a guess; the turn and the claim check it         |
//! | `Cursor::claim`          | both     | Relaxed  | none                 | decides who, hands over no memory: turns do that |
//! | `Slot::turn`             | producer | Acquire  | `Slot::take`         | the old value is out before it is overwritten    |
//! | `Slot::turn`             | consumer | Acquire  | `Slot::publish`      | the value is in before it is read                |
//! | `Slot::publish`, store   | producer | Release  | consumer's `turn`    | as above                                         |
//! | `Slot::take`, store      | consumer | Release  | producer's `turn`    | as above                                         |
//!
//! # Invariants
//!
//! - A turn leaves the state in which a claim saw it only through the holder of that claim. So the slots of a
//!   run that were ready when counted are still ready when the cursor has not moved, and one CAS takes them all.
//! - Nothing that can panic or run foreign code stands between a claim and its last publish or take.
//! - Values come out in the order of their positions; so each producer's values keep their order.
//!
//! # What lock-free means here
//!
//! In Vyukov's sense: a claim fails only because another one succeeded, and no call waits for another thread.
//! But a producer stopped between its claim and its publish delays its own cell: pops answer `None` at it,
//! though later cells may be published. A consumer stopped in the middle of a take makes pushes answer full in
//! the same way. Whoever sleeps on such an answer is safe if it asks once more after it made itself known, and
//! if each push (pop) is followed by a wake-up: the delayed one is, too. The ring orders neither; that takes a
//! lock or fences of the caller's.
//!
//! What it does not do: wait, wake, close, grow, or order by priority.

#![expect(
    unsafe_code,
    reason = "a slot is handed over by its turn, not by a borrow"
)]

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;

use std::{collections::VecDeque, fmt, mem::MaybeUninit};

use crate::sync::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    UnsafeCell, spin_loop,
};

/// The capacity asked of a [`Ring`] was not a power of two of at least 2; no ring was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the capacity of a ring is a power of two and at least 2, not {capacity}")]
pub struct RingCapacityError {
    /// The capacity that was asked for, in values.
    pub capacity: usize,
}

/// A bounded queue of values shared by any number of producers and consumers; the module says how it works.
///
/// Dropping the ring drops the values still in it.
///
/// # Examples
///
/// ```
/// use mq_core::ring::Ring;
///
/// let ring = Ring::new(2)?;
/// assert_eq!(ring.try_push("a"), Ok(()));
/// assert_eq!(ring.try_push("b"), Ok(()));
/// assert_eq!(ring.try_push("c"), Err("c"));
/// assert_eq!(ring.try_pop(), Some("a"));
/// # Ok::<(), mq_core::ring::RingCapacityError>(())
/// ```
pub struct Ring<T> {
    head: Cursor<PUBLISHED>,
    tail: Cursor<FREE>,
    slots: Box<[Slot<T>]>,
}

impl<T> Ring<T> {
    /// A ring of `capacity` slots, all allocated now.
    ///
    /// # Errors
    ///
    /// [`RingCapacityError`] if `capacity` is not a power of two or is below 2 (a single slot could not tell
    /// "published" from "free for the next lap").
    pub fn new(capacity: usize) -> Result<Self, RingCapacityError> {
        Self::starting_at(0, capacity)
    }

    /// A ring whose first position is `first`, a multiple of `capacity`.
    fn starting_at(first: usize, capacity: usize) -> Result<Self, RingCapacityError> {
        if capacity < 2 || !capacity.is_power_of_two() {
            return Err(RingCapacityError { capacity });
        }
        Ok(Self {
            head: Cursor(AtomicUsize::new(first)),
            tail: Cursor(AtomicUsize::new(first)),
            slots: (0..capacity)
                .map(|index| Slot::free_for(first.wrapping_add(index)))
                .collect(),
        })
    }

    /// Appends `value`.
    ///
    /// # Errors
    ///
    /// Gives `value` back if the next slot is taken: the ring is full, or the pop of the oldest value is not over.
    #[inline]
    pub fn try_push(&self, value: T) -> Result<(), T> {
        let Some(run) = self.claim(&self.tail, 1, |_| ()) else {
            return Err(value);
        };
        // SAFETY: `claim` on the tail found the slot of `run.first` free and made it ours.
        unsafe { self.slot(run.first).publish(run.first, value) };
        Ok(())
    }

    /// Moves as many values as there are free slots from the front of `values`, in order, and says how many.
    ///
    /// They stand in the ring without a gap: one claim takes all their slots. The others stay in `values`.
    #[inline]
    pub fn try_push_all(&self, values: &mut VecDeque<T>) -> usize {
        let Some(run) = self.claim(&self.tail, values.len(), |_| ()) else {
            return 0;
        };
        // `drain` checks that there are enough, and its iterator runs no code of `T`: nothing here can panic.
        for (offset, value) in values.drain(..run.len).enumerate() {
            let position = run.first.wrapping_add(offset);
            // SAFETY: `claim` on the tail found the slots of the whole run free and made them ours.
            unsafe { self.slot(position).publish(position, value) };
        }
        run.len
    }

    /// Takes the oldest value, or `None` if it is not there: the ring is empty, or its push is not over.
    #[inline]
    pub fn try_pop(&self) -> Option<T> {
        let run = self.claim(&self.head, 1, |_| ())?;
        // SAFETY: `claim` on the head found the slot of `run.first` published and made it ours.
        Some(unsafe { self.slot(run.first).take(run.first, self.capacity()) })
    }

    /// Moves up to `max` of the oldest values to the end of `out`, in order, and says how many.
    ///
    /// One claim takes them all. It ends before the first value whose push is not over.
    #[inline]
    pub fn pop_many(&self, max: usize, out: &mut Vec<T>) -> usize {
        let Some(run) = self.claim(&self.head, max, |count| out.reserve(count)) else {
            return 0;
        };
        // There is room, so `extend` neither allocates nor panics.
        out.extend((0..run.len).map(|offset| {
            let position = run.first.wrapping_add(offset);
            // SAFETY: `claim` on the head found the slots of the whole run published and made them ours.
            unsafe { self.slot(position).take(position, self.capacity()) }
        }));
        run.len
    }

    /// How many values are in the ring: exact when nobody else uses it, otherwise an estimate.
    ///
    /// Pushes and pops count from their claim on. Not a reason to sleep or to believe that a call will succeed.
    pub fn len(&self) -> usize {
        let tail = self.tail.position();
        let len = tail.wrapping_sub(self.head.position()).cast_signed();
        usize::try_from(len).map_or(0, |len| len.min(self.capacity()))
    }

    /// Whether [`len`](Self::len) is 0, an estimate like it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values the ring can hold.
    pub const fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Claims the run of ready slots at `cursor`, at most `max`; `None` if there is none.
    ///
    /// `before` is told the length of each run that is about to be claimed; it may panic.
    #[inline(always)]
    fn claim<const READY: usize>(
        &self,
        cursor: &Cursor<READY>,
        max: usize,
        mut before: impl FnMut(usize),
    ) -> Option<Run> {
        if max == 0 {
            return None;
        }
        let (mut first, mut backoff) = (cursor.position(), Backoff::new());
        loop {
            let wanted = first.wrapping_add(READY);
            let turn = self.slot(first).turn();
            if turn == wanted {
                let len = self.ready::<READY>(first, max);
                before(len);
                if cursor.claim(first, len) {
                    return Some(Run { first, len });
                }
            } else if turn.wrapping_sub(wanted).cast_signed() < 0 {
                return None;
            }
            // Someone else claimed `first`. If the turn says so, it was read with Acquire, so their claim is
            // visible too and the cursor reads as a later position: this cannot go round for ever.
            backoff.pause();
            first = cursor.position();
        }
    }

    /// How many slots from `first` on are ready, at most `max`, when that of `first` is.
    #[inline(always)]
    fn ready<const READY: usize>(&self, first: usize, max: usize) -> usize {
        (1..max.min(self.capacity()))
            .take_while(|offset| {
                let position = first.wrapping_add(*offset);
                self.slot(position).turn() == position.wrapping_add(READY)
            })
            .count()
            + 1
    }

    #[inline(always)]
    fn slot(&self, position: usize) -> &Slot<T> {
        let index = position & (self.slots.len() - 1);
        // SAFETY: the length is a power of two, so the mask leaves an index below it.
        unsafe { self.slots.get_unchecked(index) }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        while self.try_pop().is_some() {}
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Positions that one caller alone may serve, all their slots being ready for it.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    len: usize,
}

/// A slot is ready for the producer of `p` when its turn is `p + FREE`.
const FREE: usize = 0;
/// A slot is ready for the consumer of `p` when its turn is `p + PUBLISHED`.
const PUBLISHED: usize = 1;

/// The next position to claim, of slots whose turn is `READY` past their position.
///
/// On lines of its own, so that producers and consumers do not slow each other: 128 bytes, because x86-64
/// fetches lines of 64 in pairs and large ARM cores have lines of 128. Three lines here spare a dependency.
#[repr(align(128))]
struct Cursor<const READY: usize>(AtomicUsize);

impl<const READY: usize> Cursor<READY> {
    #[inline(always)]
    fn position(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Moves on by `len` if it still stands at `first`.
    #[inline(always)]
    fn claim(&self, first: usize, len: usize) -> bool {
        let next = first.wrapping_add(len);
        self.0
            .compare_exchange(first, next, Relaxed, Relaxed)
            .is_ok()
    }
}

/// The pauses of one call after lost claims: 8, 16, 32, 64, then 128 spin hints each.
///
/// Source: `cargo bench -p mq-benches --bench ring`, where eight threads without it took twice as long.
struct Backoff(u32);

impl Backoff {
    #[inline(always)]
    const fn new() -> Self {
        Self(8)
    }

    #[inline(always)]
    fn pause(&mut self) {
        for _ in 0..self.0 {
            spin_loop();
        }
        self.0 = (self.0 * 2).min(128);
    }
}

/// A place for one value, and whose it is.
struct Slot<T> {
    turn: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: only the one thread whose claim the turn answers touches `value`, and values move between threads,
// hence `T: Send`. No `&T` is ever shared, so `T: Sync` is not needed.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    fn free_for(position: usize) -> Self {
        Self {
            turn: AtomicUsize::new(position),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    #[inline(always)]
    fn turn(&self) -> usize {
        self.turn.load(Acquire)
    }

    /// Puts `value` in and passes the slot to the consumer of `position`.
    ///
    /// # Safety
    ///
    /// The caller claimed `position` from the tail after it saw the turn `position + FREE`.
    #[inline(always)]
    unsafe fn publish(&self, position: usize, value: T) {
        self.value.with_mut(|cell| {
            // SAFETY: free and claimed by us: the consumer of the last lap left before that turn, and the next
            // one waits for our store below. The cell holds no value that would need a drop.
            unsafe { (*cell).write(value) };
        });
        self.turn.store(position.wrapping_add(PUBLISHED), Release);
    }

    /// Takes the value out and passes the slot to the producer of the next lap.
    ///
    /// # Safety
    ///
    /// The caller claimed `position` from the head after it saw the turn `position + PUBLISHED`.
    #[inline(always)]
    unsafe fn take(&self, position: usize, capacity: usize) -> T {
        let value = self.value.with_mut(|cell| {
            // SAFETY: published and claimed by us: the producer left before that turn, the next one waits for
            // our store below, and no other consumer holds this position. So it is read exactly once.
            unsafe { (*cell).assume_init_read() }
        });
        self.turn.store(position.wrapping_add(capacity), Release);
        value
    }
}
