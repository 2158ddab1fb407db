//! A message as the program shows it: the JSON that scripts may rely on, and the words of tables.
//!
//! JSON: fields are only ever added; times are RFC 3339 in UTC; a field that does not apply is absent. Table cells are
//! escaped and cut, and may change from version to version.

use bytes::Bytes;
use mq_core::id::MessageId;
use mq_core::key::Key;
use mq_core::message::{ContentType, Envelope};
use mq_core::state::{Attempt, Completion, State};
use mq_core::view::MessageView;
use serde::Serialize;
use serde_json::Value;

use crate::clock;
use crate::escape::{Escaped, EscapedBytes};

/// Characters of an error shown in a table.
const ERROR_CELL_LEN_MAX: usize = 60;

/// A message in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct MessageJson {
    id: String,
    queue: String,
    kind: String,
    state: &'static str,
    #[serde(flatten)]
    detail: StateJson,
    priority: u8,
    enqueued: String,
    /// Bytes of the stored envelope.
    size: u32,
    deliveries: u32,
    failures: u32,
    crashes: u32,
    snoozes: u32,
    interruptions: u32,
    replays: u32,
    suspect: bool,
    cancel_requested: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// The last attempts, oldest first.
    attempts: Vec<AttemptJson>,
    #[serde(flatten)]
    envelope: Option<EnvelopeJson>,
}

#[derive(Debug, Default, Serialize)]
struct StateJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
}

#[derive(Debug, Serialize)]
struct AttemptJson {
    delivery: u32,
    ended: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What the producer gave, in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct EnvelopeJson {
    content_type: &'static str,
    version: u16,
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(flatten)]
    payload: PayloadJson,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
enum PayloadJson {
    /// What a JSON payload holds.
    #[serde(rename = "payload")]
    Json(Value),
    /// The text of any other payload that is UTF-8.
    #[serde(rename = "payload_text")]
    Text(String),
    /// Two hexadecimal digits a byte.
    #[serde(rename = "payload_hex")]
    Hex(String),
}

impl MessageJson {
    /// A message without its payload.
    pub(crate) fn new(view: &MessageView) -> MessageJson {
        MessageJson {
            id: view.id.to_string(),
            queue: view.queue.to_string(),
            kind: view.kind.to_string(),
            state: view.state.kind().as_str(),
            detail: StateJson::new(&view.state),
            priority: view.priority.get(),
            enqueued: clock::moment(view.enqueued),
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
            attempts: view.tail.history.iter().map(AttemptJson::new).collect(),
            envelope: None,
        }
    }

