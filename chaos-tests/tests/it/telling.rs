//! The stream of events: everything that happens is told once, in order, and never before it is durable.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use chaos_tests::machine::{Machine, RETRY};
use mq::{Event, Events, What};
use mq_core::backend::{OperateRequest, WhenFull};
use mq_core::command::Settlement;
use mq_core::id::MessageId;
use mq_core::message::NewMessage;
use mq_core::state::{DeadReason, Failure};
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

fn message() -> NewMessage {
    NewMessage::new(
        "orders".parse().unwrap(),
        "order".parse().unwrap(),
        Bytes::from_static(b"{}"),
    )
}

fn enqueue(machine: &Machine) -> MessageId {
    let sent = machine.backend().enqueue(vec![message()], WhenFull::Refuse);
    sent.wait().unwrap().unwrap()[0].accepted.id
}

fn operate(machine: &Machine, id: MessageId, request: OperateRequest) {
    let done = machine.backend().operate(id, request).wait();
    done.unwrap().unwrap();
}

fn fail(text: &str) -> Settlement {
    let failure = Failure {
        error_type: "Declined".to_owned(),
        text: text.to_owned(),
    };
    Settlement::Fail {
        failure,
        retry: RETRY,
        retry_in: None,
    }
}

/// What was told so far, with the attempt.
fn told(events: &mut Events) -> Vec<(u32, What)> {
    let mut told = Vec::new();
    while let Some(event) = events.try_next() {
        match event {
            Event::Message(event) => told.push((event.attempt, event.what)),
            other => panic!("{other:?}"),
        }
    }
    told
}

#[test]
fn the_life_of_a_message_is_told_in_order() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let mut events = machine.engine().unwrap().events();
    let id = enqueue(&machine);
    for attempt in 1..=3 {
        let grant = machine.take(1).remove(0);
        machine.settle(&grant, fail("no"), Vec::new()).unwrap();
        machine.pass(Duration::from_secs(2));
        machine.settle_down();
        let told = told(&mut events);
        if attempt == 1 {
            assert_eq!(told[0], (1, What::Enqueued { due: None }));
        }
        let [.., started, ended] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(*started, (attempt, What::Started));
        match (&ended.1, attempt) {
            (What::RetryScheduled { due, failure }, 1 | 2) => {
                assert!(due.is_some());
                assert_eq!(failure.as_ref().unwrap().text, "no");
            }
            (What::Dead { reason, failure }, 3) => {
                assert_eq!(*reason, DeadReason::BudgetSpent);
                assert_eq!(failure.as_ref().unwrap().error_type, "Declined");
            }
            other => panic!("{other:?}"),
        }
    }
    operate(&machine, id, OperateRequest::Replay { edit: None });
    let label: mq::Label = "aside".parse().unwrap();
    operate(&machine, id, OperateRequest::Hold(label.clone()));
    operate(&machine, id, OperateRequest::Release);
    let grant = machine.take(1).remove(0);
    let done = Settlement::Succeed { result: None };
    machine.settle(&grant, done, Vec::new()).unwrap();
    machine.settle_down();
    let whats: Vec<What> = told(&mut events)
        .into_iter()
        .map(|(_, what)| what)
        .collect();
    let expected = [
        What::Replayed,
        What::Held { label },
        What::Released,
        What::Started,
        What::Succeeded,
    ];
    assert_eq!(whats, expected);
}

#[test]
fn nothing_is_told_before_its_sync() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    enqueue(&machine);
    let grant = machine.take(1).remove(0);
    machine.settle_down();
    let mut events = machine.engine().unwrap().events();
    let done = Settlement::Succeed { result: None };
    machine.settle(&grant, done, Vec::new()).unwrap();
    assert_eq!(told(&mut events), [], "answered when written, not synced");
    machine.pass(Duration::from_millis(15));
    assert_eq!(told(&mut events), [(1, What::Succeeded)]);
}

#[test]
fn what_a_failed_sync_leaves_in_doubt_is_never_told() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let mut events = machine.engine().unwrap().events();
    disk.fail_from(IoKind::SyncData, 1, Fault::IoError);
    let sent = machine.backend().enqueue(vec![message()], WhenFull::Refuse);
    assert!(sent.wait().unwrap().is_err());
    assert_eq!(events.wait(), None, "the stream ends with the engine");
    let late = machine.engine().unwrap().events().wait();
    assert_eq!(late, None, "one that comes later ends at once");
}

#[test]
fn a_listener_that_does_not_listen_costs_a_bounded_number_of_events() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let engine = machine.engine().unwrap();
    let mut events = engine.events_up_to(NonZeroUsize::new(4).unwrap());
    let ids: Vec<MessageId> = (0..10).map(|_| enqueue(&machine)).collect();
    assert_eq!(events.try_next(), Some(Event::Gap { missed: 6 }));
    for id in &ids[6..] {
        match events.try_next() {
            Some(Event::Message(event)) => assert_eq!(event.id, *id),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn leases_that_run_out_cancellations_and_pauses_are_told() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let mut events = machine.engine().unwrap().events();
    let id = enqueue(&machine);
    let granted = machine.take(1);
    assert_eq!(granted.len(), 1);
    machine.pass(Duration::from_secs(31));
    machine.pass(Duration::from_millis(15));
    let told = told(&mut events);
    let last = &told.last().unwrap().1;
    assert!(
        matches!(last, What::LeaseExpired { due: Some(_) }),
        "{told:?}"
    );
    operate(&machine, id, OperateRequest::Cancel);
    let queue: mq::QueueName = "orders".parse().unwrap();
    machine
        .backend()
        .pause_queue(queue.clone(), true)
        .wait()
        .unwrap()
        .unwrap();
    match events.try_next() {
        Some(Event::Message(event)) => assert_eq!(event.what, What::Cancelled),
        other => panic!("{other:?}"),
    }
    let paused = mq::QueueSettings::default().with(mq::QueueChange::Pause(true));
    let settings = Box::new(paused);
    assert_eq!(events.try_next(), Some(Event::QueueSet { queue, settings }));
}

#[test]
fn what_a_staged_message_takes_the_place_of_is_told_as_superseded() {
    let machine = Machine::open(&SimDisk::new(), 0).unwrap();
    let mut events = machine.engine().unwrap().events();
    let worked = enqueue(&machine);
    let grant = machine.take(1).remove(0);
    let mut keyed = message();
    keyed.envelope.dedup_key = Some(mq::Key::new("sku").unwrap());
    keyed.dedup = Some(mq::DedupPolicy::Replace);
    let waiting = machine
        .backend()
        .enqueue(vec![keyed.clone()], WhenFull::Refuse);
    let waiting = waiting.wait().unwrap().unwrap()[0].accepted.id;
    let done = Settlement::Succeed { result: None };
    machine.settle(&grant, done, vec![keyed]).unwrap();
    machine.settle_down();
    let mut ended = Vec::new();
    while let Some(event) = events.try_next() {
        if let Event::Message(event) = event
            && matches!(
                event.what,
                What::Succeeded | What::Superseded | What::Cancelled
            )
        {
            ended.push((event.id, event.what));
        }
    }
    ended.sort_by_key(|(id, _)| *id);
    assert_eq!(
        ended,
        [(worked, What::Succeeded), (waiting, What::Superseded)]
    );
}
