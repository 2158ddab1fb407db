//! A condition on a field of a JSON payload: pointer, operator, value; as a text such as `/order/cents >= 100`.
//!
//! Rules: a field that is not there counts as null. Numbers compare by value, texts by their bytes. Values of different
//! types are not equal and have no order. A payload that is not JSON meets no condition.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use mq_core::index::{PointerHash, Scalar, TermRange};
use serde_json::{Number, Value};

/// Bytes of a predicate's text.
pub const PREDICATE_SIZE_MAX: usize = 4 << 10;

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Longer ones first where one begins another.
    const ALL: [Self; 6] = [
        Self::Equal,
        Self::NotEqual,
        Self::LessOrEqual,
        Self::GreaterOrEqual,
        Self::Less,
        Self::Greater,
    ];

    /// How it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// Whether values in this order meet it; none for values that have no order.
    fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::NotEqual => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => order.is_some_and(Ordering::is_le),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

/// A condition on a field of a JSON payload.
///
/// # Examples
/// ```
/// let large: mq::Predicate = "/order/cents >= 100".parse()?;
/// assert!(large.matches(br#"{"order": {"cents": 250}}"#));
/// assert!(!large.matches(b"no JSON"));
/// # Ok::<(), mq::PredicateError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    pointer: String,
    comparison: Comparison,
    value: Value,
}

/// Why a text is no predicate. It never matches nothing instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PredicateError {
    /// Longer than any sensible one.
    #[error(
        "a predicate of {size} bytes is over the limit of {PREDICATE_SIZE_MAX}; compare with a shorter value"
    )]
    TooLong {
        /// Its size in bytes.
        size: usize,
    },
    /// It does not begin with a pointer.
    #[error("{text:?} does not begin with a JSON pointer; write it as '/order/cents >= 100'")]
    Pointer {
        /// What was given.
        text: String,
    },
    /// A pointer has `~` without 0 or 1 behind it.
    #[error("the pointer {pointer:?} has a ~ that is neither ~0 (for ~) nor ~1 (for /)")]
    Escape {
        /// The pointer.
        pointer: String,
    },
    /// There is no operator behind the pointer.
    #[error("{text:?} has no operator; write one of ==, !=, <, <=, > and >= behind the pointer")]
    Operator {
        /// What was given.
        text: String,
    },
    /// What the field is to be compared with is no JSON.
    #[error(
        "{value:?} is no value; write a number, a text in double quotes, true, false or null: {reason}"
    )]
    Value {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Objects and arrays are not compared.
    #[error("{value} is an object or an array; point to a field in it and compare that")]
    NotPrimitive {
        /// What was given.
        value: String,
    },
    /// True, false and null have no order.
    #[error("{value} has no order; compare it with == or !=")]
    NoOrder {
        /// What was given.
        value: String,
    },
}

impl PredicateError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "filter"
    }
}

impl Predicate {
    /// Compares the field at a JSON pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) with a primitive value.
    ///
    /// # Errors
    /// [`PredicateError`] if the pointer or the value cannot be used.
    pub fn new(
        pointer: &str,
        comparison: Comparison,
        value: impl Into<Value>,
    ) -> Result<Self, PredicateError> {
        let value = value.into();
        check_pointer(pointer)?;
        check_value(comparison, &value)?;
        let predicate = Self {
            pointer: pointer.to_owned(),
            comparison,
            value,
        };
        check_size(predicate.to_string().len())?;
        Ok(predicate)
    }

    /// Whether a payload meets it. One that is not JSON does not.
    #[must_use]
    pub fn matches(&self, payload: &[u8]) -> bool {
        serde_json::from_slice(payload).is_ok_and(|document| self.holds(&document))
    }

    /// Whether a document meets it.
    #[must_use]
    pub fn holds(&self, document: &Value) -> bool {
        let found = document.pointer(&self.pointer).unwrap_or(&Value::Null);
        self.comparison.holds(order(found, &self.value))
    }

    /// Where the index has those that can meet it; `None` if that is nearly everywhere.
    pub(crate) fn range(&self) -> Option<TermRange> {
        let (field, value) = (PointerHash::of(&self.pointer), scalar(&self.value));
        if value == Scalar::Other {
            return None;
        }
        match self.comparison {
            Comparison::Equal => Some(TermRange::equal(field, value)),
            Comparison::NotEqual => None,
            Comparison::Less | Comparison::LessOrEqual => Some(TermRange::at_most(field, value)),
            Comparison::Greater | Comparison::GreaterOrEqual => {
                Some(TermRange::at_least(field, value))
            }
        }
    }
}

