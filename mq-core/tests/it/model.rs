//! The queue manager against the naive model of the rules, in lock-step.
//!
//! Random sequences of commands, clock moves (the wall clock also jumps), crashes that lose a suffix of what was not
//! durable, images and orderly closes are played on both. After each step the answers, the refusals, what is handed out
//! and in which order, all messages and all counts must agree. Failing sequences are shrunk; the seed is printed.

mod filters;
mod steps;
mod world;

use proptest::test_runner::{Config as Runs, RngSeed, TestCaseError, TestRunner};

use steps::{Plan, plan};
use world::World;

/// Another seed is another set of sequences: `MQ_SEED=7 cargo test -p mq-core model`.
fn seed() -> u64 {
    let given = std::env::var("MQ_SEED").ok();
    given
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_260_101)
}

/// How many sequences: `MQ_CASES=100000` for a long run.
fn cases(default: u32) -> u32 {
    let given = std::env::var("MQ_CASES").ok();
    given
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(default)
}

fn check(cases: u32, steps_max: usize) {
    let seed = seed();
    println!("MQ_SEED={seed}");
    let mut runner = TestRunner::new(Runs {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 20_000,
        ..Runs::default()
    });
    let outcome = runner.run(&plan(steps_max), |plan| {
        play(&plan).map_err(TestCaseError::fail)
    });
    if let Err(failed) = outcome {
        panic!("MQ_SEED={seed}: {failed}");
    }
}

fn play(plan: &Plan) -> Result<(), String> {
    let mut world = World::new(plan);
    for (number, step) in plan.steps.iter().enumerate() {
        world
            .step(step)
            .map_err(|difference| format!("step {number}, {step:?}: {difference}"))?;
    }
    Ok(())
}

#[test]
fn manager_and_naive_model_agree_on_short_sequences() {
    check(cases(3_000), 20);
}

#[test]
fn manager_and_naive_model_agree_on_long_sequences() {
    check(cases(600), 150);
}
