//! S4: from enqueue over the handler to an ack that is synced.

use crate::load::Jobs;
use crate::measure::repeated;
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::PAYLOAD_SIZE;

/// As many tasks as handlers; the handler does nothing. Each job needs an enqueue, a checkout and an ack in the journal.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    [("S4 64", 64, 300e3), ("S4 1024", 1024, 1e6)]
        .into_iter()
        .map(|(id, both, goal)| {
            let jobs = Jobs {
                tasks: both,
                workers: both,
                size: PAYLOAD_SIZE,
                time: plan.time,
            };
            let run = repeated(plan, |store| jobs.run(store))?;
            let workload = format!("enqueue → handler → ack, {both} tasks, {both} handlers");
            let row = Row::plain(id, workload, run.rate(), "jobs/s")
                .judged(goal, "goal", Goal::AtLeast(1.0))
                .costing(&run, PAYLOAD_SIZE)
                .synced(&run, both);
            Ok(row)
        })
        .collect()
}
