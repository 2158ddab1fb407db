//! Steering messages: one by its id, many by filter, as jobs that can be watched, slowed down and stopped.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use mq::prelude::*;
use mq::{
    BulkEnd, BulkError, BulkOrder, Due, EditKind, Filter, FilterProblem, Lookup, MessageId,
    MessageView, NewMessage, OperateError, Operated, Priority, StateKind, days, hours, older_than,
};

fn message(payload: &str) -> NewMessage {
    NewMessage::new(
        "orders".parse().unwrap(),
        "charge".parse().unwrap(),
        payload.to_owned().into(),
    )
}

async fn enqueue(engine: &Engine, message: NewMessage) -> MessageId {
    engine.enqueue_raw(message).await.unwrap().accepted.id
}

/// A store on a disk with `count` messages of 0, 1, 2 … cents.
async fn store(count: u64) -> (tempfile::TempDir, Engine, Vec<MessageId>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let mut ids = Vec::new();
    for cents in 0..count {
        ids.push(enqueue(&engine, message(&format!("{{\"cents\": {cents}}}"))).await);
    }
    (folder, engine, ids)
}

async fn view(engine: &Engine, id: MessageId) -> MessageView {
    match engine.message(id).await.unwrap() {
        Lookup::Found(view) => *view,
        other => panic!("{id} is {other:?}"),
    }
}

async fn state(engine: &Engine, id: MessageId) -> StateKind {
    view(engine, id).await.state.kind()
}

async fn done(order: BulkOrder) -> u64 {
    let report = order.await.unwrap().finished().await.unwrap();
    assert_eq!(report.ended.unwrap().0, BulkEnd::Completed);
    assert_eq!(report.counts.refused(), 0, "{:?}", report.counts);
    report.counts.done
}

#[tokio::test]
async fn one_message_is_steered_by_its_id_and_its_history_says_by_whom() {
    let (_folder, engine, ids) = store(1).await;
    let id = *ids.first().unwrap();
    let label = || "review".parse().unwrap();
    engine.hold(id, label()).by("zoe").await.unwrap();
    assert_eq!(state(&engine, id).await, StateKind::Held);
    engine
        .set_priority(id, Priority::new(9).unwrap())
        .await
        .unwrap();
    engine.move_to(id, "slow".parse().unwrap()).await.unwrap();
    engine.reschedule(id, Due::After(hours(1))).await.unwrap();
    engine.release(id).by("max").await.unwrap();
    assert_eq!(state(&engine, id).await, StateKind::Scheduled);
    engine.run_now(id).await.unwrap();
    assert_eq!(state(&engine, id).await, StateKind::Ready);
    let refused = engine.release(id).await.unwrap_err();
    assert!(matches!(refused, OperateError::Refused(_)), "{refused}");
    let edits = view(&engine, id).await.tail.edits;
    let words: Vec<&str> = edits.iter().map(|edit| edit.what.as_str()).collect();
    assert_eq!(
        words,
        ["set-priority", "move", "reschedule", "release", "run-now"]
    );
    let release = &edits[3];
    assert_eq!(release.by, "max");
    assert_eq!(release.what, EditKind::Release { label: label() });
    assert_eq!(engine.cancel(id).await.unwrap(), Operated::Done);
    assert_eq!(engine.message(id).await.unwrap(), Lookup::SettledNotKept);
}

