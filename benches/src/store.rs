//! The stores and messages that the workloads use: everything as a program would have it, behind a counted disk.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use mq::{Builder, DedupPolicy, Engine, Environment, Key, Limit, NewMessage};

use crate::counting::{CountingStorage, Counts};

/// Bytes of every payload, unless a workload says otherwise.
pub const PAYLOAD_SIZE: usize = 256;
/// Messages in a batch.
pub const BATCH_LEN: usize = 1_000;
/// Room that no workload fills.
pub const CAPACITY: Limit = Limit::messages(64 << 20).bytes(64 << 30);
/// Queue and kind of every message.
pub const NAME: &str = "bench";

static PAYLOAD: [u8; 1 << 16] = [0x42; 1 << 16];

/// A builder with room for everything, on a counted disk; all else as by default.
pub fn builder(folder: &Path) -> (Builder, Arc<Counts>) {
    let (storage, counts) = CountingStorage::new(folder);
    let environment = Environment {
        storage: Some(storage),
        ..Environment::real()
    };
    let builder = Engine::builder(folder)
        .capacity(CAPACITY)
        .environment(environment);
    (builder, counts)
}

/// A message with a payload of `size` bytes, at most 64 KiB.
///
/// # Errors
/// Never with these names.
pub fn message(size: usize) -> anyhow::Result<NewMessage> {
    message_of(NAME, size)
}

/// A message of a kind, with a payload of `size` bytes, at most 64 KiB.
///
/// # Errors
/// The kind is not a name.
pub fn message_of(kind: &str, size: usize) -> anyhow::Result<NewMessage> {
    let payload = Bytes::from_static(PAYLOAD.get(..size).unwrap_or(&PAYLOAD));
    Ok(NewMessage::new(NAME.parse()?, kind.parse()?, payload))
}

/// Which keys the messages of a backlog have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// None.
    Plain,
    /// Each a dedup key of its own.
    Keyed,
    /// Each an ordering key of its own.
    Ordered,
}

impl Flavour {
    /// The word on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Keyed => "keyed",
            Self::Ordered => "ordered",
        }
    }

    /// The flavour with that word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Plain, Self::Keyed, Self::Ordered]
            .into_iter()
            .find(|flavour| flavour.as_str() == word)
    }

    /// A message of this flavour; `number` makes its key unique.
    ///
    /// # Errors
    /// Never with these names.
    pub fn message(self, size: usize, number: usize) -> anyhow::Result<NewMessage> {
        let mut message = message(size)?;
        let key = || Key::new(format!("key-{number:012}").into_bytes());
        match self {
            Self::Plain => {}
            Self::Keyed => {
                message.envelope.dedup_key = Some(key()?);
                message.dedup = Some(DedupPolicy::Keep);
            }
            Self::Ordered => message.envelope.ordering_key = Some(key()?),
        }
        Ok(message)
    }
}

/// Enqueues `count` messages in batches from this thread.
///
/// # Errors
/// What the engine says.
pub fn fill(engine: &Engine, flavour: Flavour, from: usize, count: usize) -> anyhow::Result<()> {
    let plain = message(PAYLOAD_SIZE)?;
    let mut number = from;
    while number < from + count {
        let mut batch = engine.batch();
        let end = (number + BATCH_LEN).min(from + count);
        for number in number..end {
            batch = batch.push_raw(if flavour == Flavour::Plain {
                plain.clone()
            } else {
                flavour.message(PAYLOAD_SIZE, number)?
            });
        }
        batch.wait()?;
        number = end;
    }
    Ok(())
}
