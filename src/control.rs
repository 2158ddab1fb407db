//! What can be asked of an open store from outside its process: one set of calls and answers, one place where they are
//! carried out, and the socket on which every owner of a store serves them.
//!
//! [`execute`] is the only implementation. The owner's [socket](ControlSocket) calls it for others, and a program that
//! opened the store itself calls it directly; so both give the same answers. On the wire each line is one JSON value:
//!
//! | who | line |
//! |---|---|
//! | owner, once | `{"protocol":1,"mq":"0.1.0","pid":7,"program":"shop"}` |
//! | caller | `{"id":1,"call":{"message":{"id":"…"}}}` |
//! | owner | `{"id":1,"answer":{"message":{…}}}` or `{"id":1,"error":{"code":"never_issued","message":"…"}}` |
//!
//! Answers come in the order of the calls, and leave only when what they say is as durable as the engine promises.
//! Many calls may be under way. Fields that a reader does not know must be ignored; a field of a call that the owner
//! does not know is refused, so that a mistyped filter never means "everything".

mod answer;
mod bulk;
mod call;
mod care;
mod check;
mod client;
mod connection;
mod convert;
mod execute;
mod fault;
mod index;
mod line;
mod place;
mod queue;
mod schedule;
mod server;
mod text;
mod top;
mod workers;

pub use answer::{
    Answer, AttemptJson, Enqueued, Explained, JsonText, MessageJson, MessagesPage, QueueJson,
    StatsJson,
};
pub use bulk::{
    BulkCall, BulkJobJson, DeadGroupJson, DeadGroupsJson, DryRunJson, EditJson, OneBulkJob,
};
pub use call::{Call, EnqueueCall, ListCall, OneQueue, OperateCall, OperationJson, ShowCall};
pub use care::{BackupCall, BackupJson, SnapshotJson};
pub use check::{CheckFailureJson, CheckJson};
pub use client::{Answers, Calls, Client, ClientError};
pub use execute::{execute, execute_wait};
pub use fault::CallError;
pub use index::{IndexJson, IndexedFieldJson, SetIndexCall};
pub use line::Greeting;
pub use queue::{QueueChangeJson, QueueSettingsJson, SetQueueCall};
pub use schedule::{
    NextFires, NextFiresCall, OperateScheduleCall, PutScheduleCall, ScheduleJson,
    ScheduleOperation, SchedulesCall, SchedulesPage, Sent,
};
pub use server::ControlSocket;
pub(crate) use server::Server;
pub use text::{hex, moment};
pub use top::TopJson;
pub use workers::{OneKind, PoolJson, RunningJson, ScaleCall};

/// Name of the socket in the store's folder.
pub const SOCKET_NAME: &str = "control.sock";

/// Version of the protocol. It is raised when a line changes its meaning; new calls and fields do not raise it.
pub const PROTOCOL: u32 = 1;
