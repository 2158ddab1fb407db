//! Opening a store: lock, identity, snapshot, journal, and a new segment to go on in.
//!
//! Invariants:
//! 1. A store exists when `IDENT` does. Everything else that a new store needs is durable before; what an interrupted creation left is
//!    recognised and made again.
//! 2. Until everything was read and found whole, nothing is changed but the lock file. A refusal leaves the store as it was.
//! 3. The old end of the journal is never written to, cut or continued. The journal goes on in a new segment, whose first frame says
//!    where, and brings copies of what may not have been synced.
//! 4. A crash anywhere in here leaves a store that opens again, with the same messages.
//!
//! What it does not do: append the event of the opening, or anything else the queue manager decides; repair.

mod create;
mod error;
mod report;

use std::fmt;
use std::sync::Arc;

use mq_core::event::Event;
use mq_core::image::ImageRecord;
use mq_core::limits::CLOSED_GAP_MAX;
use mq_core::manager::{Config, QueueManager};
use mq_core::time::{Monotonic, Now, StoreTime, Timestamp};

use crate::error::Failure;
use crate::frame::Frame;
use crate::identity::{IDENT_NAME, IDENT_SIZE, Identity};
use crate::keeper::{Keeper, KeeperOptions};
use crate::log::Log;
use crate::lsn::Lsn;
use crate::pins::{SegmentFile, Segments};
use crate::places::Places;
use crate::record::Previous;
use crate::recovery::{
    self, Access, Contradiction, LastTime, Recovered, Recovery, Replay, SegmentsOnDisk,
};
use crate::segment::{self, SEGMENT_SIZE_MIN};
use crate::snapshot::{self, Loaded, Slots};
use crate::spares::{Material, Spare, SpareOptions, SparePool, Trouble};
use crate::storage::{Filesystem, LockRefusal, OpenMode, Storage, StorageLock, read_up_to_at};
pub(crate) use create::{create_as, write_identity};
pub use error::{Corruption, OpenError};
pub use report::OpenReport;

/// Name of the lock file.
pub const LOCK_NAME: &str = "LOCK";

/// What can be chosen about a journal. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Size of the first segments; rounded up to whole pages.
    pub segment_size_first: u32,
    /// Size that segments grow to as the store does.
    pub segment_size_max: u32,
    /// Segments kept ready.
    pub spares: usize,
    /// Journal written since the last snapshot before another is taken; or twice its size, if that is more.
    pub snapshot_after_min: u64,
    /// A segment with less than this part of it alive is compacted, in per cent.
    pub compaction_live_percent: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            segment_size_first: 1 << 20,
            segment_size_max: 64 << 20,
            spares: 2,
            snapshot_after_min: 256 << 20,
            compaction_live_percent: 30,
        }
    }
}

/// What comes from outside: clock, chance, settings, and who is asking.
pub struct OpenInputs<'a> {
    /// The wall clock now.
    pub wall: Timestamp,
    /// Random bits: the identity of a new store, and the salts of segments.
    pub random: &'a mut dyn FnMut() -> u64,
    /// Settings of the queue manager; the tag is taken from the store's identity.
    pub config: Config,
    /// Who opens the store, in words for whoever finds it locked.
    pub owner: String,
}

impl fmt::Debug for OpenInputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenInputs")
            .field("wall", &self.wall)
            .field("config", &self.config)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// A store that is open.
#[derive(Debug)]
pub struct Opened<R = QueueManager> {
    /// Who it is.
    pub identity: Identity,
    /// What the journal was replayed into: the queue manager.
    pub manager: R,
    /// The log, in a new segment; everything is durable.
    pub log: Log,
    /// Where the envelopes lie.
    pub places: Places,
    /// The housekeeper.
    pub keeper: Keeper,
    /// Store time to go on from: what was last recorded, and what of the time since then counts.
    pub store_time: StoreTime,
    /// What was found and done.
    pub report: OpenReport,
    /// Held for as long as the store is open. Drop it last.
    pub lock: Box<dyn StorageLock>,
}

/// Opens a store, creating it if there is none, and brings its queue manager to where it was.
///
/// The manager is as it was left: the event of this opening is the caller's to decide, append and apply.
///
/// # Errors
/// [`OpenError`]; nothing was changed but the lock file, which is released again.
pub fn open(
    storage: Arc<dyn Storage>,
    options: &JournalOptions,
    inputs: OpenInputs<'_>,
) -> Result<Opened, OpenError> {
    let config = inputs.config.clone();
    let mut opened = open_into(storage, options, inputs, |identity| {
        QueueManager::new(Config {
            tag: identity.tag,
            ..config
        })
    })?;
    opened.manager.durable(u64::MAX);
    Ok(opened)
}

