//! Makes foreign text safe to print: what a producer put into a message must not drive the reader's terminal.
//!
//! Control characters (C0, DEL, C1), line and paragraph separators, and the marks that reorder text come out as
//! `\n`, `\t`, `\r` or `\u{…}`; bytes that are not UTF-8 as `\xNN`. The result is for people and cannot be read back;
//! programs use `--json`.

use std::fmt::{self, Display, Write};

/// Text whose dangerous characters are escaped when it is displayed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\n' => out.write_str(r"\n")?,
                '\r' => out.write_str(r"\r")?,
                '\t' => out.write_str(r"\t")?,
                _ if is_dangerous(character) => write!(out, "\\u{{{:x}}}", u32::from(character))?,
                _ => out.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Bytes that are usually text, displayed like [`Escaped`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct EscapedBytes<'a>(pub(crate) &'a [u8]);

impl Display for EscapedBytes<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            Escaped(chunk.valid()).fmt(out)?;
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// As [`Escaped`], but keeps line breaks: for messages of several lines on standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EscapedLines<'a>(pub(crate) &'a str);

impl Display for EscapedLines<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.split('\n').enumerate() {
            if index > 0 {
                out.write_char('\n')?;
            }
            Escaped(line).fmt(out)?;
        }
        Ok(())
    }
}

fn is_dangerous(character: char) -> bool {
    let separates = matches!(character, '\u{2028}' | '\u{2029}' | '\u{feff}');
    // Source: Unicode Standard Annex #9, section 2: the explicit and implicit directional formatting characters.
    let reorders = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || separates || reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_driven_by_a_message() {
        let hostile = "a\u{1b}[2Jb\u{9b}31mc\u{7f}\u{0}\r\n\tz";
        let shown = Escaped(hostile).to_string();
        assert_eq!(shown, r"a\u{1b}[2Jb\u{9b}31mc\u{7f}\u{0}\r\n\tz");
        assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn reordering_marks_are_shown() {
        assert_eq!(
            Escaped("\u{202e}gpj\u{2069}").to_string(),
            r"\u{202e}gpj\u{2069}"
        );
    }

    #[test]
    fn ordinary_text_of_any_script_is_untouched() {
        let text = r"Ärger, 注文 №7 \ 'quoted' 🙂";
        assert_eq!(Escaped(text).to_string(), text);
    }

    #[test]
    fn bytes_that_are_not_text_are_shown_as_bytes() {
        assert_eq!(
            EscapedBytes(b"ok \xff\xfe \x07").to_string(),
            r"ok \xff\xfe \u{7}"
        );
    }

    #[test]
    fn line_breaks_of_our_own_messages_are_kept() {
        assert_eq!(
            EscapedLines("one\ntwo\u{1b}").to_string(),
            "one\ntwo\\u{1b}"
        );
    }
}
