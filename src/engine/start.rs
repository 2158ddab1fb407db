//! From options to a running engine: recover, set up the desk and the log, bump the incarnation, start the threads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mq_core::backend::{Durability as Achieved, Stopped};
use mq_core::id::StoreTag;
use mq_core::manager::{Open, QueueManager};
use mq_core::signal::Signal;
use mq_core::telemetry::store;
use mq_core::time::{StoreTime, Timestamp};
use mq_persistence::frame::Frame;
use mq_persistence::identity::Identity;
use mq_persistence::keeper::Keeper;
use mq_persistence::open::{JournalOptions, OpenInputs, OpenReport};
use mq_persistence::storage::{DirectoryStorage, Storage, StorageLock};

use super::backend::EngineBackend;
use super::bulk::BulkRunner;
use super::cache::EnvelopeCache;
use super::desk::{Desk, DeskSetup, Paper, SYNC_WITHIN};
use super::effects::Needs;
use super::estate::{Estate, Inside};
use super::maintenance::Maintenance;
use super::shell::{LogSide, Shell, ShellSetup};
use super::sight::Sight;
use super::time_keeper::TimeKeeper;
use super::{Engine, Owner};
use crate::builder::{BRIEF, Builder, Place};
use crate::control::{ControlSocket, SOCKET_NAME, Server};
use crate::environment::Environment;
use crate::error::OpenError;
use crate::options::{Durability, Options};

/// What a store brings along, be it on disk or in memory.
struct Ground {
    identity: Identity,
    manager: QueueManager,
    paper: Option<Paper>,
    log: Option<mq_persistence::log::Log>,
    keeper: Option<Keeper>,
    lock: Option<Box<dyn StorageLock>>,
    store_time: StoreTime,
    report: Option<OpenReport>,
    /// How long it took to get there.
    recovery: Duration,
}

impl Engine {
    pub(crate) fn start(builder: Builder) -> Result<Self, OpenError> {
        let Builder {
            place,
            options,
            environment,
            control,
            ..
        } = builder;
        let mut random = Random::new(environment.seed);
        let began = environment.clock.monotonic();
        let (mut ground, folder) = match place {
            Place::Directory(path) => {
                let storage = environment.storage.clone().unwrap_or_else(|| {
                    Arc::new(DirectoryStorage::new(path.clone())) as Arc<dyn Storage>
                });
                let ground = ground_on_disk(storage, &options, &environment, &mut random)?;
                (ground, Some(path).filter(|_| environment.storage.is_none()))
            }
            Place::Memory => (ground_in_memory(&options, &environment, &mut random), None),
        };
        ground.recovery = environment.clock.monotonic().saturating_sub(began);
        log_opened(&ground);
        let served = folder.as_deref().filter(|_| control);
        let engine = Self::on(ground, &options, &environment, served)?;
        if let Some(path) = folder {
            // Whoever reads it may work in another folder.
            let path = std::path::absolute(&path).unwrap_or(path);
            engine.shell().sight.folder.get_or_init(|| path);
        }
        Ok(engine)
    }