/// Opens a store, creating it if there is none, and replays it into what `begin` makes of its identity.
///
/// # Errors
/// [`OpenError`]; nothing was changed but the lock file, which is released again.
pub fn open_into<R: Replay>(
    storage: Arc<dyn Storage>,
    options: &JournalOptions,
    inputs: OpenInputs<'_>,
    begin: impl FnOnce(&Identity) -> R,
) -> Result<Opened<R>, OpenError> {
    storage
        .create_directory()
        .map_err(Failure::of("creation", &storage.describe()))?;
    let facts = storage.inspect()?;
    create::refuse_foreign(&list(&*storage)?)?;
    let lock = storage.lock(LOCK_NAME, &inputs.owner)?;
    let mut names = list(&*storage)?;
    if !names.iter().any(|name| name == IDENT_NAME) {
        create::create(
            &storage,
            options,
            facts.filesystem,
            inputs.wall,
            inputs.random,
        )?;
        names = list(&*storage)?;
    }
    let opening = Opening {
        identity: read_identity(&*storage)?,
        options: *options,
        filesystem: facts.filesystem,
        wall: inputs.wall,
        salt_seed: (inputs.random)(),
        storage,
    };
    let manager = begin(&opening.identity);
    opening.run(&names, manager, facts.permissions, lock)
}

impl Replay for QueueManager {
    fn image(&mut self, record: ImageRecord) -> Result<(), Contradiction> {
        self.restore(record).map_err(|error| Contradiction {
            reason: error.to_string(),
        })
    }

    fn event(&mut self, event: &Event) -> Result<(), Contradiction> {
        self.apply(event, 0).map_err(|error| Contradiction {
            reason: error.to_string(),
        })
    }
}

/// What the steps of opening share.
struct Opening {
    storage: Arc<dyn Storage>,
    identity: Identity,
    options: JournalOptions,
    filesystem: Filesystem,
    wall: Timestamp,
    salt_seed: u64,
}

impl Opening {
    fn run<R: Replay>(
        self,
        names: &[String],
        mut manager: R,
        permissions: u32,
        lock: Box<dyn StorageLock>,
    ) -> Result<Opened<R>, OpenError> {
        sync_all(&*self.storage, names)?;
        let loaded = snapshot::load_best(&*self.storage, &self.identity)?;
        let on_disk = SegmentsOnDisk::list(
            Arc::clone(&self.storage),
            &self.identity,
            names,
            Access::Map,
        )?;
        let segments = Arc::new(Segments::new(self.identity.clone()));
        let mut places = Places::new(Arc::clone(&segments));
        let recovered = Recovery {
            identity: &self.identity,
            on_disk: &on_disk,
            snapshot: loaded.contents.as_ref(),
            damaged: &loaded.damaged,
            places: &mut places,
            replay: &mut manager,
        }
        .run()?;
        drop(on_disk);
        let created = is_new(&recovered, &loaded);
        let report = self.report(permissions, created, &loaded, &recovered);
        let pool = self.pool(&segments, names);
        let (log, store_time) = self.go_on(&pool, &mut places, recovered, names)?;
        let keeper = self.keeper(segments, pool, loaded.slots);
        Ok(Opened {
            identity: self.identity,
            manager,
            log,
            places,
            keeper,
            store_time,
            report,
            lock,
        })
    }

    /// Begins a new segment, and makes durable in it what may not have been.
    fn go_on(
        &self,
        pool: &Arc<SparePool>,
        places: &mut Places,
        recovered: Recovered,
        names: &[String],
    ) -> Result<(Log, StoreTime), OpenError> {
        let store_time = store_time(recovered.last, self.wall);
        let now = Now {
            wall: self.wall,
            monotonic: Monotonic::default(),
            store: store_time,
        };
        // Segments that were ready before are ready again: a store on a full disk opens too.
        pool.adopt(self.open_spares(recovered.untouched)?);
        let mut frame = recovered.frame;
        let (log, written) =
            begin_segment(&self.identity, pool, &mut frame, &recovered.previous, &now)?;
        places.note(&written);
        let debris = names.iter().filter(|name| segment::is_spare_name(name));
        debris
            .filter_map(|name| self.material(name))
            .for_each(|material| pool.add_material(material));
        Ok((log, store_time))
    }

    /// Opens segments that were never used, for writing.
    fn open_spares(&self, segments: Vec<SegmentFile>) -> Result<Vec<Spare>, OpenError> {
        let open = |segment: SegmentFile| {
            let name = segment.name();
            let opened = self.storage.open(name, OpenMode::ReadWrite);
            let file = opened.map_err(Failure::of("open", name))?;
            Ok(Spare {
                segment: Arc::new(segment),
                file,
            })
        };
        segments.into_iter().map(open).collect()
    }

    fn material(&self, name: &str) -> Option<Material> {
        let file = self.storage.open(name, OpenMode::Read).ok()?;
        let size = u32::try_from(file.size().ok()?).ok()?;
        Some(Material {
            name: name.to_owned(),
            size,
        })
    }

    fn pool(&self, segments: &Arc<Segments>, names: &[String]) -> Arc<SparePool> {
        let options = spare_options(&self.options, self.filesystem, self.salt_seed, self.wall);
        Arc::new(SparePool::new(
            Arc::clone(&self.storage),
            Arc::clone(segments),
            options,
            next_number(names),
        ))
    }

