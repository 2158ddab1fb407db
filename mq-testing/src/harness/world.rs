//! One simulated world: a runtime on one thread whose time stands still while anything can happen, the clock that the
//! engine reads from it, and the order in which everything runs.
//!
//! Invariants
//! 1. Tasks, engine threads and the test take turns; nothing runs beside anything else. Blocking handlers run on a thread
//!    of their own while the runtime's thread waits for them.
//! 2. Time moves only when no task and no engine thread has anything to do, and then to the next moment that somebody
//!    waits for.
//! 3. What happens depends on the test and the seed. Not covered: a test's own threads, real I/O, `tokio::select!`
//!    without `biased`, and iteration over maps with random hashers.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use mq_core::time::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::life::Lifeline;
use super::puppets::Puppets;
use super::trouble::Plan;
use crate::clock::START_MS;
use crate::random::SplitMix64;
use crate::sim_disk::SimDisk;

/// Turns of engine threads in a row before it is taken for a bug of the engine.
const TURNS_MAX: usize = 100_000;
/// Lines of the story that a failure prints.
const STORY_SHOWN: usize = 60;

/// The engine's clock: tokio's paused time, counted from the start of the world.
#[derive(Debug)]
pub(super) struct SimClock {
    handle: Handle,
    start: Instant,
    /// How far the wall clock was set off, in milliseconds.
    offset_ms: Mutex<i64>,
}

impl SimClock {
    /// The moment of the runtime's time that `monotonic` stands for.
    pub(super) fn instant(&self, monotonic: Duration) -> Instant {
        self.start + monotonic
    }

    /// Sets the wall clock alone.
    pub(super) fn set_wall(&self, wall: Timestamp) {
        let elapsed = whole_ms(self.monotonic());
        let straight = START_MS.saturating_add(elapsed);
        let offset = i128::from(wall.as_ms()) - i128::from(straight);
        *self.offset_ms.lock() = i64::try_from(offset).unwrap_or_default();
    }
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        let straight = START_MS.saturating_add(whole_ms(self.monotonic()));
        Timestamp::from_ms(straight.saturating_add_signed(*self.offset_ms.lock()))
    }

    fn monotonic(&self) -> Duration {
        let _context = self.handle.enter(); // engine threads are not the runtime's, and its time is asked for
        Instant::now().saturating_duration_since(self.start)
    }
}

/// A process whose threads get turns.
#[derive(Clone, Debug)]
pub(super) struct Directed {
    pub(super) puppets: Puppets,
    pub(super) disk: SimDisk,
    pub(super) lifeline: Arc<Lifeline>,
}

impl Directed {
    /// One turn of one thread. A process whose disk lost its power is dead at once, and a dead one does nothing.
    fn turn(&self) -> bool {
        let ran = !self.lifeline.is_cut() && self.puppets.run_due();
        if ran && self.disk.has_crashed() {
            self.lifeline.cut();
        }
        ran
    }
}

/// What happens while the runtime has nothing to do.
#[derive(Debug, Default)]
struct Idleness {
    directed: Vec<Directed>,
    /// How often there was nothing to do.
    idles: u64,
    /// How often engine threads did something.
    turns: u64,
    waiting_for_idle: Vec<Waker>,
    waiting_for_turns: Vec<Waker>,
}

/// The moments without anything to do, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Idleness>);

