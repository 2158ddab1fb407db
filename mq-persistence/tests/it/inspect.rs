//! Looking at a store without opening it.

use std::ops::ControlFlow;
use std::sync::Arc;

use mq_persistence::inspect::{
    Dumped, DumpedRecord, FileRole, InspectError, Severity, Value, VerifyReport, dump, verify,
    verify_into,
};
use mq_persistence::recovery::JournalEnd;
use mq_persistence::storage::Storage;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::fixture::sealed;
use crate::journal::{self, Model, SMALL};
use crate::store::Store;

/// A store with a history: old messages, settled ones, both snapshots, recycled segments. Its process was killed.
fn some_store() -> SimDisk {
    let mut store = Store::open(&SimDisk::new(), &SMALL, 1_000);
    for round in 0..150_usize {
        let kept = store.enqueue(100 + round * 13 % 900).unwrap();
        let settled = store.enqueue(400).unwrap();
        store.commit().unwrap();
        store.finish(settled);
        if round % 5 != 0 {
            store.finish(kept);
        }
        store.commit().unwrap();
        store.maintain().unwrap();
    }
    assert!(store.counts.snapshots > 2 && store.counts.reclaimed > 2);
    store
        .opened
        .log
        .idle_mark(&crate::fixture::now(9_000))
        .unwrap();
    store.disk.restart_process()
}

fn verified(disk: &SimDisk) -> VerifyReport {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    verify_into(&storage, |_| Model::default()).unwrap()
}

fn worst(report: &VerifyReport) -> Option<Severity> {
    report.findings.iter().map(|finding| finding.severity).max()
}

