//! What a salvaged store does by itself: nothing of which the loss may have swallowed the end.

use bytes::Bytes;
use mq_core::bulk::{BulkEnd, BulkId, EndBulk, StartBulk};
use mq_core::command::{EnqueueBatch, Settlement};
use mq_core::name::{QueueName, ScheduleName};
use mq_core::queue::{QueueChange, SetQueue};
use mq_core::schedule::{Existing, PutSchedule, RemoveSchedule};
use mq_core::time::Timestamp;
use mq_persistence::Lsn;
use mq_persistence::salvage::SalvageReport;
use mq_persistence::segment;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::manager::Store;
use crate::salvage::run;

const SEED: u64 = 5_150;

fn name(text: &str) -> ScheduleName {
    ScheduleName::new(text).unwrap()
}

fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

fn put(store: &mut Store, text: &str) {
    let put = PutSchedule {
        name: name(text),
        timing: Bytes::from_static(b"hourly"),
        template: Bytes::from_static(b"a message"),
        next: Some(Timestamp::from_ms(9_000_000)),
        existing: Existing::Replace,
    };
    store.run(&put).unwrap();
}

fn pause(store: &mut Store, paused: bool) {
    let change = QueueChange::Pause(paused);
    store.run(&SetQueue {
        queue: queue(),
        change,
    });
}

fn start_job(store: &mut Store) -> BulkId {
    let spec = Bytes::from_static(b"purge all");
    let by = "ada".to_owned();
    store.run(&StartBulk { spec, by }).unwrap()
}

fn enqueue(store: &mut Store, random: &mut SplitMix64) {
    let draft = store.draft(random);
    let drafts = vec![draft];
    store
        .run(&EnqueueBatch {
            drafts: drafts.into(),
        })
        .unwrap();
    store.commit();
}

/// The end of what is written.
fn here(store: &Store) -> Lsn {
    store.opened.log.written()
}

/// Kills the process, zeroes what lies between two places of one segment, and salvages the rest.
fn without(store: Store, disk: &SimDisk, (from, to): (Lsn, Lsn)) -> (SalvageReport, Store) {
    drop(store);
    let damaged = disk.restart_process();
    assert_eq!(from.segment(), to.segment());
    let zeros = vec![0; (to.offset() - from.offset()) as usize];
    let file = segment::name(from.segment());
    damaged
        .overwrite(&file, from.offset().into(), &zeros)
        .unwrap();
    salvaged(&damaged)
}

fn salvaged(damaged: &SimDisk) -> (SalvageReport, Store) {
    let target = SimDisk::new();
    let report = run(damaged, &target).unwrap();
    let target = target.restart_process();
    let store = Store::begin(Store::open(&target, 700_000), 700_000);
    (report, store)
}

#[test]
fn what_was_paused_removed_or_cancelled_in_what_is_lost_does_not_go_on() {
    println!("seed {SEED}");
    let mut random = SplitMix64::new(SEED);
    let disk = SimDisk::new();
    let mut store = Store::begin(Store::open(&disk, 1_000), 1_000);
    put(&mut store, "removed");
    put(&mut store, "kept");
    pause(&mut store, false);
    let job = start_job(&mut store);
    enqueue(&mut store, &mut random);
    let from = here(&store);
    store.run(&RemoveSchedule {
        name: name("removed"),
    });
    pause(&mut store, true);
    let how = BulkEnd::Cancelled {
        by: "bob".to_owned(),
    };
    store.run(&EndBulk { id: job, how }).unwrap();
    store.commit();
    let to = here(&store);
    enqueue(&mut store, &mut random);
    let (report, salvaged) = without(store, &disk, (from, to));
    let manager = &salvaged.opened.manager;
    let job = manager.bulk_job(job).unwrap();
    let Some((BulkEnd::Failed { reason }, _)) = &job.ended else {
        panic!("it goes on: {job:?}");
    };
    assert!(reason.contains("salvaged"), "{reason}");
    assert_eq!(report.ended_jobs.len(), 1, "{report:?}");
    assert_eq!(report.ended_jobs[0].by, "ada");
    let schedules = manager.schedules();
    assert_eq!(schedules.len(), 2);
    assert!(schedules.iter().all(|schedule| schedule.paused));
    let listed: Vec<_> = report.schedules.iter().map(|it| &it.name).collect();
    assert_eq!(listed, [&name("kept"), &name("removed")]);
    assert!(report.schedules.iter().all(|it| !it.paused));
    assert_eq!(report.schedules_count, 2);
    assert_eq!(report.queues_count, 1, "{report:?}");
    assert_eq!(report.queues[0].name, queue());
    assert!(!report.queues[0].settings.paused);
}

