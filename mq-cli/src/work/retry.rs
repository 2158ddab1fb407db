//! Back-off on the command line: `none`, `fixed:5s`, `linear:1s..5m`, `exponential:1s..5m`.

use std::ops::RangeInclusive;
use std::time::Duration;

use mq_core::retry::Backoff;

use crate::values;

/// Why a back-off was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no back-off; write it as none, fixed:5s, linear:1s..5m or exponential:1s..5m")]
pub(crate) struct BackoffError {
    /// What was given.
    text: String,
}

/// Reads a back-off.
///
/// # Errors
/// When it is not one of the four forms, or a range ends before it begins.
pub(crate) fn backoff(text: &str) -> Result<Backoff, BackoffError> {
    let wrong = || BackoffError {
        text: text.to_owned(),
    };
    let (form, times) = text.split_once(':').unwrap_or((text, ""));
    match form {
        "none" if times.is_empty() => Ok(Backoff::None),
        "fixed" => values::duration(times)
            .map(Backoff::Fixed)
            .map_err(|_| wrong()),
        "linear" => {
            let (first, max) = range(times).ok_or_else(wrong)?.into_inner();
            Ok(Backoff::Linear { first, max })
        }
        "exponential" => {
            let (first, max) = range(times).ok_or_else(wrong)?.into_inner();
            Ok(Backoff::Exponential { first, max })
        }
        _ => Err(wrong()),
    }
}

fn range(text: &str) -> Option<RangeInclusive<Duration>> {
    let (first, last) = text.split_once("..")?;
    let range = values::duration(first).ok()?..=values::duration(last).ok()?;
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(300));
        assert_eq!(backoff("none"), Ok(Backoff::None));
        assert_eq!(backoff("fixed:1s"), Ok(Backoff::Fixed(first)));
        assert_eq!(backoff("linear:1s..5m"), Ok(Backoff::Linear { first, max }));
        assert_eq!(
            backoff("exponential:1s..5m"),
            Ok(Backoff::Exponential { first, max })
        );
    }

    #[test]
    fn what_is_no_backoff_is_refused() {
        for text in [
            "",
            "5s",
            "fixed",
            "fixed:",
            "none:1s",
            "linear:1s",
            "linear:5m..1s",
            "random:1s..2s",
        ] {
            assert!(backoff(text).is_err(), "{text}");
        }
    }
}
