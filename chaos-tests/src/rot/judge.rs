//! What an opening showed, and whether that is allowed after the damage that was done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mq_core::id::Seq;
use mq_core::image::ImageRecord;
use mq_core::manager::Config;
use mq_core::time::Timestamp;
use mq_persistence::inspect::{FileRole, Severity, verify};
use mq_persistence::lsn::Lsn;
use mq_persistence::open::{Corruption, JournalOptions, OpenError, OpenInputs, Opened, open};
use mq_persistence::recovery::JournalEnd;
use mq_persistence::segment::{self, DATA_START, FRAME_ALIGN};
use mq_persistence::storage::Storage;
use mq_testing::clock::START_MS;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;
use parking_lot::Mutex;

use super::{Damage, Specimen};
use crate::machine::text;
use crate::suite::grouped;

/// An hour after the beginning of all lives.
const NOW_MS: u64 = START_MS + 3_600_000;

/// What was allowed to happen, and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The state is the same.
    Same,
    /// The state is the same, and a message whose bytes lie behind the snapshots cannot be read: reading it and `verify` say so.
    ToldWhenRead,
    /// It was refused, with file and place.
    Refused,
    /// A tail that was never synced is gone.
    UnsyncedLost,
    /// What the very last sync covered is gone, and nothing was written after it: the stated exception.
    LastSyncLost,
    /// The whole last segment is gone, or is an older copy of itself, and no other file was made after it: the other exception.
    LastFileLost,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 6] = [
        Self::Same,
        Self::ToldWhenRead,
        Self::Refused,
        Self::UnsyncedLost,
        Self::LastSyncLost,
        Self::LastFileLost,
    ];

    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same state",
            Self::ToldWhenRead => "said when read",
            Self::Refused => "refused",
            Self::UnsyncedLost => "never synced, lost",
            Self::LastSyncLost => "last sync lost",
            Self::LastFileLost => "last file lost",
        }
    }
}

/// How often each verdict came out.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<Verdict, u64>>);

impl Tally {
    /// Counts one.
    pub fn count(&self, verdict: Verdict) {
        *self.0.lock().entry(verdict).or_default() += 1;
    }

    /// Whether one has come out at all.
    #[must_use]
    pub fn has(&self, verdict: Verdict) -> bool {
        self.0.lock().contains_key(&verdict)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.0.lock();
        let counts: Vec<String> = Verdict::ALL
            .iter()
            .filter_map(|verdict| tally.get(verdict).map(|count| (verdict, count)))
            .map(|(verdict, count)| format!("{} {}", grouped(*count), verdict.as_str()))
            .collect();
        f.write_str(&counts.join(", "))
    }
}

/// What whoever opens a store can see in it.
#[derive(Debug)]
pub(super) struct Sight {
    records: Vec<ImageRecord>,
    envelopes: BTreeMap<Seq, Bytes>,
    /// Where the journal ends.
    pub(super) end: Lsn,
}

impl Sight {
    /// What is seen in the store on a copy of `disk`.
    ///
    /// # Errors
    /// It is refused, or a message cannot be read.
    pub(super) fn of(disk: &SimDisk) -> Result<Self, String> {
        let opened = examine(&disk.fork()).map_err(text)?;
        let records: Vec<ImageRecord> = opened.manager.image().records().collect();
        let mut envelopes = BTreeMap::new();
        for seq in messages(&records) {
            let pinned = opened.places.pin(seq);
            let pinned = pinned.ok_or_else(|| format!("no place for message {seq:?}"))?;
            envelopes.insert(seq, pinned.read().map_err(text)?.bytes);
        }
        Ok(Self {
            records,
            envelopes,
            end: end_of(&opened),
        })
    }

    /// Whether another opening shows the same state; `Some(false)` if a message in it cannot be read.
    fn is_seen_in(&self, opened: &Opened, damaged: &[&str]) -> Result<Option<bool>, String> {
        let image = opened.manager.image();
        let mut own = self.records.iter();
        let equal = image.records().all(|record| own.next() == Some(&record));
        if !equal || own.next().is_some() {
            return Ok(None);
        }
        let mut readable = true;
        for (seq, bytes) in &self.envelopes {
            let pinned = opened.places.pin(*seq);
            let pinned = pinned.ok_or_else(|| format!("no place for message {seq:?}"))?;
            match pinned.read() {
                Ok(read) if read.bytes == *bytes => {}
                Ok(_) => return Err(format!("message {seq:?} has other bytes")),
                Err(failure) if damaged.contains(&failure.file.as_str()) => readable = false,
                Err(failure) => return Err(format!("what is whole cannot be read: {failure}")),
            }
        }
        Ok(Some(readable))
    }
}

