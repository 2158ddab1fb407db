//! The demo's proof is computed from two files, and it can fail.

use std::path::Path;
use std::process::{Command, Output};

fn mq(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mq"))
        .args(arguments)
        .arg(folder)
        .output()
        .unwrap()
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn the_demo_loses_nothing_and_its_audit_notices_one_missing_effect() {
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop");
    let played = mq(&["demo", "--orders", "500", "--dir"], &shop);
    assert!(
        played.status.success(),
        "{}",
        String::from_utf8_lossy(&played.stderr)
    );
    assert_eq!(last_line(&played), "lost 0");

    let effects = shop.join("effects.jsonl");
    let whole = std::fs::read_to_string(&effects).unwrap();
    let counted = |line: &str| line.contains("\"handled\"") && whole.matches(line).count() == 1;
    let victim = whole.lines().find(|line| counted(line)).unwrap();
    let rest: Vec<&str> = whole.lines().filter(|line| *line != victim).collect();
    std::fs::write(&effects, rest.join("\n") + "\n").unwrap();

    let audited = mq(&["demo", "--audit"], &shop);
    assert_eq!(last_line(&audited), "lost 1");
    assert_eq!(audited.status.code(), Some(1));
}

#[test]
fn the_demo_takes_orders_from_a_file_and_refuses_what_is_no_order() {
    let folder = tempfile::tempdir().unwrap();
    let orders = folder.path().join("orders.jsonl");
    let order = |id: u64| {
        format!("{{\"id\": \"o-{id}\", \"customer\": \"c\", \"cents\": 995, \"card\": \"4242\"}}\n")
    };
    std::fs::write(
        &orders,
        (0..40).map(|id| order(id % 30)).collect::<String>(),
    )
    .unwrap();
    let played = mq(&["demo"], &orders);
    assert_eq!(
        last_line(&played),
        "lost 0",
        "{}",
        String::from_utf8_lossy(&played.stderr)
    );

    std::fs::write(&orders, "{\"id\": 7}\n").unwrap();
    let refused = mq(&["demo"], &orders);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("line 1"));
}