    /// A message with its payload.
    pub(crate) fn with_envelope(view: &MessageView, envelope: &Envelope) -> MessageJson {
        MessageJson {
            envelope: Some(EnvelopeJson::new(envelope)),
            ..MessageJson::new(view)
        }
    }
}

impl StateJson {
    fn new(state: &State) -> StateJson {
        let none = StateJson::default();
        match state {
            State::Ready => none,
            State::Scheduled { due } => StateJson {
                due: Some(clock::moment(*due)),
                ..none
            },
            State::Blocked { by } => StateJson {
                blocked_by: Some(by.to_string()),
                ..none
            },
            State::Leased { token } => StateJson {
                lease: Some(token.to_string()),
                ..none
            },
            State::Held { label } => StateJson {
                label: Some(label.to_string()),
                ..none
            },
            State::Completed { how } => StateJson {
                completion: Some(completion(*how)),
                ..none
            },
            State::Dead { reason } => StateJson {
                reason: Some(reason.as_str()),
                ..none
            },
            State::Superseded { by } => StateJson {
                superseded_by: Some(by.to_string()),
                ..none
            },
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

impl AttemptJson {
    fn new(attempt: &Attempt) -> AttemptJson {
        let failure = attempt.failure.as_ref();
        AttemptJson {
            delivery: attempt.delivery,
            ended: clock::moment(attempt.ended),
            outcome: attempt.outcome.as_str(),
            error_type: failure.map(|failure| failure.error_type.clone()),
            error: failure.map(|failure| failure.text.clone()),
        }
    }
}

impl EnvelopeJson {
    /// All of an envelope.
    pub(crate) fn new(envelope: &Envelope) -> EnvelopeJson {
        let key = |key: &Option<Key>| key.as_ref().map(Key::to_string);
        let id = |id: &Option<MessageId>| id.as_ref().map(MessageId::to_string);
        EnvelopeJson {
            content_type: content_type(envelope.content_type),
            version: envelope.version,
            headers: envelope.headers.clone(),
            idempotency_key: key(&envelope.idempotency_key),
            dedup_key: key(&envelope.dedup_key),
            ordering_key: key(&envelope.ordering_key),
            correlation: id(&envelope.correlation),
            cause: id(&envelope.cause),
            payload: PayloadJson::new(envelope.content_type, &envelope.payload),
        }
    }
}

fn content_type(content_type: ContentType) -> &'static str {
    match content_type {
        ContentType::Json => "json",
        ContentType::Text => "text",
        ContentType::Binary => "binary",
    }
}

impl PayloadJson {
    fn new(content_type: ContentType, payload: &Bytes) -> PayloadJson {
        let json = match content_type {
            ContentType::Json => serde_json::from_slice(payload).ok(),
            ContentType::Text | ContentType::Binary => None,
        };
        match (json, std::str::from_utf8(payload)) {
            (Some(value), _) => PayloadJson::Json(value),
            (None, Ok(text)) => PayloadJson::Text(text.to_owned()),
            (None, Err(_)) => PayloadJson::Hex(hex(payload)),
        }
    }
}

/// Two hexadecimal digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The state with its detail, for a table or a sentence.
pub(crate) fn state(state: &State) -> String {
    match state {
        State::Ready => "ready".to_owned(),
        State::Scheduled { due } => format!("scheduled {}", clock::moment(*due)),
        State::Blocked { by } => format!("blocked by {by}"),
        State::Leased { .. } => "leased".to_owned(),
        State::Held { label } => format!("held {label}"),
        State::Completed { how } => completion(*how).to_owned(),
        State::Dead { reason } => format!("dead {}", reason.as_str()),
        State::Superseded { by } => format!("superseded by {by}"),
    }
}

/// The last error, escaped and cut, for a table.
pub(crate) fn last_error(view: &MessageView) -> String {
    let failure = view
        .tail
        .history
        .iter()
        .rev()
        .find_map(|attempt| attempt.failure.as_ref());
    failure.map_or_else(String::new, |failure| {
        cut(&Escaped(&failure.text).to_string())
    })
}

/// The payload on one line, escaped and cut, for people.
pub(crate) fn payload(envelope: &Envelope) -> String {
    EscapedBytes(&envelope.payload).to_string()
}

fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let start: String = characters.by_ref().take(ERROR_CELL_LEN_MAX).collect();
    if characters.next().is_some() {
        format!("{start}…")
    } else {
        start
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use mq_core::id::{Seq, StoreTag};
    use mq_core::message::Priority;
    use mq_core::state::{DeadReason, Failure, Outcome, Tail};
    use mq_core::time::Timestamp;

    use super::*;

    /// A dead message with one failed attempt.
    pub(crate) fn dead(text: &str) -> MessageView {
        MessageView {
            id: MessageId::new(1_000, Seq::new(7).unwrap(), StoreTag::new(3)),
            queue: "mail".parse().unwrap(),
            kind: "email.welcome".parse().unwrap(),
            priority: Priority::DEFAULT,
            state: State::Dead {
                reason: DeadReason::BudgetSpent,
            },
            enqueued: Timestamp::from_ms(1_000),
            deliveries: 20,
            suspect: false,
            size: 300,
            tail: Tail {
                failures: 20,
                history: vec![Attempt {
                    delivery: 20,
                    ended: Timestamp::from_ms(2_000),
                    outcome: Outcome::Failed,
                    failure: Some(Failure {
                        error_type: "exit".to_owned(),
                        text: text.to_owned(),
                    }),
                }],
                ..Tail::default()
            },
        }
    }

    #[test]
    fn the_json_of_a_message_is_a_contract() {
        let view = dead("boom");
        let envelope = Envelope {
            payload: Bytes::from_static(b"{\"user\":7}"),
            headers: vec![("tenant".to_owned(), "acme".to_owned())],
            ordering_key: Some(Key::new("customer-3").unwrap()),
            ..Envelope::default()
        };
        let json = serde_json::to_value(MessageJson::with_envelope(&view, &envelope)).unwrap();
        let expected = serde_json::json!({
            "id": "00000000-03e8-7000-8000-00001c000003", "queue": "mail", "kind": "email.welcome",
            "state": "dead", "reason": "budget_spent", "priority": 4, "enqueued": "1970-01-01T00:00:01.000Z",
            "size": 300, "deliveries": 20, "failures": 20, "crashes": 0, "snoozes": 0, "interruptions": 0,
            "replays": 0, "suspect": false, "cancel_requested": false,
            "attempts": [{"delivery": 20, "ended": "1970-01-01T00:00:02.000Z", "outcome": "failed",
                "error_type": "exit", "error": "boom"}],
            "content_type": "json", "version": 0, "headers": [["tenant", "acme"]], "ordering_key": "customer-3",
            "payload": {"user": 7},
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn payloads_that_are_not_json_are_text_or_hex() {
        let payload = |content_type, bytes: &'static [u8]| {
            PayloadJson::new(content_type, &Bytes::from_static(bytes))
        };
        assert_eq!(
            payload(ContentType::Binary, b"7"),
            PayloadJson::Text("7".to_owned())
        );
        assert_eq!(
            payload(ContentType::Json, b"{broken"),
            PayloadJson::Text("{broken".to_owned())
        );
        assert_eq!(
            payload(ContentType::Binary, b"\xff\x00"),
            PayloadJson::Hex("ff00".to_owned())
        );
    }

    #[test]
    fn an_error_in_a_table_is_escaped_and_cut() {
        let shown = last_error(&dead(&format!("\u{1b}[31m{}", "x".repeat(100))));
        assert!(shown.starts_with(r"\u{1b}[31m"), "{shown}");
        assert_eq!(shown.chars().count(), ERROR_CELL_LEN_MAX + 1);
    }
}
