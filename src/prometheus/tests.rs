//! Every line is what the format allows, the names are those of the list and of the document, and no label grows without
//! bound.

use std::collections::{BTreeMap, BTreeSet};

use mq_core::state::DeadReason;
use mq_core::view::{DeadCount, QueueStats};

use crate::engine::Engine;
use crate::metrics;
use crate::stats::Stats;

/// A line that is neither help nor type.
#[derive(Debug)]
struct Line {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A strict reader of the text format: panics at the first line that is not exactly right.
fn read(text: &str) -> (BTreeMap<String, String>, Vec<Line>) {
    let (mut types, mut lines) = (BTreeMap::new(), Vec::new());
    assert!(text.ends_with('\n'), "the last line must end");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && !help.is_empty(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            let before = types.insert(name.to_owned(), kind.to_owned());
            assert_eq!(before, None, "{name} has two types");
        } else {
            lines.push(read_line(line));
        }
    }
    (types, lines)
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    let first = |it: char| it.is_ascii_alphabetic() || it == '_';
    letters.next().is_some_and(first) && letters.all(|it| first(it) || it.is_ascii_digit())
}

fn read_line(line: &str) -> Line {
    let end = line.find(['{', ' ']).expect("a name");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect("a label");
            assert!(is_name(label), "{line}");
            let (value, after) = unquote(after);
            assert_eq!(labels.insert(label.to_owned(), value), None, "{line}");
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = after.strip_prefix('}').expect("the end of the labels");
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("one space");
    assert!(!value.contains(' '), "{line}");
    Line {
        name: name.to_owned(),
        labels,
        value: value.parse().expect("a number"),
    }
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().expect("something escaped").1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                other => panic!("\\{other} is no escape"),
            },
            '\n' => panic!("a raw line break"),
            other => value.push(other),
        }
    }
    panic!("the value does not end");
}

fn stats() -> Stats {
    Engine::in_memory().open_wait().unwrap().stats()
}

/// The metric that a line belongs to.
fn family<'a>(line: &'a Line, types: &BTreeMap<String, String>) -> &'a str {
    if types.contains_key(&line.name) {
        return &line.name;
    }
    let suffixes = ["_bucket", "_sum", "_count"];
    let bare = suffixes.iter().find_map(|it| line.name.strip_suffix(it));
    let bare = bare.unwrap_or_else(|| panic!("{} has no type", line.name));
    assert_eq!(types.get(bare).map(String::as_str), Some("histogram"));
    bare
}

#[test]
fn names_and_labels_are_those_of_the_list() {
    let text = stats().to_prometheus();
    let (types, lines) = read(&text);
    let listed: BTreeSet<String> = metrics::ALL.iter().map(|it| it.prometheus_name()).collect();
    assert_eq!(listed.len(), metrics::ALL.len(), "no name stands twice");
    assert_eq!(types.keys().cloned().collect::<BTreeSet<_>>(), listed);
    for line in &lines {
        let name = family(line, &types);
        let metric = metrics::ALL
            .iter()
            .find(|it| it.prometheus_name() == name)
            .unwrap();
        let labels: BTreeSet<&str> = line.labels.keys().map(String::as_str).collect();
        let allowed: BTreeSet<&str> = metric.labels.iter().copied().chain(["le"]).collect();
        assert!(labels.is_subset(&allowed), "{line:?}");
    }
}

#[test]
fn the_document_lists_exactly_what_is_measured() {
    let document = include_str!("../../docs/metrics.md");
    assert!(
        document.contains(&metrics::table()),
        "put this into docs/metrics.md:\n{}",
        metrics::table()
    );
}

#[test]
fn units_and_kinds_end_the_names_as_they_should() {
    let names = [
        (metrics::SENT, "messaging_client_sent_messages_total"),
        (metrics::OLDEST, "mq_queue_oldest_message_age_seconds"),
        (metrics::LAG, "mq_journal_lag_bytes"),
        (metrics::UTILIZATION, "mq_worker_utilization_ratio"),
        (metrics::FSYNC, "mq_journal_fsync_duration_seconds"),
    ];
    for (metric, name) in names {
        assert_eq!(metric.prometheus_name(), name);
    }
}

#[test]
fn queues_beyond_the_cap_go_by_one_name_and_nothing_of_them_is_lost() {
    let mut stats = stats();
    let queue = QueueStats {
        by_state: [0, 2, 0, 0, 0, 0, 0, 0],
        ..QueueStats::default()
    };
    stats.store.queues = (0..1_000)
        .map(|number| (format!("q{number:04}").parse().unwrap(), queue.clone()))
        .collect();
    let (_, lines) = read(&stats.to_prometheus());
    let depths: Vec<&Line> = lines
        .iter()
        .filter(|line| line.name == "mq_queue_depth" && line.labels["state"] == "ready")
        .collect();
    assert_eq!(depths.len(), 201);
    assert!((depths.iter().map(|line| line.value).sum::<f64>() - 2_000.0).abs() < 1e-9);
    assert_eq!(depths.last().unwrap().labels["queue"], "_other");
}

#[test]
fn dead_letters_are_told_by_kind_and_reason_and_none_is_lost_beyond_the_cap() {
    let mut stats = stats();
    let dead = |number: usize, queue: &str| DeadCount {
        queue: queue.parse().unwrap(),
        kind: format!("k{number:04}").parse().unwrap(),
        reason: DeadReason::Crashed,
        count: 2,
    };
    stats.store.dead_counts = (0..600).map(|number| dead(number, "a")).collect();
    stats.store.dead_counts.push(dead(0, "b"));
    let (_, lines) = read(&stats.to_prometheus());
    let lines: Vec<&Line> = lines
        .iter()
        .filter(|line| line.name == "mq_dlq_messages")
        .collect();
    assert_eq!(lines.len(), 501);
    let of = |kind: &str| {
        lines
            .iter()
            .find(|line| line.labels["kind"] == kind)
            .unwrap()
    };
    assert!((of("k0000").value - 4.0).abs() < 1e-9, "both queues");
    assert!((of("_other").value - 200.0).abs() < 1e-9);
    assert!(lines.iter().all(|line| line.labels["reason"] == "crashed"));
}

#[test]
fn labels_are_escaped() {
    let mut text = String::new();
    super::write_line(&mut text, "name", &[("label", "a\\b\"c\nd")], 1).unwrap();
    assert_eq!(text, "name{label=\"a\\\\b\\\"c\\nd\"} 1\n");
    assert_eq!(read_line(text.trim_end()).labels["label"], "a\\b\"c\nd");
}

#[test]
fn buckets_grow_to_the_count() {
    let histogram = mq_core::histogram::Histogram::default();
    for millis in [1, 5, 6, 20_000_000] {
        histogram.record(std::time::Duration::from_millis(millis));
    }
    let mut text = String::new();
    let read_out = (&histogram.read(), &super::TIMES[..], 1e6);
    super::write_histogram(&mut text, "it", &[("kind", "mail")], read_out).unwrap();
    let lines: Vec<Line> = text.lines().map(read_line).collect();
    let buckets: Vec<f64> = lines.iter().take(20).map(|line| line.value).collect();
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert_eq!(
        (buckets[0], buckets[1]),
        (2.0, 3.0),
        "at most 5 ms, at most 10 ms"
    );
    assert_eq!(lines[0].labels["le"], "0.005");
    assert_eq!((buckets[18], buckets[19]), (3.0, 4.0), "an hour, and all");
    assert_eq!(lines[19].labels["le"], "+Inf");
    assert_eq!(lines[20].name, "it_sum");
    assert!((lines[20].value - 20_000.012).abs() < 1e-6);
}