#[tokio::test]
async fn every_change_is_made_to_all_that_match_and_to_no_other() {
    let (_folder, engine, ids) = store(10).await;
    let some = || Filter::new().queue("orders").payload("/cents >= 4");
    assert_eq!(done(engine.hold(some(), "aside".parse().unwrap())).await, 6);
    for (cents, id) in ids.iter().enumerate() {
        let expected = if cents >= 4 {
            StateKind::Held
        } else {
            StateKind::Ready
        };
        assert_eq!(state(&engine, *id).await, expected, "{cents}");
    }
    let held = || Filter::new().label("aside");
    assert_eq!(
        done(engine.set_priority(held(), Priority::new(8).unwrap())).await,
        6
    );
    assert_eq!(
        done(engine.reschedule(held(), Due::After(hours(1)))).await,
        6
    );
    assert_eq!(done(engine.release(held())).await, 6);
    assert_eq!(
        done(engine.run_now(Filter::new().state(StateKind::Scheduled))).await,
        6
    );
    assert_eq!(
        done(engine.move_to(Filter::new().priority(8), "slow".parse().unwrap())).await,
        6
    );
    assert_eq!(done(engine.cancel(Filter::new().queue("slow"))).await, 6);
    assert_eq!(engine.stats().live_messages, 4);
    let label = "gone".parse().unwrap();
    assert_eq!(done(engine.hold(Filter::all(), label)).await, 4);
    assert_eq!(
        done(engine.purge(Filter::new().state(StateKind::Held))).await,
        4
    );
    assert_eq!(engine.stats().live_messages, 0);
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let (_folder, engine, ids) = store(20).await;
    let order = engine.cancel(Filter::new().payload("/cents < 15"));
    let dry = order.dry_run().await.unwrap();
    assert_eq!((dry.matched, dry.sample.len()), (15, mq::SAMPLE_LEN));
    assert_eq!(dry.states, [(StateKind::Ready, 15)]);
    assert_eq!(dry.sample.first().unwrap().id, *ids.first().unwrap());
    assert_eq!(engine.stats().live_messages, 20);
    assert!(engine.admin().bulk_jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_job_cannot_change_is_counted_with_the_reason() {
    let (_folder, engine, ids) = store(3).await;
    engine.hold(ids[0], "aside".parse().unwrap()).await.unwrap();
    let job = engine.release(Filter::all()).by("zoe").await.unwrap();
    let report = job.finished().await.unwrap();
    assert_eq!(report.counts.matched, 3);
    assert_eq!((report.counts.done, report.counts.wrong_state), (1, 2));
    assert_eq!((report.what, report.by.as_str()), ("release", "zoe"));
    assert!(report.spec.contains("\"all\":true"), "{}", report.spec);
    let edits = view(&engine, ids[0]).await.tail.edits;
    assert_eq!(edits.last().unwrap().by, "job 1 by zoe");
}

#[tokio::test]
async fn a_change_of_everything_is_said_in_so_many_words() {
    let (_folder, engine, _) = store(1).await;
    let refused = engine.cancel(Filter::new()).await.unwrap_err();
    let BulkError::Filter(error) = refused else {
        panic!("{refused}");
    };
    assert_eq!(error.problems, [FilterProblem::Empty]);
    let dead = engine.admin().dead_letters();
    assert!(dead.replay_all(Filter::new()).await.is_err());
    assert!(dead.purge(Filter::new()).dry_run().await.is_err());
    let refused = engine.cancel(Filter::new().payload("cents")).await;
    assert!(matches!(refused, Err(BulkError::Filter(_))));
    let refused = engine.cancel(Filter::all()).rate(0).await;
    assert!(matches!(refused, Err(BulkError::Rate)));
    assert_eq!(engine.stats().live_messages, 1);
}

#[tokio::test]
async fn a_slow_job_is_cancelled_half_way_and_what_it_did_stays_done() {
    let (_folder, engine, _) = store(50).await;
    let order = engine.hold(Filter::all(), "aside".parse().unwrap());
    let job = order.rate(1).await.unwrap();
    let report = job.cancel("max").await.unwrap();
    let by = "max".to_owned();
    assert_eq!(report.ended.unwrap().0, BulkEnd::Cancelled { by });
    let finished = job.finished().await.unwrap();
    assert!(finished.counts.done <= 1, "{:?}", finished.counts);
    assert!(job.cancel("max").await.is_err(), "it has ended");
    let held = Filter::new().state(StateKind::Held);
    let held = engine.messages(held).count().await.unwrap().matched;
    assert_eq!(held, finished.counts.done);
    let jobs = engine.admin().bulk_jobs().await.unwrap();
    assert_eq!(jobs.len(), 1);
    let unknown = engine.admin().bulk_job(mq::BulkId(7)).report().await;
    assert!(matches!(unknown, Err(BulkError::Refused(_))));
}

#[tokio::test]
async fn messages_enqueued_after_a_job_began_are_not_touched() {
    let (folder, engine, _) = store(5).await;
    let order = engine.hold(Filter::all(), "aside".parse().unwrap());
    let job = order.rate(1).await.unwrap();
    let late = enqueue(&engine, message("{}")).await;
    let id = job.id();
    engine.close().await.unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let report = engine.admin().bulk_job(id).report().await.unwrap();
    assert_eq!(report.ended, None, "it goes on after a restart");
    assert_eq!(report.rate, Some(1));
    assert_eq!(state(&engine, late).await, StateKind::Ready);
    engine.admin().bulk_job(id).cancel("test").await.unwrap();
}

#[derive(Serialize, Deserialize, Message)]
#[message(kind = "charge", queue = "orders")]
struct Charge {
    cents: u64,
}

#[derive(Debug)]
struct Declined;

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("card declined")
    }
}

