//! Reads messages line by line: JSON lines, or with `--raw` any bytes.
//!
//! A JSON line is checked here, so that a handler never meets one that is not JSON, and is stored as it was written
//! but for the blanks around it. A raw line is every byte up to the line feed. No line is held beyond the largest
//! payload that a store can take. The last line needs no line feed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, BufRead, Read};

use bytes::Bytes;
use mq_core::key::Key;
use mq_core::limits::PAYLOAD_SIZE_MAX;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::values::KeySource;

/// How lines are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON value a line, only checked.
    Json,
    /// One JSON value a line, kept for pointers into it.
    JsonWithPointers,
    /// Any bytes.
    Raw,
}

/// One line of input.
#[derive(Debug)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// The message's payload.
    pub(crate) payload: Bytes,
    /// The value, with [`Format::JsonWithPointers`].
    value: Option<Box<RawValue>>,
}

/// Why a line is no message. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
#[error("line {number}: {problem}")]
pub(crate) struct LineError {
    /// The line, from 1.
    pub(crate) number: u64,
    /// What is wrong with it.
    pub(crate) problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineProblem {
    /// The input could not be read.
    #[error("the input cannot be read: {0}")]
    Read(#[source] io::Error),
    /// It is longer than any payload may be.
    #[error(
        "longer than the largest payload of {PAYLOAD_SIZE_MAX} bytes; send a reference to large content"
    )]
    TooLong,
    /// It is empty.
    #[error("empty; every line is one JSON value (with --raw, any bytes)")]
    Empty,
    /// It is not JSON.
    #[error("not JSON: {0} (with --raw, a line can be any bytes)")]
    NotJson(#[source] serde_json::Error),
    /// Nothing stands at the pointer.
    #[error("nothing at {pointer}, which its key is taken from")]
    KeyMissing {
        /// The pointer.
        pointer: String,
    },
    /// What stands at the pointer is no key.
    #[error("{found} at {pointer} is no key; a key is a string, a number or a boolean")]
    KeyKind {
        /// The pointer.
        pointer: String,
        /// What stands there.
        found: &'static str,
    },
    /// The key is too long or empty.
    #[error(transparent)]
    Key(#[from] mq_core::key::KeyError),
}

/// The lines of an input, in order. It ends after the first that cannot be read.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    format: Format,
    number: u64,
    size_max: usize,
}

impl<R: BufRead> Lines<R> {
    /// Reads `input`.
    pub(crate) fn new(input: R, format: Format) -> Lines<R> {
        Lines {
            input,
            format,
            number: 0,
            size_max: PAYLOAD_SIZE_MAX,
        }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    /// [`LineError`] when it cannot be read or is not what the format says. The next call goes on after it.
    pub(crate) fn next_line(&mut self) -> Option<Result<Line, LineError>> {
        self.number += 1;
        let number = self.number;
        let bytes = match self.read() {
            Ok(bytes) => bytes?,
            Err(problem) => return Some(Err(LineError { number, problem })),
        };
        let line = parse(number, bytes, self.format);
        Some(line.map_err(|problem| LineError { number, problem }))
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, LineProblem> {
        let limit = u64::try_from(self.size_max + 1).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let mut input = self.input.by_ref().take(limit);
        if input
            .read_until(b'\n', &mut bytes)
            .map_err(LineProblem::Read)?
            == 0
        {
            return Ok(None);
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        } else if bytes.len() > self.size_max {
            return Err(LineProblem::TooLong);
        }
        Ok(Some(bytes))
    }
}

fn parse(number: u64, bytes: Vec<u8>, format: Format) -> Result<Line, LineProblem> {
    let payload = Bytes::from(bytes);
    let (payload, value) = match format {
        Format::Raw => (payload, None),
        Format::Json => {
            let payload = trimmed(&payload)?;
            serde_json::from_slice::<IgnoredAny>(&payload).map_err(LineProblem::NotJson)?;
            (payload, None)
        }
        Format::JsonWithPointers => {
            let payload = trimmed(&payload)?;
            let value = serde_json::from_slice(&payload).map_err(LineProblem::NotJson)?;
            (payload, Some(value))
        }
    };
    Ok(Line {
        number,
        payload,
        value,
    })
}

fn trimmed(bytes: &Bytes) -> Result<Bytes, LineProblem> {
    match bytes.trim_ascii() {
        [] => Err(LineProblem::Empty),
        content => Ok(bytes.slice_ref(content)),
    }
}

impl Line {
    /// The line's key from `source`.
    ///
    /// # Errors
    /// [`LineError`] when nothing that can be a key stands at the pointer.
    pub(crate) fn key(&self, source: &KeySource) -> Result<Key, LineError> {
        let key = match source {
            KeySource::Literal(key) => Ok(key.clone()),
            KeySource::Pointer(pointer) => key_at(self.value.as_deref(), pointer),
            KeySource::Line => Key::new(self.payload.clone()).map_err(LineProblem::from),
        };
        key.map_err(|problem| LineError {
            number: self.number,
            problem,
        })
    }
}

fn key_at(value: Option<&RawValue>, pointer: &str) -> Result<Key, LineProblem> {
    let missing = || LineProblem::KeyMissing {
        pointer: pointer.to_owned(),
    };
    let no_key = |found| LineProblem::KeyKind {
        pointer: pointer.to_owned(),
        found,
    };
    let text = value
        .and_then(|value| at(value, pointer))
        .ok_or_else(missing)?
        .get();
    match text.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(LineProblem::NotJson)?;
            Ok(Key::new(text)?)
        }
        Some(b'n') => Err(no_key("null")),
        Some(b'[') => Err(no_key("an array")),
        Some(b'{') => Err(no_key("an object")),
        // A number as it is written: its digits are what tells one key from another.
        Some(_) => Ok(Key::new(text.to_owned())?),
        None => Err(missing()),
    }
}

/// What stands at a JSON pointer, as it is written. Source: RFC 6901.
fn at<'a>(value: &'a RawValue, pointer: &str) -> Option<&'a RawValue> {
    let tokens = pointer.strip_prefix('/')?.split('/');
    let mut value = value;
    for token in tokens {
        let token = token.replace("~1", "/").replace("~0", "~");
        let text = value.get();
        value = if text.starts_with('{') {
            let fields: HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(text).ok()?;
            fields.get(token.as_str()).copied()?
        } else {
            let items: Vec<&'a RawValue> = serde_json::from_str(text).ok()?;
            let is_index = token == "0" || !token.starts_with('0');
            let index: usize = token.parse().ok().filter(|_| is_index)?;
            items.get(index).copied()?
        };
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::key_source;

    fn lines(text: &[u8], format: Format) -> Vec<Result<Vec<u8>, String>> {
        let mut lines = Lines::new(text, format);
        std::iter::from_fn(|| lines.next_line())
            .map(|line| {
                line.map(|line| line.payload.to_vec())
                    .map_err(|error| error.to_string())
            })
            .collect()
    }

    fn line(text: &str) -> Line {
        Lines::new(text.as_bytes(), Format::JsonWithPointers)
            .next_line()
            .unwrap()
            .unwrap()
    }

    #[test]
    fn json_lines_are_stored_as_written() {
        let read = lines(b"{\"b\":1, \"a\":2}\r\n 7 \n\"last\"", Format::Json);
        let expected: Vec<Result<Vec<u8>, String>> = vec![
            Ok(b"{\"b\":1, \"a\":2}".to_vec()),
            Ok(b"7".to_vec()),
            Ok(b"\"last\"".to_vec()),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn raw_lines_are_any_bytes_and_may_be_empty() {
        let read = lines(b"\xff\x00\r\n\nlast", Format::Raw);
        assert_eq!(
            read,
            [
                Ok(b"\xff\x00\r".to_vec()),
                Ok(Vec::new()),
                Ok(b"last".to_vec())
            ]
        );
    }

    #[test]
    fn no_input_is_no_line() {
        assert!(lines(b"", Format::Json).is_empty());
    }

    #[test]
    fn a_line_that_is_not_json_is_named_by_its_number() {
        let read = lines(b"1\nhello\n\n2\n", Format::Json);
        let wrong: Vec<&String> = read.iter().filter_map(|line| line.as_ref().err()).collect();
        assert!(wrong[0].starts_with("line 2: not JSON"), "{}", wrong[0]);
        assert!(wrong[1].starts_with("line 3: empty"), "{}", wrong[1]);
        assert_eq!(read.len(), 4);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_byte_more_is_not() {
        let read = |text: &'static [u8]| {
            let mut lines = Lines::new(text, Format::Raw);
            lines.size_max = 4;
            lines.next_line().unwrap().map(|line| line.payload.to_vec())
        };
        assert_eq!(read(b"1234\n").unwrap(), b"1234");
        assert_eq!(read(b"1234").unwrap(), b"1234");
        assert!(matches!(
            read(b"12345\n").unwrap_err().problem,
            LineProblem::TooLong
        ));
    }

    #[test]
    fn a_key_is_the_text_of_what_stands_at_the_pointer() {
        let line = line(
            r#"{"order":{"id":"A-7"},"number":42,"paid":true, "long": 12345678901234567890123, "a/b": [1, {"~": "x"}], "s": "\u00e4"}"#,
        );
        for (pointer, key) in [
            ("/order/id", "A-7"),
            ("/number", "42"),
            ("/paid", "true"),
            ("/long", "12345678901234567890123"),
            ("/a~1b/1/~0", "x"),
            ("/a~1b/0", "1"),
            ("/s", "ä"),
            ("fixed", "fixed"),
        ] {
            let found = line.key(&key_source(pointer).unwrap()).unwrap();
            assert_eq!(found.as_bytes(), key.as_bytes(), "{pointer}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_by_line_and_pointer() {
        let line = line(r#"{"none":null,"list":[1],"object":{},"empty":""}"#);
        for pointer in [
            "/none", "/list", "/object", "/empty", "/absent", "/list/1", "/list/00", "/list/-",
        ] {
            let error = line.key(&key_source(pointer).unwrap()).unwrap_err();
            assert_eq!(error.number, 1, "{pointer}");
        }
    }
}
