//! Whether an engine is well, with reasons and next steps: for probes, and for people at night.
//!
//! *Live* is false only when nothing but a new start helps. *Ready* is false while the engine cannot take new work; an engine
//! that is being closed is live and not ready. Checks that need a person but leave the engine working do not change either.

use std::fmt;
use std::time::Duration;

use mq_core::backend::Stopped;

use crate::engine::Engine;
use crate::stats::Stats;

/// The disk is asked for something and has not answered for so long: then it hangs.
const SILENT_MAX: Duration = Duration::from_secs(5);
/// A disk that is full within this time is reported.
const FULL_WITHIN: Duration = Duration::from_secs(4 * 3600);

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HealthCheck {
    /// The store was opened and recovered.
    RecoveryDone,
    /// No write or sync has failed.
    JournalWritable,
    /// The disk answers.
    FsyncRecent,
    /// The disk has room, and will have for some hours.
    DiskFree,
    /// New messages are taken.
    Intake,
    /// The budget of dead letters is not used up.
    DeadLetters,
    /// It is not being closed.
    NotDraining,
    /// Every kind with ready messages has a worker pool.
    Unserved,
    /// Ready messages are handed out to free workers.
    NotTaken,
    /// No pool has all its workers stuck.
    WorkersStuck,
    /// No kind is paused because its messages cannot be decoded.
    Undecodable,
}

impl HealthCheck {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 11] = [
        Self::RecoveryDone,
        Self::JournalWritable,
        Self::FsyncRecent,
        Self::DiskFree,
        Self::Intake,
        Self::DeadLetters,
        Self::NotDraining,
        Self::Unserved,
        Self::NotTaken,
        Self::WorkersStuck,
        Self::Undecodable,
    ];

    /// The word in texts, JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecoveryDone => "recovery_done",
            Self::JournalWritable => "journal_writable",
            Self::FsyncRecent => "fsync_recent",
            Self::DiskFree => "disk_free",
            Self::Intake => "intake",
            Self::DeadLetters => "dead_letters",
            Self::NotDraining => "not_draining",
            Self::Unserved => "kinds_served",
            Self::NotTaken => "work_taken",
            Self::WorkersStuck => "workers_free",
            Self::Undecodable => "payloads_decodable",
        }
    }
}

/// Something that the watchdog has found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alarm {
    /// Which check it fails.
    pub check: HealthCheck,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub next_step: &'static str,
    /// For how long it has been so.
    pub lasts: Duration,
}

/// One check that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthFinding {
    /// Which.
    pub check: HealthCheck,
    /// What is wrong, if something is.
    pub failure: Option<Failing>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failing {
    /// In words.
    pub reason: String,
    /// What to do about it.
    pub next_step: &'static str,
    /// The engine is not ready because of it.
    pub blocks: bool,
}

/// Whether an engine is well. Its text is one line for each check, as in `[+]journal_writable ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// False only when nothing but opening the store again helps.
    pub live: bool,
    /// New work is taken and handled.
    pub ready: bool,
    /// Each check, in the order of [`HealthCheck::ALL`].
    pub checks: Vec<HealthFinding>,
}

impl Health {
    /// The checks that failed.
    pub fn failing(&self) -> impl Iterator<Item = (HealthCheck, &Failing)> {
        let failing = self.checks.iter();
        failing.filter_map(|checked| Some((checked.check, checked.failure.as_ref()?)))
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for HealthFinding { check, failure } in &self.checks {
            let name = check.as_str();
            match failure {
                None => writeln!(f, "[+]{name} ok")?,
                Some(failing) => {
                    let mark = if failing.blocks { "failed" } else { "warning" };
                    let (reason, next_step) = (&failing.reason, failing.next_step);
                    writeln!(f, "[-]{name} {mark}: {reason}; {next_step}")?;
                }
            }
        }
        write!(f, "live: {}, ready: {}", yes(self.live), yes(self.ready))
    }
}

const fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

impl Engine {
    /// Whether the engine is well. Reads what [`Engine::stats`] reads, and waits for nothing: it answers also while the disk
    /// hangs.
    ///
    /// ```
    /// # let engine = mq::Engine::in_memory().open_wait()?;
    /// let health = engine.health();
    /// assert!(health.live && health.ready, "{health}");
    /// # Ok::<(), mq::OpenError>(())
    /// ```
    #[must_use]
    pub fn health(&self) -> Health {
        let stats = self.stats();
        let stopped = self.stopped();
        let draining = self.shell().is_closing() || stopped == Some(Stopped::Closed);
        let checks: Vec<HealthFinding> = HealthCheck::ALL
            .into_iter()
            .map(|check| HealthFinding {
                check,
                failure: failure(check, &stats, stopped.as_ref(), draining),
            })
            .collect();
        let blocked = |it: &HealthFinding| it.failure.as_ref().is_some_and(|it| it.blocks);
        Health {
            live: !matches!(stopped, Some(Stopped::Poisoned { .. })),
            ready: !checks.iter().any(blocked),
            checks,
        }
    }
}

