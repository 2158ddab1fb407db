//! Indexed fields from the command line: declared, listed, used, with and without an owner of the store.

use mq::Engine;

use crate::setup::Store;

fn enqueue(store: &Store, range: std::ops::Range<u32>) -> Vec<String> {
    let lines: Vec<String> = range
        .map(|n| format!("{{\"sku\": \"tea-{n}\"}}\n"))
        .collect();
    let input = lines.concat();
    let rest = ["--queue", "orders", "--kind", "order.paid"];
    let ran = store.mq_with(input.as_bytes(), "enqueue", &rest);
    owned(&ran.lines())
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(ToString::to_string).collect()
}

fn dry_run(store: &Store) -> (Vec<String>, String) {
    let wanted = ["--kind", "order.paid", "--where", "/sku == \"tea-3\""];
    let rest = [&["--all", "--dry-run"][..], &wanted].concat();
    let shown = store.mq("messages cancel", &rest);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let ids = owned(&shown.lines());
    (ids, shown.stderr)
}

#[test]
fn a_field_is_indexed_and_the_answer_says_what_it_was_found_by() {
    let store = Store::new();
    let old = enqueue(&store, 0..2);
    let set = store.mq("index set", &["order.paid", "/sku"]);
    assert_eq!(set.code, 0, "{}", set.stderr);
    assert!(
        set.stderr.contains("2 messages of order.paid"),
        "{}",
        set.stderr
    );
    let new = enqueue(&store, 2..5);
    let (ids, stderr) = dry_run(&store);
    assert_eq!(ids, new[1..2]);
    assert!(stderr.contains("3 payloads were read"), "{stderr}");
    let old: Vec<&str> = old.iter().map(String::as_str).collect();
    store.mq("messages cancel", &old).lines();

    let owner = Engine::builder(store.data()).open_wait().unwrap();
    for _ in 0..2 {
        let (ids, stderr) = dry_run(&store);
        assert_eq!(ids, new[1..2]);
        assert!(
            stderr.contains("found in the index of a field; 1 payloads"),
            "{stderr}"
        );
        let listed = store.mq("index ls", &["--json"]).only_json();
        let expected = serde_json::json!({
            "kind": "order.paid", "messages": 3, "fields": [{"field": "/sku", "messages": 3}],
        });
        assert_eq!(listed, expected);
        owner.close_wait().unwrap();
    }
    assert_eq!(store.mq("index ls", &[]).lines().len(), 2);
    assert_eq!(store.mq("index clear", &["order.paid"]).code, 0);
    assert!(store.mq("index ls", &["--json"]).lines().is_empty());
    for bad in [
        &["order.paid", "sku"][..],
        &["order.paid", "/a", "/a"],
        &["order.paid"],
    ] {
        assert_eq!(store.mq("index set", bad).code, 2, "{bad:?}");
    }
}
