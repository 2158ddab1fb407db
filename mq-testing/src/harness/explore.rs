//! One scenario, gone through again and again, with another trouble each time: crashes at every operation on the disk and
//! every step of a handler, answers that come late, clocks that jump.
//!
//! Invariant: the first run has no trouble and counts the points; every other run has exactly one.

use std::sync::OnceLock;

use super::seeds::{self, Finished, TestName, Whole, in_world};
use super::trouble::{Plan, Points, Trouble};

/// Runs of one scenario with one seed; beyond it, points are left out evenly.
const RUNS_MAX: usize = 1_000;
/// Goes through exactly this trouble.
const POINT_VARIABLE: &str = "MQ_TEST_POINT";

/// What an exploration went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Runs with one trouble each, beside the one without.
    pub runs: usize,
    /// Points that were left out because there were more than 1,000.
    pub left_out: usize,
}

/// Goes through a scenario without trouble, and then once for every point at which something can go wrong while the harness
/// runs messages:
///
/// - the power is cut at each operation on the disk; what was not synced is old, new or torn, by seed;
/// - the process dies at each step of a handler: before it begins, at each `.await` that waits, before and after each
///   [`Effects::happen`](crate::Effects::happen);
/// - a handler's answer reaches the store only when its lease has run out, so that the message is handed out again;
/// - the wall clock jumps by an hour, forward or back, at each hand-out.
///
/// After each, [`Harness::run_until_empty`](crate::Harness::run_until_empty) goes on with the process started again. What
/// must hold in spite of it all stands in the scenario, after that. In tests, write `#[mq_testing::test(explore)]` instead.
///
/// # Panics
/// With the first trouble that the scenario does not stand, after it was printed with what happened.
///
/// # Examples
/// ```
/// use mq::prelude::*;
/// use mq_testing::{Effects, Harness, explore};
///
/// #[derive(Serialize, Deserialize, Message)]
/// #[message(kind = "charge")]
/// struct Charge { order: u64 }
///
/// async fn charge(message: Charge, State(bank): State<Effects>) -> Outcome {
///     let order = message.order;
///     bank.happen_once(order, format!("charge order {order}")).await; // the bank knows the order as key
///     Ok(())
/// }
///
/// let explored = explore(7, || async {
///     let bank = Effects::new();
///     let t = Harness::new().state(bank.clone()).handle(charge);
///     t.enqueue(Charge { order: 9 }).await;
///     t.run_until_empty().await;
///     bank.assert_times("charge order 9", 1);
/// });
/// assert!(explored.runs > 5);
/// ```
pub fn explore<F: Future<Output = ()>>(seed: u64, scenario: impl Fn() -> F) -> Explored {
    go_through(seed, &scenario, |trouble| {
        format!("the scenario does not stand {}", described(trouble))
    })
}

/// What `#[mq_testing::test(explore)]` calls.
///
/// # Panics
/// With the first trouble that the test does not stand, after the command that repeats it was printed.
pub fn explore_test<T: Finished, F: Future<Output = T>>(
    name: TestName,
    seeds: u64,
    body: impl Fn() -> F,
) {
    let given = std::env::var(POINT_VARIABLE).ok();
    let given = given.map(|text| match text.parse::<Trouble>() {
        Ok(trouble) => trouble,
        Err(_) => super::fail(&format!(
            "{POINT_VARIABLE} must be as a failure printed it, not {text:?}"
        )),
    });
    let scenario = || seeds::checked(&body);
    for seed in name.seeds(seeds) {
        let says = |trouble: Option<Trouble>| {
            let variable = trouble.map_or_else(String::new, |trouble| {
                format!("{POINT_VARIABLE}={trouble} ")
            });
            format!(
                "{} with seed {seed} does not stand {}; repeat it with\n  {variable}{}",
                name.function,
                described(trouble),
                name.command(seed)
            )
        };
        match given {
            Some(trouble) => {
                one_run(seed, Some(trouble), &scenario, says);
            }
            None => {
                go_through(seed, &scenario, says);
            }
        }
    }
}

fn described(trouble: Option<Trouble>) -> String {
    trouble.map_or_else(
        || "even a run without trouble".to_owned(),
        Trouble::describe,
    )
}

fn go_through<F: Future<Output = ()>>(
    seed: u64,
    scenario: &impl Fn() -> F,
    says: impl Fn(Option<Trouble>) -> String,
) -> Explored {
    let troubles = one_run(seed, None, scenario, &says).troubles();
    let every = troubles.len().div_ceil(RUNS_MAX).max(1);
    let mut runs = 0;
    for trouble in troubles.iter().step_by(every) {
        one_run(seed, Some(*trouble), scenario, &says);
        runs += 1;
    }
    Explored {
        runs,
        left_out: troubles.len() - runs,
    }
}

/// One run; the points it passed.
fn one_run<F: Future<Output = ()>>(
    seed: u64,
    trouble: Option<Trouble>,
    scenario: &impl Fn() -> F,
    says: impl Fn(Option<Trouble>) -> String,
) -> Points {
    let seen = OnceLock::new();
    let whole = Whole {
        seed,
        plan: Plan::new(trouble),
        seen: &seen,
    };
    in_world(whole, scenario, |world| {
        eprintln!("{}\nwhat happened:\n{}", says(trouble), world.recent());
    });
    seen.get()
        .map(|world| world.plan.points())
        .unwrap_or_default()
}
