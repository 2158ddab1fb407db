//! The peers, one file each: how it is started, what its settings are, and how a caller and a handler talk to it.

mod beanstalkd;
mod mq;
mod nats;
mod postgres;
mod rabbitmq;
mod redis;
mod rustqueue;
mod sqlite;
mod yaque;

use crate::peer::Open;

/// A peer that this program can be linked with.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// Opens or starts it in a folder of its own.
    pub open: Open,
}

/// All of them, in the order of the tables.
pub const ALL: [Entry; 9] = [
    Entry {
        name: "mq",
        open: |folder| Box::pin(mq::open(folder)),
    },
    Entry {
        name: "sqlite",
        open: |folder| Box::pin(sqlite::open(folder)),
    },
    Entry {
        name: "redis",
        open: |folder| Box::pin(redis::open(folder)),
    },
    Entry {
        name: "beanstalkd",
        open: |folder| Box::pin(beanstalkd::open(folder)),
    },
    Entry {
        name: "postgres",
        open: |folder| Box::pin(postgres::open(folder)),
    },
    Entry {
        name: "rabbitmq",
        open: |folder| Box::pin(rabbitmq::open(folder)),
    },
    Entry {
        name: "nats",
        open: |folder| Box::pin(nats::open(folder)),
    },
    Entry {
        name: "rustqueue",
        open: |folder| Box::pin(rustqueue::open(folder)),
    },
    Entry {
        name: "yaque",
        open: |folder| Box::pin(yaque::open(folder)),
    },
];

/// Programs of their own, whose libraries cannot or need not be linked with these: folder names below `benches/compare`.
pub const PROGRAMS: [&str; 3] = ["apalis", "effectum", "graphile"];
