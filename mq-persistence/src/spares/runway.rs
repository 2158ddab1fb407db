//! What can be written without any new space: the rest of the segment in use, then the spares, in order.
//!
//! A frame lies in one segment, and a spare is passed over for good once one behind it is taken. While space is scarce, part of it
//! is kept for whoever frees segments, because copying out of a segment of which little lives may be all that can free any.
//!
//! Invariants
//! 1. The reserve is one spare, or half of the segment in use when there is none; half of that each time whoever frees segments had no
//!    use for it. What is written into the other half makes segments emptier, so that the rest may be of use.
//! 2. What makes the store grow leaves two spares. So the segments that are begun when there are fewer hold settlements and copies: those
//!    without copies are free by themselves when they are full, and take turns.
//! 3. The last [`CLOSING_SIZE`] bytes are left to the close, which writes two frames.
//!
//! What it does not do: count what could be made anew.

use std::collections::VecDeque;

use crate::segment::{FRAME_ALIGN, align_frame};

/// Bytes left to the frames that mark a close, and to marks that the log writes by itself.
pub(super) const CLOSING_SIZE: u32 = 8 * FRAME_ALIGN;

/// See the head of this file. All sizes are bytes of frames.
#[derive(Clone, Debug)]
pub(super) struct Runway {
    /// What is left of the segment in use.
    pub(super) left: u32,
    /// What it had when it was new.
    pub(super) whole: u32,
    /// What each spare takes, in the order in which they are taken.
    pub(super) spares: VecDeque<u32>,
}

impl Runway {
    /// A frame of so many bytes is written.
    pub(super) fn take(&mut self, frame: u32) {
        let frame = align_frame(frame);
        if frame <= self.left {
            self.left -= frame;
            return;
        }
        self.left = 0; // unless a spare takes it: where else it went is not known
        if let Some(position) = self.spares.iter().position(|spare| *spare >= frame) {
            self.whole = self.spares.get(position).copied().unwrap_or_default();
            self.left = self.whole - frame;
            self.spares.drain(..=position);
        }
    }

    /// The largest frame that can be written.
    pub(super) fn largest(&self) -> u32 {
        match self.spares.iter().max() {
            None => self.left.saturating_sub(CLOSING_SIZE),
            Some(largest) if self.spares.len() == 1 => {
                self.left.max(largest.saturating_sub(CLOSING_SIZE))
            }
            Some(largest) => self.left.max(*largest),
        }
    }

    /// The largest frame after which the reserve is still there, halved so many times.
    pub(super) fn largest_with_reserve(&self, halved: u32) -> u32 {
        let part = |size: u32, halved: u32| size.checked_shr(halved).unwrap_or(0).max(CLOSING_SIZE);
        let Some(last) = self.spares.back().copied() else {
            return self.left.saturating_sub(part(self.whole, halved.max(1)));
        };
        if self.spares.len() == 1 && halved > 0 {
            return self.left.max(last.saturating_sub(part(last, halved)));
        }
        let others = self.spares.iter().take(self.spares.len() - 1).max();
        self.left.max(others.copied().unwrap_or(0))
    }

    /// The largest frame that may make the store grow.
    pub(super) fn largest_growing(&self) -> u32 {
        let Some(others) = self.spares.len().checked_sub(2) else {
            return 0;
        };
        let others = self.spares.iter().take(others).max();
        self.left.max(others.copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runway(left: u32, spares: &[u32]) -> Runway {
        Runway {
            left,
            whole: 60 << 10,
            spares: spares.iter().copied().collect(),
        }
    }

    #[test]
    fn a_frame_goes_into_what_is_left_and_else_into_the_first_spare_it_fits() {
        let mut it = runway(1_024, &[2_048, 8_192, 4_096]);
        it.take(1_000);
        assert_eq!((it.left, it.spares.len()), (0, 3));
        it.take(5_000);
        assert_eq!((it.left, it.spares.len()), (8_192 - 5_120, 1));
    }

    #[test]
    fn the_last_spare_is_kept_and_then_half_a_segment() {
        let kept = |left, spares: &[u32]| runway(left, spares).largest_with_reserve(0);
        assert_eq!(kept(1_024, &[8_192, 16_384]), 8_192);
        assert_eq!(kept(1_024, &[8_192]), 1_024);
        assert_eq!(kept(40 << 10, &[]), 10 << 10);
        assert_eq!(kept(30 << 10, &[]), 0);
    }

    #[test]
    fn the_reserve_is_given_by_halves_and_never_all_of_it() {
        let given =
            |left, spares: &[u32], halved| runway(left, spares).largest_with_reserve(halved);
        assert_eq!(given(1_024, &[60 << 10], 1), 30 << 10);
        assert_eq!(given(30 << 10, &[], 1), 0);
        assert_eq!(given(30 << 10, &[], 2), 15 << 10);
        assert_eq!(given(30 << 10, &[], 40), (30 << 10) - CLOSING_SIZE);
    }

    #[test]
    fn what_makes_the_store_grow_leaves_two_spares() {
        let growing = |left, spares: &[u32]| runway(left, spares).largest_growing();
        assert_eq!(growing(1_024, &[8_192, 4_096, 4_096]), 8_192);
        assert_eq!(growing(1_024, &[8_192, 4_096]), 1_024);
        assert_eq!(growing(1_024, &[8_192]), 0);
    }

    #[test]
    fn a_close_always_has_its_room() {
        assert_eq!(runway(CLOSING_SIZE, &[]).largest(), 0);
        assert_eq!(runway(0, &[8_192]).largest(), 8_192 - CLOSING_SIZE);
        assert_eq!(runway(0, &[8_192, 8_192]).largest(), 8_192);
    }
}
