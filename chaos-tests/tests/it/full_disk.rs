//! A full disk takes what frees room and refuses everything else, however large it is: nothing stops the engine.

use std::time::Duration;

use bytes::Bytes;
use chaos_tests::machine::{self, Machine};
use mq::{Filter, StateKind, Timestamp};
use mq_core::backend::{
    EnqueueError, OperateError, OperateRequest, SettleError, SettleReceipt, SettleRequest, WhenFull,
};
use mq_core::command::{EnqueueRefused, OperateRefused, Settlement};
use mq_core::id::{MessageId, Seq};
use mq_core::message::NewMessage;
use mq_core::pending::Pending;
use mq_core::queue::QueueChange;
use mq_core::state::Failure;
use mq_testing::clock::START_MS;
use mq_testing::sim_disk::{CrashMode, Fault, IoKind, SimDisk};

const YEAR: Duration = Duration::from_secs(365 * 86_400);
const DAY_MS: u64 = 86_400_000;
const DAYS: u64 = 12;
/// What is written when they begin anew is more than a segment of the machine holds.
const INTERVALS: usize = 800;
/// More than a segment of the machine holds.
const LARGE: usize = 100_000;
type Answer = Pending<Vec<Result<SettleReceipt, SettleError>>>;
const DONE: Settlement = Settlement::Succeed { result: None };

fn message(size: usize) -> NewMessage {
    NewMessage::new(
        "orders".parse().unwrap(),
        "order".parse().unwrap(),
        Bytes::from(vec![7; size]),
    )
}

fn enqueue(machine: &Machine, size: usize) -> Result<MessageId, EnqueueError> {
    let sent = machine
        .backend()
        .enqueue(vec![message(size)], WhenFull::Refuse);
    Ok(sent.wait().unwrap()?[0].accepted.id)
}

fn is_full<T: std::fmt::Debug>(sent: &Result<T, EnqueueError>) -> bool {
    let full = |refused: &EnqueueRefused| {
        let bytes = "bytes of disk";
        matches!(refused, EnqueueRefused::Full { unit, .. } if *unit == bytes)
    };
    matches!(sent, Err(EnqueueError::Refused { refused, .. }) if full(refused))
}

fn size(disk: &SimDisk) -> u64 {
    let names = disk.file_names();
    let sizes = names.iter().filter_map(|name| disk.file_bytes(name));
    sizes.map(|bytes| bytes.len() as u64).sum()
}

/// Another program takes what is left.
fn take_all_space(disk: &SimDisk) {
    disk.set_capacity(Some(size(disk)));
}

/// A store that has refused a message because of its disk.
fn full(disk: &SimDisk) -> (Machine, Vec<MessageId>) {
    let machine = Machine::open_with(disk, 0, |builder| builder.payload_cache(0)).unwrap();
    let mut taken = Vec::new();
    for _ in 0..400 {
        match enqueue(&machine, 20_000) {
            Ok(id) => taken.push(id),
            Err(refused) => {
                assert!(is_full::<()>(&Err(refused)));
                break;
            }
        }
        machine.maintain();
    }
    take_all_space(disk);
    machine.maintain();
    (machine, taken)
}

fn set_queue(machine: &Machine, change: QueueChange) -> Result<(), String> {
    let set = machine
        .backend()
        .set_queue("orders".parse().unwrap(), change);
    let set = set.wait().unwrap();
    set.map_err(|error| error.code().to_owned())
}

#[test]
fn an_operator_may_free_room_and_nothing_else() {
    let (machine, ids) = full(&SimDisk::with_capacity(3 << 20));
    let operate = |id, request| machine.backend().operate(id, request).wait().unwrap();
    for request in [
        OperateRequest::Hold("aside".parse().unwrap()),
        OperateRequest::SetPriority(mq::Priority::new(9).unwrap()),
        OperateRequest::MoveTo("elsewhere".parse().unwrap()),
    ] {
        let refused = operate(ids[0], request).unwrap_err();
        assert!(
            matches!(refused, OperateError::Refused(OperateRefused::Full(_))),
            "{refused:?}"
        );
    }
    let refused = set_queue(&machine, QueueChange::Pause(true)).unwrap_err();
    assert_eq!(refused, "full");
    assert!(set_queue(&machine, QueueChange::Pause(false)).is_ok());
    assert!(operate(ids[0], OperateRequest::Cancel).is_ok());
    for _ in 1..ids.len() {
        let grant = machine.take(1).remove(0);
        machine.settle(&grant, DONE, Vec::new()).unwrap();
        machine.maintain();
    }
    assert!(machine.engine().unwrap().stopped().is_none());
}

