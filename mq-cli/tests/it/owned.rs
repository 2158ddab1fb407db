//! Verbs on a store that another process owns: the same answers as from a store of their own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;

use mq::Engine;
use rustix::process::Signal;

use crate::setup::{Running, Store};
use crate::work::ECHO;

/// A worker of a queue that stays empty: it owns the store and leaves the rest alone.
fn owner(store: &Store) -> Running {
    store.enqueue("idle", &["up".to_owned()]);
    let mut worker =
        Running::start(store.command("work", &["--queue", "idle", "--", "sh", "-c", ECHO]));
    assert_eq!(worker.line().unwrap(), "up");
    worker
}

#[test]
fn every_verb_works_beside_a_running_worker() {
    let store = Store::new();
    let mut worker = owner(&store);
    let ids = store.enqueue("q", &["{\"n\":1}".to_owned(), "2".to_owned()]);
    let id = ids.first().unwrap();
    assert_eq!(
        store.mq("messages show", &["--payload", id]).stdout,
        "{\"n\":1}"
    );
    assert_eq!(store.mq("messages ls", &["--json"]).json().len(), 2);
    assert_eq!(store.stats().get("live_messages").unwrap(), 2);
    store.mq("queue pause", &["q"]).lines();
    let explained = store.mq("messages explain", &[id]).stdout;
    assert!(explained.contains("paused"), "{explained}");
    store.mq("queue resume", &["q"]).lines();
    assert_eq!(store.mq("queue ls", &["--json"]).json().len(), 2);
    assert_eq!(store.mq("dlq ls", &["--json"]).json().len(), 0);
    assert_eq!(store.mq("dlq replay", &[id]).code, 5, "no dead letter");
    for verb in ["messages ls", "queue ls", "stats", "dlq ls"] {
        assert!(!store.mq(verb, &[]).lines().is_empty(), "{verb}");
    }
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(), 0);
    assert_eq!(store.live(), 2);
}

#[test]
fn what_is_enqueued_beside_a_worker_is_worked_on_at_once() {
    let store = Store::new();
    let mut worker = owner(&store);
    let lines: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
    let ids = store.enqueue("idle", &lines);
    assert!(ids.is_sorted());
    let mut seen: Vec<String> = (0..200).map(|_| worker.line().unwrap()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 200);
}

#[test]
fn dead_letters_are_replayed_and_purged_beside_their_worker() {
    let store = Store::new();
    store.enqueue("q", &["1".to_owned(), "2".to_owned(), "3".to_owned()]);
    let script = "test -e \"$0\" && echo \"$(cat)\" && exit 0; echo dead; exit 100";
    let fixed = store.file("fixed");
    let command = ["--queue", "q", "--", "sh", "-c", script];
    let mut worker =
        Running::start(store.command("work", &[&command[..], &[fixed.to_str().unwrap()]].concat()));
    for _ in 0..3 {
        assert_eq!(worker.line().unwrap(), "dead");
    }
    let mut dead = Vec::new();
    while dead.len() < 3 {
        dead = store.mq("dlq ls", &["--json"]).json();
    }
    let id = dead[0].get("id").unwrap().as_str().unwrap().to_owned();
    fs::write(&fixed, "").unwrap();
    assert_eq!(store.mq("dlq replay", &[&id]).lines(), [id.as_str()]);
    assert_eq!(worker.line().unwrap(), "1");
    assert_eq!(
        store.mq("dlq purge", &["--all"]).lines(),
        ["job 1 completed: purge, 2 matched, 2 done"]
    );
    assert!(store.mq("dlq ls", &["--json"]).lines().is_empty());
}

