//! The last calls that changed the simulated disk, for the message of a test that fails.
//!
//! What it does not do: keep all of them; the oldest are forgotten.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::fault::{Fault, IoKind};

/// How many calls are remembered.
const CALLS_MAX: usize = 200;

/// The story of a disk, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    calls: VecDeque<Entry>,
}

#[derive(Clone, Debug)]
enum Entry {
    Call {
        number: u64,
        kind: IoKind,
        name: Option<Arc<str>>,
        detail: Detail,
        fault: Option<Fault>,
    },
    Event(String),
}

/// What a call was about, beside its kind and its file.
#[derive(Clone, Debug)]
pub(super) enum Detail {
    None,
    Range { offset: u64, len: usize },
    Size(u64),
    To(Arc<str>),
}

impl Trace {
    pub(super) fn call(
        &mut self,
        number: u64,
        kind: IoKind,
        name: Option<&Arc<str>>,
        detail: Detail,
        fault: Option<Fault>,
    ) {
        self.push(Entry::Call {
            number,
            kind,
            name: name.cloned(),
            detail,
            fault,
        });
    }

    pub(super) fn event(&mut self, text: String) {
        self.push(Entry::Event(text));
    }

    fn push(&mut self, entry: Entry) {
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(entry);
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.calls {
            match entry {
                Entry::Event(text) => writeln!(formatter, "  -- {text}")?,
                Entry::Call {
                    number,
                    kind,
                    name,
                    detail,
                    fault,
                } => {
                    write!(formatter, "{number:>6} {kind:?}")?;
                    if let Some(name) = name {
                        write!(formatter, " {name}")?;
                    }
                    match detail {
                        Detail::None => {}
                        Detail::Range { offset, len } => write!(formatter, " [{offset}, +{len}]")?,
                        Detail::Size(size) => write!(formatter, " to {size} bytes")?,
                        Detail::To(to) => write!(formatter, " to {to}")?,
                    }
                    if let Some(fault) = fault {
                        write!(formatter, "  ! {fault:?}")?;
                    }
                    writeln!(formatter)?;
                }
            }
        }
        Ok(())
    }
}