    fn keeper(&self, segments: Arc<Segments>, pool: Arc<SparePool>, slots: Slots) -> Keeper {
        let options = KeeperOptions {
            snapshot_after_min: self.options.snapshot_after_min,
            compaction_live_percent: self.options.compaction_live_percent,
        };
        Keeper::new(Arc::clone(&self.storage), segments, pool, slots, options)
    }

    fn report(
        &self,
        permissions: u32,
        created: bool,
        loaded: &Loaded,
        recovered: &Recovered,
    ) -> OpenReport {
        let behind = recovered.last.wall.since(self.wall).as_millis();
        OpenReport {
            created,
            filesystem: self.filesystem,
            permissions,
            snapshot: loaded.contents.as_ref().map(|contents| contents.facts),
            damaged_snapshots: loaded.damaged.clone(),
            journal: (!created).then(|| recovered.facts.clone()),
            wall_clock_behind_ms: u64::try_from(behind).unwrap_or(u64::MAX),
        }
    }
}

/// Writes and syncs the first frame of a new segment.
fn begin_segment(
    identity: &Identity,
    pool: &Arc<SparePool>,
    frame: &mut Frame,
    previous: &Previous,
    now: &Now,
) -> Result<(Log, crate::log::Written), OpenError> {
    let size = u32::try_from(frame.size()).unwrap_or(u32::MAX);
    let size_min = Log::segment_size_for(size);
    let ready = if pool.room().free_spare_bytes > 0 {
        pool.take(size_min)
    } else {
        None
    };
    let spare = ready.map_or_else(|| prepare(pool, size_min), Ok)?;
    let mut log = Log::new(
        identity.clone(),
        Arc::clone(pool),
        spare,
        previous.end,
        previous.crc,
    );
    let written = log.write_first(frame, now)?;
    Ok((log, written))
}

fn prepare(pool: &SparePool, size_min: u32) -> Result<Spare, OpenError> {
    pool.prepare_now(size_min).map_err(|trouble| match trouble {
        Trouble::NoRoom => match pool.lack_of_files() {
            Some(source) => Failure::of("creation", "a segment")(source).into(),
            None => OpenError::DiskFull { wanted: size_min },
        },
        Trouble::Journal(error) => error.into(),
    })
}

fn spare_options(
    options: &JournalOptions,
    filesystem: Filesystem,
    salt_seed: u64,
    opened: Timestamp,
) -> SpareOptions {
    let size_first = segment::align_page(options.segment_size_first.max(SEGMENT_SIZE_MIN));
    SpareOptions {
        size_first,
        size_max: segment::align_page(options.segment_size_max).max(size_first),
        count: options.spares,
        in_place: filesystem.overwrites_in_place(),
        salt_seed,
        opened,
    }
}

/// A number above that of every file there is.
fn next_number(names: &[String]) -> u32 {
    let numbers = names
        .iter()
        .filter_map(|name| segment::number_of(name).or_else(|| segment::spare_number_of(name)));
    numbers.max().unwrap_or(0).saturating_add(1)
}

/// Whether the store was never opened before: it consists of the frame that its creation wrote.
fn is_new(recovered: &Recovered, loaded: &Loaded) -> bool {
    let facts = &recovered.facts;
    loaded.contents.is_none() && facts.records == 0 && facts.durable == Lsn::START
}

/// What was last recorded, and what of the time since then counts: a clock that was set wrong in between destroys little.
fn store_time(last: LastTime, wall: Timestamp) -> StoreTime {
    last.store.after(wall.since(last.wall).min(CLOSED_GAP_MAX))
}

fn list(storage: &dyn Storage) -> Result<Vec<String>, OpenError> {
    Ok(storage.list().map_err(Failure::of("list", ""))?)
}

fn read_identity(storage: &dyn Storage) -> Result<Identity, OpenError> {
    let opened = storage.open(IDENT_NAME, OpenMode::Read);
    let file = opened.map_err(Failure::of("open", IDENT_NAME))?;
    let mut bytes = [0; IDENT_SIZE];
    let read = read_up_to_at(&*file, &mut bytes, 0).map_err(Failure::of("read", IDENT_NAME))?;
    let identity = Identity::decode(bytes.get(..read).unwrap_or_default());
    identity.map_err(|error| recovery::header_error(IDENT_NAME, error))
}

/// Syncs what recovery is going to believe, beside the segments, which are synced as they are opened.
fn sync_all(storage: &dyn Storage, names: &[String]) -> Result<(), OpenError> {
    storage
        .sync_directory()
        .map_err(Failure::of("sync of the directory", ""))?;
    let files = names.iter().filter(|name| {
        name.as_str() == IDENT_NAME || snapshot::SLOT_NAMES.contains(&name.as_str())
    });
    for name in files {
        let opened = storage.open(name, OpenMode::Read);
        let file = opened.map_err(Failure::of("open", name))?;
        file.sync_data().map_err(Failure::of("sync", name))?;
    }
    Ok(())
}

impl From<LockRefusal> for OpenError {
    fn from(refusal: LockRefusal) -> Self {
        match refusal {
            LockRefusal::Held { owner } => Self::InUse { owner },
            LockRefusal::Io(source) => Self::Io(Failure::of("lock", LOCK_NAME)(source)),
        }
    }
}
