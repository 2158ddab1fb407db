//! The program as a script sees it: arguments in, lines and exit codes out, signals and kills in between.
//!
//! Each test has a store of its own in a temporary folder. Random tests print their seed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod care;
mod damaged;
mod demo;
mod documents;
mod enqueue;
mod indexes;
mod json;
mod kills;
mod owned;
mod refusals;
mod run;
mod schedule;
mod settings;
mod setup;
mod terminal;
#[cfg(feature = "top")]
mod top;
mod work;
