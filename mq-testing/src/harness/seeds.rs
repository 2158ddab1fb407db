//! Runs tests in simulated worlds, one per seed, and says how to repeat the one that failed.
//!
//! Without further words a test runs with one seed, made from its name: it is the same each time. `seeds = 20` runs it with
//! twenty. In the environment, `MQ_TEST_SEED=n` runs exactly that one, and `MQ_TEST_SEEDS=n` so many of each test.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};

use super::fail;
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
    in_world(seed, scenario, |world| {
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
    let given = variable(SEED_VARIABLE);
    let count = if given.is_some() {
        1
    } else {
        variable(SEEDS_VARIABLE).unwrap_or(seeds).max(1)
    };
    let first = given.unwrap_or_else(|| name.seed());
    for round in 0..count {
        let seed = first.wrapping_add(round);
        let checked = || async {
            if let Some(problem) = body().await.problem() {
                fail(&problem);
            }
        };
        in_world(seed, checked, |world| {
            let TestName {
                package, function, ..
            } = name;
            eprintln!(
                "{function} failed with seed {seed} (run {} of {count}); repeat it with\n  \
                 {SEED_VARIABLE}={seed} cargo test -p {package} -- --exact {}\nwhat happened:\n{}",
                round + 1,
                name.path(),
                world.recent()
            );
        });
    }
}

/// Runs a body; calls `on_panic` before a panic of it goes on.
fn in_world<T, F: Future<Output = T>>(
    seed: u64,
    body: impl FnOnce() -> F,
    on_panic: impl FnOnce(&World),
) -> T {
    let seen: OnceLock<Arc<World>> = OnceLock::new();
    let lived = catch_unwind(AssertUnwindSafe(|| live(seed, &seen, body)));
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
