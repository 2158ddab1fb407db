//! Targets that read bytes: records, frames, segments, calls of the control socket, words of the command line.

use std::hint::black_box;

use bytes::Bytes;
use mq::control::{Call, execute_wait};
use mq::{Cursor, Engine, Filter, Limit, Predicate, Schedule};
use mq_core::id::MessageId;
use mq_core::name::{KindName, Label, QueueName, ScheduleName};
use mq_core::time::Timestamp;
use mq_persistence::checksum::Seed;
use mq_persistence::envelope::unseal;
use mq_persistence::frame::FrameHeader;
use mq_persistence::identity::Identity;
use mq_persistence::lsn::Lsn;
use mq_persistence::record::{RawRecord, decode, read_sealed};
use mq_persistence::scan::SegmentBytes;
use mq_persistence::segment::Header;

/// Calls of one input that are carried out.
const CALLS_MAX: usize = 20;

/// Records, one behind the other, their checksums ignored and not.
pub fn record(data: &[u8]) {
    let mut rest = data;
    while let Ok((raw, next)) = RawRecord::split(rest) {
        drop(raw.verify(Seed::of_salt(7)));
        drop(raw.decode());
        drop(raw.decode_image());
        if next.len() >= rest.len() {
            break;
        }
        rest = next;
    }
    drop(decode(data, Seed::of_salt(7)));
    let shared = Bytes::copy_from_slice(data);
    drop(unseal(&shared));
    drop(read_sealed(&shared, Seed::of_salt(7)));
}

/// The header of a frame.
pub fn frame(data: &[u8]) {
    let seed = Seed::of_salt(7);
    if let Ok((header, crc)) = FrameHeader::decode(data, seed) {
        let (encoded, again) = header.encode(seed);
        assert_eq!(Some(&encoded[..]), data.get(..encoded.len()));
        assert_eq!(crc, again);
    }
    black_box(FrameHeader::names(data, Lsn::START));
    drop(Identity::decode(data));
    drop(Header::decode(data));
}

/// A segment, behind a header that is whole.
pub fn segment(data: &[u8]) {
    let mut draw = 0;
    let identity = Identity::draw(
        &mut || {
            draw += 1;
            draw
        },
        Timestamp::from_ms(1),
    );
    let header = Header::new(&identity, 1, 64 << 10, 99, Timestamp::from_ms(1));
    let segment = SegmentBytes::of_bytes(data.to_vec(), header, identity.seed());
    drop(segment.previous());
    black_box(segment.is_untouched());
    for (at, _) in segment.headers_after(Lsn::START).take(1_000) {
        if let Ok(frame) = segment.frame(at) {
            frame.records().take(10_000).for_each(|(_, raw)| {
                drop(raw.decode());
            });
        }
    }
    drop(segment.frame(Lsn::START));
    drop(segment.frame(Lsn::new(1, 512)));
}

/// Lines of the control socket, carried out on a small store in memory.
pub fn control(data: &[u8]) {
    let calls = data.split(|byte| *byte == b'\n').take(CALLS_MAX);
    let calls: Vec<Call> = calls
        .filter_map(|line| serde_json::from_slice(line).ok())
        // A backup writes where it is told to.
        .filter(|call| !matches!(call, Call::Backup(_)))
        .collect();
    if calls.is_empty() {
        return;
    }
    let opened = Engine::in_memory()
        .capacity(Limit::messages(64))
        .open_wait();
    let Ok(engine) = opened else { return };
    for call in calls {
        drop(execute_wait(&engine, call));
    }
    assert_eq!(engine.stopped(), None, "a call stopped the engine");
}

/// Words that people give: names, ids, cursors, conditions, filters, schedules.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    drop(text.parse::<MessageId>());
    drop(text.parse::<QueueName>());
    drop(text.parse::<KindName>());
    drop(text.parse::<ScheduleName>());
    drop(text.parse::<Label>());
    drop(text.parse::<Cursor>());
    drop(text.parse::<Predicate>());
    drop(serde_json::from_str::<Filter>(text));
    let (expression, zone) = text.split_once('\n').unwrap_or((text, "UTC"));
    let schedule = Schedule::cron(expression).zone(zone);
    drop(schedule.next_fires(3, Timestamp::from_ms(1_774_695_600_000)));
}
