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
    pub key: &'static str,
    /// Its name in tables.
    pub name: &'static str,
    /// Opens or starts it in a folder of its own.
    pub open: Open,
}

/// All of them, in the order of the tables.
pub const ALL: [Entry; 10] = [
    Entry {
        key: "mq",
        name: "mq",
        open: |folder| Box::pin(mq::open(folder)),
    },
    Entry {
        key: "sqlite",
        name: "SQLite by hand",
        open: |folder| Box::pin(sqlite::open(folder)),
    },
    Entry {
        key: "redis",
        name: "Redis streams",
        open: |folder| Box::pin(redis::open(folder)),
    },
    Entry {
        key: "beanstalkd",
        name: "beanstalkd",
        open: |folder| Box::pin(beanstalkd::open(folder)),
    },
    Entry {
        key: "postgres",
        name: "PostgreSQL",
        open: |folder| Box::pin(postgres::open(folder)),
    },
    Entry {
        key: "rabbitmq",
        name: "RabbitMQ quorum",
        open: |folder| Box::pin(rabbitmq::open(folder)),
    },
    Entry {
        key: "nats",
        name: "NATS JetStream",
        open: |folder| Box::pin(nats::open(folder)),
    },
    Entry {
        key: "rustqueue",
        name: "rustqueue",
        open: |folder| Box::pin(rustqueue::open(folder, false)),
    },
    Entry {
        key: "rustqueue-coalescing",
        name: "rustqueue, coalescing",
        open: |folder| Box::pin(rustqueue::open(folder, true)),
    },
    Entry {
        key: "yaque",
        name: "yaque",
        open: |folder| Box::pin(yaque::open(folder)),
    },
];

/// Programs of their own, whose libraries cannot or need not be linked with these: folder names below `benches/compare`.
pub const PROGRAMS: [&str; 3] = ["apalis", "effectum", "graphile"];
