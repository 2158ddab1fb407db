//! Dispatch against a store in memory: what handlers can do, and that pools keep their promises.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod handlers;
mod layers;
mod outcomes;
mod pools;
mod rules;
mod staging;
mod start;
mod stop;
mod store;
mod storm;
mod time;
mod watching;

use mq_macros::Message;
use serde::{Deserialize, Serialize};

/// The message of most tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(kind = "charge", aliases = ["charge.old"], crate = mq_dispatch)]
struct Charge {
    order: u64,
}

/// A follow-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(kind = "notify", queue = "mail", priority = 7, version = 2, crate = mq_dispatch)]
struct Notify {
    order: u64,
}

/// A message whose handler returns something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Message)]
#[message(kind = "double", output = u64, crate = mq_dispatch)]
struct Double {
    number: u64,
}
