//! Random schedules of the log token and the calls for the commit thread, with more callers than loom can exhaust.
//!
//! Run: `RUSTFLAGS="--cfg shuttle" cargo test -p mq-core --release --target-dir target/shuttle --test shuttle_shell`.

#![cfg(shuttle)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod shell_model;

const SCHEDULES: usize = 5_000;

#[test]
fn everybody_is_answered() {
    for gathers in [false, true] {
        shuttle::check_random(
            move || shell_model::everybody_is_answered(2, 2, gathers),
            SCHEDULES,
        );
        shuttle::check_pct(
            move || shell_model::everybody_is_answered(2, 2, gathers),
            SCHEDULES,
            3,
        );
    }
}

#[test]
fn nobody_waits_for_an_engine_that_stops() {
    shuttle::check_random(
        || shell_model::nobody_waits_for_an_engine_that_stops(4),
        SCHEDULES,
    );
}
