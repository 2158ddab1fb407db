//! What can be set when a store is opened, with units, ranges and defaults; all of it is checked at once, in `open`.

use std::time::Duration;

use mq_core::limits;
use mq_core::manager::DeadFull;

/// What an enqueue waits for before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// Synced to the device: survives power loss. The default.
    #[default]
    Synced,
    /// Written, and synced at least this often: survives the death of the process; a power cut loses up to this much.
    Interval(Duration),
    /// Written; the operating system syncs when it likes: survives the death of the process only.
    Buffered,
}

/// How much a store takes. What is reached first refuses further messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    messages: u64,
    bytes: u64,
}

impl Limit {
    /// At most so many messages that are not completed or dead, with the default limit of bytes.
    #[must_use]
    pub const fn messages(messages: u64) -> Self {
        Self {
            messages,
            bytes: limits::CAPACITY_BYTES_DEFAULT,
        }
    }

    /// … and at most so many bytes of their payloads and headers.
    #[must_use]
    pub const fn bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }
}

impl Limit {
    /// How many messages.
    #[must_use]
    pub const fn messages_max(&self) -> u64 {
        self.messages
    }

    /// How many bytes.
    #[must_use]
    pub const fn bytes_max(&self) -> u64 {
        self.bytes
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self::messages(limits::CAPACITY_MESSAGES_DEFAULT)
    }
}

/// An option that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} = {given} is out of range; allowed is {allowed}")]
pub struct BadOption {
    /// Its name in the builder.
    pub option: &'static str,
    /// What was given.
    pub given: String,
    /// What is allowed.
    pub allowed: String,
}

/// Settings of a store, as the builder collects them.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) durability: Durability,
    pub(crate) capacity: Limit,
    pub(crate) payload_size_max: usize,
    pub(crate) dead_bytes: u64,
    pub(crate) dead_full: DeadFull,
    pub(crate) completed_bytes: u64,
    pub(crate) keys: u64,
    pub(crate) idempotency_window: Duration,
    pub(crate) full_wait: Duration,
    pub(crate) retry: Option<mq_dispatch::Retry>,
    pub(crate) payload_cache: u64,
    pub(crate) segment_size_max: u32,
    pub(crate) snapshot_after: u64,
    pub(crate) fires_schedules: bool,
    /// Whether the store is opened for a moment only.
    pub(crate) is_brief: bool,
    #[cfg(feature = "otel")]
    pub(crate) trace: crate::otel::TraceMode,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            capacity: Limit::default(),
            payload_size_max: limits::PAYLOAD_SIZE_DEFAULT,
            dead_bytes: limits::DEAD_BYTES_DEFAULT,
            dead_full: DeadFull::default(),
            completed_bytes: limits::COMPLETED_BYTES_DEFAULT,
            keys: limits::KEYS_DEFAULT,
            idempotency_window: limits::IDEMPOTENCY_WINDOW_DEFAULT,
            full_wait: limits::FULL_WAIT_DEFAULT,
            retry: None,
            payload_cache: limits::PAYLOAD_CACHE_DEFAULT,
            segment_size_max: 64 << 20,
            snapshot_after: 256 << 20,
            fires_schedules: true,
            is_brief: false,
            #[cfg(feature = "otel")]
            trace: crate::otel::TraceMode::default(),
        }
    }
}

impl Options {
    /// Every option that is out of range.
    pub(crate) fn check(&self) -> Vec<BadOption> {
        let (messages_min, messages_max) = limits::CAPACITY_MESSAGES_RANGE;
        let interval = match self.durability {
            Durability::Interval(interval) => {
                u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)
            }
            Durability::Synced | Durability::Buffered => 1,
        };
        let payload = u64::try_from(self.payload_size_max).unwrap_or(u64::MAX);
        let ranges = [
            (
                "capacity.messages",
                self.capacity.messages,
                messages_min,
                messages_max,
            ),
            ("capacity.bytes", self.capacity.bytes, 1 << 20, 1 << 50),
            (
                "payload_size_max",
                payload,
                1,
                limits::PAYLOAD_SIZE_MAX as u64,
            ),
            ("dead_bytes", self.dead_bytes, 1 << 20, 1 << 50),
            ("completed_bytes", self.completed_bytes, 1 << 20, 1 << 50),
            ("keys", self.keys, 1, 1 << 32),
            ("durability interval in ms", interval, 1, 60_000),
            (
                "segment_size_max",
                self.segment_size_max.into(),
                64 << 10,
                1 << 30,
            ),
            ("snapshot_after", self.snapshot_after, 64 << 10, 1 << 40),
        ];
        let out_of_range = ranges
            .into_iter()
            .filter(|(_, given, min, max)| given < min || given > max);
        out_of_range
            .map(|(option, given, min, max)| BadOption {
                option,
                given: given.to_string(),
                allowed: format!("{min} to {max}"),
            })
            .collect()
    }

    /// What the rules need of the settings.
    pub(crate) fn config(&self, seed: u64) -> mq_core::manager::Config {
        mq_core::manager::Config {
            seed,
            capacity_messages: self.capacity.messages,
            capacity_bytes: self.capacity.bytes,
            dead_bytes: self.dead_bytes,
            dead_full: self.dead_full,
            completed_bytes: self.completed_bytes,
            keys: self.keys,
            idempotency_window: self.idempotency_window,
            ..mq_core::manager::Config::default()
        }
    }
}