fn messages(records: &[ImageRecord]) -> impl Iterator<Item = Seq> {
    records.iter().filter_map(|record| match record {
        ImageRecord::Message(message) => Some(message.facts.seq),
        ImageRecord::Counters { .. }
        | ImageRecord::Queue { .. }
        | ImageRecord::Kind { .. }
        | ImageRecord::Bulk(_)
        | ImageRecord::Schedule(_)
        | ImageRecord::Key { .. } => None,
    })
}

fn end_of(opened: &Opened) -> Lsn {
    let journal = opened.report.journal.as_ref();
    journal.map_or(Lsn::START, |journal| journal.read_end)
}

/// Opens a store as the engine does.
///
/// # Errors
/// Why it was refused.
pub(super) fn examine(disk: &SimDisk) -> Result<Opened, OpenError> {
    let mut random = SplitMix64::new(NOW_MS);
    let mut random = || random.next_u64();
    let options = JournalOptions {
        segment_size_first: 64 << 10,
        segment_size_max: 64 << 10,
        ..JournalOptions::default()
    };
    let inputs = OpenInputs {
        wall: Timestamp::from_ms(NOW_MS),
        random: &mut random,
        config: Config::default(),
        owner: "an examiner".to_owned(),
    };
    open(Arc::new(disk.clone()), &options, inputs)
}

/// Where the journal on a copy of `disk` ends.
///
/// # Errors
/// It does not open.
pub(crate) fn journal_end(disk: &SimDisk) -> Result<Lsn, String> {
    examine(&disk.fork())
        .map(|opened| end_of(&opened))
        .map_err(text)
}

impl Specimen {
    /// Does the damage to a copy, opens it, and says what came of it.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn judge(&self, damage: Damage) -> Result<Verdict, String> {
        let disk = self.copy();
        let struck = damage.strike(self, &disk);
        struck.map_err(|error| format!("no such damage: {error}"))?;
        let damaged: Vec<&str> = damage.files().iter().map(|it| self.name(*it)).collect();
        let before = disk.fork();
        match examine(&disk) {
            Ok(opened) => {
                let verdict = self.judge_opened(&opened, damage, &damaged)?;
                drop(opened);
                if verdict == Verdict::ToldWhenRead {
                    found_by_verify(&before, &damaged)?;
                }
                if verdict != Verdict::Same || damage.is_eighth() {
                    self.judge_again(&disk, verdict, &damaged)?;
                }
                Ok(verdict)
            }
            Err(error) => {
                if has_changed(&before, &disk) {
                    return Err(format!("a refusal changed the store: {error}"));
                }
                self.judge_refused(damage, &damaged, &error)?;
                Ok(Verdict::Refused)
            }
        }
    }

    fn judge_opened(
        &self,
        opened: &Opened,
        damage: Damage,
        damaged: &[&str],
    ) -> Result<Verdict, String> {
        match self.sight().is_seen_in(opened, damaged)? {
            Some(true) => return Ok(Verdict::Same),
            Some(false) => return Ok(Verdict::ToldWhenRead),
            None => {}
        }
        let end = end_of(opened);
        if end >= self.sight().end {
            return Err("it opened in another state, its journal read to the end".to_owned());
        }
        let is_last_file = self.is_of_last_file(damage);
        if end < self.proven && !is_last_file {
            let proven = self.proven;
            return Err(format!(
                "silent loss: it opened with a journal that ends at {end}, and was durable up to {proven}"
            ));
        }
        let journal = opened.report.journal.as_ref();
        // If nothing of a frame is left where it was, the one before it is the last: a mark, maybe.
        if !is_last_file && journal.is_none_or(|journal| journal.end == JournalEnd::Clean) {
            return Err(format!("a tail is gone, and the report says {journal:?}"));
        }
        match self.sight_if_cut(end)?.is_seen_in(opened, damaged)? {
            Some(true) if end >= self.synced => Ok(Verdict::UnsyncedLost),
            Some(true) if is_last_file => Ok(Verdict::LastFileLost),
            Some(true) => Ok(Verdict::LastSyncLost),
            Some(false) | None => Err(format!(
                "it opened with a journal that ends at {end}, in a state that was not then"
            )),
        }
    }

    /// Whether all of the last segment is gone or older, and nothing else can tell.
    fn is_of_last_file(&self, damage: Damage) -> bool {
        let file = match damage {
            Damage::Deleted { file } if self.is_lonely => file,
            Damage::Older { file, .. } => file,
            Damage::Deleted { .. }
            | Damage::Bit { .. }
            | Damage::Zeroed { .. }
            | Damage::Garbage { .. }
            | Damage::Stale { .. }
            | Damage::Misdirected { .. }
            | Damage::Swapped { .. }
            | Damage::Cut { .. }
            | Damage::Exchanged { .. } => return false,
        };
        segment::number_of(self.name(file)) == Some(self.sight().end.segment())
    }

    /// What was opened once opens again, in the same state.
    fn judge_again(
        &self,
        disk: &SimDisk,
        verdict: Verdict,
        damaged: &[&str],
    ) -> Result<(), String> {
        let opened = examine(disk).map_err(|error| format!("it opened once only: {error}"))?;
        let seen = match verdict {
            Verdict::Same => self.sight().is_seen_in(&opened, damaged)? == Some(true),
            Verdict::ToldWhenRead => self.sight().is_seen_in(&opened, damaged)? == Some(false),
            Verdict::Refused
            | Verdict::UnsyncedLost
            | Verdict::LastSyncLost
            | Verdict::LastFileLost => true,
        };
        if seen {
            Ok(())
        } else {
            Err("opened again, it shows another state".to_owned())
        }
    }

    fn judge_refused(
        &self,
        damage: Damage,
        damaged: &[&str],
        error: &OpenError,
    ) -> Result<(), String> {
        let names = |file: &String| damaged.contains(&file.as_str());
        let is_precise = match error {
            OpenError::Corrupt(corruption) => {
                names(&corruption.file) && self.is_the_place(damage, corruption)
            }
            OpenError::NewerFormat { file, .. } | OpenError::OtherStore { file } => names(file),
            OpenError::MissingSegment { file, .. } => names(file) && damage.is_of_whole_files(),
            OpenError::MissingIdentity { .. } => damaged.contains(&"IDENT"),
            OpenError::InUse { .. }
            | OpenError::Refused(_)
            | OpenError::Contradiction { .. }
            | OpenError::NotAStore { .. }
            | OpenError::DiskFull { .. }
            | OpenError::Io(_)
            | OpenError::Journal(_) => false,
        };
        if !is_precise {
            return Err(format!("damage to {damaged:?} was refused with {error:?}"));
        }
        let is_version = matches!(
            error,
            OpenError::NewerFormat { .. } | OpenError::OtherStore { .. }
        );
        if damaged.iter().all(|name| can_be_spared(name)) && !is_version {
            return Err(format!("{damaged:?} can be done without: {error}"));
        }
        Ok(())
    }

    /// Whether a refusal names the frame, or the head of the file, in which the first damaged byte of some range lies.
    fn is_the_place(&self, damage: Damage, corruption: &Corruption) -> bool {
        let Some(ranges) = damage.ranges() else {
            return true;
        };
        let files = self.files().iter();
        let mut bytes = files.filter(|(name, _)| *name == corruption.file);
        let Some((_, bytes)) = bytes.next() else {
            return false;
        };
        ranges.into_iter().any(|range| {
            let head = range.start < u64::from(DATA_START) && corruption.offset == 0;
            let frame = frame_around(bytes, range.start);
            head || (frame..range.end).contains(&corruption.offset)
        })
    }
}

