//! Local clocks that jump, in zones where they did.

use proptest::prelude::*;

use super::*;

/// `2026-03-29T03:00:00+02:00` as a moment.
fn at(text: &str) -> Timestamp {
    let instant: Instant = text.parse().unwrap();
    timestamp_of(instant).unwrap()
}

fn show(at: Timestamp, zone: &str) -> String {
    let zone = find_zone(zone).unwrap();
    let zoned = instant_of(at).unwrap().to_zoned(zone);
    zoned.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// The next fires after `from`, as the local clock shows them.
fn fires(expression: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let calendar = Calendar::cron(expression, zone).unwrap();
    let first = calendar.first(at(from));
    std::iter::successors(first, |at| calendar.after(*at))
        .take(count)
        .map(|at| show(at, zone))
        .collect()
}

#[test]
fn a_time_in_the_gap_fires_once_at_the_end_of_the_gap() {
    // Berlin: 2026-03-29, 02:00 becomes 03:00.
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 3),
        [
            "2026-03-29 03:00:00 +02:00",
            "2026-03-30 02:30:00 +02:00",
            "2026-03-31 02:30:00 +02:00"
        ]
    );
    // New York: 2026-03-08, 02:00 becomes 03:00.
    assert_eq!(
        fires("15 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2),
        ["2026-03-08 03:00:00 -04:00", "2026-03-09 02:15:00 -04:00"]
    );
}

#[test]
fn several_times_in_the_gap_fire_once_together() {
    assert_eq!(
        fires("*/15 2,3 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
        [
            "2026-03-29 03:00:00 +02:00",
            "2026-03-29 03:15:00 +02:00",
            "2026-03-29 03:30:00 +02:00"
        ]
    );
    assert_eq!(
        fires("0 2,14 * * *", "Europe/Berlin", "2026-03-28T14:00:00Z", 3),
        [
            "2026-03-29 03:00:00 +02:00",
            "2026-03-29 14:00:00 +02:00",
            "2026-03-30 02:00:00 +02:00"
        ],
        "a list of hours is no reason to lose a run"
    );
}

#[test]
fn a_gap_of_another_length_ends_where_it_ends() {
    // Lord Howe: half an hour, 2026-10-04, 02:00 becomes 02:30.
    assert_eq!(
        fires(
            "10 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            2
        ),
        ["2026-10-04 02:30:00 +11:00", "2026-10-05 02:10:00 +11:00"]
    );
    // Cairo: 2026-04-24, midnight becomes one o'clock.
    assert_eq!(
        fires("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", 2),
        ["2026-04-24 01:00:00 +03:00", "2026-04-25 00:00:00 +03:00"]
    );
    // Apia: the whole of 2011-12-30 was left out.
    assert_eq!(
        fires("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
        [
            "2011-12-29 12:00:00 -10:00",
            "2011-12-31 00:00:00 +14:00",
            "2011-12-31 12:00:00 +14:00"
        ]
    );
}

#[test]
fn a_time_that_comes_twice_fires_the_first_time_only() {
    // Berlin: 2026-10-25, 03:00 becomes 02:00.
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 3),
        [
            "2026-10-25 02:30:00 +02:00",
            "2026-10-26 02:30:00 +01:00",
            "2026-10-27 02:30:00 +01:00"
        ]
    );
    // New York: 2026-11-01, 02:00 becomes 01:00.
    assert_eq!(
        fires(
            "*/30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            3
        ),
        [
            "2026-11-01 01:00:00 -04:00",
            "2026-11-01 01:30:00 -04:00",
            "2026-11-02 01:00:00 -05:00"
        ]
    );
    assert_eq!(
        fires("30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", 1),
        ["2026-10-26 02:30:00 +01:00"],
        "asked in the second pass"
    );
}

#[test]
fn the_last_time_is_found_from_within_the_second_pass() {
    let zone = "Europe/Berlin";
    let calendar = Calendar::cron("30 2 * * *", zone).unwrap();
    let last = calendar.last(at("2026-10-01T00:00:00Z"), at("2026-10-25T01:10:00Z"));
    assert_eq!(show(last, zone), "2026-10-25 02:30:00 +02:00");
}

