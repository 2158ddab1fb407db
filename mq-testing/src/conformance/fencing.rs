//! Only the holder of the present lease can change a message: every other token is refused and changes nothing.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking"
)]

use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Delivery, SettleError};
use mq_core::command::SettleRefused;
use mq_core::id::{Incarnation, LeaseToken, MessageId, Seq};
use mq_core::state::State;

use super::worker::{Answer, BACKOFF, LEASE, message, succeed};
use super::{Setup, Store, Subject, checks};

checks![
    a_lease_is_settled_once,
    an_invented_lease_is_stale,
    a_lease_that_ran_out_is_stale_and_its_holder_is_told,
    a_lease_given_back_is_stale,
    the_former_holder_cannot_touch_a_message_leased_again,
    a_lease_of_an_earlier_opening_is_stale,
    later_leases_of_a_message_compare_greater,
    an_extended_lease_lasts,
    a_shorter_extension_ends_no_lease,
    a_wall_clock_that_jumps_ends_no_lease,
];

/// Every call that takes a token refuses this one.
fn assert_stale(store: &dyn Store, token: LeaseToken) {
    let before = store.backend().stats();
    match store.try_settle(token, succeed(), vec![message("staged")]) {
        Err(SettleError::Refused(SettleRefused::Stale(stale))) => assert_eq!(stale.token, token),
        other => panic!("lease {token} is stale, but the answer was {other:?}"),
    }
    let answers = store.backend().extend(vec![token], LEASE).answer();
    let answers = answers.expect("an answer");
    assert!(answers.iter().all(Result::is_err), "{answers:?}");
    let answer = store
        .backend()
        .save_checkpoint(token, Bytes::new())
        .answer();
    answer.expect("an answer").expect_err("the lease is stale");
    let answer = store.backend().reserve(token, 1, 1).answer();
    answer.expect("an answer").expect_err("the lease is stale");
    store.backend().give_back(vec![token]);
    store.settle_down();
    let after = store.backend().stats();
    assert_eq!(after.live_messages, before.live_messages);
    assert_eq!(after.outcomes, before.outcomes);
    assert!(after.stale > before.stale, "it is counted");
}

fn a_lease_is_settled_once(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.settle(grant.token, succeed());
    assert_stale(&*store, grant.token);
}

fn an_invented_lease_is_stale(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let real = store.grant(&mut worker).token;
    let other = Seq::new(id.seq().get() + 5).expect("a small number");
    let invented = [
        LeaseToken {
            delivery: real.delivery + 1,
            ..real
        },
        LeaseToken {
            delivery: real.delivery - 1,
            ..real
        },
        LeaseToken {
            incarnation: Incarnation(real.incarnation.0 + 1),
            ..real
        },
        LeaseToken {
            id: MessageId::new(id.unix_ms() + 1, id.seq(), id.tag()),
            ..real
        },
        LeaseToken {
            id: MessageId::new(id.unix_ms(), other, id.tag()),
            ..real
        },
    ];
    for token in invented {
        assert_stale(&*store, token);
    }
    assert_eq!(store.state(id), State::Leased { token: real });
}

fn a_lease_that_ran_out_is_stale_and_its_holder_is_told(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.advance(LEASE - Duration::from_millis(1));
    assert_eq!(store.granted(&mut worker), [], "it is still held");
    store.advance(Duration::from_millis(1));
    let deliveries = store.deliveries(&mut worker);
    match deliveries.as_slice() {
        [Delivery::LeaseLost(token)] => assert_eq!(*token, grant.token),
        other => panic!("the loss of the lease, not {other:?}"),
    }
    assert_stale(&*store, grant.token);
}

fn a_lease_given_back_is_stale(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.backend().give_back(vec![grant.token]);
    store.settle_down();
    assert_stale(&*store, grant.token);
}

fn the_former_holder_cannot_touch_a_message_leased_again(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut late = store.worker_with(1);
    let old = store.grant(&mut late).token;
    store.advance(LEASE);
    store.advance(BACKOFF);
    let mut worker = store.worker_with(1);
    let new = store.grant(&mut worker).token;
    assert_stale(&*store, old);
    assert_eq!(store.state(id), State::Leased { token: new });
    store.settle(new, succeed());
}

fn a_lease_of_an_earlier_opening_is_stale(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let old = store.grant(&mut worker).token;
    store.settle_down();
    store.crash();
    assert_stale(&*store, old);
    let mut worker = store.worker_with(1);
    let new = store.grant(&mut worker).token;
    assert_eq!(new.id, id);
    assert_stale(&*store, old);
    store.settle(new, succeed());
}

fn later_leases_of_a_message_compare_greater(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    store.enqueue(message("a"));
    let mut last = (Incarnation(0), 0);
    for round in 0..4 {
        let mut worker = store.worker_with(1);
        let token = store.grant(&mut worker).token;
        let order = (token.incarnation, token.delivery);
        assert!(order > last, "{order:?} after {last:?}");
        last = order;
        store.backend().give_back(vec![token]);
        store.settle_down();
        if round % 2 == 0 {
            store.reopen();
        }
    }
}

fn an_extended_lease_lasts(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    for _ in 0..5 {
        store.advance(LEASE - Duration::from_millis(1));
        let answers = store.backend().extend(vec![grant.token], LEASE).answer();
        assert_eq!(answers.expect("an answer"), [Ok(())]);
    }
    store.settle(grant.token, succeed());
}

/// A renewal, say, that comes behind a long extension.
fn a_shorter_extension_ends_no_lease(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    for duration in [3 * LEASE, LEASE / 10] {
        let answers = store.backend().extend(vec![grant.token], duration).answer();
        assert_eq!(answers.expect("an answer"), [Ok(())]);
    }
    store.advance(2 * LEASE);
    assert_eq!(store.granted(&mut worker), []);
    store.settle(grant.token, succeed());
}

fn a_wall_clock_that_jumps_ends_no_lease(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    let year = Duration::from_secs(365 * 24 * 3600);
    store.set_wall(store.wall().after(year * 50));
    store.advance(Duration::from_millis(1));
    assert_eq!(store.granted(&mut worker), []);
    store.settle(grant.token, succeed());
}
