//! The public interface, on real files: what users do, and what they do wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backups;
mod bad_input;
mod compiler;
mod completion;
mod contract;
mod control;
mod errors;
mod finding;
mod handlers;
mod idle;
mod indexing;
mod logging;
mod memory;
mod operating;
mod pools;
mod requests;
mod schedules;
mod steering;
mod store_care;
mod stress;
mod versions;
mod waking;