fn failure(
    check: HealthCheck,
    stats: &Stats,
    stopped: Option<&Stopped>,
    draining: bool,
) -> Option<Failing> {
    match check {
        HealthCheck::RecoveryDone => None,
        HealthCheck::JournalWritable => journal(stopped),
        HealthCheck::FsyncRecent => disk_answers(stats),
        HealthCheck::DiskFree => disk_free(stats),
        HealthCheck::Intake => intake(stats),
        HealthCheck::DeadLetters => dead_letters(stats),
        HealthCheck::NotDraining => draining.then(|| {
            let reason = "the engine is being closed, or is closed".to_owned();
            blocking(reason, "open the store again to go on")
        }),
        HealthCheck::Unserved
        | HealthCheck::NotTaken
        | HealthCheck::WorkersStuck
        | HealthCheck::Undecodable => {
            let mut alarms = stats.alarms.iter().filter(|alarm| alarm.check == check);
            let first = alarms.next()?;
            let more = alarms.count();
            let reason = if more == 0 {
                first.reason.clone()
            } else {
                format!("{} (and {more} more)", first.reason)
            };
            Some(Failing {
                reason,
                next_step: first.next_step,
                blocks: matches!(check, HealthCheck::WorkersStuck | HealthCheck::NotTaken),
            })
        }
    }
}

const fn blocking(reason: String, next_step: &'static str) -> Failing {
    Failing {
        reason,
        next_step,
        blocks: true,
    }
}

const fn warning(reason: String, next_step: &'static str) -> Failing {
    Failing {
        reason,
        next_step,
        blocks: false,
    }
}

fn journal(stopped: Option<&Stopped>) -> Option<Failing> {
    match stopped {
        Some(Stopped::Poisoned { operation, reason }) => Some(blocking(
            format!("{operation} failed: {reason}"),
            "check the disk, then restart the program: opening the store decides what was stored",
        )),
        Some(Stopped::Closed) | None => None,
    }
}

fn disk_answers(stats: &Stats) -> Option<Failing> {
    let silent = stats.journal.as_ref()?.busy_for?;
    (silent > SILENT_MAX).then(|| {
        let seconds = silent.as_secs();
        blocking(
            format!("the disk has not answered a write or sync for {seconds} s"),
            "look at the disk and its controller; nothing is acknowledged meanwhile",
        )
    })
}

fn disk_free(stats: &Stats) -> Option<Failing> {
    let disk = stats.disk?;
    if disk.refuses && disk.lacks_files {
        return Some(blocking(
            "no segments can be made: too many files are open".to_owned(),
            "close what leaks, or raise the limit of open files; work that is stored goes on",
        ));
    }
    if disk.refuses {
        let reason = format!("the disk is full: {} bytes are free", disk.free?);
        return Some(blocking(
            reason,
            "make room on the disk; work that is stored goes on and makes room, too",
        ));
    }
    let full_in = disk.full_in.filter(|full_in| *full_in < FULL_WITHIN)?;
    Some(warning(
        format!(
            "the disk is full in {} min at the present rate",
            full_in.as_secs() / 60
        ),
        "make room on the disk, or let more be handled",
    ))
}

fn intake(stats: &Stats) -> Option<Failing> {
    let (messages, bytes) = (stats.store.live_messages, stats.store.live_bytes);
    let capacity = stats.capacity;
    let is_full = messages >= capacity.messages_max() || bytes >= capacity.bytes_max();
    (is_full || stats.waiting_for_room > 0).then(|| {
        let (messages_max, bytes_max) = (capacity.messages_max(), capacity.bytes_max());
        blocking(
            format!("the store is full: {messages} of {messages_max} messages, {bytes} of {bytes_max} bytes"),
            "add workers, or raise the capacity",
        )
    })
}

fn dead_letters(stats: &Stats) -> Option<Failing> {
    let (bytes, limit) = (stats.dead.bytes, stats.dead.limit);
    (bytes >= limit).then(|| {
        warning(
            format!("dead letters use {bytes} of {limit} bytes; queues that have some take no more messages"),
            "replay or purge dead letters",
        )
    })
}
