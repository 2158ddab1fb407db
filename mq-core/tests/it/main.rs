//! The rules through the manager's public interface.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bulk;
mod chain;
mod cost;
mod crash;
mod index;
mod keys;
mod lease;
mod life;
mod lifecycle;
mod model;
mod operate;
mod order;
mod pools;
mod recovery;
mod rig;
mod room;
mod schedule;
mod time;
