//! A queue of eighty lines on the storage seam, correct or broken in one of the ways that real stores were.
//!
//! One file, `log`, of checked records, each padded to whole sectors. It is replaced at each open, and when it has grown, by one that
//! holds only what is live: written aside, synced, renamed, and the directory synced. After an error nothing is answered any more.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use mq_persistence::storage::{
    LockRefusal, OpenMode, Storage, StorageFile, StorageLock, read_up_to_at, write_all_at,
};
use mq_testing::sim_disk::SECTOR_SIZE;

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing.
    None,
    /// Answers when the bytes are written.
    AnswersBeforeSync,
    /// Leaves the directory as it is after creating and renaming.
    SkipsDirectorySync,
    /// Renames the new log into place before its bytes are synced.
    RenamesBeforeSync,
    /// Reads records without checking their sums.
    BelievesTornRecords,
    /// Does not pad: a record may begin in a sector that holds an answered one.
    SharesSectors,
    /// Hands out what it finds at open, although it may be in the cache only.
    TrustsTheCache,
    /// Calls a failed sync again and believes the second answer.
    RetriesFailedSync,
}

const HEADER_LEN: usize = 24;
const ENQUEUE: u8 = 1;
const ACK: u8 = 2;
/// The log is replaced after so many records.
const RECORDS_MAX: usize = 10;

/// An open store.
#[derive(Debug)]
pub(crate) struct ToyStore {
    storage: Arc<dyn Storage>,
    flaw: Flaw,
    log: Arc<dyn StorageFile>,
    end: u64,
    records: usize,
    live: BTreeMap<u64, Vec<u8>>,
    poisoned: bool,
    _lock: Box<dyn StorageLock>,
}

impl ToyStore {
    /// Opens the store, whatever a crash left of it.
    pub(crate) fn open(storage: Arc<dyn Storage>, flaw: Flaw) -> io::Result<Self> {
        storage.create_directory()?;
        let lock = storage
            .lock("LOCK", "toy")
            .map_err(|refusal| match refusal {
                LockRefusal::Held { owner } => io::Error::other(owner),
                LockRefusal::Io(error) => error,
            })?;
        let found = match storage.open("log", OpenMode::ReadWrite) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let (live, end) = match &found {
            Some(file) => parse(&read_all(file.as_ref())?, flaw),
            None => (BTreeMap::new(), 0),
        };
        let (log, end) = match found {
            Some(file) if flaw == Flaw::TrustsTheCache => (file, end),
            _ => replace_log(storage.as_ref(), &live, flaw)?,
        };
        Ok(Self {
            storage,
            flaw,
            log,
            end,
            records: 0,
            live,
            poisoned: false,
            _lock: lock,
        })
    }

    /// What is live, oldest first.
    pub(crate) fn live(&self) -> Vec<(u64, Vec<u8>)> {
        self.live
            .iter()
            .map(|(id, payload)| (*id, payload.clone()))
            .collect()
    }

    /// Adds a message; durable when answered.
    pub(crate) fn enqueue(&mut self, id: u64, payload: &[u8]) -> io::Result<()> {
        self.append(ENQUEUE, id, payload)?;
        self.live.insert(id, payload.to_vec());
        Ok(())
    }

    /// Settles a message; durable when answered.
    pub(crate) fn ack(&mut self, id: u64) -> io::Result<()> {
        self.append(ACK, id, &[])?;
        self.live.remove(&id);
        Ok(())
    }

    fn append(&mut self, kind: u8, id: u64, payload: &[u8]) -> io::Result<()> {
        if self.poisoned {
            return Err(io::Error::other("poisoned"));
        }
        let answer = self.append_or_fail(kind, id, payload);
        self.poisoned = answer.is_err();
        answer
    }

    fn append_or_fail(&mut self, kind: u8, id: u64, payload: &[u8]) -> io::Result<()> {
        if self.records == RECORDS_MAX {
            (self.log, self.end) = replace_log(self.storage.as_ref(), &self.live, self.flaw)?;
            self.records = 0;
        }
        let record = encode(kind, id, payload, self.flaw);
        write_all_at(self.log.as_ref(), &record, self.end)?;
        self.end += record.len() as u64;
        self.records += 1;
        match (self.flaw, self.log.sync_data()) {
            (Flaw::AnswersBeforeSync, _) => Ok(()),
            (Flaw::RetriesFailedSync, Err(_)) => self.log.sync_data(),
            (_, answer) => answer,
        }
    }
}

/// Writes what is live to a new log and puts it in the old one's place.
fn replace_log(
    storage: &dyn Storage,
    live: &BTreeMap<u64, Vec<u8>>,
    flaw: Flaw,
) -> io::Result<(Arc<dyn StorageFile>, u64)> {
    match storage.remove("log.new") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let log = storage.open("log.new", OpenMode::CreateNew)?;
    let bytes: Vec<u8> = live
        .iter()
        .flat_map(|(id, payload)| encode(ENQUEUE, *id, payload, flaw))
        .collect();
    write_all_at(log.as_ref(), &bytes, 0)?;
    if flaw != Flaw::RenamesBeforeSync {
        log.sync_data()?;
    }
    storage.rename("log.new", "log")?;
    if flaw != Flaw::SkipsDirectorySync {
        storage.sync_directory()?;
    }
    if flaw == Flaw::RenamesBeforeSync {
        log.sync_data()?;
    }
    Ok((log, bytes.len() as u64))
}

fn read_all(file: &dyn StorageFile) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.size()?).unwrap()];
    let len = read_up_to_at(file, &mut bytes, 0)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// `sum 8 · id 8 · len 4 · kind 1 · zeros 3 · payload`, padded to whole sectors.
fn encode(kind: u8, id: u64, payload: &[u8], flaw: Flaw) -> Vec<u8> {
    let mut record = vec![0; 8];
    record.extend(id.to_le_bytes());
    record.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    record.extend([kind, 0, 0, 0]);
    record.extend(payload);
    let sum = checksum(&record[8..]);
    record[..8].copy_from_slice(&sum.to_le_bytes());
    if flaw != Flaw::SharesSectors {
        record.resize(record.len().next_multiple_of(SECTOR_SIZE), 0);
    }
    record
}

/// What is live after the valid records, and where they end.
fn parse(bytes: &[u8], flaw: Flaw) -> (BTreeMap<u64, Vec<u8>>, u64) {
    let (mut live, mut at) = (BTreeMap::new(), 0);
    while let Some(header) = bytes.get(at..at + HEADER_LEN) {
        let sum = u64::from_le_bytes(header[..8].try_into().unwrap());
        let id = u64::from_le_bytes(header[8..16].try_into().unwrap());
        let len = usize::try_from(u32::from_le_bytes(header[16..20].try_into().unwrap())).unwrap();
        let Some(checked) = bytes.get(at + 8..at + HEADER_LEN + len) else {
            break;
        };
        if flaw != Flaw::BelievesTornRecords && checksum(checked) != sum {
            break;
        }
        match header[20] {
            ENQUEUE => live.insert(id, checked[HEADER_LEN - 8..].to_vec()),
            ACK => live.remove(&id),
            _ => break,
        };
        at += HEADER_LEN + len;
        if flaw != Flaw::SharesSectors {
            at = at.next_multiple_of(SECTOR_SIZE);
        }
    }
    (live, at as u64)
}

/// FNV-1a; never 0 for zeros.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
