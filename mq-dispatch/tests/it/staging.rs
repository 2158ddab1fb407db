//! Follow-ups are committed with the ending they belong to, and checkpoints outlive attempts.

use std::future::IntoFuture;
use std::time::Duration;

use mq_core::message::Due;
use mq_core::state::Outcome as Ended;
use mq_dispatch::{Ctx, CtxError, Fail, Outcome, Outgoing, Reply, Retry, State};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::store::{Is, Store, Stored};
use crate::{Charge, Notify};

/// What was staged by the handler of the first message.
fn staged(store: &Store) -> Vec<Stored> {
    store.all().split_off(1)
}

#[tokio::test(start_paused = true)]
async fn staged_messages_come_with_success_and_say_where_they_are_from() {
    async fn charge(charge: Charge, ctx: Ctx) -> Outcome {
        let order = charge.order;
        ctx.stage(Notify { order })
            .delay(Duration::from_secs(5))
            .header("tenant", "acme")
            .await?;
        ctx.stage_all((1..=3).map(|order| Notify { order })).await?;
        Ok(())
    }
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let first = Outgoing::new(&Charge { order: 7 })
        .header("traceparent", trace)
        .header("secret", "not carried over");
    let id = store.post(first);
    store.ended(id, 1).await;
    let staged = staged(&store);
    assert_eq!(staged.len(), 4);
    assert_eq!(store.reserved().0, 4);
    let message = &staged.first().unwrap().message;
    assert_eq!(
        (message.queue.as_str(), message.priority.get()),
        ("mail", 7)
    );
    assert_eq!(message.due, Due::After(Duration::from_secs(5)));
    let envelope = &message.envelope;
    assert_eq!((envelope.correlation, envelope.cause), (Some(id), Some(id)));
    let headers = [("tenant", "acme"), ("traceparent", trace)];
    assert_eq!(
        envelope.headers,
        headers.map(|(n, v)| (n.to_owned(), v.to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_chain_keeps_its_first_message_as_correlation() {
    async fn charge(charge: Charge, ctx: Ctx) -> Outcome {
        if charge.order > 0 {
            let order = charge.order - 1;
            ctx.stage(Charge { order }).await?;
        }
        Ok(())
    }
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let first = store.send(&Charge { order: 2 });
    store.quiet().await;
    let [second, third] = staged(&store).try_into().unwrap();
    assert_eq!(second.message.envelope.correlation, Some(first));
    assert_eq!(third.message.envelope.correlation, Some(first));
    assert_eq!(third.message.envelope.cause, Some(second.id));
}

#[tokio::test(start_paused = true)]
async fn staged_messages_are_dropped_with_failure() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        ctx.stage(Notify { order: 1 }).await?;
        Err("no".into())
    }
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.ended(id, 1).await;
    assert!(staged(&store).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_commits_what_it_stages_itself() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        ctx.stage(Notify { order: 1 }).await?;
        let later = Outgoing::new(&Notify { order: 3 }).delay(Duration::from_secs(1));
        let fail = Fail::dead_letter("no").stage(Notify { order: 2 });
        Err(fail.stage(later))
    }
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.ended(id, 1).await;
    let staged = staged(&store);
    let payloads: Vec<&[u8]> = staged
        .iter()
        .map(|stored| &*stored.message.envelope.payload)
        .collect();
    assert_eq!(payloads, [b"{\"order\":2}", b"{\"order\":3}"]);
    assert_eq!(staged.first().unwrap().message.envelope.cause, Some(id));
}

#[tokio::test(start_paused = true)]
async fn a_bad_follow_up_is_refused_where_it_is_staged_and_nothing_is_reserved() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        let bad = ctx.stage(Notify { order: 1 }).queue("no such name!");
        assert!(bad.await.unwrap_err().to_string().contains("queue"));
        let bad = ctx.stage(Notify { order: 1 }).header("", "empty");
        assert!(bad.await.is_err());
        Ok(())
    }
    let store = Store::new();
    let _workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    assert_eq!(store.ended(id, 1).await.is, Is::Succeeded(None));
    assert_eq!(store.reserved(), (0, 0));
    assert!(staged(&store).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_outlives_the_attempt_that_saved_it() {
    async fn import(_charge: Charge, ctx: Ctx) -> Outcome {
        let at: u64 = ctx.checkpoint()?.unwrap_or(0);
        if at == 10 {
            return Ok(());
        }
        ctx.save_checkpoint(&(at + 5)).await?;
        assert_eq!(ctx.checkpoint::<u64>()?, Some(at + 5), "seen at once");
        Err("interrupted by bad luck".into())
    }
    let store = Store::new();
    let workers = store.workers();
    let workers = workers.handle_with(import, |h| h.retry(Retry::immediately()));
    let _workers = workers.start().unwrap();
    let id = store.send(&Charge { order: 7 });
    let stored = store.ended(id, 3).await;
    let ends: Vec<Ended> = stored.ends.iter().map(|(outcome, _)| *outcome).collect();
    assert_eq!(ends, [Ended::Failed, Ended::Failed, Ended::Succeeded]);
}

#[tokio::test(start_paused = true)]
async fn what_is_staged_after_the_end_of_its_handler_is_refused() {
    type Late = Reply<Result<(), CtxError>>;
    async fn charge(_charge: Charge, ctx: Ctx, State(late): State<UnboundedSender<Late>>) {
        late.send(ctx.stage(Notify { order: 1 }).into_future()).ok();
    }
    let (late, mut staging) = unbounded_channel::<Late>();
    let store = Store::new();
    let _workers = store.workers().state(late).handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    store.ended(id, 1).await;
    let answer = staging.recv().await.unwrap().await;
    assert_eq!(answer.unwrap_err().code(), "stale_lease");
    assert!(staged(&store).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_follow_up_larger_than_the_store_takes_is_refused_where_it_is_staged() {
    async fn charge(_charge: Charge, ctx: Ctx) -> Outcome {
        let large = ctx.stage(Notify { order: u64::MAX }).await;
        assert_eq!(large.unwrap_err().code(), "invalid");
        ctx.stage(Notify { order: 1 }).await?;
        Ok(())
    }
    let store = Store::new();
    store.limit_payloads(20);
    let _workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    assert_eq!(store.ended(id, 1).await.is, Is::Succeeded(None));
    assert_eq!(staged(&store).len(), 1);
}
