//! Indexed fields: what is found by them is what looking at all finds, at the cost of what is found, on every way into the
//! store and back from the disk.

use std::sync::Arc;
use std::time::Duration;

use mq::control::{Call, EnqueueCall, execute};
use mq::prelude::*;
use mq::{
    Cursor, Environment, Fail, Filter, FoundBy, MessageId, NewMessage, Outgoing, Schedule,
    SetIndexError, StateKind,
};
use mq_core::limits::{INDEX_LEN_MAX, NAME_SIZE_MAX, POINTER_SIZE_MAX};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, SimDisk};

const KIND: &str = "order.paid";

#[derive(Clone, Serialize, Deserialize, Message)]
#[message(kind = "order.paid", queue = "orders", index = "/order/sku", index = ["/order/cents"])]
struct Paid {
    order: Order,
}

#[derive(Clone, Serialize, Deserialize)]
struct Order {
    sku: String,
    cents: u64,
}

fn paid(sku: impl Into<String>, cents: u64) -> Paid {
    let sku = sku.into();
    Paid {
        order: Order { sku, cents },
    }
}

fn raw(payload: impl Into<Vec<u8>>) -> NewMessage {
    let payload: Vec<u8> = payload.into();
    NewMessage::new(
        "orders".parse().unwrap(),
        KIND.parse().unwrap(),
        payload.into(),
    )
}

fn by_sku(sku: &str) -> Filter {
    Filter::new()
        .kind(KIND)
        .payload(format!("/order/sku == {sku:?}"))
}

/// Everything that matches, how it was found, and how many payloads were read.
async fn find(engine: &Engine, filter: Filter) -> (Vec<MessageId>, FoundBy, u64) {
    let (mut ids, mut read, mut by) = (Vec::new(), 0, None);
    let mut cursor = Some(Cursor::START);
    while let Some(from) = cursor {
        let page = engine
            .messages(filter.clone())
            .page(from, 100)
            .await
            .unwrap();
        ids.extend(page.messages.iter().map(|view| view.id));
        read += page.read;
        by.get_or_insert(page.by);
        cursor = page.next;
    }
    (ids, by.unwrap(), read)
}

#[tokio::test]
async fn one_of_many_is_found_without_reading_the_payloads_of_others() {
    const MANY: u64 = 20_000;
    let engine = Engine::in_memory().open().await.unwrap();
    for first in (0..MANY).step_by(1_000) {
        let all = (first..first + 1_000).map(|n| paid(format!("sku-{n}"), n % 100));
        engine.batch().extend(all).await.unwrap();
    }
    let (ids, by, read) = find(&engine, by_sku("sku-12345")).await;
    assert_eq!((ids.len(), by, read), (1, FoundBy::Index, 1));
    let both = by_sku("sku-12345").payload("/order/cents == 46");
    assert_eq!(find(&engine, both).await, (vec![], FoundBy::Index, 0));
    let order = engine.cancel(by_sku("sku-777"));
    let dry = order.clone().dry_run().await.unwrap();
    assert_eq!((dry.matched, dry.by, dry.read), (1, FoundBy::Index, 1));
    order.await.unwrap().finished().await.unwrap();
    assert_eq!(find(&engine, by_sku("sku-777")).await.0, []);

    // A range that holds half of them: all are looked at, but only payloads that can match are read.
    let half = Filter::new().kind(KIND).payload("/order/cents >= 50");
    let (ids, by, read) = find(&engine, half).await;
    let half = MANY / 2 - 1; // sku-777 has 77 cents
    assert_eq!((ids.len() as u64, by, read), (half, FoundBy::Scan, half));
    let other = Filter::new().kind(KIND).payload("/order == null");
    let (_, by, read) = find(&engine, other).await;
    assert_eq!((by, read), (FoundBy::Scan, MANY - 1), "not indexed");
}

async fn stage_others(message: Paid, ctx: Ctx) -> Outcome {
    if message.order.sku == "parent" {
        ctx.stage(paid("staged", 1)).await?;
        return Ok(());
    }
    Err(Fail::dead_letter(std::fmt::Error))
}

