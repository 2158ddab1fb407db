//! Every interleaving, and every allowed stale read, of the hand-over of the log token and of the calls that wake the commit thread (up
//! to two preemptions a run).
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test -p mq-core --release --target-dir target/loom --test loom_shell`.

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shell_model;

use loom::model::Builder;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(model);
}

#[test]
fn whoever_finds_the_log_token_taken_is_answered_by_its_holder_or_the_commit_thread() {
    check(|| shell_model::everybody_is_answered(2, 0, false));
}

#[test]
fn who_leaves_the_log_token_with_work_left_calls_the_commit_thread() {
    check(|| shell_model::everybody_is_answered(1, 1, false));
}

#[test]
fn a_commit_thread_that_gathers_misses_nobody() {
    check(|| shell_model::everybody_is_answered(0, 1, true));
}

#[test]
fn nobody_waits_for_an_engine_that_stops() {
    check(|| shell_model::nobody_waits_for_an_engine_that_stops(1));
}
