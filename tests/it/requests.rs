//! What a producer can say, and what it gets back.

use mq::prelude::*;
use mq::{Durability, EnqueueError, Limit, Outgoing, TryEnqueueError};

#[derive(Debug, PartialEq, Serialize, Deserialize, Message)]
#[message(kind = "charge", queue = "money", priority_with = Charge::urgency)]
struct Charge {
    cents: u64,
}

impl Charge {
    fn urgency(&self) -> u8 {
        if self.cents > 1_000 { 9 } else { 2 }
    }
}

fn full() -> Engine {
    let builder = Engine::in_memory().capacity(Limit::messages(64));
    let engine = builder.open_wait().unwrap();
    let batch = engine.batch().extend((0..64).map(|cents| Charge { cents }));
    assert_eq!(batch.len(), 64);
    assert!(batch.wait().unwrap().iter().all(mq::Receipt::is_new));
    engine
}

#[test]
fn try_enqueue_gives_the_typed_message_back_when_the_store_is_full() {
    let engine = full();
    let refused = engine.try_enqueue(Charge { cents: 7 }).priority(3).wait();
    let Err(TryEnqueueError::Full {
        used: 64,
        limit: 64,
        unit: "messages",
        message,
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(message, Charge { cents: 7 });
    let refused = engine.try_enqueue(Charge { cents: 7 }).queue("").wait();
    assert_eq!(refused.unwrap_err().code(), "name");
    let as_any: mq::Error = engine.try_enqueue(message).wait().unwrap_err().into();
    assert!(matches!(
        as_any,
        mq::Error::Enqueue(EnqueueError::Full { messages, .. }) if messages.len() == 1
    ));
}

#[test]
fn a_batch_can_refuse_instead_of_waiting_and_gives_everything_back() {
    let engine = full();
    let batch = engine
        .batch()
        .push(Charge { cents: 1 })
        .push(Charge { cents: 2 });
    let refused = batch.refuse_when_full().wait().unwrap_err();
    assert!(
        matches!(&refused, EnqueueError::Full { messages, .. } if messages.len() == 2),
        "{refused:?}"
    );
}

#[test]
fn what_is_refused_comes_back_as_it_was_given() {
    let engine = full();
    let id = |number| {
        let seq = mq_core::id::Seq::new(number)?;
        let tag = mq_core::id::StoreTag::new(1);
        Some(mq_core::id::MessageId::new(1, seq, tag))
    };
    let key = |text: &'static str| mq_core::key::Key::new(text).ok();
    let message = mq::NewMessage {
        envelope: mq_core::message::Envelope {
            version: 7,
            content_type: mq_core::message::ContentType::Binary,
            payload: vec![0, 255, 7].into(),
            headers: vec![
                ("a".to_owned(), "1".to_owned()),
                ("a".to_owned(), String::new()),
            ],
            idempotency_key: key("once"),
            dedup_key: key("one"),
            ordering_key: key("in line"),
            correlation: id(5),
            cause: id(6),
        },
        priority: mq_core::message::Priority::new(9).unwrap(),
        due: mq_core::message::Due::After(secs(5)),
        expires_in: Some(secs(6)),
        hold: Some("aside".parse().unwrap()),
        dedup: Some(mq_core::key::DedupPolicy::Keep),
        halt_on_dead: true,
        failures_max: Some(3),
        retain: Some(secs(7)),
        awaited: true,
        ..mq::NewMessage::new(
            "money".parse().unwrap(),
            "charge".parse().unwrap(),
            Vec::new().into(),
        )
    };
    let batch = engine.batch().push_raw(message.clone());
    let refused = batch.refuse_when_full().wait();
    let Err(EnqueueError::Full { messages, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(format!("{messages:?}"), format!("{:?}", vec![message]));
}

#[test]
fn a_batch_takes_messages_with_options_of_their_own() {
    let engine = Engine::in_memory().open_wait().unwrap();
    let receipts = engine
        .batch()
        .push(Charge { cents: 1 })
        .push(Outgoing::new(&Charge { cents: 2 }).delay(secs(60)))
        .push_request(engine.enqueue(Charge { cents: 3 }).hold("aside"))
        .durability(Durability::Buffered)
        .wait()
        .unwrap();
    assert_eq!(receipts.len(), 3);
    let stats = engine.stats();
    let (_, queue) = &stats.queues[0];
    assert_eq!(queue.by_state, [1, 1, 0, 0, 1, 0, 0, 0]);
    assert!(engine.batch().is_empty());
    assert_eq!(engine.batch().wait().unwrap().len(), 0);
    let bad = engine
        .batch()
        .push(Outgoing::new(&Charge { cents: 1 }).priority(10));
    assert_eq!(bad.wait().unwrap_err().code(), "priority");
    assert_eq!(engine.stats().enqueued, 3, "all or none");
}

#[tokio::test]
async fn the_content_of_a_message_says_how_urgent_it_is_unless_the_producer_does() {
    let engine = Engine::in_memory().open().await.unwrap();
    let small = engine.enqueue(Charge { cents: 1 }).await.unwrap().id();
    let large = engine.enqueue(Charge { cents: 5_000 }).await.unwrap().id();
    let told = engine.enqueue(Charge { cents: 5_000 }).priority(0).await;
    for (id, priority) in [(small, 2), (large, 9), (told.unwrap().id(), 0)] {
        let mq::Lookup::Found(view) = engine.message(id).await.unwrap() else {
            panic!("it waits")
        };
        assert_eq!(view.priority.get(), priority);
    }
}

/// It joined a line that was there, so that nobody had planned it before.
#[tokio::test]
async fn a_batch_that_never_fits_is_refused_at_the_head_of_its_line_and_holds_up_nobody() {
    let engine = Engine::in_memory().open().await.unwrap();
    engine
        .admin()
        .queue("money")
        .limit_messages(2)
        .await
        .unwrap();
    let charge = |cents| engine.enqueue(Charge { cents });
    let there = [charge(1).await.unwrap(), charge(2).await.unwrap()];
    let first = charge(3).submit().unwrap();
    let batch = engine.batch().push(Charge { cents: 4 });
    let batch = batch.push(Charge { cents: 5 }).push(Charge { cents: 6 });
    let never = batch.submit().unwrap();
    let last = charge(7).submit().unwrap();
    for receipt in there {
        engine.cancel(receipt.accepted.id).await.unwrap();
    }
    engine.sync().await.unwrap();
    assert!(first.is_done() && last.is_done(), "there was room for two");
    first.await.unwrap();
    never.await.unwrap_err();
    last.await.unwrap();
}

/// What a batch adds for certain is what it waits for, and that of keys is not.
#[tokio::test]
async fn a_waiting_batch_is_let_in_when_one_of_its_keys_stands_for_what_is_there() {
    let engine = Engine::in_memory().open().await.unwrap();
    let queue = engine.admin().queue("money");
    queue.limit_messages(2).await.unwrap();
    let both = engine.batch().push(Charge { cents: 1 });
    let others = both.push(Charge { cents: 2 }).await.unwrap();
    let charge = |cents| engine.enqueue(Charge { cents });
    let batch = engine.batch();
    let batch = batch.push_request(charge(3).idempotency_key("three"));
    let batch = batch.push_request(charge(4).idempotency_key("four"));
    let waiting = batch.submit().unwrap();
    engine.sync().await.unwrap();
    engine.cancel(others[0].accepted.id).await.unwrap();
    assert!(!waiting.is_done(), "there is room for one");
    let impatient = engine.try_enqueue(Charge { cents: 3 });
    let three = impatient.idempotency_key("three").await.unwrap();
    assert!(three.is_new());
    engine.cancel(others[1].accepted.id).await.unwrap();
    engine.sync().await.unwrap();
    assert!(waiting.is_done());
    let receipts = waiting.await.unwrap();
    let are_new: Vec<bool> = receipts.iter().map(mq::Receipt::is_new).collect();
    assert_eq!(are_new, [false, true]);
}
