//! An entry gives back what was put into it, however rare.

use super::*;

const DAY: u64 = 86_400_000;

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
        enqueued - (1 << 31),
        enqueued + (1 << 31) - 1,
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
fn what_goes_with_keys_comes_back_beside_what_is_rare() {
    let leader = Seq::new(9);
    for (halts, behind) in [(false, None), (true, None), (false, leader), (true, leader)] {
        let mut entry = Entry::new(1, 1, 1);
        entry.set_halt_on_dead(halts);
        entry.set_behind(behind);
        assert_eq!(entry.has_extra(), halts || behind.is_some());
        entry.set_due(5 * DAY);
        entry.set_limits(Limits {
            failures_max: Some(3),
            ..Limits::default()
        });
        assert_eq!((entry.halt_on_dead(), entry.behind()), (halts, behind));
        assert_eq!(
            (entry.due(), entry.limits().failures_max),
            (5 * DAY, Some(3))
        );
    }
}

#[test]
fn what_few_messages_have_takes_two_small_boxes() {
    assert_eq!(
        (size_of::<Rare>(), size_of::<crate::state::Tail>()),
        (128, 160)
    );
}
