//! A store without rules, driven as an engine drives one: commands are refused early, frames are synced, the housekeeper runs in
//! between.

use std::collections::BTreeSet;

use mq_core::event::Event;
use mq_core::id::Seq;
use mq_persistence::JournalError;
use mq_persistence::compaction::still_lives;
use mq_persistence::frame::Frame;
use mq_persistence::keeper::Snapshotted;
use mq_persistence::open::{JournalOptions, OpenError, Opened};
use mq_persistence::reclaim::Survey;
use mq_persistence::recovery::Replay;
use mq_persistence::spares::Prepared;
use mq_testing::sim_disk::SimDisk;

use crate::fixture::{enqueued, image, now, sealed, seq};
use crate::journal::{self, Model};

/// What a test counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) snapshots: u64,
    pub(crate) snapshots_without_room: u64,
    pub(crate) relocations: u64,
    pub(crate) reclaimed: usize,
}

/// An open store.
pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    pub(crate) opened: Opened<Model>,
    pub(crate) counts: Counts,
    frame: Frame,
    time: u64,
}

impl Store {
    pub(crate) fn open(disk: &SimDisk, options: &JournalOptions, time: u64) -> Self {
        Self::try_open(disk, options, time).unwrap()
    }

    pub(crate) fn try_open(
        disk: &SimDisk,
        options: &JournalOptions,
        time: u64,
    ) -> Result<Self, OpenError> {
        let opened = journal::open(disk, options, time)?;
        Ok(Self {
            disk: disk.clone(),
            frame: Frame::new(&opened.identity),
            opened,
            counts: Counts::default(),
            time,
        })
    }

    pub(crate) fn live(&self) -> &BTreeSet<Seq> {
        &self.opened.manager.live
    }

    /// Enqueues a message of `size` bytes into the open frame; `None` if the disk is low.
    pub(crate) fn enqueue(&mut self, size: usize) -> Option<Seq> {
        if self.opened.keeper.room().low {
            return None;
        }
        let seq = self.opened.manager.last.next();
        let mut sealed = sealed(seq.get(), size);
        sealed.crc = self.opened.identity.seed().checksum(&sealed.bytes);
        self.append(&Event::Enqueued(enqueued(seq.get(), Some(sealed))));
        Some(seq)
    }

    pub(crate) fn finish(&mut self, seq: Seq) {
        self.append(&Event::Finished { seq });
    }

    fn append(&mut self, event: &Event) {
        self.opened.manager.event(event).unwrap();
        self.frame.append(event);
    }

    /// Writes the open frame and syncs it.
    pub(crate) fn commit(&mut self) -> Result<(), JournalError> {
        self.write()?;
        self.opened.log.sync().map(drop)
    }

    pub(crate) fn write(&mut self) -> Result<(), JournalError> {
        self.time += 1;
        let written = self.opened.log.write(&mut self.frame, &now(self.time))?;
        self.opened.places.note(&written);
        Ok(())
    }

    pub(crate) fn survey(&mut self) -> Survey {
        let Opened {
            keeper,
            places,
            log,
            ..
        } = &mut self.opened;
        keeper.survey(places, log.written(), log.durable())
    }

    pub(crate) fn snapshot(&mut self) -> Result<Snapshotted, JournalError> {
        let at = self.opened.log.sync()?;
        let places = self.opened.places.image();
        let live: Vec<u64> = self.live().iter().map(|seq| seq.get()).collect();
        let mut records = image(live);
        if let Some(mq_core::image::ImageRecord::Counters { last_seq, .. }) = records.first_mut() {
            *last_seq = self.opened.manager.last;
        }
        let keeper = &mut self.opened.keeper;
        let taken = keeper.snapshot(records.into_iter(), places, (at, at), &now(self.time))?;
        match taken {
            Snapshotted::Taken(_) => self.counts.snapshots += 1,
            Snapshotted::NoRoom => self.counts.snapshots_without_room += 1,
        }
        Ok(taken)
    }

    /// Prepares until there is nothing left to prepare.
    pub(crate) fn prepare(&mut self) -> Result<Prepared, JournalError> {
        loop {
            match self.opened.keeper.prepare_spares()? {
                Prepared::Progress => {}
                done @ (Prepared::Enough | Prepared::DiskLow) => return Ok(done),
            }
        }
    }

    /// Moves what still lives in old segments, a little.
    pub(crate) fn compact(&mut self, size_max: usize) -> Result<(), JournalError> {
        let Ok(relocations) = self.opened.keeper.read_live(size_max) else {
            return Ok(());
        };
        for relocation in relocations {
            if still_lives(&self.opened.places, &relocation) {
                self.frame.append_relocation(&relocation);
                self.counts.relocations += 1;
            }
        }
        self.commit()
    }

    /// One round of everything that is wanted.
    pub(crate) fn maintain(&mut self) -> Result<(), JournalError> {
        let survey = self.survey();
        if survey.snapshot {
            self.snapshot()?;
        }
        self.counts.reclaimed += self.opened.keeper.reclaim();
        self.prepare()?;
        if survey.compaction {
            self.compact(16 << 10)?;
        }
        Ok(())
    }

    /// Bytes of all files.
    pub(crate) fn disk_size(&self) -> usize {
        let names = self.disk.file_names();
        let sizes = names.iter().filter_map(|name| self.disk.file_bytes(name));
        sizes.map(|bytes| bytes.len()).sum()
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(self, options: &JournalOptions) -> Self {
        let Self {
            disk, opened, time, ..
        } = self;
        opened.log.close(&now(time + 1)).unwrap();
        drop(opened.lock);
        Self::open(&disk, options, time + 10)
    }

    /// Whether the message can be read back byte for byte.
    pub(crate) fn holds(&self, number: u64, size: usize) -> bool {
        let pinned = self.opened.places.pin(seq(number));
        pinned.is_some_and(|pinned| pinned.read().unwrap().bytes == sealed(number, size).bytes)
    }
}
