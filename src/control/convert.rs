//! Between lines and the engine's own types: what was read becomes a command, what the engine answers becomes JSON.

use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Durability, Receipt};
use mq_core::command::Enqueue;
use mq_core::id::{MessageId, StoreTag};
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::{ContentType, Due, Envelope, NewMessage, Priority};
use mq_core::name::QueueName;
use mq_core::queue::FOREVER;
use mq_core::state::{Attempt, Completion, State};
use mq_core::view::{MessageView, QueueStats};

use super::answer::{AttemptJson, Enqueued, JsonText, MessageJson, QueueJson, StatsJson};
use super::bulk::EditJson;
use super::call::EnqueueCall;
use super::fault::CallError;
use super::text::{hex, moment, parse_hex, parse_moment};
use crate::error::EnqueueError;
use crate::find::Cursor;
use crate::stats::Stats;

type Result<T> = std::result::Result<T, CallError>;

const CONTENT_TYPES: [(&str, ContentType); 3] = [
    ("json", ContentType::Json),
    ("text", ContentType::Text),
    ("binary", ContentType::Binary),
];

const POLICIES: [(&str, DedupPolicy); 7] = [
    ("replace", DedupPolicy::Replace),
    ("keep", DedupPolicy::Keep),
    ("reject", DedupPolicy::Reject),
    ("discard_identical", DedupPolicy::DiscardIdentical),
    ("run_once_more", DedupPolicy::RunOnceMore),
    ("upsert", DedupPolicy::Upsert),
    (IDEMPOTENT, DedupPolicy::DiscardIdentical),
];

/// A policy with a retention: see [`mq_dispatch::Dedup::idempotent`].
const IDEMPOTENT: &str = "idempotent";