#[test]
fn a_settlement_too_large_for_what_is_left_is_refused_and_the_lease_goes_on() {
    let (machine, _) = full(&SimDisk::with_capacity(3 << 20));
    let grant = machine.take(1).remove(0);
    let refused = machine.settle(&grant, DONE, vec![message(LARGE)]);
    let refused = refused.unwrap_err();
    assert!(refused.contains("bytes of disk"), "{refused}");
    assert!(machine.engine().unwrap().stopped().is_none());
    machine.settle(&grant, DONE, Vec::new()).unwrap();
}

#[test]
fn settlements_that_fit_only_one_by_one_take_a_frame_each() {
    let (_disk, machine) = scarce();
    let grants = machine.take(2);
    let settles = grants.iter().map(|grant| SettleRequest {
        token: grant.token,
        settlement: Settlement::Succeed { result: None },
        staged: vec![message(40_000)],
    });
    let settled = machine.backend().settle(settles.collect());
    machine.commit();
    let answers = settled.wait().unwrap();
    assert!(machine.engine().unwrap().stopped().is_none());
    assert!(
        answers.len() == 2 && answers.iter().all(Result::is_ok),
        "{answers:?}"
    );
    let outcomes = machine.backend().stats().outcomes;
    assert_eq!(outcomes.iter().sum::<u64>(), 2, "each is counted once");
}

#[test]
fn a_bulk_job_over_long_checkpoints_takes_as_many_frames_as_it_needs() {
    let disk = SimDisk::with_capacity(3 << 20);
    let machine = Machine::open(&disk, 0).unwrap();
    for _ in 0..4 {
        enqueue(&machine, 100).unwrap();
    }
    let grants = machine.take(4);
    for grant in &grants {
        let checkpoint = Bytes::from(vec![7; 20_000]);
        let saved = machine.backend().save_checkpoint(grant.token, checkpoint);
        saved.wait().unwrap().unwrap();
        machine.maintain();
    }
    while enqueue(&machine, 20_000).is_ok() {
        machine.maintain();
    }
    take_all_space(&disk);
    machine.maintain();
    let engine = machine.engine().unwrap();
    let leased = Filter::new().state(StateKind::Leased);
    let job = engine.cancel(leased).by("zoe").wait().unwrap();
    for _ in 0..2 * grants.len() {
        machine.run_bulk();
        machine.maintain();
        machine.pass(Duration::from_secs(1));
    }
    assert!(engine.stopped().is_none(), "{:?}", engine.stopped());
    let report = job.report().wait().unwrap();
    assert_eq!(report.counts.requested, 4, "{report:?}");
}

/// A store on a disk on which others have left `spare` bytes to write ahead, and nothing since.
fn crowded(spare: u64) -> (SimDisk, Machine) {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    enqueue(&machine, 100).unwrap();
    machine.maintain();
    disk.set_capacity(Some(size(&disk) + spare));
    machine.maintain();
    take_all_space(&disk);
    machine.maintain();
    (disk, machine)
}

/// Those in which space may be scarce.
fn spares() -> impl Iterator<Item = u64> {
    (0..24).map(|count| count * (64 << 10))
}

