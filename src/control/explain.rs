//! Why a message is not running, in one sentence: the engine's reason, with what a person needs to act on it.
//!
//! What a producer wrote stands in it as it is: whoever prints it on a terminal escapes it.

use mq_core::manager::Explanation;
use mq_core::state::DeadReason;
use mq_core::view::MessageView;

use super::text::moment;

/// The sentence about `view`, which the engine gave `reason` for.
pub(super) fn sentence(reason: &Explanation, view: &MessageView) -> String {
    match reason {
        Explanation::Scheduled { due } => scheduled(view, &moment(*due)),
        Explanation::NoPool { queue, kind } if view.suspect => format!(
            "ready: it was running when the process died and will run alone among such messages; it waits for a worker \
             that takes kind {kind} from queue {queue}"
        ),
        Explanation::NoPool { queue, kind } => {
            format!("ready: it waits for a worker that takes kind {kind} from queue {queue}")
        }
        Explanation::QueuePaused { queue } => {
            format!("ready, but queue {queue} is paused; resume it with: mq queue resume {queue}")
        }
        Explanation::Dead { reason } => dead(view, *reason),
        Explanation::NeverIssued
        | Explanation::NotKept
        | Explanation::Running { .. }
        | Explanation::Completed { .. }
        | Explanation::Superseded { .. }
        | Explanation::Held { .. }
        | Explanation::Blocked { .. }
        | Explanation::SuspectWaits { .. }
        | Explanation::NoPermit { .. }
        | Explanation::InLine => reason.to_string(),
    }
}

fn scheduled(view: &MessageView, due: &str) -> String {
    let last = view.tail.history.last();
    match last.and_then(|attempt| attempt.failure.as_ref()) {
        Some(failure) => format!(
            "in back-off until {due}, after {} failures; the last: {}",
            view.tail.failures, failure.text
        ),
        None => format!("scheduled: not before {due}"),
    }
}

fn dead(view: &MessageView, reason: DeadReason) -> String {
    let why = match reason {
        DeadReason::BudgetSpent => format!("it failed {} times", view.tail.failures),
        DeadReason::DeadLettered => "its handler gave it up".to_owned(),
        DeadReason::Undecodable => "its payload could not be decoded".to_owned(),
        DeadReason::Crashed => format!("it took the process down {} times", view.tail.crashes),
        DeadReason::Expired => "it did not start within its time to live".to_owned(),
    };
    format!("dead: {why}; bring it back with: mq dlq replay {}", view.id)
}

#[cfg(test)]
mod tests {
    use mq_core::id::{MessageId, Seq, StoreTag};
    use mq_core::message::Priority;
    use mq_core::state::{Attempt, Failure, Outcome, State, Tail};
    use mq_core::time::Timestamp;

    use super::*;

    fn failed(text: &str) -> MessageView {
        MessageView {
            id: MessageId::new(1_000, Seq::new(7).unwrap(), StoreTag::new(3)),
            queue: "mail".parse().unwrap(),
            kind: "email.welcome".parse().unwrap(),
            priority: Priority::DEFAULT,
            state: State::Ready,
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
                        text: text.to_owned(),
                    }),
                }],
                ..Tail::default()
            },
        }
    }

    #[test]
    fn a_message_in_back_off_says_until_when_and_why() {
        let reason = Explanation::Scheduled {
            due: Timestamp::from_ms(60_000),
        };
        let text = sentence(&reason, &failed("card declined"));
        assert!(
            text.contains("1970-01-01T00:01:00") && text.contains("20 failures"),
            "{text}"
        );
        assert!(text.contains("card declined"), "{text}");
    }

    #[test]
    fn a_ready_message_of_a_paused_queue_names_the_way_out() {
        let queue = "mail".parse().unwrap();
        let text = sentence(&Explanation::QueuePaused { queue }, &failed("x"));
        assert!(text.ends_with("mq queue resume mail"), "{text}");
    }

    #[test]
    fn a_dead_message_names_its_reason_and_the_way_back() {
        let view = failed("x");
        let reason = Explanation::Dead {
            reason: DeadReason::BudgetSpent,
        };
        let text = sentence(&reason, &view);
        assert!(
            text.starts_with("dead: it failed 20 times") && text.contains(&view.id.to_string()),
            "{text}"
        );
    }
}
