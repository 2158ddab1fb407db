//! S6: the ring beside crossbeam's `ArrayQueue`, each value moved once.

use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::ring_race::{THREADS, race};

const ROUNDS: usize = 9;
const VALUES: u64 = 1 << 20;

/// In each round both run right after one another; the median of the rounds' ratios is judged.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let values = if plan.quick { VALUES / 8 } else { VALUES };
    let mut rows = Vec::new();
    for threads in THREADS {
        let paired = race(threads, ROUNDS, values);
        let one = format!("ring, {threads} threads, one by one");
        let row = Row::plain(&format!("S6 {threads}"), one, paired.ring, "values/s");
        rows.push(row.judged_by(
            paired.array,
            "ArrayQueue",
            paired.ring_by_array,
            Goal::AtLeast(0.95),
        ));
        let many = format!("ring, {threads} threads, batch forms");
        let row = Row::plain(
            &format!("S6 {threads} batch"),
            many,
            paired.batched,
            "values/s",
        );
        rows.push(row.judged_by(
            paired.array,
            "ArrayQueue",
            paired.batched_by_array,
            Goal::AtLeast(2.0),
        ));
    }
    Ok(rows)
}
