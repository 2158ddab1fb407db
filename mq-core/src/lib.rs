//! The rules of mq: what a message is, what may happen to it, and the one state machine that decides.
//!
//! No I/O, threads, clock or randomness: time, identity and a seed are inputs. Read in this order: [`message`], [`state`],
//! [`command`], [`event`], [`manager`], [`backend`].

pub mod backend;
pub mod bulk;
pub mod canary;
pub mod command;
pub mod event;
pub mod few;
pub mod filter;
pub mod histogram;
pub mod id;
pub mod image;
pub mod index;
pub mod key;
pub mod limits;
pub mod manager;
pub mod message;
pub mod name;
pub mod pending;
pub mod queue;
pub mod retry;
pub mod ring;
pub mod schedule;
pub mod signal;
pub mod state;
mod sync;
pub mod telemetry;
pub mod time;
pub mod view;
