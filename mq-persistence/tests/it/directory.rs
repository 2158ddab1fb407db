//! The same journal on a real directory: maps of sealed segments, recycled files, renames.

use std::sync::Arc;

use mq_core::event::Event;
use mq_persistence::frame::Frame;
use mq_persistence::inspect::verify_into;
use mq_persistence::keeper::Snapshotted;
use mq_persistence::open::{JournalOptions, Opened, open_into};
use mq_persistence::recovery::Replay;
use mq_persistence::spares::Prepared;
use mq_persistence::storage::{DirectoryStorage, Storage};
use mq_testing::random::SplitMix64;

use crate::fixture::{enqueued, image, now, sealed};
use crate::journal::{Model, SMALL, inputs};

const OPTIONS: JournalOptions = JournalOptions {
    segment_size_max: 64 << 10,
    ..SMALL
};

fn open(storage: &Arc<dyn Storage>, time: u64) -> Opened<Model> {
    let mut random = SplitMix64::new(time);
    let mut random = || random.next_u64();
    let inputs = inputs(time, &mut random);
    open_into(Arc::clone(storage), &OPTIONS, inputs, |_| Model::default()).unwrap()
}

/// Messages come, and all but every hundredth goes; the housekeeper does what it wants to.
fn live(opened: &mut Opened<Model>, messages: u64, time: u64) {
    let mut frame = Frame::new(&opened.identity);
    for count in 0..messages {
        let seq = opened.manager.last.next();
        let mut sealed = sealed(seq.get(), 600);
        sealed.crc = opened.identity.seed().checksum(&sealed.bytes);
        let mut events = vec![Event::Enqueued(enqueued(seq.get(), Some(sealed)))];
        if !seq.get().is_multiple_of(100) {
            events.push(Event::Finished { seq });
        }
        for event in &events {
            opened.manager.event(event).unwrap();
            frame.append(event);
        }
        let written = opened.log.write(&mut frame, &now(time + count)).unwrap();
        opened.places.note(&written);
        if count % 20 == 0 {
            keep_house(opened, time + count);
        }
    }
    opened.log.sync().unwrap();
}

fn keep_house(opened: &mut Opened<Model>, time: u64) {
    let at = opened.log.sync().unwrap();
    let keeper = &mut opened.keeper;
    let survey = keeper.survey(&mut opened.places, at, at);
    if survey.snapshot {
        let mut records = image(opened.manager.live.iter().map(|seq| seq.get()));
        if let Some(mq_core::image::ImageRecord::Counters { last_seq, .. }) = records.first_mut() {
            *last_seq = opened.manager.last;
        }
        let places = opened.places.image();
        let taken = keeper.snapshot(records.into_iter(), places, (at, at), &now(time));
        assert!(matches!(taken.unwrap(), Snapshotted::Taken(_)));
    }
    keeper.reclaim();
    while keeper.prepare_spares().unwrap() == Prepared::Progress {}
}

#[test]
fn a_store_on_a_real_directory_keeps_what_lives_and_little_else() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DirectoryStorage::new(directory.path().join("store")));
    for round in 1..=3 {
        let mut opened = open(&storage, round * 1_000_000);
        assert_eq!(opened.manager.live.len() as u64, (round - 1) * 10);
        live(&mut opened, 1_000, round * 1_000_000);
        for seq in &opened.manager.live {
            let read = opened.places.pin(*seq).unwrap().read().unwrap();
            assert_eq!(read.bytes, sealed(seq.get(), 600).bytes);
        }
        if round == 2 {
            opened.log.close(&now(round * 1_000_000 + 5_000)).unwrap();
        }
    }
    let report = verify_into(&storage, |_| Model::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.messages, 30);
    let size: u64 = report.files.iter().filter_map(|file| file.size).sum();
    assert!(size < 2 << 20, "{size} bytes for 30 messages");
}
