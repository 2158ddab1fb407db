//! The control socket: whatever arrives on it is answered or hung up on, and never hurts the owner.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use mq::control::{
    Answer, Call, Client, ClientError, EnqueueCall, JsonText, ListCall, OneKind, OneQueue,
    OperateCall, OperationJson, ScaleCall, ShowCall,
};
use mq::{ControlSocket, Engine, Filter};
use serde_json::Value;

/// A store that is open for as long as the test.
struct Owned {
    _folder: tempfile::TempDir,
    data: PathBuf,
    engine: Engine,
}

impl Owned {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let engine = Engine::builder(&data).open_wait().unwrap();
        Self {
            _folder: folder,
            data,
            engine,
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.data).unwrap()
    }

    fn raw(&self) -> Raw {
        Raw::connect(&self.data)
    }
}

/// A caller that writes what it likes.
struct Raw {
    to: UnixStream,
    from: BufReader<UnixStream>,
}

impl Raw {
    /// Connected and greeted.
    fn connect(data: &Path) -> Self {
        let mut raw = Self::connect_only(data);
        assert_eq!(raw.line().unwrap()["protocol"], 1);
        raw
    }

    fn connect_only(data: &Path) -> Self {
        let to = UnixStream::connect(data.join("control.sock")).unwrap();
        let from = BufReader::new(to.try_clone().unwrap());
        Self { to, from }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.to.write_all(bytes).unwrap();
    }

    /// The next line; none at the end.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    fn code(&mut self) -> String {
        let line = self.line().unwrap();
        line["error"]["code"].as_str().unwrap().to_owned()
    }
}

fn message(payload: &str) -> Call {
    Call::Enqueue(Box::new(EnqueueCall {
        queue: "q".to_owned(),
        kind: "k".to_owned(),
        payload: JsonText::new(payload.as_bytes()),
        ..EnqueueCall::default()
    }))
}