/// Space is scarce and new messages are still taken: one that needs a larger segment than there is would need space.
#[test]
fn a_message_too_large_for_what_is_left_is_refused_and_smaller_ones_are_taken() {
    let mut met = 0;
    for (disk, machine) in spares().map(crowded) {
        if enqueue(&machine, 100).is_err() {
            continue;
        }
        met += 1;
        let refused = enqueue(&machine, LARGE);
        assert!(is_full(&refused), "{refused:?}");
        let patient = WhenFull::Wait(Duration::from_secs(3_600));
        let waits = machine.backend().enqueue(vec![message(LARGE)], patient);
        machine.commit();
        assert!(waits.is_done(), "it would hold up whoever fits");
        assert!(machine.engine().unwrap().stopped().is_none());
        disk.set_capacity(None);
        machine.pass(Duration::from_secs(1));
        machine.maintain();
        enqueue(&machine, LARGE).unwrap();
    }
    assert!(met > 0, "no such store was met");
}

/// A store on a full disk with settlements that wait for room, because nobody has kept house.
fn held(disk: &SimDisk) -> (Machine, Vec<Answer>) {
    let (machine, _) = full(disk);
    let answers = fail_all(&machine);
    (machine, answers)
}

fn fail_all(machine: &Machine) -> Vec<Answer> {
    let grants = machine.take(1_000);
    let mut answers = Vec::new();
    for grant in grants {
        // A history of failures takes a place in the journal, and the message stays.
        let failure = Failure {
            error_type: "busy".to_owned(),
            text: "x".repeat(3_000),
        };
        let fails = Settlement::Fail {
            failure,
            retry: machine::RETRY,
            retry_in: None,
        };
        let request = SettleRequest {
            token: grant.token,
            settlement: fails,
            staged: Vec::new(),
        };
        answers.push(machine.backend().settle(vec![request]));
        machine.commit();
    }
    answers
}

fn waiting(answers: &[Answer]) -> usize {
    answers.iter().filter(|it| !it.is_done()).count()
}

/// A slow backup reads for hours, and a program may never poll what it asked for.
#[test]
fn who_reads_in_freed_segments_does_not_keep_work_waiting_for_ever() {
    let disk = SimDisk::with_capacity(3 << 20);
    let (machine, ids) = full(&disk);
    let over = ids.get(..ids.len() / 2).unwrap();
    let reads = over.iter().map(|id| machine.backend().envelope(*id));
    let reads: Vec<_> = reads.collect();
    machine.commit();
    for id in over {
        let cancelled = machine.backend().operate(*id, OperateRequest::Cancel);
        assert!(cancelled.wait().unwrap().is_ok());
    }
    machine.maintain();
    let answers = fail_all(&machine);
    for _ in 0..8 {
        machine.maintain();
    }
    let before = waiting(&answers);
    for _ in 0..20 {
        machine.pass(Duration::from_millis(300));
        machine.maintain();
    }
    assert!(before > 0, "none of {} had to wait", answers.len());
    assert!(waiting(&answers) < before, "they wait for readers");
    drop(reads);
}

#[test]
fn settlements_wait_for_what_is_freed_on_a_full_disk_and_stop_nothing() {
    let disk = SimDisk::with_capacity(3 << 20);
    let (machine, answers) = held(&disk);
    let before = waiting(&answers);
    assert!(before > 0, "none of {} had to wait", answers.len());
    let patient = WhenFull::Wait(Duration::from_secs(3_600));
    let patient = machine.backend().enqueue(vec![message(100)], patient);
    assert!(is_full(&enqueue(&machine, 100)), "refused at once");
    assert!(!patient.is_done());
    machine.maintain();
    assert!(waiting(&answers) < before, "nothing was freed for them");
    // An operator frees space.
    disk.set_capacity(None);
    for _ in 0..4 {
        machine.maintain();
    }
    assert_eq!(waiting(&answers), 0);
    for answer in answers {
        assert!(answer.wait().unwrap().iter().all(Result::is_ok));
    }
    assert!(patient.wait().unwrap().is_ok());
    assert!(machine.engine().unwrap().stopped().is_none());
}

#[test]
fn a_store_whose_work_waits_for_room_closes_in_order_and_keeps_everything() {
    let disk = SimDisk::with_capacity(3 << 20);
    let (mut machine, answers) = held(&disk);
    let live = machine.backend().stats().live_messages;
    machine.close().unwrap();
    let refused = answers.into_iter().map(|answer| answer.wait().unwrap());
    let refused = refused.filter(|answers| answers.iter().any(Result::is_err));
    assert!(refused.count() > 0, "none had to wait");
    disk.set_capacity(None);
    let machine = Machine::open(&disk.restart_process(), 1).unwrap();
    assert_eq!(machine.backend().stats().live_messages, live);
}

