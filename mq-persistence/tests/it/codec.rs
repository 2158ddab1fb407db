//! Bytes from anywhere: reading never panics, never believes a length, and what was written is what is read.

use bytes::Bytes;
use mq_core::event::Event;
use mq_persistence::checksum::Seed;
use mq_persistence::envelope::{seal, unseal};
use mq_persistence::frame::FrameHeader;
use mq_persistence::identity::Identity;
use mq_persistence::lsn::Lsn;
use mq_persistence::record::{RawRecord, Record, decode, encode_image, read_sealed};
use mq_persistence::scan::SegmentBytes;
use mq_persistence::segment::Header;
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::fixture::identity;
use crate::samples::{envelopes, image_records};

fn sample_record(choice: usize) -> Vec<u8> {
    let records = image_records();
    let mut bytes = Vec::new();
    let (_, record) = &records[choice % records.len()];
    encode_image(record, identity().seed(), &mut bytes);
    bytes
}

fn header() -> Header {
    Header::new(
        &identity(),
        1,
        16 << 10,
        99,
        mq_core::time::Timestamp::from_ms(1),
    )
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..2_000), seed in any::<u64>()) {
        let seed = Seed::of_salt(seed);
        drop(decode(&bytes, seed));
        drop(RawRecord::split(&bytes).map(|(raw, _)| raw.decode()));
        drop(Identity::decode(&bytes));
        drop(Header::decode(&bytes));
        drop(FrameHeader::decode(&bytes, seed));
        let shared = Bytes::from(bytes.clone());
        drop(unseal(&shared));
        drop(read_sealed(&shared, seed));
        let segment = SegmentBytes::of_bytes(bytes, header(), seed);
        drop(segment.previous());
        prop_assert!(segment.frame(Lsn::new(1, 512)).is_err());
        prop_assert_eq!(segment.headers_after(Lsn::START).count(), 0);
    }

    #[test]
    fn a_record_with_any_byte_changed_fails_its_checksum(
        choice in any::<usize>(),
        at in any::<usize>(),
        change in 1..=u8::MAX,
    ) {
        let mut bytes = sample_record(choice);
        let at = at % bytes.len();
        bytes[at] ^= change;
        prop_assert!(decode(&bytes, identity().seed()).is_err());
        // What a checksum would let through by chance is still only read, not believed.
        drop(RawRecord::split(&bytes).map(|(raw, _)| raw.decode()));
    }

    #[test]
    fn a_record_cut_anywhere_is_not_read(choice in any::<usize>(), cut in any::<usize>()) {
        let bytes = sample_record(choice);
        let cut = cut % bytes.len();
        prop_assert!(decode(&bytes[..cut], identity().seed()).is_err());
    }

    #[test]
    fn lengths_of_all_sizes_allocate_no_more_than_is_there(
        choice in any::<usize>(),
        at in any::<usize>(),
        length in any::<u32>(),
    ) {
        let mut bytes = sample_record(choice);
        let at = at % (bytes.len() - 4);
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        drop(RawRecord::split(&bytes).map(|(raw, _)| raw.decode()));
    }

    #[test]
    fn envelopes_are_read_as_they_were_sealed(
        payload in vec(any::<u8>(), 0..600),
        version in any::<u16>(),
        headers in vec(("[a-z]{1,9}", ".{0,20}"), 0..4),
        choice in any::<usize>(),
    ) {
        let samples = envelopes();
        let mut envelope = samples[choice % samples.len()].1.clone();
        envelope.payload = payload.into();
        envelope.version = version;
        envelope.headers = headers;
        let sealed = seal(&envelope, &identity());
        prop_assert_eq!(sealed.crc, identity().seed().checksum(&sealed.bytes));
        prop_assert_eq!(unseal(&sealed.bytes).unwrap(), envelope);
        for cut in 0..sealed.bytes.len() {
            drop(unseal(&sealed.bytes.slice(..cut)));
        }
    }
}

#[test]
fn a_record_type_that_may_be_skipped_is_and_any_other_is_not() {
    let mut bytes = sample_record(0);
    bytes[12] = 0x80 | 77;
    let (raw, _) = RawRecord::split(&bytes).unwrap();
    assert_eq!(raw.decode(), Ok(Record::Ignored { kind: 0x80 | 77 }));
    bytes[12] = 77;
    let (raw, _) = RawRecord::split(&bytes).unwrap();
    assert!(raw.decode().is_err());
}

#[test]
fn zeros_are_neither_record_nor_header() {
    let zeros = vec![0; 4096];
    for salt in 0..1_000 {
        let seed = Seed::of_salt(salt);
        assert!(FrameHeader::decode(&zeros, seed).is_err());
        assert!(decode(&zeros, seed).is_err());
    }
    assert!(Header::decode(&zeros).is_err());
    assert!(Identity::decode(&zeros).is_err());
}

#[test]
fn a_record_of_another_store_fails_its_checksum() {
    let other = Identity {
        uuid: [9; 16],
        ..identity()
    };
    for choice in 0..image_records().len() {
        assert!(decode(&sample_record(choice), other.seed()).is_err());
    }
}

#[test]
fn an_event_knows_nothing_of_its_envelope_when_it_is_read() {
    let events = crate::samples::events();
    let (_, event) = events
        .into_iter()
        .find(|(name, _)| *name == "enqueued, plain")
        .unwrap();
    assert!(matches!(event, Event::Enqueued(enqueued) if enqueued.sealed.is_none()));
}
