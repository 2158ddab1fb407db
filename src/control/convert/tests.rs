//! The contract of the JSON, the way through a line and back, and what is refused.

use mq_core::id::{Incarnation, LeaseToken, Seq, StoreTag};
use mq_core::state::{DeadReason, Failure, Outcome, Tail};
use mq_core::time::Timestamp;

use super::*;
use crate::filter::Filter;

fn dead() -> MessageView {
    MessageView {
        id: MessageId::new(1_000, Seq::new(7).unwrap(), StoreTag::new(3)),
        queue: "mail".parse().unwrap(),
        kind: "email.welcome".parse().unwrap(),
        priority: Priority::DEFAULT,
        state: State::Dead {
            reason: DeadReason::BudgetSpent,
        },
        enqueued: Timestamp::from_ms(1_000),
        died: Some(Timestamp::from_ms(2_000)),
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
                    text: "boom".to_owned(),
                }),
            }],
            ..Tail::default()
        },
    }
}

#[test]
fn the_json_of_a_message_is_a_contract() {
    let envelope = Envelope {
        payload: Bytes::from_static(b"{\"user\":7}"),
        headers: vec![("tenant".to_owned(), "acme".to_owned())],
        ordering_key: Some(Key::new("customer-3").unwrap()),
        ..Envelope::default()
    };
    let message = MessageJson::from(&dead()).with_envelope(&envelope, false);
    let text = serde_json::to_string(&message).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "id": "00000000-03e8-7000-8000-00001c000003", "queue": "mail", "kind": "email.welcome",
        "state": "dead", "reason": "budget_spent", "priority": 4, "enqueued": "1970-01-01T00:00:01.000Z",
        "size": 300, "deliveries": 20, "failures": 20, "crashes": 0, "snoozes": 0, "interruptions": 0,
        "replays": 0, "suspect": false, "cancel_requested": false, "died": "1970-01-01T00:00:02.000Z",
        "attempts": [{"delivery": 20, "ended": "1970-01-01T00:00:02.000Z", "outcome": "failed",
            "error_type": "exit", "error": "boom"}],
        "content_type": "json", "version": 0, "headers": [["tenant", "acme"]], "ordering_key": "customer-3",
        "payload": {"user": 7},
    });
    assert_eq!(json, expected);
}

#[test]
fn each_state_has_its_own_field() {
    let by = dead().id;
    let token = LeaseToken {
        id: by,
        delivery: 2,
        incarnation: Incarnation(5),
    };
    let at = Timestamp::from_ms(0);
    let states = [
        (State::Scheduled { due: at }, "due"),
        (State::Blocked { by }, "blocked_by"),
        (State::Leased { token }, "lease"),
        (
            State::Held {
                label: "audit".parse().unwrap(),
            },
            "label",
        ),
        (
            State::Completed {
                how: Completion::Cancelled,
            },
            "completion",
        ),
        (State::Superseded { by }, "superseded_by"),
    ];
    for (state, field) in states {
        let view = MessageView { state, ..dead() };
        let json = serde_json::to_value(MessageJson::from(&view)).unwrap();
        assert!(json.get(field).is_some(), "{field}");
        assert!(json.get("reason").is_none(), "{field}");
        assert_eq!(json["state"], view.state.kind().as_str());
    }
}

#[test]
fn payloads_that_are_not_json_are_text_or_hex() {
    let shown = |content_type, bytes: &[u8]| Payload::shown(content_type, bytes);
    assert_eq!(shown(ContentType::Binary, b"7").text.unwrap(), "7");
    assert_eq!(
        shown(ContentType::Json, b"{broken").text.unwrap(),
        "{broken"
    );
    assert_eq!(shown(ContentType::Binary, b"\xff\x00").hex.unwrap(), "ff00");
}

/// A message with everything that can be said.
fn full() -> NewMessage {
    let mut message = NewMessage::new("q".parse().unwrap(), "k".parse().unwrap(), "1".into());
    message.envelope.version = 3;
    message.envelope.headers = vec![("a".to_owned(), "b".to_owned())];
    message.envelope.idempotency_key = Some(Key::new("\u{e4}").unwrap());
    message.envelope.dedup_key = Some(Key::new("d").unwrap());
    message.envelope.ordering_key = Some(Key::new("o").unwrap());
    message.dedup = Some(DedupPolicy::RunOnceMore);
    message.priority = Priority::new(9).unwrap();
    message.due = Due::After(Duration::from_millis(1_500));
    message.failures_max = Some(7);
    message.expires_in = Some(Duration::from_secs(60));
    message.retain = Some(Duration::from_secs(61));
    message.hold = Some("audit".parse().unwrap());
    message.halt_on_dead = true;
    message
}

fn through_a_line(message: &NewMessage) -> NewMessage {
    let line = serde_json::to_string(&EnqueueCall::from(message)).unwrap();
    assert!(!line.contains('\n'));
    let call: EnqueueCall = serde_json::from_str(&line).unwrap();
    call.message().unwrap()
}

#[test]
fn a_message_that_crosses_the_wire_is_the_same_message() {
    let message = full();
    assert_eq!(
        format!("{:?}", through_a_line(&message)),
        format!("{message:?}")
    );
    let at = NewMessage {
        due: Due::At(Timestamp::from_ms(1_234_567_890_123)),
        ..full()
    };
    assert_eq!(through_a_line(&at).due, at.due);
}

#[test]
fn every_payload_crosses_the_wire_byte_for_byte() {
    let payloads: [&[u8]; 8] = [
        b"",
        b"{\"n\": 1e400}",
        b" 1 ",
        b"{\n}",
        b"\xff\x00",
        b"\x00\x01\x02\n",
        "\u{2028}\u{1f642}".as_bytes(),
        b"{broken",
    ];
    for content_type in [ContentType::Json, ContentType::Text, ContentType::Binary] {
        for bytes in payloads {
            let mut message = full();
            message.envelope.payload = Bytes::from_static(bytes);
            message.envelope.content_type = content_type;
            let read = through_a_line(&message).envelope;
            assert_eq!(
                (read.payload, read.content_type),
                (message.envelope.payload, content_type)
            );
        }
    }
}

#[test]
fn a_payload_of_control_characters_grows_at_most_twofold() {
    let mut message = full();
    message.envelope.payload = Bytes::from(vec![1; 10_000]);
    let line = serde_json::to_string(&EnqueueCall::from(&message)).unwrap();
    assert!(line.len() < 21_000, "{}", line.len());
}

#[test]
fn what_has_no_such_value_names_its_field() {
    let filter = |json: &str| serde_json::from_str::<Filter>(json).unwrap().check();
    let state = CallError::from(filter(r#"{"state":"running"}"#).unwrap_err());
    assert!(
        state.code == "filter" && state.message.contains("leased"),
        "{state}"
    );
    assert!(serde_json::from_str::<Filter>(r#"{"quue":"q"}"#).is_err());
    assert_eq!(id("7").unwrap_err().code, "bad_value");
    assert_eq!(
        after(Some("-1"), StoreTag::new(3)).unwrap_err().code,
        "bad_value"
    );
    assert_eq!(due(Some(1), Some("x")).unwrap_err().code, "bad_value");
    assert_eq!(due(None, Some("x")).unwrap_err().code, "bad_value");
    assert_eq!(bytes_of("payload_hex", "f").unwrap_err().code, "bad_value");
}
