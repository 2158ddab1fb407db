//! The store has as many permits as there are free workers, through every change.

use super::{Change, Permits, Placement};

#[test]
fn a_free_worker_is_a_permit_and_is_sent_once() {
    let mut permits = Permits::new(3);
    assert_eq!(permits.correct(), Some(Change::Add(3)));
    assert_eq!(permits.correct(), None);
    assert_eq!(permits.granted(), Placement::Start);
    assert_eq!(permits.correct(), None, "the spent permit's worker is busy");
    permits.freed(1);
    assert_eq!(permits.correct(), Some(Change::Add(1)));
}

#[test]
fn scaling_down_takes_unspent_permits_back_and_is_in_force_when_they_are() {
    let mut permits = Permits::new(4);
    permits.correct();
    assert_eq!(permits.granted(), Placement::Start);
    permits.set_limit(2);
    assert_eq!(permits.correct(), Some(Change::TakeBack(2)));
    assert!(!permits.is_in_force());
    permits.taken_back(2, 2);
    assert!(permits.is_in_force());
    assert_eq!(permits.correct(), None);
}

#[test]
fn a_grant_that_crosses_a_scaling_down_goes_back() {
    let mut permits = Permits::new(2);
    permits.correct();
    permits.granted();
    permits.set_limit(1);
    assert_eq!(permits.correct(), Some(Change::TakeBack(1)));
    assert_eq!(permits.granted(), Placement::GiveBack);
    permits.taken_back(1, 0);
    assert!(permits.is_in_force());
    permits.freed(1);
    assert_eq!(permits.correct(), Some(Change::Add(1)));
}

#[test]
fn a_closed_pool_takes_all_permits_back_and_starts_nothing() {
    let mut permits = Permits::new(2);
    permits.correct();
    permits.set_open(false);
    assert_eq!(permits.correct(), Some(Change::TakeBack(2)));
    assert_eq!(permits.granted(), Placement::GiveBack);
    permits.set_open(true);
    permits.taken_back(2, 1);
    assert_eq!(permits.correct(), Some(Change::Add(2)));
}

#[test]
fn no_more_permits_are_sent_than_services_are_ready() {
    let mut permits = Permits::new(4);
    permits.set_ready(0);
    assert_eq!(permits.correct(), None);
    permits.set_ready(2);
    assert_eq!(permits.correct(), Some(Change::Add(2)));
    assert_eq!(permits.granted(), Placement::Start);
    assert_eq!(permits.granted(), Placement::Start);
    assert_eq!(
        permits.correct(),
        None,
        "workers are free, services are not"
    );
    permits.set_ready(1);
    assert_eq!(permits.correct(), Some(Change::Add(1)));
}

#[test]
fn a_pool_that_stops_takes_nothing_more_whatever_resumes_it() {
    let mut permits = Permits::new(2);
    permits.correct();
    permits.close();
    permits.set_open(true);
    assert_eq!(permits.correct(), Some(Change::TakeBack(2)));
    assert_eq!(permits.granted(), Placement::GiveBack);
}
