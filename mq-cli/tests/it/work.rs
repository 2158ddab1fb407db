//! `mq work`: a command for each message, and what its end means.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;

use crate::setup::{Ran, Running, Store};

/// Prints the payload and a line feed in one write, so that parallel lines stay whole.
pub(crate) const ECHO: &str = "echo \"$(cat)\"";

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("n{number}")).collect()
}

fn work(store: &Store, options: &[&str], script: &str) -> Ran {
    let rest = [
        &["--queue", "q", "--until-empty"],
        options,
        &["--", "sh", "-c", script],
    ]
    .concat();
    store.mq("work", &rest)
}

#[test]
fn every_message_is_worked_on_once() {
    let store = Store::new();
    let lines = numbers(100);
    store.enqueue("q", &lines);
    let ran = work(&store, &["--parallelism", "4"], ECHO);
    let seen = ran.lines();
    assert_eq!(seen.len(), 100);
    let seen: BTreeSet<&str> = seen.into_iter().collect();
    assert_eq!(seen, lines.iter().map(String::as_str).collect());
    assert_eq!(store.live(), 0);
}

#[test]
fn the_command_knows_its_message() {
    let store = Store::new();
    let ids = store.enqueue("q", &numbers(1));
    let ran = work(
        &store,
        &[],
        "echo $MQ_MESSAGE_ID $MQ_ATTEMPT $MQ_QUEUE $MQ_KIND; test -n \"$MQ_LEASE\"",
    );
    assert_eq!(
        ran.lines(),
        [format!("{} 1 q message", ids.first().unwrap())]
    );
}

#[test]
fn a_failed_attempt_is_tried_again() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    let ran = work(
        &store,
        &["--backoff", "none"],
        "echo $MQ_ATTEMPT; test $MQ_ATTEMPT -ge 3",
    );
    assert_eq!(ran.lines(), ["1", "2", "3"]);
    assert_eq!(store.live(), 0);
}

#[test]
fn it_waits_for_messages_in_back_off() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    let ran = work(
        &store,
        &["--backoff", "fixed:300ms"],
        "echo $MQ_ATTEMPT; test $MQ_ATTEMPT -ge 2",
    );
    assert_eq!(ran.lines(), ["1", "2"]);
}

#[test]
fn a_message_that_goes_dead_is_told_by_the_exit_code_and_can_be_replayed() {
    let store = Store::new();
    let ids = store.enqueue("q", &numbers(2));
    let script = "echo $MQ_MESSAGE_ID: no account >&2; grep -q n0";
    let ran = work(
        &store,
        &["--max-attempts", "2", "--backoff", "none"],
        script,
    );
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let dead = store.mq("dlq ls", &["--json"]).only_json();
    let id = ids.last().unwrap();
    assert_eq!(dead.get("id").unwrap(), id.as_str());
    assert_eq!(dead.get("reason").unwrap(), "budget_spent");
    assert_eq!(dead.get("failures").unwrap(), 2);
    let attempts = dead.get("attempts").unwrap().as_array().unwrap();
    let error = attempts
        .last()
        .unwrap()
        .get("error")
        .unwrap()
        .as_str()
        .unwrap();
    assert_eq!(error, format!("exit code 1: {id}: no account"));
    assert_eq!(store.mq("dlq replay", &[id]).lines(), [id.as_str()]);
    assert_eq!(work(&store, &[], "exit 0").code, 0);
    assert_eq!(store.live(), 0);
    assert!(store.mq("dlq ls", &["--json"]).lines().is_empty());
}

#[test]
fn exit_code_100_gives_a_message_up_at_once() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    assert_eq!(work(&store, &[], "echo gone >&2; exit 100").code, 1);
    let dead = store.mq("dlq ls", &["--json"]).only_json();
    assert_eq!(dead.get("reason").unwrap(), "dead_lettered");
    assert_eq!(dead.get("deliveries").unwrap(), 1);
}

#[test]
fn exit_code_75_comes_back_at_no_cost() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    let mark = store.file("mark");
    let script = format!(
        "test -e {0} && echo $MQ_ATTEMPT && exit 0; touch {0}; exit 75",
        mark.display()
    );
    let ran = work(
        &store,
        &["--snooze", "200ms", "--max-attempts", "1"],
        &script,
    );
    assert_eq!(ran.lines(), ["1"]);
}

