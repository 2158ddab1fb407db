//! Every log event of a test program, to be looked at: name, target, level and fields.
//!
//! Log events of an engine come from its own threads, so that they can only be caught for the whole program. A test finds
//! its own ones by a queue (or kind) that no other test uses.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Subscriber;
use tracing::{Event, Level, Metadata};

/// One log event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub name: &'static str,
    /// Where it comes from.
    pub target: &'static str,
    /// How much it matters.
    pub level: Level,
    /// Its fields, as text.
    pub fields: BTreeMap<String, String>,
}

impl Line {
    /// A field as text; empty if the event does not have it.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

/// The log events of this program since [`Logs::listen`].
#[derive(Debug, Default)]
pub struct Logs {
    lines: Mutex<Vec<Line>>,
}

static LOGS: OnceLock<Logs> = OnceLock::new();

impl Logs {
    /// Begins to listen, once for the whole program; later calls answer the same.
    ///
    /// # Panics
    /// If the program has another listener already.
    pub fn listen() -> &'static Logs {
        let logs = LOGS.get_or_init(|| {
            let set = tracing::subscriber::set_global_default(Listener::default());
            assert!(set.is_ok(), "the program has another listener already");
            Logs::default()
        });
        tracing::callsite::rebuild_interest_cache();
        logs
    }

    /// The events so far whose field has this value, oldest first.
    #[must_use]
    pub fn with(&self, field: &str, value: &str) -> Vec<Line> {
        let lines = self.lines.lock();
        let matching = lines.iter().filter(|line| line.field(field) == value);
        matching.cloned().collect()
    }

    /// The events so far of this name, oldest first.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<Line> {
        let lines = self.lines.lock();
        let matching = lines.iter().filter(|line| line.name == name);
        matching.cloned().collect()
    }
}

/// Takes events down; spans pass unseen.
#[derive(Debug, Default)]
struct Listener {
    spans: AtomicU64,
}

impl Subscriber for Listener {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(logs) = LOGS.get() else { return };
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        logs.lines.lock().push(Line {
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            fields: fields.0,
        });
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}