#[test]
fn every_hour_goes_by_time_that_passes() {
    assert_eq!(
        fires("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3),
        [
            "2026-03-29 01:30:00 +01:00",
            "2026-03-29 03:30:00 +02:00",
            "2026-03-29 04:30:00 +02:00"
        ]
    );
    assert_eq!(
        fires("30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", 4),
        [
            "2026-10-25 01:30:00 +02:00",
            "2026-10-25 02:30:00 +02:00",
            "2026-10-25 02:30:00 +01:00",
            "2026-10-25 03:30:00 +01:00"
        ]
    );
}

#[test]
fn seconds_lists_names_and_last_days_are_understood() {
    assert_eq!(
        fires("*/20 0 9 * * *", "UTC", "2026-01-01T08:00:00Z", 4),
        [
            "2026-01-01 09:00:00 +00:00",
            "2026-01-01 09:00:20 +00:00",
            "2026-01-01 09:00:40 +00:00",
            "2026-01-02 09:00:00 +00:00"
        ]
    );
    assert_eq!(
        fires("0 9 * * MON-FRI", "UTC", "2026-01-02T12:00:00Z", 1),
        ["2026-01-05 09:00:00 +00:00"]
    );
    assert_eq!(
        fires("0 0 L * *", "UTC", "2026-02-01T00:00:00Z", 2),
        ["2026-02-28 00:00:00 +00:00", "2026-03-31 00:00:00 +00:00"]
    );
    assert_eq!(
        fires("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["2028-02-29 00:00:00 +00:00", "2032-02-29 00:00:00 +00:00"]
    );
    assert_eq!(
        fires("@daily", "UTC", "2026-01-01T00:00:00Z", 1),
        ["2026-01-02 00:00:00 +00:00"]
    );
}

#[test]
fn what_never_fires_has_no_first_time() {
    for expression in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        let calendar = Calendar::cron(expression, "UTC").unwrap();
        assert_eq!(calendar.first(at("2026-01-01T00:00:00Z")), None);
    }
}

#[test]
fn bad_expressions_say_why_and_unknown_zones_are_refused() {
    for expression in [
        "",
        "* * * *",
        "61 * * * *",
        "every day",
        "* * * * * * *",
        "0 0 1--9999999 * *",
        ", * * * *",
        "1, * * * *",
    ] {
        let error = Calendar::cron(expression, "UTC").unwrap_err();
        assert_eq!(error.code(), "expression", "{expression}");
        assert!(error.to_string().contains("0 9 * * MON-FRI"), "{error}");
    }
    let long = format!("{} * * * *", "1,".repeat(200));
    assert!(
        Calendar::cron(&long, "UTC")
            .unwrap_err()
            .to_string()
            .contains("256")
    );
    for zone in ["", "Europe/Atlantis", "../../etc/passwd", "CEST"] {
        let error = Calendar::cron("* * * * *", zone).unwrap_err();
        assert_eq!(error.code(), "zone", "{zone}");
    }
}

#[test]
fn a_zone_is_known_on_a_machine_without_a_database() {
    assert!(TimeZoneDatabase::bundled().get("Europe/Berlin").is_ok());
}

#[test]
fn intervals_are_counted_from_their_last_time() {
    let calendar = Calendar::every(Duration::from_millis(1_500)).unwrap();
    let start = at("2026-01-01T00:00:00Z");
    let after = |ms: u64| Timestamp::from_ms(start.as_ms() + ms);
    assert_eq!(calendar.first(start), Some(after(1_500)));
    assert_eq!(calendar.last(start, after(10_000)), after(9_000));
    assert_eq!(calendar.before(after(9_000)), Some(after(7_500)));
    for bad in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        assert_eq!(Calendar::every(bad).unwrap_err().code(), "interval");
    }
}

const ZONES: [&str; 5] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Forwards and backwards the same moments are found, each later than the one before.
    #[test]
    fn backwards_finds_what_forwards_found(
        minute in prop::sample::select(vec!["0", "30", "*/20", "5,50"]),
        hour in prop::sample::select(vec!["*", "2", "1-3", "*/2", "2,14"]),
        zone in prop::sample::select(ZONES.to_vec()),
        hours in 0_u64..8_760,
    ) {
        let calendar = Calendar::cron(&format!("{minute} {hour} * * *"), zone).unwrap();
        // From two days before a change of the clock in most of them, or anywhere in 2026.
        let from = at("2026-01-01T00:17:00Z").as_ms() + hours * 3_600_000;
        let mut last = Timestamp::from_ms(from);
        for _ in 0..60 {
            let next = calendar.after(last).unwrap();
            prop_assert!(next > last);
            prop_assert_eq!(calendar.last(last, next), next);
            let shortly_before = Timestamp::from_ms(next.as_ms() - 1);
            if let Some(before) = calendar.before(next) {
                prop_assert!(before < next);
                prop_assert_eq!(calendar.after(before), Some(next), "from {}", show(before, zone));
                prop_assert_eq!(calendar.last(before, shortly_before), before);
            }
            last = next;
        }
    }

    /// No text makes the parser panic, and what it takes can be searched.
    #[test]
    fn any_text_is_refused_or_searched(expression in "[0-9*/,#LW?+A-Z@ -]{0,24}") {
        if let Ok(calendar) = Calendar::cron(&expression, "Europe/Berlin") {
            let first = calendar.first(at("2026-03-28T00:00:00Z"));
            if let Some(first) = first {
                prop_assert!(calendar.after(first).is_none_or(|next| next > first));
            }
        }
    }

    /// The same for texts that look like expressions.
    #[test]
    fn whatever_looks_like_an_expression_is_refused_or_searched(
        fields in prop::collection::vec("(\\*|[0-9]{1,2})(-[0-9]{1,2})?(/[0-9]{1,2})?(,[0-9]{1,2})?[LW]?(#[0-9])?", 5..7),
    ) {
        if let Ok(calendar) = Calendar::cron(&fields.join(" "), "America/New_York") {
            let first = calendar.first(at("2026-10-30T00:00:00Z"));
            if let Some(first) = first {
                prop_assert_eq!(calendar.last(first, first), first);
            }
        }
    }
}
