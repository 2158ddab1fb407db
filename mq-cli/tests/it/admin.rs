//! Looking at a store and operating it.

use std::io::BufRead;
use std::process::Command;

use crate::setup::Store;
use crate::work::ECHO;

#[test]
fn messages_are_listed_with_filters_and_pages() {
    let store = Store::new();
    let lines: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    let ids = store.enqueue("a", &lines);
    store.enqueue("b", &lines);
    let page = store.mq("messages ls", &["--queue", "a", "--limit", "10"]);
    assert_eq!(page.lines().len(), 11, "ten rows below the headings");
    assert!(page.stderr.contains("there are more"), "{}", page.stderr);
    let after = ids.get(9).unwrap();
    let rest = store.mq("messages ls", &["--queue", "a", "--after", after, "--json"]);
    assert_eq!(rest.json().len(), 15);
    assert_eq!(
        store
            .mq("messages ls", &["--state", "dead", "--json"])
            .json()
            .len(),
        0
    );
}

#[test]
fn queues_are_listed_paused_and_resumed() {
    let store = Store::new();
    store.enqueue("mail", &["1".to_owned()]);
    store.mq("queue pause", &["mail"]).lines();
    let queue = store.mq("queue ls", &["--json"]).only_json();
    assert_eq!(
        (queue.get("paused").unwrap(), queue.get("ready").unwrap()),
        (&true.into(), &1.into())
    );
    store.mq("queue resume", &["mail"]).lines();
    assert_eq!(
        store
            .mq("queue ls", &["--json"])
            .only_json()
            .get("paused")
            .unwrap(),
        false
    );
}

#[test]
fn explain_says_what_a_message_waits_for() {
    let store = Store::new();
    let ran = store.mq_with(
        b"1\n2\n",
        "enqueue",
        &["--queue", "q", "--ordering-key", "k"],
    );
    let ids = ran.lines();
    let (first, second) = (ids.first().unwrap(), ids.last().unwrap());
    let text = store.mq("messages explain", &[second]).stdout;
    assert!(text.contains(*first), "{text}");
    store.mq("queue pause", &["q"]).lines();
    let text = store.mq("messages explain", &[first]).stdout;
    assert!(text.contains("paused"), "{text}");
}

#[test]
fn dead_letters_are_purged_by_id_and_by_filter() {
    let store = Store::new();
    let lines: Vec<String> = (0..5).map(|number| number.to_string()).collect();
    let ids = store.enqueue("q", &lines);
    let worked = store.give_up("q");
    assert_eq!(worked.code, 1);
    let one = ids.first().unwrap();
    assert_eq!(store.mq("dlq purge", &[one]).lines(), [one.as_str()]);
    let would = store.mq("dlq purge", &["--all", "--dry-run"]);
    assert_eq!(would.lines().len(), 4);
    assert_eq!(
        store.mq("dlq ls", &["--json"]).json().len(),
        4,
        "a dry run changes nothing"
    );
    assert_eq!(
        store
            .mq("dlq purge", &["--all", "--older-than", "1h"])
            .lines(),
        ["job 1 completed: purge, 0 matched, 0 done"]
    );
    assert_eq!(
        store
            .mq("dlq purge", &["--all", "--reason", "dead_lettered"])
            .lines(),
        ["job 2 completed: purge, 4 matched, 4 done"]
    );
    assert!(store.mq("dlq ls", &["--json"]).lines().is_empty());
}

#[test]
fn a_dead_letter_comes_back_with_another_payload() {
    let store = Store::new();
    let ids = store.enqueue("q", &["wrong".to_owned()]);
    store.give_up("q");
    let fixed = store.file("fixed");
    std::fs::write(&fixed, "right").unwrap();
    let id = ids.first().unwrap();
    let edit = ["--edit", fixed.to_str().unwrap(), id];
    let broken = store.mq("dlq replay", &edit);
    assert_eq!(broken.code, 2, "no handler could decode it");
    assert!(broken.stderr.contains("--raw"), "{}", broken.stderr);
    let raw = [&["--raw"], &edit[..]].concat();
    store.mq("dlq replay", &raw).lines();
    let shown = store.mq("messages show", &[id]).stdout;
    assert!(
        shown.contains(" replay with another payload by mq"),
        "{shown}"
    );
    let ran = store.mq(
        "work",
        &["--queue", "q", "--until-empty", "--", "sh", "-c", ECHO],
    );
    assert_eq!(ran.lines(), ["right"]);
}

