//! The table against a plain map, and its size in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn seq(number: u64) -> Seq {
    Seq::new(number).expect("small")
}

fn entry(size: u32) -> Entry {
    let mut entry = Entry::vacant();
    (entry.tag, entry.size) = (Tag::Ready, size);
    entry
}

impl Pages {
    /// Bytes that pages and directories hold.
    fn size(&self) -> usize {
        let page_size = |page: &Arc<Page>| {
            size_of::<Page>()
                + 2 * size_of::<usize>()
                + page.entries.capacity() * size_of::<Entry>()
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
        assert!(table.insert(seq(number), entry(1)));
    }
    table
}

fn contents(pages: &Pages) -> Vec<(u64, u32)> {
    let all = pages.after(Seq::NONE);
    all.map(|(seq, entry)| (seq.get(), entry.size)).collect()
}

#[test]
fn an_entry_takes_40_bytes_and_its_page_half_a_byte_more() {
    assert_eq!(size_of::<Entry>(), 40);
    let len = 512 * 512;
    let size = filled(len).share().size();
    assert!(size < 41 * usize::try_from(len).expect("small"), "{size}");
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
        table.insert(seq(number), entry(1));
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
    table.insert(seq(2_001), entry(5));
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
                    prop_assert!(table.insert(seq(last), entry(7)));
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
