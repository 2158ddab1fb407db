//! The effects log: one JSON line per thing that happened in the outside world, appended in one write each.
//!
//! A killed process loses nothing that it wrote; a line that it was about to write is missing, and then its message is
//! handled again.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::exit::Result;

/// Name of the file in the demo's folder.
pub(crate) const FILE: &str = "effects.jsonl";

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub(crate) enum Effect {
    /// A handler did its work for an order.
    Handled {
        /// `order`, `payment` or `receipt`.
        kind: String,
        /// Which order.
        order: String,
    },
    /// A handler failed and will be tried again.
    Retried {
        /// Which kind.
        kind: String,
        /// Which order.
        order: String,
    },
    /// A handler gave an order up.
    Dead {
        /// Which order.
        order: String,
    },
    /// A dead letter was corrected and brought back.
    Replayed {
        /// Which order.
        order: String,
    },
    /// The orders file was sent to the store.
    Submitted {
        /// Lines sent.
        lines: u64,
        /// Lines whose order was there already.
        duplicates: u64,
    },
    /// The process was killed.
    Killed {
        /// Effects reported before.
        effects: u64,
    },
    /// The demo came to its end.
    Ran {
        /// Wall time.
        seconds: f64,
        /// Syncs of 4 KiB per second that the disk does by itself.
        syncs_per_second: f64,
    },
}

/// The log, open for appending.
#[derive(Debug)]
pub(crate) struct EffectsLog {
    file: File,
}

impl EffectsLog {
    /// A new log.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        File::create_new(folder.join(FILE)).context("cannot create the effects log")?;
        Self::open(folder)
    }

    /// An existing log.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .open(folder.join(FILE))
            .context("cannot open the effects log")?;
        Ok(Self { file })
    }

    /// Appends one line in one write: lines of several processes and threads do not mix.
    pub(crate) fn append(&self, effect: &Effect) -> Result {
        let mut line = serde_json::to_vec(effect).context("cannot write an effect")?;
        line.push(b'\n');
        (&self.file)
            .write_all(&line)
            .context("cannot append to the effects log")?;
        Ok(())
    }
}

/// Calls `each` for every effect in a folder's log.
pub(crate) fn read(folder: &Path, mut each: impl FnMut(Effect)) -> Result {
    let path = folder.join(FILE);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(|| format!("{} line {number}", path.display()))?;
        each(
            serde_json::from_str(&line)
                .with_context(|| format!("{} line {number} is not an effect", path.display()))?,
        );
    }
    Ok(())
}
