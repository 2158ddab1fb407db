//! From a granted lease to a settled message: handlers, worker pools, lease renewal, time limits, stop.
//!
//! The path of a message: the store grants it to a [`Pool`](WorkersBuilder) that has a free worker, its payload is
//! decoded, the handler runs with what it asks for, its answer becomes a settlement, and the worker is free again. Of a
//! store only [`mq_core::backend::Backend`] is known. Read in this order: [`handler`](Handler), `builder`, `pool`,
//! `attempt`, `settle`, `timers`, `workers`.

mod attempt;
mod builder;
mod cancel;
mod check;
mod ctx;
mod dedup;
mod defaults;
mod extract;
mod fail;
mod failure;
mod gate;
mod handler;
mod inside;
mod layer;
mod layer_shared;
mod layer_trace;
mod lease;
mod log;
mod message;
mod newer;
mod observer;
mod options;
mod outgoing;
mod permits;
mod pool;
mod previous;
mod problem;
mod reply;
mod retry;
mod roster;
mod route;
mod runner;
mod settle;
mod sharing;
mod slots;
mod stage;
mod states;
mod stats;
mod threads;
mod timers;
mod workers;

pub use builder::WorkersBuilder;
pub use cancel::{CancelReason, Cancelled};
pub use ctx::{Ctx, CtxError};
pub use dedup::Dedup;
pub use extract::{Attempt, FromContext, Headers, State};
pub use fail::{Fail, OptionExt, Outcome, ResultExt};
pub use handler::{AsyncHandler, BlockingHandler, Handler, HandlerResult};
pub use inside::inside_handler;
pub use layer::{AttemptError, AttemptFuture, AttemptRequest, AttemptResponse, AttemptService};
pub use layer_shared::{SharedLayer, SharedService};
pub use layer_trace::{TraceLayer, TraceService};
pub use lease::Progress;
pub use message::{DecodeError, EncodeError, Message, decode, decode_output, encode};
pub use mq_core::histogram::{Distribution, Percentiles};
pub use newer::Readable;
pub use observer::{Ended, Observation, Observer};
pub use options::{HandlerOptions, PARALLELISM_BY_CORES, PoolOptions};
pub use outgoing::Outgoing;
pub use previous::{Previous, PreviousError};
pub use problem::{ControlError, Fault, Illness, Problem, StartError, Unhealthy};
pub use reply::{OnRuntimeThread, Reply};
pub use retry::Retry;
pub use roster::Roster;
pub use stage::Stage;
pub use states::{FromRef, Needs, PartList, Parts, States};
pub use stats::{PoolStats, Running, Totals};
pub use timers::Timers;
pub use workers::{Control, StopReport, Workers};
