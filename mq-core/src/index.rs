//! Indexed fields: which fields of a kind's payloads are kept beside the message, and in which form.
//!
//! Invariants
//! 1. The rules never read a payload: whoever prepares a message reads its fields and gives their [`Term`]s.
//! 2. A form is coarse but never wrong: values that are equal have equal forms, and of two values of one type the smaller
//!    has no larger form. So a range of forms holds all values that a comparison can mean, and perhaps others:
//!    candidates are compared again, with the payload.
//! 3. A message has at most one term for each field, whatever its payload is: a field that is not there has one, too. So a
//!    count says whether all messages of a kind have one.

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;
use std::sync::Arc;

use siphasher::sip::SipHasher13;

use crate::limits::{INDEX_LEN_MAX, POINTER_SIZE_MAX};

/// A field of a JSON payload: a pointer as in RFC 6901, of 1 to [`POINTER_SIZE_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(Arc<str>);

/// Why an index cannot be declared. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A pointer does not begin with a slash.
    #[error("{given:?} is no JSON pointer; write it as '/order/sku'")]
    Pointer {
        /// What was given.
        given: String,
    },
    /// A pointer has `~` without 0 or 1 behind it.
    #[error("the pointer {given:?} has a ~ that is neither ~0 (for ~) nor ~1 (for /)")]
    Escape {
        /// What was given.
        given: String,
    },
    /// A pointer is too long.
    #[error(
        "a pointer of {size} bytes is over the limit of {POINTER_SIZE_MAX}; index a field that lies less deep"
    )]
    TooLong {
        /// Its size in bytes.
        size: usize,
    },
    /// A pointer stands in it twice.
    #[error("the pointer {given:?} stands there twice; leave one out")]
    Twice {
        /// What was given.
        given: String,
    },
    /// More fields than an index may have.
    #[error("{given} fields are over the limit of {INDEX_LEN_MAX}; index those that you search by")]
    TooMany {
        /// How many were given.
        given: usize,
    },
}

impl IndexError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "index"
    }
}

impl Pointer {
    /// Checks and wraps a pointer.
    ///
    /// # Errors
    /// [`IndexError`] if it is none, or too long.
    pub fn new(text: &str) -> Result<Self, IndexError> {
        let given = || text.to_owned();
        if !text.starts_with('/') {
            return Err(IndexError::Pointer { given: given() });
        }
        if text.len() > POINTER_SIZE_MAX {
            return Err(IndexError::TooLong { size: text.len() });
        }
        let mut escapes = text.split('~').skip(1);
        if escapes.any(|after| !after.starts_with(['0', '1'])) {
            return Err(IndexError::Escape { given: given() });
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands for it in terms.
    #[must_use]
    pub fn hash(&self) -> PointerHash {
        PointerHash::of(&self.0)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Pointer {
    type Err = IndexError;

    fn from_str(text: &str) -> Result<Self, IndexError> {
        Self::new(text)
    }
}

/// A pointer as 64 bits: the same in every store, because programs and operators write pointers, not senders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointerHash(pub u64);

impl PointerHash {
    /// Of a pointer's text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(hash(text.as_bytes()))
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The fields of a kind's payloads that are indexed: at most [`INDEX_LEN_MAX`], each once; usually none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index(Option<Arc<[Pointer]>>);

impl Index {
    /// No field.
    pub const NONE: Self = Self(None);

    /// Checks and wraps fields, in the order given.
    ///
    /// # Errors
    /// [`IndexError`] if there are too many, or one stands there twice.
    pub fn new(fields: Vec<Pointer>) -> Result<Self, IndexError> {
        if fields.len() > INDEX_LEN_MAX {
            let given = fields.len();
            return Err(IndexError::TooMany { given });
        }
        for (at, field) in fields.iter().enumerate() {
            if fields.iter().take(at).any(|other| other == field) {
                let given = field.as_str().to_owned();
                return Err(IndexError::Twice { given });
            }
        }
        let fields = (!fields.is_empty()).then(|| Arc::from(fields));
        Ok(Self(fields))
    }

    /// Of the texts of pointers.
    ///
    /// # Errors
    /// [`IndexError`] for the first that is wrong.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, IndexError> {
        let fields = texts.into_iter().map(|text| Pointer::new(text.as_ref()));
        Self::new(fields.collect::<Result<_, _>>()?)
    }

    /// The fields, in the order of their declaration.
    #[must_use]
    pub fn fields(&self) -> &[Pointer] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether it has no field.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Declare the index of a kind; it is created if it is new. It concerns messages from then on.
#[derive(Clone, Debug)]
pub struct SetKind {
    /// Which.
    pub kind: crate::name::KindName,
    /// All its indexed fields, from now on.
    pub index: Index,
}

/// A value as far as comparisons tell them apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// Null, or no such field.
    Null,
    /// True or false.
    Bool(bool),
    /// A number, rounded to the nearest that 64 bits of floating point can say.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// Nothing that can be compared: an object, an array, or a payload that is not JSON.
    Other,
}

const NULL: u8 = 1;
const BOOL: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
const OTHER: u8 = 5;

/// Bytes of a text that stand in its form.
const PREFIX_SIZE: usize = 15;

/// A value in 144 bits that sort as values do: a byte for its type, a number or the first 15 bytes of a text, and 16 bits of
/// hash that tell longer texts apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Form {
    /// Type and the first 7 bytes.
    pub high: u64,
    /// The other 8 bytes.
    pub low: u64,
    /// Of the whole text; 0 for other types.
    pub hash: u16,
}

impl Form {
    /// Of a value.
    #[must_use]
    pub fn of(value: Scalar<'_>) -> Self {
        match value {
            Scalar::Null => Self::new(NULL, [0; PREFIX_SIZE], 0),
            Scalar::Bool(value) => {
                let mut bytes = [0; PREFIX_SIZE];
                if let Some(first) = bytes.first_mut() {
                    *first = u8::from(value);
                }
                Self::new(BOOL, bytes, 0)
            }
            Scalar::Number(value) if value.is_nan() => Self::of(Scalar::Other),
            Scalar::Number(value) => {
                let mut bytes = [0; PREFIX_SIZE];
                for (to, from) in bytes.iter_mut().zip(sortable(value).to_be_bytes()) {
                    *to = from;
                }
                Self::new(NUMBER, bytes, 0)
            }
            Scalar::Text(text) => {
                let mut bytes = [0; PREFIX_SIZE];
                for (to, from) in bytes.iter_mut().zip(text.bytes()) {
                    *to = from;
                }
                let [a, b, ..] = hash(text.as_bytes()).to_le_bytes();
                Self::new(TEXT, bytes, u16::from_le_bytes([a, b]))
            }
            Scalar::Other => Self::new(OTHER, [0; PREFIX_SIZE], 0),
        }
    }

    const fn new(tag: u8, bytes: [u8; PREFIX_SIZE], hash: u16) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o] = bytes;
        Self {
            high: u64::from_be_bytes([tag, a, b, c, d, e, f, g]),
            low: u64::from_be_bytes([h, i, j, k, l, m, n, o]),
            hash,
        }
    }

    const fn tag(self) -> u8 {
        let [tag, ..] = self.high.to_be_bytes();
        tag
    }

    /// The least form of its type.
    const fn least(self) -> Self {
        Self::new(self.tag(), [0; PREFIX_SIZE], 0)
    }

    /// The greatest form of its type.
    const fn greatest(self) -> Self {
        Self::new(self.tag(), [0xff; PREFIX_SIZE], u16::MAX)
    }
}

/// A number's bits so that they sort as numbers do; zero has one form.
const fn sortable(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The form of one field of one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    /// Which field.
    pub pointer: PointerHash,
    /// Its value.
    pub form: Form,
}

/// The terms of a message, by ascending field, each once; usually none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Option<Arc<[Term]>>);

impl Terms {
    /// No term.
    pub const NONE: Self = Self(None);

