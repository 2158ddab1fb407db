//! Everything a simulated disk consists of, behind its one mutex.
//!
//! Invariants:
//! 1. Every call begins with [`State::begin`]: it refuses when the disk is dead, counts, and says what fault hits the call.
//! 2. Moments only grow, also over crashes: a change made later has a later moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use mq_persistence::storage::{Filesystem, is_plain_name};

use super::content::{Content, SECTOR_SIZE};
use super::crash::{Chooser, CrashMode, PendingSummary};
use super::fault::{self, Fault, FaultPlan, IoKind};
use super::names::{FileId, Names};
use super::trace::{Detail, Trace};

/// The free space of a disk without a limit.
const NO_LIMIT_BYTES: u64 = 1 << 50;

/// Why a disk answers nothing any more. It travels inside the `io::Error`s of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Death {
    /// As armed by the test.
    #[error("the simulated disk lost its power")]
    PowerCut,
    /// Its process is gone.
    #[error("the simulated process was killed")]
    Killed,
}

impl From<Death> for io::Error {
    fn from(death: Death) -> Self {
        Self::other(death)
    }
}

/// A call that may go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// The moment of whatever it changes.
    pub(super) moment: u64,
    /// What it must do wrong; a fault that is a mere error was already returned.
    pub(super) fault: Option<Fault>,
}

/// Whether the data directory is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Directory {
    #[default]
    Missing,
    /// Made at this moment, its parent not synced since.
    Pending(u64),
    Durable,
}

/// A disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) filesystem: Filesystem,
    directory: Directory,
    pub(super) names: Names,
    files: BTreeMap<FileId, Content>,
    next_file: u64,
    pub(super) locks: BTreeSet<FileId>,
    moment: u64,
    pub(super) io_count: u64,
    counts: BTreeMap<IoKind, u64>,
    pub(super) crash_after: Option<u64>,
    /// The kind of call at which to crash, and how many of it to let pass first.
    pub(super) crash_at: Option<(IoKind, u64)>,
    pub(super) death: Option<Death>,
    pub(super) faults: FaultPlan,
    /// Whether any fault has hit a call.
    pub(super) faulted: bool,
    /// Whether a sync took back what was written.
    pub(super) reverted: bool,
    pub(super) capacity: Option<u64>,
    /// Sectors that cannot be read.
    pub(super) bad_sectors: BTreeSet<(FileId, u64)>,
    /// How often a map was asked for.
    pub(super) maps: u64,
    pub(super) trace: Trace,
}

impl Default for State {
    fn default() -> Self {
        Self {
            filesystem: Filesystem::Simulated,
            directory: Directory::default(),
            names: Names::default(),
            files: BTreeMap::new(),
            next_file: 0,
            locks: BTreeSet::new(),
            moment: 0,
            io_count: 0,
            counts: BTreeMap::new(),
            crash_after: None,
            crash_at: None,
            death: None,
            faults: FaultPlan::default(),
            faulted: false,
            reverted: false,
            capacity: None,
            bad_sectors: BTreeSet::new(),
            maps: 0,
            trace: Trace::default(),
        }
    }
}

/// The name as the disk keeps it.
pub(super) fn plain(name: &str) -> io::Result<Arc<str>> {
    if is_plain_name(name) {
        Ok(Arc::from(name))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not a plain file name"),
        ))
    }
}

impl State {
    /// Begins a call.
    pub(super) fn begin(
        &mut self,
        kind: IoKind,
        name: Option<&Arc<str>>,
        detail: Detail,
    ) -> io::Result<Begun> {
        if self.death.is_none() && self.crash_after.is_some_and(|count| self.io_count >= count) {
            self.death = Some(Death::PowerCut);
            self.trace
                .event(format!("crash after I/O {}", self.io_count));
        }
        self.crash_if_armed_at(kind);
        if let Some(death) = self.death {
            return Err(death.into());
        }
        *self.counts.entry(kind).or_default() += 1;
        let fault = self.faults.next(kind);
        self.faulted |= fault.is_some();
        if kind.changes_disk() {
            self.io_count += 1;
            self.moment += 1;
        }
        if kind.changes_disk() || fault.is_some() {
            self.trace.call(self.io_count, kind, name, detail, fault);
        }
        match fault.and_then(|fault| fault.plain_error(kind)) {
            Some(error) => Err(error),
            None => Ok(Begun {
                moment: self.moment,
                fault,
            }),
        }
    }

