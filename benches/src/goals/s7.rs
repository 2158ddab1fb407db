//! S7: very many messages wait: does that slow down those who enqueue, and what does each cost in memory?

use std::time::Duration;

use super::child::{self, Weighed, Work};
use crate::measure::forget_store;
use crate::plan::Plan;
use crate::report::{Goal, Row};
use crate::store::Flavour;

/// A process of its own fills a store and tells its `VmHWM` after the growth and a snapshot, less what it had with a
/// thousand messages. The same process is then loaded as in S2; one whose store has a thousand is loaded before and after it. Neither
/// caches payloads nor takes snapshots under that load.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Vec<Row>> {
    let count = plan.size(10_000_000, 400_000);
    let before = nearly_empty(plan)?;
    let plain = weigh(plan, Flavour::Plain, count, plan.time)?;
    let rest = f64::midpoint(before, nearly_empty(plan)?);
    let keyed = weigh(plan, Flavour::Keyed, count, Duration::ZERO)?;
    let ordered = weigh(plan, Flavour::Ordered, count, Duration::ZERO)?;
    let millions = format!("{} k waiting", count / 1000);
    let bytes = |id: &str, what: &str, value: f64, most: f64| {
        Row::plain(id, format!("{what}, {millions}"), value, "B")
            .judged(most, "goal", Goal::AtMost(1.0))
            .unjudged_if(plan.quick)
    };
    let more = |weighed: Weighed| weighed.peak_per_message - plain.peak_per_message;
    Ok(vec![
        Row::plain(
            "S7 load",
            format!("64 tasks, {millions}"),
            plain.rate,
            "msg/s",
        )
        .judged(rest, "with a thousand waiting", Goal::AtLeast(0.8))
        .unjudged_if(plan.quick),
        bytes(
            "S7 plain",
            "peak memory per message",
            plain.peak_per_message,
            64.0,
        )
        .noted(format!("{:.1} B when quiet", plain.per_message)),
        bytes("S7 keyed", "more per dedup key", more(keyed), 40.0),
        bytes("S7 ordered", "more per ordering key", more(ordered), 24.0),
    ])
}

fn nearly_empty(plan: &Plan) -> anyhow::Result<f64> {
    Ok(weigh(plan, Flavour::Plain, 1_000, plan.time)?.rate)
}

fn weigh(plan: &Plan, flavour: Flavour, count: usize, load: Duration) -> anyhow::Result<Weighed> {
    let store = plan.store("store-weighed");
    let work = Work::Weigh {
        flavour,
        count,
        load,
    };
    let weighed = child::start(&work, &store)?.answer()?;
    forget_store(&store)?;
    Ok(weighed)
}