    fn on(
        ground: Ground,
        options: &Options,
        environment: &Environment,
        control: Option<&Path>,
    ) -> Result<Self, OpenError> {
        let is_memory = ground.paper.is_none();
        let (needs, achieved, sync_within) = match options.durability {
            _ if is_memory => (Needs::Write, Achieved::Memory, Some(SYNC_WITHIN)),
            Durability::Synced => (Needs::Sync, Achieved::Synced, Some(SYNC_WITHIN)),
            Durability::Interval(interval) => (Needs::Write, Achieved::Synced, Some(interval)),
            Durability::Buffered => (Needs::Write, Achieved::Synced, None),
        };
        let desk = Desk::new(DeskSetup {
            manager: ground.manager,
            paper: ground.paper,
            cache: EnvelopeCache::new(if is_memory {
                u64::MAX
            } else {
                options.payload_cache
            }),
            time: TimeKeeper::new(Arc::clone(&environment.clock), ground.store_time),
            sight: Arc::new(Sight::new(options, ground.recovery)),
            written_is_durable: needs == Needs::Write,
            sync_within,
            fires_schedules: options.fires_schedules,
        });
        let log = LogSide::new(ground.log, Frame::new(&ground.identity), achieved);
        let setup = ShellSetup {
            desk,
            log,
            identity: ground.identity,
            payload_size_max: options.payload_size_max,
            needs,
            signal: Signal::new(environment.park.parker()),
            maintenance: Signal::new(environment.park.parker()),
            bulk: Signal::new(environment.park.parker()),
            keeper: ground.keeper,
            park: Arc::clone(&environment.park),
            clock: Arc::clone(&environment.clock),
        };
        let shell = Shell::new(setup).map_err(|error| {
            OpenError::Stopped(Stopped::Poisoned {
                operation: "making the rings".to_owned(),
                reason: error.to_string(),
            })
        })?;
        let shell = Arc::new(shell);
        bump_incarnation(&shell)?;
        let mut threads = start_threads(&shell, environment)?;
        let backend = EngineBackend(shell);
        let guest = Engine::guest(backend.clone(), options.full_wait);
        let (control, server) = serve_control(control, guest, environment, &mut threads);
        let owner = Owner {
            backend: backend.clone(),
            report: ground.report,
            full_wait: options.full_wait,
            retry: options.retry,
            control,
            estate: Some(Estate::new(backend, threads, ground.lock, server)),
        };
        Ok(Self {
            owner: Arc::new(owner),
        })
    }
}

/// Serves the control socket, if there is to be one. A store without it is open all the same.
fn serve_control(
    folder: Option<&Path>,
    guest: Engine,
    environment: &Environment,
    threads: &mut Vec<std::thread::JoinHandle<()>>,
) -> (ControlSocket, Option<Server>) {
    let Some(folder) = folder else {
        return (ControlSocket::Off, None);
    };
    match Server::start(folder, guest, environment.spawn.as_ref()) {
        Ok((server, path, thread)) => {
            threads.push(thread);
            (ControlSocket::At(path), Some(server))
        }
        Err(source) => {
            let path = folder.join(SOCKET_NAME);
            tracing::warn!(path = %path.display(), error = %source, "no control socket: mq cannot operate this store while it is open");
            (ControlSocket::Failed { path, source }, None)
        }
    }
}

fn log_opened(ground: &Ground) {
    let Some(report) = &ground.report else { return };
    let journal = report.journal.as_ref();
    tracing::info!(
        name: store::OPENED,
        target: store::TARGET,
        created = report.created,
        frames = journal.map(|journal| journal.frames),
        records = journal.map(|journal| journal.records),
        bytes = journal.map(|journal| journal.bytes),
        end = ?journal.map(|journal| &journal.end),
        damaged_snapshots = report.damaged_snapshots.len(),
        duration_s = ground.recovery.as_secs_f64(),
        "the store is open"
    );
}

/// Each opening has its own number, durable before anything is served: leases of former openings are stale.
fn bump_incarnation(shell: &Shell) -> Result<(), OpenError> {
    let opened = shell.look(|desk, now| {
        let opened = desk.decide(now, &Open);
        desk.want_sync();
        opened
    });
    opened.map_err(|refused| Stopped::Poisoned {
        operation: "opening".to_owned(),
        reason: refused.to_string(),
    })?;
    let mut side = shell.lock_log();
    // Each round may find something that has become due; whatever it is, the opening does not wait for the time of its sync.
    while !shell.look(|desk, _| desk.is_settled()) {
        shell.look(|desk, _| desk.want_sync());
        shell.round(&mut side)?;
    }
    Ok(())
}

type Work = Box<dyn FnOnce() + Send>;

