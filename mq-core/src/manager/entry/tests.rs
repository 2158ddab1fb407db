//! An entry gives back what was put into it, however rare, and a key costs one small allocation.

use super::*;

const DAY: u64 = 86_400_000;

fn key(number: u128) -> KeyHash {
    KeyHash(number << 64 | number)
}

fn dedup(behind: Option<Seq>) -> DedupFacts {
    DedupFacts {
        key: key(2),
        payload: key(3),
        behind,
    }
}

#[test]
fn a_key_takes_one_allocation_of_at_most_40_bytes() {
    assert!(size_of::<Extra>() <= 40);
}

#[test]
fn joining_comes_back_however_far_from_the_enqueue() {
    let enqueued = 20_000 * DAY;
    for joined in [
        0,
        1,
        enqueued - 25 * DAY,
        enqueued - 1,
        enqueued,
        enqueued + 1,
        enqueued + 25 * DAY,
        u64::MAX,
    ] {
        let mut entry = Entry::new(enqueued, joined, 7);
        assert_eq!(
            (entry.at(), entry.joined(), entry.order()),
            (enqueued, joined, 7)
        );
        entry.set_joined(enqueued + 5);
        assert_eq!(entry.joined(), enqueued + 5);
        entry.set_due(enqueued + 5);
        assert_eq!(entry.due(), enqueued + 5);
    }
}

#[test]
fn keys_come_back_alone_together_and_beside_what_is_rare() {
    let leader = Seq::new(9);
    for (halts, behind) in [(false, None), (true, None), (false, leader), (true, leader)] {
        let mut entry = Entry::new(1, 1, 1);
        assert!(!entry.has_extra());
        entry.set_ordering(key(1), halts);
        assert_eq!(
            (entry.ordering(), entry.halt_on_dead()),
            (Some(key(1)), halts)
        );
        assert!(entry.dedup().is_none());
        entry.set_dedup(dedup(behind));
        entry.set_due(5 * DAY);
        let found = entry.dedup().expect("it was set");
        assert_eq!(
            (found.key, found.payload, found.behind),
            (key(2), key(3), behind)
        );
        assert_eq!(
            (entry.ordering(), entry.halt_on_dead()),
            (Some(key(1)), halts)
        );
        assert_eq!(entry.due(), 5 * DAY);
    }
}

#[test]
fn a_dedup_key_stays_when_a_limit_comes() {
    let mut entry = Entry::new(1, 1, 1);
    entry.set_dedup(dedup(None));
    entry.set_limits(Limits {
        failures_max: Some(3),
        ..Limits::default()
    });
    assert_eq!(entry.dedup().map(|dedup| dedup.payload), Some(key(3)));
    assert_eq!(entry.limits().failures_max, Some(3));
}
