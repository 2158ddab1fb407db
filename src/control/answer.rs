//! What is answered: the JSON that scripts may rely on, on the wire and in the program's `--json`.
//!
//! Fields are only ever added; a field that does not apply is absent; ids are text, counts are exact integers, moments
//! are RFC 3339 in UTC. Readers ignore fields that they do not know.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bulk::{BulkJobJson, DeadGroupsJson, DryRunJson, EditJson};
use super::care::{BackupJson, SnapshotJson};
use super::check::CheckJson;
use super::index::IndexJson;
use super::queue::QueueSettingsJson;
use super::schedule::{NextFires, SchedulesPage, Sent};
use super::top::TopJson;
use super::workers::{PoolJson, RunningJson};

/// The answer to a [`super::Call`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// It is done.
    Done {},
    /// The message is stored.
    Enqueued(Enqueued),
    /// Counts.
    Stats(StatsJson),
    /// Prometheus text, format 0.0.4.
    Metrics(String),
    /// Queues by name.
    Queues(Vec<QueueJson>),
    /// A page.
    Messages(MessagesPage),
    /// One message.
    Message(Box<MessageJson>),
    /// The message, then each message that it waits for.
    Explained(Vec<Explained>),
    /// `done`, or `requested`: the running handler was asked to stop; of a schedule that was put, `created`, `changed` or
    /// `unchanged`.
    Operated(String),
    /// The picture.
    Top(Box<TopJson>),
    /// The snapshot.
    Snapshot(SnapshotJson),
    /// A page of schedules.
    Schedules(SchedulesPage),
    /// When a schedule fires.
    NextFires(NextFires),
    /// What a schedule sent.
    Sent(Sent),
    /// Worker pools of the process that owns the store.
    Pools(Vec<PoolJson>),
    /// Handlers that run now.
    Running(Vec<RunningJson>),
    /// The copy.
    Backup(BackupJson),
    /// A bulk job.
    BulkJob(Box<BulkJobJson>),
    /// Bulk jobs by number.
    BulkJobs(Vec<BulkJobJson>),
    /// What a bulk call would meet.
    DryRun(Box<DryRunJson>),
    /// Groups of dead letters.
    DeadGroups(DeadGroupsJson),
    /// What a check found, by kind.
    Checked(Vec<CheckJson>),
    /// What is set for a queue.
    QueueSettings(QueueSettingsJson),
    /// Kinds with an index.
    Indexes(Vec<IndexJson>),
}

/// A stored message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Enqueued {
    /// The message that does the work.
    pub id: String,
    /// `new`, `existing`, `replaced` or `discarded`.
    pub enqueue: String,
    /// The message whose place it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// `synced`, `written` or `memory`: what was achieved when this answer left.
    pub durability: String,
}

/// Some messages, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MessagesPage {
    /// The messages. There may be fewer than asked for, or none, before the end.
    pub messages: Vec<MessageJson>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Ids of messages that may match and are left out: their payloads are damaged or cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
    /// How they were found: `key`, `index` or `scan`.
    pub by: String,
    /// Payloads read for it.
    pub read: u64,
}

/// Why a message is not running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explained {
    /// The message.
    pub id: String,
    /// Its state.
    pub state: String,
    /// For people.
    pub text: String,
}

/// A message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageJson {
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// `scheduled`, `ready`, `blocked`, `leased`, `held`, `completed`, `dead` or `superseded`.
    pub state: String,
    /// When it is due, if scheduled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The message that comes first, if blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked_by: Option<String>,
    /// The lease, if leased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// The label, if held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `succeeded`, `discarded` or `cancelled`, if completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// Why it is dead, if dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The message that took its place, if superseded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
    /// 0 to 9, 9 most urgent.
    pub priority: u8,
    /// When it was enqueued.
    pub enqueued: String,
    /// Bytes of the stored envelope.
    pub size: u32,
    /// How often it was handed out.
    pub deliveries: u32,
    /// Failures against its budget.
    pub failures: u32,
    /// Crashes in runs of its own.
    pub crashes: u32,
    /// How often its handler asked for more time.
    pub snoozes: u32,
    /// How often a stop came in between.
    pub interruptions: u32,
    /// How often it was brought back from the dead letters.
    pub replays: u32,
    /// It was running when the process died, and will run alone among such messages.
    pub suspect: bool,
    /// Its running handler was asked to stop.
    pub cancel_requested: bool,
    /// A remark of its handler or of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The last attempts, oldest first.
    pub attempts: Vec<AttemptJson>,
    /// The last changes by users, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditJson>,
    /// When it went dead, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub died: Option<String>,
    /// `json`, `text` or `binary`. This and the fields below only where one message is shown with its payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Version of the payload's shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u16>,
    /// Names and values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<(String, String)>>,
    /// The idempotency key; a byte that is no text as `\xNN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The dedup key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedup_key: Option<String>,
    /// The ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// The first message of its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation: Option<String>,
    /// The message whose handler staged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// A JSON payload, number for number as it is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<JsonText>,
    /// Any other payload that is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
    /// A payload that is not: two hexadecimal digits a byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_hex: Option<String>,
}

