//! Verbs for a store as a whole: backup, snapshot; and those that teach the shell.

use crate::setup::Store;

#[test]
fn a_backup_is_a_store_with_the_same_messages() {
    let store = Store::new();
    let ids = store.enqueue("mail", &["one".to_owned(), "two".to_owned()]);
    let to = store.file("backup");
    let copied = store.mq("backup", &["--to", to.to_str().unwrap(), "--json"]);
    assert_eq!(copied.only_json()["messages"], 2);
    let again = store.mq("backup", &["--to", to.to_str().unwrap()]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    let copy = to.to_str().unwrap();
    let shown = crate::setup::mq(&["messages", "ls", "--data", copy, "--json"]);
    let found: Vec<_> = shown.json().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(found, ids);
}

#[test]
fn a_store_that_another_process_works_is_copied_by_its_owner() {
    let store = Store::new();
    store.enqueue("mail", &["one".to_owned()]);
    let engine = mq::Engine::builder(store.data()).open_wait().unwrap();
    let to = store.file("backup");
    let copied = store.mq("backup", &["--to", to.to_str().unwrap(), "--json"]);
    assert_eq!(copied.only_json()["messages"], 1);
    assert_eq!(store.mq("snapshot", &["--json"]).only_json()["messages"], 1);
    let again = store.mq("backup", &["--to", to.to_str().unwrap()]);
    assert_eq!(again.code, 2, "{}", again.stderr);
    engine.close_wait().unwrap();
    let verified = crate::setup::mq(&["verify", "--data", to.to_str().unwrap(), "--json"]);
    assert_eq!(verified.only_json()["sound"], true);
}

#[test]
fn a_snapshot_says_what_it_covers() {
    let store = Store::new();
    store.enqueue("mail", &["one".to_owned()]);
    let taken = store.mq("snapshot", &["--json"]).only_json();
    assert_eq!(taken["messages"], 1);
    assert!(taken["position"].is_string() && taken["bytes"].as_u64().unwrap() > 100);
}

#[test]
fn nothing_is_made_where_no_store_is() {
    let store = Store::new();
    let to = store.file("backup");
    assert_eq!(store.mq("backup", &["--to", to.to_str().unwrap()]).code, 5);
    assert_eq!(store.mq("snapshot", &[]).code, 5);
    assert!(!store.data().exists() && !to.exists());
}

#[test]
fn shells_and_manual_readers_are_taught_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let script = crate::setup::mq(&["completions", shell]);
        assert_eq!(script.code, 0, "{}", script.stderr);
        assert!(script.stdout.contains("backup") && script.stdout.contains("idempotency-key"));
    }
    let page = crate::setup::mq(&["man"]);
    assert!(page.stdout.starts_with(".ie") && page.stdout.contains("Exit codes"));
    let page = crate::setup::mq(&["man", "dlq", "replay"]);
    assert!(page.stdout.contains("dry\\-run"), "{}", page.stdout);
    assert_eq!(crate::setup::mq(&["man", "nonsense"]).code, 2);
}

#[test]
fn what_is_whole_in_a_damaged_store_comes_out_and_the_rest_is_named() {
    let store = Store::new();
    let ids = store.enqueue("mail", &["one".to_owned(), "two".to_owned()]);
    // One bit of the second payload, wherever it lies.
    let mut damaged = false;
    for entry in std::fs::read_dir(store.data()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(3).position(|window| window == b"two") {
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            damaged = true;
        }
    }
    assert!(damaged);
    let before = files(&store);
    let to = store.file("rescued");
    let to = to.to_str().unwrap();
    let ran = store.mq("salvage", &["--to", to, "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["messages"], 1);
    assert_eq!(report["lost"][0]["id"], ids[1].as_str());
    assert!(report["schedules"].is_array() && report["queues"].is_array());
    assert_eq!(files(&store), before, "the damaged store was changed");
    let left = crate::setup::mq(&["messages", "ls", "--data", to, "--json"]);
    assert_eq!(left.only_json()["id"], ids[0].as_str());
    assert_eq!(store.mq("salvage", &["--to", to]).code, 2);
}

/// Every file of a store but its lock, with its bytes.
fn files(store: &Store) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(store.data()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.is_file() && !path.ends_with("LOCK"));
    files
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn a_store_that_works_is_not_salvaged() {
    let store = Store::new();
    store.enqueue("mail", &["one".to_owned()]);
    let engine = mq::Engine::builder(store.data()).open_wait().unwrap();
    let to = store.file("rescued");
    let refused = store.mq("salvage", &["--to", to.to_str().unwrap()]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(!to.exists());
    engine.close_wait().unwrap();
    let ran = store.mq("salvage", &["--to", to.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{} {}", ran.stdout, ran.stderr);
}

#[test]
fn a_bench_counts_and_leaves_nothing_behind() {
    let store = Store::new();
    std::fs::create_dir(store.file("here")).unwrap();
    let folder = store.file("here");
    let arguments = [
        "bench",
        "--in",
        folder.to_str().unwrap(),
        "--for",
        "50ms",
        "--json",
    ];
    let counted = crate::setup::mq(&arguments).only_json();
    for field in ["disk_syncs", "enqueue_1", "enqueue_64", "jobs"] {
        let rate = counted[format!("{field}_per_second")].as_f64().unwrap();
        assert!(rate > 1.0, "{field}: {counted}");
    }
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}
