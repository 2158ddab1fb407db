//! Where envelopes lie: against a plain map, and what keeps a segment.

use std::collections::BTreeMap;
use std::sync::Arc;

use mq_persistence::pins::SegmentFile;
use mq_persistence::places::{Place, Places};
use mq_persistence::{Lsn, PlaceChange, Written};
use mq_testing::random::SplitMix64;

use crate::fixture::{segments, seq};

fn place(segment: u32, offset: u32, len: u32) -> Place {
    let at = Lsn::new(segment, offset);
    Place { at, len }
}

fn placed(number: u64, place: Place) -> PlaceChange {
    let Place { at, len } = place;
    let seq = seq(number);
    PlaceChange::Placed { seq, at, len }
}

fn relocated(number: u64, from: Lsn, place: Place) -> PlaceChange {
    let Place { at, len } = place;
    let seq = seq(number);
    PlaceChange::Relocated { seq, from, at, len }
}

fn forgotten(number: u64) -> PlaceChange {
    PlaceChange::Forgotten { seq: seq(number) }
}

fn written(end: Lsn, changes: Vec<PlaceChange>) -> Written {
    let start = Lsn::new(end.segment(), 0);
    Written {
        start,
        end,
        changes,
    }
}

fn numbers(segments: &[Arc<SegmentFile>]) -> Vec<u32> {
    segments.iter().map(|it| it.number()).collect()
}

#[test]
fn a_message_is_found_where_its_newest_envelope_lies() {
    let mut places = Places::new(segments(3));
    places.note(&written(
        Lsn::new(1, 9000),
        vec![
            placed(5, place(1, 4160, 100)),
            placed(6, place(1, 4260, 50)),
        ],
    ));
    assert_eq!(places.find(seq(5)), Some(place(1, 4160, 100)));
    let edited = place(2, 4160, 70);
    places.note(&written(Lsn::new(2, 9000), vec![placed(5, edited)]));
    assert_eq!(places.find(seq(5)), Some(edited));
    assert_eq!((places.len(), places.live_bytes()), (2, 120));
    assert_eq!((places.usage(1).live, places.usage(1).bytes), (1, 50));
    places.note(&written(Lsn::new(2, 9500), vec![forgotten(5)]));
    assert_eq!(places.find(seq(5)), None);
    assert_eq!((places.usage(2).live, places.usage(2).bytes), (0, 0));
}

#[test]
fn a_relocation_that_came_too_late_changes_nothing() {
    let mut places = Places::new(segments(3));
    let (first, edited) = (place(1, 4160, 100), place(2, 4160, 70));
    let (copy, end) = (place(3, 4160, 100), Lsn::new(3, 9000));
    places.apply(&placed(5, first), end);
    places.apply(&placed(5, edited), end);
    places.apply(&relocated(5, first.at, copy), end);
    assert_eq!(places.find(seq(5)), Some(edited), "edited meanwhile");
    places.apply(&forgotten(5), end);
    places.apply(&relocated(5, edited.at, copy), end);
    assert_eq!(places.find(seq(5)), None, "over meanwhile");
    assert_eq!(places.usage(3).live, 0);
}

#[test]
fn a_segment_is_empty_only_once_what_emptied_it_is_durable() {
    let mut places = Places::new(segments(4));
    let end = Lsn::new(3, 8192);
    places.apply(&placed(1, place(2, 4160, 10)), Lsn::new(2, 5000));
    places.apply(&forgotten(1), end);
    let before = Lsn::new(3, 8191);
    assert_eq!(
        numbers(&places.take_empty(before, 3)),
        [1],
        "nothing ever lived in 1"
    );
    assert!(!places.has_empty(before, 3));
    assert!(places.has_empty(end, 3));
    assert_eq!(numbers(&places.take_empty(end, 3)), [2]);
    assert_eq!(
        numbers(&places.take_empty(end, 3)),
        [0_u32; 0],
        "taken once"
    );
    assert_eq!(
        numbers(&places.segments().list()),
        [3, 4],
        "below the bound only"
    );
}

#[test]
fn a_segment_stays_with_its_readers() {
    let mut places = Places::new(segments(2));
    places.apply(&placed(1, place(1, 4160, 10)), Lsn::new(1, 5000));
    let pinned = places.pin(seq(1)).unwrap();
    places.apply(&forgotten(1), Lsn::new(2, 5000));
    assert!(places.pin(seq(1)).is_none(), "nobody pins what is over");
    let taken = places.take_empty(Lsn::new(2, 5000), 2);
    assert!(!SegmentFile::sole(&taken[0]));
    drop(pinned);
    assert!(SegmentFile::sole(&taken[0]));
}

#[test]
fn a_living_message_in_a_segment_that_is_gone_is_noticed() {
    let mut places = Places::new(segments(2));
    places.restore(seq(1), place(2, 4160, 10));
    assert_eq!(places.missing_segment(), None);
    places.restore(seq(2), place(9, 4160, 10));
    assert_eq!(places.missing_segment(), Some(9));
    places.apply(&forgotten(2), Lsn::new(10, 0));
    assert_eq!(
        places.missing_segment(),
        None,
        "it was over by the end of the journal"
    );
}

/// Sequences that fill pages, thin them out, and come back to them.
fn any_seq(random: &mut SplitMix64, newest: u64) -> u64 {
    if random.chance(1, 4) {
        1 + random.below(newest)
    } else {
        1 + newest.saturating_sub(random.below(3000))
    }
}

#[test]
fn it_agrees_with_a_plain_map() {
    let seed = 0x9_1ace5;
    println!("seed {seed}");
    let mut random = SplitMix64::new(seed);
    let mut places = Places::new(segments(8));
    let mut model = BTreeMap::new();
    let mut images = Vec::new();
    let mut newest = 1;
    for step in 0..200_000_u32 {
        newest += u64::from(random.chance(2, 3));
        let number = any_seq(&mut random, newest);
        let segment = 1 + u32::try_from(random.below(8)).unwrap();
        let end = Lsn::new(9, step);
        // The first half fills, the second empties.
        if random.chance(if step < 100_000 { 3 } else { 1 }, 4) {
            let place = place(segment, 4096 + step, 1 + step % 100);
            places.apply(&placed(number, place), end);
            model.insert(number, place);
        } else {
            places.apply(&forgotten(number), end);
            model.remove(&number);
        }
        if step % 50_000 == 0 {
            images.push((places.image(), model.clone()));
        }
    }
    for number in 0..=newest {
        assert_eq!(places.find(seq(number)), model.get(&number).copied());
    }
    assert_eq!(places.len(), model.len() as u64);
    for segment in 1..=8 {
        let in_it = model.values().filter(|it| it.at.segment() == segment);
        let (live, bytes) = in_it.fold((0, 0), |(live, bytes), it| {
            (live + 1, bytes + u64::from(it.len))
        });
        let usage = places.usage(segment);
        assert_eq!((usage.live, usage.bytes), (live, bytes));
    }
    images.push((places.image(), model));
    for (image, model) in images {
        let listed: Vec<_> = image.into_places().collect();
        let expected: Vec<_> = model
            .into_iter()
            .map(|(number, it)| (seq(number), it))
            .collect();
        assert_eq!(listed, expected, "an image stays as it was taken, in order");
    }
}
