//! Waiting for messages on the simulated machine: what an answer stands on, and who is told what when the world ends.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use chaos_tests::machine::Machine;
use mq::{MessageId, NewMessage, Stopped, WaitError, Waiting};
use mq_core::command::Settlement;
use mq_testing::crash_points::Crash;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

type Answer = Poll<Result<Option<Bytes>, WaitError>>;

fn enqueue(machine: &Machine, retain: bool) -> MessageId {
    let message = NewMessage::new(
        "q".parse().unwrap(),
        "k".parse().unwrap(),
        Bytes::from_static(b"{}"),
    );
    let mut request = machine.engine().unwrap().enqueue_raw(message);
    if retain {
        request = request.retain(Duration::from_secs(3600));
    }
    request.wait().unwrap().id()
}

fn wait_for(machine: &Machine, id: MessageId, limit: Duration) -> Waiting<Option<Bytes>> {
    let asked = machine.engine().unwrap().completion_raw(id);
    asked.within(limit).into_future()
}

fn poll(waiting: &mut Waiting<Option<Bytes>>) -> Answer {
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(waiting)
        .poll(&mut context)
        .map(|told| told.map(|completion| completion.output))
}

fn succeed(machine: &Machine, result: &'static [u8]) -> Result<(), String> {
    let grants = machine.take(1);
    let result = Some(Bytes::from_static(result));
    let settled = machine.settle(&grants[0], Settlement::Succeed { result }, Vec::new());
    settled.map(drop)
}

#[test]
fn an_answered_completion_survives_a_power_cut_at_that_moment() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, true);
    let mut waiting = wait_for(&machine, id, Duration::from_secs(30));
    assert!(poll(&mut waiting).is_pending());
    succeed(&machine, b"42").unwrap();
    machine.commit();
    let Poll::Ready(Ok(Some(result))) = poll(&mut waiting) else {
        panic!("it is over, and nothing was passed but rounds");
    };
    assert_eq!(&result[..], b"42");
    let disk = Crash::Power(CrashMode::LoseAll).strike(&disk);
    drop(machine);
    let machine = Machine::open(&disk, 1).unwrap();
    let mut again = wait_for(&machine, id, Duration::ZERO);
    machine.commit();
    let Poll::Ready(Ok(Some(again))) = poll(&mut again) else {
        panic!("what was answered once stays true");
    };
    assert_eq!(again, result);
}

#[test]
fn a_success_that_could_not_be_synced_is_not_told() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, true);
    let mut waiting = wait_for(&machine, id, Duration::from_secs(30));
    let grants = machine.take(1);
    disk.fail_from(IoKind::SyncData, 1, Fault::IoError);
    let result = Some(Bytes::from_static(b"42"));
    drop(machine.settle(&grants[0], Settlement::Succeed { result }, Vec::new()));
    machine.pass(Duration::from_millis(20));
    let told = poll(&mut waiting);
    assert!(
        matches!(
            told,
            Poll::Ready(Err(WaitError::Stopped(Stopped::Poisoned { .. })))
        ),
        "{told:?}"
    );
}

#[test]
fn a_limit_passes_on_the_engines_clock_and_cancels_nothing() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, true);
    let mut waiting = wait_for(&machine, id, Duration::from_secs(30));
    machine.pass(Duration::from_secs(29));
    assert!(poll(&mut waiting).is_pending());
    machine.pass(Duration::from_secs(1));
    let told = poll(&mut waiting);
    assert!(
        matches!(told, Poll::Ready(Err(WaitError::TimedOut { id: late, .. })) if late == id),
        "{told:?}"
    );
    succeed(&machine, b"1").unwrap();
    let mut again = wait_for(&machine, id, Duration::ZERO);
    machine.commit();
    assert!(matches!(poll(&mut again), Poll::Ready(Ok(Some(_)))));
}

#[test]
fn a_crash_while_somebody_waits_lets_them_ask_again() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, true);
    let waiting = wait_for(&machine, id, Duration::from_secs(30));
    let grants = machine.take(1);
    assert_eq!(grants.len(), 1);
    let disk = Crash::Power(CrashMode::LoseAll).strike(&disk);
    drop(waiting);
    drop(machine);
    let machine = Machine::open(&disk, 1).unwrap();
    let mut again = wait_for(&machine, id, Duration::from_secs(30));
    assert!(poll(&mut again).is_pending());
    succeed(&machine, b"2").unwrap();
    machine.commit();
    assert!(matches!(poll(&mut again), Poll::Ready(Ok(Some(_)))));
}

#[test]
fn an_unkept_result_reaches_those_who_wait_already() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let id = enqueue(&machine, false);
    let mut waiting = wait_for(&machine, id, Duration::from_secs(30));
    succeed(&machine, b"3").unwrap();
    machine.commit();
    assert!(matches!(poll(&mut waiting), Poll::Ready(Ok(Some(_)))));
    let mut late = wait_for(&machine, id, Duration::from_secs(30));
    machine.commit();
    let told = poll(&mut late);
    assert!(
        matches!(told, Poll::Ready(Err(WaitError::NotKept { .. }))),
        "{told:?}"
    );
}
