//! The rules hold when many threads call at once.
#![expect(clippy::expect_used, reason = "a check fails by panicking")]

use std::collections::BTreeSet;
use std::thread;

use mq_core::backend::{SettleRequest, WhenFull};
use mq_core::command::Enqueue;
use mq_core::id::{LeaseToken, MessageId};
use mq_core::key::DedupPolicy;

use super::worker::{Answer, fail, idempotent, message, ordered, succeed, unique};
use super::{Setup, Store, Subject, checks};

checks![
    what_many_threads_enqueue_is_handed_out_once_each,
    of_two_settlements_of_one_lease_exactly_one_is_taken,
    one_idempotency_key_from_many_threads_is_one_message,
    one_dedup_key_from_many_threads_is_one_message,
    one_ordering_key_from_many_threads_runs_one_at_a_time,
];

const THREADS: usize = 4;

/// Runs `work` on several threads at once and collects what they answer. Meanwhile the store's own work goes on, which a
/// simulated one does only when it is told to settle down.
fn at_once<T: Send>(store: &dyn Store, work: impl Fn(usize) -> Vec<T> + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || work(n))).collect();
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            store.settle_down();
            thread::yield_now();
        }
        let answers = threads.into_iter();
        answers
            .flat_map(|thread| thread.join().expect("no thread panics"))
            .collect()
    })
}

fn enqueue_at_once(
    store: &dyn Store,
    each: usize,
    make: impl Fn(usize) -> mq_core::message::NewMessage + Sync,
) -> Vec<(MessageId, Enqueue)> {
    let backend = store.backend();
    at_once(store, |thread| {
        (0..each)
            .map(|n| {
                let batch = vec![make(thread * each + n)];
                let answer = backend.enqueue(batch, WhenFull::Refuse).answer();
                let receipts = answer.expect("an answer").expect("it is accepted");
                let accepted = receipts.first().expect("a receipt").accepted;
                (accepted.id, accepted.enqueue)
            })
            .collect()
    })
}

fn what_many_threads_enqueue_is_handed_out_once_each(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let mut workers = [store.worker_with(70), store.worker_with(1_000)];
    let enqueued = enqueue_at_once(&*store, 50, |n| message(&n.to_string()));
    let enqueued: BTreeSet<MessageId> = enqueued.into_iter().map(|(id, _)| id).collect();
    assert_eq!(enqueued.len(), THREADS * 50, "no id is issued twice");
    let mut granted = Vec::new();
    for worker in &mut workers {
        granted.extend(store.granted(worker));
    }
    assert_eq!(granted.len(), enqueued.len(), "none twice");
    assert_eq!(granted.into_iter().collect::<BTreeSet<_>>(), enqueued);
}

fn of_two_settlements_of_one_lease_exactly_one_is_taken(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let batch = (0..50).map(|n| message(&n.to_string())).collect();
    store.try_enqueue(batch).expect("they are accepted");
    let mut worker = store.worker_with(50);
    let tokens: Vec<LeaseToken> = store.grants(&mut worker).iter().map(|g| g.token).collect();
    assert_eq!(tokens.len(), 50);
    let backend = store.backend();
    let taken: Vec<LeaseToken> = at_once(&*store, |thread| {
        let settle = |token: &LeaseToken| {
            let request = SettleRequest {
                token: *token,
                settlement: if thread % 2 == 0 { succeed() } else { fail() },
                staged: vec![message("staged")],
            };
            let answers = backend.settle(vec![request]).answer().expect("an answer");
            answers.iter().all(Result::is_ok).then_some(*token)
        };
        tokens.iter().filter_map(settle).collect()
    });
    assert_eq!(taken.len(), 50, "one for each lease");
    store.settle_down();
    let stats = store.backend().stats();
    let [succeeded, failed, ..] = stats.outcomes;
    assert_eq!(succeeded + failed, 50);
    assert_eq!(stats.stale, 50 * (THREADS as u64 - 1));
    assert_eq!(stats.live_messages, 50 + failed, "one staged with each");
}

fn one_idempotency_key_from_many_threads_is_one_message(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let answers = enqueue_at_once(&*store, 20, |_| idempotent("same", "order-7"));
    let new = answers
        .iter()
        .filter(|(_, enqueue)| *enqueue == Enqueue::New);
    assert_eq!(new.count(), 1);
    let ids: BTreeSet<MessageId> = answers.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 1, "all are answered with the same id");
    assert_eq!(store.backend().stats().live_messages, 1);
}

fn one_dedup_key_from_many_threads_is_one_message(subject: &dyn Subject) {
    for policy in [DedupPolicy::Keep, DedupPolicy::Replace] {
        let store = subject.open(&Setup::default());
        enqueue_at_once(&*store, 20, |n| unique(&n.to_string(), "x", policy));
        store.settle_down();
        assert_eq!(store.backend().stats().live_messages, 1, "{policy:?}");
        let mut worker = store.worker_with(9);
        assert_eq!(store.granted(&mut worker).len(), 1, "{policy:?}");
    }
}

fn one_ordering_key_from_many_threads_runs_one_at_a_time(subject: &dyn Subject) {
    let store = subject.open(&Setup::default());
    let answers = enqueue_at_once(&*store, 10, |n| ordered(&n.to_string(), "x"));
    let mut ids: Vec<MessageId> = answers.into_iter().map(|(id, _)| id).collect();
    ids.sort_by_key(|id| id.seq());
    let mut worker = store.worker_with(1_000);
    for id in ids {
        let grant = store.grant(&mut worker);
        assert_eq!(grant.token.id, id, "in the order of enqueue");
        store.settle(grant.token, succeed());
    }
}
