//! Checks a store from end to end.
//!
//! In order: the files and their headers; every frame and record of every segment, for the counts; both snapshots, every entry; then
//! what opening would do, short of writing: the journal is replayed from the newest snapshot, its end is judged, and
//! the envelope of every message that lives is read back.

use std::ops::ControlFlow;
use std::sync::Arc;

use mq_core::manager::{Config, QueueManager};

use super::dump::read_segment;
use super::{FileFacts, FileRole, InspectError, files, read_identity};
use crate::envelope::unseal;
use crate::identity::Identity;
use crate::open::OpenError;
use crate::pins::Segments;
use crate::places::Places;
use crate::recovery::{Access, JournalEnd, JournalFacts, Recovery, Replay, SegmentsOnDisk};
use crate::scan::undelivered;
use crate::snapshot::{self, SnapshotContents, SnapshotFacts};
use crate::storage::Storage;

/// Findings listed; the others are counted.
pub const FINDINGS_MAX: usize = 1_000;

/// Envelopes read between two looks at whether to go on.
const ENVELOPES_BETWEEN_LOOKS: usize = 1_024;
/// A store may have more segments than a process may have files open.
const ENVELOPES_BETWEEN_CLOSES: usize = 256;

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Every file in the directory.
    pub files: Vec<FileFacts>,
    /// Segments whose header is whole.
    pub segments: u64,
    /// Whole frames in them.
    pub frames: u64,
    /// Records in those.
    pub records: u64,
    /// Bytes of records and frames.
    pub bytes: u64,
    /// The snapshots that are whole, by name.
    pub snapshots: Vec<(String, SnapshotFacts)>,
    /// The journal as opening would read it; `None` if it would refuse.
    pub journal: Option<JournalFacts>,
    /// Messages whose envelope was read back.
    pub messages: u64,
    /// What is wrong or remarkable, in the order in which it was met.
    pub findings: Vec<Finding>,
    /// Findings beyond [`FINDINGS_MAX`].
    pub findings_left_out: u64,
    /// How many findings are damage, listed or not.
    pub damages: u64,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// Where in it, in bytes, if at any one place.
    pub offset: Option<u64>,
    /// What.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it may be; worth knowing.
    Notice,
    /// Something is damaged, but nothing that is needed.
    Warning,
    /// The store does not open, or a message cannot be read.
    Damage,
}

impl Severity {
    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Damage => "damage",
        }
    }
}

impl VerifyReport {
    /// Whether the store opens and every message in it can be read.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.damages == 0
    }

    fn add(&mut self, severity: Severity, file: &str, offset: Option<u64>, text: impl ToString) {
        self.damages += u64::from(severity == Severity::Damage);
        if self.findings.len() >= FINDINGS_MAX {
            self.findings_left_out += 1;
            return;
        }
        self.findings.push(Finding {
            severity,
            file: file.to_owned(),
            offset,
            text: text.to_string(),
        });
    }
}

/// Checks everything, replaying the journal into a queue manager. See the head of this file.
///
/// # Errors
/// [`InspectError`]: there is no store to look at. Whatever is wrong with one is in the report.
pub fn verify(storage: &Arc<dyn Storage>) -> Result<VerifyReport, InspectError> {
    verify_into(storage, |identity| {
        QueueManager::new(Config {
            tag: identity.tag,
            ..Config::default()
        })
    })
}

/// Checks everything, replaying the journal into what `begin` makes of the store's identity.
///
/// # Errors
/// [`InspectError`]: there is no store to look at. Whatever is wrong with one is in the report.
pub fn verify_into<R: Replay>(
    storage: &Arc<dyn Storage>,
    begin: impl FnOnce(&Identity) -> R,
) -> Result<VerifyReport, InspectError> {
    verify_while(storage, begin, &mut || ControlFlow::Continue(()))
}