impl std::error::Error for Declined {}

async fn charge(charge: Charge) -> Outcome {
    if charge.cents < 100 {
        return Err(Fail::dead_letter(Declined).note("ask the customer"));
    }
    Ok(())
}

/// A store whose 5 messages are all dead.
async fn dead_store() -> (tempfile::TempDir, Engine, Vec<MessageId>) {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let mut ids = Vec::new();
    for cents in 0..4 {
        let request = engine.enqueue(Charge { cents });
        let request = request.header("tenant", "acme").ordering_key("customer-3");
        ids.push(request.await.unwrap().accepted.id);
    }
    ids.push(enqueue(&engine, message("no JSON")).await);
    let workers = engine.workers().handle(charge).start().unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(mq::secs(5)).await;
    (folder, engine, ids)
}

#[tokio::test]
async fn dead_letters_are_grouped_by_reason_kind_and_type_of_error() {
    let (_folder, engine, ids) = dead_store().await;
    let dead = engine.admin().dead_letters();
    let groups = dead.groups(Filter::new()).await.unwrap().groups;
    let shown: Vec<(u64, &str)> = groups
        .iter()
        .map(|group| (group.count, group.reason.unwrap().as_str()))
        .collect();
    assert_eq!(shown, [(4, "dead_lettered"), (1, "undecodable")]);
    let declined = &groups[0];
    assert_eq!(declined.sample, ids[3]);
    assert!(declined.oldest <= declined.newest);
    let error_type = declined.error_type.clone().unwrap();
    let found = dead.list(Filter::reason(error_type)).await.unwrap();
    assert_eq!(found.messages.len(), 4);
    let (view, envelope) = dead.show(ids[0]).await.unwrap().unwrap();
    assert_eq!(view.tail.note.as_deref(), Some("ask the customer"));
    assert!(view.tail.last_failure().unwrap().text.contains("declined"));
    assert_eq!(envelope.unwrap().headers[0].1, "acme");
}

#[tokio::test]
async fn an_edited_replay_keeps_id_headers_and_keys_and_runs_with_the_new_payload() {
    let (folder, engine, ids) = dead_store().await;
    engine.close().await.unwrap();
    let engine = Engine::open(folder.path().join("data")).await.unwrap();
    let dead = engine.admin().dead_letters();
    assert_eq!(
        dead.list(Filter::new()).await.unwrap().messages.len(),
        5,
        "they survive"
    );
    dead.replay(ids[0])
        .edit(&b"{\"cents\": 250}"[..])
        .by("zoe")
        .await
        .unwrap();
    let envelope = engine.envelope(ids[0]).await.unwrap().unwrap();
    assert_eq!(&envelope.payload[..], b"{\"cents\": 250}");
    assert_eq!(
        envelope.headers[0],
        ("tenant".to_owned(), "acme".to_owned())
    );
    assert_eq!(
        envelope.ordering_key.as_ref().unwrap().as_bytes(),
        b"customer-3"
    );
    let tail = view(&engine, ids[0]).await.tail;
    assert_eq!((tail.replays, tail.edits[0].by.as_str()), (1, "zoe"));
    assert_eq!(tail.edits[0].what, EditKind::Replay { edited: true });
    let workers = engine.workers().handle(charge).start().unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(mq::secs(5)).await;
    assert_eq!(
        engine.message(ids[0]).await.unwrap(),
        Lookup::SettledNotKept
    );
    assert!(dead.replay(ids[0]).await.is_err());
}

#[tokio::test]
async fn dead_letters_are_replayed_and_purged_by_filter_and_age() {
    let (_folder, engine, ids) = dead_store().await;
    let dead = engine.admin().dead_letters();
    assert_eq!(done(dead.purge(older_than(days(30)))).await, 0);
    assert_eq!(
        done(dead.replay_all(Filter::new().payload("/cents == 2"))).await,
        1
    );
    assert_eq!(state(&engine, ids[2]).await, StateKind::Ready);
    engine.purge(ids[1]).await.unwrap();
    assert_eq!(done(dead.purge(Filter::all())).await, 3);
    assert_eq!(
        state(&engine, ids[2]).await,
        StateKind::Ready,
        "live messages stay"
    );
    assert_eq!(engine.stats().live_messages, 1);
}
