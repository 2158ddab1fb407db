//! The canary of every crash test: broken stores are convicted, and the correct one is acquitted, by the same driver and oracle.

use std::io;
use std::sync::Arc;

use mq_testing::crash_points::{
    Checked, CrashFailure, CrashReport, Disturbance, Plan, Reopened, crash_at, crash_everywhere,
    fail_everywhere, fail_recovery_everywhere,
};
use mq_testing::oracle::{Oracle, Submission, Survives};
use mq_testing::sim_disk::{Fault, IoKind, SimDisk};

use crate::toy_store::{Flaw, ToyStore};

const SEED: u64 = 20_26;

type Knowledge = Oracle<u64>;

/// One sector, several, and sizes that leave a sector half full.
fn payload(id: u64) -> Vec<u8> {
    let len = [5, 200, 488, 489, 900, 1500][usize::try_from(id % 6).unwrap()];
    let byte = u8::try_from(id % 251).unwrap() + 1;
    vec![byte; len]
}

fn enqueue(store: &mut ToyStore, knowledge: &mut Knowledge, id: u64) -> io::Result<()> {
    knowledge.submitted(
        id,
        Submission {
            ordering_key: Some(b"all".to_vec()),
            ..Submission::plain(payload(id))
        },
    );
    store.enqueue(id, &payload(id))?;
    knowledge.answered(id, Survives::PowerLoss);
    Ok(())
}

fn work_on_oldest(store: &mut ToyStore, knowledge: &mut Knowledge) -> io::Result<bool> {
    let Some((id, payload)) = store.live().into_iter().next() else {
        return Ok(false);
    };
    knowledge.delivered(id, &payload);
    knowledge.settle_submitted(id);
    store.ack(id)?;
    knowledge.settled(id, Survives::PowerLoss);
    Ok(true)
}

fn use_store(disk: &SimDisk, knowledge: &mut Knowledge, flaw: Flaw) -> io::Result<()> {
    for life in 0..3 {
        let mut store = ToyStore::open(Arc::new(disk.clone()), flaw)?;
        for id in 0..9 {
            enqueue(&mut store, knowledge, life * 9 + id)?;
            if id % 3 == 2 {
                work_on_oldest(&mut store, knowledge)?;
            }
        }
    }
    Ok(())
}

fn run_until_empty(reopened: &mut Reopened<'_, Knowledge>, flaw: Flaw) -> io::Result<()> {
    let mut store = ToyStore::open(Arc::new(reopened.disk.clone()), flaw)?;
    while work_on_oldest(&mut store, reopened.knowledge)? {}
    Ok(())
}

fn check(mut reopened: Reopened<'_, Knowledge>, flaw: Flaw) -> Result<Checked, String> {
    reopened.knowledge.ended(reopened.ending);
    match run_until_empty(&mut reopened, flaw) {
        Ok(()) => reopened
            .knowledge
            .when_empty()
            .into_result()
            .map(|()| Checked::Complete),
        Err(_) if reopened.disk.was_disturbed() => reopened
            .knowledge
            .so_far()
            .into_result()
            .map(|()| Checked::Interrupted),
        Err(error) => Err(format!("the store did not open: {error}")),
    }
}

fn workload(disk: &SimDisk, knowledge: &mut Knowledge, flaw: Flaw) -> Result<(), String> {
    use_store(disk, knowledge, flaw).map_err(|error| error.to_string())
}

fn crash(plan: &Plan, flaw: Flaw) -> Result<CrashReport, CrashFailure> {
    crash_everywhere(
        plan,
        |disk, knowledge| workload(disk, knowledge, flaw),
        |reopened| check(reopened, flaw),
    )
}

fn fail(plan: &Plan, flaw: Flaw) -> Result<CrashReport, CrashFailure> {
    fail_everywhere(
        plan,
        |disk, knowledge| workload(disk, knowledge, flaw),
        |reopened| check(reopened, flaw),
    )
}

/// Convicted, and again when the driver goes to the same point once more.
fn assert_convicted(flaw: Flaw, of: &str) {
    let failure = crash(&Plan::new(SEED, 5), flaw).expect_err("the broken store was acquitted");
    assert!(
        failure.reason.contains(of),
        "convicted of something else: {failure}"
    );
    let point = failure.point.expect("no crash point");
    let workload = |disk: &SimDisk, knowledge: &mut Knowledge| workload(disk, knowledge, flaw);
    let again = crash_at(&SimDisk::new(), point, workload, |reopened| {
        check(reopened, flaw)
    });
    assert_eq!(
        again.expect_err("not convicted again").reason,
        failure.reason
    );
}