#[test]
fn a_command_that_takes_too_long_is_killed_and_has_failed() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    let ran = work(
        &store,
        &["--timeout", "300ms", "--max-attempts", "1"],
        "sleep 1000",
    );
    assert_eq!(ran.code, 1);
    let dead = store.mq("dlq ls", &["--json"]).only_json();
    let attempts = dead.get("attempts").unwrap().as_array().unwrap();
    assert_eq!(
        attempts.last().unwrap().get("error_type").unwrap(),
        "timeout"
    );
}

#[test]
fn what_is_scheduled_or_paused_stays_and_is_counted() {
    let store = Store::new();
    store.enqueue("paused", &numbers(3));
    store.mq("queue pause", &["paused"]).lines();
    store
        .mq_with(b"1\n", "enqueue", &["--queue", "later", "--delay", "1h"])
        .lines();
    for (queue, word) in [("paused", "3 "), ("later", "1 ")] {
        let rest = ["--queue", queue, "--until-empty", "--", "false"];
        let ran = store.mq("work", &rest);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(word), "{}", ran.stderr);
    }
    assert_eq!(store.live(), 4);
    store.mq("queue resume", &["paused"]).lines();
    let ran = store.mq(
        "work",
        &["--queue", "paused", "--until-empty", "--", "true"],
    );
    assert_eq!((ran.code, store.live()), (0, 1));
}

#[test]
fn only_the_named_kind_is_worked_on() {
    let store = Store::new();
    store
        .mq_with(b"1\n", "enqueue", &["--queue", "q", "--kind", "a"])
        .lines();
    store
        .mq_with(b"2\n", "enqueue", &["--queue", "q", "--kind", "b"])
        .lines();
    let ran = work(&store, &["--kind", "b"], ECHO);
    assert_eq!(ran.lines(), ["2"]);
    assert_eq!(store.live(), 1);
}

#[test]
fn messages_of_one_ordering_key_run_in_order() {
    let store = Store::new();
    let input: String = (0..20).map(|number| format!("{number}\n")).collect();
    store
        .mq_with(
            input.as_bytes(),
            "enqueue",
            &["--queue", "q", "--ordering-key", "k"],
        )
        .lines();
    let ran = work(&store, &["--parallelism", "8"], ECHO);
    assert_eq!(
        ran.lines(),
        (0..20).map(|number| number.to_string()).collect::<Vec<_>>()
    );
}

#[test]
fn a_stop_lets_the_running_command_finish() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    let gate = store.file("gate");
    let made = std::process::Command::new("mkfifo")
        .arg(&gate)
        .status()
        .unwrap();
    assert!(made.success());
    let script = format!("echo started; cat {}; echo finished", gate.display());
    let mut running =
        Running::start(store.command("work", &["--queue", "q", "--", "sh", "-c", &script]));
    assert_eq!(running.line().unwrap(), "started");
    running.signal(Signal::TERM);
    fs::write(&gate, "go\n").unwrap();
    assert_eq!(running.rest(), ["go", "finished"]);
    assert_eq!(running.wait(), 0);
    assert_eq!(store.live(), 0);
}

#[test]
fn a_second_signal_ends_at_once_and_costs_the_message_nothing() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    let mut running = Running::start(store.command(
        "work",
        &[
            "--queue",
            "q",
            "--",
            "sh",
            "-c",
            "echo started; exec sleep 1000",
        ],
    ));
    assert_eq!(running.line().unwrap(), "started");
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    running.rest();
    assert_eq!(running.wait(), 0);
    let left = store.mq("messages ls", &["--json"]).only_json();
    assert_eq!(
        (left.get("state").unwrap(), left.get("failures").unwrap()),
        (&"ready".into(), &0.into())
    );
}

#[test]
fn a_command_that_is_not_there_is_refused_before_any_message_is_touched() {
    let store = Store::new();
    store.enqueue("q", &numbers(1));
    let ran = store.mq(
        "work",
        &[
            "--queue",
            "q",
            "--until-empty",
            "--",
            "no-such-program-anywhere",
        ],
    );
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let left = store.mq("messages ls", &["--json"]).only_json();
    assert_eq!(left.get("deliveries").unwrap(), &0);
}