/// Space is scarce, messages are taken, and a frame holds one of 40,000 bytes.
fn scarce() -> (SimDisk, Machine) {
    for (disk, machine) in spares().map(crowded) {
        if enqueue(&machine, 100).is_ok() {
            return (disk, machine);
        }
    }
    panic!("no such store was met");
}

#[test]
fn what_is_put_off_to_the_next_frame_is_not_overtaken() {
    let (_disk, machine) = scarce();
    let send = |size, when| machine.backend().enqueue(vec![message(size)], when);
    let patient = WhenFull::Wait(Duration::from_secs(3_600));
    let sent = [
        send(40_000, patient),
        send(40_000, patient),
        send(100, WhenFull::Refuse),
    ];
    machine.commit();
    let ids = sent.map(|sent| sent.wait().unwrap().unwrap()[0].accepted.id.seq());
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn what_was_answered_when_it_was_written_is_synced_though_a_later_frame_finds_no_room() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    for _ in 0..2 {
        enqueue(&machine, 100).unwrap();
    }
    let grants = machine.take(2);
    machine.settle_down();
    machine.settle(&grants[0], DONE, Vec::new()).unwrap();
    assert!(!disk.is_synced(), "it was answered when it was written");
    disk.fail_from(IoKind::Write, 1, Fault::NoSpace);
    let request = SettleRequest {
        token: grants[1].token,
        settlement: DONE,
        staged: Vec::new(),
    };
    let held = machine.backend().settle(vec![request]);
    machine.commit();
    assert!(!held.is_done());
    let disk = disk.power_cycle(CrashMode::LoseAll);
    let machine = Machine::open(&disk, 1).unwrap();
    assert_eq!(machine.backend().stats().live_messages, 1);
}

#[test]
fn who_waits_for_a_larger_segment_stops_nobody_else_and_no_close() {
    let mut waited = 0;
    for (disk, mut machine) in spares().map(crowded) {
        let Some(grant) = machine.take(1).pop() else {
            continue;
        };
        for size in (20_000..140_000).rev().step_by(4_000) {
            let patient = WhenFull::Wait(Duration::from_secs(3_600));
            let request = SettleRequest {
                token: grant.token,
                settlement: DONE,
                staged: vec![message(size)],
            };
            let settled = machine.backend().settle(vec![request]);
            let sent = machine.backend().enqueue(vec![message(100)], patient);
            machine.commit();
            if settled.is_done() {
                continue;
            }
            waited += 1;
            for _ in 0..4 {
                machine.maintain();
            }
            assert!(settled.is_done(), "refused, or there was room");
            drop(sent);
        }
        assert!(machine.engine().unwrap().stopped().is_none());
        disk.set_capacity(None);
        machine.close().unwrap();
    }
    assert!(waited > 0, "none had to wait");
}

/// It writes down how far it is all the same.
#[test]
fn a_bulk_job_that_changes_nothing_leaves_the_room_that_a_close_needs() {
    let disk = SimDisk::with_capacity(3 << 20);
    let (mut machine, _) = held(&disk);
    let nothing = Filter::new().payload("/cents == 1");
    let engine = machine.engine().unwrap().clone();
    let job = engine.cancel(nothing).rate(10).by("zoe").wait().unwrap();
    for _ in 0..20 {
        machine.run_bulk();
        machine.pass(Duration::from_secs(1));
    }
    assert!(engine.stopped().is_none(), "{:?}", engine.stopped());
    let report = job.report().wait().unwrap();
    assert!(report.ended.is_none(), "it waits for room: {report:?}");
    drop((job, engine));
    machine.close().unwrap();
    disk.set_capacity(None);
    let machine = Machine::open(&disk.restart_process(), 1).unwrap();
    machine.run_bulk();
    let jobs = machine.engine().unwrap().admin().bulk_jobs();
    let job = jobs.wait().unwrap().pop().unwrap();
    assert!(job.ended.is_some(), "{job:?}");
}

