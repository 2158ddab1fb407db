//! How large a segment is made for a frame, up to sizes that no file has.

use super::{FRAME_SIZE_MAX, Log, SEAL_SIZE};
use crate::segment::{DATA_START, FRAME_ALIGN, PAGE_SIZE, align_frame};

/// The front of a segment, its first frame, the frame itself, the frame that seals it.
fn needed(frame: u32) -> u64 {
    let around = [DATA_START, FRAME_ALIGN, SEAL_SIZE].map(u64::from);
    around.iter().sum::<u64>() + u64::from(align_frame(frame))
}

#[test]
fn the_segment_for_a_frame_holds_it_with_all_that_stands_around_it() {
    for frame in [
        1,
        FRAME_ALIGN,
        FRAME_ALIGN + 1,
        100_000,
        FRAME_SIZE_MAX - 1,
        FRAME_SIZE_MAX,
    ] {
        let size = u64::from(Log::segment_size_for(frame));
        let page = u64::from(PAGE_SIZE);
        assert!(
            (needed(frame)..needed(frame) + page).contains(&size),
            "{frame}: {size}"
        );
        assert_eq!(size % page, 0);
    }
}

/// Positions have 32 bits: what is asked for beyond is cut there, and does not begin at zero again.
#[test]
fn the_segment_for_a_frame_beyond_4_gib_is_the_largest_there_is() {
    let largest = u32::MAX - (PAGE_SIZE - 1);
    for frame in [largest, u32::MAX - 1, u32::MAX] {
        assert_eq!(Log::segment_size_for(frame), largest);
    }
}
