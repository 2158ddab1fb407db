//! Exit codes of what cannot be done.

use std::fs;
use std::path::PathBuf;

use crate::setup::Store;

#[test]
fn a_wrong_command_line_is_2() {
    let store = Store::new();
    for (verb, rest) in [
        ("enqueue", &[][..]),
        ("enqueue", &["--queue", "no spaces"]),
        ("enqueue", &["--queue", "q", "--delay", "5"]),
        ("work", &["--queue", "q"]),
        ("messages show", &["not-an-id"]),
        ("stats", &["--nonsense"]),
    ] {
        assert_eq!(store.mq(verb, rest).code, 2, "{verb} {rest:?}");
    }
    assert!(!store.data().exists(), "nothing was done");
}

#[test]
fn who_names_no_message_is_told_how_to_mean_many() {
    let store = Store::new();
    for (verb, ways) in [
        ("dlq replay", "<ID|--all>"),
        ("dlq purge", "<ID|--all>"),
        ("messages cancel", "<ID|--all|--everything>"),
        ("messages hold", "<ID|--all|--everything>"),
    ] {
        let refused = store.mq(verb, &[]);
        assert_eq!(refused.code, 2, "{verb}");
        assert!(refused.stderr.contains(ways), "{verb}: {}", refused.stderr);
        let id = "019b76da-a800-7000-8000-000007fa2ff7";
        assert_eq!(store.mq(verb, &["--all", id]).code, 2, "{verb}: not both");
    }
}

#[test]
fn a_corrupt_store_is_4_and_stays_as_it_is() {
    let store = Store::new();
    let lines: Vec<String> = (0..1_000)
        .map(|number| format!("the payload {number}"))
        .collect();
    store.enqueue("q", &lines);
    for snapshot in ["snap-A", "snap-B"] {
        // What a snapshot holds need not be read from the journal; without one, the damage shows.
        fs::remove_file(store.data().join(snapshot)).ok();
    }
    let (segment, offset) = find(&store, b"the payload 7");
    let mut bytes = fs::read(&segment).unwrap();
    *bytes.get_mut(offset).unwrap() ^= 0x10;
    fs::write(&segment, &bytes).unwrap();
    for verb in ["stats", "verify"] {
        let refused = store.mq(verb, &[]);
        assert_eq!(
            refused.code, 4,
            "{verb}: {}{}",
            refused.stdout, refused.stderr
        );
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(
            said.contains(segment.file_name().unwrap().to_str().unwrap()),
            "{said}"
        );
    }
    assert_eq!(fs::read(&segment).unwrap(), bytes);
}

/// The segment in which `bytes` stand first, and where.
fn find(store: &Store, bytes: &[u8]) -> (PathBuf, usize) {
    let files = fs::read_dir(store.data())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segments = files.filter(|path| {
        path.file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("j-")
    });
    let found = segments.filter_map(|path| {
        let content = fs::read(&path).unwrap();
        let offset = content
            .windows(bytes.len())
            .position(|window| window == bytes)?;
        Some((path, offset))
    });
    found.min().unwrap()
}

#[test]
fn what_is_not_there_is_5() {
    let store = Store::new();
    for verb in [
        "stats",
        "verify",
        "dump",
        "messages ls",
        "dlq ls",
        "queue ls",
    ] {
        assert_eq!(store.mq(verb, &[]).code, 5, "{verb}");
    }
    assert!(!store.data().exists(), "looking creates nothing");
    let ids = store.enqueue("q", &["1".to_owned()]);
    let elsewhere = Store::new();
    elsewhere.enqueue("q", &["1".to_owned()]);
    let id = ids.first().unwrap();
    assert_eq!(
        elsewhere.mq("messages show", &[id]).code,
        5,
        "of another store"
    );
    assert_eq!(store.mq("dlq replay", &[id]).code, 5, "no dead letter");
}

#[test]
fn a_full_disk_under_standard_error_changes_no_exit_code() {
    let store = Store::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full");
    for (verb, rest, code) in [
        ("enqueue", &[][..], 2),
        ("stats", &[], 5),
        ("enqueue", &["--queue", "q", "/dev/null/none"], 1),
    ] {
        let mut command = store.command(verb, rest);
        let ended = command.stderr(full().unwrap()).status().unwrap();
        assert_eq!(ended.code(), Some(code), "{verb} {rest:?}");
    }
}