    /// Takes terms in any order; of two for the same field it keeps one, and no more than [`INDEX_LEN_MAX`].
    #[must_use]
    pub fn new(mut terms: Vec<Term>) -> Self {
        if terms.is_empty() {
            return Self::NONE;
        }
        terms.sort_unstable();
        terms.dedup_by_key(|term| term.pointer);
        terms.truncate(INDEX_LEN_MAX);
        Self(Some(Arc::from(terms)))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All of them, by ascending field.
    #[must_use]
    pub fn as_slice(&self) -> &[Term] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The value of a field, if it was indexed.
    #[must_use]
    pub fn form(&self, pointer: PointerHash) -> Option<Form> {
        let mut terms = self.as_slice().iter();
        terms
            .find(|term| term.pointer == pointer)
            .map(|term| term.form)
    }
}

/// The values of a field that a comparison can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRange {
    /// Which field.
    pub pointer: PointerHash,
    /// The least form.
    pub from: Form,
    /// The greatest form; below `from` if no value can be meant.
    pub to: Form,
}

impl TermRange {
    /// Values that can be equal to `value`.
    #[must_use]
    pub fn equal(pointer: PointerHash, value: Scalar<'_>) -> Self {
        let form = Form::of(value);
        Self {
            pointer,
            from: form,
            to: form,
        }
    }

    /// Values of the type of `value` that can be less than it, or equal.
    #[must_use]
    pub fn at_most(pointer: PointerHash, value: Scalar<'_>) -> Self {
        let form = Form::of(value);
        Self {
            pointer,
            from: form.least(),
            to: Form {
                hash: u16::MAX,
                ..form
            },
        }
    }

    /// Values of the type of `value` that can be greater than it, or equal.
    #[must_use]
    pub fn at_least(pointer: PointerHash, value: Scalar<'_>) -> Self {
        let form = Form::of(value);
        Self {
            pointer,
            from: Form { hash: 0, ..form },
            to: form.greatest(),
        }
    }

    /// The values of the field that this and another range of it have in common.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            pointer: self.pointer,
            from: self.from.max(other.from),
            to: self.to.min(other.to),
        }
    }

    /// Whether it is a single form.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.from == self.to
    }

    /// Whether a form is in it.
    #[must_use]
    pub fn holds(&self, form: Form) -> bool {
        self.from <= form && form <= self.to
    }
}

#[cfg(test)]
mod tests;
