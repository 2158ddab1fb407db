//! Little-endian fields: how every header and record is written and read.
//!
//! Invariants: reading never panics, never reads beyond the bytes given, and allocates nothing on the word of a length field: a
//! length is believed only once so many bytes are there.

use bytes::Bytes;
use mq_core::id::Seq;

use crate::error::DecodeError;

/// Bytes that are read field by field.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(
        &mut self,
        len: usize,
        what: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(DecodeError::Short {
                what,
                wanted: len as u64,
                left: self.rest.len() as u64,
            });
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(DecodeError::Short {
                what,
                wanted: N as u64,
                left: self.rest.len() as u64,
            });
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.array(what).map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, DecodeError> {
        self.array(what).map(u128::from_le_bytes)
    }

    /// 48 bits.
    pub(crate) fn u48(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let [a, b, c, d, e, f] = self.array(what)?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    pub(crate) fn seq(&mut self, what: &'static str) -> Result<Seq, DecodeError> {
        let found = self.u64(what)?;
        Seq::new(found).ok_or(DecodeError::Value { what, found })
    }

    /// 0 or 1.
    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(DecodeError::Value {
                what,
                found: found.into(),
            }),
        }
    }

    /// A bit set with none but the `known` bits.
    pub(crate) fn bits(&mut self, known: u16, what: &'static str) -> Result<Bits, DecodeError> {
        let bits = self.u16(what)?;
        if bits & !known == 0 {
            Ok(Bits(bits))
        } else {
            Err(DecodeError::Value {
                what,
                found: bits.into(),
            })
        }
    }

    /// Bytes behind their 32-bit length.
    pub(crate) fn blob(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let len = self.u32(what)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.bytes(len, what)
    }

    /// A text behind its 32-bit length.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.blob(what)?).map_err(|_| DecodeError::Text { what })
    }

    /// A copy of the bytes behind their 32-bit length.
    pub(crate) fn copied(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        self.blob(what).map(Bytes::copy_from_slice)
    }

    /// Fails if anything is left.
    pub(crate) const fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing {
                count: self.rest.len() as u64,
            })
        }
    }
}

/// Which optional fields are there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits(u16);

impl Bits {
    pub(crate) const fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// What `read` gives if the field of `bit` is there.
    pub(crate) fn when<T>(
        self,
        bit: u16,
        read: impl FnOnce() -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.has(bit) {
            read().map(Some)
        } else {
            Ok(None)
        }
    }
}

pub(crate) fn put_u16(buffer: &mut Vec<u8>, value: u16) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(buffer: &mut Vec<u8>, value: u32) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(buffer: &mut Vec<u8>, value: u64) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u128(buffer: &mut Vec<u8>, value: u128) {
    buffer.extend_from_slice(&value.to_le_bytes());
}

/// The low 48 bits; a larger value becomes the largest.
pub(crate) fn put_u48(buffer: &mut Vec<u8>, value: u64) {
    let [a, b, c, d, e, f, ..] = value.min((1 << 48) - 1).to_le_bytes();
    buffer.extend_from_slice(&[a, b, c, d, e, f]);
}

/// Bytes behind their 32-bit length.
pub(crate) fn put_blob(buffer: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(buffer, len_u32(bytes));
    buffer.extend_from_slice(bytes);
}

/// A length as it is written. Longer than 32 bits can say is nothing that a frame could hold: the log refuses such a frame whole.
pub(crate) fn len_u32(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
