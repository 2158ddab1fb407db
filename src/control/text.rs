//! How values stand in lines: moments as RFC 3339, bytes as two hexadecimal digits each.

use mq_core::time::Timestamp;

/// `2026-01-31T12:00:00.123Z`; the number of milliseconds where no calendar reaches.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    let ms = i64::try_from(at.as_ms()).ok();
    match ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        Some(moment) => format!("{moment:.3}"),
        None => at.to_string(),
    }
}

/// The moment that RFC 3339 text names; `None` if it names none since 1970.
pub(super) fn parse_moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    let ms = u64::try_from(moment.as_millisecond()).ok()?;
    Some(Timestamp::from_ms(ms))
}

/// Two hexadecimal digits a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that [`hex`] wrote; `None` for anything else.
pub(super) fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_their_digits() {
        assert_eq!(parse_hex(&hex(b"\x00\xff q")), Some(b"\x00\xff q".to_vec()));
        for text in ["f", "0g", "0 ", "é"] {
            assert_eq!(parse_hex(text), None, "{text}");
        }
    }

    #[test]
    fn moments_come_back_from_their_text() {
        let at = Timestamp::from_ms(1_769_860_800_123);
        assert_eq!(moment(at), "2026-01-31T12:00:00.123Z");
        assert_eq!(parse_moment(&moment(at)), Some(at));
        assert_eq!(moment(Timestamp::MAX), "18446744073709551615 ms");
        for text in ["", "yesterday", "1969-12-31T23:59:59Z", "2026-01-31"] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }
}
