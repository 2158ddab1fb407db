//! Tests of the journal through its public interface, on the simulated disk and on the real one.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod backup;
mod codec;
mod compaction;
mod crash;
mod directory;
mod disk_full;
mod evidence;
mod fixture;
mod forged;
mod golden;
mod housekeeping;
mod inspect;
mod journal;
mod keeper;
mod log;
mod manager;
mod places;
mod recovery;
mod salvage;
mod salvage_quiet;
mod samples;
mod snapshot;
mod store;