fn start_threads(
    shell: &Arc<Shell>,
    environment: &Environment,
) -> Result<Vec<std::thread::JoinHandle<()>>, OpenError> {
    let refused = |source| OpenError::System {
        what: "a thread",
        source,
    };
    let committer = Arc::clone(shell);
    let maintenance = Maintenance::new(Arc::clone(shell));
    let bulk = BulkRunner::new(Arc::clone(shell));
    let work: [(&str, Work); 3] = [
        ("mq-commit", Box::new(move || committer.run())),
        ("mq-maintain", Box::new(move || maintenance.run())),
        ("mq-bulk", Box::new(move || bulk.run())),
    ];
    let mut threads: Vec<std::thread::JoinHandle<()>> = Vec::new();
    for (name, work) in work {
        let work: Work = Box::new(move || {
            let _inside = Inside::enter();
            work();
        });
        match environment.spawn.spawn(name, work) {
            Ok(thread) => threads.push(thread),
            Err(source) => {
                // The store's lock may go only when nobody writes any more.
                shell.stop(Stopped::Closed);
                let ended = threads.drain(..).map(std::thread::JoinHandle::join);
                let panicked = ended.filter(Result::is_err).count();
                tracing::debug!(panicked, "the threads started so far have ended");
                return Err(refused(source));
            }
        }
    }
    Ok(threads)
}

fn ground_on_disk(
    storage: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
    random: &mut Random,
) -> Result<Ground, OpenError> {
    let journal = JournalOptions {
        segment_size_max: options.segment_size_max,
        snapshot_after_min: options.snapshot_after,
        segment_size_first: options.segment_size_max.min(1 << 20),
        ..JournalOptions::default()
    };
    let inputs = OpenInputs {
        wall: environment.clock.wall(),
        config: options.config(random.next()),
        owner: format!(
            "pid {} ({}){}",
            std::process::id(),
            program_name(),
            if options.is_brief { BRIEF } else { "" }
        ),
        random: &mut || random.next(),
    };
    let opened = mq_persistence::open::open(storage, &journal, inputs)?;
    let frame = Frame::new(&opened.identity);
    Ok(Ground {
        identity: opened.identity,
        manager: opened.manager,
        paper: Some(Paper {
            frame,
            places: opened.places,
            spares: Arc::clone(opened.keeper.pool()),
        }),
        log: Some(opened.log),
        keeper: Some(opened.keeper),
        lock: Some(opened.lock),
        store_time: opened.store_time,
        report: Some(opened.report),
        recovery: Duration::ZERO,
    })
}

fn ground_in_memory(options: &Options, environment: &Environment, random: &mut Random) -> Ground {
    let (high, low) = (random.next(), random.next());
    let secret = ((u128::from(high) << 64) | u128::from(low)).to_le_bytes();
    let tag = StoreTag::new(u32::try_from(random.next() >> 32).unwrap_or_default());
    let created: Timestamp = environment.clock.wall();
    let config = mq_core::manager::Config {
        tag,
        ..options.config(random.next())
    };
    Ground {
        identity: Identity {
            uuid: secret,
            tag,
            secret,
            created,
        },
        manager: QueueManager::new(config),
        paper: None,
        log: None,
        keeper: None,
        lock: None,
        store_time: StoreTime::from_ms(0),
        report: None,
        recovery: Duration::ZERO,
    }
}

/// The name of this program's file.
pub(crate) fn program_name() -> String {
    let program = std::env::current_exe().ok();
    let name = program.as_deref().and_then(std::path::Path::file_name);
    name.map_or_else(
        || "unknown program".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Random numbers: from the seed seam if it is given, else from the operating system's keyed hasher.
struct Random {
    state: u64,
    system: Option<std::hash::RandomState>,
}

impl Random {
    fn new(seed: Option<u64>) -> Self {
        Self {
            state: seed.unwrap_or_default(),
            system: seed.is_none().then(std::hash::RandomState::new),
        }
    }

    /// Source: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
    fn next(&mut self) -> u64 {
        use std::hash::BuildHasher;
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        if let Some(system) = &self.system {
            return system.hash_one(self.state); // SipHash of a counter under keys from the operating system
        }
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
