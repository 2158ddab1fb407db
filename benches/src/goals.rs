//! The goals of speed, one file each: what is done, what it is divided by, and what the ratio has to be.

mod child;
mod s1;
mod s10;
mod s2;
mod s3;
mod s4;
mod s5;
mod s6;
mod s7;
mod s8;
mod s9;

pub(crate) use child::Opened;
pub use child::run as run_child;

use crate::plan::Plan;
use crate::report::Row;

/// A goal.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// `S1` to `S10`.
    pub id: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Measures it.
    pub measure: fn(&Plan) -> anyhow::Result<Vec<Row>>,
}

/// All of them, in order.
pub const GOALS: [Goal; 10] = [
    Goal {
        id: "S1",
        about: "durable enqueue, one blocking caller, beside the disk's own syncs",
        measure: s1::measure,
    },
    Goal {
        id: "S2",
        about: "durable enqueue, 64 tasks, beside 64 × the disk's own syncs",
        measure: s2::measure,
    },
    Goal {
        id: "S3",
        about: "durable enqueue, 1024 tasks; batches of 1000, sustained",
        measure: s3::measure,
    },
    Goal {
        id: "S4",
        about: "jobs end to end, a job counts when its ack is synced",
        measure: s4::measure,
    },
    Goal {
        id: "S5",
        about: "from enqueue to handler on an idle engine, durable and in memory",
        measure: s5::measure,
    },
    Goal {
        id: "S6",
        about: "the ring beside crossbeam's ArrayQueue, paired",
        measure: s6::measure,
    },
    Goal {
        id: "S7",
        about: "ten million waiting: throughput, and memory per message and key",
        measure: s7::measure,
    },
    Goal {
        id: "S8",
        about: "reopening after a kill: ten million waiting, and replay alone",
        measure: s8::measure,
    },
    Goal {
        id: "S9",
        about: "bytes written per byte of payload, and the size of the store",
        measure: s9::measure,
    },
    Goal {
        id: "S10",
        about: "latency of enqueues while segments rotate, snapshots and compaction run",
        measure: s10::measure,
    },
];