/// One attempt at a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptJson {
    /// Which hand-out it was.
    pub delivery: u32,
    /// When it ended.
    pub ended: String,
    /// How: `succeeded`, `failed`, `snoozed`, `interrupted`, `cancelled`, `lease_expired`, `crashed`, `discarded` or
    /// `dead_lettered`.
    pub outcome: String,
    /// The class of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueJson {
    /// Its name.
    pub queue: String,
    /// Whether a user paused it.
    pub paused: bool,
    /// Messages that are not due.
    pub scheduled: u64,
    /// Messages that wait for a worker.
    pub ready: u64,
    /// Messages behind another one of their ordering key.
    pub blocked: u64,
    /// Messages that are running.
    pub leased: u64,
    /// Messages that were set aside.
    pub held: u64,
    /// Completed messages that are kept.
    pub completed: u64,
    /// Dead letters.
    pub dead: u64,
    /// Running messages whose place another one took.
    pub superseded: u64,
    /// How long the oldest ready message has been waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ready_seconds: Option<f64>,
}

/// The whole store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatsJson {
    /// Messages that count against the capacity.
    pub live_messages: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes of dead letters.
    pub dead_bytes: u64,
    /// Bytes of completed messages that are kept.
    pub completed_bytes: u64,
    /// Keys in use.
    pub keys: u64,
    /// Messages that wait for a run alone.
    pub suspects: u64,
    /// Messages enqueued since the store was opened.
    pub enqueued: u64,
    /// Duplicates since the store was opened.
    pub duplicates: u64,
    /// Hand-outs since the store was opened.
    pub checked_out: u64,
    /// Messages that the store takes.
    pub capacity_messages: u64,
    /// Bytes that it takes.
    pub capacity_bytes: u64,
    /// Enqueues that wait for room now.
    pub waiting_for_room: u64,
    /// Enqueued in a second, over the last minute.
    pub enqueued_per_second: f64,
    /// Handed out in a second.
    pub checked_out_per_second: f64,
    /// Ended in a second: succeeded, cancelled, discarded or given up.
    pub ended_per_second: f64,
    /// Failed attempts in a second.
    pub failed_per_second: f64,
    /// Queues by name.
    pub queues: Vec<QueueJson>,
}

/// One JSON value exactly as it was written, but for line breaks between its parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// The value that `bytes` hold, on one line; `None` if they are not one JSON value.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        // A line break inside a string would not be JSON, so these stand between parts.
        let line = text.trim().replace(['\n', '\r'], " ");
        RawValue::from_string(line).ok().map(Self)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_payload_keeps_every_digit_and_stands_on_one_line() {
        let written = "{\"n\": 123456789012345678901234567890.10,\n\"s\": \"a\\nb\"}";
        let line = JsonText::new(written.as_bytes()).unwrap();
        let sent = serde_json::to_string(&MessageJson {
            payload: Some(line),
            ..MessageJson::default()
        });
        let read: MessageJson = serde_json::from_str(&sent.unwrap()).unwrap();
        let text = read.payload.unwrap();
        assert_eq!(
            text.as_str(),
            "{\"n\": 123456789012345678901234567890.10, \"s\": \"a\\nb\"}"
        );
        for wrong in [&b"{broken"[..], b"", b"1 2", b"\xff"] {
            assert!(JsonText::new(wrong).is_none());
        }
    }

    #[test]
    fn a_field_from_a_later_version_is_ignored() {
        let read: QueueJson = serde_json::from_str(r#"{"queue":"q","later":[1]}"#).unwrap();
        assert_eq!((read.queue.as_str(), read.ready), ("q", 0));
    }
}
