//! The log: what happens to a message is a line with its fields, and its payload is in none.

use bytes::Bytes;
use mq::prelude::*;
use mq::{Dedup, NewMessage};
use mq_testing::logs::{Line, Logs};

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "logged", queue = "logged")]
struct Logged {
    secret: String,
}

async fn fails_once(message: Logged, Attempt(attempt): Attempt) -> Outcome {
    assert!(message.secret.starts_with("4711"));
    match attempt {
        1 => Err(Fail::retry_in(std::time::Duration::ZERO, "declined").error_type("Declined")),
        _ => Ok(()),
    }
}

fn of(lines: &[Line], target: &str) -> Vec<(&'static str, String)> {
    let of_target = lines.iter().filter(|line| line.target == target);
    of_target
        .map(|line| {
            let level = line.level.as_str();
            let [attempt, outcome] = ["attempt", "outcome"].map(|it| line.field(it).to_owned());
            (line.name, format!("{level} {attempt} {outcome}"))
        })
        .collect()
}

#[tokio::test]
async fn what_happens_to_a_message_is_logged_with_its_fields_and_never_its_payload() {
    let logs = Logs::listen();
    let engine = Engine::in_memory().open().await.unwrap();
    let message = || Logged {
        secret: "4711".to_owned(),
    };
    let first = engine.enqueue(message()).dedup(Dedup::keep("one"));
    let id = first.await.unwrap().accepted.id;
    let again = engine.enqueue(message()).dedup(Dedup::keep("one"));
    assert_eq!(again.await.unwrap().accepted.id, id);
    let workers = engine.workers().handle(fails_once).start().unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(secs(5)).await;
    let lines = logs.with("message_id", &id.to_string());
    let expected = [
        ("mq.message.enqueued", "DEBUG 1 "),
        ("mq.message.deduplicated", "DEBUG 1 "),
        ("mq.message.checked_out", "DEBUG 1 "),
        ("mq.message.requeued", "WARN 1 failed"),
        ("mq.message.checked_out", "DEBUG 2 "),
        ("mq.message.acked", "DEBUG 2 succeeded"),
    ];
    let expected = expected.map(|(name, rest)| (name, rest.to_owned()));
    assert_eq!(of(&lines, "mq::message"), expected);
    let names: Vec<_> = of(&lines, "mq::attempt")
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert!(names.contains(&"mq.handler.started") && names.contains(&"mq.handler.failed"));
    assert!(names.contains(&"mq.handler.completed"));
    for line in &lines {
        assert_eq!(
            (line.field("queue"), line.field("kind")),
            ("logged", "logged")
        );
        assert!(!format!("{line:?}").contains("4711"), "{line:?}");
    }
}

#[tokio::test]
async fn a_dead_letter_is_an_error_in_the_log() {
    let logs = Logs::listen();
    let engine = Engine::in_memory().open().await.unwrap();
    let (queue, kind) = ("logged.dead".parse().unwrap(), "logged".parse().unwrap());
    let broken = NewMessage::new(queue, kind, Bytes::from_static(b"4711"));
    engine.enqueue_raw(broken).await.unwrap();
    let workers = engine.workers().handle(fails_once).start().unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(secs(5)).await;
    let lines = logs.with("queue", "logged.dead");
    let dead = lines
        .iter()
        .find(|line| line.name == "mq.message.dead")
        .unwrap();
    assert_eq!(dead.level.as_str(), "ERROR");
    assert_eq!(dead.field("outcome"), "undecodable");
    let failed = lines
        .iter()
        .find(|line| line.name == "mq.handler.failed")
        .unwrap();
    assert_eq!(failed.field("error_type"), "decode");
}

#[test]
fn the_document_lists_every_name() {
    use mq_core::telemetry::{attempt, message, store};
    let document = include_str!("../../docs/observability.md");
    let names = message::ALL.iter().chain(&attempt::ALL).chain(&store::ALL);
    for name in names {
        let short = name.strip_prefix("mq.message.").unwrap_or(name);
        assert!(
            document.contains(&format!("`{short}`")) || document.contains(&format!("`{name}`")),
            "{name}"
        );
    }
    for check in mq::HealthCheck::ALL {
        assert!(
            document.contains(&format!("| `{}` |", check.as_str())),
            "{check:?}"
        );
    }
}
