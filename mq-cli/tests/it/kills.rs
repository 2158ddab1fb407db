//! Real kills: the program is ended by SIGKILL at seeded moments, again and again, and nothing it promised is lost.
//!
//! `MQ_TEST_SEED` chooses another run; the seed is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::thread;

use mq_testing::random::SplitMix64;
use rustix::process::Signal;

use crate::setup::{Running, Store};
use crate::work::ECHO;

fn random() -> SplitMix64 {
    let seed = std::env::var("MQ_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_260);
    eprintln!("MQ_TEST_SEED={seed}");
    SplitMix64::new(seed)
}

#[test]
fn every_id_that_was_printed_survives_kill_9() {
    let mut random = random();
    let store = Store::new();
    let mut promised: BTreeMap<String, String> = BTreeMap::new();
    for round in 0..12 {
        let mut running = Running::start(store.command("enqueue", &["--queue", "q", "--raw"]));
        let mut stdin = running.stdin.take().unwrap();
        let feeding = thread::spawn(move || {
            let mut number = 0;
            while writeln!(stdin, "{round}-{number}").is_ok() {
                number += 1;
            }
        });
        let mut ids = Vec::new();
        for _ in 0..=random.below(3_000) {
            ids.push(running.line().expect("it prints until it is killed"));
        }
        running.signal(Signal::KILL);
        ids.extend(running.rest());
        feeding.join().unwrap();
        let lines = ids
            .into_iter()
            .enumerate()
            .map(|(number, id)| (id, format!("{round}-{number}")));
        promised.extend(lines);
        let stored: BTreeSet<String> = stored_ids(&store);
        let lost: Vec<&String> = promised.keys().filter(|id| !stored.contains(*id)).collect();
        assert!(
            lost.is_empty(),
            "round {round}: {} of {} are lost",
            lost.len(),
            promised.len()
        );
    }
    for _ in 0..20 {
        let index = usize::try_from(random.below(promised.len() as u64)).unwrap();
        let (id, line) = promised.iter().nth(index).unwrap();
        assert_eq!(&store.mq("messages show", &["--payload", id]).stdout, line);
    }
    assert_eq!(store.mq("verify", &[]).code, 0);
}

fn stored_ids(store: &Store) -> BTreeSet<String> {
    let listed = store.mq("messages ls", &["--json", "--limit", "100000000"]);
    let id = |message: &serde_json::Value| message.get("id").unwrap().as_str().unwrap().to_owned();
    listed.json().iter().map(id).collect()
}

#[test]
fn every_message_is_worked_on_although_the_worker_is_killed_again_and_again() {
    let mut random = random();
    let store = Store::new();
    let lines: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    store.enqueue("q", &lines);
    let mut worked = BTreeSet::new();
    let rest = ["--queue", "q", "--parallelism", "4", "--backoff", "none"];
    for _ in 0..6 {
        let mut running =
            Running::start(store.command("work", &[&rest[..], &["--", "sh", "-c", ECHO]].concat()));
        for _ in 0..=random.below(25) {
            worked.insert(running.line().expect("there is more to do than this"));
        }
        running.signal(Signal::KILL);
        worked.extend(running.rest());
    }
    let ran = store.mq(
        "work",
        &[&rest[..], &["--until-empty", "--", "sh", "-c", ECHO]].concat(),
    );
    worked.extend(ran.lines().into_iter().map(str::to_owned));
    assert_eq!(worked, lines.into_iter().collect());
    assert_eq!(store.live(), 0);
    assert!(
        store.mq("dlq ls", &["--json"]).lines().is_empty(),
        "a killed worker is nobody's fault"
    );
}
