//! What is true after the store was opened again.

use std::time::Duration;

use mq_core::backend::{Grant, OperateRequest};
use mq_core::message::{Due, NewMessage};
use mq_core::name::Label;
use mq_core::state::{DeadReason, Outcome, State};

use super::worker::{BACKOFF, delayed, fail, message, ordered, succeed};
use super::{Setup, Store, Subject, checks};

checks![
    messages_survive_in_their_order,
    a_settled_message_stays_settled,
    a_back_off_survives_with_its_reason,
    holds_and_pauses_survive,
    a_message_that_falls_due_while_closed_runs_at_once,
    what_ran_during_a_crash_is_a_suspect_and_pays_nothing,
    suspects_run_one_at_a_time_beside_normal_work,
    a_suspect_that_crashes_alone_three_times_is_dead,
    a_suspect_that_was_settled_is_no_suspect_any_more,
    an_orderly_close_makes_no_suspects,
    a_lease_given_back_before_a_crash_makes_no_suspect,
];

fn messages_survive_in_their_order(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let ids = ["a", "b", "c"].map(|payload| store.enqueue(message(payload)));
    store.settle_down();
    store.crash();
    let id = store.enqueue(message("d"));
    let mut worker = store.worker_with(9);
    let granted = store.grants(&mut worker);
    let granted_ids: Vec<_> = granted.iter().map(|grant| grant.token.id).collect();
    let [a, b, c] = ids;
    assert_eq!(granted_ids, [a, b, c, id]);
    let payloads: Vec<_> = granted
        .iter()
        .map(|grant| grant.envelope.payload.clone())
        .collect();
    assert_eq!(payloads, ["a", "b", "c", "d"]);
}

fn a_settled_message_stays_settled(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.settle(grant.token, succeed());
    store.settle_down();
    store.crash();
    assert!(store.is_gone(id));
}

fn a_back_off_survives_with_its_reason(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let mut worker = store.worker_with(1);
    let grant = store.grant(&mut worker);
    store.settle(grant.token, fail());
    let due = store.wall().after(BACKOFF);
    store.settle_down();
    store.crash();
    let view = store.view(id);
    assert_eq!(
        (view.state, view.tail.failures),
        (State::Scheduled { due }, 1)
    );
    let last = view.tail.history.last();
    let reason = last.and_then(|attempt| attempt.failure.clone());
    assert_eq!(reason, Some(super::worker::failure()));
    assert!(!view.suspect, "it was not running");
}

fn holds_and_pauses_survive(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let label = Label::new("review").ok();
    let held = store.enqueue(NewMessage {
        hold: label.clone(),
        ..message("a")
    });
    store.pause(true);
    let paused = store.enqueue(message("b"));
    store.settle_down();
    store.crash();
    let mut worker = store.worker_with(2);
    assert_eq!(store.granted(&mut worker), []);
    assert_eq!(
        Some(store.state(held)),
        label.map(|label| State::Held { label })
    );
    store.pause(false);
    assert_eq!(store.granted(&mut worker), [paused]);
}

fn a_message_that_falls_due_while_closed_runs_at_once(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(NewMessage {
        due: Due::At(store.wall().after(Duration::from_secs(60))),
        ..message("a")
    });
    let later = store.enqueue(delayed("b", Duration::from_secs(80)));
    store.settle_down();
    store.set_wall(store.wall().after(Duration::from_secs(60)));
    store.reopen();
    let mut worker = store.worker_with(2);
    assert_eq!(store.granted(&mut worker), [id]);
    store.advance(Duration::from_secs(20));
    assert_eq!(store.granted(&mut worker), [later]);
}

fn run(store: &dyn Store, permits: u32) -> Vec<Grant> {
    let mut worker = store.worker_with(permits);
    store.grants(&mut worker)
}

fn what_ran_during_a_crash_is_a_suspect_and_pays_nothing(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    assert_eq!(run(&*store, 1).len(), 1);
    store.crash();
    let view = store.view(id);
    assert!(view.suspect);
    assert_eq!((view.tail.failures, view.tail.crashes), (0, 0));
    let last = view.tail.history.last().map(|attempt| attempt.outcome);
    assert_eq!(last, Some(Outcome::Crashed));
    let grants = run(&*store, 1);
    assert!(
        grants
            .iter()
            .all(|grant| grant.suspect && grant.attempt == 1),
        "{grants:?}"
    );
    assert_eq!(grants.len(), 1);
}

fn suspects_run_one_at_a_time_beside_normal_work(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let suspects = ["a", "b", "c"].map(|payload| store.enqueue(message(payload)));
    assert_eq!(run(&*store, 3).len(), 3);
    store.crash();
    let normal = ["d", "e"].map(|payload| store.enqueue(message(payload)));
    let mut worker = store.worker_with(9);
    let mut grants = store.grants(&mut worker);
    for id in suspects {
        let (solo, others): (Vec<_>, Vec<_>) = grants.into_iter().partition(|grant| grant.suspect);
        let ids: Vec<_> = solo.iter().map(|grant| grant.token.id).collect();
        assert_eq!(ids, [id], "one suspect at a time, in order");
        assert!(others.iter().all(|grant| normal.contains(&grant.token.id)));
        for grant in solo {
            store.settle(grant.token, succeed());
        }
        grants = store.grants(&mut worker);
    }
    assert_eq!(store.backend().stats().suspects, 0);
}

fn a_suspect_that_crashes_alone_three_times_is_dead(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let poison = store.enqueue(ordered("poison", "x"));
    let next = store.enqueue(ordered("next", "x"));
    assert_eq!(run(&*store, 9).len(), 1);
    store.crash();
    for _ in 0..3 {
        let ids: Vec<_> = run(&*store, 9).iter().map(|grant| grant.token.id).collect();
        assert_eq!(ids, [poison]);
        store.crash();
    }
    let reason = DeadReason::Crashed;
    let view = store.view(poison);
    assert_eq!((view.state, view.tail.crashes), (State::Dead { reason }, 3));
    let ids: Vec<_> = run(&*store, 9).iter().map(|grant| grant.token.id).collect();
    assert_eq!(ids, [next], "its ordering key is free");
}

fn a_suspect_that_was_settled_is_no_suspect_any_more(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    assert_eq!(run(&*store, 1).len(), 1);
    store.crash();
    for grant in run(&*store, 1) {
        store.settle(grant.token, fail());
    }
    assert!(!store.view(id).suspect);
    store.advance(BACKOFF);
    let grants = run(&*store, 1);
    assert!(grants.iter().all(|grant| !grant.suspect) && grants.len() == 1);
}

fn an_orderly_close_makes_no_suspects(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    assert_eq!(run(&*store, 1).len(), 1);
    store.reopen();
    let view = store.view(id);
    assert!(!view.suspect);
    assert!(view.tail.history.is_empty(), "{:?}", view.tail.history);
    assert_eq!(run(&*store, 1).len(), 1);
}

fn a_lease_given_back_before_a_crash_makes_no_suspect(subject: &dyn Subject) {
    let mut store = subject.open(&Setup::default());
    let id = store.enqueue(message("a"));
    let tokens = run(&*store, 1).iter().map(|grant| grant.token).collect();
    store.backend().give_back(tokens);
    store.settle_down();
    store.operate(id, OperateRequest::Reschedule(Due::After(BACKOFF)));
    store.settle_down();
    store.crash();
    assert!(!store.view(id).suspect);
}
