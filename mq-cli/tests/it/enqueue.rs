//! `mq enqueue`: ids in order, durable before they are printed, an unbroken beginning when something fails.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::setup::{Running, Store};

#[test]
fn every_line_gets_an_id_in_order() {
    let store = Store::new();
    let input: String = (0..10_000)
        .map(|number| format!("{{\"number\":{number}}}\n"))
        .collect();
    let ran = store.mq_with(input.as_bytes(), "enqueue", &["--queue", "numbers"]);
    let ids = ran.lines();
    assert_eq!(ids.len(), 10_000);
    assert!(ids.is_sorted(), "ids of one producer grow");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 10_000);
    for (index, number) in [(0, 0), (4_321, 4_321), (9_999, 9_999)] {
        let id = ids.get(index).unwrap();
        let shown = store.mq("messages show", &["--payload", id]);
        assert_eq!(shown.stdout, format!("{{\"number\":{number}}}"));
    }
    assert_eq!(store.live(), 10_000);
}

#[test]
fn raw_bytes_come_back_as_they_were() {
    let store = Store::new();
    let ran = store.mq_with(
        b"\xff\x00\x1b[2J\r\n",
        "enqueue",
        &["--queue", "q", "--raw"],
    );
    let shown = store
        .mq("messages show", &["--json", ran.lines().first().unwrap()])
        .only_json();
    assert_eq!(shown.get("payload_hex").unwrap(), "ff001b5b324a0d");
    let shown = store.mq("messages show", &[ran.lines().first().unwrap()]);
    assert!(
        shown.stdout.contains(r"\xff\u{0}\u{1b}[2J\r"),
        "{}",
        shown.stdout
    );
}

#[test]
fn an_empty_input_is_no_message() {
    let store = Store::new();
    assert!(
        store
            .mq_with(b"", "enqueue", &["--queue", "q"])
            .lines()
            .is_empty()
    );
}

#[test]
fn sending_a_file_again_with_idempotency_keys_adds_nothing() {
    let store = Store::new();
    let file = store.file("orders.jsonl");
    fs::write(&file, "{\"order\":\"A\"}\n{\"order\":\"B\"}\n").unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["--queue", "orders", "--idempotency-key", "/order", file];
    let first = store.mq("enqueue", &arguments);
    let second = store.mq("enqueue", &arguments);
    assert_eq!(first.lines(), second.lines());
    assert_eq!(store.live(), 2);
}

#[test]
fn a_wrong_line_ends_the_output_and_is_named() {
    let store = Store::new();
    let ran = store.mq_with(b"1\n2\noops\n4\n", "enqueue", &["--queue", "q"]);
    assert_eq!((ran.code, ran.stdout.lines().count()), (1, 2));
    assert!(ran.stderr.contains("line 3: not JSON"), "{}", ran.stderr);
    assert_eq!(store.live(), 2);
}

#[test]
fn a_refused_line_ends_the_output_and_later_stored_ones_are_named() {
    let store = Store::new();
    let arguments = ["--queue", "q", "--idempotency-key", "/k"];
    let ran = store.mq_with(
        b"{\"k\":1}\n{\"k\":1,\"other\":2}\n{\"k\":3}\n",
        "enqueue",
        &arguments,
    );
    assert_eq!((ran.code, ran.stdout.lines().count()), (1, 1));
    assert!(
        ran.stderr.contains("line 2: ") && ran.stderr.contains("another payload"),
        "{}",
        ran.stderr
    );
    let stored = ran.stderr.contains("line 3 is stored all the same");
    assert_eq!(store.live(), if stored { 2 } else { 1 }, "{}", ran.stderr);
}

#[test]
fn an_id_is_printed_while_the_input_is_still_open() {
    let store = Store::new();
    let mut running = Running::start(store.command("enqueue", &["--queue", "q"]));
    for number in 1..=3 {
        let stdin = running.stdin.as_mut().unwrap();
        writeln!(stdin, "{number}").unwrap();
        assert!(running.line().is_some());
    }
    assert_eq!(running.wait(), 0);
    assert_eq!(store.live(), 3);
}

#[test]
fn a_signal_ends_it_after_what_is_under_way() {
    for signal in [Signal::INT, Signal::TERM] {
        let store = Store::new();
        let mut running = Running::start(store.command("enqueue", &["--queue", "q"]));
        writeln!(running.stdin.as_mut().unwrap(), "1").unwrap();
        let id = running.line().unwrap();
        running.signal(signal);
        assert!(running.rest().is_empty());
        assert_eq!(running.wait(), 1);
        assert_eq!(store.mq("messages show", &["--payload", &id]).stdout, "1");
    }
}

#[test]
fn a_reader_that_goes_away_is_told_of() {
    let store = Store::new();
    let command = format!(
        "seq 20000 | {} enqueue --queue q --data {} | head -n 1",
        env!("CARGO_BIN_EXE_mq"),
        store.data().display()
    );
    let piped = Command::new("bash")
        .args(["-c", &format!("set -o pipefail; {command}")])
        .output()
        .unwrap();
    assert_eq!(piped.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&piped.stderr).contains("nobody reads the ids"),
        "{piped:?}"
    );
    assert!(store.live() > 0);
}

#[test]
fn a_store_that_stops_prints_nothing_that_is_not_durable() {
    let store = Store::new();
    let deaf = format!("trap '' XFSZ; exec {} \"$@\"", env!("CARGO_BIN_EXE_mq"));
    let mut command = Command::new("bash");
    command
        .args([
            "-c", &deaf, "mq", "enqueue", "--queue", "q", "--raw", "--data",
        ])
        .arg(store.data());
    command.stdout(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        let line = format!("{}\n", "x".repeat(1_000));
        while stdin.write_all(line.as_bytes()).is_ok() {}
    });
    let mut ids: Vec<String> = (0..2_000).map_while(|_| running.line()).collect();
    running.let_no_file_grow_beyond(64 << 10);
    ids.extend(running.rest());
    assert_eq!(running.wait(), 1);
    feeding.join().unwrap();
    let known: BTreeSet<String> = store
        .mq("messages ls", &["--json", "--limit", "10000000"])
        .json()
        .iter()
        .map(|message| message.get("id").unwrap().as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<&String> = ids.iter().filter(|id| !known.contains(*id)).collect();
    assert!(
        ids.len() >= 2_000 && lost.is_empty(),
        "{} of {} printed ids are lost",
        lost.len(),
        ids.len()
    );
}