impl Idle {
    /// Called by the runtime when no task can run: the engine's threads have their turn.
    pub(super) fn on_park(&self) {
        let directed = self.0.lock().directed.clone();
        let turn = |_: &usize| directed.iter().any(Directed::turn);
        let turns = (0..TURNS_MAX).take_while(turn).count();
        let mut state = self.0.lock();
        state.idles += 1;
        let mut woken = std::mem::take(&mut state.waiting_for_idle);
        if turns > 0 {
            state.turns += 1;
            woken.append(&mut state.waiting_for_turns);
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The threads of this process have turns from now on.
    pub(super) fn direct(&self, process: Directed) {
        self.0.lock().directed.push(process);
    }

    /// The threads of the process of this lifeline have no more turns.
    pub(super) fn leave_alone(&self, lifeline: &Arc<Lifeline>) {
        let mut state = self.0.lock();
        state
            .directed
            .retain(|process| !Arc::ptr_eq(&process.lifeline, lifeline));
    }

    /// When the first engine thread has its turn that was called and waits for the disk.
    fn next_called_start(&self) -> Option<Duration> {
        let directed = self.0.lock().directed.clone();
        let starts = directed.iter();
        starts
            .filter(|process| !process.lifeline.is_cut())
            .filter_map(|process| process.puppets.next_called_start())
            .min()
    }

    fn turns(&self) -> u64 {
        self.0.lock().turns
    }

    /// Waits until there is nothing to do once.
    async fn next_idle(&self) {
        let before = self.0.lock().idles;
        poll_fn(|context| {
            let mut state = self.0.lock();
            if state.idles > before {
                return Poll::Ready(());
            }
            state.waiting_for_idle.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits until everything that can happen at this moment has happened.
    pub(super) async fn quiesce(&self) {
        self.quiesce_unless(|| false).await;
    }

    /// As [`Idle::quiesce`], but gives up as soon as `enough` says so.
    pub(super) async fn quiesce_unless(&self, enough: impl Fn() -> bool) {
        let mut calm = 0;
        while calm < 2 && !enough() {
            let before = self.turns();
            self.next_idle().await;
            calm = if self.turns() == before { calm + 1 } else { 0 };
        }
    }

    /// Waits until engine threads have done something after this call.
    pub(super) fn next_turn(&self) -> impl Future<Output = ()> + '_ {
        let before = self.turns();
        poll_fn(move |context| {
            let mut state = self.0.lock();
            if state.turns > before {
                return Poll::Ready(());
            }
            state.waiting_for_turns.push(context.waker().clone());
            Poll::Pending
        })
    }
}

/// One run of one test.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) idle: Arc<Idle>,
    pub(super) clock: Arc<SimClock>,
    pub(super) plan: Plan,
    random: Mutex<SplitMix64>,
    story: Mutex<Vec<String>>,
    disk_latency: Mutex<Duration>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

impl World {
    /// The world that this thread runs, if it runs one.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Random bits of this run.
    pub(super) fn random(&self) -> u64 {
        self.random.lock().next_u64()
    }

    /// How long the disk takes.
    pub(super) fn disk_latency(&self) -> Duration {
        *self.disk_latency.lock()
    }

    /// Sets it, for every process to come.
    pub(super) fn set_disk_latency(&self, latency: Duration) {
        *self.disk_latency.lock() = latency;
    }

    /// Waits until everything that was begun has happened, also what the engine's threads were called for and wait for a slow
    /// disk with: time passes for that alone.
    pub(super) async fn settle(&self) {
        self.idle.quiesce().await;
        while let Some(start) = self.idle.next_called_start() {
            tokio::time::sleep_until(self.clock.instant(start)).await;
            self.idle.quiesce().await;
        }
    }

    /// Adds a line to what happened.
    pub(super) fn tell(&self, text: impl fmt::Display) {
        let at = self.clock.monotonic();
        self.story
            .lock()
            .push(format!("{:>10.3} s  {text}", at.as_secs_f64()));
    }

    /// Everything that happened, one line each.
    pub(super) fn story(&self) -> String {
        self.story.lock().join("\n")
    }

    /// The end of what happened.
    pub(super) fn recent(&self) -> String {
        let story = self.story.lock();
        let skipped = story.len().saturating_sub(STORY_SHOWN);
        let mut shown: Vec<&str> = story.iter().skip(skipped).map(String::as_str).collect();
        let omitted = format!("… {skipped} earlier lines");
        if skipped > 0 {
            shown.insert(0, &omitted);
        }
        shown.join("\n")
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Takes the world away from the thread, also when a test panics.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Runs `body` in a world of its own, made from `seed`, with `plan`. `seen` gets the world, so that it can be asked after a panic.
pub(super) fn live<T, F: Future<Output = T>>(
    seed: u64,
    plan: Plan,
    seen: &OnceLock<Arc<World>>,
    body: impl FnOnce() -> F,
) -> std::io::Result<T> {
    let idle = Arc::new(Idle::default());
    let hook = Arc::clone(&idle);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(move || hook.on_park())
        .build()?;
    let start = {
        let _context = runtime.enter();
        Instant::now()
    };
    let clock = Arc::new(SimClock {
        handle: runtime.handle().clone(),
        start,
        offset_ms: Mutex::new(0),
    });
    let world = Arc::new(World {
        seed,
        idle,
        clock,
        plan,
        random: Mutex::new(SplitMix64::new(seed)),
        story: Mutex::new(Vec::new()),
        disk_latency: Mutex::default(),
    });
    drop(seen.set(Arc::clone(&world)));
    CURRENT.set(Some(world));
    let leave = Leave;
    let value = runtime.block_on(async { body().await });
    drop(leave);
    Ok(value)
}
