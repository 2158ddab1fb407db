//! The classes cover every duration, and percentiles are at most an eighth too high.

use std::time::Duration;

use super::{Histogram, LEN, class_of, largest_of};

#[test]
fn each_class_ends_where_the_next_begins() {
    for class in 0..LEN - 1 {
        let last = largest_of(class);
        assert_eq!(class_of(last), class, "{last} µs");
        assert_eq!(class_of(last + 1), class + 1, "{} µs", last + 1);
    }
    assert_eq!(class_of(u64::MAX), LEN - 1);
}

#[test]
fn percentiles_are_at_most_an_eighth_too_high() {
    let histogram = Histogram::default();
    for ms in 1..=1000 {
        histogram.record(Duration::from_millis(ms));
    }
    let read = histogram.percentiles();
    assert_eq!(read.count, 1000);
    for (got, exact) in [(read.p50, 500), (read.p95, 950), (read.p99, 990)] {
        let exact = Duration::from_millis(exact);
        assert!(
            got >= exact && got <= exact * 9 / 8,
            "{got:?} for {exact:?}"
        );
    }
}

#[test]
fn nothing_counted_is_zero() {
    assert_eq!(Histogram::default().percentiles().p99, Duration::ZERO);
}
