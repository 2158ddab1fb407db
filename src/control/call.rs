//! What can be asked. Names, ids and moments are text here and are checked when the call is carried out, so that each
//! refusal names the field.
//!
//! A field that is not known is refused: a mistyped filter must not choose every message.

use serde::{Deserialize, Serialize};

use super::answer::JsonText;
use super::bulk::{BulkCall, OneBulkJob};
use super::care::BackupCall;
use super::index::SetIndexCall;
use super::queue::SetQueueCall;
use super::schedule::{NextFiresCall, OperateScheduleCall, PutScheduleCall, SchedulesCall};
use super::workers::{OneKind, ScaleCall};
use crate::filter::Filter;

/// A call.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Call {
    /// Store a message. Answered by [`super::Answer::Enqueued`] when it is as durable as the engine promises.
    Enqueue(Box<EnqueueCall>),
    /// Counts of the whole store. Answered by [`super::Answer::Stats`].
    Stats {},
    /// The same as Prometheus text, with everything that is counted. Answered by [`super::Answer::Metrics`].
    Metrics {},
    /// Every queue. Answered by [`super::Answer::Queues`].
    Queues {},
    /// Hand nothing out of a queue until it is resumed; survives a restart. Answered by [`super::Answer::Done`].
    PauseQueue(OneQueue),
    /// Hand out of a queue again. Answered by [`super::Answer::Done`].
    ResumeQueue(OneQueue),
    /// What is set for a queue. Answered by [`super::Answer::QueueSettings`].
    QueueSettings(OneQueue),
    /// Change a setting of a queue; survives a restart. Answered by [`super::Answer::Done`].
    SetQueue(SetQueueCall),
    /// Kinds with an index. Answered by [`super::Answer::Indexes`].
    Indexes {},
    /// Declare the indexed fields of a kind; survives a restart. Answered by [`super::Answer::Done`].
    SetIndex(SetIndexCall),
    /// A page of messages. Answered by [`super::Answer::Messages`].
    Messages(ListCall),
    /// One message. Answered by [`super::Answer::Message`].
    Message(ShowCall),
    /// Why a message is not running, and why those it waits for are not. Answered by [`super::Answer::Explained`].
    Explain {
        /// The message.
        id: String,
    },
    /// Change one message. Answered by [`super::Answer::Operated`] when the change is synced.
    Operate(OperateCall),
    /// One picture for a live view. Answered by [`super::Answer::Top`].
    Top {},
    /// Change every message that matches, as a job. Answered by [`super::Answer::BulkJob`] when the job is durable, or by
    /// [`super::Answer::DryRun`].
    Bulk(BulkCall),
    /// Bulk jobs that run, and the last that ended. Answered by [`super::Answer::BulkJobs`].
    BulkJobs {},
    /// How far a bulk job is. Answered by [`super::Answer::BulkJob`].
    BulkJob(OneBulkJob),
    /// Stop a bulk job; what it did stays done. Answered by [`super::Answer::BulkJob`].
    CancelBulkJob(OneBulkJob),
    /// Dead letters by kind, reason and type of error. Answered by [`super::Answer::DeadGroups`].
    DeadGroups {
        /// Of those that match.
        #[serde(default)]
        filter: Filter,
    },
    /// Take a snapshot. Answered by [`super::Answer::Snapshot`] when it is durable.
    Snapshot {},
    /// A page of schedules. Answered by [`super::Answer::Schedules`].
    Schedules(SchedulesCall),
    /// Store a schedule, or change it. Answered by [`super::Answer::Operated`].
    PutSchedule(Box<PutScheduleCall>),
    /// Pause, resume or remove a schedule. Answered by [`super::Answer::Done`].
    OperateSchedule(OperateScheduleCall),
    /// Send a schedule's message now; its next time stays. Answered by [`super::Answer::Sent`].
    RunSchedule {
        /// Its name.
        name: String,
    },
    /// When a schedule fires. Answered by [`super::Answer::NextFires`].
    NextFires(NextFiresCall),
    /// The worker pools of the process that owns the store. Answered by [`super::Answer::Pools`].
    Pools {},
    /// What runs in them now. Answered by [`super::Answer::Running`].
    Running {},
    /// Handle more or fewer messages of a kind at once. Answered by [`super::Answer::Done`]; fewer may be in force later,
    /// when enough handlers have ended.
    Scale(ScaleCall),
    /// Start no more messages of a kind until it is resumed or the program starts again. Answered by
    /// [`super::Answer::Done`].
    PauseKind(OneKind),
    /// Start messages of a kind again. Answered by [`super::Answer::Done`].
    ResumeKind(OneKind),
    /// Decode everything stored of each kind that the owner's handlers decode. Answered by [`super::Answer::Checked`].
    Check {},
    /// Copy the store. Answered by [`super::Answer::Backup`] when the copy is whole and checked.
    Backup(BackupCall),
}

/// A message to be stored. At most one of `payload`, `payload_text` and `payload_hex` is given; none is empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnqueueCall {
    /// Its queue.
    pub queue: String,
    /// Which handler it is for.
    pub kind: String,
    /// A JSON payload, stored as it stands in the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<JsonText>,
    /// A payload of text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
    /// A payload of any bytes, two hexadecimal digits each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_hex: Option<String>,
    /// `json`, `text` or `binary`; without it what the payload was given as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Version of the payload's shape.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: u16,
    /// Names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The same key within the window answers the first id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// At most one unfinished message has this key; needs `on_duplicate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// `replace`, `keep`, `reject`, `discard_identical`, `run_once_more`, `upsert`, or `idempotent`: as
    /// `discard_identical`, and kept for ever after its success unless `retain_ms` says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_duplicate: Option<String>,
    /// Messages with the same key run one after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// Not before so many milliseconds have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Not before this moment (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// 0 to 9, 9 most urgent; without it 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Failures before it goes dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Dead as `expired` if it has not started within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Kept so many milliseconds after its completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_ms: Option<u64>,
    /// Held under this label from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// With an ordering key: dead, it goes on blocking those behind it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub halt_on_dead: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneQueue {
    /// Its name.
    pub queue: String,
}

/// A page of messages, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListCall {
    /// Which.
    pub filter: Filter,
    /// Begin behind this message, or at the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many, 200 at once; without it 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// One message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowCall {
    /// Its id.
    pub id: String,
    /// With what its producer gave: payload, headers, keys.
    #[serde(default)]
    pub payload: bool,
    /// With every byte of the payload as it is stored: a JSON payload that does not fit on one line comes as text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exact: bool,
}

/// A change of one message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperateCall {
    /// The message.
    pub id: String,
    /// What to do with it.
    pub operation: OperationJson,
    /// Who asks, for its history.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// What can be done to a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum OperationJson {
    /// Stop it for good: at once if it waits; if it runs, its handler is asked to stop.
    Cancel {},
    /// Set it aside.
    Hold {
        /// A word of your own that says why.
        label: String,
    },
    /// Let it go on after a hold.
    Release {},
    /// Make it due now.
    RunNow {},
    /// Give it another due time: exactly one of the two.
    Reschedule {
        /// So many milliseconds from now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ms: Option<u64>,
        /// This moment (RFC 3339).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<String>,
    },
    /// Give it another priority, 0 to 9.
    SetPriority {
        /// 9 is most urgent.
        priority: u8,
    },
    /// Put it into another queue.
    Move {
        /// The other queue.
        queue: String,
    },
    /// Bring a dead letter back with fresh budgets, at the end of the line.
    Replay {
        /// With this payload instead, two hexadecimal digits a byte.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload_hex: Option<String>,
    },
    /// Remove it for good.
    Purge {},
}
