//! Schedules that another version wrote.

use std::sync::Arc;

use bytes::Bytes;
use mq_core::schedule::{Existing, PutSchedule};

use super::{Known, guarded};
use crate::Engine;
use crate::schedules::{Schedule, ScheduleView};

/// Stores a schedule that has been due since 1970, as bytes that this version may not understand.
fn store(engine: &Engine, name: &str, timing: &'static str, template: Bytes) {
    let put = PutSchedule {
        name: name.parse().unwrap(),
        timing: Bytes::from_static(timing.as_bytes()),
        template,
        next: Some(mq_core::time::Timestamp::from_ms(1)),
        existing: Existing::Replace,
    };
    let shell = engine.owner.backend.shell();
    let stored = shell.look(|desk, now| desk.put_schedule(now, &put));
    stored.unwrap();
    shell.call();
}

async fn view(engine: &Engine, name: &str) -> ScheduleView {
    let schedules = engine.schedules();
    schedules.get(name).await.unwrap().unwrap()
}

#[tokio::test]
async fn one_that_cannot_be_read_is_shown_put_off_and_stops_no_other() {
    let engine = Engine::in_memory().open().await.unwrap();
    let message = crate::NewMessage::new("q".parse().unwrap(), "k".parse().unwrap(), "{}".into());
    let good = Schedule::every(crate::secs(3_600)).message(message);
    engine.schedules().put("good", good).await.unwrap();
    let template = engine.owner.backend.shell().look(|desk, _| {
        let good = desk.manager.schedule(&"good".parse().unwrap());
        good.unwrap().template.clone()
    });
    store(&engine, "lunar", "{\"lunar\":1}", template.clone());
    let mars = "{\"cron\":{\"expression\":\"@daily\",\"zone\":\"Mars/Olympus\"}}";
    store(&engine, "mars", mars, template.clone());
    store(&engine, "due", "{\"every_ms\":3600000}", template);
    while view(&engine, "due").await.runs == 0 {
        tokio::task::yield_now().await; // each look is a round of the engine
    }
    for (name, reason) in [("lunar", "lunar"), ("mars", "Mars/Olympus")] {
        let view = view(&engine, name).await;
        assert!(view.trouble.unwrap().contains(reason));
        assert_eq!((view.refusals, view.runs), (1, 0), "{name} is put off");
        let next = engine.schedules().next_fires(name, 1).await.unwrap_err();
        assert_eq!(next.code(), "unreadable_schedule");
    }
    assert_eq!(engine.stats().store.live_messages, 1);
}

#[tokio::test]
async fn one_whose_calendar_makes_a_library_panic_stops_nothing() {
    let engine = Engine::in_memory().open().await.unwrap();
    let message = crate::NewMessage::new("q".parse().unwrap(), "k".parse().unwrap(), "{}".into());
    let good = Schedule::every(crate::secs(3_600)).message(message);
    engine.schedules().put("good", good).await.unwrap();
    let kept = engine.owner.backend.shell().look(|desk, _| {
        let kept = desk.manager.schedule(&"good".parse().unwrap());
        Arc::clone(kept.unwrap())
    });
    let known = Known::by(&kept, |_| unreachable!("a bug in a library"));
    assert!(known.plan.unwrap_err().contains("a bug"));
    let refused = guarded("searched", || unreachable!("another")).map(drop);
    assert!(refused.unwrap_err().contains("cannot be searched"));
    assert!(Known::new(&kept).plan.is_ok());
}