/// The value that `word` stands for.
fn one_of<T: Copy>(
    field: &str,
    word: &str,
    known: impl Iterator<Item = (&'static str, T)> + Clone,
) -> Result<T> {
    let found = known.clone().find(|(name, _)| *name == word);
    found.map(|(_, value)| value).ok_or_else(|| {
        let names: Vec<&str> = known.map(|(name, _)| name).collect();
        CallError::bad_value(field, word, format_args!("one of {}", names.join(", ")))
    })
}

fn word_of<T: PartialEq>(value: &T, known: &[(&'static str, T)]) -> String {
    let found = known.iter().find(|(_, known)| known == value);
    found.map_or("", |(name, _)| name).to_owned()
}

/// The id in `text`.
pub(super) fn id(text: &str) -> Result<MessageId> {
    text.parse()
        .map_err(|_| CallError::bad_value("id", text, "a message's id"))
}

/// Where a page begins: behind a message of the store with this tag, or at a number.
pub(super) fn after(text: Option<&str>, store: StoreTag) -> Result<Cursor> {
    let Some(text) = text else {
        return Ok(Cursor::START);
    };
    if let Ok(id) = text.parse::<MessageId>() {
        // The numbers of another store's messages mean nothing here.
        let known = (id.tag() == store).then_some(Cursor::from(id));
        return known.ok_or_else(|| CallError::never_issued(id));
    }
    text.parse()
        .map_err(|_| CallError::bad_value("after", text, "a message's id or the `next` of a page"))
}

/// When: at most one of the two is given.
pub(super) fn due(delay_ms: Option<u64>, due: Option<&str>) -> Result<Due> {
    match (delay_ms, due) {
        (None, None) => Ok(Due::Now),
        (Some(delay), None) => Ok(Due::After(Duration::from_millis(delay))),
        (None, Some(text)) => {
            let at = parse_moment(text);
            at.map(Due::At).ok_or_else(|| {
                CallError::bad_value("due", text, "a moment such as 2026-01-31T12:00:00Z")
            })
        }
        (Some(_), Some(_)) => Err(CallError::new(
            "bad_value",
            "give one of delay_ms and due, not both",
        )),
    }
}

/// A priority.
pub(super) fn priority(level: u8) -> Result<Priority> {
    Priority::new(level).ok_or_else(|| EnqueueError::Priority { given: level }.into())
}

/// Bytes in hexadecimal digits.
pub(super) fn bytes_of(field: &str, digits: &str) -> Result<Bytes> {
    let shown: String = digits.chars().take(20).collect();
    let bytes = parse_hex(digits);
    bytes
        .map(Bytes::from)
        .ok_or_else(|| CallError::bad_value(field, &shown, "bytes as two hexadecimal digits each"))
}

impl EnqueueCall {
    /// The message, checked as far as text can be wrong; the engine checks the rest.
    pub(super) fn message(self) -> Result<NewMessage> {
        let (given_as, payload) = self.bytes()?;
        let mut message = NewMessage::new(self.queue.parse()?, self.kind.parse()?, payload);
        let types = CONTENT_TYPES.into_iter();
        let content_type = self.content_type.as_deref();
        message.envelope.content_type =
            content_type.map_or(Ok(given_as), |word| one_of("content_type", word, types))?;
        message.envelope.version = self.version;
        message.due = due(self.delay_ms, self.due.as_deref())?;
        message.priority = self.priority.map_or(Ok(Priority::DEFAULT), priority)?;
        message.failures_max = self.max_attempts;
        message.expires_in = self.expires_in_ms.map(Duration::from_millis);
        message.retain = self.retain_ms.map(Duration::from_millis);
        message.hold = self.hold.as_deref().map(str::parse).transpose()?;
        message.halt_on_dead = self.halt_on_dead;
        message.envelope.headers = self.headers;
        message.envelope.idempotency_key = key(self.idempotency_key)?;
        message.envelope.dedup_key = key(self.dedup_key)?;
        message.envelope.ordering_key = key(self.ordering_key)?;
        let policy = self.on_duplicate.as_deref();
        message.dedup = policy
            .map(|word| one_of("on_duplicate", word, POLICIES.into_iter()))
            .transpose()?;
        if policy == Some(IDEMPOTENT) {
            message.retain = message.retain.or(Some(FOREVER));
        }
        Ok(message)
    }

    fn bytes(&self) -> Result<(ContentType, Bytes)> {
        match (&self.payload, &self.payload_text, &self.payload_hex) {
            (None, None, None) => Ok((ContentType::Binary, Bytes::new())),
            (Some(json), None, None) => {
                let bytes = Bytes::copy_from_slice(json.as_str().as_bytes());
                Ok((ContentType::Json, bytes))
            }
            (None, Some(text), None) => {
                Ok((ContentType::Text, Bytes::copy_from_slice(text.as_bytes())))
            }
            (None, None, Some(digits)) => {
                Ok((ContentType::Binary, bytes_of("payload_hex", digits)?))
            }
            _ => Err(CallError::new(
                "bad_value",
                "give one of payload, payload_text and payload_hex",
            )),
        }
    }
}

fn key(text: Option<String>) -> Result<Option<Key>> {
    let key = text.map(Key::new).transpose();
    key.map_err(|error| EnqueueError::from(error).into())
}

impl From<&NewMessage> for EnqueueCall {
    fn from(message: &NewMessage) -> Self {
        let envelope = &message.envelope;
        let payload = Payload::whole(envelope.content_type, &envelope.payload);
        let (delay_ms, due) = match message.due {
            Due::Now => (None, None),
            Due::After(delay) => (Some(ms(delay)), None),
            Due::At(at) => (None, Some(moment(at))),
        };
        let given = |key: &Option<Key>| key.as_ref().map(key_text);
        Self {
            queue: message.queue.to_string(),
            kind: message.kind.to_string(),
            payload: payload.json,
            payload_text: payload.text,
            payload_hex: payload.hex,
            content_type: Some(word_of(&envelope.content_type, &CONTENT_TYPES)),
            version: envelope.version,
            headers: envelope.headers.clone(),
            idempotency_key: given(&envelope.idempotency_key),
            dedup_key: given(&envelope.dedup_key),
            on_duplicate: message.dedup.map(|policy| word_of(&policy, &POLICIES)),
            ordering_key: given(&envelope.ordering_key),
            delay_ms,
            due,
            priority: Some(message.priority.get()),
            max_attempts: message.failures_max,
            expires_in_ms: message.expires_in.map(ms),
            retain_ms: message.retain.map(ms),
            hold: message.hold.as_ref().map(ToString::to_string),
            halt_on_dead: message.halt_on_dead,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A key that is text as it is; of any other the bytes that are none as `\xNN`.
fn key_text(key: &Key) -> String {
    let text = std::str::from_utf8(key.as_bytes());
    text.map_or_else(|_| key.to_string(), str::to_owned)
}

/// A payload as it stands in a line.
#[derive(Debug, Default)]
struct Payload {
    json: Option<JsonText>,
    text: Option<String>,
    hex: Option<String>,
}

impl Payload {
    /// For reading: a JSON payload may lose the line breaks between its parts.
    fn shown(content_type: ContentType, bytes: &[u8]) -> Self {
        match content_type {
            ContentType::Json => Self {
                json: JsonText::new(bytes),
                ..Self::default()
            },
            ContentType::Text | ContentType::Binary => Self::default(),
        }
        .or_text(bytes)
    }

    /// For storing: nothing of it may change, and a line must not grow much beyond the payload.
    fn whole(content_type: ContentType, bytes: &[u8]) -> Self {
        let json = match content_type {
            ContentType::Json => {
                JsonText::new(bytes).filter(|json| json.as_str().as_bytes() == bytes)
            }
            ContentType::Text | ContentType::Binary => None,
        };
        if json.is_none() && escaped_len(bytes) > 2 * bytes.len() {
            return Self {
                hex: Some(hex(bytes)),
                ..Self::default()
            };
        }
        Self {
            json,
            ..Self::default()
        }
        .or_text(bytes)
    }

    fn or_text(self, bytes: &[u8]) -> Self {
        if self.json.is_some() {
            return self;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: Some(text.to_owned()),
                ..self
            },
            Err(_) => Self {
                hex: Some(hex(bytes)),
                ..self
            },
        }
    }
}

/// Bytes of a string of JSON that holds them.
fn escaped_len(bytes: &[u8]) -> usize {
    let len = |byte: &u8| match byte {
        b'"' | b'\\' => 2,
        byte if byte.is_ascii_control() => 6,
        _ => 1,
    };
    bytes.iter().map(len).sum()
}

/// The word of what an enqueue did.
pub(super) const fn word_of_enqueue(enqueue: Enqueue) -> &'static str {
    match enqueue {
        Enqueue::New => "new",
        Enqueue::Existing => "existing",
        Enqueue::Replaced { .. } => "replaced",
        Enqueue::Discarded => "discarded",
    }
}

impl From<Receipt> for Enqueued {
    fn from(receipt: Receipt) -> Self {
        let enqueue = word_of_enqueue(receipt.accepted.enqueue);
        let replaced = match receipt.accepted.enqueue {
            Enqueue::Replaced { old } => Some(old.to_string()),
            Enqueue::New | Enqueue::Existing | Enqueue::Discarded => None,
        };
        let durability = match receipt.durability {
            Durability::Memory => "memory",
            Durability::Written => "written",
            Durability::Synced => "synced",
        };
        Self {
            id: receipt.accepted.id.to_string(),
            enqueue: enqueue.to_owned(),
            replaced,
            durability: durability.to_owned(),
        }
    }
}

impl From<&MessageView> for MessageJson {
    fn from(view: &MessageView) -> Self {
        let shown = Self {
            id: view.id.to_string(),
            queue: view.queue.to_string(),
            kind: view.kind.to_string(),
            state: view.state.kind().as_str().to_owned(),
            priority: view.priority.get(),
            enqueued: moment(view.enqueued),
            size: view.size,
            deliveries: view.deliveries,
            failures: view.tail.failures,
            crashes: view.tail.crashes,
            snoozes: view.tail.snoozes,
            interruptions: view.tail.interruptions,
            replays: view.tail.replays,
            suspect: view.suspect,
            cancel_requested: view.tail.cancel_requested,
            note: view.tail.note.clone(),
            attempts: view.tail.history.iter().map(AttemptJson::from).collect(),
            edits: view.tail.edits.iter().map(EditJson::from).collect(),
            died: view.died.map(moment),
            ..Self::default()
        };
        shown.with_state(&view.state)
    }
}

impl MessageJson {
    fn with_state(mut self, state: &State) -> Self {
        match state {
            State::Ready => {}
            State::Scheduled { due } => self.due = Some(moment(*due)),
            State::Blocked { by } => self.blocked_by = Some(by.to_string()),
            State::Leased { token } => self.lease = Some(token.to_string()),
            State::Held { label } => self.label = Some(label.to_string()),
            State::Completed { how } => self.completion = Some(completion(*how).to_owned()),
            State::Dead { reason } => self.reason = Some(reason.as_str().to_owned()),
            State::Superseded { by } => self.superseded_by = Some(by.to_string()),
        }
        self
    }

    /// The payload's bytes, if it is shown: exactly those that are stored if [`super::ShowCall::exact`] was asked for.
    #[must_use]
    pub fn payload_bytes(&self) -> Option<Bytes> {
        match (&self.payload, &self.payload_text, &self.payload_hex) {
            (Some(json), _, _) => Some(Bytes::copy_from_slice(json.as_str().as_bytes())),
            (None, Some(text), _) => Some(Bytes::copy_from_slice(text.as_bytes())),
            (None, None, Some(digits)) => parse_hex(digits).map(Bytes::from),
            (None, None, None) => None,
        }
    }

    /// With what the producer gave.
    pub(super) fn with_envelope(self, envelope: &Envelope, exact: bool) -> Self {
        let payload = if exact {
            Payload::whole(envelope.content_type, &envelope.payload)
        } else {
            Payload::shown(envelope.content_type, &envelope.payload)
        };
        let key = |key: &Option<Key>| key.as_ref().map(key_text);
        let id = |id: &Option<MessageId>| id.as_ref().map(MessageId::to_string);
        Self {
            content_type: Some(word_of(&envelope.content_type, &CONTENT_TYPES)),
            version: Some(envelope.version),
            headers: Some(envelope.headers.clone()),
            idempotency_key: key(&envelope.idempotency_key),
            dedup_key: key(&envelope.dedup_key),
            ordering_key: key(&envelope.ordering_key),
            correlation: id(&envelope.correlation),
            cause: id(&envelope.cause),
            payload: payload.json,
            payload_text: payload.text,
            payload_hex: payload.hex,
            ..self
        }
    }
}

fn completion(how: Completion) -> &'static str {
    match how {
        Completion::Succeeded => "succeeded",
        Completion::Discarded => "discarded",
        Completion::Cancelled => "cancelled",
    }
}

impl From<&Attempt> for AttemptJson {
    fn from(attempt: &Attempt) -> Self {
        let failure = attempt.failure.as_ref();
        Self {
            delivery: attempt.delivery,
            ended: moment(attempt.ended),
            outcome: attempt.outcome.as_str().to_owned(),
            error_type: failure.map(|failure| failure.error_type.clone()),
            error: failure.map(|failure| failure.text.clone()),
        }
    }
}

impl From<&(QueueName, QueueStats)> for QueueJson {
    fn from((name, stats): &(QueueName, QueueStats)) -> Self {
        let [
            scheduled,
            ready,
            blocked,
            leased,
            held,
            completed,
            dead,
            superseded,
        ] = stats.by_state;
        Self {
            queue: name.to_string(),
            paused: stats.paused,
            scheduled,
            ready,
            blocked,
            leased,
            held,
            completed,
            dead,
            superseded,
            oldest_ready_seconds: stats.oldest_ready.map(|age| age.as_secs_f64()),
        }
    }
}

impl From<&Stats> for StatsJson {
    fn from(stats: &Stats) -> Self {
        Self {
            live_messages: stats.live_messages,
            live_bytes: stats.live_bytes,
            dead_bytes: stats.dead_bytes,
            completed_bytes: stats.completed_bytes,
            keys: stats.keys,
            suspects: stats.suspects,
            enqueued: stats.enqueued,
            duplicates: stats.duplicates,
            checked_out: stats.checked_out,
            capacity_messages: stats.capacity.messages_max(),
            capacity_bytes: stats.capacity.bytes_max(),
            waiting_for_room: stats.waiting_for_room,
            enqueued_per_second: stats.rates.enqueued,
            checked_out_per_second: stats.rates.checked_out,
            ended_per_second: stats.rates.ended,
            failed_per_second: stats.rates.failed,
            queues: stats.queues.iter().map(QueueJson::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
