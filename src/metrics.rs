//! What is measured, by name: one list for Prometheus, OpenTelemetry and docs/metrics.md.
//!
//! Names of messaging follow the OpenTelemetry semantic conventions 1.44.0 (their state: development); all others begin
//! with `mq.`. The Prometheus name of a metric follows from its OpenTelemetry name, unit and kind, by the rules of
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>, so that both ways lead to the same
//! name.

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size; in seconds or as a plain number.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    /// Its OpenTelemetry name.
    pub(crate) name: &'static str,
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its unit, as in UCUM.
    pub(crate) unit: &'static str,
    /// What tells its series apart.
    pub(crate) labels: &'static [&'static str],
    /// What it says.
    pub(crate) help: &'static str,
}

impl Metric {
    /// Its name in Prometheus.
    pub(crate) fn prometheus_name(&self) -> String {
        let mut name = self.name.replace('.', "_");
        let unit = match (self.unit, self.kind) {
            ("s", _) => "_seconds",
            ("By", _) => "_bytes",
            ("1", Kind::Gauge) => "_ratio",
            (_, Kind::Counter | Kind::Gauge | Kind::Histogram) => "",
        };
        name.push_str(unit);
        if self.kind == Kind::Counter {
            name.push_str("_total");
        }
        name
    }
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) const $constant: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// All of them, in the order in which they are written.
        pub(crate) const ALL: &[&Metric] = &[$(&$constant,)*];
    };
}

