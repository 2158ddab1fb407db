//! Finding by indexed fields: the same answers as by looking at all, at the cost of what is found.

use std::collections::BTreeMap;

use mq_core::command::{Operation, Settlement};
use mq_core::event::Event;
use mq_core::id::{MessageId, Seq};
use mq_core::image::ImageRecord;
use mq_core::index::{Index, PointerHash, Scalar, SetKind, Term, TermRange, Terms};
use mq_core::key::DedupPolicy;
use mq_core::manager::{ApplyError, QueueManager};
use mq_core::message::{Draft, Edited, Sealed};
use mq_core::time::Now;
use mq_core::view::{Filter, FoundBy};

use crate::rig::{Rig, deduped, draft, kind, of_kind, queue, retained, secs, succeed};

const SKU: PointerHash = PointerHash(1);
const CENTS: PointerHash = PointerHash(2);

fn sku(text: &str) -> Term {
    Term {
        pointer: SKU,
        form: mq_core::index::Form::of(Scalar::Text(text)),
    }
}

fn cents(number: f64) -> Term {
    Term {
        pointer: CENTS,
        form: mq_core::index::Form::of(Scalar::Number(number)),
    }
}

/// A message of kind `k` with both fields.
fn indexed(text: &str, number: f64) -> Draft {
    Draft {
        terms: Terms::new(vec![cents(number), sku(text)]),
        ..draft()
    }
}

/// Terms of some messages of a storm: both fields, one, or none.
pub(crate) fn terms(dice: u64) -> Terms {
    let texts = ["a", "b", "c"];
    let text = texts[usize::try_from(dice % 3).unwrap()];
    let number = [1.0, 2.0, 3.0, 4.0][usize::try_from(dice % 4).unwrap()];
    match dice {
        0 => Terms::NONE,
        1 => Terms::new(vec![sku(text)]),
        _ => Terms::new(vec![sku(text), cents(number)]),
    }
}

/// Filters by one field and by both, with and without a kind and a queue.
fn filters() -> Vec<Filter> {
    let fields = [
        vec![TermRange::equal(SKU, Scalar::Text("b"))],
        vec![TermRange::at_most(CENTS, Scalar::Number(2.0))],
        vec![
            TermRange::at_least(CENTS, Scalar::Number(3.0)),
            TermRange::equal(SKU, Scalar::Text("a")),
        ],
    ];
    let facts = [
        Filter::default(),
        Filter {
            kind: Some(kind("x")),
            ..Filter::default()
        },
        Filter {
            queue: Some(queue("b")),
            ..Filter::default()
        },
    ];
    let with = |terms: &Vec<TermRange>| {
        let terms = terms.clone();
        facts.clone().map(|facts| Filter {
            terms: terms.clone(),
            ..facts
        })
    };
    fields.iter().flat_map(with).collect()
}

/// All that a filter finds, in pages of `limit`, and how the first one was found.
fn find(
    manager: &QueueManager,
    now: &Now,
    filter: &Filter,
    limit: usize,
) -> (Vec<MessageId>, FoundBy) {
    let (mut found, mut after, mut by) = (Vec::new(), Seq::NONE, None);
    loop {
        let page = manager.list(now, filter, after, limit);
        by.get_or_insert(page.by);
        found.extend(page.messages.iter().map(|view| view.id));
        match page.next {
            Some(next) => after = next,
            None => return (found, by.unwrap()),
        }
    }
}

/// The index answers as those who look at all messages do, whatever became of them.
pub(crate) fn check(manager: &QueueManager, now: &Now) {
    let image = manager.image();
    let facts = image.records().filter_map(|record| match record {
        ImageRecord::Message(message) => Some((message.facts.seq, message.facts.terms)),
        _ => None,
    });
    let facts: BTreeMap<Seq, Terms> = facts.collect();
    for filter in filters() {
        let without = Filter {
            terms: Vec::new(),
            ..filter.clone()
        };
        let (mut expected, _) = find(manager, now, &without, 1_000);
        expected.retain(|id| {
            let terms = &facts[&id.seq()];
            filter.terms.iter().all(|range| {
                let form = terms.form(range.pointer);
                form.is_none_or(|form| range.holds(form))
            })
        });
        let (found, _) = find(manager, now, &filter, 3);
        assert_eq!(found, expected, "{filter:?}");
    }
}

