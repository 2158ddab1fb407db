//! The bytes of format 1, as they were when it was first released. The files under `golden/` are never made anew: a test that fails here
//! says that stores written before cannot be read, or that the page about the format is wrong.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use mq_core::event::Event;
use mq_core::message::Sealed;
use mq_persistence::envelope::{seal, unseal};
use mq_persistence::frame::{Frame, Relocation};
use mq_persistence::identity::Identity;
use mq_persistence::lsn::Lsn;
use mq_persistence::open::{Opened, open_into};
use mq_persistence::record::{RawRecord, Record, decode, encode_image};
use mq_persistence::scan::SegmentBytes;
use mq_persistence::segment::{self, Header};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::fixture::{identity, now, sealed, seq};
use crate::journal::{SMALL, inputs};
use crate::samples::{envelopes, events, image_records};

const RECORDS: &str = include_str!("../golden/v1-records.hex");
const STORE: &str = include_str!("../golden/v1-store.hex");
const PAGE: &str = include_str!("../../../docs/journal-format.md");

/// Takes events as they come.
#[derive(Debug, Default)]
struct Collected(Vec<Event>);

impl mq_persistence::recovery::Replay for Collected {
    fn image(
        &mut self,
        _: mq_core::image::ImageRecord,
    ) -> Result<(), mq_persistence::recovery::Contradiction> {
        Ok(())
    }

    fn event(&mut self, event: &Event) -> Result<(), mq_persistence::recovery::Contradiction> {
        self.0.push(event.clone());
        Ok(())
    }
}

fn open(disk: &SimDisk) -> Opened<Collected> {
    let mut random = SplitMix64::new(1);
    let mut random = || random.next_u64();
    let inputs = inputs(1_700_000_000_000, &mut random);
    open_into(Arc::new(disk.clone()), &SMALL, inputs, |_| {
        Collected::default()
    })
    .unwrap()
}

/// The events of the golden store, one with an envelope among them.
fn store_events(identity: &Identity) -> Vec<Event> {
    let mut events: Vec<_> = events().into_iter().map(|(_, event)| event).collect();
    let (_, envelope) = envelopes().remove(1);
    for event in &mut events {
        if let Event::Enqueued(enqueued) = event {
            enqueued.sealed = Some(seal(&envelope, identity));
        }
    }
    events
}

/// A store with one frame of every event, one with a relocation, a mark, and a clean end.
fn write_store() -> SimDisk {
    let disk = SimDisk::new();
    let mut opened = open(&disk);
    let mut frame = Frame::new(&opened.identity);
    for event in store_events(&opened.identity) {
        frame.append(&event);
    }
    opened
        .log
        .write(&mut frame, &now(1_700_000_001_000))
        .unwrap();
    opened.log.sync().unwrap();
    opened.log.idle_mark(&now(1_700_000_002_000)).unwrap();
    let bytes = sealed(17, 20).bytes;
    let crc = opened.identity.seed().checksum(&bytes);
    frame.append_relocation(&Relocation {
        seq: seq(17),
        from: Lsn::new(1, 4_660),
        sealed: Sealed { bytes, crc },
    });
    opened
        .log
        .write(&mut frame, &now(1_700_000_003_000))
        .unwrap();
    opened.log.close(&now(1_700_000_004_000)).unwrap();
    disk
}

/// The files of a store as text: name, size, and every 16 bytes that are not all zero.
fn dump(disk: &SimDisk) -> String {
    let mut text = String::new();
    for name in disk.file_names().iter().filter(|name| *name != "LOCK") {
        let bytes = disk.file_bytes(name).unwrap();
        writeln!(text, "{name} {}", bytes.len()).unwrap();
        for (at, line) in bytes.chunks(16).enumerate() {
            if line.iter().any(|byte| *byte != 0) {
                writeln!(text, "{:06x} {}", at * 16, hex(line)).unwrap();
            }
        }
    }
    text
}

fn undump(text: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        let (first, second) = line.split_once(' ').unwrap();
        if let Ok(at) = usize::from_str_radix(first, 16)
            && first.len() == 6
        {
            let file: &mut Vec<u8> = files.get_mut(&name).unwrap();
            let bytes = unhex(second);
            file[at..at + bytes.len()].copy_from_slice(&bytes);
        } else {
            first.clone_into(&mut name);
            files.insert(name.clone(), vec![0; second.parse().unwrap()]);
        }
    }
    files
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
        .collect()
}