metrics! {
    SENT: Counter "messaging.client.sent.messages" "{message}" []
        "Messages enqueued since the store was opened.";
    CONSUMED: Counter "messaging.client.consumed.messages" "{message}" []
        "Messages handed out, once for each delivery.";
    PROCESS: Histogram "messaging.process.duration" "s" ["kind"]
        "Run time of handlers, from started to ended.";
    DEPTH: Gauge "mq.queue.depth" "{message}" ["queue", "state"]
        "Messages by queue and state.";
    OLDEST: Gauge "mq.queue.oldest_message.age" "s" ["queue"]
        "How long the oldest ready message has been waiting.";
    QUEUE: Gauge "mq.queue.info" "{queue}" ["queue", "paused"]
        "Always 1: facts of a queue as labels.";
    WAIT: Histogram "mq.message.wait.duration" "s" ["kind"]
        "Waiting time of messages, from due to started.";
    OUTCOMES: Counter "mq.message.outcomes" "{attempt}" ["outcome"]
        "Attempts that ended, by how.";
    ATTEMPTS: Histogram "mq.message.attempts" "{attempt}" ["kind"]
        "How many attempts messages took that needed no other one.";
    DUPLICATES: Counter "mq.message.duplicates" "{message}" []
        "Duplicates answered with an existing message, discarded or refused.";
    EXTENSIONS: Counter "mq.lease.extensions" "{lease}" []
        "Leases renewed or extended.";
    EXPIRATIONS: Counter "mq.lease.expirations" "{lease}" []
        "Leases that ran out.";
    LOST_ACKS: Counter "mq.lease.lost_acks" "{settlement}" []
        "Settlements refused because their lease was stale.";
    LIMIT: Gauge "mq.worker.limit" "{worker}" ["kind"]
        "How many handlers of a kind may run at once.";
    USAGE: Gauge "mq.worker.usage" "{worker}" ["kind"]
        "How many run.";
    UTILIZATION: Gauge "mq.worker.utilization" "1" ["kind"]
        "How many run of those that may, 0 to 1.";
    STUCK: Gauge "mq.worker.stuck" "{worker}" ["kind"]
        "Handlers that go on though their lease was taken away.";
    DEAD: Gauge "mq.dlq.depth" "{message}" []
        "Dead letters.";
    DEAD_BY: Gauge "mq.dlq.messages" "{message}" ["kind", "reason"]
        "Dead letters by kind and reason.";
    DEAD_AGE: Gauge "mq.dlq.oldest_message.age" "s" []
        "How long the oldest dead letter has been one.";
    DIED: Counter "mq.dlq.added" "{message}" []
        "Messages that became dead letters.";
    REPLAYED: Counter "mq.dlq.replayed" "{message}" []
        "Dead letters that came back.";
    REJECTED: Counter "mq.enqueue.rejected" "{enqueue}" ["reason"]
        "Enqueues that were refused, by reason.";
    WAITING: Gauge "mq.enqueue.waiting" "{enqueue}" []
        "Enqueues that wait for room.";
    LIVE: Gauge "mq.store.messages" "{message}" []
        "Messages that count against the capacity.";
    LIVE_LIMIT: Gauge "mq.store.messages.limit" "{message}" []
        "How many messages the store takes.";
    SIZE: Gauge "mq.store.size" "By" []
        "Bytes of messages that count against the capacity.";
    SIZE_LIMIT: Gauge "mq.store.size.limit" "By" []
        "How many bytes of messages the store takes.";
    KEYS: Gauge "mq.store.keys" "{key}" []
        "Keys in use.";
    SUSPECTS: Gauge "mq.store.suspects" "{message}" []
        "Messages that were running when the process died and wait for their run alone.";
    FSYNC: Histogram "mq.journal.fsync.duration" "s" []
        "Syncs of the journal.";
    APPEND: Histogram "mq.journal.append.duration" "s" []
        "Writes of frames into the journal.";
    BATCH: Histogram "mq.journal.batch.size" "{event}" []
        "Events in each frame.";
    LAG: Gauge "mq.journal.lag" "By" []
        "Bytes written and not synced.";
    JOURNAL: Gauge "mq.journal.size" "By" []
        "Bytes of the journal.";
    SEGMENTS: Gauge "mq.journal.segments" "{segment}" []
        "Segments of the journal.";
    SINCE_SNAPSHOT: Gauge "mq.journal.since_snapshot" "By" []
        "Bytes of journal written since the newest snapshot.";
    STARVED: Counter "mq.journal.starved" "{segment}" []
        "How often a write had to wait for a new segment.";
    SNAPSHOT_AGE: Gauge "mq.snapshot.age" "s" []
        "How long ago the newest snapshot was taken.";
    SNAPSHOT: Histogram "mq.snapshot.duration" "s" []
        "How long snapshots took.";
    RECOVERY: Gauge "mq.recovery.duration" "s" []
        "How long opening the store took.";
    FREE: Gauge "mq.disk.free" "By" []
        "Free bytes of the disk.";
    DISK_LIMIT: Gauge "mq.disk.limit" "By" []
        "With less than this free, new messages may be refused.";
    FULL_IN: Gauge "mq.disk.full_in" "s" []
        "When the free bytes reach the limit at the present rate; absent if they do not fall.";
    REFUSES: Gauge "mq.disk.refuses" "{store}" []
        "1 while new messages are refused because the disk is full.";
    BACKWARD_JUMPS: Counter "mq.clock.backward_jumps" "{jump}" []
        "How often the wall clock jumped backwards by more than a minute.";
    JUMPS: Counter "mq.clock.jumps" "{jump}" []
        "How often the wall clock jumped by more than a minute.";
    ALARMS: Gauge "mq.watchdog.alarms" "{alarm}" ["check"]
        "What the watchdog has found and is not over, by check.";
    BUILD: Gauge "mq.build.info" "{build}" ["version"]
        "Always 1: the version as a label.";
}

/// The list as a table in Markdown: docs/metrics.md holds it, and a test compares.
#[cfg(test)]
pub(crate) fn table() -> String {
    use std::fmt::Write;

    let mut table = String::from(
        "| OpenTelemetry | Prometheus | kind | unit | labels | what it says |\n|---|---|---|---|---|---|\n",
    );
    for metric in ALL {
        let (name, prometheus) = (metric.name, metric.prometheus_name());
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels = metric.labels.join(", ");
        let (unit, help) = (metric.unit, metric.help);
        let line = writeln!(
            table,
            "| `{name}` | `{prometheus}` | {kind} | `{unit}` | {labels} | {help} |"
        );
        debug_assert!(line.is_ok(), "a string takes everything");
    }
    table
}