/// A full disk, and intervals that begin anew because the wall clock went back, again and again.
fn set_back(disk: &SimDisk) -> Machine {
    let mut machine = Machine::open(disk, 0).unwrap();
    for number in 0..INTERVALS {
        let schedule = mq::Schedule::every(YEAR).message(message(100));
        let schedules = machine.engine().unwrap().schedules();
        let put = schedules.put(&format!("yearly-{number:0>110}"), schedule);
        machine.block(put).unwrap();
    }
    machine.close().unwrap();
    let (machine, _) = full(disk);
    for days in 1..=DAYS {
        let wall = Timestamp::from_ms(START_MS - days * DAY_MS);
        machine.clock().set_wall(wall);
        machine.pass(Duration::from_secs(1));
    }
    assert!(machine.engine().unwrap().stopped().is_none());
    machine
}

#[test]
fn intervals_that_begin_anew_leave_the_room_that_a_close_needs() {
    let disk = SimDisk::with_capacity(3 << 20);
    set_back(&disk).close().unwrap();
}

#[test]
fn intervals_begin_anew_as_soon_as_there_is_room_to_write_that_down() {
    let disk = SimDisk::with_capacity(3 << 20);
    let machine = set_back(&disk);
    disk.set_capacity(None);
    for _ in 0..4 {
        machine.maintain();
        machine.pass(Duration::from_secs(1));
    }
    let schedules = machine.engine().unwrap().schedules().list();
    let schedules = machine.block(schedules).unwrap();
    let latest = Timestamp::from_ms(START_MS - DAYS * DAY_MS + DAY_MS / 2).after(YEAR);
    let late = schedules.iter().filter(|it| it.next.unwrap() > latest);
    assert_eq!((late.count(), schedules.len()), (0, INTERVALS));
}

/// A settlement that was answered when it was written is synced within 10 ms, whatever waits for room meanwhile.
#[test]
fn what_waits_for_room_delays_no_sync() {
    let (_disk, machine) = scarce();
    let lag = || {
        machine
            .engine()
            .unwrap()
            .stats()
            .journal
            .map(|journal| journal.lag)
    };
    let grant = machine.take(1).remove(0);
    machine.settle_down();
    let patient = WhenFull::Wait(Duration::from_secs(3_600));
    let held = machine.backend().enqueue(vec![message(60_000)], patient);
    machine.commit();
    machine.settle(&grant, DONE, Vec::new()).unwrap();
    machine.commit();
    assert!(!held.is_done(), "it waits for room");
    assert_ne!(lag(), Some(0), "it was answered when it was written");
    let within = Duration::from_millis(10);
    let limit = machine.sleep_limit();
    assert!(limit.is_some_and(|limit| limit <= within), "{limit:?}");
    machine.pass(within);
    assert_eq!(lag(), Some(0));
    assert!(!held.is_done());
}

#[test]
fn a_full_disk_hides_no_mistake() {
    let (machine, ids) = full(&SimDisk::with_capacity(3 << 20));
    let never = MessageId::new(START_MS, Seq::MAX, ids[0].tag());
    let operate = |id, request| machine.backend().operate(id, request).wait().unwrap();
    let refused = operate(never, OperateRequest::Hold("look".parse().unwrap()));
    assert!(
        matches!(
            refused,
            Err(OperateError::Refused(OperateRefused::NeverIssued { .. }))
        ),
        "{refused:?}"
    );
    let refused = operate(ids[0], OperateRequest::RunNow);
    assert!(
        matches!(
            refused,
            Err(OperateError::Refused(OperateRefused::WrongState { .. }))
        ),
        "{refused:?}: it is ready"
    );
}