fn by_sku(text: &str) -> Filter {
    Filter {
        kind: Some(kind("k")),
        terms: vec![TermRange::equal(SKU, Scalar::Text(text))],
        ..Filter::default()
    }
}

fn found(rig: &Rig, filter: &Filter) -> (Vec<MessageId>, FoundBy) {
    find(&rig.manager, &rig.now, filter, 100)
}

#[test]
fn one_of_a_hundred_thousand_is_found_in_a_handful_of_steps() {
    let mut rig = Rig::new();
    for round in 0..100 {
        let draft = |n| indexed(&format!("sku-{round}-{n}"), f64::from(n));
        rig.enqueue_all((0..1_000).map(draft).collect());
    }
    let filters = [
        (by_sku("sku-50-500"), 1),
        (
            Filter {
                terms: vec![
                    TermRange::equal(CENTS, Scalar::Number(500.0)),
                    TermRange::equal(SKU, Scalar::Text("sku-50-500")),
                ],
                ..Filter::default()
            },
            1,
        ),
        (
            Filter {
                terms: vec![TermRange::at_least(CENTS, Scalar::Number(999.0))],
                ..Filter::default()
            },
            100,
        ),
    ];
    for (filter, count) in filters {
        let before = rig.manager.steps();
        let (ids, by) = found(&rig, &filter);
        let steps = rig.manager.steps() - before;
        assert_eq!((ids.len(), by), (count, FoundBy::Index));
        let count = u64::try_from(count).unwrap();
        assert!(
            steps < 20 + 200 * count.isqrt() + 2 * count,
            "{steps} steps for {filter:?}"
        );
    }
}

#[test]
fn a_page_of_many_equals_looks_at_no_more_than_a_page() {
    let mut rig = Rig::new();
    let mut all = Vec::new();
    for _ in 0..20 {
        all.extend(rig.enqueue_all(vec![indexed("same", 1.0); 1_000]));
    }
    let after = all[15_000].seq();
    let before = rig.manager.steps();
    let page = rig.manager.list(&rig.now, &by_sku("same"), after, 10);
    let steps = rig.manager.steps() - before;
    let ids: Vec<_> = page.messages.iter().map(|view| view.id).collect();
    assert_eq!(ids, all[15_001..15_011]);
    assert_eq!(
        (page.by, page.next),
        (FoundBy::Index, Some(all[15_010].seq()))
    );
    assert!(steps < 5_000, "{steps} steps");
}

#[test]
fn a_range_of_too_many_is_found_by_looking_at_all() {
    let mut rig = Rig::new();
    for _ in 0..10 {
        rig.enqueue_all((0..1_000).map(|n| indexed("s", f64::from(n))).collect());
    }
    let wide = Filter {
        terms: vec![TermRange::at_least(CENTS, Scalar::Number(100.0))],
        ..Filter::default()
    };
    let (ids, by) = found(&rig, &wide);
    assert_eq!((ids.len(), by), (9_000, FoundBy::Scan));
}

#[test]
fn a_kind_with_one_message_that_was_not_indexed_is_looked_at_whole() {
    let mut rig = Rig::new();
    let old = rig.enqueue(draft());
    let new = rig.enqueue(indexed("b", 1.0));
    rig.enqueue(indexed("c", 1.0));
    rig.enqueue(of_kind("other"));
    // The old one may match: whoever reads its payload decides.
    assert_eq!(found(&rig, &by_sku("b")), (vec![old, new], FoundBy::Scan));
    rig.operate(old, Operation::Cancel).unwrap();
    assert_eq!(found(&rig, &by_sku("b")), (vec![new], FoundBy::Index));
    let any_kind = Filter {
        kind: None,
        ..by_sku("b")
    };
    assert_eq!(found(&rig, &any_kind).1, FoundBy::Scan);
    let nobody = Filter {
        kind: Some(kind("nobody")),
        ..by_sku("b")
    };
    assert_eq!(found(&rig, &nobody), (Vec::new(), FoundBy::Index));
}

