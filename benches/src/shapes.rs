//! The thirteen shapes in which an older in-memory queue is measured: C1 to C13, with its sizes.
//!
//! It publishes no figures, so there is nothing to divide by: these rows say how long each shape takes here. The shapes of
//! a queue without a journal run in memory, those about persistence on the disk.

mod checkout;
mod enqueue;
mod jobs;
mod persistence;

use std::time::Duration;

use crate::goals::Goal;
use crate::plan::Plan;
use crate::report::Row;

/// All of them, in order.
pub const SHAPES: [Goal; 13] = [
    shape("C1", "enqueue without keys", enqueue::plain),
    shape("C2", "enqueue, each with a key of its own", enqueue::unique),
    shape(
        "C3",
        "enqueue, a hundred keys again and again",
        enqueue::repeated,
    ),
    shape("C4", "enqueue by ten producers at once", enqueue::producers),
    shape("C5", "checkout by one consumer", checkout::one),
    shape("C6", "checkout by ten consumers", checkout::ten),
    shape(
        "C7",
        "checkout and extension of the lease",
        checkout::extended,
    ),
    shape("C8", "enqueue with the journal", persistence::enqueue),
    shape("C9", "a snapshot", persistence::snapshot),
    shape("C10", "replay of the journal", persistence::replay),
    shape(
        "C11",
        "end to end, one producer and one consumer",
        jobs::one,
    ),
    shape("C12", "end to end, five and five", jobs::five),
    shape("C13", "fill a capacity of a million", enqueue::capacity),
];

const fn shape(
    id: &'static str,
    about: &'static str,
    measure: fn(&Plan) -> anyhow::Result<Vec<Row>>,
) -> Goal {
    Goal { id, about, measure }
}

/// A row of so many messages in so much time.
fn row(id: &str, about: &str, count: usize, time: Duration) -> Row {
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = count as f64 / time.as_secs_f64();
    let name = format!("{id} {count}");
    Row::plain(&name, format!("{about}, {count}"), rate, "msg/s")
        .noted(format!("{:.2} ms", time.as_secs_f64() * 1000.0))
}

/// The time in the middle of several tries.
fn middle(
    plan: &Plan,
    mut once: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Duration> {
    let mut times = (0..plan.runs)
        .map(|_| once())
        .collect::<anyhow::Result<Vec<_>>>()?;
    times.sort();
    times
        .get(times.len() / 2)
        .copied()
        .ok_or_else(|| anyhow::anyhow!("no run was asked for"))
}