/// Records that compaction copied, and how many of them were copied once already.
fn relocated(disk: &SimDisk) -> (usize, usize) {
    let (mut seen, mut again) = (std::collections::BTreeSet::new(), 0);
    mq_persistence::inspect::dump(disk, &mut |dumped| {
        if let mq_persistence::inspect::Dumped::Record(record) = dumped
            && record.kind == "relocated"
        {
            again += usize::from(!seen.insert(format!("{:?}", record.fields)));
        }
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    (seen.len(), again)
}

#[test]
fn nothing_is_copied_again_and_again_while_a_frame_waits_for_room() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    let ids: Vec<_> = (0..100)
        .map(|_| enqueue(&machine, 4_000).unwrap())
        .collect();
    for id in ids.iter().filter(|id| id.seq().get() % 12 != 0) {
        let cancelled = machine.backend().operate(*id, OperateRequest::Cancel);
        cancelled.wait().unwrap().unwrap();
    }
    machine.snapshot().unwrap();
    machine.snapshot().unwrap();
    assert_eq!(relocated(&disk), (0, 0), "too early");
    disk.fail_from(IoKind::Write, 1, Fault::NoSpace);
    let patient = WhenFull::Wait(Duration::from_secs(3_600));
    let sent = machine.backend().enqueue(vec![message(100)], patient);
    machine.commit();
    assert!(!sent.is_done());
    for _ in 0..20 {
        machine.maintain();
    }
    disk.clear_faults();
    for _ in 0..8 {
        machine.maintain();
    }
    assert!(sent.is_done());
    assert!(machine.engine().unwrap().stopped().is_none());
    let (once, again) = relocated(&disk);
    assert!(once > 0, "nothing was copied");
    assert_eq!(again, 0, "of {once}");
}

#[test]
fn without_files_or_names_work_waits_and_goes_on_when_there_are_some() {
    let files = [
        (IoKind::Open, Fault::NoFile),
        (IoKind::Create, Fault::NoFile),
    ];
    let names = [(IoKind::Rename, Fault::NoSpace)];
    for faults in [&files[..], &names] {
        let disk = SimDisk::new();
        let machine = Machine::open(&disk, 0).unwrap();
        let old: Vec<_> = (0..100)
            .map(|_| enqueue(&machine, 4_000).unwrap())
            .collect();
        for id in &old {
            let cancelled = machine.backend().operate(*id, OperateRequest::Cancel);
            cancelled.wait().unwrap().unwrap();
        }
        for _ in 0..2 {
            machine.snapshot().unwrap(); // there is something to make segments of
        }
        for (kind, fault) in faults {
            disk.fail_from(*kind, 1, *fault);
        }
        let patient = WhenFull::Wait(Duration::from_secs(3_600));
        let mut sent = Vec::new();
        for _ in 0..400 {
            sent.push(machine.backend().enqueue(vec![message(8_000)], patient));
            machine.commit();
            machine.maintain();
        }
        assert!(machine.engine().unwrap().stopped().is_none());
        let refused = machine.snapshot().unwrap_err();
        assert!(refused.contains("room"), "{refused}");
        assert!(sent.iter().any(|sent| !sent.is_done()), "nothing waits");
        disk.clear_faults();
        for _ in 0..40 {
            machine.maintain();
        }
        for sent in sent {
            assert!(sent.is_done());
            sent.wait().unwrap().unwrap();
        }
        machine.snapshot().unwrap();
    }
}

/// While no more files may be open, what settles goes on as on a full disk, and what is new is refused at once.
#[test]
fn without_files_what_is_there_can_be_settled() {
    let disk = SimDisk::new();
    let machine = Machine::open(&disk, 0).unwrap();
    for _ in 0..20 {
        enqueue(&machine, 4_000).unwrap();
    }
    machine.maintain();
    for kind in [IoKind::Open, IoKind::Create] {
        disk.fail_from(kind, 1, Fault::NoFile);
    }
    let mut taken = 0;
    while taken < 400 {
        let sent = enqueue(&machine, 4_000);
        machine.maintain();
        if is_full(&sent) {
            break;
        }
        sent.unwrap();
        taken += 1;
    }
    assert!(taken < 400, "nothing was refused");
    let grants = machine.take(20);
    assert_eq!(grants.len(), 20);
    for grant in &grants {
        machine.settle(grant, DONE, Vec::new()).unwrap();
    }
    disk.clear_faults();
    machine.maintain();
    enqueue(&machine, 4_000).unwrap();
}
