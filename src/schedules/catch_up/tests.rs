//! What is sent after a while in which nothing was.

use super::*;

const MINUTE: u64 = 60_000;
const START: u64 = 1_767_225_600_000; // 2026-01-01T00:00:00Z

fn minute(number: u64) -> Timestamp {
    Timestamp::from_ms(START + number * MINUTE)
}

fn every_minute() -> [Calendar; 2] {
    [
        Calendar::every(Duration::from_secs(60)).unwrap(),
        Calendar::cron("* * * * *", "Europe/Berlin").unwrap(),
    ]
}

#[test]
fn a_run_on_time_is_sent_by_every_policy() {
    for calendar in every_minute() {
        for missed in [Missed::Skip, Missed::Once, Missed::All] {
            let now = Timestamp::from_ms(minute(5).as_ms() + 40);
            let expected = Runs {
                at: vec![minute(5)],
                due: minute(5),
                skipped: 0,
                next: Some(minute(6)),
            };
            assert_eq!(
                missed.runs(&calendar, minute(5), now, RUNS_PER_FIRE),
                expected
            );
        }
    }
}

#[test]
fn once_sends_one_for_all_that_were_missed() {
    for calendar in every_minute() {
        let runs = Missed::Once.runs(&calendar, minute(5), minute(17), RUNS_PER_FIRE);
        let expected = Runs {
            at: vec![minute(17)],
            due: minute(17),
            skipped: 12,
            next: Some(minute(18)),
        };
        assert_eq!(runs, expected);
        // A year of minutes: found without walking through them.
        let runs = Missed::Once.runs(&calendar, minute(5), minute(525_600), RUNS_PER_FIRE);
        assert_eq!((runs.due, runs.skipped), (minute(525_600), 1_000));
        assert_eq!(runs.next, Some(minute(525_601)));
    }
}

#[test]
fn skip_sends_nothing_that_is_late_by_more_than_a_minute() {
    let calendar = Calendar::cron("0 3 * * *", "UTC").unwrap();
    let three = minute(180);
    let tomorrow = Some(minute(180 + 1_440));
    let runs = Missed::Skip.runs(&calendar, three, three.after(GRACE), RUNS_PER_FIRE);
    assert_eq!(
        (runs.at, runs.skipped, runs.next),
        (vec![three], 0, tomorrow)
    );
    let late = Timestamp::from_ms(three.as_ms() + MINUTE + 1);
    let runs = Missed::Skip.runs(&calendar, three, late, RUNS_PER_FIRE);
    assert_eq!((runs.at, runs.skipped, runs.next), (vec![], 1, tomorrow));
    let days_later = minute(180 + 3 * 1_440 + 600);
    let runs = Missed::Skip.runs(&calendar, three, days_later, RUNS_PER_FIRE);
    assert_eq!((runs.at, runs.skipped), (vec![], 4));
}

#[test]
fn all_sends_each_in_pages() {
    for calendar in every_minute() {
        let mut due = Some(minute(0));
        let mut sent = Vec::new();
        while let Some(next) = due.filter(|due| *due <= minute(150)) {
            let runs = Missed::All.runs(&calendar, next, minute(150), RUNS_PER_FIRE);
            assert!(runs.at.len() <= RUNS_PER_FIRE);
            assert_eq!((runs.at.last(), runs.skipped), (Some(&runs.due), 0));
            sent.extend(runs.at);
            due = runs.next;
        }
        let expected: Vec<_> = (0..=150).map(minute).collect();
        assert_eq!(sent, expected);
        assert_eq!(due, Some(minute(151)));
    }
}

#[test]
fn all_sends_the_newest_thousand_and_counts_the_others() {
    for calendar in every_minute() {
        let runs = Missed::All.runs(&calendar, minute(0), minute(1_499), RUNS_PER_FIRE);
        assert_eq!(runs.at.first(), Some(&minute(500)));
        assert_eq!(runs.skipped, 500);
        let runs = Missed::All.runs(&calendar, minute(0), minute(999), RUNS_PER_FIRE);
        assert_eq!((runs.at.first(), runs.skipped), (Some(&minute(0)), 0));
    }
}

#[test]
fn runs_that_share_a_key_are_sent_one_by_one() {
    let [calendar, _] = every_minute();
    let runs = Missed::All.runs(&calendar, minute(0), minute(9), 1);
    assert_eq!((runs.at, runs.next), (vec![minute(0)], Some(minute(1))));
}
