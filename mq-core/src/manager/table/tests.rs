//! The table against a plain map, and its size in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::columns::DedupFacts;
use super::*;

fn seq(number: u64) -> Seq {
    Seq::new(number).expect("small")
}

fn entry(size: u32) -> Entry {
    let mut entry = Entry::vacant();
    (entry.tag, entry.size) = (Tag::Ready, size);
    entry
}

/// One message in three has no keys, the others have one or both.
fn keys(number: u64) -> Keys {
    let key = |other: u64| KeyHash(u128::from(number) << 64 | u128::from(other));
    Keys {
        ordering: (number % 3 == 1 || number.is_multiple_of(7)).then(|| key(1)),
        dedup: (number % 3 == 2).then(|| DedupFacts {
            key: key(2),
            payload: key(3),
        }),
    }
}

fn add_keyed(table: &mut Table, number: u64, size: u32, keys: &Keys) -> bool {
    let mut entry = entry(size);
    entry.set(flag::KEYED, keys.are_some());
    table.insert(seq(number), entry, keys)
}

fn add(table: &mut Table, number: u64, size: u32) -> bool {
    add_keyed(table, number, size, &keys(number))
}

impl Pages {
    /// Bytes that pages and directories hold.
    fn size(&self) -> usize {
        let page_size = |page: &Arc<Page>| {
            size_of::<Page>() + 2 * size_of::<usize>() + page.entries.size() + page.keys.size()
        };
        let dir_size = |dir: &Arc<Dir>| {
            let pages: usize = dir.pages.iter().flatten().map(page_size).sum();
            pages + size_of::<Dir>() + dir.pages.capacity() * size_of::<Option<Arc<Page>>>()
        };
        self.dirs.values().map(dir_size).sum()
    }
}

fn filled(len: u64) -> Table {
    let mut table = Table::default();
    for number in 1..=len {
        assert!(add(&mut table, number, 1));
    }
    table
}

fn contents(pages: &Pages) -> Vec<(u64, u32)> {
    for (seq, _) in pages.after(Seq::NONE) {
        assert_eq!(pages.keys(seq), keys(seq.get()), "{seq}");
    }
    let all = pages.after(Seq::NONE);
    all.map(|(seq, entry)| (seq.get(), entry.size)).collect()
}

#[test]
fn an_entry_takes_40_bytes_and_its_page_half_a_byte_more() {
    assert_eq!(size_of::<Entry>(), 40);
    let len = 512 * 512;
    let size = size_with(len, Keys::default());
    assert!(size < 41 * usize::try_from(len).expect("small"), "{size}");
}

#[test]
fn an_ordering_key_takes_16_bytes_and_a_dedup_key_32_beside_the_entry() {
    let len = 512 * 512;
    let count = usize::try_from(len).expect("small");
    let plain = size_with(len, Keys::default());
    for (number, bytes) in [(1, 16), (2, 32)] {
        let more = size_with(len, keys(number)) - plain;
        let (least, most) = (bytes * count, (bytes * 4 + 1) * count / 4);
        assert!((least..most).contains(&more), "{more} for {bytes} each");
    }
}

#[test]
fn a_page_keeps_no_room_for_keys_that_do_not_come() {
    let mut table = Table::default();
    for number in 1..=513 {
        let keys = if number <= 40 {
            keys(1)
        } else {
            Keys::default()
        };
        add_keyed(&mut table, number, 1, &keys);
    }
    let keys = |page: &Arc<Page>| page.keys.size();
    let pages = table.share();
    let sizes: Vec<usize> = pages
        .dirs
        .values()
        .flat_map(|dir| dir.pages.iter().flatten().map(keys))
        .collect();
    assert_eq!(sizes, [40 * 16, 0]);
}

#[test]
fn a_number_used_again_has_its_new_keys_only() {
    let mut table = filled(3);
    table.remove(seq(1));
    add_keyed(&mut table, 1, 1, &keys(2));
    assert_eq!(table.keys(seq(1)), keys(2));
    table.remove(seq(1));
    add_keyed(&mut table, 1, 1, &keys(3));
    assert_eq!(table.keys(seq(1)), keys(3));
    assert_eq!(table.keys(seq(2)), keys(2));
}