fn enqueued(answer: Answer) -> String {
    match answer {
        Answer::Enqueued(enqueued) => {
            assert_eq!(enqueued.durability, "synced");
            enqueued.id
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_socket_is_the_owners_alone_and_goes_with_it() {
    let owned = Owned::new();
    let path = owned.data.join("control.sock");
    assert!(
        matches!(owned.engine.control_socket(), ControlSocket::At(at) if at.ends_with("control.sock"))
    );
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let greeting = owned.client().greeting().clone();
    assert_eq!(
        (greeting.pid, greeting.mq.as_str()),
        (std::process::id(), env!("CARGO_PKG_VERSION"))
    );
    owned.engine.close_wait().unwrap();
    assert!(!path.exists());
    assert!(matches!(
        Client::connect(&owned.data),
        Err(ClientError::NotServed { .. })
    ));
}

#[test]
fn every_verb_is_answered_beside_the_owner() {
    let owned = Owned::new();
    let mut client = owned.client();
    let id = enqueued(client.call(&message("{\"n\":1}")).unwrap());
    let queue = || OneQueue {
        queue: "q".to_owned(),
    };
    let done = client.call(&Call::PauseQueue(queue())).unwrap();
    assert!(matches!(done, Answer::Done {}));
    let Answer::Explained(why) = client.call(&Call::Explain { id: id.clone() }).unwrap() else {
        panic!("an explanation");
    };
    assert!(why[0].text.contains("paused"), "{why:?}");
    client.call(&Call::ResumeQueue(queue())).unwrap();
    let Answer::Stats(stats) = client.call(&Call::Stats {}).unwrap() else {
        panic!("counts");
    };
    assert_eq!((stats.live_messages, stats.queues[0].ready), (1, 1));
    let operate = |operation| {
        Call::Operate(OperateCall {
            by: String::new(),
            id: id.clone(),
            operation,
        })
    };
    let hold = OperationJson::Hold {
        label: "audit".to_owned(),
    };
    for operation in [
        hold,
        OperationJson::Release {},
        OperationJson::SetPriority { priority: 9 },
        OperationJson::Reschedule {
            delay_ms: Some(3_600_000),
            due: None,
        },
        OperationJson::RunNow {},
        OperationJson::Move {
            queue: "r".to_owned(),
        },
    ] {
        let answer = client.call(&operate(operation.clone()));
        assert!(
            matches!(&answer, Ok(Answer::Operated(word)) if word == "done"),
            "{operation:?}: {answer:?}"
        );
    }
    let show = |exact| {
        Call::Message(ShowCall {
            id: id.clone(),
            payload: true,
            exact,
        })
    };
    let Answer::Message(shown) = client.call(&show(true)).unwrap() else {
        panic!("a message");
    };
    assert_eq!((shown.queue.as_str(), shown.priority), ("r", 9));
    assert_eq!(shown.payload_bytes().unwrap(), "{\"n\":1}");
    client.call(&operate(OperationJson::Cancel {})).unwrap();
    let Err(ClientError::Refused(refused)) = client.call(&show(false)) else {
        panic!("it is gone");
    };
    assert_eq!(refused.code, "not_kept");
}

#[test]
fn pages_lead_through_all_messages() {
    let owned = Owned::new();
    let mut client = owned.client();
    let ids: Vec<String> = (0..7)
        .map(|n| enqueued(client.call(&message(&n.to_string())).unwrap()))
        .collect();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let call = Call::Messages(ListCall {
            filter: Filter::new().queue("q"),
            after,
            limit: Some(3),
        });
        let Answer::Messages(page) = client.call(&call).unwrap() else {
            panic!("a page");
        };
        assert!(page.messages.len() <= 3);
        seen.extend(page.messages.into_iter().map(|message| message.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ids);
}

#[test]
fn thousands_of_calls_under_way_are_answered_in_order_and_stored_in_order() {
    let owned = Owned::new();
    let (mut calls, mut answers) = owned.client().split();
    let sending = std::thread::spawn(move || {
        for n in 0..5_000 {
            calls.send(&message(&n.to_string())).unwrap();
        }
        calls.finish().unwrap();
    });
    let ids: Vec<String> = (0..5_000)
        .map(|_| enqueued(answers.next_answer().unwrap()))
        .collect();
    sending.join().unwrap();
    assert!(ids.is_sorted());
    assert!(matches!(answers.next_answer(), Err(ClientError::Gone)));
    assert_eq!(owned.engine.stats().live_messages, 5_000);
}

#[test]
fn a_line_that_is_no_call_is_answered_and_the_next_one_served() {
    let owned = Owned::new();
    let mut raw = owned.raw();
    raw.write(b"\n{\n\xff\xfe\nnull\n{\"call\":{\"drop\":{}}}\n");
    for _ in 0..5 {
        assert_eq!(raw.code(), "malformed");
    }
    raw.write(b"{\"protocol\":2,\"call\":{\"stats\":{}}}\n");
    assert_eq!(raw.code(), "protocol");
    for (call, code) in [
        (
            "{\"enqueue\":{\"queue\":\"no spaces\",\"kind\":\"k\"}}",
            "name",
        ),
        (
            "{\"enqueue\":{\"queue\":\"q\",\"kind\":\"k\",\"priority\":10}}",
            "priority",
        ),
        (
            "{\"enqueue\":{\"queue\":\"q\",\"kind\":\"k\",\"payload_hex\":\"0\"}}",
            "bad_value",
        ),
        (
            "{\"enqueue\":{\"queue\":\"q\",\"kind\":\"k\",\"dedup_key\":\"d\"}}",
            "invalid",
        ),
        ("{\"message\":{\"id\":\"7\"}}", "bad_value"),
        (
            "{\"messages\":{\"filter\":{\"state\":\"running\"}}}",
            "filter",
        ),
        ("{\"messages\":{\"filter\":{\"quue\":\"q\"}}}", "malformed"),
        ("{\"explain\":{\"id\":7}}", "malformed"),
    ] {
        raw.write(format!("{{\"call\":{call}}}\n").as_bytes());
        assert_eq!(raw.code(), code, "{call}");
    }
    raw.write(b"{\"id\":18446744073709551615,\"call\":{\"stats\":{}}}\n");
    let line = raw.line().unwrap();
    assert_eq!(line["id"], u64::MAX);
    assert_eq!(line["answer"]["stats"]["live_messages"], 0);
}

#[test]
fn an_id_of_another_store_was_never_issued_here() {
    let (owned, elsewhere) = (Owned::new(), Owned::new());
    let id = enqueued(elsewhere.client().call(&message("1")).unwrap());
    enqueued(owned.client().call(&message("1")).unwrap());
    for call in [
        Call::Explain { id: id.clone() },
        Call::Message(ShowCall {
            id: id.clone(),
            payload: false,
            exact: false,
        }),
        Call::Operate(OperateCall {
            by: String::new(),
            id,
            operation: OperationJson::Purge {},
        }),
    ] {
        let Err(ClientError::Refused(refused)) = owned.client().call(&call) else {
            panic!("refused");
        };
        assert_eq!(refused.code, "never_issued");
    }
}

#[test]
fn a_line_without_end_is_cut_off_and_half_a_line_is_no_call() {
    let owned = Owned::new();
    let mut raw = owned.raw();
    let flood = raw.to.try_clone().unwrap();
    let flooding = std::thread::spawn(move || {
        let mut flood = flood;
        while flood.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    assert_eq!(raw.code(), "too_long");
    let mut rest = Vec::new();
    raw.from.read_to_end(&mut rest).ok();
    flooding.join().unwrap();

    let mut raw = owned.raw();
    raw.write(b"{\"call\":{\"enqueue\":{\"queue\":\"q\",\"kind\":\"k\"}}}");
    raw.to.shutdown(Shutdown::Write).unwrap();
    assert!(raw.line().is_none());
    assert_eq!(owned.engine.stats().live_messages, 0);
}

#[test]
fn connections_are_bounded_and_a_place_that_is_free_again_is_given_away() {
    let owned = Owned::new();
    let mut open: Vec<Raw> = (0..64).map(|_| owned.raw()).collect();
    let refused = Client::connect(&owned.data);
    assert!(
        matches!(&refused, Err(ClientError::NotNow { message }) if message.contains("64")),
        "{refused:?}"
    );
    let one = open.pop().unwrap();
    one.to.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let Raw { mut from, .. } = one;
    from.read_to_end(&mut rest).unwrap(); // the owner has let it go
    while Client::connect(&owned.data).is_err() {}
    drop(open);
}

#[test]
fn callers_that_idle_or_do_not_read_do_not_hold_up_the_close() {
    let owned = Owned::new();
    let _idle = owned.raw();
    let mut deaf = Raw::connect_only(&owned.data);
    for _ in 0..200 {
        enqueued(owned.client().call(&message("1")).unwrap());
    }
    deaf.to.set_nonblocking(true).unwrap();
    let line = b"{\"call\":{\"messages\":{\"limit\":200}}}\n";
    while deaf.to.write(line).is_ok() {}
    owned.engine.close_wait().unwrap();
    assert!(!owned.data.join("control.sock").exists());
    let again = Engine::builder(&owned.data).open_wait().unwrap();
    assert_eq!(again.stats().live_messages, 200);
}

#[test]
fn a_socket_left_behind_by_the_dead_is_replaced_and_a_file_of_that_name_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Engine::builder(&data)
        .open_wait()
        .unwrap()
        .close_wait()
        .unwrap();
    let path = data.join("control.sock");
    drop(UnixListener::bind(&path).unwrap()); // as kill -9 leaves it
    assert!(matches!(
        Client::connect(&data),
        Err(ClientError::NotServed { .. })
    ));
    let engine = Engine::builder(&data).open_wait().unwrap();
    Client::connect(&data).unwrap();
    engine.close_wait().unwrap();

    fs::write(&path, "mine").unwrap();
    let engine = Engine::builder(&data).open_wait().unwrap();
    assert!(matches!(
        engine.control_socket(),
        ControlSocket::Failed { .. }
    ));
    engine.close_wait().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"mine");
}

#[test]
fn it_can_be_turned_off_and_memory_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let engine = Engine::builder(&data).control(false).open_wait().unwrap();
    assert!(matches!(engine.control_socket(), ControlSocket::Off));
    assert!(!data.join("control.sock").exists());
    let memory = Engine::in_memory().open_wait().unwrap();
    assert!(matches!(memory.control_socket(), ControlSocket::Off));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_too_deep_for_a_socket_path_has_one_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d".repeat(120)).join("data");
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    let engine = Engine::builder(&data).open_wait().unwrap();
    let mut client = Client::connect(&data).unwrap();
    enqueued(client.call(&message("1")).unwrap());
    engine.close_wait().unwrap();
    assert!(!data.join("control.sock").exists());
}

#[test]
fn an_engine_that_is_dropped_ends_its_callers() {
    let owned = Owned::new();
    let mut client = owned.client();
    enqueued(client.call(&message("1")).unwrap());
    drop(owned.engine);
    assert!(
        matches!(client.call(&Call::Stats {}), Err(ClientError::Closing)),
        "not taken, and told so"
    );
    let again = Engine::builder(&owned.data).open_wait().unwrap();
    assert_eq!(again.stats().live_messages, 1);
}

#[test]
fn a_new_owner_waits_for_the_old_one() {
    let owned = Owned::new();
    let data = owned.data.clone();
    assert!(Engine::builder(&data).open_wait().is_err());
    let waiting = std::thread::spawn(move || {
        Engine::builder(data)
            .wait_for_owner(mq::secs(60))
            .open_wait()
    });
    owned.engine.close_wait().unwrap();
    waiting.join().unwrap().unwrap();
}

#[derive(serde::Serialize, serde::Deserialize, mq::Message)]
#[message(kind = "control.work")]
struct Work;

async fn work(_: Work) -> mq::Outcome {
    Ok(())
}

#[test]
fn workers_are_looked_at_scaled_paused_and_resumed() {
    let owned = Owned::new();
    let workers = owned
        .engine
        .workers()
        .handle_with(work, |options| options.parallelism(1..=4));
    let workers = workers.start().unwrap();
    let mut client = owned.client();
    let pool = |client: &mut Client| match client.call(&Call::Pools {}).unwrap() {
        Answer::Pools(mut pools) => pools.remove(0),
        other => panic!("{other:?}"),
    };
    let kind = || OneKind {
        kind: "control.work".to_owned(),
    };
    let scale = |workers| {
        let kind = kind().kind;
        Call::Scale(ScaleCall { kind, workers })
    };
    client.call(&scale(3)).unwrap();
    assert_eq!(pool(&mut client).limit, 3);
    client.call(&Call::PauseKind(kind())).unwrap();
    assert!(pool(&mut client).paused);
    client.call(&Call::ResumeKind(kind())).unwrap();
    assert!(!pool(&mut client).paused);
    assert!(matches!(
        client.call(&Call::Running {}).unwrap(),
        Answer::Running(running) if running.is_empty()
    ));
    let refused = |client: &mut Client, call| match client.call(&call) {
        Err(ClientError::Refused(refused)) => refused.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut client, scale(5)), "out_of_range");
    let unknown = OneKind {
        kind: "nobody".to_owned(),
    };
    assert_eq!(
        refused(&mut client, Call::PauseKind(unknown)),
        "unknown_kind"
    );
    drop(workers);
}

/// Lines that are almost calls: cut, doubled, with a byte changed, and plain noise.
#[test]
fn whatever_a_line_holds_it_has_one_answer_and_the_owner_lives() {
    let owned = Owned::new();
    let seed = std::env::var("MQ_TEST_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(20_261);
    eprintln!("MQ_TEST_SEED={seed}");
    let mut random = mq_testing::random::SplitMix64::new(seed);
    let whole: [&[u8]; 6] = [
        br#"{"id":1,"call":{"enqueue":{"queue":"q","kind":"k","payload":{"a":[1,2.5e300,"\u00e4"]},"priority":7}}}"#,
        br#"{"id":2,"call":{"messages":{"filter":{"queue":"q","state":"ready"},"after":"3","limit":5}}}"#,
        br#"{"call":{"operate":{"id":"0190163d-8694-739b-aea5-966c26f8ad90","operation":{"hold":{"label":"x"}}}}}"#,
        br#"{"id":3,"protocol":1,"call":{"stats":{}}}"#,
        br#"{"id":4,"call":{"scale":{"kind":"k","workers":4294967295}}}"#,
        br#"{"id":5,"call":{"explain":{"id":"0190163d-8694-739b-aea5-966c26f8ad90"}}}"#,
    ];
    let mut raw = owned.raw();
    for _ in 0..2_000 {
        let pick = |random: &mut mq_testing::random::SplitMix64, below: usize| {
            usize::try_from(random.below(below.max(1) as u64)).unwrap()
        };
        let mut line = whole[pick(&mut random, whole.len())].to_vec();
        for _ in 0..=pick(&mut random, 3) {
            let at = pick(&mut random, line.len());
            match random.below(5) {
                0 => line.truncate(at),
                1 => line.insert(at, u8::try_from(random.below(256)).unwrap()),
                2 => line.extend_from_slice(&line.clone()[at..]),
                3 if !line.is_empty() => line[at] = u8::try_from(random.below(256)).unwrap(),
                _ => {}
            }
        }
        line.retain(|byte| *byte != b'\n');
        line.push(b'\n');
        raw.write(&line);
        let answer = raw.line().expect("an answer");
        let one = answer.get("answer").is_some() != answer.get("error").is_some();
        assert!(one, "{answer} to {}", line.escape_ascii());
    }
    owned.client().call(&Call::Stats {}).unwrap();
    owned.engine.close_wait().unwrap();
}