/// The record an event is written as.
fn record_of(event: &Event) -> Vec<u8> {
    let disk = SimDisk::new();
    let mut opened = open(&disk);
    let mut frame = Frame::new(&opened.identity);
    frame.append(event);
    let written = opened.log.write(&mut frame, &now(1)).unwrap();
    let bytes = segment_bytes(&disk, written.start.segment());
    let view = bytes.frame(written.start).unwrap();
    let (_, raw) = view.records().next().unwrap();
    raw.bytes().to_vec()
}

fn segment_bytes(disk: &SimDisk, number: u32) -> SegmentBytes {
    let bytes = disk.file_bytes(&segment::name(number)).unwrap();
    let header = Header::decode(&bytes).unwrap();
    let seed = mq_persistence::checksum::Seed::of(&header.uuid);
    SegmentBytes::of_bytes(bytes, header, seed)
}

/// Every record and envelope by name, as they are written now.
fn records_now() -> Vec<(String, Vec<u8>)> {
    let identity = identity();
    let image = image_records().into_iter().map(|(name, record)| {
        let mut bytes = Vec::new();
        encode_image(&record, identity.seed(), &mut bytes);
        (format!("image: {name}"), bytes)
    });
    let envelopes = envelopes().into_iter().map(|(name, envelope)| {
        let bytes = seal(&envelope, &identity).bytes.to_vec();
        (format!("envelope: {name}"), bytes)
    });
    let events = events().into_iter().map(|(name, event)| {
        let bytes = record_of(&event);
        (format!("event: {name}"), bytes)
    });
    events.chain(image).chain(envelopes).collect()
}

fn golden_records() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = RECORDS.lines().map(|line| line.rsplit_once(' ').unwrap());
    lines.map(|(name, bytes)| (name, unhex(bytes))).collect()
}

#[test]
fn every_record_is_written_as_it_always_was() {
    let golden = golden_records();
    let now = records_now();
    assert_eq!(golden.len(), now.len());
    for (name, bytes) in now {
        assert_eq!(hex(&bytes), hex(&golden[name.as_str()]), "{name}");
    }
}

#[test]
fn every_record_of_old_is_read_as_what_it_was() {
    let golden = golden_records();
    for (name, event) in events() {
        let bytes = &golden[format!("event: {name}").as_str()];
        let (raw, rest) = RawRecord::split(bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!(raw.decode().unwrap(), Record::Event(event), "{name}");
    }
    for (name, record) in image_records() {
        let bytes = &golden[format!("image: {name}").as_str()];
        let (read, size) = decode(bytes, identity().seed()).unwrap();
        assert_eq!((read, size), (Record::Image(record), bytes.len()), "{name}");
    }
    for (name, envelope) in envelopes() {
        let bytes = Bytes::from(golden[format!("envelope: {name}").as_str()].clone());
        assert_eq!(unseal(&bytes).unwrap(), envelope, "{name}");
    }
}

#[test]
fn a_store_is_written_as_it_always_was() {
    assert_eq!(dump(&write_store()), STORE);
}

#[test]
fn a_store_of_old_opens_with_everything_in_it() {
    let disk = SimDisk::new();
    for (name, bytes) in undump(STORE) {
        disk.install(&name, &bytes).unwrap();
    }
    let opened = open(&disk);
    let mut expected = store_events(&opened.identity);
    for event in &mut expected {
        if let Event::Enqueued(enqueued) = event {
            enqueued.sealed = None;
        }
    }
    assert_eq!(opened.manager.0, expected);
    let journal = opened.report.journal.unwrap();
    assert_eq!(journal.end, mq_persistence::recovery::JournalEnd::Clean);
}

#[test]
fn the_page_about_the_format_lists_every_record_type() {
    for (name, bytes) in golden_records() {
        if name.starts_with("envelope") {
            continue;
        }
        let (_, kind) = name.split_once(": ").unwrap();
        let kind = kind
            .split(", ")
            .next()
            .unwrap()
            .split(" to ")
            .next()
            .unwrap();
        let row = format!("\n| {} | {kind} |", bytes[12]);
        assert!(PAGE.contains(&row), "{name} is of type {}", bytes[12]);
    }
}

#[test]
fn the_page_about_the_format_shows_a_record_as_it_is() {
    let golden = golden_records();
    let finished = hex(&golden["event: finished"]);
    assert!(PAGE.contains(&finished), "the worked example is {finished}");
}