#[test]
fn a_sound_store_is_verified_and_dumped_without_changing_it() {
    let store = Store::new();
    store.enqueue("q", &["1".to_owned(), "2".to_owned()]);
    let before = snapshot(&store);
    let verified = store.mq("verify", &[]);
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    assert!(!store.mq("dump", &[]).lines().is_empty());
    assert_eq!(snapshot(&store), before);
}

/// Names, sizes and contents of the store's files.
fn snapshot(store: &Store) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(store.data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn defaults_are_printed_and_help_teaches() {
    let mq = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mq"))
            .args(words)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, text) = mq(&["config"]);
    assert!(code == Some(0) && text.contains("1048576"), "{text}");
    for verb in [
        &["--help"][..],
        &["enqueue", "--help"],
        &["work", "--help"],
        &["dlq", "purge", "--help"],
    ] {
        let (code, text) = mq(verb);
        assert!(
            code == Some(0) && text.contains("Examples:"),
            "{verb:?}: {text}"
        );
    }
}

#[test]
fn messages_are_held_released_moved_hurried_and_cancelled() {
    let store = Store::new();
    let ids = store.enqueue("q", &["1".to_owned(), "2".to_owned()]);
    let id = ids.first().unwrap().as_str();
    let state = || {
        let shown = store.mq("messages show", &["--json", id]).only_json();
        let text = |name: &str| {
            let value = shown.get(name).unwrap();
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        (text("state"), text("queue"), text("priority"))
    };
    let change = |verb: &str, rest: &[&str]| {
        let ran = store.mq(&format!("messages {verb}"), rest);
        assert_eq!(ran.lines(), [id], "{verb}");
        state()
    };
    let was = |state: &str, queue: &str, priority: &str| {
        (state.to_owned(), queue.to_owned(), priority.to_owned())
    };
    assert_eq!(
        change("hold", &["--label", "audit", id]),
        was("held", "q", "4")
    );
    assert_eq!(change("release", &[id]), was("ready", "q", "4"));
    assert_eq!(
        change("reschedule", &["--delay", "1h", id]),
        was("scheduled", "q", "4")
    );
    assert_eq!(change("run-now", &[id]), was("ready", "q", "4"));
    let later = ["--at", "2999-01-01T00:00:00Z", id];
    assert_eq!(change("reschedule", &later), was("scheduled", "q", "4"));
    assert_eq!(
        change("set-priority", &["--priority", "9", id]),
        was("scheduled", "q", "9")
    );
    assert_eq!(
        change("move", &["--to", "r", id]),
        was("scheduled", "r", "9")
    );
    assert_eq!(
        store.mq("messages release", &[id]).code,
        1,
        "it is not held"
    );
    assert_eq!(store.mq("messages cancel", &[id]).lines(), [id]);
    let other = ids.last().unwrap().as_str();
    let both = store.mq("messages cancel", &[other, id]);
    assert_eq!(
        (both.code, both.stdout.lines().count()),
        (5, 1),
        "{}",
        both.stderr
    );
    assert_eq!(store.live(), 0);
}

#[test]
fn what_makes_no_sense_is_refused_before_the_store_is_touched() {
    let store = Store::new();
    let ids = store.enqueue("q", &["1".to_owned()]);
    let id = ids.first().unwrap().as_str();
    for (verb, rest) in [
        ("messages cancel", &[][..]),
        ("messages move", &[id][..]),
        ("messages move", &["--to", "no spaces", id]),
        ("messages set-priority", &["--priority", "10", id]),
        ("messages reschedule", &[id]),
        (
            "messages reschedule",
            &["--delay", "1h", "--at", "2999-01-01T00:00:00Z", id],
        ),
        ("messages reschedule", &["--at", "tomorrow", id]),
        ("messages hold", &["--label", "no spaces", id]),
        ("messages ls", &["--state", "running"]),
        ("messages ls", &["--limit", "-1"]),
        ("messages ls", &["--after", "7"]),
        ("messages explain", &["\u{1b}[2J"]),
        ("queue pause", &["\u{1b}[2J"]),
        ("stats", &["--wait", "5"]),
    ] {
        let ran = store.mq(verb, rest);
        assert_eq!(ran.code, 2, "{verb} {rest:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains('\u{1b}'), "{verb} drives the terminal");
    }
    let elsewhere = Store::new();
    let foreign = elsewhere.enqueue("q", &["1".to_owned()]);
    let behind = store.mq("messages ls", &["--after", foreign.first().unwrap()]);
    assert_eq!(behind.code, 5, "of another store: {}", behind.stderr);
    let none = store.mq("messages ls", &["--queue", "no-such-queue"]);
    assert!(none.stderr.contains("nothing matches"), "{}", none.stderr);
    let idle = store.mq("worker ls", &[]);
    assert!(idle.stderr.contains("no process works"), "{}", idle.stderr);
    let nothing = store.mq("messages ls", &["--queue", "no-such-queue", "--json"]);
    assert!(nothing.lines().is_empty());
    assert_eq!(store.live(), 1);
}

/// A store with five payments of 0, 100, … cents.
fn payments() -> (Store, Vec<String>) {
    let store = Store::new();
    let lines: Vec<String> = (0..5)
        .map(|n| format!("{{\"cents\": {}}}", n * 100))
        .collect();
    let ids = store.enqueue("pay", &lines);
    (store, ids)
}

#[test]
fn messages_are_chosen_by_fields_of_their_payloads() {
    let (store, ids) = payments();
    let listed = store
        .mq("messages ls", &["--where", "/cents >= 300", "--json"])
        .json();
    assert_eq!(listed.len(), 2);
    let both = [
        "--where",
        "/cents >= 100",
        "--where",
        "/cents != 200",
        "--json",
    ];
    assert_eq!(store.mq("messages ls", &both).json().len(), 3);
    let wrong = store.mq("messages ls", &["--where", "cents > 1"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    let unkeyed = store.mq("messages ls", &["--ordering-key", "k"]);
    assert_eq!(unkeyed.code, 2, "{}", unkeyed.stderr);
    assert_eq!(ids.len(), 5);
}

#[test]
fn many_messages_are_changed_by_filter_as_a_job_that_stays_on_record() {
    let (store, ids) = payments();
    let chosen = ["--all", "--where", "/cents >= 200", "--label", "audit"];
    let dry = store.mq("messages hold", &[&chosen[..], &["--dry-run"]].concat());
    assert_eq!(dry.lines(), ids.get(2..).unwrap());
    assert!(
        store.mq("jobs ls", &["--json"]).lines().is_empty(),
        "a dry run is no job"
    );
    let held = store.mq(
        "messages hold",
        &[&chosen[..], &["--by", "zoe", "--rate", "1000"]].concat(),
    );
    assert_eq!(held.code, 0, "{}", held.stderr);
    assert_eq!(held.lines(), ["job 1 completed: hold, 3 matched, 3 done"]);
    let listed = store
        .mq("messages ls", &["--held-as", "audit", "--json"])
        .json();
    assert_eq!(listed.len(), 3);
    let edit = listed
        .first()
        .unwrap()
        .get("edits")
        .unwrap()
        .get(0)
        .unwrap();
    assert_eq!(edit.get("by").unwrap(), "job 1 by zoe");
    let job = store.mq("jobs ls", &["--json"]).only_json();
    assert_eq!(
        (job.get("by").unwrap(), job.get("state").unwrap()),
        (&"zoe".into(), &"completed".into())
    );
    assert_eq!(store.mq("jobs cancel", &["1"]).code, 1, "it has ended");
    assert_eq!(store.mq("jobs show", &["7"]).code, 5);
    assert!(
        store
            .mq("jobs show", &["1"])
            .only_json()
            .get("spec")
            .is_some()
    );
    let refused = store.mq("messages cancel", &["--queue", "pay", ids.first().unwrap()]);
    assert_eq!(refused.code, 2, "filters need --all");
    assert_eq!(store.mq("messages cancel", &[]).code, 2);
    let all = store.mq("messages cancel", &["--all"]);
    assert_eq!(all.code, 2, "the whole store is not meant by chance");
    let all = store.mq("messages cancel", &["--everything"]);
    assert_eq!(all.lines(), ["job 2 completed: cancel, 5 matched, 5 done"]);
}

#[test]
fn dead_letters_are_counted_in_groups_and_replayed_at_a_rate() {
    let (store, _) = payments();
    store.give_up("pay");
    let group = store.mq("dlq groups", &["--json"]).only_json();
    assert_eq!(
        (group.get("count").unwrap(), group.get("reason").unwrap()),
        (&5.into(), &"dead_lettered".into())
    );
    assert_eq!(store.mq("dlq groups", &[]).lines().len(), 2);
    let some = ["--all", "--where", "/cents < 200", "--rate", "1000"];
    assert_eq!(
        store.mq("dlq replay", &some).lines(),
        ["job 1 completed: replay, 2 matched, 2 done"]
    );
    assert_eq!(store.mq("dlq ls", &["--json"]).json().len(), 3);
}

#[test]
fn replaying_all_is_a_job_without_a_rate_too_and_can_be_waited_for_again() {
    let (store, ids) = payments();
    store.give_up("pay");
    let dry = store.mq("dlq replay", &["--all", "--dry-run"]);
    assert_eq!(dry.lines(), ids);
    let replayed = store.mq("dlq replay", &["--all", "--by", "zoe"]);
    assert_eq!(
        replayed.lines(),
        ["job 1 completed: replay, 5 matched, 5 done"]
    );
    assert!(replayed.stderr.is_empty(), "{}", replayed.stderr);
    let job = store.mq("jobs ls", &["--json"]).only_json();
    assert_eq!(
        (job.get("by").unwrap(), job.get("what").unwrap()),
        (&"zoe".into(), &"replay".into())
    );
    assert_eq!(store.mq("jobs wait", &["1"]).lines(), replayed.lines());
    assert_eq!(store.mq("jobs wait", &["7"]).code, 5);
}

#[test]
fn a_slow_job_tells_how_it_is_stopped_and_what_it_prints_can_be_pasted() {
    let (store, _) = payments();
    let mut slow = store
        .command("messages hold", &["--everything", "--rate", "1"])
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(slow.stderr.take().unwrap()).lines();
    let mut suggested = |what: &str| {
        let line = said.find(|line| line.as_ref().is_ok_and(|line| line.contains(what)));
        let line = line.unwrap().unwrap();
        let at = line.find("mq jobs").unwrap();
        line.get(at..).unwrap().to_owned()
    };
    let cancel = suggested("Stop it");
    // The one that made the job owns the store here, and so is asked.
    let pasted = cancel.replacen("mq", env!("CARGO_BIN_EXE_mq"), 1);
    let cancelled = Command::new("sh").args(["-c", &pasted]).output().unwrap();
    assert!(cancelled.status.success(), "{cancelled:?}");
    let ended = slow.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let line = String::from_utf8(ended.stdout).unwrap();
    assert!(line.starts_with("job 1 cancelled: hold"), "{line}");
}

#[test]
fn what_explain_suggests_helps_when_it_is_pasted() {
    let store = Store::new();
    let ids = store.enqueue("q", &["1".to_owned()]);
    let id = ids.first().unwrap().as_str();
    let follow = || {
        let shown = store.mq("messages explain", &[id]).stdout;
        let at = shown.rfind("mq ").unwrap();
        let pasted = shown
            .get(at..)
            .unwrap()
            .replacen("mq", env!("CARGO_BIN_EXE_mq"), 1);
        let ran = Command::new("sh").args(["-c", &pasted]).output().unwrap();
        assert!(ran.status.success(), "{pasted}: {ran:?}");
        store.mq("messages show", &["--json", id]).only_json()["state"].clone()
    };
    store.mq("queue pause", &["q"]).lines();
    assert_eq!(follow(), "ready");
    let queue = store.mq("queue ls", &["--json"]).only_json();
    assert_eq!(queue["paused"], false);
    store.mq("messages hold", &[id]).lines();
    assert_eq!(follow(), "ready");
    store
        .mq("messages reschedule", &["--delay", "1h", id])
        .lines();
    assert_eq!(follow(), "ready");
    store.give_up("q");
    assert_eq!(follow(), "ready");
}

#[test]
fn a_queue_is_purged_and_its_dead_letters_and_other_queues_stay() {
    let store = Store::new();
    store.enqueue("q", &["dead".to_owned()]);
    assert_eq!(store.give_up("q").code, 1);
    let lines: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    store.enqueue("q", &lines);
    store.enqueue("r", &["stays".to_owned()]);
    let purged = store.mq("queue purge", &["q"]);
    assert!(purged.lines().concat().contains("50"), "{}", purged.stdout);
    assert_eq!(store.live(), 1);
    assert_eq!(store.mq("dlq ls", &["--json"]).json().len(), 1);
}
