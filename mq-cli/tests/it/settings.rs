//! What an operator sets for a queue, and messages that are purged: with and without an owner of the store.

use mq::Engine;

use crate::setup::Store;

fn settings(store: &Store) -> serde_json::Value {
    store.mq("queue show", &["mail", "--json"]).only_json()
}

#[test]
fn settings_of_a_queue_are_set_shown_and_survive_whoever_owns_the_store() {
    let store = Store::new();
    store.enqueue("other", &["1".to_owned()]);
    let all = [
        "mail",
        "--hold-new",
        "review",
        "--retain-completed",
        "7d",
        "--limit-messages",
        "2",
    ];
    let shown = store.mq("queue set", &all);
    assert!(
        shown.lines().concat().contains("as review"),
        "{}",
        shown.stdout
    );
    let expected = serde_json::json!({
        "queue": "mail", "paused": false, "hold_new": "review", "retain_completed_ms": 604_800_000,
        "retain_completed_forever": false, "messages_max": 2,
    });
    assert_eq!(settings(&store), expected);
    let owner = Engine::builder(store.data()).open_wait().unwrap();
    assert_eq!(settings(&store), expected, "from the owner of the store");
    store.enqueue("mail", &["1".to_owned(), "2".to_owned()]);
    let held = store.mq("messages ls", &["--held-as", "review", "--json"]);
    assert_eq!(held.json().len(), 2);
    let full = store.mq_with(b"3\n", "enqueue", &["--queue", "mail"]);
    assert_eq!(full.code, 1);
    assert!(
        full.stderr.contains("2 of the 2 messages"),
        "{}",
        full.stderr
    );
    let back = [
        "mail",
        "--no-hold-new",
        "--retain-completed",
        "forever",
        "--no-limit-messages",
    ];
    store.mq("queue set", &back).lines();
    owner.close_wait().unwrap();
    let expected =
        serde_json::json!({"queue": "mail", "paused": false, "retain_completed_forever": true});
    assert_eq!(settings(&store), expected);
    store.enqueue("mail", &["3".to_owned()]);
    assert_eq!(
        store
            .mq("messages ls", &["--state", "ready", "--json"])
            .json()
            .len(),
        2
    );
}

#[test]
fn a_setting_that_makes_no_sense_is_refused_and_nothing_is_set() {
    let store = Store::new();
    store.enqueue("mail", &["1".to_owned()]);
    for rest in [
        &["mail"][..],
        &["mail", "--hold-new", "no spaces"],
        &["no spaces", "--no-hold-new"],
        &["mail", "--retain-completed", "soon"],
        &["mail", "--limit-messages", "many"],
        &["mail", "--limit-messages", "1", "--no-limit-messages"],
    ] {
        let refused = store.mq("queue set", rest);
        assert_eq!(refused.code, 2, "{rest:?}: {}", refused.stderr);
    }
    let untouched =
        serde_json::json!({"queue": "mail", "paused": false, "retain_completed_forever": false});
    assert_eq!(settings(&store), untouched);
}

#[test]
fn completed_and_held_messages_are_purged_by_state_and_age_and_others_stay() {
    let store = Store::new();
    let lines: Vec<String> = (0..3).map(|number| number.to_string()).collect();
    let ids = store.enqueue("held", &lines);
    assert_eq!(
        store
            .mq("queue set", &["q", "--retain-completed", "forever"])
            .code,
        0
    );
    store.enqueue("q", &lines);
    store
        .mq("work", &["--queue", "q", "--until-empty", "--", "true"])
        .lines();
    let first = ids.first().unwrap().as_str();
    store.mq("messages hold", &[first]).lines();
    let unsaid = store.mq("messages purge", &["--all", "--queue", "q"]);
    assert_eq!(unsaid.code, 2, "{}", unsaid.stderr);
    assert_eq!(
        store
            .mq("messages purge", &["--all", "--state", "ready"])
            .code,
        2
    );
    let young = ["--all", "--state", "completed", "--older-than", "1h"];
    assert_eq!(
        store.mq("messages purge", &young).lines(),
        ["job 1 completed: purge, 0 matched, 0 done"]
    );
    let completed = ["--all", "--state", "completed"];
    let dry = [&completed[..], &["--dry-run"]].concat();
    assert_eq!(store.mq("messages purge", &dry).lines().len(), 3);
    let owner = Engine::builder(store.data()).open_wait().unwrap();
    assert_eq!(
        store.mq("messages purge", &completed).lines(),
        ["job 2 completed: purge, 3 matched, 3 done"]
    );
    owner.close_wait().unwrap();
    assert_eq!(store.mq("messages purge", &[first]).lines(), [first]);
    let waits = ids.last().unwrap().as_str();
    assert_eq!(store.mq("messages purge", &[waits]).code, 1, "it waits");
    assert_eq!(store.live(), 2);
}
