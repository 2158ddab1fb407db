//! What `--json` prints is a contract: each verb's output is compared with what is stored beside this file, and every
//! field stands on the page that promises it.
//!
//! Ids, moments, ages and places in files differ from run to run and are replaced. `MQ_WRITE_SNAPSHOTS=1` writes the
//! stored output anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::setup::Store;

/// Fields whose value differs from run to run, or says how large something came out.
const MEASURED: [&str; 12] = [
    "generation",
    "snapshots",
    "oldest_ready_seconds",
    "segments",
    "frames",
    "records",
    "bytes",
    "position",
    "to",
    "file",
    "lsn",
    "durable",
];

/// Replaces what differs from run to run.
#[derive(Debug, Default)]
struct Normal {
    ids: BTreeMap<String, usize>,
}

impl Normal {
    fn value(&mut self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if MEASURED.contains(&name.as_str()) {
                        *value = Value::String("MEASURED".to_owned());
                    } else {
                        self.value(value);
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value)),
            Value::String(text) => *text = self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&mut self, text: &str) -> String {
        let words = text.split_inclusive([' ', ':', '/']).map(|word| {
            let (bare, end) = word.split_at(word.trim_end_matches([' ', ':', '/', ';']).len());
            format!("{}{end}", self.word(bare))
        });
        let text = words.collect::<String>();
        if text.len() == 24 && text.ends_with('Z') && text.contains("T") {
            return "TIME".to_owned();
        }
        text
    }

    fn word(&mut self, word: &str) -> String {
        let dashes = word.bytes().filter(|byte| *byte == b'-').count();
        if word.len() != 36 || dashes != 4 {
            return word.to_owned();
        }
        let next = self.ids.len() + 1;
        let number = *self.ids.entry(word.to_owned()).or_insert(next);
        format!("ID{number}")
    }
}

/// A store with a message of each sort, and their ids by name.
fn store() -> (Store, BTreeMap<&'static str, String>) {
    let store = Store::new();
    let mut ids = BTreeMap::new();
    let mut enqueue = |name, input: &[u8], rest: &[&str]| {
        let ran = store.mq_with(input, "enqueue", rest);
        ids.insert(name, ran.lines().first().unwrap().to_string());
    };
    let keyed = [
        "--queue",
        "mail",
        "--kind",
        "email.welcome",
        "--ordering-key",
        "/customer",
        "--idempotency-key",
        "/order",
        "--header",
        "tenant=acme",
        "--priority",
        "7",
    ];
    enqueue(
        "ready",
        b"{\"order\": 12345678901234567890123, \"customer\": \"c\"}\n",
        &keyed,
    );
    enqueue("blocked", b"{\"order\": 2, \"customer\": \"c\"}\n", &keyed);
    enqueue(
        "scheduled",
        b"1\n",
        &[
            "--queue",
            "later",
            "--delay",
            "1h",
            "--dedup-key",
            "d",
            "--on-duplicate",
            "keep",
        ],
    );
    enqueue("binary", b"\xff\x00\n", &["--queue", "mail", "--raw"]);
    enqueue("dead", b"\"x\"\n", &["--queue", "bad"]);
    let script = "echo no account >&2; exit 100";
    let worked = store.mq(
        "work",
        &["--queue", "bad", "--until-empty", "--", "sh", "-c", script],
    );
    assert_eq!(worked.code, 1);
    (store, ids)
}

fn compare(name: &str, printed: &[Value]) {
    let text: String = printed
        .iter()
        .map(|value| serde_json::to_string_pretty(value).unwrap() + "\n")
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/json")
        .join(format!("{name}.json"));
    if std::env::var_os("MQ_WRITE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, stored,
        "{name}: the contract changed; see this test's file"
    );
}

/// Every field below `value` that is not the user's own.
fn fields(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(inside) => {
            for (name, value) in inside {
                into.push(name.clone());
                if name != "payload" && name != "fields" {
                    fields(value, into);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_json_output_is_as_promised_and_every_field_stands_on_the_page() {
    let (store, ids) = store();
    let id = |name: &str| ids.get(name).unwrap().as_str();
    let backup = store.file("backup");
    let verbs: [(&str, &str, Vec<&str>); 12] = [
        ("messages-ls", "messages ls", vec![]),
        ("messages-show", "messages show", vec![id("ready")]),
        (
            "messages-show-scheduled",
            "messages show",
            vec![id("scheduled")],
        ),
        ("messages-show-binary", "messages show", vec![id("binary")]),
        ("messages-explain", "messages explain", vec![id("blocked")]),
        ("dlq-ls", "dlq ls", vec![]),
        ("dlq-show", "dlq show", vec![id("dead")]),
        ("queue-ls", "queue ls", vec![]),
        ("stats", "stats", vec![]),
        ("verify", "verify", vec![]),
        ("snapshot", "snapshot", vec![]),
        ("backup", "backup", vec!["--to", backup.to_str().unwrap()]),
    ];
    let shown = store.mq("messages show", &[id("ready"), "--json"]).stdout;
    assert_eq!(
        shown.matches("12345678901234567890123").count(),
        2,
        "in the payload and in the key, digit for digit: {shown}"
    );
    let page = include_str!("../../../docs/cli.md");
    let mut normal = Normal::default();
    for (name, verb, mut rest) in verbs {
        rest.push("--json");
        let mut printed = store.mq(verb, &rest).json();
        printed.iter_mut().for_each(|value| normal.value(value));
        compare(name, &printed);
        let mut names = Vec::new();
        printed.iter().for_each(|value| fields(value, &mut names));
        for field in names {
            assert!(page.contains(&format!("`{field}`")), "{verb}: {field}");
        }
    }
}

#[test]
fn the_same_json_comes_from_the_owner_of_the_store() {
    let (store, ids) = store();
    let show = |verb: &str, rest: &[&str]| {
        let ran = store.mq(verb, &[rest, &["--json"]].concat());
        ran.lines();
        ran.stdout
    };
    let all = || {
        [
            show("messages ls", &[]),
            show("messages show", &[ids.get("ready").unwrap()]),
            show("messages show", &[ids.get("binary").unwrap()]),
            show("dlq ls", &[]),
        ]
    };
    let own = all();
    let owner = mq::Engine::builder(store.data()).open_wait().unwrap();
    assert_eq!(all(), own);
    owner.close_wait().unwrap();
}
