//! What a pool is handed, as the contract of a backend has it: leases in batches and in order, notices behind them.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use mq::{Engine, NewMessage, secs};
use mq_core::backend::{Backend, Delivery, WhenFull};
use mq_core::command::{PoolSpec, Selector};
use mq_core::id::PoolId;
use mq_core::retry::RetryPolicy;

/// A hang is a failure.
const LIMIT: Duration = Duration::from_secs(30);

fn message() -> NewMessage {
    let (queue, kind) = ("mail".parse().unwrap(), "welcome".parse().unwrap());
    NewMessage::new(queue, kind, "{}".into())
}

/// A pool that takes everything, and what hears that it is woken.
fn attach(backend: &dyn Backend) -> (PoolId, mpsc::Receiver<()>) {
    let (wakes, woken) = mpsc::channel();
    let spec = PoolSpec::one(Selector::default(), secs(60), RetryPolicy::default());
    let wake = Arc::new(move || {
        wakes.send(()).ok(); // nobody listens any more
    });
    (backend.attach(spec, wake).unwrap(), woken)
}

fn take(backend: &dyn Backend, pool: PoolId) -> Vec<Delivery> {
    let mut taken = Vec::new();
    backend.take(pool, &mut taken);
    taken
}

#[test]
fn leases_of_two_pools_leave_in_one_batch_each() {
    let engine = Engine::in_memory().open_wait().unwrap();
    let backend = engine.backend();
    let pools = [attach(&*backend), attach(&*backend)];
    for (pool, _) in &pools {
        backend.checkout(*pool, 10);
    }
    let sent = backend.enqueue(vec![message(); 20], WhenFull::Refuse);
    assert_eq!(sent.wait().unwrap().unwrap().len(), 20);
    for (pool, woken) in &pools {
        woken.recv_timeout(LIMIT).unwrap();
        let leases = take(&*backend, *pool);
        let seqs: Vec<_> = leases
            .iter()
            .map(|delivery| match delivery {
                Delivery::Grant(grant) => grant.token.id.seq(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(seqs.len(), 10);
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    engine.close_wait().unwrap();
    for (_, woken) in pools {
        assert_eq!(woken.try_iter().count(), 0, "woken once for all of them");
    }
}

#[test]
fn a_notice_comes_behind_the_lease_it_is_about() {
    let engine = Engine::in_memory().open_wait().unwrap();
    let backend = engine.backend();
    let (pool, woken) = attach(&*backend);
    backend.checkout(pool, 1);
    let sent = backend.enqueue(vec![message()], WhenFull::Refuse);
    let id = sent.wait().unwrap().unwrap()[0].accepted.id;
    woken.recv_timeout(LIMIT).unwrap();
    engine.cancel(id).wait().unwrap();
    woken.recv_timeout(LIMIT).unwrap();
    match &*take(&*backend, pool) {
        [Delivery::Grant(grant), Delivery::CancelRequested(token)] => {
            assert_eq!((grant.token, grant.token.id), (*token, id));
        }
        other => panic!("{other:?}"),
    }
}