fn records(disk: &SimDisk) -> (Vec<DumpedRecord>, usize) {
    let (mut records, mut ends) = (Vec::new(), 0);
    dump(disk, &mut |dumped| {
        match dumped {
            Dumped::Record(record) => records.push(record),
            Dumped::End(_) => ends += 1,
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    (records, ends)
}

fn contents(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let names = disk.file_names();
    names
        .into_iter()
        .map(|name| (name.clone(), disk.file_bytes(&name)))
        .collect()
}

#[test]
fn a_sound_store_is_found_sound_and_left_alone() {
    let disk = some_store();
    let before = contents(&disk);
    let report = verified(&disk);
    assert!(report.is_sound());
    assert_eq!(report.findings, []);
    assert_eq!(report.messages, 30);
    assert_eq!(report.snapshots.len(), 2);
    assert!(report.segments > 5 && report.frames > 50 && report.records > report.frames);
    assert_eq!(report.journal.unwrap().end, JournalEnd::Marked);
    assert!(
        report
            .files
            .iter()
            .all(|file| file.role != FileRole::Other && file.size.is_some())
    );
    assert_eq!(contents(&disk), before);
}

#[test]
fn a_store_in_use_can_be_looked_at() {
    let mut store = Store::open(&SimDisk::new(), &SMALL, 1_000);
    let seq = store.enqueue(100).unwrap();
    store.commit().unwrap();
    let report = verified(&store.disk);
    assert!(report.is_sound());
    let (records, _) = records(&store.disk);
    assert!(records.iter().any(|it| it.kind == "enqueued"));
    assert!(store.holds(seq.get(), 100));
}

#[test]
fn a_directory_without_a_store_is_no_store() {
    let disk = crate::fixture::disk();
    let storage: Arc<dyn Storage> = Arc::new(disk);
    assert!(matches!(
        verify(&storage),
        Err(InspectError::NoStore { .. })
    ));
    let nowhere: Arc<dyn Storage> = Arc::new(SimDisk::new());
    assert!(matches!(verify(&nowhere), Err(InspectError::Refused(_))));
}

#[test]
fn a_message_that_cannot_be_read_is_named_with_file_and_offset() {
    let disk = some_store();
    let opened = journal::open(&disk.fork(), &SMALL, 50_000).unwrap();
    let places = opened.places.image().into_places();
    let (oldest, place) = places.min_by_key(|(_, place)| place.at).unwrap();
    let name = mq_persistence::segment::name(place.at.segment());
    let offset = u64::from(place.at.offset());
    disk.flip_bit(&name, offset + u64::from(place.len) - 3, 1)
        .unwrap();
    let report = verified(&disk);
    assert!(!report.is_sound());
    let found = report
        .findings
        .iter()
        .find(|it| it.severity == Severity::Damage)
        .unwrap();
    assert_eq!((&found.file, found.offset), (&name, Some(offset)));
    assert!(
        found.text.contains(&format!("message {oldest}")),
        "{}",
        found.text
    );
}

#[test]
fn a_torn_end_is_worth_a_notice() {
    let mut store = Store::open(&SimDisk::new(), &SMALL, 1_000);
    store.enqueue(100).unwrap();
    store.commit().unwrap();
    let at = store.opened.log.written();
    store.enqueue(100).unwrap();
    store.write().unwrap();
    let disk = store.disk.restart_process();
    let name = mq_persistence::segment::name(at.segment());
    disk.flip_bit(&name, u64::from(at.offset()) + 100, 0)
        .unwrap();
    let report = verified(&disk);
    assert!(report.is_sound());
    assert_eq!(worst(&report), Some(Severity::Notice));
    assert_eq!(
        (&report.findings[0].file, report.findings[0].offset),
        (&name, Some(at.offset().into()))
    );
    assert!(matches!(report.journal.unwrap().end, JournalEnd::Torn(_)));
}

#[test]
fn a_damaged_snapshot_is_a_warning_while_the_other_stands() {
    let disk = some_store();
    let newest = verified(&disk)
        .snapshots
        .into_iter()
        .max_by_key(|(_, facts)| facts.generation);
    disk.flip_bit(&newest.unwrap().0, 300, 4).unwrap();
    let report = verified(&disk);
    assert!(report.is_sound());
    assert_eq!(worst(&report), Some(Severity::Warning));
    assert_eq!(report.snapshots.len(), 1);
}

#[test]
fn what_keeps_a_store_from_opening_is_damage() {
    let whole = some_store();
    let newest = whole
        .file_names()
        .into_iter()
        .rfind(|name| name.starts_with("j-"))
        .unwrap();
    let used = verified(&whole).journal.unwrap().read_end.segment();
    let used = mq_persistence::segment::name(used);
    assert!(used <= newest);
    let spoil: [&dyn Fn(&SimDisk); 3] = [
        &|disk| {
            disk.overwrite("IDENT", 0, &[0; 1024]).unwrap();
        },
        &|disk| disk.delete(&used).unwrap(),
        &|disk| disk.overwrite(&used, 0, &[0; 1024]).unwrap(),
    ];
    for spoil in spoil {
        let disk = whole.fork();
        spoil(&disk);
        assert!(!verified(&disk).is_sound());
        assert!(journal::open(&disk, &SMALL, 50_000).is_err());
    }
}

#[test]
fn a_verdict_and_an_opening_agree() {
    let seed = 4_711;
    println!("seed {seed}");
    let mut random = SplitMix64::new(seed);
    let whole = some_store();
    let files = contents(&whole);
    let (mut sound, mut unsound) = (0, 0);
    for round in 0..400 {
        let disk = whole.fork();
        let (name, bytes) = random.pick(&files).unwrap();
        let size = bytes.as_ref().unwrap().len() as u64;
        let offset = random.below(size);
        let bit = u8::try_from(random.below(8)).unwrap();
        disk.flip_bit(name, offset, bit).unwrap();
        let report = verified(&disk);
        let opened = journal::open(&disk, &SMALL, 50_000);
        let is_whole = opened
            .map_err(|error| error.to_string())
            .and_then(|opened| check_readable(&opened));
        assert_eq!(
            report.is_sound(),
            is_whole.is_ok(),
            "round {round}: bit {bit} of {name} at {offset}: {is_whole:?}, but {:?}",
            report.findings
        );
        if report.is_sound() {
            sound += 1
        } else {
            unsound += 1
        }
    }
    assert!(
        sound > 50 && unsound > 20,
        "{sound} and {unsound} of each are too few to tell"
    );
}

/// Every message that was opened can be read.
fn check_readable(opened: &mq_persistence::open::Opened<journal::Model>) -> Result<(), String> {
    for seq in &opened.manager.live {
        let pinned = opened.places.pin(*seq).ok_or("no place")?;
        pinned.read().map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[test]
fn a_dump_shows_every_record_in_order() {
    let disk = some_store();
    let (records, ends) = records(&disk);
    let report = verified(&disk);
    let in_journal: Vec<_> = records.iter().filter(|it| it.lsn.is_some()).collect();
    assert_eq!(in_journal.len() as u64, report.records);
    assert!(in_journal.is_sorted_by_key(|it| it.lsn));
    assert_eq!(ends as u64, report.segments, "each segment ends once");
    let in_snapshots = records.len() - in_journal.len();
    let expected: u64 = report
        .snapshots
        .iter()
        .map(|(_, facts)| facts.records)
        .sum();
    assert_eq!(in_snapshots as u64, expected);
    assert_eq!(in_journal[0].kind, "previous");
    assert!(
        in_journal[0]
            .frame
            .as_ref()
            .unwrap()
            .flags
            .contains(&"first")
    );
}

#[test]
fn a_dumped_record_says_what_was_written() {
    let mut store = Store::open(&SimDisk::new(), &SMALL, 1_000);
    let seq = store.enqueue(64).unwrap();
    store.commit().unwrap();
    let (records, _) = records(&store.disk);
    let record = records.iter().find(|it| it.kind == "enqueued").unwrap();
    assert_eq!(record.fields[0], ("seq", Value::Number(seq.get())));
    assert_eq!(record.lsn, Some(store.opened.places.find(seq).unwrap().at));
    let envelope = record.envelope.clone().unwrap().unwrap();
    let expected = mq_persistence::envelope::unseal(&sealed(seq.get(), 64).bytes).unwrap();
    assert_eq!(envelope, expected);
}

/// The record of the end of some message, with others before and behind it.
fn an_end(records: &[DumpedRecord]) -> &DumpedRecord {
    let mut ends = records.iter().filter(|it| it.kind == "finished");
    ends.nth(20).unwrap()
}

#[test]
fn a_dump_goes_on_behind_what_is_damaged() {
    let disk = some_store();
    let (whole, ends) = records(&disk);
    let middle = an_end(&whole);
    let at = middle.lsn.unwrap();
    disk.flip_bit(&middle.file, u64::from(at.offset()) + 2, 0)
        .unwrap();
    let (left, more_ends) = records(&disk);
    assert_eq!(more_ends, ends + 1);
    assert!(left.len() < whole.len() && left.len() + 5 > whole.len());
    assert_eq!(left.last(), whole.last());
}

#[test]
fn what_the_device_does_not_deliver_is_said_and_gone_on_behind() {
    let disk = some_store();
    let (whole, ends) = records(&disk);
    let middle = an_end(&whole);
    let sector = u64::from(middle.lsn.unwrap().offset()) / 512;
    disk.fail_sector(&middle.file, sector).unwrap();
    let (left, more_ends) = records(&disk);
    assert_eq!(more_ends, ends + 1);
    assert!(left.len() < whole.len() && left.len() + 5 > whole.len());
    assert_eq!(left.last(), whole.last());
    let mut said = 0;
    dump(&disk, &mut |dumped| {
        let Dumped::End(end) = dumped else {
            return ControlFlow::Continue(());
        };
        said += u32::from(end.reason.contains("does not deliver"));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(said, 1);
    let report = verified(&disk);
    let found = report
        .findings
        .iter()
        .find(|it| it.offset == Some(sector * 512));
    let found = found.unwrap();
    assert_eq!(
        (&found.file, found.severity),
        (&middle.file, Severity::Warning)
    );
    assert!(
        found.text.contains("does not deliver 512 bytes"),
        "{found:?}"
    );
    // One copy of a segment's header is enough.
    let disk = some_store();
    disk.fail_sector(&middle.file, 0).unwrap();
    assert_eq!(records(&disk), (whole, ends));
}

#[test]
fn a_dump_ends_when_it_is_told_to() {
    let disk = some_store();
    let mut shown = 0;
    dump(&disk, &mut |_| {
        shown += 1;
        if shown == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!(shown, 3);
}

/// A map of a file that somebody else owns, or of one with a bad sector, can be the end of the process.
#[test]
fn whoever_only_looks_reads_and_does_not_map() {
    let disk = some_store();
    assert!(verified(&disk).is_sound());
    assert_eq!(disk.map_count(), 0);
    let top = verified(&disk).journal.unwrap().durable;
    let name = mq_persistence::segment::name(top.segment());
    disk.fail_sector(&name, 8).unwrap();
    let report = verified(&disk);
    assert_eq!(worst(&report), Some(Severity::Damage));
    assert!(report.findings.iter().any(|it| it.file == name));
    let disk = some_store();
    journal::open(&disk, &SMALL, 50_000).unwrap();
    assert!(disk.map_count() > 0, "opening maps");
}