#[test]
fn a_correct_store_is_acquitted_after_25_000_recoveries() {
    let report =
        crash(&Plan::new(SEED, 3), Flaw::None).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report:?}");
    assert!(
        report.recoveries >= 25_000,
        "too little was tried: {report:?}"
    );
    assert_eq!(
        report.disturbed,
        report.workload_ios + 1,
        "a crash point was left out"
    );
}

#[test]
fn a_store_that_answers_before_the_sync_is_convicted() {
    assert_convicted(Flaw::AnswersBeforeSync, "lost");
}

#[test]
fn a_store_that_does_not_sync_its_directory_is_convicted() {
    assert_convicted(Flaw::SkipsDirectorySync, "lost");
}

#[test]
fn a_store_that_renames_before_it_syncs_is_convicted() {
    assert_convicted(Flaw::RenamesBeforeSync, "lost");
}

#[test]
fn a_store_that_believes_torn_records_is_convicted() {
    assert_convicted(Flaw::BelievesTornRecords, "altered");
}

#[test]
fn a_store_that_appends_into_answered_sectors_is_convicted() {
    assert_convicted(Flaw::SharesSectors, "lost");
}

#[test]
fn a_store_that_trusts_the_cache_after_a_kill_is_convicted() {
    assert_convicted(Flaw::TrustsTheCache, "resurrected");
}

#[test]
fn a_correct_store_is_acquitted_of_every_single_fault() {
    let report =
        fail(&Plan::new(SEED, 20), Flaw::None).unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report:?}");
    assert!(
        report.gave_up > 100 && report.gave_up < report.disturbed,
        "too little was tried: {report:?}"
    );
}

#[test]
fn a_correct_store_is_acquitted_when_its_recovery_fails() {
    let plan = Plan {
        every: 10,
        ..Plan::new(SEED, 7)
    };
    let workload =
        |disk: &SimDisk, knowledge: &mut Knowledge| workload(disk, knowledge, Flaw::None);
    let report = fail_recovery_everywhere(&plan, workload, |reopened| check(reopened, Flaw::None))
        .unwrap_or_else(|failure| panic!("{failure}"));
    println!("{report:?}");
    assert!(
        report.disturbed_recoveries > 1000,
        "too little was tried: {report:?}"
    );
}

#[test]
fn a_store_that_retries_a_failed_sync_is_convicted() {
    let failure = fail(&Plan::new(SEED, 20), Flaw::RetriesFailedSync)
        .expect_err("the broken store was acquitted");
    let workload = failure.point.map(|point| point.workload);
    let lost = |fault| matches!(fault, Fault::SyncLostKept | Fault::SyncLostReverted);
    assert!(
        matches!(workload, Some(Disturbance::Fault { kind: IoKind::SyncData, fault, .. }) if lost(fault)),
        "{failure}"
    );
}

#[test]
fn a_check_that_gives_up_undisturbed_fails_the_test() {
    let workload =
        |disk: &SimDisk, knowledge: &mut Knowledge| workload(disk, knowledge, Flaw::None);
    let failure = crash_everywhere(&Plan::new(SEED, 1), workload, |_| Ok(Checked::Interrupted));
    assert!(
        failure
            .expect_err("nothing was checked")
            .reason
            .contains("gave up undisturbed")
    );
}

#[test]
fn a_panic_is_reported_with_its_crash_point() {
    let workload =
        |disk: &SimDisk, knowledge: &mut Knowledge| workload(disk, knowledge, Flaw::None);
    let failure = crash_everywhere(&Plan::new(SEED, 1), workload, |reopened| {
        let files = reopened.disk.file_names();
        assert!(!files.contains(&"log".to_owned()), "found a log");
        Ok(Checked::Complete)
    });
    let failure = failure.expect_err("the panic was swallowed");
    assert!(failure.reason.contains("found a log"), "{failure}");
    assert!(matches!(
        failure.point.expect("no crash point").workload,
        Disturbance::CrashAfter(1..)
    ));
}
