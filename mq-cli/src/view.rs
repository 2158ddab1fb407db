//! A message as the program shows it: the words of tables, and the envelope in dumps.
//!
//! The JSON of messages is [`mq::control::MessageJson`]. Table cells are escaped and cut, and may change from version to
//! version.

use bytes::Bytes;
use mq::control::MessageJson;
use mq_core::id::MessageId;
use mq_core::key::Key;
use mq_core::message::{ContentType, Envelope};
use serde::Serialize;
use serde_json::Value;

use crate::escape::Escaped;

/// Characters of an error shown in a table.
const ERROR_CELL_LEN_MAX: usize = 60;

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
            (None, Err(_)) => PayloadJson::Hex(mq::control::hex(payload)),
        }
    }
}

/// The state with its detail, for a table or a sentence.
pub(crate) fn state(message: &MessageJson) -> String {
    let details = [
        (" ", &message.due),
        (" by ", &message.blocked_by),
        (" ", &message.label),
        (", ", &message.completion),
        (" ", &message.reason),
        (" by ", &message.superseded_by),
    ];
    let detail = details
        .into_iter()
        .find_map(|(link, detail)| Some(format!("{link}{}", detail.as_ref()?)));
    let text = format!("{}{}", message.state, detail.unwrap_or_default());
    Escaped(&text).to_string()
}

/// The last error, escaped and cut, for a table.
pub(crate) fn last_error(message: &MessageJson) -> String {
    let attempts = message.attempts.iter().rev();
    let error = attempts
        .filter_map(|attempt| attempt.error.as_deref())
        .next();
    error.map_or_else(String::new, |error| cut(&Escaped(error).to_string()))
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
    use mq::control::AttemptJson;

    use super::*;

    /// A dead message with one failed attempt.
    pub(crate) fn dead(error: &str) -> MessageJson {
        MessageJson {
            id: "00000000-03e8-7000-8000-00001c000003".to_owned(),
            queue: "mail".to_owned(),
            kind: "email.welcome".to_owned(),
            state: "dead".to_owned(),
            reason: Some("budget_spent".to_owned()),
            enqueued: "1970-01-01T00:00:01.000Z".to_owned(),
            failures: 20,
            attempts: vec![AttemptJson {
                ended: "1970-01-01T00:00:02.000Z".to_owned(),
                error: Some(error.to_owned()),
                ..AttemptJson::default()
            }],
            ..MessageJson::default()
        }
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

    #[test]
    fn a_state_shows_its_detail() {
        assert_eq!(state(&dead("x")), "dead budget_spent");
        let blocked = MessageJson {
            state: "blocked".to_owned(),
            blocked_by: Some("7".to_owned()),
            ..MessageJson::default()
        };
        assert_eq!(state(&blocked), "blocked by 7");
    }
}
