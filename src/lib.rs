//! A durable work queue that you link into your program: guaranteed-delivery background jobs with no server to run.
//!
//! [`Engine::open`] a directory, register handlers, enqueue. When an enqueue is answered, the message survives `kill -9`
//! and power loss; it is handed to a handler at least once; everything a handler decides (success, follow-up messages,
//! result, retry, dead letter) is one atomic change.
//!
//! ```no_run
//! use mq::prelude::*;
//!
//! #[derive(Serialize, Deserialize, Message)]
//! #[message(kind = "email.welcome")]
//! struct SendWelcome { user_id: u64 }
//!
//! async fn send_welcome(message: SendWelcome) -> Outcome {
//!     println!("welcome, {}", message.user_id);
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> mq::Result {
//!     let engine = Engine::open("./data").await?;
//!     let workers = engine.workers().handle(send_welcome).start()?;
//!     engine.enqueue(SendWelcome { user_id: 7 }).await?; // durable when this answers
//!     engine.run_until_signal(workers).await
//! }
//! ```
//!
//! Where to read on: [`Engine`] (the way in), [`Request`] (what a producer can say), [`Ctx`] and [`Fail`] (what a handler
//! can say), [`Admin`] and [`DeadLetters`] (what an operator can do). What is promised, and what each mode loses, stands
//! in the README and in docs/durability.md.

mod admin;
mod backup;
mod builder;
mod bulk;
mod call;
mod check;
mod completion;
pub mod control;
mod dead;
pub mod duration;
mod engine;
pub mod environment;
mod error;
mod events;
mod explain;
mod filter;
mod find;
pub mod guide;
mod health;
mod index;
mod metrics;
mod options;
#[cfg(feature = "otel")]
pub mod otel;
mod pools;
mod prometheus;
mod queue;
mod request;
mod schedules;
mod stats;
mod steer;
mod store_care;

pub use admin::Admin;
pub use backup::{Backup, BackupError};
pub use builder::Builder;
pub use bulk::{BulkError, BulkJob, BulkOrder, BulkReport, DryRun, SAMPLE_LEN};
pub use call::Call;
pub use check::{CheckError, CheckFailure, CheckProblem, CheckReport};
pub use completion::{AndWait, AwaitCompletion, Completion, Waiting};
pub use control::ControlSocket;
pub use dead::{DeadGroup, DeadGroups, DeadLetters, GROUPS_LEN_MAX};
pub use duration::{days, hours, millis, minutes, secs};
pub use engine::Engine;
pub use environment::Environment;
pub use error::{
    EnqueueError, Error, OpenError, OperateError, ReadError, SettleError, SnapshotError,
    TryEnqueueError, WaitError,
};
pub use events::{Event, Events, MessageEvent, What};
pub use explain::{Explained, SharedKey};
pub use filter::{
    Comparison, Filter, FilterError, FilterProblem, PREDICATE_SIZE_MAX, PREDICATES_LEN_MAX,
    Predicate, PredicateError, older_than,
};
pub use find::{Count, Cursor, CursorError, FindError, Messages, PAGE_LEN_MAX, Page};
pub use health::{Alarm, Failing, Health, HealthCheck, HealthFinding};
pub use index::SetIndexError;
pub use options::{BadOption, Durability, Limit};
pub use queue::{Queue, QueueError};
pub use request::{Batch, Pending, Request, Sending};
pub use schedules::{
    Missed, SCHEDULE_HEADER, SCHEDULED_FOR_HEADER, Schedule, ScheduleError, ScheduleView,
    Schedules, When,
};
pub use steer::{Order, Replay, Which};

pub use stats::{DeadStats, DiskStats, JournalStats, Rates, Refusal, Stats};

pub use mq_core::backend::{Backend, Durability as Achieved, OperateRequest, Receipt, Stopped};
pub use mq_core::bulk::{BulkCounts, BulkEnd, BulkId, BulkRefused};
pub use mq_core::command::{Accepted, Enqueue, Operated};
pub use mq_core::id::{LeaseToken, MessageId, Seq};
pub use mq_core::index::{Index, IndexError, Pointer};
pub use mq_core::key::{DedupPolicy, Key};
pub use mq_core::manager::{DeadFull, Explanation};
pub use mq_core::message::{ContentType, Due, Envelope, NewMessage, Priority};
pub use mq_core::name::{KindName, Label, NameError, QueueName, ScheduleName};
pub use mq_core::queue::{FOREVER, QueueChange, QueueSettings};
pub use mq_core::schedule::{LastFire, Put};
pub use mq_core::state::{
    Attempt as PastAttempt, Completion as CompletedAs, DeadReason, Edit, EditKind, Failure,
    Happened, State as MessageState, Tail,
};
pub use mq_core::time::{StoreTime, Timestamp};
pub use mq_core::view::{
    DeadCount, FoundBy, IndexView, Lookup, MessageView, QueueStats, StateKind, Stats as StoreStats,
};
pub use mq_dispatch::{
    AsyncHandler, Attempt, AttemptError, AttemptFuture, AttemptRequest, AttemptResponse,
    AttemptService, BlockingHandler, CancelReason, Cancelled, Control, ControlError, Ctx, CtxError,
    DecodeError, Dedup, EncodeError, Fail, Fault, FromContext, FromRef, Handler, HandlerOptions,
    HandlerResult, Headers, Illness, Message, Needs, OnRuntimeThread, OptionExt, Outcome, Outgoing,
    PARALLELISM_BY_CORES, PartList, Parts, Percentiles, PoolOptions, PoolStats, Previous,
    PreviousError, Problem, Progress, Reply, ResultExt, Retry, Roster, Running, SharedLayer,
    SharedService, Stage, StartError, State, States, StopReport, Timers, Totals, TraceLayer,
    TraceService, Unhealthy, Workers, WorkersBuilder, decode, encode,
};
/// Derives [`trait@Message`]: `#[message(kind = "…")]` is required; see the macro's own page for the rest.
pub use mq_macros::{FromRef, Message, handler};
pub use mq_persistence::backup::{BackupProgress, BackupReport};
pub use mq_persistence::lsn::Lsn;
pub use mq_persistence::open::{Corruption, OpenReport};
pub use mq_persistence::snapshot::SnapshotFacts;
pub use mq_persistence::storage::FreshError;

/// What `main` of a program can return.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// Everything a program with handlers needs: `use mq::prelude::*;`.
pub mod prelude {
    pub use serde::{Deserialize, Serialize};

    pub use crate::duration::{hours, minutes, secs};
    pub use crate::{
        Attempt, Ctx, Engine, Fail, FromRef, Handler, Message, OptionExt, Outcome, ResultExt,
        Retry, State,
    };
}
