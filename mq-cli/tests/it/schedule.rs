//! Schedules from the command line, on a store that nobody owns and on one that somebody works on.

use rustix::process::Signal;

use crate::setup::{Running, Store, mq};

fn new_store() -> Store {
    let store = Store::new();
    store.enqueue("other", &["1".to_owned()]);
    store
}

const REPORT: [&str; 9] = [
    "report",
    "--cron",
    "30 2 * * *",
    "--zone",
    "Europe/Berlin",
    "--queue",
    "mail",
    "--payload",
    "{\"to\":7}",
];

#[test]
fn a_schedule_is_put_listed_changed_and_removed() {
    let store = new_store();
    assert_eq!(store.mq("schedule put", &REPORT).lines(), ["created"]);
    assert_eq!(store.mq("schedule put", &REPORT).lines(), ["unchanged"]);
    let schedule = store.mq("schedule ls", &["--json"]).only_json();
    let field = |name: &str| schedule.get(name).cloned().unwrap_or_default();
    assert_eq!(field("name"), "report");
    assert_eq!(field("zone"), "Europe/Berlin");
    assert_eq!(
        (field("missed"), field("queue")),
        ("once".into(), "mail".into())
    );
    assert_eq!((field("paused"), field("runs")), (false.into(), 0.into()));
    let by_hand = ["report", "--by-hand", "--queue", "mail", "--keep"];
    assert_eq!(store.mq("schedule put", &by_hand).lines(), ["unchanged"]);
    store.mq("schedule pause", &["report"]).lines();
    let table = store.mq("schedule ls", &[]);
    assert!(
        table.lines().last().unwrap().ends_with("paused"),
        "{}",
        table.stdout
    );
    store.mq("schedule resume", &["report"]).lines();
    store.mq("schedule rm", &["report"]).lines();
    assert_eq!(store.mq("schedule ls", &["--json"]).json().len(), 0);
    for verb in [
        "schedule pause",
        "schedule resume",
        "schedule rm",
        "schedule run",
        "schedule next",
    ] {
        let ran = store.mq(verb, &["report"]);
        assert_eq!(ran.code, 5, "{verb}: {}", ran.stderr);
    }
}

#[test]
fn a_run_by_hand_prints_the_id_of_its_message() {
    let store = new_store();
    let put = [
        "report",
        "--by-hand",
        "--queue",
        "mail",
        "--raw",
        "--payload",
        "hello",
        "--header",
        "tenant=acme",
    ];
    store.mq("schedule put", &put).lines();
    let ran = store.mq("schedule run", &["report"]);
    let [id] = ran.lines().try_into().unwrap();
    let message = store.mq("messages show", &[id, "--json"]).only_json();
    assert_eq!(message.get("payload_text").unwrap(), "hello");
    let headers = message.get("headers").unwrap().to_string();
    assert!(
        headers.contains("[\"mq-schedule\",\"report\"]"),
        "{headers}"
    );
    assert!(headers.contains("mq-scheduled-for"), "{headers}");
}

#[test]
fn the_next_times_are_shown_with_and_without_a_store() {
    let store = new_store();
    store.mq("schedule put", &REPORT).lines();
    let next = store
        .mq("schedule next", &["report", "--count", "3", "--json"])
        .only_json();
    let fires = next.get("fires").unwrap().as_array().unwrap();
    assert_eq!(fires.len(), 3);
    let text = store.mq("schedule next", &["report", "--count", "3"]);
    let preview = mq(&[
        "schedule",
        "preview",
        "30 2 * * *",
        "--zone",
        "Europe/Berlin",
        "--count",
        "3",
    ]);
    assert_eq!(text.lines(), preview.lines());
    for (fire, line) in fires.iter().zip(preview.lines()) {
        assert!(line.starts_with(fire.as_str().unwrap()), "{line}");
        assert!(
            line.ends_with("+01:00") || line.ends_with("+02:00"),
            "{line}"
        );
    }
}

#[test]
fn what_cannot_be_a_schedule_is_wrong_usage() {
    let store = new_store();
    for arguments in [
        vec!["a", "--cron", "61 * * * *", "--queue", "q"],
        vec!["a", "--cron", "0 0 30 2 *", "--queue", "q"],
        vec![
            "a",
            "--cron",
            "@daily",
            "--zone",
            "Europe/Atlantis",
            "--queue",
            "q",
        ],
        vec!["a", "--every", "10ms", "--queue", "q"],
        vec!["a", "--every", "1h", "--zone", "UTC", "--queue", "q"],
        vec!["a", "--every", "1h", "--by-hand", "--queue", "q"],
        vec!["a", "--queue", "q"],
        vec!["a b", "--every", "1h", "--queue", "q"],
        vec!["a", "--every", "1h", "--queue", "q", "--payload", "{"],
    ] {
        let ran = store.mq("schedule put", &arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(mq(&["schedule", "preview", "every day"]).code, 2);
    assert_eq!(store.mq("schedule ls", &["--json"]).json().len(), 0);
}

#[test]
fn a_verb_that_opens_the_store_fires_nothing_and_a_worker_fires() {
    let store = new_store();
    store
        .mq(
            "schedule put",
            &["tick", "--every", "1s", "--queue", "ticks"],
        )
        .lines();
    let schedule = || store.mq("schedule ls", &["--json"]).only_json();
    let next = schedule().get("next").unwrap().clone();
    let mut worker =
        Running::start(store.command("work", &["--queue", "ticks", "--", "sh", "-c", "echo ran"]));
    assert_eq!(worker.line().as_deref(), Some("ran"));
    let while_owned = schedule();
    assert_ne!(
        while_owned.get("next").unwrap(),
        &next,
        "answered by the worker"
    );
    worker.signal(Signal::TERM);
    worker.rest();
    assert_eq!(worker.wait(), 0);
    let after = schedule();
    let runs = |schedule: &serde_json::Value| schedule.get("runs").unwrap().as_u64().unwrap();
    assert!(runs(&after) >= runs(&while_owned).max(1));
}
