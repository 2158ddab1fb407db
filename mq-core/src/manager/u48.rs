//! Numbers of 48 bits in six bytes without padding: milliseconds and places in line, of which each message has one.

/// A number below 2⁴⁸; larger ones become the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct U48([u8; 6]);

impl U48 {
    const MAX: u64 = (1 << 48) - 1;

    /// The number nearest to `number`.
    pub(super) const fn of(number: u64) -> Self {
        let number = if number > Self::MAX {
            Self::MAX
        } else {
            number
        };
        let [a, b, c, d, e, f, ..] = number.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// The number.
    pub(super) const fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_a_larger_one_as_the_largest() {
        for number in [0, 1, 255, 256, 1 << 40, U48::MAX] {
            assert_eq!(U48::of(number).get(), number);
        }
        assert_eq!(U48::of(u64::MAX).get(), U48::MAX);
        assert_eq!(size_of::<[U48; 2]>(), 12);
    }
}
