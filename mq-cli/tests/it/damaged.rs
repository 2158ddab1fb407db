//! Messages whose payloads are damaged are never left out without a word.

use std::fs;
use std::path::PathBuf;

use mq::Engine;

use crate::setup::Store;

/// A store with three payments in a dead state, one of which has lost a bit of its payload. It opens: a snapshot holds
/// where the payload lies, and nobody has read it yet.
fn store() -> (Store, Vec<String>) {
    let store = Store::new();
    let lines = ["{\"cents\":1}", "{\"cents\":2000007}", "{\"cents\":3}"].map(str::to_owned);
    let ids = store.enqueue("pay", &lines);
    assert_eq!(store.give_up("pay").code, 1);
    for _ in 0..3 {
        // Each opening begins a segment of its own, so that none has to read the one with the payloads.
        assert_eq!(store.mq("snapshot", &[]).code, 0);
    }
    // Where compaction has just put the payloads into a segment that is read at opening, more snapshots pass it.
    let opens = (0..10).any(|_| {
        let sound = damage(&store);
        let opens = store.mq("stats", &[]).code == 0;
        if !opens {
            for (path, bytes) in sound {
                fs::write(path, bytes).unwrap();
            }
            assert_eq!(store.mq("snapshot", &[]).code, 0);
        }
        opens
    });
    assert!(opens);
    (store, ids)
}

/// Changes a bit of the payload wherever it lies, and answers the files as they were.
fn damage(store: &Store) -> Vec<(PathBuf, Vec<u8>)> {
    let mut sound = Vec::new();
    for entry in fs::read_dir(store.data()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(mut bytes) = fs::read(&path) else {
            continue;
        };
        let before = bytes.clone();
        while let Some(at) = bytes.windows(7).position(|window| window == b"2000007") {
            *bytes.get_mut(at).unwrap() ^= 1;
        }
        if bytes != before {
            fs::write(&path, &bytes).unwrap();
            sound.push((path, before));
        }
    }
    assert!(!sound.is_empty());
    sound
}

#[test]
fn listings_and_groups_name_what_they_leave_out_and_end_with_4() {
    let (store, ids) = store();
    let lost = ids.get(1).unwrap();
    let look = |verb: &str| {
        let ran = store.mq(verb, &["--where", "/cents >= 1", "--json"]);
        assert_eq!(ran.code, 4, "{verb}: {} {}", ran.stdout, ran.stderr);
        assert!(
            ran.stderr.contains("1 messages are left out"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("mq verify --data"), "{}", ran.stderr);
        (ran.stdout.lines().count(), ran.stderr)
    };
    for owned in [false, true] {
        let owner = owned.then(|| Engine::builder(store.data()).open_wait().unwrap());
        for verb in ["messages ls", "dlq ls"] {
            let (shown, said) = look(verb);
            assert_eq!(shown, 2, "what can be read is shown");
            assert!(said.contains(lost.as_str()), "{said}");
        }
        assert_eq!(look("dlq groups").0, 1);
        let dry = store.mq(
            "dlq replay",
            &["--all", "--where", "/cents >= 1", "--dry-run"],
        );
        assert_eq!(
            (dry.code, dry.stdout.lines().count()),
            (4, 2),
            "{}",
            dry.stderr
        );
        let all = store.mq("messages ls", &["--json"]);
        assert_eq!(
            all.json().len(),
            3,
            "without a look into payloads nothing is left out"
        );
        owner.map_or(Ok(()), |owner| owner.close_wait()).unwrap();
    }
    let job = store.mq("dlq replay", &["--all", "--where", "/cents >= 1"]);
    assert_eq!(job.code, 1, "{}", job.stderr);
    assert!(
        job.stdout.contains("2 done, unreadable 1"),
        "{}",
        job.stdout
    );
    assert!(job.stderr.contains("mq verify --data"), "{}", job.stderr);
}
