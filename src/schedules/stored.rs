//! A schedule as it stands in the store: two JSON documents, one that says when and one that says what.
//!
//! They are two, so that a new message leaves the next time alone. Invariant: the same schedule always gives the same
//! bytes, by which the store knows that nothing changed.

use std::time::Duration;

use bytes::Bytes;
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::{ContentType, Due, Envelope, NewMessage, Priority};
use mq_core::schedule::Schedule as Kept;
use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::catch_up::Missed;
use super::schedule::{Schedule, When, calendar_of};

/// A stored schedule, ready to be fired.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) calendar: Calendar,
    pub(crate) missed: Missed,
    pub(crate) message: NewMessage,
}

impl Plan {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it: another version wrote it, or its time zone is not known here.
    pub(crate) fn read(kept: &Kept) -> Result<Self, String> {
        let when = read_timing(&kept.timing)?;
        let (missed, message) = read_template(&kept.template)?;
        Ok(Self {
            calendar: calendar_of(&when).map_err(|error| error.to_string())?,
            missed,
            message,
        })
    }
}

/// The interval of a schedule, if that is what it has.
pub(crate) fn interval_of(kept: &Kept) -> Option<Calendar> {
    match read_timing(&kept.timing).ok()? {
        When::Every(interval) => Calendar::every(interval).ok(),
        When::ByHand | When::Cron { .. } => None,
    }
}

