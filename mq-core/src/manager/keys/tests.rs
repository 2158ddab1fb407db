//! The window of idempotency keys and the map of keys.

use super::*;

fn key(number: u64, until: u64) -> Remembered {
    Remembered {
        hash: KeyHash(u128::from(number)).into(),
        seq: Seq::new(number).expect("small"),
        at: Timestamp::from_ms(number),
        payload: Halves::default(),
        until: StoreTime::from_ms(until),
    }
}

fn at(ms: u64) -> StoreTime {
    StoreTime::from_ms(ms)
}

#[test]
fn a_window_answers_until_the_time_is_over() {
    let mut window = Window::default();
    for number in 1..=2_000 {
        window.insert(key(number, number));
    }
    assert_eq!(window.get(KeyHash(600), at(599)), Some(&key(600, 600)));
    assert_eq!(window.get(KeyHash(600), at(600)), None);
    window.forget(at(1_300), usize::MAX);
    assert_eq!((window.len(), window.first_until()), (700, Some(at(1_301))));
    for number in 1_301..=2_000 {
        assert_eq!(
            window.get(KeyHash(u128::from(number)), at(0)),
            Some(&key(number, number))
        );
    }
    window.forget(at(5_000), usize::MAX);
    assert_eq!((window.len(), window.first_until()), (0, None));
    window.insert(key(7, 9_000));
    assert_eq!(window.get(KeyHash(7), at(0)), Some(&key(7, 9_000)));
}

#[test]
fn a_key_used_again_after_its_time_is_not_forgotten_with_its_first_use() {
    let mut window = Window::default();
    window.insert(key(1, 500));
    window.insert(Remembered {
        hash: KeyHash(2).into(),
        ..key(2, 100)
    });
    window.insert(Remembered {
        hash: KeyHash(2).into(),
        ..key(3, 900)
    });
    window.forget(at(500), usize::MAX);
    assert_eq!(
        window.get(KeyHash(2), at(500)).map(|key| key.seq.get()),
        Some(3)
    );
    assert_eq!(window.get(KeyHash(1), at(0)), None);
}

#[test]
fn a_shared_window_does_not_change() {
    let mut window = Window::default();
    for number in 1..=600 {
        window.insert(key(number, number));
    }
    let shared = window.share();
    window.forget(at(550), usize::MAX);
    window.insert(key(601, 601));
    assert_eq!(shared.len(), 600);
    let seqs: Vec<u64> = shared.iter().map(|key| key.seq.get()).collect();
    assert_eq!(seqs, (1..=600).collect::<Vec<u64>>());
}

#[test]
fn a_remembered_key_takes_56_bytes_and_its_place_in_the_index() {
    assert_eq!(size_of::<Remembered>(), 56);
}

#[test]
fn both_halves_of_a_key_count() {
    for bits in [
        1,
        1 << 64,
        u128::MAX,
        0x1234_5678_9abc_def0_0fed_cba9_8765_4321,
    ] {
        assert_eq!(KeyHash::from(Halves::from(KeyHash(bits))), KeyHash(bits));
    }
    assert_ne!(Halves::from(KeyHash(1)), Halves::from(KeyHash(1 << 64)));
}