#[test]
fn a_second_worker_is_3_and_the_owner_is_named() {
    let store = Store::new();
    let worker = owner(&store);
    let refused = store.mq("work", &["--queue", "q", "--until-empty", "--", "true"]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(
        refused.stderr.contains(&worker.id().to_string()),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_second_worker_can_wait_for_the_first() {
    let store = Store::new();
    let mut worker = owner(&store);
    store.enqueue("q", &["1".to_owned()]);
    let waiting = [
        "--wait",
        "1m",
        "--queue",
        "q",
        "--until-empty",
        "--",
        "sh",
        "-c",
        ECHO,
    ];
    let mut second = Running::start(store.command("work", &waiting));
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(), 0);
    assert_eq!(second.line().unwrap(), "1");
    assert_eq!(second.wait(), 0);
}

#[test]
fn the_owner_s_metrics_are_printed_as_prometheus_text() {
    let store = Store::new();
    let mut worker = owner(&store);
    store.enqueue("q", &["1".to_owned(), "2".to_owned()]);
    let shown = store.mq("stats", &["--prometheus"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let sent = "messaging_client_sent_messages_total 2\n"; // "up" came before it opened
    assert!(shown.stdout.contains(sent), "{}", shown.stdout);
    let queue = "mq_queue_depth{queue=\"q\",state=\"ready\"} 2\n";
    assert!(shown.stdout.contains(queue), "{}", shown.stdout);
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(), 0);
}

#[test]
fn an_owner_killed_by_kill_9_leaves_a_socket_that_is_passed_over() {
    let store = Store::new();
    let mut worker = owner(&store);
    worker.signal(Signal::KILL);
    assert_eq!(worker.wait(), -1);
    let socket = store.data().join("control.sock");
    assert!(fs::metadata(&socket).unwrap().file_type().is_socket());
    assert_eq!(store.enqueue("q", &["1".to_owned()]).len(), 1);
    assert!(!socket.exists(), "replaced, and removed at the end");
}

#[test]
fn an_owner_that_serves_no_socket_is_3_and_the_way_out_is_named() {
    let store = Store::new();
    let owner = Engine::builder(store.data()).control(false).open_wait();
    let owner = owner.unwrap();
    for verb in ["stats", "messages ls"] {
        let refused = store.mq(verb, &["--wait", "0s"]);
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        assert!(
            refused.stderr.contains(&std::process::id().to_string())
                && refused.stderr.contains("--wait"),
            "{}",
            refused.stderr
        );
    }
    assert_eq!(store.mq("verify", &[]).code, 0, "verify takes no lock");
    owner.close_wait().unwrap();
}

#[test]
fn a_program_that_links_mq_in_answers_too() {
    let store = Store::new();
    let owner = Engine::builder(store.data()).open_wait().unwrap();
    let ids = store.enqueue("q", &["1".to_owned()]);
    assert_eq!(owner.stats().live_messages, 1);
    let elsewhere = Store::new();
    let foreign = elsewhere.enqueue("q", &["1".to_owned()]);
    for id in [foreign.first().unwrap().as_str(), "not-an-id"] {
        let code = if id == "not-an-id" { 2 } else { 5 };
        assert_eq!(store.mq("messages show", &[id]).code, code);
        assert_eq!(store.mq("messages explain", &[id]).code, code);
        assert_eq!(store.mq("dlq purge", &[id]).code, code);
    }
    assert_eq!(store.mq("messages show", &[&ids[0]]).code, 0);
    owner.close_wait().unwrap();
}

#[test]
fn ids_are_printed_while_the_input_of_an_owned_store_is_still_open() {
    let store = Store::new();
    let _worker = owner(&store);
    let mut running = Running::start(store.command("enqueue", &["--queue", "q"]));
    for number in 1..=3 {
        writeln!(running.stdin.as_mut().unwrap(), "{number}").unwrap();
        assert!(running.line().is_some());
    }
    assert_eq!(running.wait(), 0);
    let refused = store.mq_with(b"1\noops\n3\n", "enqueue", &["--queue", "q"]);
    assert_eq!((refused.code, refused.stdout.lines().count()), (1, 1));
    assert!(refused.stderr.contains("line 2: not JSON"));
}

#[test]
fn workers_are_shown_scaled_and_paused_from_outside() {
    let store = Store::new();
    assert_eq!(store.mq("worker ls", &[]).code, 5, "no store");
    let _worker = owner(&store);
    let mut pool = store.mq("worker ls", &["--json"]).only_json();
    while pool.get("succeeded").unwrap() != 1 {
        // Its output is there before its end is.
        pool = store.mq("worker ls", &["--json"]).only_json();
    }
    let kind = pool.get("kind").unwrap().as_str().unwrap().to_owned();
    store.mq("worker scale", &[&kind, "1"]).lines();
    let pool = store.mq("worker ls", &["--json"]).only_json();
    assert_eq!(pool.get("limit").unwrap(), &1);
    store.mq("worker pause", &[&kind]).lines();
    store.mq("worker resume", &[&kind]).lines();
    assert!(store.mq("worker ls", &["--running"]).lines()[0].starts_with("ID"));
    let refused = store.mq("worker scale", &[&kind, "9999"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert_eq!(store.mq("worker scale", &["nobody", "1"]).code, 5);
}

#[test]
fn without_a_worker_there_is_nothing_to_scale() {
    let store = Store::new();
    store.enqueue("q", &["1".to_owned()]);
    let refused = store.mq("worker scale", &["message", "1"]);
    assert_eq!(refused.code, 5);
    assert!(refused.stderr.contains("mq work"), "{}", refused.stderr);
}

/// Ids as they are printed, line by line; `None` at the end.
fn id(running: &mut Running) -> Option<String> {
    let line = running.line();
    line.inspect(|line| assert_eq!(line.len(), 36, "an id"))
}

/// Owners come and go, and on a busy machine each takes longer than the second that is waited for otherwise.
const PATIENT: &[&str] = &["--queue", "q", "--wait", "10m"];

#[test]
fn enqueue_goes_on_at_the_next_owner_and_as_the_owner_when_there_is_none() {
    let store = Store::new();
    let open = || Engine::builder(store.data()).open_wait().unwrap();
    let first = open();
    let mut running = Running::start(store.command("enqueue", PATIENT));
    let mut line = |text: &str| {
        writeln!(running.stdin.as_mut().unwrap(), "{text}").unwrap();
        id(&mut running).unwrap()
    };
    let mut ids = vec![line("1")];
    first.close_wait().unwrap();
    let second = open();
    ids.push(line("2"));
    assert_eq!(second.stats().live_messages, 2);
    second.close_wait().unwrap();
    ids.push(line("3"));
    let refused = Engine::builder(store.data()).open_wait();
    assert!(refused.is_err(), "it owns the store itself now");
    ids.push(line("4"));
    assert_eq!(running.wait(), 0);
    let stored = store.mq("messages ls", &["--json"]).json();
    let stored: Vec<_> = stored.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(stored, ids);
}

#[test]
fn owners_that_close_while_many_lines_are_under_way_store_each_of_them_once() {
    const LINES: usize = 6_000;
    let store = Store::new();
    let open = || Engine::builder(store.data()).open_wait();
    let mut owner = open().ok();
    let mut running = Running::start(store.command("enqueue", PATIENT));
    let mut stdin = running.stdin.take().unwrap();
    let feeding = std::thread::spawn(move || {
        for number in 0..LINES {
            writeln!(stdin, "{number}").unwrap();
        }
    });
    let mut ids = Vec::new();
    while let Some(id) = id(&mut running) {
        ids.push(id);
        if ids.len() % 500 == 0
            && let Some(closing) = owner.take()
        {
            closing.close_wait().unwrap();
            // Sometimes the program is quicker, and owns the store from then on.
            owner = open().ok();
        }
    }
    feeding.join().unwrap();
    owner.map_or(Ok(()), |owner| owner.close_wait()).unwrap();
    assert_eq!(running.wait(), 0);
    assert_eq!(ids.len(), LINES);
    let stored = store
        .mq("messages ls", &["--json", "--limit", "10000"])
        .json();
    let stored: Vec<_> = stored.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!(stored, ids, "each line once, in order");
}

#[test]
fn an_owner_that_is_killed_is_followed_if_keys_tell_what_it_has_taken_and_named_if_not() {
    for keyed in [true, false] {
        let store = Store::new();
        let mut worker = owner(&store);
        let key = ["--queue", "q", "--idempotency-key", "/n"];
        let rest = if keyed { &key[..] } else { &key[..2] };
        let errors = store.file("errors");
        let mut command = store.command("enqueue", rest);
        command.stderr(fs::File::create(&errors).unwrap());
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
            line.len()
        };
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{{\"n\":1}}").unwrap();
        assert_eq!(line(), 37, "an id");
        worker.signal(Signal::KILL);
        worker.wait();
        writeln!(stdin, "{{\"n\":2}}").unwrap();
        drop(stdin);
        assert_eq!(line(), if keyed { 37 } else { 0 });
        assert_eq!(child.wait().unwrap().code(), Some(i32::from(!keyed)));
        let said = fs::read_to_string(&errors).unwrap();
        assert_eq!(said.contains("line 2: "), !keyed, "{said}");
        let stored = store.mq("messages ls", &["--queue", "q", "--json"]).json();
        assert_eq!(stored.len(), if keyed { 2 } else { 1 });
    }
}

/// What a program of a later day expects.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Pay {
    cents: u32,
}

impl mq::Message for Pay {
    const KIND: &'static str = "pay";
    type Output = ();
}

#[test]
fn check_names_what_the_running_handlers_cannot_decode() {
    let store = Store::new();
    let lines = b"{\"cents\":1}\n{\"euros\":1}\n";
    let enqueued = store.mq_with(lines, "enqueue", &["--queue", "idle", "--kind", "pay"]);
    let wrong = enqueued.lines()[1].to_owned();
    store.mq("queue pause", &["idle"]).lines();
    assert_eq!(store.mq("check", &[]).code, 5, "nobody has handlers");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let inside = runtime.enter();
    let engine = Engine::builder(store.data()).open_wait().unwrap();
    assert_eq!(store.mq("check", &[]).code, 5, "the owner has none");
    let workers = engine.workers().handle(|_: Pay| async {}).start().unwrap();
    let checked = store.mq("check", &["--json"]);
    assert_eq!(checked.code, 1, "{}", checked.stderr);
    let json: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(
        (&json["kind"], &json["checked"], &json["failed"]),
        (&"pay".into(), &2.into(), &1.into())
    );
    assert_eq!(json["failures"][0]["id"], wrong.as_str());
    store.mq("messages cancel", &[&wrong]).lines();
    let sound = store.mq("check", &[]);
    assert_eq!(sound.lines().len(), 2, "{}", sound.stdout);
    runtime.block_on(workers.stop(std::time::Duration::from_secs(5)));
    drop(inside);
    engine.close_wait().unwrap();
}
