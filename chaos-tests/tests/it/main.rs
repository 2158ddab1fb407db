//! The whole engine on the simulated machine.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backup;
mod bulk;
mod closing;
mod completions;
mod conformance;
mod corpus;
mod full_disk;
mod health;
mod ordeal;
mod promises;
mod reading;
mod schedules;
mod sight;
mod telling;
