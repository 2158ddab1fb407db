//! The classes cover every value, round bounds are exact, and percentiles are at most a tenth too high.

use std::time::Duration;

use super::{Histogram, LEN, class_of, largest_of};

#[test]
fn each_class_ends_where_the_next_begins() {
    for class in 0..LEN - 1 {
        let last = largest_of(class);
        assert_eq!(class_of(last), class, "{last}");
        assert_eq!(class_of(last + 1), class + 1, "{}", last + 1);
    }
    assert_eq!((class_of(0), class_of(u64::MAX)), (0, LEN - 1));
}

#[test]
fn percentiles_are_at_most_a_tenth_too_high() {
    let histogram = Histogram::default();
    for ms in 1..=1000 {
        histogram.record(Duration::from_millis(ms));
    }
    let read = histogram.read();
    assert_eq!((read.count(), read.sum()), (1000, 500_500_000));
    let read = read.percentiles();
    for (got, exact) in [(read.p50, 500), (read.p95, 950), (read.p99, 990)] {
        let exact = Duration::from_millis(exact);
        assert!(
            got >= exact && got <= exact * 11 / 10,
            "{got:?} for {exact:?}"
        );
    }
}

#[test]
fn counts_up_to_a_bound_with_two_digits_are_exact() {
    let histogram = Histogram::default();
    for micros in [4_999, 5_000, 5_001, 7_500, 7_501, 2_500_000, 2_500_001] {
        histogram.record(Duration::from_micros(micros));
    }
    let read = histogram.read();
    let bounds = [4_900, 5_000, 7_500, 2_500_000, 3_600_000_000];
    assert_eq!(bounds.map(|bound| read.count_up_to(bound)), [0, 2, 4, 6, 7]);
}

#[test]
fn a_duration_just_above_a_bound_is_above_it() {
    let histogram = Histogram::default();
    histogram.record(Duration::from_nanos(5_000_001));
    assert_eq!(histogram.read().count_up_to(5_000), 0);
}

#[test]
fn sums_of_histograms_have_all_counts() {
    let (one, other) = (Histogram::default(), Histogram::default());
    one.record_number(3);
    other.record_number(40_000);
    let mut both = one.read();
    both.add(&other.read());
    assert_eq!(
        (both.count(), both.sum(), both.percentile(99)),
        (2, 40_003, 40_000)
    );
}

#[test]
fn nothing_counted_is_zero() {
    assert_eq!(
        Histogram::default().read().percentiles().p99,
        Duration::ZERO
    );
}
