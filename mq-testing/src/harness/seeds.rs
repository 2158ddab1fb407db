//! Runs tests in simulated worlds, one per seed, and says how to repeat the one that failed.
//!
//! Without further words a test runs with one seed, made from its name: it is the same each time. `seeds = 20` runs it with
//! twenty. In the environment, `MQ_TEST_SEED=n` runs exactly that one, and `MQ_TEST_SEEDS=n` so many of each test.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};

use super::fail;
use super::trouble::Plan;
use super::world::{World, live};

/// Runs exactly this seed.
const SEED_VARIABLE: &str = "MQ_TEST_SEED";
/// Runs so many seeds of each test.
const SEEDS_VARIABLE: &str = "MQ_TEST_SEEDS";

/// Where a test stands, for the command that repeats it. Written by `#[mq_testing::test]`.
#[derive(Clone, Copy, Debug)]
pub struct TestName {
    /// The package.
    pub package: &'static str,
    /// The module, with the crate before it.
    pub module: &'static str,
    /// The function.
    pub function: &'static str,
}

impl TestName {
    /// As the test program lists it.
    fn path(&self) -> String {
        match self.module.split_once("::") {
            Some((_, module)) => format!("{module}::{}", self.function),
            None => self.function.to_owned(),
        }
    }

    /// The command that runs this test with this seed.
    pub(super) fn command(&self, seed: u64) -> String {
        format!(
            "{SEED_VARIABLE}={seed} cargo test -p {} -- --exact {}",
            self.package,
            self.path()
        )
    }

    /// The seeds to run: what the environment says, else `count` from the name on.
    pub(super) fn seeds(&self, count: u64) -> impl Iterator<Item = u64> + use<> {
        let given = variable(SEED_VARIABLE);
        let count = match given {
            Some(_) => 1,
            None => variable(SEEDS_VARIABLE).unwrap_or(count).max(1),
        };
        let first = given.unwrap_or_else(|| self.seed());
        (0..count).map(move |round| first.wrapping_add(round))
    }

    /// FNV-1a of the path: the same on every machine and forever.
    ///
    /// Source: <http://www.isthe.com/chongo/tech/comp/fnv/>.
    fn seed(&self) -> u64 {
        let bytes = self.path().into_bytes();
        bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// What a test may return: nothing, or a result whose error fails it.
pub trait Finished {
    /// What went wrong, if something did.
    fn problem(&self) -> Option<String>;
}

impl Finished for () {
    fn problem(&self) -> Option<String> {
        None
    }
}

impl<E: fmt::Debug> Finished for Result<(), E> {
    fn problem(&self) -> Option<String> {
        self.as_ref().err().map(|error| format!("{error:?}"))
    }
}

/// Runs a scenario in a simulated world of its own: for programs and examples. Tests use `#[mq_testing::test]`.
///
/// # Panics
/// If the scenario does, after what happened was printed; and inside another runtime.
pub fn run<T, F: Future<Output = T>>(seed: u64, scenario: impl FnOnce() -> F) -> T {
    in_world(Whole::of(seed, &OnceLock::new()), scenario, |world| {
        eprintln!("what happened with seed {seed}:\n{}", world.recent());
    })
}

/// What `#[mq_testing::test]` calls.
///
/// # Panics
/// If the test fails with one of its seeds, after the seed and what happened were printed.
pub fn run_test<T: Finished, F: Future<Output = T>>(
    name: TestName,
    seeds: u64,
    body: impl Fn() -> F,
) {
    for seed in name.seeds(seeds) {
        let whole = OnceLock::new();
        in_world(
            Whole::of(seed, &whole),
            || checked(&body),
            |world| {
                eprintln!(
                    "{} failed with seed {seed}; repeat it with\n  {}\nwhat happened:\n{}",
                    name.function,
                    name.command(seed),
                    world.recent()
                );
            },
        );
    }
}

/// A body whose error is a panic.
pub(super) async fn checked<T: Finished, F: Future<Output = T>>(body: &impl Fn() -> F) {
    if let Some(problem) = body().await.problem() {
        fail(&problem);
    }
}

/// What a world is made from, and where it can be looked at afterwards.
pub(super) struct Whole<'a> {
    pub(super) seed: u64,
    pub(super) plan: Plan,
    pub(super) seen: &'a OnceLock<Arc<World>>,
}

impl<'a> Whole<'a> {
    fn of(seed: u64, seen: &'a OnceLock<Arc<World>>) -> Self {
        Self {
            seed,
            plan: Plan::default(),
            seen,
        }
    }
}

/// Runs a body; calls `on_panic` before a panic of it goes on.
pub(super) fn in_world<T, F: Future<Output = T>>(
    whole: Whole<'_>,
    body: impl FnOnce() -> F,
    on_panic: impl FnOnce(&World),
) -> T {
    let Whole { seed, plan, seen } = whole;
    let lived = catch_unwind(AssertUnwindSafe(|| live(seed, plan, seen, body)));
    match lived {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => fail(&format!("no runtime for a simulated world: {error}")),
        Err(panic) => {
            if let Some(world) = seen.get() {
                on_panic(world);
            }
            resume_unwind(panic)
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => fail(&format!("{name} must be a whole number, not {text:?}")),
    }
}