/// [`verify_into`] that asks now and then whether to go on. If not, the report is of what it had come to.
pub(crate) fn verify_while<R: Replay>(
    storage: &Arc<dyn Storage>,
    begin: impl FnOnce(&Identity) -> R,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<VerifyReport, InspectError> {
    let mut report = VerifyReport {
        files: files(&**storage)?,
        ..VerifyReport::default()
    };
    look_at_files(&mut report);
    let identity = match read_identity(&**storage) {
        Ok(identity) => identity,
        Err(reason) => {
            report.add(Severity::Damage, crate::identity::IDENT_NAME, None, reason);
            return Ok(report);
        }
    };
    check_segments(&**storage, &mut report, go_on);
    let best = check_snapshots(&**storage, &identity, &mut report);
    let mut replay = begin(&identity);
    let (snapshot, replay) = (best.as_ref(), &mut replay);
    let checked = check_journal(storage, &identity, snapshot, replay, &mut report);
    let checked = checked.map(|places| check_envelopes(&places, &mut report, go_on));
    if let Err(refusal) = checked {
        let (file, offset) = place_of(&refusal);
        report.add(Severity::Damage, &file, offset, refusal);
    }
    Ok(report)
}

fn look_at_files(report: &mut VerifyReport) {
    for file in report.files.clone() {
        match file.role {
            FileRole::Aside => {
                let text = "was put aside because it could not be read; look at it, then remove it";
                report.add(Severity::Notice, &file.name, None, text);
            }
            FileRole::Other => {
                report.add(
                    Severity::Notice,
                    &file.name,
                    None,
                    "is not a file of the journal",
                );
            }
            FileRole::Identity
            | FileRole::Lock
            | FileRole::Segment
            | FileRole::Spare
            | FileRole::Snapshot
            | FileRole::Scratch => {}
        }
    }
}

/// Every frame of every segment, wherever the journal goes.
fn check_segments(
    storage: &dyn Storage,
    report: &mut VerifyReport,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) {
    for file in report.files.clone() {
        if file.role != FileRole::Segment {
            continue;
        }
        if go_on().is_break() {
            return;
        }
        match read_segment(storage, &file.name) {
            Ok(bytes) => {
                report.segments += 1;
                for gap in bytes.gaps() {
                    let text = undelivered(gap);
                    report.add(Severity::Warning, &file.name, Some(gap.start), text);
                }
                check_frames(&bytes, &file.name, report);
            }
            // The journal decides whether it is needed; a segment without header is refused by it in any case.
            Err(reason) => report.add(Severity::Warning, &file.name, Some(0), reason),
        }
    }
}

fn check_frames(bytes: &crate::scan::SegmentBytes, name: &str, report: &mut VerifyReport) {
    let mut at = bytes.start();
    while let Ok(frame) = bytes.frame(at) {
        report.frames += 1;
        report.bytes += u64::from(frame.header().size);
        for (lsn, raw) in frame.records() {
            report.records += 1;
            if let Err(reason) = raw.decode() {
                report.add(Severity::Warning, name, Some(lsn.offset().into()), reason);
            }
        }
        at = frame.end();
    }
    if bytes.headers_after(at).next().is_some() {
        let text = "frames lie behind one that is not whole: torn when a process or machine died, or damaged; what needs it is said below";
        report.add(Severity::Notice, name, Some(at.offset().into()), text);
    }
}

/// Both snapshots, every entry; answers the newest good one.
fn check_snapshots(
    storage: &dyn Storage,
    identity: &Identity,
    report: &mut VerifyReport,
) -> Option<SnapshotContents> {
    let mut best: Option<SnapshotContents> = None;
    for file in report.files.clone() {
        if file.role != FileRole::Snapshot {
            continue;
        }
        let checked = snapshot::examine(storage, &file.name, identity).and_then(|contents| {
            let records = contents.records().find_map(Result::err);
            let damaged = records.or_else(|| contents.places().find_map(Result::err));
            damaged.map_or(Ok(contents), |damaged| Err(damaged.reason))
        });
        match checked {
            Ok(contents) => {
                report.snapshots.push((file.name.clone(), contents.facts));
                let newer = best
                    .as_ref()
                    .is_none_or(|best| best.facts.generation < contents.facts.generation);
                if newer {
                    best = Some(contents);
                }
            }
            Err(reason) => report.add(Severity::Warning, &file.name, None, reason),
        }
    }
    best
}

/// What opening would do, short of writing; answers where the envelopes are.
fn check_journal(
    storage: &Arc<dyn Storage>,
    identity: &Identity,
    snapshot: Option<&SnapshotContents>,
    replay: &mut dyn Replay,
    report: &mut VerifyReport,
) -> Result<Places, OpenError> {
    let names: Vec<String> = report.files.iter().map(|file| file.name.clone()).collect();
    let on_disk = SegmentsOnDisk::list(Arc::clone(storage), identity, &names, Access::Read)?;
    let segments = Arc::new(Segments::new(identity.clone()));
    let mut places = Places::new(segments);
    let recovered = Recovery {
        identity,
        on_disk: &on_disk,
        snapshot,
        damaged: &[],
        places: &mut places,
        replay,
    }
    .run()?;
    describe_end(&recovered.facts, report);
    report.journal = Some(recovered.facts);
    Ok(places)
}

fn describe_end(facts: &JournalFacts, report: &mut VerifyReport) {
    let JournalEnd::Torn(tail) = &facts.end else {
        return;
    };
    let text = format!(
        "the journal ends with a torn frame ({}), {} of which nobody was promised anything; opening goes on after it",
        tail.reason, tail.frames_dropped
    );
    report.add(Severity::Notice, &tail.file, Some(tail.offset.into()), text);
}

fn check_envelopes(
    places: &Places,
    report: &mut VerifyReport,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) {
    for (number, (seq, place)) in places.image().into_places().enumerate() {
        if number % ENVELOPES_BETWEEN_LOOKS == 0 && go_on().is_break() {
            return;
        }
        if number % ENVELOPES_BETWEEN_CLOSES == 0 {
            places.segments().close_idle();
        }
        let Some(pinned) = places.pin(seq) else {
            continue; // a missing segment was refused above
        };
        let offset = Some(u64::from(place.at.offset()));
        let file = crate::segment::name(place.at.segment());
        match pinned.read() {
            Ok(sealed) => match unseal(&sealed.bytes) {
                Ok(_) => report.messages += 1,
                Err(reason) => {
                    let text = format!("the envelope of message {seq}: {reason}");
                    report.add(Severity::Damage, &file, offset, text);
                }
            },
            Err(failure) => {
                let text = format!("message {seq}: {}", failure.reason);
                report.add(Severity::Damage, &file, offset, text);
            }
        }
    }
}

/// Which file a refusal is about.
fn place_of(refusal: &OpenError) -> (String, Option<u64>) {
    match refusal {
        OpenError::Corrupt(corruption) => (corruption.file.clone(), Some(corruption.offset)),
        OpenError::Contradiction { file, offset, .. } => (file.clone(), Some(*offset)),
        OpenError::NewerFormat { file, .. }
        | OpenError::OtherStore { file }
        | OpenError::MissingSegment { file, .. }
        | OpenError::MissingIdentity { file }
        | OpenError::NotAStore { file } => (file.clone(), None),
        OpenError::Io(failure) => (failure.file.clone(), None),
        OpenError::InUse { .. }
        | OpenError::Refused(_)
        | OpenError::DiskFull { .. }
        | OpenError::Journal(_) => (String::new(), None),
    }
}
