//! Sentences about messages that are in the way of being run.

use mq_core::id::{Seq, StoreTag};
use mq_core::message::Priority;
use mq_core::state::{Attempt, Outcome};
use mq_core::time::Timestamp;
use mq_core::view::StateKind;

use super::*;

fn id(seq: u64) -> MessageId {
    MessageId::new(1_000, Seq::new(seq).unwrap(), StoreTag::new(3))
}

fn view(seq: u64, state: State) -> MessageView {
    MessageView {
        id: id(seq),
        queue: "mail".parse().unwrap(),
        kind: "email.welcome".parse().unwrap(),
        priority: Priority::DEFAULT,
        state,
        enqueued: Timestamp::from_ms(1_000),
        died: None,
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
                    text: "card declined".to_owned(),
                }),
            }],
            ..Tail::default()
        },
    }
}

fn sentence(reason: Explanation) -> String {
    let explained = Explained {
        id: id(7),
        reason,
        message: Some(view(7, State::Ready)),
        held_up_by: None,
        key: None,
        store: Some("/my data".into()),
    };
    explained.to_string()
}

/// The sentence about a message behind one in `state`.
fn behind(state: State) -> String {
    let explained = Explained {
        id: id(7),
        reason: Explanation::Blocked {
            by: id(6),
            state: StateKind::Scheduled,
        },
        message: Some(view(7, State::Blocked { by: id(6) })),
        held_up_by: Some(view(6, state)),
        key: Some(SharedKey::Ordering(Key::new("customer-3").unwrap())),
        store: Some("/my data".into()),
    };
    explained.to_string()
}

#[test]
fn a_message_in_back_off_says_until_when_and_why() {
    let text = sentence(Explanation::Scheduled {
        due: Timestamp::from_ms(60_000),
    });
    for part in [
        "1970-01-01T00:01:00",
        "20 failures",
        "card declined",
        "mq messages run-now --data '/my data'",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_ready_message_of_a_paused_queue_names_the_way_out() {
    let queue = "mail".parse().unwrap();
    let text = sentence(Explanation::QueuePaused { queue });
    assert!(
        text.ends_with("mq queue resume --data '/my data' mail"),
        "{text}"
    );
}

#[test]
fn a_dead_message_names_its_reason_and_the_way_back() {
    let text = sentence(Explanation::Dead {
        reason: DeadReason::BudgetSpent,
    });
    assert!(text.starts_with("dead: it failed 20 times"), "{text}");
    assert!(
        text.ends_with(&format!("mq dlq replay --data '/my data' {}", id(7))),
        "{text}"
    );
}

#[test]
fn a_blocked_message_names_the_key_who_holds_it_until_when_and_the_way_out() {
    let by = id(6);
    let due = Timestamp::from_ms(60_000);
    let text = behind(State::Scheduled { due });
    let expected = format!(
        "blocked: ordering key customer-3 is held by {by} of kind email.welcome, which is in back-off until \
         1970-01-01T00:01:00.000Z (card declined); to go on now: mq messages run-now --data '/my data' {by}"
    );
    assert_eq!(text, expected);
    let label = "audit".parse().unwrap();
    assert!(
        behind(State::Held { label })
            .ends_with(&format!("mq messages release --data '/my data' {by}"))
    );
    let reason = DeadReason::Crashed;
    let dead = behind(State::Dead { reason });
    assert!(
        dead.contains("dead (crashed)")
            && dead.contains(&format!("mq dlq purge --data '/my data' {by}")),
        "{dead}"
    );
    assert!(behind(State::Ready).ends_with("ready and comes first"));
}
