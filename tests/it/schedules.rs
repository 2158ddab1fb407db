//! Schedules that cannot be: each with what is wrong and what to do; and a due schedule that reaches its handler.

use bytes::Bytes;
use mq::prelude::*;
use mq::{
    Dedup, Missed, NewMessage, Outgoing, Put, Schedule, ScheduleError, Timestamp, When, days,
    hours, millis,
};
use mq_testing::Harness;

#[derive(Clone, Serialize, Deserialize, Message)]
#[message(kind = "report")]
struct Report {
    number: u32,
}

const REPORT: Report = Report { number: 1 };

async fn refusal(engine: &Engine, name: &str, schedule: Schedule) -> (&'static str, String) {
    let error = engine.schedules().put(name, schedule).await.unwrap_err();
    assert!(engine.schedules().list().await.unwrap().is_empty());
    (error.code(), error.to_string())
}

#[tokio::test]
async fn a_schedule_that_cannot_be_is_refused_and_says_what_to_do() {
    let engine = Engine::in_memory().open().await.unwrap();
    let report = || Outgoing::new(&REPORT);
    let hourly = || Schedule::cron("@hourly");
    let cases = [
        ("bad name", hourly().message(REPORT), "name", "A-Z"),
        (
            "a",
            Schedule::cron("61 * * * *").message(REPORT),
            "expression",
            "0 9 * * MON-FRI",
        ),
        (
            "a",
            Schedule::cron("0 0 30 2 *").message(REPORT),
            "never",
            "day and month",
        ),
        (
            "a",
            hourly().zone("Europe/Atlantis").message(REPORT),
            "zone",
            "Europe/Berlin",
        ),
        (
            "a",
            Schedule::every(hours(1)).zone("UTC").message(REPORT),
            "zone",
            "leave it out",
        ),
        (
            "a",
            Schedule::every(millis(10)).message(REPORT),
            "interval",
            "1 s",
        ),
        (
            "a",
            Schedule::every(days(40_000)).message(REPORT),
            "interval",
            "1 s",
        ),
        ("a", hourly(), "no_message", ".message("),
        (
            "a",
            hourly().message(report().priority(10)),
            "priority",
            "0 to 9",
        ),
        (
            "a",
            hourly().message(report().idempotency_key("k")),
            "option",
            "dedup key",
        ),
        (
            "a",
            hourly().message(report().at(Timestamp::from_ms(1))),
            "option",
            "delay",
        ),
        (
            "a",
            hourly().message(report().header("mq-schedule", "x")),
            "option",
            "mq-schedule",
        ),
        (
            "a",
            hourly().message(report().header("h", "v".repeat(16_350))),
            "invalid",
            "payload",
        ),
        (
            "a",
            hourly().message(report().max_attempts(2_000)),
            "invalid",
            "1000",
        ),
    ];
    for (name, schedule, code, advice) in cases {
        let (found, text) = refusal(&engine, name, schedule).await;
        assert_eq!(found, code, "{text}");
        assert!(text.contains(advice), "{text}");
    }
    let payload = Bytes::from(vec![b'x'; 70_000]);
    let large = NewMessage::new("q".parse().unwrap(), "k".parse().unwrap(), payload);
    let (code, text) = refusal(&engine, "a", hourly().message(large)).await;
    assert_eq!(code, "too_large", "{text}");
}

#[tokio::test]
async fn an_unknown_schedule_is_an_error_that_names_it() {
    let engine = Engine::in_memory().open().await.unwrap();
    let schedules = engine.schedules();
    let errors = [
        schedules.pause("x").await.unwrap_err(),
        schedules.resume("x").await.unwrap_err(),
        schedules.remove("x").await.unwrap_err(),
        schedules.run_now("x").await.unwrap_err(),
        schedules.next_fires("x", 1).await.unwrap_err(),
    ];
    for error in errors {
        assert!(
            matches!(&error, ScheduleError::Unknown { name } if name.as_str() == "x"),
            "{error:?}"
        );
    }
    assert!(schedules.get("x").await.unwrap().is_none());
    assert_eq!(schedules.get("no name").await.unwrap_err().code(), "name");
}

#[tokio::test]
async fn a_schedule_is_shown_as_it_was_put() {
    let engine = Engine::in_memory().open().await.unwrap();
    let schedules = engine.schedules();
    let report = Outgoing::new(&REPORT).priority(7).dedup(Dedup::keep("r"));
    let nightly = Schedule::cron("0 3 * * *")
        .zone("Asia/Tokyo")
        .missed(Missed::Skip);
    let put = schedules
        .put("nightly", nightly.message(report))
        .await
        .unwrap();
    assert_eq!(put, Put::Created);
    let view = schedules.get("nightly").await.unwrap().unwrap();
    let schedule = view.schedule.unwrap();
    let when = When::Cron {
        expression: "0 3 * * *".to_owned(),
        zone: "Asia/Tokyo".to_owned(),
    };
    assert_eq!(schedule.when(), &when);
    assert_eq!(schedule.missed_policy(), Missed::Skip);
    let message = schedule.new_message().unwrap();
    assert_eq!(
        (message.kind.as_str(), message.priority.get()),
        ("report", 7)
    );
    let next = view.next.unwrap().as_ms();
    assert_eq!(next % 86_400_000, 18 * 3_600_000, "three o'clock in Tokyo");
    let previewed = schedules.next_fires("nightly", 3).await.unwrap();
    assert_eq!(previewed[0].as_ms(), next);
    assert_eq!(
        schedule
            .next_fires(3, Timestamp::from_ms(next - 1))
            .unwrap(),
        previewed
    );
}

#[tokio::test]
async fn a_run_by_hand_reaches_its_handler() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let engine = Engine::in_memory().open().await.unwrap();
    let handler = move |report: Report, headers: mq::Headers| {
        let sender = sender.clone();
        async move {
            let name = headers.get(mq::SCHEDULE_HEADER).map(ToOwned::to_owned);
            drop(sender.send((report.number, name)));
            Outcome::Ok(())
        }
    };
    let workers = engine.workers().handle(handler).start().unwrap();
    let by_hand = Schedule::by_hand().message(REPORT);
    engine.schedules().put("report", by_hand).await.unwrap();
    let sent = engine.schedules().run_now("report").await.unwrap();
    assert_eq!(sent.enqueue, mq::Enqueue::New);
    let (number, name) = receiver.recv().await.unwrap();
    assert_eq!((number, name.as_deref()), (1, Some("report")));
    workers.stop(secs(5)).await;
    engine.close().await.unwrap();
    let error = engine.schedules().list().await.unwrap_err();
    assert!(matches!(error, mq::Stopped::Closed), "{error}");
}

async fn report(_: Report) -> Outcome {
    Ok(())
}

#[mq_testing::test]
async fn a_test_of_a_user_sees_each_run_over_days_and_crashes() {
    let t = Harness::new().handle(report);
    let nightly = Schedule::cron("0 3 * * *").zone("Europe/Berlin");
    let schedules = t.engine().schedules();
    schedules
        .put("nightly", nightly.message(REPORT))
        .await
        .unwrap();
    t.advance(hours(24)).await;
    t.assert_enqueued::<Report>(|report| report.number == 1)
        .once();
    assert_eq!(t.run_until_empty().await.len(), 1);
    let t = t.crash().await;
    t.advance(hours(24)).await;
    assert_eq!(t.run_until_empty().await.len(), 1);
    let view = t.engine().schedules().get("nightly").await.unwrap();
    let view = view.unwrap();
    assert_eq!((view.runs, view.skipped, view.trouble), (2, 0, None));
}
