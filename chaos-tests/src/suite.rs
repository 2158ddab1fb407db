//! What a suite of `cargo xtask chaos` is: a name, a sentence, and a function that tries many cases and counts them.
//!
//! Invariants
//! 1. Everything random in a suite comes from [`Run::seed`]; the seed is printed, and the same seed makes the same run.
//! 2. A suite that cannot run on this machine is [`Outcome::Skipped`] with the reason, never passed.
//! 3. A suite that tried nothing has failed.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often a long suite says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// One suite, as it stands in [`SUITES`](crate::suites::SUITES).
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it tries, in one line.
    pub what: &'static str,
    /// The smallest run it is part of.
    pub from: Level,
    /// Tries it.
    pub work: fn(&Run) -> Outcome,
}

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Minutes, in every check of a change.
    Quick,
    /// Half an hour.
    Default,
    /// Hours.
    Nightly,
}

impl Level {
    /// One of three numbers.
    #[must_use]
    pub const fn of<T: Copy>(self, quick: T, default: T, nightly: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Default => default,
            Self::Nightly => nightly,
        }
    }
}

/// What became of a suite.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Every promise was kept in every case.
    Passed,
    /// This machine lacks something.
    Skipped(String),
    /// A promise was broken: how, and how to see it again.
    Failed(String),
}

impl<E: Display> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        result.map_or_else(|error| Self::Failed(error.to_string()), |()| Self::Passed)
    }
}

/// What a suite is told, and where it counts.
#[derive(Debug)]
pub struct Run {
    /// How much to try.
    pub level: Level,
    /// Where all randomness of the suite comes from.
    pub seed: u64,
    /// How many cases of a seeded suite, if the caller chose: case `n` has the seed `seed + n`.
    pub cases: Option<u64>,
    /// How many threads may share the work.
    pub threads: usize,
    name: &'static str,
    tried: AtomicU64,
    faults: AtomicU64,
    said: Mutex<Instant>,
}

impl Run {
    /// A run of one suite.
    #[must_use]
    pub fn new(name: &'static str, level: Level, seed: u64, cases: Option<u64>) -> Self {
        Self {
            level,
            seed,
            cases,
            threads: std::thread::available_parallelism().map_or(2, usize::from),
            name,
            tried: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            said: Mutex::new(now()),
        }
    }

    /// A case was tried, with so many faults injected (crashes included).
    pub fn tried(&self, faults: u64) {
        let tried = self.tried.fetch_add(1, Ordering::Relaxed) + 1;
        self.faults.fetch_add(faults, Ordering::Relaxed);
        let mut said = self.said.lock();
        if said.elapsed() >= PROGRESS_EVERY {
            *said = now();
            eprintln!("chaos: {}: {} cases", self.name, grouped(tried));
        }
    }

    /// Cases and faults so far.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (
            self.tried.load(Ordering::Relaxed),
            self.faults.load(Ordering::Relaxed),
        )
    }

    /// Tries `cases` seeds, shared among threads; the failure reported is of the earliest seed and names it.
    ///
    /// # Errors
    /// What the earliest failing seed said, and the command that tries it again.
    pub fn each_seed(
        &self,
        cases: u64,
        case: impl Fn(u64) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        let cases = self.cases.unwrap_or(cases);
        let seed = |index| self.seed.wrapping_add(index);
        let tried = self.each(cases, |index| case(seed(index)));
        tried.map_err(|(index, reason)| {
            let again = self.command(seed(index));
            format!("{reason}\nsee it again: {again} --cases 1")
        })
    }

    /// Tries the cases from 0 on, shared among threads; the failure reported is the earliest.
    ///
    /// # Errors
    /// The number of the earliest failing case, and what it said.
    pub fn each(
        &self,
        cases: u64,
        case: impl Fn(u64) -> Result<(), String> + Sync,
    ) -> Result<(), (u64, String)> {
        let earliest = AtomicU64::new(u64::MAX);
        let failures = Mutex::new(Vec::new());
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= cases || index > earliest.load(Ordering::Relaxed) {
                            break;
                        }
                        if let Err(reason) = caught(|| case(index)) {
                            earliest.fetch_min(index, Ordering::Relaxed);
                            failures.lock().push((index, reason));
                        }
                    }
                });
            }
        });
        let first = failures.into_inner().into_iter().min();
        first.map_or(Ok(()), Err)
    }

    /// The command that makes this run with a seed.
    #[must_use]
    pub fn command(&self, seed: u64) -> String {
        let level = match self.level {
            Level::Quick => " --quick",
            Level::Default => "",
            Level::Nightly => " --nightly",
        };
        format!("cargo xtask chaos {}{level} --seed {seed}", self.name)
    }
}

/// A panic is a broken promise like any other.
///
/// # Errors
/// What `case` said, or what it said when it panicked.
pub fn caught<T>(case: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("it panicked: {}", text.unwrap_or_default()))
    })
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The real clock: only for what a person is told about how long something took.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a suite took is measured on the real clock"
)]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}
