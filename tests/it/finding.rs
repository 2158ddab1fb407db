//! Finding messages: by facts, by key, by fields of their payloads, page by page.

use std::time::Duration;

use mq::prelude::*;
use mq::{Cursor, Fail, Filter, FindError, Label, MessageId, NewMessage, StateKind, Timestamp};

fn message(queue: &str, payload: &str) -> NewMessage {
    NewMessage::new(
        queue.parse().unwrap(),
        "charge".parse().unwrap(),
        payload.to_owned().into(),
    )
}

async fn enqueue(engine: &Engine, message: NewMessage) -> MessageId {
    engine.enqueue_raw(message).await.unwrap().accepted.id
}

async fn ids(engine: &Engine, filter: Filter) -> Vec<MessageId> {
    let (mut ids, mut cursor) = (Vec::new(), Some(Cursor::START));
    while let Some(from) = cursor {
        let page = engine.messages(filter.clone()).page(from, 2).await.unwrap();
        assert!(page.messages.len() <= 2 && page.unreadable.is_empty());
        ids.extend(page.messages.iter().map(|view| view.id));
        cursor = page.next;
    }
    ids
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "charge", queue = "cards")]
struct Charge {
    order: Order,
}

#[derive(Serialize, Deserialize)]
struct Order {
    cents: u64,
}

async fn decline(_: Charge) -> Outcome {
    Err(Fail::dead_letter(Declined))
}

#[derive(Debug)]
struct Declined;

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("card declined")
    }
}

impl std::error::Error for Declined {}

/// A store with messages live, held, dead and retained, of 1, 2, … hundred cents.
async fn store() -> (Engine, Vec<MessageId>) {
    let engine = Engine::in_memory().open().await.unwrap();
    let payload = |cents: u64| format!("{{\"order\": {{\"cents\": {cents}}}}}");
    let mut all = Vec::new();
    let workers = engine.workers().handle(decline).start().unwrap();
    all.push(enqueue(&engine, message("cards", &payload(100))).await);
    engine.run_until_empty().await.unwrap();
    workers.stop(Duration::from_secs(5)).await;
    all.push(enqueue(&engine, message("cards", &payload(200))).await);
    let held = NewMessage {
        hold: Some(Label::new("review").unwrap()),
        ..message("cards", &payload(300))
    };
    all.push(enqueue(&engine, held).await);
    let retained = NewMessage {
        retain: Some(Duration::from_secs(3_600)),
        ..message("cards", &payload(400))
    };
    let retained = enqueue(&engine, retained).await;
    engine.cancel(retained).await.unwrap();
    all.push(retained);
    all.push(enqueue(&engine, message("cards", "no JSON")).await);
    (engine, all)
}

#[tokio::test]
async fn payload_fields_are_compared_over_live_held_dead_and_retained_messages() {
    let (engine, all) = store().await;
    let cents = |condition: &str| Filter::new().payload(format!("/order/cents {condition}"));
    assert_eq!(ids(&engine, cents("== 300")).await, [all[2]]);
    assert_eq!(
        ids(&engine, cents("!= 300")).await,
        [all[0], all[1], all[3]]
    );
    assert_eq!(ids(&engine, cents("< 200")).await, [all[0]]);
    assert_eq!(ids(&engine, cents("<= 200")).await, all[..2]);
    assert_eq!(ids(&engine, cents("> 100")).await, all[1..4]);
    assert_eq!(ids(&engine, cents(">= 400")).await, [all[3]]);
    let several = cents("> 100")
        .payload("/order/cents < 400")
        .state(StateKind::Held);
    assert_eq!(ids(&engine, several).await, [all[2]]);
    assert_eq!(
        engine.messages(cents("> 0")).count().await.unwrap().matched,
        4
    );
    assert_eq!(ids(&engine, Filter::new()).await, all);
}