    fn crash_if_armed_at(&mut self, kind: IoKind) {
        match &mut self.crash_at {
            Some((armed, 0)) if *armed == kind && self.death.is_none() => {
                self.death = Some(Death::PowerCut);
                self.trace.event(format!(
                    "crash at a call of {kind:?} after I/O {}",
                    self.io_count
                ));
            }
            Some((armed, pass)) if *armed == kind => *pass = pass.saturating_sub(1),
            Some(_) | None => {}
        }
    }

    pub(super) fn count_of(&self, kind: IoKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn make_directory(&mut self) {
        if self.directory == Directory::Missing {
            self.directory = Directory::Pending(self.moment);
        }
    }

    pub(super) fn sync_parent(&mut self) {
        self.directory = Directory::Durable;
    }

    pub(super) fn check_directory(&self) -> io::Result<()> {
        match self.directory {
            Directory::Missing => Err(io::ErrorKind::NotFound.into()),
            Directory::Pending(_) | Directory::Durable => Ok(()),
        }
    }

    pub(super) fn sync_directory(&mut self, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            Some(Fault::SyncLostKept | Fault::SyncLostReverted) => {
                self.names.abandon();
                Err(fault::io_error())
            }
            Some(Fault::Lie) => {
                self.names.abandon();
                Ok(())
            }
            None
            | Some(
                Fault::IoError | Fault::NoSpace | Fault::NoFile | Fault::Interrupted | Fault::Short,
            ) => {
                self.names.sync();
                Ok(())
            }
        }
    }

    pub(super) fn sync_file(&mut self, file: FileId, fault: Option<Fault>) -> io::Result<()> {
        let content = self.content_mut(file)?;
        match fault {
            Some(Fault::SyncLostKept) => {
                content.abandon();
                Err(fault::io_error())
            }
            Some(Fault::SyncLostReverted) => {
                content.abandon();
                content.forget_abandoned();
                self.reverted = true;
                Err(fault::io_error())
            }
            Some(Fault::Lie) => {
                content.abandon();
                Ok(())
            }
            None
            | Some(
                Fault::IoError | Fault::NoSpace | Fault::NoFile | Fault::Interrupted | Fault::Short,
            ) => {
                content.sync();
                Ok(())
            }
        }
    }

    /// Makes an empty file.
    pub(super) fn create(&mut self, moment: u64, name: &Arc<str>) -> io::Result<FileId> {
        self.check_directory()?;
        if self.names.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = self.add_file(Content::default());
        self.names.create(moment, name, file);
        Ok(file)
    }

    /// Adds a file that has no name yet.
    pub(super) fn add_file(&mut self, content: Content) -> FileId {
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.files.insert(file, content);
        file
    }

