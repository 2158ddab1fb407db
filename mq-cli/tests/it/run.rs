//! `mq run`: a durable xargs.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;

use mq_testing::random::SplitMix64;
use rustix::process::Signal;

use crate::setup::{Running, Store};
use crate::work::ECHO;

fn run<'a>(options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [
        &["--queue", "q", "--raw"],
        options,
        &["--", "sh", "-c", script],
    ]
    .concat()
}

fn lines(count: usize) -> String {
    (0..count)
        .map(|number| format!("line {number}\n"))
        .collect()
}

#[test]
fn every_line_is_worked_on_and_the_run_ends() {
    let store = Store::new();
    let ran = store.mq_with(
        lines(500).as_bytes(),
        "run",
        &run(&["--parallelism", "4"], ECHO),
    );
    let seen: BTreeSet<String> = ran.lines().iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(
        seen,
        lines(500)
            .split_inclusive('\n')
            .map(str::to_owned)
            .collect()
    );
    assert_eq!(store.live(), 0);
    assert!(!store.data().join("control.sock").exists());
}

#[test]
fn nothing_to_do_is_done_at_once_and_what_was_left_is_done_too() {
    let store = Store::new();
    assert_eq!(store.mq("run", &run(&[], ECHO)).code, 0);
    store.enqueue("q", &["left".to_owned()]);
    assert_eq!(store.mq("run", &run(&[], ECHO)).lines(), ["left"]);
}

#[test]
fn a_line_that_goes_dead_is_told_by_the_exit_code() {
    let store = Store::new();
    let ran = store.mq_with(
        lines(3).as_bytes(),
        "run",
        &run(&["--max-attempts", "2", "--backoff", "none"], "! grep -q 1"),
    );
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 messages went dead"),
        "{}",
        ran.stderr
    );
    assert_eq!(store.mq("dlq ls", &["--json"]).json().len(), 1);
}

#[test]
fn a_refused_line_ends_the_input_but_not_the_work() {
    let store = Store::new();
    let rest = ["--queue", "q", "--", "sh", "-c", ECHO];
    let ran = store.mq_with(b"1\n2\noops\n4\n", "run", &rest);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("line 3: not JSON"), "{}", ran.stderr);
    let mut seen: Vec<&str> = ran.stdout.lines().collect();
    seen.sort_unstable();
    assert_eq!(seen, ["1", "2"]);
    assert_eq!(store.live(), 0);
}

#[test]
fn a_run_that_is_killed_again_and_again_does_every_line() {
    let store = Store::new();
    let mut random = SplitMix64::new(7);
    let input = store.file("input");
    fs::write(&input, lines(300)).unwrap();
    let options = [
        "--once",
        "--parallelism",
        "4",
        "--backoff",
        "none",
        input.to_str().unwrap(),
    ];
    let arguments = run(&options, ECHO);
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let mut running = Running::start(store.command("run", &arguments));
        for _ in 0..=random.below(40) {
            seen.insert(running.line().expect("there is more to do than this"));
        }
        running.signal(Signal::KILL);
        seen.extend(running.rest());
    }
    let ran = store.mq("run", &arguments);
    seen.extend(ran.lines().into_iter().map(str::to_owned));
    assert_eq!(seen.len(), 300);
    assert_eq!(store.live(), 0);
    assert!(store.mq("dlq ls", &["--json"]).lines().is_empty());
    assert!(
        store.mq("run", &arguments).lines().is_empty(),
        "all was done"
    );
}

#[test]
fn others_can_look_while_it_runs_and_a_signal_ends_it_with_what_is_left_stored() {
    let store = Store::new();
    let mut running = Running::start(store.command("run", &run(&[], ECHO)));
    writeln!(running.stdin.as_mut().unwrap(), "one").unwrap();
    assert_eq!(running.line().unwrap(), "one");
    store.enqueue("q", &["two".to_owned()]);
    assert_eq!(running.line().unwrap(), "two");
    assert_eq!(store.mq("run", &run(&[], ECHO)).code, 3);
    running.signal(Signal::TERM);
    assert!(running.rest().is_empty());
    assert_eq!(running.wait(), 1);
    assert_eq!(store.live(), 0);
}

#[test]
fn a_line_too_long_for_a_key_is_refused_with_once() {
    let store = Store::new();
    let long = "x".repeat(600);
    let ran = store.mq_with(long.as_bytes(), "run", &run(&["--once"], ECHO));
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("line 1: ") && ran.stderr.contains("key"),
        "{}",
        ran.stderr
    );
}