/// Where the frame begins in which a byte lies.
fn frame_around(bytes: &[u8], at: u64) -> u64 {
    let align = u64::from(FRAME_ALIGN);
    let mut start = at / align * align;
    loop {
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        if start == 0 || bytes.get(from..from + 4) == Some(b"mqFr") {
            return start;
        }
        start -= align;
    }
}

/// Whether a store opens, in the same state, whatever becomes of this file.
fn can_be_spared(name: &str) -> bool {
    match FileRole::of(name) {
        FileRole::Lock
        | FileRole::Spare
        | FileRole::Snapshot
        | FileRole::Scratch
        | FileRole::Aside
        | FileRole::Other => true,
        FileRole::Identity | FileRole::Segment => false,
    }
}

/// Whether any byte of a store differs, but those of its lock.
pub(crate) fn has_changed(before: &SimDisk, after: &SimDisk) -> bool {
    let content = |disk: &SimDisk| -> Vec<(String, Option<Vec<u8>>)> {
        let names = disk.file_names().into_iter().filter(|name| name != "LOCK");
        names
            .map(|name| {
                let bytes = disk.file_bytes(&name);
                (name, bytes)
            })
            .collect()
    };
    content(before) != content(after)
}

/// What cannot be read is found by whoever looks for it.
fn found_by_verify(disk: &SimDisk, damaged: &[&str]) -> Result<(), String> {
    let storage: Arc<dyn Storage> = Arc::new(disk.fork());
    let report = verify(&storage).map_err(text)?;
    let found = report.findings.iter().any(|finding| {
        finding.severity == Severity::Damage && damaged.contains(&finding.file.as_str())
    });
    if found {
        Ok(())
    } else {
        Err(format!(
            "a message cannot be read, and verify finds no damage in {damaged:?}: {:?}",
            report.findings
        ))
    }
}