    pub(super) fn content(&self, file: FileId) -> io::Result<&Content> {
        self.files
            .get(&file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn content_mut(&mut self, file: FileId) -> io::Result<&mut Content> {
        self.files
            .get_mut(&file)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn content_named(&mut self, name: &str) -> io::Result<&mut Content> {
        let file = self.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.content_mut(file)
    }

    /// Whether all sectors of so many bytes can be read.
    pub(super) fn check_sectors(&self, file: FileId, offset: u64, len: usize) -> io::Result<()> {
        let (sector, len) = (SECTOR_SIZE as u64, len as u64);
        let touched = offset / sector..offset.saturating_add(len).div_ceil(sector);
        let all = (file, touched.start)..(file, touched.end.max(touched.start));
        match self.bad_sectors.range(all).next() {
            Some(_) => Err(fault::io_error()),
            None => Ok(()),
        }
    }

    /// All bytes of a file.
    pub(super) fn bytes_of(&self, file: FileId) -> Vec<u8> {
        let Ok(content) = self.content(file) else {
            return Vec::new();
        };
        let mut bytes = vec![0; usize::try_from(content.size()).unwrap_or(0)];
        let len = content.read(&mut bytes, 0);
        bytes.truncate(len);
        bytes
    }

    pub(super) fn replace_content(
        &mut self,
        moment: u64,
        file: FileId,
        bytes: &[u8],
    ) -> io::Result<()> {
        let content = self.content_mut(file)?;
        content.write(moment, bytes, 0)?;
        content.resize(moment, bytes.len() as u64)
    }

    /// Writes as much as there is space for, and says how much.
    pub(super) fn write(
        &mut self,
        begun: Begun,
        file: FileId,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<usize> {
        let wanted = match begun.fault {
            Some(Fault::Lie) => return Ok(bytes.len()),
            Some(Fault::Short) => bytes.get(..bytes.len().div_ceil(2)).unwrap_or(bytes),
            None
            | Some(
                Fault::IoError
                | Fault::NoSpace
                | Fault::NoFile
                | Fault::Interrupted
                | Fault::SyncLostKept
                | Fault::SyncLostReverted,
            ) => bytes,
        };
        let wanted = self.fitting(file, wanted, offset)?;
        self.content_mut(file)?
            .write(begun.moment, wanted, offset)?;
        Ok(wanted.len())
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let Some(capacity) = self.capacity else {
            return NO_LIMIT_BYTES;
        };
        let files = self
            .names
            .all()
            .filter_map(|(_, file)| self.files.get(&file));
        capacity.saturating_sub(files.map(Content::allocated).sum())
    }

    pub(super) fn is_durable(&self) -> bool {
        let mut named = self
            .names
            .all()
            .filter_map(|(_, file)| self.files.get(&file));
        let directory_durable = !matches!(self.directory, Directory::Pending(_));
        directory_durable && self.names.is_durable() && named.all(Content::is_durable)
    }

    pub(super) fn forget_abandoned(&mut self) {
        for content in self.files.values_mut() {
            content.forget_abandoned();
        }
    }

    /// The disk that the next process finds after this one was killed.
    pub(super) fn after_restart(&self, why: &str) -> Self {
        let mut next = self.successor(why.to_owned());
        next.directory = self.directory;
        next.names = self.names.clone();
        next.files = self.files.clone();
        next
    }

    /// The disk that the next process finds after the power was lost.
    pub(super) fn after_power_cycle(&self, mode: CrashMode) -> Self {
        let mut next = self.successor(format!("power lost: {mode:?}"));
        let mut chooser = Chooser::new(mode, &self.pending());
        next.directory = match self.directory {
            Directory::Pending(moment) if chooser.name(moment) => Directory::Durable,
            Directory::Pending(_) => Directory::Missing,
            settled @ (Directory::Missing | Directory::Durable) => settled,
        };
        if next.directory == Directory::Missing {
            return next;
        }
        next.names = self.names.after_crash(&mut chooser);
        for (_, file) in next.names.all() {
            if let Some(content) = self.files.get(&file) {
                next.files.insert(file, content.after_crash(&mut chooser));
            }
        }
        next
    }

    fn successor(&self, event: String) -> Self {
        let mut trace = self.trace.clone();
        trace.event(event);
        Self {
            filesystem: self.filesystem,
            next_file: self.next_file,
            moment: self.moment,
            capacity: self.capacity,
            bad_sectors: self.bad_sectors.clone(),
            trace,
            ..Self::default()
        }
    }

    fn pending(&self) -> PendingSummary {
        let (mut moments, mut summary) = (BTreeSet::new(), PendingSummary::default());
        if let Directory::Pending(moment) = self.directory {
            moments.insert(moment);
            summary.items += 1;
        }
        self.names.summarize(&mut moments, &mut summary);
        for content in self.files.values() {
            content.summarize(&mut moments, &mut summary);
        }
        summary.moments = moments.into_iter().collect();
        summary
    }

    /// The first of the bytes, as many as there is space for.
    fn fitting<'a>(&self, file: FileId, bytes: &'a [u8], offset: u64) -> io::Result<&'a [u8]> {
        if self.capacity.is_none() {
            return Ok(bytes);
        }
        let (free, content) = (self.free_bytes(), self.content(file)?);
        let mut len = bytes.len();
        while len > 0 && content.would_allocate(len, offset) > free {
            // Back to the last page boundary before the end.
            let end = offset + len as u64;
            let boundary = (end - 1) / 4096 * 4096;
            len = usize::try_from(boundary.saturating_sub(offset)).unwrap_or(0);
        }
        if len == 0 && !bytes.is_empty() {
            Err(fault::no_space())
        } else {
            Ok(bytes.get(..len).unwrap_or_default())
        }
    }
}
