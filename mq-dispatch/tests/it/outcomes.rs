//! Each way an attempt can end leads to its one settlement.

use std::fmt;
use std::time::Duration;

use mq_core::id::MessageId;
use mq_core::state::{DeadReason, Outcome as Ended};
use mq_dispatch::{
    Fail, Illness, Message, OptionExt, Outcome, Outgoing, ResultExt, Retry, WorkersBuilder,
};

use crate::store::{Is, Store, Stored};
use crate::{Charge, Notify};

#[derive(Debug, thiserror::Error)]
#[error("declined")]
struct Declined(#[source] std::fmt::Error);

/// Runs one message through a handler that ends with `fail`.
async fn end_with(fail: fn() -> Fail) -> Stored {
    let store = Store::new();
    let handler = move |_: Charge| async move { Outcome::Err(fail()) };
    let _workers = store.workers().handle(handler).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.ended(id, 1).await
}

fn error_of(stored: &Stored) -> (Ended, String, String) {
    let (outcome, failure) = stored.ends.first().unwrap().clone();
    let failure = failure.unwrap_or_default();
    (outcome, failure.error_type, failure.text)
}

#[tokio::test(start_paused = true)]
async fn a_snooze_comes_back_later() {
    let stored = end_with(|| Fail::snooze(Duration::from_secs(60))).await;
    assert_eq!(error_of(&stored).0, Ended::Snoozed);
    assert_eq!(stored.delays, [Duration::from_secs(60)]);
    assert_eq!(stored.failures, 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_keeps_its_type_and_all_its_causes() {
    let stored = end_with(|| Declined(std::fmt::Error).into()).await;
    let (outcome, error_type, text) = error_of(&stored);
    assert_eq!(outcome, Ended::Failed);
    assert_eq!(error_type, "Declined");
    assert_eq!(text, format!("declined: {}", std::fmt::Error));
    assert_eq!(
        stored.delays,
        [Duration::from_secs(1)],
        "the default back-off"
    );
}

#[tokio::test(start_paused = true)]
async fn retry_in_beats_the_back_off_and_a_class_can_be_named() {
    let fail = || Fail::retry_in(Duration::from_secs(1800), "busy").error_type("Busy");
    let stored = end_with(fail).await;
    assert_eq!(stored.delays, [Duration::from_secs(1800)]);
    assert_eq!(error_of(&stored).1, "Busy");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_keeps_its_note() {
    let fail = || Fail::dead_letter(Declined(std::fmt::Error)).note("ask the customer");
    let stored = end_with(fail).await;
    assert_eq!(stored.is, Is::Dead(DeadReason::DeadLettered));
    assert_eq!(stored.note.as_deref(), Some("ask the customer"));
}

#[tokio::test(start_paused = true)]
async fn discard_interrupt_and_cancel_are_what_they_say() {
    assert_eq!(end_with(|| Fail::discard("gone")).await.is, Is::Discarded);
    assert_eq!(end_with(Fail::cancel).await.is, Is::Cancelled);
    let interrupted = end_with(Fail::interrupt).await;
    assert_eq!(error_of(&interrupted).0, Ended::Interrupted);
    assert_eq!(interrupted.failures, 0);
}

#[tokio::test(start_paused = true)]
async fn missing_values_end_as_they_are_told_to() {
    fn discarded() -> Outcome {
        None.or_discard()
    }
    fn dead() -> Outcome {
        Err(Declined(std::fmt::Error)).or_dead_letter()
    }
    fn also_dead() -> Outcome {
        None.or_dead_letter()
    }
    fn also_discarded() -> Outcome {
        Err(Declined(std::fmt::Error)).or_discard()
    }
    let dead_lettered = Is::Dead(DeadReason::DeadLettered);
    assert_eq!(
        end_with(|| discarded().unwrap_err()).await.is,
        Is::Discarded
    );
    assert_eq!(
        end_with(|| also_discarded().unwrap_err()).await.is,
        Is::Discarded
    );
    assert_eq!(
        end_with(|| also_dead().unwrap_err()).await.is,
        dead_lettered
    );
    let stored = end_with(|| dead().unwrap_err()).await;
    assert_eq!(error_of(&stored).1, "Declined");
}

#[tokio::test(start_paused = true)]
async fn boxed_errors_and_texts_are_errors_too() {
    async fn boxed(_charge: Charge) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("out of luck")?;
        Ok(())
    }
    let store = Store::new();
    let _workers = store.workers().handle(boxed).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    assert_eq!(error_of(&store.ended(id, 1).await).2, "out of luck");
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_with_its_text() {
    async fn charge(charge: Charge) {
        panic!("order {} is cursed", charge.order);
    }
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    let (outcome, error_type, text) = error_of(&store.ended(id, 1).await);
    assert_eq!((outcome, error_type.as_str()), (Ended::Failed, "panic"));
    assert_eq!(text, "order 7 is cursed");
    assert_eq!(workers.stats().first().unwrap().totals.panicked, 1);
}

#[tokio::test]
async fn a_panic_on_a_thread_leaves_the_thread_alive() {
    fn charge(charge: Charge) {
        assert_ne!(charge.order, 7, "order 7 is cursed");
    }
    let store = Store::new();
    let one = |h: mq_dispatch::HandlerOptions| h.parallelism(1..=1);
    let _workers = store
        .workers()
        .handle_blocking_with(charge, one)
        .start()
        .unwrap();
    let bad = store.send(&Charge { order: 7 });
    let good = store.send(&Charge { order: 8 });
    assert_eq!(error_of(&store.ended(bad, 1).await).1, "panic");
    assert_eq!(store.ended(good, 1).await.is, Is::Succeeded(None));
}

async fn nothing(_charge: Charge) -> Outcome {
    Ok(())
}

fn broken(store: &Store) -> MessageId {
    let mut message = Outgoing::new(&Charge { order: 7 }).into_message().unwrap();
    message.envelope.payload = "{\"order\":\"seven\"}".into();
    store.post(message.into())
}

#[tokio::test(start_paused = true)]
async fn an_undecodable_payload_is_dead_at_once() {
    let store = Store::new();
    let _workers = store.workers().handle(nothing).start().unwrap();
    let id = broken(&store);
    let stored = store.ended(id, 1).await;
    assert_eq!(stored.is, Is::Dead(DeadReason::Undecodable));
    let text = error_of(&stored).2;
    assert!(
        text.contains("Charge") && text.contains("invalid type"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn eleven_undecodable_payloads_in_a_row_pause_the_pool() {
    let store = Store::new();
    let one = |h: mq_dispatch::HandlerOptions| h.parallelism(1..=1);
    let workers = store.workers().handle_with(nothing, one).start().unwrap();
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(broken(&store));
    }
    store.ended(*ids.last().unwrap(), 1).await;
    assert!(workers.health().is_ok(), "ten are bad luck");
    let last = broken(&store);
    store.ended(last, 1).await;
    let kind = "charge".to_owned();
    let illnesses = workers.health().unwrap_err().illnesses;
    assert_eq!(illnesses, [Illness::Undecodable { kind }]);
    let good = store.send(&Charge { order: 1 });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(store.get(good).ends.is_empty(), "the pool is paused");
    workers.resume("charge").unwrap();
    store.ended(good, 1).await;
    assert!(workers.health().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_a_newer_program_is_held_for_that_program() {
    let store = Store::new();
    let workers = store.workers().handle(nothing).start().unwrap();
    let mut message = Outgoing::new(&Charge { order: 7 }).into_message().unwrap();
    message.envelope.version = 2;
    let id = store.post(message.into());
    let stored = store.ended(id, 1).await;
    assert_eq!(error_of(&stored).0, Ended::Snoozed);
    assert_eq!(stored.is, Is::SetAside("mq:version:2".to_owned()));
    assert_eq!(stored.failures, 0);
    assert_eq!(workers.stats().first().unwrap().totals.newer, 1);
}

#[derive(Debug, serde::Serialize, serde::Deserialize, mq_macros::Message)]
#[message(kind = "grown", version = 3, upgrade = Grown::read_old, crate = mq_dispatch)]
struct Grown {
    text: String,
}

impl Grown {
    fn read_old(from: u16, payload: &[u8]) -> Result<Self, std::str::Utf8Error> {
        let text = std::str::from_utf8(payload)?;
        Ok(Self {
            text: format!("{from}:{text}"),
        })
    }
}

#[test]
fn an_older_payload_is_upgraded_and_one_without_version_is_read_as_it_is() {
    let decode = |version, payload: &'static str| {
        let envelope = mq_core::message::Envelope {
            version,
            payload: payload.into(),
            ..Default::default()
        };
        mq_dispatch::decode::<Grown>(&envelope).map(|grown| grown.text)
    };
    assert_eq!(decode(2, "old").unwrap(), "2:old");
    assert_eq!(decode(0, "{\"text\":\"new\"}").unwrap(), "new");
    assert_eq!(decode(3, "{\"text\":\"new\"}").unwrap(), "new");
    assert!(decode(4, "{\"text\":\"new\"}").is_err());
    assert!(decode(3, "old").is_err());
}

#[tokio::test(start_paused = true)]
async fn an_ending_the_store_refuses_becomes_a_failed_attempt() {
    async fn charge(charge: Charge, ctx: mq_dispatch::Ctx) -> Outcome {
        ctx.stage(Notify {
            order: charge.order,
        })
        .await?;
        Ok(())
    }
    let store = Store::new();
    store.refuse_staged();
    let workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    let stored = store.ended(id, 1).await;
    assert_eq!(error_of(&stored).1, "settle_refused");
    assert_eq!(store.all().len(), 1, "nothing was staged");
    assert_eq!(workers.stats().first().unwrap().totals.unsettleable, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_ending_frees_its_worker_once() {
    async fn charge(charge: Charge, ctx: mq_dispatch::Ctx) -> Outcome {
        if charge.order == 1 {
            std::future::pending::<()>().await;
        }
        ctx.stage(Notify { order: 2 }).await?;
        Ok(())
    }
    let store = Store::new();
    store.refuse_staged();
    let two = |h: mq_dispatch::HandlerOptions| h.parallelism(1..=2).timeout(Duration::MAX);
    let _workers = store.workers().handle_with(charge, two).start().unwrap();
    store.send(&Charge { order: 1 });
    let refused = store.send(&Charge { order: 2 });
    store.ended(refused, 1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.permits("charge"), 1, "the other worker is busy");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stopped_makes_the_workers_unhealthy() {
    let store = Store::new();
    let workers = store.workers().handle(nothing).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.shut();
    while workers.health().is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.get(id).is, Is::Leased);
}

/// A message whose serialization fails.
struct Unwritable;

impl serde::Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no"))
    }
}

impl<'de> serde::Deserialize<'de> for Unwritable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

impl fmt::Debug for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unwritable")
    }
}

impl Message for Unwritable {
    const KIND: &'static str = "unwritable";
    type Output = ();
}

#[tokio::test(start_paused = true)]
async fn a_staged_message_that_cannot_be_written_fails_the_attempt() {
    let stored = end_with(|| Fail::discard("gone").stage(Unwritable)).await;
    let (outcome, error_type, text) = error_of(&stored);
    assert_eq!(
        (outcome, error_type.as_str()),
        (Ended::Failed, "EncodeError")
    );
    assert!(text.ends_with("cannot be written as JSON: no"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_goes_dead() {
    let store = Store::new();
    let handler = |_: Charge| async { Outcome::Err("no".into()) };
    let builder: WorkersBuilder = store.workers();
    let builder = builder.handle_with(handler, |h| h.retry(Retry::immediately().max_attempts(3)));
    let _workers = builder.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    let stored = store.ended(id, 3).await;
    assert_eq!(stored.is, Is::Dead(DeadReason::BudgetSpent));
}

#[tokio::test(start_paused = true)]
async fn retry_comes_from_the_handler_else_its_queue_else_the_program() {
    let seconds = |count| Retry::fixed(Duration::from_secs(count));
    let delay_of = async |own: Option<u64>, queue: &str| {
        let store = Store::new();
        let handler = |_: Charge| async move { Outcome::Err(Fail::retry("no")) };
        let _workers = store
            .workers()
            .defaults(|handlers| handlers.retry(seconds(10)))
            .queue("slow", |handlers| handlers.retry(seconds(20)))
            .handle_with(handler, |handler| match own {
                Some(own) => handler.retry(seconds(own)),
                None => handler,
            })
            .start()
            .unwrap();
        let id = store.post(Outgoing::new(&Charge { order: 7 }).queue(queue));
        let delays = store.ended(id, 1).await.delays;
        delays.first().copied().unwrap().as_secs()
    };
    assert_eq!(delay_of(Some(30), "slow").await, 30);
    assert_eq!(delay_of(None, "slow").await, 20);
    assert_eq!(delay_of(None, "other").await, 10);
}