fn check_size(size: usize) -> Result<(), PredicateError> {
    if size > PREDICATE_SIZE_MAX {
        return Err(PredicateError::TooLong { size });
    }
    Ok(())
}

fn check_pointer(pointer: &str) -> Result<(), PredicateError> {
    if !pointer.starts_with('/') {
        let text = pointer.to_owned();
        return Err(PredicateError::Pointer { text });
    }
    let escapes = pointer.split('~').skip(1);
    let is_bad = |after: &str| !after.starts_with(['0', '1']);
    if escapes.into_iter().any(is_bad) {
        let pointer = pointer.to_owned();
        return Err(PredicateError::Escape { pointer });
    }
    Ok(())
}

fn check_value(comparison: Comparison, value: &Value) -> Result<(), PredicateError> {
    let shown = || value.to_string();
    let is_ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    match value {
        Value::Object(_) | Value::Array(_) => Err(PredicateError::NotPrimitive { value: shown() }),
        Value::Null | Value::Bool(_) if is_ordered => {
            Err(PredicateError::NoOrder { value: shown() })
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn order(found: &Value, wanted: &Value) -> Option<Ordering> {
    match (found, wanted) {
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(found), Value::Bool(wanted)) => Some(found.cmp(wanted)),
        (Value::String(found), Value::String(wanted)) => Some(found.cmp(wanted)),
        (Value::Number(found), Value::Number(wanted)) => number_order(found, wanted),
        (_, _) => None,
    }
}

/// A value as the index tells it apart. It must agree with [`order`].
pub(crate) fn scalar(value: &Value) -> Scalar<'_> {
    match value {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Number(number) => number.as_f64().map_or(Scalar::Other, Scalar::Number),
        Value::String(text) => Scalar::Text(text),
        Value::Array(_) | Value::Object(_) => Scalar::Other,
    }
}

fn number_order(found: &Number, wanted: &Number) -> Option<Ordering> {
    match (whole(found), whole(wanted)) {
        (Some(found), Some(wanted)) => Some(found.cmp(&wanted)),
        (_, _) => found.as_f64()?.partial_cmp(&wanted.as_f64()?),
    }
}

fn whole(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

impl FromStr for Predicate {
    type Err = PredicateError;

    /// `POINTER OPERATOR VALUE`. A pointer with an operator in it, or with spaces at its ends, stands in double quotes.
    fn from_str(text: &str) -> Result<Self, PredicateError> {
        check_size(text.len())?;
        let text = text.trim();
        let (pointer, rest) = split_pointer(text)?;
        let operator = Comparison::ALL
            .into_iter()
            .find(|operator| rest.starts_with(operator.as_str()));
        let comparison = operator.ok_or_else(|| no_operator(text))?;
        let value = rest.get(comparison.as_str().len()..).unwrap_or_default();
        let value = value.trim();
        let parsed: Value = serde_json::from_str(value).map_err(|error| PredicateError::Value {
            value: value.to_owned(),
            reason: error.to_string(),
        })?;
        Self::new(&pointer, comparison, parsed)
    }
}

fn no_operator(text: &str) -> PredicateError {
    let text = text.to_owned();
    PredicateError::Operator { text }
}

/// The pointer, and what begins with the operator.
fn split_pointer(text: &str) -> Result<(String, &str), PredicateError> {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let pointer = values.next().and_then(Result::ok);
        let pointer = pointer.ok_or_else(|| PredicateError::Pointer {
            text: text.to_owned(),
        })?;
        let rest = text.get(values.byte_offset()..).unwrap_or_default();
        return Ok((pointer, rest.trim_start()));
    }
    if !text.starts_with('/') {
        let text = text.to_owned();
        return Err(PredicateError::Pointer { text });
    }
    let at = text.find(['=', '!', '<', '>']);
    let (pointer, rest) = text.split_at(at.ok_or_else(|| no_operator(text))?);
    Ok((pointer.trim_end().to_owned(), rest))
}

impl fmt::Display for Predicate {
    /// The text that parses to it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain =
            !self.pointer.contains(['=', '!', '<', '>']) && self.pointer.trim_end() == self.pointer;
        if is_plain {
            f.write_str(&self.pointer)?;
        } else {
            write!(f, "{}", Value::String(self.pointer.clone()))?;
        }
        write!(f, " {} {}", self.comparison.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests;
