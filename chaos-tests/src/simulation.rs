//! The whole engine lives several lives of random work, crashes and failing calls, all from one seed, and an oracle that
//! is told everything judges what it shows.
//!
//! Beside what the oracle knows, each life is held to: a lease of an earlier life or delivery is refused, a valid one is
//! taken; deliveries and attempts never count backwards; what was running when the process was killed comes back as a
//! suspect, one suspect at a time; a message is dead as crashed only after three solo runs that a crash ended; a saved
//! checkpoint comes back; who is told of another message can rely on that one; a queue that was paused stays paused and hands
//! out nothing; a bulk job comes to its end; no payload is found damaged; every answer comes, after so many turns of the
//! engine's threads and so many calls to the disk.
//!
//! Each life draws anew how often it does what (`mix`). Threads are held in the middle of calls to the disk while others go
//! on, and the power goes at chosen calls: between a write and its sync, between a rename and the sync of the directory. The disk of
//! a store that was closed decays, on a copy (`decay`).
//!
//! Equal seeds make equal runs, to the bytes on the disk: [`live`] answers a number that says so.

mod decay;
mod drain;
mod facts;
mod grants;
mod lives;
mod mix;
mod ops;
mod submit;
mod together;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use mq_core::id::MessageId;
use mq_persistence::storage::Filesystem;
use mq_testing::clock::ManualClock;
use mq_testing::oracle::Oracle;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use facts::Fact;

/// How much of what was seen is told when a promise is broken.
const STORY_LEN: usize = 300;

/// How long and how rough a simulation is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Lives, the last quiet one not counted.
    pub lives: u64,
    /// Steps of a life, at most.
    pub steps: u64,
    /// Lives of ten in which a call fails.
    pub faults_of_10: u64,
    /// Lives of ten that end in the middle of some call.
    pub crashes_of_10: u64,
}

/// Many short lives: most of what can go wrong needs few steps.
pub const SHORT: Shape = Shape {
    lives: 4,
    steps: 25,
    faults_of_10: 2,
    crashes_of_10: 5,
};

/// Few long ones: segments fill, snapshots and compaction have something to do.
pub const LONG: Shape = Shape {
    lives: 3,
    steps: 250,
    faults_of_10: 1,
    crashes_of_10: 4,
};

/// Why a life does not go on.
#[derive(Debug)]
enum Halt {
    /// The engine stopped or the disk died: the life is over.
    Over,
    /// A promise was broken.
    Broken(String),
}

type Step<T = ()> = Result<T, Halt>;

fn broken<T>(what: impl Into<String>) -> Step<T> {
    Err(Halt::Broken(what.into()))
}

/// Everything that goes on from life to life.
struct World {
    shape: Shape,
    random: SplitMix64,
    /// What the disk does to a store that nobody has open.
    decay: SplitMix64,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    oracle: Oracle<u64>,
    facts: BTreeMap<u64, Fact>,
    names: BTreeMap<MessageId, u64>,
    next: u64,
    life: u64,
    /// The last life in which a lease was seen, and its incarnation.
    incarnation: (u64, u32),
    /// Settlements that were answered when written, to be durable soon.
    soft: Vec<u64>,
    /// Leases that must be refused from now on.
    stale: Vec<mq_core::id::LeaseToken>,
    /// What each queue may be: paused or not, more than one of them after an answer that did not come.
    paused: BTreeMap<&'static str, Vec<bool>>,
    /// Ids that an answer named while nobody could say any more whose they are.
    promised: Vec<MessageId>,
    /// A bulk job may be under way.
    bulk: bool,
    /// More calls that change the disk than this a life does not need.
    io_max: u64,
    faults: u64,
    replay: DefaultHasher,
    /// The last things that were seen.
    story: VecDeque<String>,
}

/// What a simulation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lived {
    /// Stands for everything that was seen and for every byte left on the disk.
    pub replay: u64,
    /// Crashes and failing calls.
    pub faults: u64,
    /// Messages submitted.
    pub messages: usize,
}

/// Lives all lives of a seed.
///
/// # Errors
/// The promise that was broken, and the last I/Os.
pub fn live(seed: u64, shape: Shape) -> Result<Lived, String> {
    let mut world = World {
        shape,
        random: SplitMix64::new(seed),
        decay: SplitMix64::new(!seed),
        disk: SimDisk::new(),
        clock: Arc::new(ManualClock::default()),
        oracle: Oracle::new(),
        facts: BTreeMap::new(),
        names: BTreeMap::new(),
        next: 0,
        life: 0,
        incarnation: (0, 0),
        soft: Vec::new(),
        stale: Vec::new(),
        paused: BTreeMap::new(),
        promised: Vec::new(),
        bulk: false,
        io_max: u64::MAX,
        faults: 0,
        replay: DefaultHasher::new(),
        story: VecDeque::new(),
    };
    if world.random.chance(1, 4) {
        // Segments are removed there, not recycled.
        world.disk.pose_as(Filesystem::Btrfs);
    }
    world.run().map_err(|reason| {
        let story: Vec<String> = world.story.iter().cloned().collect();
        let (story, trace) = (story.join("\n  "), world.disk.trace());
        format!("{reason}\nit saw\n  {story}\nand the last I/Os were\n{trace}")
    })?;
    for name in world.disk.file_names() {
        if name != "LOCK" {
            world.disk.file_bytes(&name).hash(&mut world.replay);
            name.hash(&mut world.replay);
        }
    }
    Ok(Lived {
        replay: world.replay.finish(),
        faults: world.faults,
        messages: world.oracle.len(),
    })
}

impl World {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.shape.lives {
            self.live_once()?;
        }
        self.live_to_the_end()
    }

    /// Remembers something that was seen.
    fn saw(&mut self, what: impl Debug) {
        let what = format!("{what:?}");
        what.hash(&mut self.replay);
        self.story.push_back(what);
        if self.story.len() > STORY_LEN {
            self.story.pop_front();
        }
    }

    fn name(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.random.below(limit as u64)).unwrap_or(0)
    }
}
