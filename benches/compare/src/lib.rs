//! The same work done by mq and by other queues: durable enqueues by so many callers, and jobs from enqueue to ack.
//!
//! A peer says how to reach it (`peers`), `race` makes the load and counts, `server` starts and ends the servers, `table` and
//! `chart` tell it. Every peer gets the same payload, the same number of callers and the same time, with what its own
//! documentation says about durability; whoever answers without a sync is called *not synced*.

pub mod alone;
pub mod chart;
pub mod peer;
#[cfg(feature = "peers")]
pub mod peers;
pub mod postgresql;
pub mod race;
pub mod server;
pub mod table;
