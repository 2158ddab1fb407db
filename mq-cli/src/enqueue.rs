//! `mq enqueue`: a message per line, an id per line, in order, each printed only once it is durable.
//!
//! Standard output is always an unbroken beginning of the answers: after the first line that failed nothing more stands
//! there, so that a script knows where to go on. Lines that were under way when it failed and were stored all the same
//! are named on standard error.

pub(crate) mod pipeline;
mod relay;
pub(crate) mod sender;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use mq_core::key::DedupPolicy;
use mq_core::limits::FULL_WAIT_DEFAULT;
use mq_core::message::{ContentType, Due, NewMessage, Priority};
use mq_core::name::{KindName, QueueName};
use mq_core::queue::FOREVER;

use crate::args::Data;
use crate::exit::{Failure, Result};
use crate::input::{Format, Line, LineError, Lines};
use crate::output::Output;
use crate::signal;
use crate::values::{self, KeySource};
use pipeline::Intake;
use relay::Relay;
use sender::{Sender, Sent};

/// Kind of messages whose producer names none.
const KIND_DEFAULT: &str = "message";

const EXAMPLES: &str = "\
Examples:
  One message, its id printed once it is durable:
    echo '{\"user\":7}' | mq enqueue --data ./data --queue mail
  A file of JSON lines; sending it again adds nothing:
    mq enqueue --data ./data --queue orders --idempotency-key /order_id orders.jsonl
  One after the other for each customer:
    mq enqueue --data ./data --queue orders --ordering-key /customer orders.jsonl
  What is known of each customer: the last line counts, also if an earlier one went dead:
    mq enqueue --data ./data --queue sync --dedup-key /customer --on-duplicate upsert customers.jsonl
  Any lines, in ten minutes:
    find . -name '*.png' | mq enqueue --data ./data --queue images --raw --delay 10m

A key is a literal or, beginning with /, a JSON pointer into each line.
Output: the message's id for each line, in order. After the first line that fails nothing more is printed.";

/// Arguments of `mq enqueue`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    what: What,
}

/// What lines become.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct What {
    /// The queue
    #[arg(long, value_name = "Q")]
    pub(crate) queue: QueueName,
    /// The kind: which handler it is for
    #[arg(long, value_name = "K", default_value = KIND_DEFAULT)]
    kind: KindName,
    /// The same key within 24 hours answers the first id and adds nothing
    #[arg(long, value_name = "P", value_parser = values::key_source)]
    pub(crate) idempotency_key: Option<KeySource>,
    /// At most one unfinished message has this key; --on-duplicate says what happens to another
    #[arg(long, value_name = "P", value_parser = values::key_source, requires = "on_duplicate")]
    dedup_key: Option<KeySource>,
    /// What a duplicate of the dedup key means
    #[arg(long, value_name = "POLICY", requires = "dedup_key")]
    on_duplicate: Option<OnDuplicate>,
    /// Messages with the same key run one after the other, in order
    #[arg(long, value_name = "P", value_parser = values::key_source)]
    ordering_key: Option<KeySource>,
    /// Not before so much time has passed, such as 5s or 1h30m
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    delay: Option<Duration>,
    /// 0 to 9; 9 is most urgent
    #[arg(long, value_name = "N", default_value_t = Priority::DEFAULT.get(), value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
    /// A header; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = values::header)]
    headers: Vec<(String, String)>,
    /// Lines are any bytes, not JSON
    #[arg(long)]
    raw: bool,
    /// The file to read; - is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

/// See [`DedupPolicy`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OnDuplicate {
    /// The new message takes the old one's place
    Replace,
    /// The old message stays and its id is printed
    Keep,
    /// The line fails
    Reject,
    /// As keep if the bytes are the same, else as replace
    DiscardIdentical,
    /// At most one more waits behind the running one
    RunOnceMore,
    /// As replace, and dead letters of the key are replaced too
    Upsert,
    /// As discard-identical, and what succeeded is kept for ever to compare with
    Idempotent,
}

impl From<OnDuplicate> for DedupPolicy {
    fn from(policy: OnDuplicate) -> DedupPolicy {
        match policy {
            OnDuplicate::Replace => DedupPolicy::Replace,
            OnDuplicate::Keep => DedupPolicy::Keep,
            OnDuplicate::Reject => DedupPolicy::Reject,
            OnDuplicate::DiscardIdentical | OnDuplicate::Idempotent => {
                DedupPolicy::DiscardIdentical
            }
            OnDuplicate::RunOnceMore => DedupPolicy::RunOnceMore,
            OnDuplicate::Upsert => DedupPolicy::Upsert,
        }
    }
}

/// Runs `mq enqueue`.
///
/// # Errors
/// At the first line that is no message or is refused; what was printed before it is durable.
pub(crate) fn run(arguments: Arguments) -> Result {
    let source = Source::open(arguments.what)?;
    let relay = Relay::reach(arguments.data, FULL_WAIT_DEFAULT)?;
    let (intake, answers) = pipeline::start();
    let stopped = signal::on_stop({
        let intake = Arc::clone(&intake);
        move || intake.close()
    })?;
    source.feed(Arc::clone(&intake), Sender::Relay(Arc::clone(&relay)));
    let answered = pipeline::report(&answers, &intake, &mut Output::stdout(), &mut io::stderr());
    let closed = relay.close();
    let lines = answered?;
    closed?;
    if stopped.is_set() {
        return Err(anyhow::anyhow!("interrupted; the first {lines} lines are stored").into());
    }
    Ok(())
}

type Input = Box<dyn FnOnce() -> Box<dyn BufRead> + Send>;

/// Lines that become messages.
pub(crate) struct Source {
    input: Input,
    format: Format,
    what: What,
}

