//! Lines on the wire: what they hold, and how they are read without trusting whoever wrote them.
//!
//! A line is at most so long; a longer one ends the connection, because where the next begins is not known without
//! reading it. A line that is no call is answered and the connection goes on.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

use super::PROTOCOL;
use super::answer::Answer;
use super::call::Call;
use super::fault::CallError;

/// The owner's first line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Greeting {
    /// Version of the protocol.
    pub protocol: u32,
    /// Version of mq.
    pub mq: String,
    /// The owner's process id.
    pub pid: u32,
    /// The owner's program.
    pub program: String,
}

/// A caller's line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallLine<C = Call> {
    /// Comes back with the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    /// The version that the caller speaks, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<u32>,
    pub(super) call: C,
}

/// An owner's line behind the first: one of `answer` and `error`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AnswerLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<CallError>,
}

impl AnswerLine {
    pub(super) fn new(id: Option<u64>, result: Result<Answer, CallError>) -> Self {
        let (answer, error) = match result {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        Self { id, answer, error }
    }
}

/// The call in a line, with the id that its answer carries.
pub(super) fn parse(line: &[u8]) -> (Option<u64>, Result<Call, CallError>) {
    let read: Result<CallLine, serde_json::Error> = serde_json::from_slice(line);
    match read {
        Ok(line) if line.protocol.is_none_or(|version| version == PROTOCOL) => {
            (line.id, Ok(line.call))
        }
        Ok(line) => (line.id, Err(other_protocol(line.protocol))),
        Err(error) => {
            // A later version may have calls that this one cannot read: then the version is the answer.
            let header: Option<Header> = serde_json::from_slice(line).ok();
            let header = header.unwrap_or_default();
            let fault = match header.protocol {
                Some(version) if version != PROTOCOL => other_protocol(header.protocol),
                Some(_) | None => {
                    CallError::new("malformed", format_args!("the line is not a call: {error}"))
                }
            };
            (header.id, Err(fault))
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Header {
    id: Option<u64>,
    protocol: Option<u32>,
}

fn other_protocol(version: Option<u32>) -> CallError {
    let version = version.unwrap_or_default();
    CallError::new(
        "protocol",
        format_args!(
            "this owner speaks version {PROTOCOL} of the protocol, not {version}; use the mq of the owner's version"
        ),
    )
}

/// What came off the wire.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A line is in the buffer, without its end.
    Line,
    /// The line is longer than the limit.
    TooLong,
    /// The other side is done; a line without an end is none.
    End,
}

/// Reads one line of at most `size_max` bytes into `line`.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn read(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    size_max: usize,
) -> io::Result<Read> {
    line.clear();
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            return Ok(Read::End);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = end.map_or(available, |end| available.get(..end).unwrap_or(available));
        if line.len() + part.len() > size_max {
            return Ok(Read::TooLong);
        }
        line.extend_from_slice(part);
        let taken = end.map_or(part.len(), |end| end + 1);
        input.consume(taken);
        if end.is_some() {
            return Ok(Read::Line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: &[u8]) -> (Option<u64>, String) {
        let (id, call) = parse(line);
        (id, call.unwrap_err().code)
    }

    #[test]
    fn a_call_is_read_with_its_id() {
        let (id, call) = parse(br#"{"id":7,"call":{"stats":{}}}"#);
        assert!(matches!((id, call), (Some(7), Ok(Call::Stats {}))));
        let (id, call) = parse(br#"{"protocol":1,"call":{"explain":{"id":"x"}}}"#);
        assert!(matches!((id, call), (None, Ok(Call::Explain { .. }))));
    }

    #[test]
    fn any_other_line_is_malformed_and_keeps_its_id_if_it_has_one() {
        for line in [
            &b""[..],
            b"null",
            b"[]",
            b"\xff\x00",
            b"{\"id\":1",
            b"{\"id\":-1,\"call\":{\"stats\":{}}}",
        ] {
            assert_eq!(fault(line), (None, "malformed".to_owned()));
        }
        for line in [
            &br#"{"id":3,"call":{"drop_everything":{}}}"#[..],
            br#"{"id":3,"call":{"stats":{"x":1}}}"#,
            br#"{"id":3,"call":{"messages":{"filter":{"quue":"q"}}}}"#,
            br#"{"id":3,"call":{"stats":{},"queues":{}}}"#,
            br#"{"id":3,"later":1,"call":{"stats":{}}}"#,
            br#"{"id":3}"#,
        ] {
            assert_eq!(fault(line), (Some(3), "malformed".to_owned()));
        }
    }

    #[test]
    fn another_version_is_told_even_if_its_call_cannot_be_read() {
        for line in [
            &br#"{"id":3,"protocol":2,"call":{"stats":{}}}"#[..],
            br#"{"id":3,"protocol":2,"call":{"later":{}}}"#,
        ] {
            assert_eq!(fault(line), (Some(3), "protocol".to_owned()));
        }
    }

    #[test]
    fn brackets_without_end_are_refused_not_followed() {
        let deep = [
            br#"{"call":{"enqueue":{"queue":"q","kind":"k","headers":"#.to_vec(),
            vec![b'['; 1 << 20],
        ]
        .concat();
        assert_eq!(fault(&deep).1, "malformed");
    }

    async fn lines(bytes: &[u8], size_max: usize) -> Vec<(Read, Vec<u8>)> {
        let mut input = tokio::io::BufReader::with_capacity(3, bytes);
        let mut all = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = read(&mut input, &mut line, size_max).await.unwrap();
            let over = read != Read::Line;
            all.push((read, line));
            if over {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn lines_are_bounded_and_half_a_line_is_none() {
        let read = lines(b"abcd\n\nxy", 4).await;
        assert_eq!(read[0], (Read::Line, b"abcd".to_vec()));
        assert_eq!(read[1], (Read::Line, Vec::new()));
        assert_eq!(read[2].0, Read::End);
        assert_eq!(lines(b"abcde\n", 4).await[0].0, Read::TooLong);
        assert_eq!(lines(b"abcdefghijkl", 4).await[0].0, Read::TooLong);
    }
}