/// Bytes of a table of messages of which each has these keys.
fn size_with(len: u64, keys: Keys) -> usize {
    let mut table = Table::default();
    for number in 1..=len {
        add_keyed(&mut table, number, 1, &keys);
    }
    table.share().size()
}

#[test]
fn an_old_message_among_many_newer_ones_costs_little() {
    let mut table = filled(1_000_000);
    for number in 2..=1_000_000 {
        table.remove(seq(number));
    }
    assert_eq!(table.len(), 1);
    assert!(table.get(seq(1)).is_some());
    let size = table.share().size();
    assert!(size < 64 << 10, "{size} bytes for one message");
}

#[test]
fn one_message_in_each_page_costs_less_than_half_a_kibibyte() {
    let mut table = filled(1_000_000);
    let mut kept = 0;
    for number in 1..=1_000_000 {
        if number % 512 == 7 {
            kept += 1;
        } else {
            table.remove(seq(number));
        }
    }
    assert_eq!(table.len(), kept);
    let size = table.share().size();
    assert!(size < kept * 512, "{size} bytes for {kept} messages");
}

#[test]
fn a_queue_that_is_emptied_as_it_fills_keeps_no_pages() {
    let mut table = Table::default();
    for number in 1..=100_000 {
        add(&mut table, number, 1);
        table.remove(seq(number));
    }
    assert!(table.share().size() < 64 << 10);
}

#[test]
fn a_shared_copy_does_not_change() {
    let mut table = filled(2_000);
    let shared = table.share();
    let before = contents(&shared);
    for number in 1..=2_000 {
        if let Some(entry) = table.get_mut(seq(number)) {
            entry.size = 9;
        }
        if number % 3 > 0 {
            table.remove(seq(number));
        }
    }
    add(&mut table, 2_001, 5);
    assert_eq!(contents(&shared), before);
}

#[test]
fn after_starts_in_the_middle_of_packed_pages() {
    let mut table = filled(3_000);
    for number in 1..=3_000 {
        if number % 10 != 0 {
            table.remove(seq(number));
        }
    }
    let next: Vec<u64> = table
        .after(seq(1_234))
        .map(|(seq, _)| seq.get())
        .take(3)
        .collect();
    assert_eq!(next, [1_240, 1_250, 1_260]);
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Remove(u64),
    Write(u64, u32),
    Share,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![Just(1u64), 1u64..700].prop_map(Step::Append),
        8 => (0u64..4_000).prop_map(Step::Remove),
        2 => (0u64..4_000, any::<u32>()).prop_map(|(at, size)| Step::Write(at, size)),
        1 => Just(Step::Share),
    ]
}

proptest! {
    #[test]
    fn the_table_is_a_map(steps in proptest::collection::vec(step(), 1..600)) {
        let mut table = Table::default();
        let mut model = BTreeMap::new();
        let mut last = 0;
        let mut shared = Vec::new();
        for step in steps {
            match step {
                Step::Append(gap) => {
                    last += gap;
                    prop_assert!(add(&mut table, last, 7));
                    model.insert(last, 7);
                }
                Step::Remove(at) => {
                    let number = at % (last + 2);
                    let removed = table.remove(seq(number)).map(|entry| entry.size);
                    prop_assert_eq!(removed, model.remove(&number));
                }
                Step::Write(at, size) => {
                    let number = at % (last + 2);
                    if let Some(entry) = table.get_mut(seq(number)) {
                        entry.size = size;
                        model.insert(number, size);
                    } else {
                        prop_assert!(!model.contains_key(&number));
                    }
                }
                Step::Share => shared.push((table.share(), model.clone())),
            }
        }
        shared.push((table.share(), model));
        for (pages, model) in shared {
            prop_assert_eq!(pages.len(), model.len());
            prop_assert_eq!(contents(&pages), model.into_iter().collect::<Vec<_>>());
        }
    }
}
