//! Faults that a test arms on the simulated disk: the n-th call of a kind answers otherwise than it should.
//!
//! What it does not do: crashes, and damage to what is already durable.

use std::io;

/// What a call does. Faults are aimed at a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IoKind {
    /// Reading bytes of a file.
    Read,
    /// Writing bytes of a file.
    Write,
    /// Syncing a file.
    SyncData,
    /// Cutting or growing a file.
    SetSize,
    /// Opening a file that exists.
    Open,
    /// Creating a file.
    Create,
    /// Renaming a file.
    Rename,
    /// Removing a name.
    Remove,
    /// Syncing the directory.
    SyncDirectory,
    /// Creating the directory, or syncing its parent.
    CreateDirectory,
    /// Taking the lock.
    Lock,
    /// Everything else that only looks: listing, sizes, free space, inspecting, verifying the lock.
    Look,
}

impl IoKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Read,
        Self::Write,
        Self::SyncData,
        Self::SetSize,
        Self::Open,
        Self::Create,
        Self::Rename,
        Self::Remove,
        Self::SyncDirectory,
        Self::CreateDirectory,
        Self::Lock,
        Self::Look,
    ];

    /// Whether it can change what a crash leaves behind. Only such calls are counted as crash points.
    #[must_use]
    pub const fn changes_disk(self) -> bool {
        match self {
            Self::Write
            | Self::SyncData
            | Self::SetSize
            | Self::Create
            | Self::Rename
            | Self::Remove
            | Self::SyncDirectory
            | Self::CreateDirectory
            | Self::Lock => true,
            Self::Read | Self::Open | Self::Look => false,
        }
    }
}

/// How a call answers instead of doing what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// An I/O error (EIO), and nothing happened. What a sync should have written stays pending.
    IoError,
    /// No space (ENOSPC), and nothing happened.
    NoSpace,
    /// Too many open files (EMFILE), and nothing happened.
    NoFile,
    /// Interrupted (EINTR), and nothing happened.
    Interrupted,
    /// A read or a write transfers half of its bytes. Other calls are not affected.
    Short,
    /// EIO from a sync that marks everything pending as clean: readers go on seeing it, no later sync writes it, and the next one
    /// answers `Ok`. Other calls answer EIO.
    SyncLostKept,
    /// EIO from a sync after which readers see what the device holds: the pending bytes are gone. A directory's names are kept in
    /// view, as under [`SyncLostKept`](Self::SyncLostKept). Other calls answer EIO.
    SyncLostReverted,
    /// A write or a sync answers `Ok` and does nothing; what the sync should have written is never written by a later one. Other calls
    /// are not affected.
    Lie,
}

impl Fault {
    /// The error of a call that does nothing but fail, or `None` when the fault has an effect of its own on calls of this kind.
    pub(super) fn plain_error(self, kind: IoKind) -> Option<io::Error> {
        let is_sync = matches!(kind, IoKind::SyncData | IoKind::SyncDirectory);
        match self {
            Self::IoError => Some(io_error()),
            Self::NoSpace => Some(no_space()),
            Self::NoFile => Some(io::Error::from_raw_os_error(EMFILE)),
            Self::Interrupted => Some(io::Error::from_raw_os_error(EINTR)),
            Self::SyncLostKept | Self::SyncLostReverted => (!is_sync).then(io_error),
            Self::Short | Self::Lie => None,
        }
    }
}

/// The numbers all Unix systems share.
const EINTR: i32 = 4;
const EIO: i32 = 5;
const EBADF: i32 = 9;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;

pub(super) fn io_error() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

pub(super) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(ENOSPC)
}

pub(super) fn not_open_for_writing() -> io::Error {
    io::Error::from_raw_os_error(EBADF)
}

/// The faults still to come.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultPlan {
    armed: Vec<Armed>,
}

#[derive(Clone, Debug)]
struct Armed {
    kind: IoKind,
    /// Calls of the kind to let pass first.
    pass: u64,
    times: u64,
    fault: Fault,
}

impl FaultPlan {
    pub(super) fn arm(&mut self, kind: IoKind, pass: u64, times: u64, fault: Fault) {
        self.armed.push(Armed {
            kind,
            pass,
            times,
            fault,
        });
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    /// Counts one call of `kind` and returns the fault that hits it.
    pub(super) fn next(&mut self, kind: IoKind) -> Option<Fault> {
        let mut hit = None;
        for armed in self.armed.iter_mut().filter(|armed| armed.kind == kind) {
            if armed.pass > 0 {
                armed.pass -= 1;
            } else if hit.is_none() {
                armed.times = armed.times.saturating_sub(1);
                hit = Some(armed.fault);
            }
        }
        self.armed.retain(|armed| armed.times > 0);
        hit
    }
}