/// Reads a schedule as it was written down.
pub(crate) fn read_schedule(kept: &Kept) -> Result<Schedule, String> {
    let when = read_timing(&kept.timing)?;
    let (missed, message) = read_template(&kept.template)?;
    Ok(Schedule::of_stored(when, missed, message))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum StoredTiming {
    ByHand,
    EveryMs(u64),
    Cron { expression: String, zone: String },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTemplate {
    missed: Missed,
    message: StoredMessage,
}

/// Text as it is, other bytes in hexadecimal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Blob {
    Text(String),
    Hex(String),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredContent {
    Json,
    Text,
    Binary,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredPolicy {
    Replace,
    Keep,
    Reject,
    DiscardIdentical,
    RunOnceMore,
    Upsert,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMessage {
    queue: String,
    kind: String,
    version: u16,
    content: StoredContent,
    payload: Blob,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dedup: Option<(Blob, StoredPolicy)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordering_key: Option<Blob>,
    #[serde(default)]
    halt_on_dead: bool,
    priority: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_in_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures_max: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retain_ms: Option<u64>,
}

/// When, as JSON.
pub(crate) fn timing(when: &When) -> Bytes {
    json(&match when {
        When::ByHand => StoredTiming::ByHand,
        When::Every(interval) => StoredTiming::EveryMs(ms(*interval)),
        When::Cron { expression, zone } => StoredTiming::Cron {
            expression: expression.clone(),
            zone: zone.clone(),
        },
    })
}

/// What, as JSON. `message` is one that [`Schedule::check`] let pass.
pub(crate) fn template(missed: Missed, message: &NewMessage) -> Bytes {
    let message = StoredMessage::new(message);
    json(&StoredTemplate { missed, message })
}

fn json(value: &impl Serialize) -> Bytes {
    // Structs of strings and numbers: there is nothing that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn read_timing(bytes: &Bytes) -> Result<When, String> {
    let stored: StoredTiming = serde_json::from_slice(bytes).map_err(text)?;
    Ok(match stored {
        StoredTiming::ByHand => When::ByHand,
        StoredTiming::EveryMs(ms) => When::Every(Duration::from_millis(ms)),
        StoredTiming::Cron { expression, zone } => When::Cron { expression, zone },
    })
}

fn read_template(bytes: &Bytes) -> Result<(Missed, NewMessage), String> {
    let stored: StoredTemplate = serde_json::from_slice(bytes).map_err(text)?;
    Ok((stored.missed, stored.message.read()?))
}

impl StoredMessage {
    fn new(message: &NewMessage) -> Self {
        // All fields by name: one that is new must find its place here.
        let NewMessage {
            queue,
            kind,
            envelope,
            priority,
            due,
            expires_in,
            hold,
            dedup,
            halt_on_dead,
            failures_max,
            retain,
            awaited: _, // nobody has the receipt to ask with
            index: _,   // stored for its kind when the schedule is put
        } = message;
        let Envelope {
            version,
            content_type,
            payload,
            headers,
            idempotency_key: _, // refused
            dedup_key,
            ordering_key,
            correlation: _, // a schedule is nobody's follow-up
            cause: _,
        } = envelope;
        Self {
            queue: queue.to_string(),
            kind: kind.to_string(),
            version: *version,
            content: StoredContent::new(*content_type),
            payload: Blob::new(payload),
            headers: headers.clone(),
            dedup: dedup_key
                .as_ref()
                .map(|key| Blob::new(key.as_bytes()))
                .zip(dedup.map(StoredPolicy::new)),
            ordering_key: ordering_key.as_ref().map(|key| Blob::new(key.as_bytes())),
            halt_on_dead: *halt_on_dead,
            priority: priority.get(),
            delay_ms: match due {
                Due::After(delay) => Some(ms(*delay)),
                Due::Now | Due::At(_) => None,
            },
            expires_in_ms: expires_in.map(ms),
            hold: hold.as_ref().map(ToString::to_string),
            failures_max: *failures_max,
            retain_ms: retain.map(ms),
        }
    }

    fn read(self) -> Result<NewMessage, String> {
        let queue = self.queue.parse().map_err(text)?;
        let kind = self.kind.parse().map_err(text)?;
        let payload = self.payload.read()?;
        let key = |blob: Blob| Key::new(blob.read()?).map_err(text);
        let (dedup_key, dedup) = self.dedup.unzip();
        let mut message = NewMessage::new(queue, kind, payload);
        message.envelope.version = self.version;
        message.envelope.content_type = self.content.read();
        message.envelope.headers = self.headers;
        message.envelope.dedup_key = dedup_key.map(key).transpose()?;
        message.envelope.ordering_key = self.ordering_key.map(key).transpose()?;
        message.priority = Priority::new(self.priority)
            .ok_or_else(|| format!("priority {} is out of range", self.priority))?;
        let delay = self.delay_ms.map(Duration::from_millis);
        message.due = delay.map_or(Due::Now, Due::After);
        message.expires_in = self.expires_in_ms.map(Duration::from_millis);
        message.hold = self
            .hold
            .map(|label| label.parse().map_err(text))
            .transpose()?;
        message.dedup = dedup.map(StoredPolicy::read);
        message.halt_on_dead = self.halt_on_dead;
        message.failures_max = self.failures_max;
        message.retain = self.retain_ms.map(Duration::from_millis);
        Ok(message)
    }
}

impl Blob {
    fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    fn read(self) -> Result<Bytes, String> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Hex(digits) => {
                let pairs = digits.as_bytes().chunks(2);
                let bytes: Option<Vec<u8>> = pairs
                    .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                    .collect();
                bytes
                    .map(Bytes::from)
                    .ok_or_else(|| "bytes are not hexadecimal".to_owned())
            }
        }
    }
}

impl StoredContent {
    const fn new(content: ContentType) -> Self {
        match content {
            ContentType::Json => Self::Json,
            ContentType::Text => Self::Text,
            ContentType::Binary => Self::Binary,
        }
    }

    const fn read(self) -> ContentType {
        match self {
            Self::Json => ContentType::Json,
            Self::Text => ContentType::Text,
            Self::Binary => ContentType::Binary,
        }
    }
}

impl StoredPolicy {
    const fn new(policy: DedupPolicy) -> Self {
        match policy {
            DedupPolicy::Replace => Self::Replace,
            DedupPolicy::Keep => Self::Keep,
            DedupPolicy::Reject => Self::Reject,
            DedupPolicy::DiscardIdentical => Self::DiscardIdentical,
            DedupPolicy::RunOnceMore => Self::RunOnceMore,
            DedupPolicy::Upsert => Self::Upsert,
        }
    }

    const fn read(self) -> DedupPolicy {
        match self {
            Self::Replace => DedupPolicy::Replace,
            Self::Keep => DedupPolicy::Keep,
            Self::Reject => DedupPolicy::Reject,
            Self::DiscardIdentical => DedupPolicy::DiscardIdentical,
            Self::RunOnceMore => DedupPolicy::RunOnceMore,
            Self::Upsert => DedupPolicy::Upsert,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
