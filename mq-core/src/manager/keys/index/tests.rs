//! An index against a map: whatever its numbers, however it grows and shrinks, and in how many bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Keys by number; the index mixes them, so these spread like any others.
fn key(number: u64) -> KeyHash {
    KeyHash(u128::from(number))
}

fn size_of_buckets(index: &Index) -> usize {
    let bytes = |bucket: &Bucket| match bucket {
        Bucket::Near(groups) => size_of_val(&*groups.groups),
        Bucket::Far(groups) => size_of_val(&*groups.groups) + size_of::<Groups<U48>>(),
    };
    let segments = index.segments.iter();
    segments
        .map(|segment| {
            segment.iter().map(bytes).sum::<usize>() + segment.capacity() * size_of::<Bucket>()
        })
        .sum()
}

fn largest(index: &Index) -> usize {
    let mut largest = 0;
    for bucket in index.segments.iter().flatten() {
        let mut len = 0;
        bucket.each(|_, _| len += 1);
        largest = largest.max(len);
    }
    largest
}

#[test]
fn a_key_takes_at_most_seven_bytes_however_many_there_are() {
    assert_eq!(size_of::<Bucket>(), 24);
    let mut index = Index::default();
    for number in 0..200_000 {
        index.insert(key(number), number, key);
        let len = number + 1;
        if len >= 25_000 && len % 5_000 == 0 {
            let size = size_of_buckets(&index);
            let each = size * 10 / usize::try_from(len).expect("small");
            assert!(each < 70, "{size} bytes for {len} keys");
        }
    }
}

#[test]
fn no_insert_or_remove_moves_more_than_two_buckets() {
    let mut index = Index::default();
    let most = std::cell::Cell::new(0);
    for number in 0..100_000 {
        let asked = std::cell::Cell::new(0u64);
        index.insert(key(number), number, |number| {
            asked.set(asked.get() + 1);
            key(number)
        });
        most.set(most.get().max(asked.get()));
    }
    assert!(most.get() <= 128, "{} keys asked for at once", most.get());
    assert!(largest(&index) <= 128, "{}", largest(&index));
    for number in 0..100_000 {
        let before = index.buckets;
        index.remove(key(number), number);
        assert!(before - index.buckets <= 1, "one merge, of two buckets");
        if number % 10_000 == 0 {
            assert!(largest(&index) <= 128, "{}", largest(&index));
        }
    }
}

#[test]
fn numbers_of_one_key_are_all_found() {
    let mut index = Index::default();
    for number in 0..300 {
        index.insert(key(7), number, |_| key(7));
    }
    for number in 0..300 {
        let found = index.find(key(7), |found| found == number);
        assert_eq!(found, Some(number));
    }
    for number in 0..300 {
        index.remove(key(7), number);
    }
    assert_eq!(index.len(), 0);
}

#[test]
fn what_was_taken_out_gives_its_memory_back() {
    let mut index = Index::default();
    for number in 0..100_000 {
        index.insert(key(number), number, key);
    }
    for number in 100..100_000 {
        index.remove(key(number), number);
    }
    assert_eq!(index.len(), 100);
    let size = size_of_buckets(&index);
    assert!(size < 32 << 10, "{size} bytes for a hundred keys");
    for number in 0..100 {
        let found = index.find(key(number), |other| other == number);
        assert_eq!(found, Some(number));
    }
}

#[test]
fn a_look_up_hardly_ever_asks_for_the_key_of_another_number() {
    let mut index = Index::default();
    for number in 0..100_000 {
        index.insert(key(number), number, key);
    }
    let asked = std::cell::Cell::new(0u64);
    for number in 100_000..200_000 {
        index.find(key(number), |_| {
            asked.set(asked.get() + 1);
            false
        });
    }
    assert!(asked.get() < 1_000, "{} for 100000", asked.get());
}

/// Numbers as they come, with jumps that no four bytes hold, and of both sorts.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0u64..5_000,
        2 => 0u64..1 << 24,
        2 => (1u64 << 32)..(1 << 32) + 5_000,
        1 => (1u64 << 48) - 1_000..(1 << 48) - 1,
        3 => (0u64..5_000).prop_map(|place| place | SORT),
        1 => ((1u64 << 32)..(1 << 32) + 5).prop_map(|place| place | SORT),
    ]
}

proptest! {
    #[test]
    fn an_index_is_a_map(
        steps in proptest::collection::vec((0u64..1_500, number(), 0u8..5), 1..4_000),
    ) {
        let mut index = Index::default();
        let mut model = BTreeMap::<u64, u64>::new();
        let mut owners = BTreeMap::<u64, u64>::new();
        for (name, number, what) in steps {
            let old = model.get(&name).copied();
            match (old, what) {
                _ if owners.contains_key(&number) => {}
                (None, _) => {
                    let key_of = |number: u64| key(owners.get(&number).copied().unwrap_or(u64::MAX));
                    index.insert(key(name), number, key_of);
                    model.insert(name, number);
                    owners.insert(number, name);
                }
                (Some(old), 0 | 1) => {
                    index.replace(key(name), old, number);
                    model.insert(name, number);
                    owners.remove(&old);
                    owners.insert(number, name);
                }
                (Some(old), _) => {
                    index.remove(key(name), number);
                    index.remove(key(name), old);
                    model.remove(&name);
                    owners.remove(&old);
                }
            }
            prop_assert_eq!(index.len(), u64::try_from(model.len()).unwrap_or(0));
        }
        for name in 0..1_500 {
            let found = index.find(key(name), |number| owners.get(&number) == Some(&name));
            prop_assert_eq!(found, model.get(&name).copied());
        }
    }
}
