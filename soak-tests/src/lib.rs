//! Long runs and real kills: a child process runs the engine under mixed load, the parent strikes it and keeps the record.
//!
//! `cargo run --release -p soak-tests -- --hours 24`, or `--minutes 5`. What was acknowledged must be there, what is done must
//! stay done, payloads must be equal, whatever happens to the child; memory, descriptors and disk must not grow. The
//! report is Markdown with plots. [`real`] has the suites of kills and of failing systems for `cargo xtask chaos`.

mod child;
mod clock;
mod judge;
mod line;
mod lives;
mod orders;
mod plan;
mod process;
mod program;
pub mod real;
mod report;
mod series;
mod soak;

pub use program::{child_if_asked, program};
