//! Values on the command line: durations, headers, keys. Each parser says what it would have accepted.

use std::time::Duration;

use mq_core::key::Key;
use mq_core::time::Timestamp;

/// Units of a duration, with their length in milliseconds; longer names first where one begins another.
const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Why a value on the command line was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// Not a duration.
    #[error("{text:?} is not a duration; write it as 250ms, 5s, 2m, 1h30m or 7d")]
    Duration {
        /// What was given.
        text: String,
    },
    /// Not a moment.
    #[error(
        "{text:?} is not a moment since 1970; write it as 2026-01-31T12:00:00Z, or with another zone as 2026-01-31T13:00:00+01:00"
    )]
    Moment {
        /// What was given.
        text: String,
    },
    /// Not a header.
    #[error("{text:?} is not a header; write it as name=value")]
    Header {
        /// What was given.
        text: String,
    },
    /// Not a key.
    #[error(transparent)]
    Key(#[from] mq_core::key::KeyError),
}

/// Reads `250ms`, `5s`, `2m`, `1h30m`, `7d`.
///
/// # Errors
/// When a number has no unit, the unit is unknown, or the whole does not fit into 2⁶⁴ ms.
pub(crate) fn duration(text: &str) -> Result<Duration, ValueError> {
    let wrong = || ValueError::Duration {
        text: text.to_owned(),
    };
    let mut rest = text;
    let mut total_ms = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (unit, length_ms) = UNITS
            .iter()
            .find(|(unit, _)| after.starts_with(unit))
            .ok_or_else(wrong)?;
        let part = number.checked_mul(*length_ms).ok_or_else(wrong)?;
        total_ms = total_ms.checked_add(part).ok_or_else(wrong)?;
        rest = after.strip_prefix(unit).ok_or_else(wrong)?;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Duration::from_millis(total_ms))
    }
}

/// Reads a moment in RFC 3339.
///
/// # Errors
/// When it names none since 1970.
pub(crate) fn moment(text: &str) -> Result<Timestamp, ValueError> {
    let moment: Option<jiff::Timestamp> = text.parse().ok();
    let ms = moment.and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    let wrong = || ValueError::Moment {
        text: text.to_owned(),
    };
    ms.map(Timestamp::from_ms).ok_or_else(wrong)
}

/// Reads `name=value`; the value may hold further `=`.
///
/// # Errors
/// When there is no `=` or nothing before it.
pub(crate) fn header(text: &str) -> Result<(String, String), ValueError> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(ValueError::Header {
            text: text.to_owned(),
        }),
    }
}

/// Where a message's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// The same key for every line.
    Literal(Key),
    /// The value at this JSON pointer of each line.
    Pointer(String),
    /// The line itself.
    Line,
}

/// Reads a key: a literal, or a JSON pointer if it begins with `/`.
///
/// # Errors
/// When a literal is empty or too long.
pub(crate) fn key_source(text: &str) -> Result<KeySource, ValueError> {
    if text.starts_with('/') {
        Ok(KeySource::Pointer(text.to_owned()))
    } else {
        Ok(KeySource::Literal(Key::new(text.to_owned())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        for (text, ms) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5y",
            "5sec",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_has_a_date_a_time_and_a_zone() {
        let at = moment("2026-01-31T13:00:00+01:00").unwrap();
        assert_eq!(at, moment("2026-01-31T12:00:00Z").unwrap());
        for text in [
            "yesterday",
            "2026-01-31",
            "12:00",
            "1960-01-01T00:00:00Z",
            "",
        ] {
            let said = moment(text).unwrap_err().to_string();
            assert!(said.contains("2026-01-31T12:00:00Z"), "{said}");
        }
    }

    #[test]
    fn a_header_is_split_at_its_first_equals_sign() {
        assert_eq!(
            header("tenant=a=b"),
            Ok(("tenant".to_owned(), "a=b".to_owned()))
        );
        assert_eq!(header("empty="), Ok(("empty".to_owned(), String::new())));
        assert!(header("tenant").is_err() && header("=a").is_err());
    }

    #[test]
    fn a_slash_makes_a_pointer() {
        assert_eq!(
            key_source("/order/id"),
            Ok(KeySource::Pointer("/order/id".to_owned()))
        );
        assert_eq!(
            key_source("order-7"),
            Ok(KeySource::Literal(Key::new("order-7").unwrap()))
        );
        assert!(key_source("").is_err());
    }
}