#[test]
fn a_message_is_found_in_every_state_and_not_when_it_left() {
    let mut rig = Rig::new();
    rig.open_pool();
    let keep = Draft {
        terms: indexed("kept", 1.0).terms,
        ..retained(secs(10))
    };
    let kept = rig.enqueue(keep);
    let token = rig.grant_of(kept);
    assert_eq!(found(&rig, &by_sku("kept")).0, [kept]);
    rig.settle(token, succeed());
    assert_eq!(found(&rig, &by_sku("kept")).0, [kept]);
    rig.pass(secs(11));
    assert_eq!(found(&rig, &by_sku("kept")).0, []);

    let dead = rig.enqueue(indexed("dead", 1.0));
    let token = rig.grant_of(dead);
    let failure = crate::rig::failure("no");
    let reason = mq_core::state::DeadReason::DeadLettered;
    let note = None;
    rig.settle(
        token,
        Settlement::DeadLetter {
            reason,
            failure,
            note,
        },
    );
    assert_eq!(found(&rig, &by_sku("dead")), (vec![dead], FoundBy::Index));
    let bytes = bytes::Bytes::from_static(b"other");
    let edit = Box::new(Edited {
        sealed: Sealed { bytes, crc: 1 },
        terms: indexed("edited", 1.0).terms,
    });
    let replay = Operation::Replay { edit: Some(edit) };
    rig.operate(dead, replay).unwrap();
    assert_eq!(found(&rig, &by_sku("dead")).0, []);
    assert_eq!(found(&rig, &by_sku("edited")), (vec![dead], FoundBy::Index));
    rig.check_recovery();
    for manager in [rig.replayed(), rig.restored()] {
        let by = find(&manager, &rig.now, &by_sku("edited"), 10);
        assert_eq!(by, (vec![dead], FoundBy::Index));
    }
}

#[test]
fn a_message_that_was_replaced_is_not_found() {
    let mut rig = Rig::new();
    let versions = ["one", "two"].map(|text| {
        rig.enqueue(Draft {
            terms: indexed(text, 1.0).terms,
            ..deduped(7, DedupPolicy::Replace, 1)
        })
    });
    assert_eq!(found(&rig, &by_sku("one")).0, []);
    assert_eq!(found(&rig, &by_sku("two")).0, [versions[1]]);
}

#[test]
fn a_declaration_is_kept_and_said_once() {
    let mut rig = Rig::new();
    let index = Index::parse(["/sku", "/cents"]).unwrap();
    let set = SetKind {
        kind: kind("k"),
        index: index.clone(),
    };
    let before = rig.journal.len();
    rig.run(&set).unwrap();
    rig.run(&set).unwrap();
    assert_eq!(rig.journal.len(), before + 2, "defined and set, once each");
    rig.enqueue(draft());
    rig.check_recovery();
    for manager in [rig.replayed(), rig.restored()] {
        let shown = manager.indexes();
        assert_eq!((shown.len(), &shown[0].index), (1, &index));
        assert_eq!((shown[0].messages, &shown[0].indexed), (1, &vec![0, 0]));
    }
    let none = SetKind {
        kind: kind("k"),
        index: Index::NONE,
    };
    rig.run(&none).unwrap();
    assert_eq!(rig.manager.indexes(), []);
    rig.check_recovery();
    let stray = Event::KindSet {
        kind: mq_core::id::KindId(9),
        index,
    };
    assert!(matches!(
        rig.manager.apply(&stray, 9),
        Err(ApplyError::UnknownKind { .. })
    ));
}
