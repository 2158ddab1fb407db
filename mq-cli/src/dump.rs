//! `mq dump`: every record of the journal and the snapshots, one JSON object a line, without opening the store.
//!
//! For people who look into a store and for programs that take it apart. What a file holds behind its last whole frame
//! is passed over and said.

use std::ops::ControlFlow;

use bytes::Bytes;
use mq_core::message::Envelope;
use mq_persistence::inspect::{Dumped, DumpedEnd, DumpedFrame, DumpedRecord, Fields, Value, dump};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::args::Folder;
use crate::exit::Result;
use crate::offline;
use crate::output::Output;
use crate::view::EnvelopeJson;

const EXAMPLES: &str = "\
Examples:
  What happened to one message:
    mq dump --data ./data | grep '\"seq\":7[,}]'
  How often each kind of record was written:
    mq dump --data ./data | jq -r .record | sort | uniq -c

Takes no lock and changes nothing.";

/// Arguments of `mq dump`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Folder,
    /// Print payloads, headers and keys too
    #[arg(long)]
    payloads: bool,
}

/// A record in JSON.
#[derive(Debug, Serialize)]
struct RecordJson {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn: Option<String>,
    record: &'static str,
    fields: Map<String, Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<EnvelopeJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<FrameJson>,
}

#[derive(Debug, Serialize)]
struct FrameJson {
    lsn: String,
    durable: String,
    wall: String,
    flags: Vec<&'static str>,
}

/// Where no whole frame follows.
#[derive(Debug, Serialize)]
struct EndJson {
    file: String,
    end: u64,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    goes_on: Option<u64>,
}

/// Runs `mq dump`.
///
/// # Errors
/// When there is no store, or the output fails.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let storage = offline::folder(&arguments.data.data)?;
    let mut output = Output::stdout();
    let mut printed = Ok(());
    dump(&*storage, &mut |dumped| {
        printed = match dumped {
            Dumped::Record(record) => output.json(&RecordJson::new(record, arguments.payloads)),
            Dumped::End(end) => output.json(&EndJson::new(end)),
        };
        if printed.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    printed?;
    Ok(output.flush()?)
}

impl RecordJson {
    fn new(record: DumpedRecord, payloads: bool) -> RecordJson {
        let (envelope, error) = match record.envelope {
            Some(Ok(envelope)) => (Some(envelope), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let shown = |envelope: &Envelope| EnvelopeJson::new(envelope);
        RecordJson {
            file: record.file,
            lsn: record.lsn.map(|lsn| lsn.to_string()),
            record: record.kind,
            fields: object(record.fields),
            envelope: envelope.as_ref().filter(|_| payloads).map(shown),
            envelope_error: error,
            frame: record.frame.map(FrameJson::new),
        }
    }
}

impl FrameJson {
    fn new(frame: DumpedFrame) -> FrameJson {
        FrameJson {
            lsn: frame.lsn.to_string(),
            durable: frame.durable.to_string(),
            wall: mq::control::moment(frame.wall),
            flags: frame.flags,
        }
    }
}

impl EndJson {
    fn new(end: DumpedEnd) -> EndJson {
        EndJson {
            file: end.file,
            end: end.offset,
            reason: end.reason,
            goes_on: end.goes_on,
        }
    }
}

fn object(fields: Fields) -> Map<String, Json> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json(value)))
        .collect()
}

fn json(value: Value) -> Json {
    match value {
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Flag(flag) => flag.into(),
        Value::Bytes(bytes) => text_or_hex(&bytes).into(),
        Value::Fields(fields) => object(fields).into(),
        Value::List(values) => values.into_iter().map(json).collect(),
    }
}

/// Bytes of the user's as text, or two hexadecimal digits each if they are none.
fn text_or_hex(bytes: &Bytes) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| mq::control::hex(bytes), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_names_and_kinds() {
        let fields = vec![
            ("seq", Value::Number(7)),
            ("paused", Value::Flag(true)),
            ("name", Value::Text("mail".to_owned())),
            ("checkpoint", Value::Bytes(Bytes::from_static(b"\xff\x00"))),
            (
                "state",
                Value::Fields(vec![("is", Value::Text("pending".to_owned()))]),
            ),
            ("list", Value::List(vec![Value::Number(1)])),
        ];
        let expected = serde_json::json!({
            "seq": 7, "paused": true, "name": "mail", "checkpoint": "ff00", "state": {"is": "pending"}, "list": [1],
        });
        assert_eq!(Json::from(object(fields)), expected);
    }
}
