//! The store has as many permits as there are free workers, through every change.

use super::{Change, Correction, Permits, Placement};

fn corrections(permits: &mut Permits) -> Vec<(usize, Change)> {
    let mut list = Vec::new();
    permits.correct(&mut list);
    list.into_iter()
        .map(|Correction { line, change }| (line, change))
        .collect()
}

#[test]
fn a_free_worker_is_a_permit_and_is_sent_once() {
    let mut permits = Permits::new(3, 1);
    assert_eq!(corrections(&mut permits), [(0, Change::Add(3))]);
    assert_eq!(corrections(&mut permits), []);
    assert_eq!(permits.granted(0), Placement::Start);
    assert_eq!(
        corrections(&mut permits),
        [],
        "the spent permit's worker is busy"
    );
    permits.freed(1);
    assert_eq!(corrections(&mut permits), [(0, Change::Add(1))]);
}

#[test]
fn scaling_down_takes_unspent_permits_back_and_is_in_force_when_they_are() {
    let mut permits = Permits::new(4, 1);
    corrections(&mut permits);
    assert_eq!(permits.granted(0), Placement::Start);
    permits.set_limit(2);
    assert_eq!(corrections(&mut permits), [(0, Change::TakeBack(2))]);
    assert!(!permits.is_in_force());
    permits.taken_back(0, 2, 2);
    assert!(permits.is_in_force());
    assert_eq!(corrections(&mut permits), []);
}

#[test]
fn a_grant_that_crosses_a_scaling_down_goes_back() {
    let mut permits = Permits::new(2, 1);
    corrections(&mut permits);
    permits.granted(0);
    permits.set_limit(1);
    assert_eq!(corrections(&mut permits), [(0, Change::TakeBack(1))]);
    assert_eq!(permits.granted(0), Placement::GiveBack);
    permits.taken_back(0, 1, 0);
    assert!(permits.is_in_force());
    permits.freed(1);
    assert_eq!(corrections(&mut permits), [(0, Change::Add(1))]);
}

#[test]
fn a_closed_pool_takes_all_permits_back_and_starts_nothing() {
    let mut permits = Permits::new(2, 1);
    corrections(&mut permits);
    permits.set_open(false);
    assert_eq!(corrections(&mut permits), [(0, Change::TakeBack(2))]);
    assert_eq!(permits.granted(0), Placement::GiveBack);
    permits.set_open(true);
    permits.taken_back(0, 2, 1);
    assert_eq!(corrections(&mut permits), [(0, Change::Add(2))]);
}

#[test]
fn an_alias_has_one_permit_and_its_message_waits_for_a_worker() {
    let mut permits = Permits::new(1, 2);
    assert_eq!(
        corrections(&mut permits),
        [(0, Change::Add(1)), (1, Change::Add(1))]
    );
    assert_eq!(permits.granted(0), Placement::Start);
    assert_eq!(permits.granted(1), Placement::Wait);
    assert!(!permits.start_waiting(), "no worker is free");
    permits.freed(1);
    assert!(permits.start_waiting());
    assert_eq!(
        corrections(&mut permits),
        [],
        "the only worker is busy again"
    );
}