#[test]
fn a_queue_that_was_set_behind_the_loss_needs_no_look() {
    let mut random = SplitMix64::new(SEED);
    let disk = SimDisk::new();
    let mut store = Store::begin(Store::open(&disk, 1_000), 1_000);
    enqueue(&mut store, &mut random);
    let from = here(&store);
    enqueue(&mut store, &mut random);
    let to = here(&store);
    pause(&mut store, true);
    enqueue(&mut store, &mut random);
    let (report, _) = without(store, &disk, (from, to));
    assert!(!report.losses.is_empty());
    assert_eq!(report.queues_count, 0, "{report:?}");
}

#[test]
fn a_lost_payload_pauses_no_schedule_and_ends_every_job() {
    let mut random = SplitMix64::new(SEED);
    let disk = SimDisk::new();
    let mut store = Store::begin(Store::open(&disk, 1_000), 1_000);
    enqueue(&mut store, &mut random);
    put(&mut store, "kept");
    let job = start_job(&mut store);
    store.commit();
    let seq = crate::fixture::seq(1);
    let place = store.opened.places.find(seq).unwrap();
    while store.opened.keeper.newest_snapshot().is_none() {
        store.round(&mut random);
        store.keep();
    }
    let place = store.opened.places.find(seq).unwrap_or(place);
    drop(store);
    let damaged = disk.restart_process();
    let file = segment::name(place.at.segment());
    let last = u64::from(place.at.offset() + place.len - 1);
    let lives = Store::open(&damaged.fork(), 700_000)
        .places
        .find(seq)
        .is_some();
    damaged.flip_bit(&file, last, 3).unwrap();
    let (report, salvaged) = salvaged(&damaged);
    assert_eq!(report.is_complete(), !lives);
    let manager = &salvaged.opened.manager;
    assert!(!manager.schedule(&name("kept")).unwrap().paused);
    assert_eq!(report.schedules_count + report.queues_count, 0);
    assert_eq!(manager.bulk_job(job).unwrap().ended.is_some(), lives);
    assert!(lives, "the test is about nothing");
}

#[test]
fn without_damage_everything_goes_on() {
    let mut random = SplitMix64::new(SEED);
    let disk = SimDisk::new();
    let mut store = Store::begin(Store::open(&disk, 1_000), 1_000);
    put(&mut store, "kept");
    let job = start_job(&mut store);
    enqueue(&mut store, &mut random);
    drop(store);
    let (report, salvaged) = salvaged(&disk.restart_process());
    assert!(report.is_complete(), "{report:?}");
    let manager = &salvaged.opened.manager;
    assert!(manager.bulk_job(job).unwrap().ended.is_none());
    assert!(!manager.schedule(&name("kept")).unwrap().paused);
    assert_eq!(report.ended_jobs, []);
    assert_eq!(report.schedules_count + report.queues_count, 0);
}

/// Enqueue, checkout and end stand in one frame; the last of its records is rotten, the others are whole.
#[test]
fn a_message_whose_end_is_rotten_in_a_frame_of_whole_records_may_run_again() {
    let mut random = SplitMix64::new(SEED);
    let disk = SimDisk::new();
    let mut store = Store::begin(Store::open(&disk, 1_000), 1_000);
    enqueue(&mut store, &mut random);
    let before = here(&store);
    let draft = store.draft(&mut random);
    let mut draft = draft;
    draft.retain = None;
    let drafts = vec![draft];
    let accepted = store
        .run(&EnqueueBatch {
            drafts: drafts.into(),
        })
        .unwrap();
    let id = accepted[0].id;
    store.opened.manager.durable(u64::MAX);
    store.grant();
    let token = store.tokens.iter().find(|token| token.id == id).copied();
    let token = token.unwrap();
    let succeed = Settlement::Succeed { result: None };
    store.settle_as(token, succeed, Vec::new());
    store.commit();
    let after = here(&store);
    assert!(!store.opened.manager.contains(id.seq()));
    enqueue(&mut store, &mut random);
    drop(store);
    let damaged = disk.restart_process();
    // The last record of the frame is the end of the message: its last byte that is not padding.
    let file = segment::name(before.segment());
    let bytes = damaged.file_bytes(&file).unwrap();
    let range = before.offset() as usize..after.offset() as usize;
    let last = bytes[range.clone()].iter().rposition(|byte| *byte != 0);
    let last = before.offset() as usize + last.unwrap();
    damaged.flip_bit(&file, last as u64, 0).unwrap();
    let (report, salvaged) = salvaged(&damaged);
    assert!(salvaged.opened.manager.contains(id.seq()), "{report:?}");
    assert!(report.may_run_again.contains(&id), "{report:?}");
}
