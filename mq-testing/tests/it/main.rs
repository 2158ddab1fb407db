//! Tests of what tests stand on: the simulated disk, the oracle, and the drivers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod conformance;
mod conviction;
#[cfg(feature = "harness")]
mod harness;
mod oracle;
mod sim_disk;
mod sim_disk_model;
mod storage_seam;
mod toy_store;
