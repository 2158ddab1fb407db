//! Nothing starts unless everything is right, and everything that is wrong is said at once.

use std::time::Duration;

use mq_dispatch::{Fault, Message, Outcome, Problem, StartError, State, Workers};

use crate::store::Store;
use crate::{Charge, Notify};

async fn charge(_charge: Charge) -> Outcome {
    Ok(())
}

async fn notify(_notify: Notify, State(_): State<u8>) -> Outcome {
    Ok(())
}

fn problems(started: Result<Workers, StartError>) -> Vec<(String, Fault)> {
    match started.unwrap_err() {
        StartError::Handlers { problems } => problems
            .into_iter()
            .map(|Problem { handler, fault }| (handler, fault))
            .collect(),
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_problem_is_reported_at_once_and_nothing_is_attached() {
    let store = Store::new();
    let started = store
        .workers()
        .handle(charge)
        .handle_with(charge, |h| h.parallelism(0..=4).timeout(Duration::ZERO))
        .handle_with(notify, |h| h.lease(Duration::ZERO).queue("no name!"))
        .state('a')
        .state('b')
        .start();
    let text = started.as_ref().unwrap_err().to_string();
    assert!(text.starts_with("8 problems with the handlers: "), "{text}");
    let problems = problems(started);
    let of = |handler: &str| -> Vec<&Fault> {
        let mine = problems.iter().filter(|(name, _)| name == handler);
        mine.map(|(_, fault)| fault).collect()
    };
    let duplicate = |name: &str| Fault::DuplicateKind {
        name: name.to_owned(),
    };
    let charge = of("charge");
    assert_eq!(charge.len(), 4);
    assert!(charge.contains(&&duplicate("charge")));
    assert!(charge.contains(&&duplicate("charge.old")), "aliases too");
    assert!(charge.contains(&&Fault::Parallelism { start: 0, end: 4 }));
    assert!(charge.contains(&&Fault::Timeout));
    let notify = of("notify");
    assert!(notify.contains(&&Fault::MissingState { type_name: "u8" }));
    assert!(notify.contains(&&Fault::Lease {
        given: Duration::ZERO
    }));
    assert!(matches!(notify.first(), Some(Fault::Name(_))));
    let state = of("state");
    assert_eq!(state, [&Fault::DuplicateState { type_name: "char" }]);
    assert_eq!(store.pools(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_queues_may_have_a_handler_each_for_one_kind() {
    let store = Store::new();
    let workers = store
        .workers()
        .handle_with(charge, |h| h.queue("a"))
        .handle_with(charge, |h| h.queue("b"));
    assert!(workers.start().is_ok());
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Odd;

impl Message for Odd {
    const KIND: &'static str = "not a name";
    const QUEUE: &'static str = "";
    const PRIORITY: u8 = 10;
    const VERSION: u16 = 0;
    type Output = ();
}

#[tokio::test(start_paused = true)]
async fn facts_of_a_message_written_by_hand_are_checked_too() {
    let store = Store::new();
    let problems = problems(store.workers().handle(|_: Odd| async {}).start());
    assert_eq!(problems.len(), 4, "{problems:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stopped_starts_no_workers() {
    let store = Store::new();
    store.shut();
    let started = store.workers().handle(charge).start();
    assert!(matches!(started, Err(StartError::Stopped(_))));
}

#[test]
fn without_a_runtime_the_workers_have_their_own() {
    let store = Store::new();
    let workers = store.workers().handle(charge).start().unwrap();
    let id = store.send(&Charge { order: 7 });
    let report = workers.stop(Duration::from_secs(25)).wait();
    assert_eq!(report.asked_to_stop, 0);
    let ends = store.get(id).ends.len();
    assert!(ends == 1 || store.get(id).is == crate::store::Is::Ready);
    assert_eq!(store.pools(), 0);
}
