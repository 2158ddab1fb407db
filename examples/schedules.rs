//! A message that is sent again and again, and how the night in which the clock jumps is shown beforehand.
//!
//! `cargo run --example schedules`

use std::sync::Arc;

use mq::prelude::*;
use mq::{Headers, Missed, SCHEDULED_FOR_HEADER, Schedule, Timestamp, control::moment};
use tokio::sync::Notify;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "heartbeat")]
struct Heartbeat;

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "report.nightly")]
struct NightlyReport {
    country: String,
}

async fn heartbeat(_: Heartbeat, headers: Headers, State(seen): State<Arc<Notify>>) -> Outcome {
    let due = headers.get(SCHEDULED_FOR_HEADER).unwrap_or("unknown");
    println!("a heartbeat that was due at {due}");
    seen.notify_one();
    Ok(())
}

async fn report(message: NightlyReport) -> Outcome {
    println!("the report of {}", message.country);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open("./data").await?;
    let seen = Arc::new(Notify::new());
    let workers = engine
        .workers()
        .state(Arc::clone(&seen))
        .handle(heartbeat)
        .handle(report)
        .start()?;

    let schedules = engine.schedules();
    let nightly = Schedule::cron("30 2 * * *")
        .zone("Europe/Berlin")
        .missed(Missed::Once)
        .message(NightlyReport {
            country: "Germany".to_owned(),
        });
    // 2026-03-28, 12:00 in Berlin: in the night that follows there is no half past two.
    for fire in nightly.next_fires(3, Timestamp::from_ms(1_774_695_600_000))? {
        println!("would fire at {}", moment(fire));
    }
    schedules.put("report", nightly).await?;
    schedules
        .put("heartbeat", Schedule::every(secs(1)).message(Heartbeat))
        .await?;

    seen.notified().await; // the interval came round
    schedules.run_now("report").await?; // a person did not want to wait
    for schedule in schedules.list().await? {
        println!("{}: sent {}", schedule.name, schedule.runs);
    }
    schedules.remove("heartbeat").await?;

    engine.run_until_empty().await?;
    workers.stop(secs(25)).await;
    engine.close().await?;
    Ok(())
}
