//! What a person sees on a terminal, and a reader that goes away.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Command, Stdio};

use crate::setup::{Store, terminal};

/// What `mq VERB --data DIR REST` prints on a terminal of `columns`.
fn on_terminal(store: &Store, columns: u16, verb: &str, rest: &[&str]) -> String {
    let (terminal, name) = terminal(columns);
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(&name).unwrap()
    };
    let mut child = store
        .command(verb, rest)
        .env_remove("COLUMNS")
        .stdout(Stdio::from(open()))
        .spawn()
        .unwrap();
    // Read while it runs: a terminal holds only so much. Its end is an error, once nobody has it open.
    let mut printed = Vec::new();
    let mut reader = File::from(terminal);
    reader.read_to_end(&mut printed).ok();
    assert!(child.wait().unwrap().success());
    String::from_utf8(printed).unwrap().replace("\r\n", "\n")
}

fn store() -> Store {
    let store = Store::new();
    let lines: Vec<String> = (0..3).map(|number| format!("\u{1b}[31m{number}")).collect();
    store.enqueue("mail.with-a-long-name-of-its-own", &lines);
    store.enqueue("bad", &lines);
    let script = "printf '\\033[2Jno account, and a long story about it' >&2; exit 100";
    store.mq(
        "work",
        &["--queue", "bad", "--until-empty", "--", "sh", "-c", script],
    );
    store
}

#[test]
fn nothing_but_ids_and_names_is_wider_than_a_terminal_of_20_columns() {
    let store = store();
    for verb in ["messages ls", "dlq ls", "queue ls", "stats", "worker ls"] {
        let shown = on_terminal(&store, 20, verb, &[]);
        let has_name = shown.contains("mail.with-a-long-name-of-its-own");
        assert_eq!(has_name, ["queue ls", "stats"].contains(&verb), "{shown}");
        for line in shown.lines() {
            let whole = line.starts_with("mail.with") || line.len() == 36;
            let fact = line.starts_with("messages that count");
            assert!(
                line.chars().count() <= 20 || whole || fact || line.starts_with("bytes of"),
                "{verb}: {line}"
            );
        }
        assert!(
            !shown.contains('\u{1b}'),
            "{verb} drives the terminal: {shown}"
        );
    }
}

#[test]
fn a_wide_terminal_shows_a_table_and_a_pipe_the_same_table() {
    let store = store();
    for verb in ["messages ls", "dlq ls"] {
        let piped = store.mq(verb, &[]).stdout;
        assert_eq!(on_terminal(&store, 300, verb, &[]), piped, "{verb}");
        assert!(!piped.contains('\u{1b}'), "{verb}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_listing_quietly() {
    let store = Store::new();
    let lines: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    store.enqueue("q", &lines);
    for verb in [
        "messages ls --limit 3000",
        "messages ls --limit 3000 --json",
        "dump",
    ] {
        let command = format!(
            "{} {verb} --data {} | head -n 1",
            env!("CARGO_BIN_EXE_mq"),
            store.data().display()
        );
        let piped = Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {command}")])
            .output()
            .unwrap();
        assert_eq!(piped.status.code(), Some(0), "{verb}: {piped:?}");
        assert!(piped.stderr.is_empty(), "{verb}: {piped:?}");
    }
}