#[tokio::test]
async fn every_way_into_the_store_puts_a_message_into_the_index() {
    let engine = Engine::in_memory().open().await.unwrap();
    engine.enqueue(paid("typed", 1)).await.unwrap();
    let batch = engine
        .batch()
        .push(paid("batch", 1))
        .push(paid("parent", 1));
    batch.await.unwrap();
    engine
        .enqueue_raw(raw(r#"{"order": {"sku": "raw", "cents": 1}}"#))
        .await
        .unwrap();
    let call = EnqueueCall {
        queue: "orders".to_owned(),
        kind: KIND.to_owned(),
        payload_text: Some(r#"{"order": {"sku": "call", "cents": 1}}"#.to_owned()),
        ..EnqueueCall::default()
    };
    execute(&engine, Call::Enqueue(Box::new(call)))
        .await
        .unwrap();
    let schedule = Schedule::cron("@hourly").message(paid("scheduled", 1));
    engine.schedules().put("hourly", schedule).await.unwrap();
    engine.schedules().run_now("hourly").await.unwrap();
    let workers = engine.workers().handle(stage_others).start().unwrap();
    engine.run_until_empty().await.unwrap();
    workers.stop(Duration::from_secs(5)).await;

    for sku in ["typed", "batch", "raw", "call", "scheduled", "staged"] {
        let filter = by_sku(sku).state(StateKind::Dead);
        let (ids, by, read) = find(&engine, filter).await;
        assert_eq!((ids.len(), by, read), (1, FoundBy::Index, 1), "{sku}");
    }
    let (dead, ..) = find(&engine, by_sku("typed")).await;
    let payload = r#"{"order": {"sku": "edited", "cents": 1}}"#;
    let replay = engine.admin().dead_letters().replay(dead[0]);
    replay.edit(payload).await.unwrap();
    assert_eq!(
        find(&engine, by_sku("edited")).await,
        (dead, FoundBy::Index, 1)
    );
    assert_eq!(
        find(&engine, by_sku("typed")).await,
        (vec![], FoundBy::Index, 0)
    );
}

async fn open(disk: &SimDisk) -> Engine {
    let environment = Environment {
        storage: Some(Arc::new(disk.clone())),
        ..Environment::real()
    };
    let builder = Engine::builder("simulated").environment(environment);
    builder.open().await.unwrap()
}

/// The disk as a loss of power would leave it now.
fn cut_off(disk: &SimDisk) -> SimDisk {
    disk.fork().power_cycle(CrashMode::LoseAll)
}

async fn check_reopened(engine: &Engine, wanted: MessageId) {
    let found = find(engine, by_sku("sku-7")).await;
    assert_eq!(found, (vec![wanted], FoundBy::Index, 1));
    // The declaration came back, too: it is in force for those that no type declares.
    let new = engine
        .enqueue_raw(raw(r#"{"order": {"sku": "new"}}"#))
        .await
        .unwrap();
    let found = find(engine, by_sku("new")).await;
    assert_eq!(found, (vec![new.accepted.id], FoundBy::Index, 1));
}

#[tokio::test]
async fn the_index_comes_back_from_the_journal_and_from_a_snapshot() {
    let disk = SimDisk::new();
    let engine = open(&disk).await;
    let all: Vec<_> = (0..50).map(|n| paid(format!("sku-{n}"), n)).collect();
    let receipts = engine.batch().extend(all).await.unwrap();
    let wanted = receipts.get(7).unwrap().accepted.id;
    let from_journal = cut_off(&disk);
    engine.admin().snapshot().await.unwrap();
    let from_snapshot = cut_off(&disk);
    engine.close().await.unwrap();
    for disk in [from_journal, from_snapshot, disk.restart_process()] {
        let reopened = open(&disk).await;
        check_reopened(&reopened, wanted).await;
        reopened.close().await.unwrap();
    }
}

#[tokio::test]
async fn messages_from_before_a_declaration_are_found_by_looking_at_all() {
    let engine = Engine::in_memory().open().await.unwrap();
    let old = engine
        .enqueue_raw(raw(r#"{"a": 1}"#))
        .await
        .unwrap()
        .accepted
        .id;
    let admin = engine.admin();
    admin.set_index(KIND, ["/a"]).await.unwrap();
    let new = engine
        .enqueue_raw(raw(r#"{"a": 1}"#))
        .await
        .unwrap()
        .accepted
        .id;
    engine.enqueue_raw(raw(r#"{"a": 2}"#)).await.unwrap();
    let filter = Filter::new().kind(KIND).payload("/a == 1");
    let found = find(&engine, filter.clone()).await;
    assert_eq!(
        found,
        (vec![old, new], FoundBy::Scan, 2),
        "the third cannot match"
    );
    let shown = admin.indexes().await.unwrap();
    assert_eq!((shown[0].messages, &shown[0].indexed), (3, &vec![2]));
    engine.cancel(old).await.unwrap();
    let found = find(&engine, filter.clone()).await;
    assert_eq!(found, (vec![new], FoundBy::Index, 1));

    // Another field, and none: what has no term for the field is looked at.
    admin.set_index(KIND, ["/b"]).await.unwrap();
    let other = engine
        .enqueue_raw(raw(r#"{"a": 1, "b": 1}"#))
        .await
        .unwrap()
        .accepted
        .id;
    let found = find(&engine, filter.clone()).await;
    assert_eq!(found, (vec![new, other], FoundBy::Scan, 2));
    admin.set_index(KIND, None::<&str>).await.unwrap();
    assert_eq!(admin.indexes().await.unwrap(), []);
    let last = engine
        .enqueue_raw(raw(r#"{"a": 1}"#))
        .await
        .unwrap()
        .accepted
        .id;
    let found = find(&engine, filter).await;
    assert_eq!(found, (vec![new, other, last], FoundBy::Scan, 3));
}

#[tokio::test]
async fn what_cannot_be_indexed_is_refused_and_says_so() {
    let engine = Engine::in_memory().open().await.unwrap();
    let nine: Vec<String> = (0..9).map(|n| format!("/{n}")).collect();
    let bad = [
        (KIND, vec!["sku".to_owned()], "/order/sku"),
        (KIND, vec!["/a".to_owned(), "/a".to_owned()], "twice"),
        (KIND, vec!["/a".repeat(200)], "limit of 255"),
        (KIND, nine, "limit of 8"),
        ("no kind", vec!["/a".to_owned()], "A-Z"),
    ];
    for (kind, fields, remedy) in bad {
        let error: SetIndexError = engine.admin().set_index(kind, fields).await.unwrap_err();
        assert!(error.to_string().contains(remedy), "{error}");
    }
    assert_eq!(engine.admin().indexes().await.unwrap(), []);
}

fn pick<T: Copy>(of: &[T], random: &mut SplitMix64) -> T {
    let at = random.below(u64::try_from(of.len()).unwrap());
    *of.get(usize::try_from(at).unwrap()).unwrap()
}

/// Values that are hard to compare: about 2⁵³ and 2⁶³, about zero, alike in their first bytes, of other types.
fn value(random: &mut SplitMix64) -> String {
    let floats = [
        "-0.0",
        "0.0",
        "9007199254740992.0",
        "1e300",
        "18446744073709551615",
        "-1e-300",
    ];
    let texts = [
        "",
        "a",
        "a\\u0000",
        "customer-0000000000",
        "customer-0000000001",
        "é",
    ];
    match random.below(9) {
        0 => "null".to_owned(),
        1 => pick(&["true", "false"], random).to_owned(),
        2..5 => {
            let near = i64::try_from(random.below(3)).unwrap();
            let number = pick(&[0, 1, 1 << 53, i64::MAX - 2], random) + near;
            pick(&[number, -number], random).to_string()
        }
        5 => pick(&floats, random).to_owned(),
        _ => format!("\"{}\"", pick(&texts, random)),
    }
}

fn document(random: &mut SplitMix64) -> String {
    match random.below(12) {
        0 => "no JSON".to_owned(),
        1 => "{}".to_owned(),
        2 => r#"{"a": {"b": 1}}"#.to_owned(),
        3 => "[".repeat(300),
        4 => r#"{"a": 1e999}"#.to_owned(),
        5 => format!(r#"{{"a": {}, "a": {}}}"#, value(random), value(random)),
        6 => format!(r#"{{"a": "{}"}}"#, "x".repeat(10_000)),
        _ => format!(r#"{{"a": {}}}"#, value(random)),
    }
}

#[tokio::test]
async fn an_index_finds_what_looking_at_all_finds() {
    for seed in 0..40 {
        let mut random = SplitMix64::new(seed);
        let (with, without) = (Engine::in_memory(), Engine::in_memory());
        let (with, without) = (with.open().await.unwrap(), without.open().await.unwrap());
        with.admin().set_index(KIND, ["/a"]).await.unwrap();
        for _ in 0..40 {
            let message = raw(document(&mut random));
            with.enqueue_raw(message.clone()).await.unwrap();
            without.enqueue_raw(message).await.unwrap();
        }
        for _ in 0..60 {
            let operator = pick(&["==", "<", "<=", ">", ">=", "!="], &mut random);
            let mut filter = Filter::new().kind(KIND);
            filter = filter.payload(format!("/a {operator} {}", value(&mut random)));
            if random.below(3) == 0 {
                filter = filter.payload(format!("/a >= {}", value(&mut random)));
            }
            if filter.check().is_err() {
                continue; // null and true have no order
            }
            let seqs = |ids: Vec<MessageId>| ids.iter().map(|id| id.seq()).collect::<Vec<_>>();
            let (found, by, _) = find(&with, filter.clone()).await;
            let (expected, scan, _) = find(&without, filter.clone()).await;
            assert_eq!(seqs(found), seqs(expected), "seed {seed}: {filter:?}");
            assert_eq!(scan, FoundBy::Scan);
            let is_ranged = operator != "!=";
            assert!(
                !is_ranged || by == FoundBy::Index,
                "seed {seed}: {filter:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_type_of_the_program_decides_once_what_is_indexed() {
    let engine = Engine::in_memory().open().await.unwrap();
    engine.admin().set_index(KIND, ["/other"]).await.unwrap();
    engine.enqueue(paid("a", 1)).await.unwrap();
    let fields = |index: &mq::Index| {
        let fields = index.fields().iter();
        fields.map(ToString::to_string).collect::<Vec<_>>()
    };
    let shown = engine.admin().indexes().await.unwrap();
    assert_eq!(fields(&shown[0].index), ["/order/sku", "/order/cents"]);
    // What an operator sets later stays while the program runs.
    engine
        .admin()
        .set_index(KIND, ["/order/sku"])
        .await
        .unwrap();
    engine
        .batch()
        .push(Outgoing::new(&paid("b", 1)))
        .await
        .unwrap();
    let shown = engine.admin().indexes().await.unwrap();
    assert_eq!(fields(&shown[0].index), ["/order/sku"]);
    assert_eq!((shown[0].messages, &shown[0].indexed), (2, &vec![2]));
}

/// The derive has limits of its own, because it depends on nothing: they must be the engine's.
#[derive(Serialize, Deserialize, Message)]
#[message(
    kind = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
    index = ["/1", "/2", "/3", "/4", "/5", "/6", "/7"],
    index = "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)]
struct Fullest {}

#[tokio::test]
async fn the_engine_takes_what_the_derive_takes_and_no_more() {
    let engine = Engine::in_memory().open().await.unwrap();
    let index = Fullest::INDEX;
    assert_eq!(Fullest::KIND.len(), NAME_SIZE_MAX);
    assert_eq!(index.len(), INDEX_LEN_MAX);
    assert_eq!(index[INDEX_LEN_MAX - 1].len(), POINTER_SIZE_MAX);
    let admin = engine.admin();
    admin.set_index(Fullest::KIND, index).await.unwrap();
    engine.enqueue(Fullest {}).await.unwrap();
    let one_more = index.iter().copied().chain(["/9"]);
    assert!(admin.set_index(Fullest::KIND, one_more).await.is_err());
    let longer = format!("{}a", index[INDEX_LEN_MAX - 1]);
    assert!(admin.set_index(Fullest::KIND, [longer]).await.is_err());
    let longer = format!("{}k", Fullest::KIND);
    assert!(admin.set_index(&longer, ["/1"]).await.is_err());
}
