//! What a handler can be, what it can ask for, and what it is given.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use mq_core::command::Selector;
use mq_core::id::{LeaseToken, MessageId};
use mq_core::name::{KindName, QueueName};
use mq_dispatch::{
    Attempt, Ctx, Fail, Handler, HandlerOptions, Headers, Outcome, Outgoing, Retry, State,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::store::{Is, Store};
use crate::{Charge, Double, Notify};

type Told = UnboundedSender<String>;

#[tokio::test(start_paused = true)]
async fn a_function_gets_its_message_and_everything_it_asks_for() {
    #[expect(clippy::too_many_arguments, reason = "as many as there can be")]
    #[mq_macros::handler(crate = mq_dispatch)]
    async fn charge(
        charge: Charge,
        State(told): State<Told>,
        Attempt(attempt): Attempt,
        headers: Headers,
        id: MessageId,
        token: LeaseToken,
        queue: QueueName,
        ctx: Ctx,
    ) -> Outcome {
        assert_eq!((token.id, ctx.id(), ctx.correlation()), (id, id, id));
        assert_eq!(ctx.header("tenant"), headers.get("tenant"));
        let tenant = headers.get("tenant").unwrap_or("nobody");
        told.send(format!("{} {attempt} {tenant} {queue}", charge.order))?;
        Ok(())
    }
    let (told, mut hears) = unbounded_channel::<String>();
    let store = Store::new();
    let _workers = store.workers().state(told).handle(charge).start().unwrap();
    let id = store.post(Outgoing::new(&Charge { order: 7 }).header("tenant", "acme"));
    assert_eq!(hears.recv().await.unwrap(), "7 1 acme default");
    assert_eq!(store.ended(id, 1).await.is, Is::Succeeded(None));
}

#[tokio::test(start_paused = true)]
async fn a_type_handles_with_its_own_settings_and_its_result_is_kept() {
    struct Doubler;
    impl Handler<Double> for Doubler {
        type Error = std::num::TryFromIntError;
        const PARALLELISM: RangeInclusive<usize> = 1..=3;
        const TIMEOUT: Duration = Duration::from_secs(1);

        fn retry(&self) -> Retry {
            Retry::fixed(Duration::from_secs(9)).max_attempts(2)
        }

        async fn run(&self, double: Double, _ctx: Ctx) -> Result<u64, Self::Error> {
            let number = u32::try_from(double.number)?;
            Ok(u64::from(number) * 2)
        }
    }
    let store = Store::new();
    let workers = store.workers().handler(Doubler).start().unwrap();
    assert_eq!(workers.stats().first().unwrap().limit, 3);
    let good = store.send(&Double { number: 21 });
    let bad = store.send(&Double { number: u64::MAX });
    let good = store.ended(good, 1).await;
    assert_eq!(good.is, Is::Succeeded(Some("42".into())));
    let failed = store.ended(bad, 1).await;
    assert_eq!(failed.delays, [Duration::from_secs(9)]);
    let (_, failure) = failed.ends.first().unwrap();
    assert_eq!(failure.as_ref().unwrap().error_type, "TryFromIntError");
}

#[tokio::test]
async fn a_blocking_handler_runs_on_a_thread_of_its_own_with_all_of_ctx() {
    #[mq_macros::handler(crate = mq_dispatch)]
    fn charge(charge: Charge, ctx: Ctx, State(told): State<Told>) -> Outcome {
        let thread = std::thread::current();
        told.send(thread.name().unwrap_or_default().to_owned())?;
        ctx.save_checkpoint(&charge.order).wait()?;
        ctx.stage(Notify {
            order: charge.order,
        })
        .wait()?;
        Ok(())
    }
    let (told, mut hears) = unbounded_channel::<String>();
    let store = Store::new();
    let workers = store.workers().state(told).handle_blocking(charge);
    let _workers = workers.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    assert_eq!(hears.recv().await.unwrap(), "mq charge 1");
    assert_eq!(store.ended(id, 1).await.is, Is::Succeeded(None));
    assert_eq!(store.all().len(), 2, "the message and its follow-up");
}

#[tokio::test(start_paused = true)]
async fn a_raw_handler_gets_any_kind_of_its_queue_undecoded() {
    let (told, mut hears) = unbounded_channel::<String>();
    let store = Store::new();
    let selector = Selector {
        queue: Some(QueueName::new("mail").unwrap()),
        kind: None,
    };
    let workers = store
        .workers()
        .handle_raw(selector, HandlerOptions::default(), move |grant, _ctx| {
            let told = told.clone();
            async move {
                let payload = String::from_utf8_lossy(&grant.envelope.payload).into_owned();
                told.send(format!("{} {payload}", grant.kind))
            }
        })
        .start()
        .unwrap();
    store.send(&Charge { order: 1 }); // in another queue
    store.send(&Notify { order: 2 });
    let odd = Outgoing::new(&Charge { order: 3 }).queue("mail");
    store.post(odd);
    assert_eq!(hears.recv().await.unwrap(), "notify {\"order\":2}");
    assert_eq!(hears.recv().await.unwrap(), "charge {\"order\":3}");
    assert_eq!(workers.stats().first().unwrap().kind, "mail");
}

#[tokio::test]
async fn a_raw_blocking_handler_settles_what_it_says() {
    let store = Store::new();
    let selector = Selector {
        queue: None,
        kind: Some(KindName::new("charge").unwrap()),
    };
    let workers = store.workers().handle_raw_blocking(
        selector,
        HandlerOptions::default(),
        |grant, _ctx| -> Outcome { Err(Fail::dead_letter(format!("{}", grant.kind)).note("so")) },
    );
    let _workers = workers.start().unwrap();
    let id = store.send(&Charge { order: 1 });
    let stored = store.ended(id, 1).await;
    assert_eq!(stored.note.as_deref(), Some("so"));
}

#[tokio::test(start_paused = true)]
async fn messages_of_an_alias_reach_the_handler_and_parallelism_holds() {
    let store = Store::new();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (told, mut hears) = unbounded_channel::<String>();
    let charge = {
        let gate = Arc::clone(&gate);
        move |charge: Charge, ctx: Ctx| {
            let (gate, told) = (Arc::clone(&gate), told.clone());
            async move {
                told.send(format!("{} {}", ctx.kind(), charge.order))?;
                gate.acquire().await?.forget();
                Ok::<(), Fail>(())
            }
        }
    };
    let workers = store
        .workers()
        .handle_with(charge, |h| h.parallelism(1..=1));
    let workers = workers.start().unwrap();
    let mut old = Outgoing::new(&Charge { order: 1 }).into_message().unwrap();
    old.kind = KindName::new("charge.old").unwrap();
    let ids = [
        store.post(old.clone().into()),
        store.send(&Charge { order: 2 }),
        store.post(old.into()),
    ];
    for (running, id) in ids.into_iter().enumerate() {
        hears.recv().await.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(workers.running().len(), 1, "at message {running}");
        gate.add_permits(1);
        let _: crate::store::Stored = store.until(id, |_| true).await;
    }
    store.quiet().await;
    let totals = workers.stats().first().unwrap().totals;
    assert_eq!((totals.started, totals.succeeded), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn ctx_tells_the_attempts_story() {
    async fn charge(_charge: Charge, ctx: Ctx, State(told): State<Told>) -> Outcome {
        let error = ctx
            .last_error()
            .map_or("none", |error| &error.text)
            .to_owned();
        told.send(format!("{} {error} {}", ctx.attempt(), ctx.due()))?;
        Err(Fail::retry_in(Duration::ZERO, "no luck"))
    }
    let (told, mut hears) = unbounded_channel::<String>();
    let store = Store::new();
    let workers = store.workers().state(told);
    let workers = workers.handle_with(charge, |h| h.retry(Retry::immediately().max_attempts(2)));
    let _workers = workers.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    assert_eq!(hears.recv().await.unwrap(), "1 none 2 ms");
    assert_eq!(hears.recv().await.unwrap(), "2 no luck 2 ms");
    store.ended(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn progress_is_seen_while_the_handler_runs() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        ctx.progress(7, 5, "rows");
        ctx.cancelled().await;
        Ok(())
    }
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    while workers
        .running()
        .first()
        .and_then(|run| run.progress.clone())
        .is_none()
    {
        tokio::task::yield_now().await;
    }
    let running = workers.running().pop().unwrap();
    let progress = running.progress.unwrap();
    assert_eq!(
        (progress.done, progress.total, progress.unit.as_str()),
        (5, 5, "rows")
    );
    assert_eq!(running.token.id, id);
}

#[tokio::test]
async fn a_handler_knows_that_it_is_one_and_its_tasks_are_not() {
    async fn charge(_charge: Charge, State(told): State<UnboundedSender<bool>>) -> Outcome {
        told.send(mq_dispatch::inside_handler())?;
        tokio::task::yield_now().await;
        told.send(mq_dispatch::inside_handler())?;
        let apart = tokio::spawn(async { mq_dispatch::inside_handler() });
        told.send(apart.await?)?;
        Ok(())
    }
    fn double(_double: Double, State(told): State<UnboundedSender<bool>>) -> Result<u64, Fail> {
        told.send(mq_dispatch::inside_handler())?;
        Ok(0)
    }
    let (told, mut hears) = unbounded_channel::<bool>();
    let store = Store::new();
    let workers = store
        .workers()
        .state(told)
        .handle(charge)
        .handle_blocking(double);
    let _workers = workers.start().unwrap();
    assert!(!mq_dispatch::inside_handler());
    store.send(&Charge { order: 7 });
    for expected in [true, true, false] {
        assert_eq!(hears.recv().await, Some(expected));
    }
    store.send(&Double { number: 7 });
    assert_eq!(hears.recv().await, Some(true));
}