impl Source {
    /// Opens the input.
    ///
    /// # Errors
    /// When options contradict each other, or the file cannot be opened.
    pub(crate) fn open(what: What) -> Result<Source> {
        Ok(Source {
            format: what.format()?,
            input: open_input(&what.file)?,
            what,
        })
    }

    /// Sends line after line on a thread of its own, until the input ends, a line is no message, or the intake closes.
    pub(crate) fn feed(self, intake: Arc<Intake<Sent>>, sender: Sender) {
        // Not joined: it may stand in a read that never ends, and holds nothing that must be put in order.
        thread::spawn(move || {
            let lines = Lines::new((self.input)(), self.format);
            pipeline::feed(lines, &intake, |line| {
                Ok(sender.send(self.what.message(line)?))
            });
        });
    }
}

/// Opens the input; standard input is locked by the thread that reads it.
fn open_input(path: &PathBuf) -> Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(|| Box::new(io::stdin().lock())));
    }
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(Box::new(move || Box::new(BufReader::new(file))))
}

impl What {
    fn format(&self) -> Result<Format> {
        let keys = [&self.idempotency_key, &self.dedup_key, &self.ordering_key];
        let points = keys
            .into_iter()
            .flatten()
            .any(|key| matches!(key, KeySource::Pointer(_)));
        match (self.raw, points) {
            (true, true) => Err(Failure::usage(
                "--raw lines have no JSON to take a key from; give a literal key",
            )),
            (true, false) => Ok(Format::Raw),
            (false, true) => Ok(Format::JsonWithPointers),
            (false, false) => Ok(Format::Json),
        }
    }

    fn message(&self, line: &Line) -> std::result::Result<NewMessage, LineError> {
        let key =
            |source: &Option<KeySource>| source.as_ref().map(|source| line.key(source)).transpose();
        let mut message =
            NewMessage::new(self.queue.clone(), self.kind.clone(), line.payload.clone());
        message.envelope.content_type = if self.raw {
            ContentType::Binary
        } else {
            ContentType::Json
        };
        message.envelope.headers.clone_from(&self.headers);
        message.envelope.idempotency_key = key(&self.idempotency_key)?;
        message.envelope.dedup_key = key(&self.dedup_key)?;
        message.envelope.ordering_key = key(&self.ordering_key)?;
        message.dedup = self.on_duplicate.map(DedupPolicy::from);
        if let Some(OnDuplicate::Idempotent) = self.on_duplicate {
            message.retain = Some(FOREVER);
        }
        message.priority = Priority::new(self.priority).unwrap_or_default();
        message.due = self.delay.map_or(Due::Now, Due::After);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(rest: &[&str]) -> std::result::Result<Arguments, clap::Error> {
        let line = ["enqueue", "--data", "d", "--queue", "q"]
            .iter()
            .chain(rest);
        Line::try_parse_from(line).map(|line| line.arguments)
    }

    fn message(rest: &[&str], text: &str) -> NewMessage {
        let arguments = arguments(rest).unwrap().what;
        let mut lines = Lines::new(text.as_bytes(), arguments.format().unwrap());
        arguments
            .message(&lines.next_line().unwrap().unwrap())
            .unwrap()
    }

    #[test]
    fn a_plain_line_becomes_a_json_message_with_defaults() {
        let message = message(&[], "{\"a\":1}\n");
        assert_eq!(&message.envelope.payload[..], b"{\"a\":1}");
        assert_eq!(message.envelope.content_type, ContentType::Json);
        assert_eq!(
            (message.kind.as_str(), message.queue.as_str()),
            ("message", "q")
        );
        assert_eq!(
            (message.priority, message.due),
            (Priority::DEFAULT, Due::Now)
        );
        assert!(message.check(1 << 20).is_ok());
    }

    #[test]
    fn every_option_reaches_the_message() {
        let message = message(
            &[
                "--kind",
                "k",
                "--idempotency-key",
                "/id",
                "--dedup-key",
                "d",
                "--on-duplicate",
                "keep",
                "--ordering-key",
                "/customer",
                "--delay",
                "5s",
                "--priority",
                "9",
                "--header",
                "a=b",
                "--header",
                "c=d",
            ],
            "{\"id\":7,\"customer\":\"x\"}",
        );
        let key = |key: &Option<mq_core::key::Key>| key.as_ref().map(|key| key.as_bytes().to_vec());
        assert_eq!(key(&message.envelope.idempotency_key), Some(b"7".to_vec()));
        assert_eq!(key(&message.envelope.dedup_key), Some(b"d".to_vec()));
        assert_eq!(key(&message.envelope.ordering_key), Some(b"x".to_vec()));
        assert_eq!(message.dedup, Some(DedupPolicy::Keep));
        assert_eq!(message.due, Due::After(Duration::from_secs(5)));
        assert_eq!(message.priority.get(), 9);
        assert_eq!(message.envelope.headers.len(), 2);
        assert_eq!(message.kind.as_str(), "k");
    }

    #[test]
    fn raw_lines_are_binary_and_have_no_pointers() {
        assert_eq!(
            message(&["--raw"], "\u{0}x").envelope.content_type,
            ContentType::Binary
        );
        let wrong = arguments(&["--raw", "--ordering-key", "/a"]).unwrap();
        assert_eq!(
            wrong.what.format().unwrap_err().exit,
            crate::exit::Exit::Usage
        );
    }

    #[test]
    fn a_dedup_key_and_its_policy_go_together() {
        assert!(arguments(&["--dedup-key", "k"]).is_err());
        assert!(arguments(&["--on-duplicate", "keep"]).is_err());
        assert!(arguments(&["--priority", "10"]).is_err());
    }
}