#[tokio::test]
async fn messages_are_found_by_state_queue_kind_label_error_type_and_time() {
    let (engine, all) = store().await;
    for (filter, found) in [
        (Filter::new().state(StateKind::Dead), vec![all[0]]),
        (Filter::reason("Declined"), vec![]),
        (Filter::reason("dead_lettered"), vec![all[0]]),
        (Filter::new().state(StateKind::Completed), vec![all[3]]),
        (Filter::new().label("review"), vec![all[2]]),
        (Filter::new().live(), vec![all[1], all[2], all[4]]),
        (Filter::new().queue("other"), vec![]),
        (Filter::new().queue("cards").kind("charge"), all.clone()),
        (Filter::new().enqueued_before(Timestamp::from_ms(1)), vec![]),
        (
            Filter::new().enqueued_from(Timestamp::from_ms(1)),
            all.clone(),
        ),
        (mq::older_than(mq::hours(1)), vec![]),
    ] {
        let text = format!("{filter:?}");
        let mut found_now = ids(&engine, filter).await;
        if text.contains("Declined") {
            let view = engine
                .admin()
                .dead_letters()
                .list(Filter::new())
                .await
                .unwrap();
            let error_type = &view.messages[0].tail.last_failure().unwrap().error_type;
            found_now = ids(&engine, Filter::reason(error_type.clone())).await;
            assert_eq!(found_now, [all[0]], "{error_type}");
            continue;
        }
        assert_eq!(found_now, found, "{text}");
    }
}

#[tokio::test]
async fn a_message_is_found_by_each_of_its_keys_in_its_queue_only() {
    let engine = Engine::in_memory().open().await.unwrap();
    let charge = || Charge {
        order: Order { cents: 1 },
    };
    let first = engine.enqueue(charge()).idempotency_key("order-7");
    let first = first.ordering_key("customer-3").await.unwrap().accepted.id;
    let second = engine.enqueue(charge()).ordering_key("customer-3");
    let second = second.await.unwrap().accepted.id;
    let third = engine.enqueue(charge()).dedup(mq::Dedup::keep("sku-1"));
    let third = third.await.unwrap().accepted.id;
    let cards = || Filter::new().queue("cards");
    assert_eq!(
        ids(&engine, cards().idempotency_key("order-7")).await,
        [first]
    );
    assert_eq!(
        ids(&engine, cards().ordering_key("customer-3")).await,
        [first, second]
    );
    assert_eq!(
        ids(&engine, cards().ordering_key("customer-3").live()).await,
        [first, second]
    );
    assert_eq!(
        ids(&engine, cards().dedup_key("sku-1").live()).await,
        [third]
    );
    engine.cancel(third).await.unwrap();
    assert_eq!(ids(&engine, cards().dedup_key("sku-1")).await, []);
    let other = Filter::new().queue("other").ordering_key("customer-3");
    assert_eq!(ids(&engine, other).await, []);
}

#[tokio::test]
async fn a_filter_that_cannot_be_understood_is_an_error_and_matches_nothing_never() {
    let engine = Engine::in_memory().open().await.unwrap();
    let filter = Filter::new()
        .payload("order.cents > 1")
        .state_word("running");
    let error = engine
        .messages(filter)
        .page(Cursor::START, 10)
        .await
        .unwrap_err();
    let FindError::Filter(error) = error else {
        panic!("{error}");
    };
    assert_eq!(error.problems.len(), 2);
    engine.close().await.unwrap();
    let after = engine.messages(Filter::new()).page(Cursor::START, 10).await;
    assert!(matches!(after, Err(FindError::Stopped(_))));
}

#[test]
fn a_cursor_is_a_text_and_nothing_else_is_a_cursor() {
    let cursor: Cursor = "17".parse().unwrap();
    assert_eq!(cursor.to_string(), "17");
    assert_eq!("0".parse(), Ok(Cursor::START));
    for text in ["", "-1", "x", "999999999999999999"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
}
