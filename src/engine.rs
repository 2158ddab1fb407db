//! The engine handle: cheap to clone, safe to share, the one way in.
//!
//! The rooms behind it, in the order of a message's way: [`prepare`] (caller's thread) → [`shell`] (rings, tokens) →
//! [`desk`] (decide, append, apply) → [`effects`] (what may leave when) → [`inbox`] (leases for pools). Beside them:
//! [`backend`] (the contract that dispatch knows), [`scheduler`], [`maintenance`], [`cache`], [`estate`], [`time_keeper`].

mod backend;
mod bulk;
mod cache;
mod copies;
mod desk;
mod effects;
mod estate;
mod gather;
mod inbox;
mod indexes;
mod jobs;
mod maintenance;
mod measure;
mod prepare;
mod previous;
mod scan;
mod scheduler;
mod shell;
mod sight;
mod start;
mod telling;
mod time_keeper;
mod waiters;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Backend, PreviousOf, Stopped, WhenFull};
use mq_core::id::MessageId;
use mq_core::key::Key;
use mq_core::message::{Envelope, NewMessage};
use mq_core::name::QueueName;
use mq_core::view::Lookup;
use mq_dispatch::{Message, Previous, PreviousError, Retry, Workers, WorkersBuilder};
use mq_persistence::open::OpenReport;

pub(crate) use backend::{EngineBackend, block_on, block_until_ready};
pub(crate) use desk::Desk;
pub(crate) use effects::Needs;
pub(crate) use estate::Inside;
pub(crate) use jobs::{EnqueueJob, EnqueuePromise};
pub(crate) use prepare::prepare_batch;
pub(crate) use scan::Scan;
pub(crate) use shell::{Images, Shell};
#[cfg(feature = "otel")]
pub(crate) use sight::Sight;
pub(crate) use start::program_name;
pub(crate) use waiters::{Over, answer, over_by_lookup};

use estate::Estate;

use crate::admin::Admin;
use crate::builder::Builder;
use crate::call::Call;
use crate::check::{CheckError, CheckReport};
use crate::completion::AwaitCompletion;
use crate::control::ControlSocket;
use crate::error::{EnqueueError, Error, OpenError, ReadError, TryEnqueueError};
use crate::filter::Filter;
use crate::find::Messages;
use crate::request::{Batch, Request, refuse_on_runtime_thread};
use crate::schedules::Schedules;

impl EngineBackend {
    /// What an enqueue waits for in the engine's durability mode.
    pub(crate) fn needs(&self) -> Needs {
        self.0.needs
    }

    pub(crate) fn shell(&self) -> &shell::Shell {
        &self.0
    }

    pub(crate) fn shell_arc(&self) -> &Arc<shell::Shell> {
        &self.0
    }
}

/// A work queue, open. Clone it freely: all clones are one engine.
///
/// When the last clone is dropped without [`Engine::close`], the engine stops handing out, flushes everything and lets
/// the store go; nothing counts as a crash.
#[derive(Clone, Debug)]
pub struct Engine {
    owner: Arc<Owner>,
}

/// What ends with the last handle.
#[derive(Debug)]
struct Owner {
    backend: EngineBackend,
    report: Option<OpenReport>,
    full_wait: Duration,
    /// For handlers that do not say it themselves.
    retry: Option<Retry>,
    control: ControlSocket,
    /// `None` if it uses the engine of another handle, whose end it is not.
    estate: Option<Estate>,
}

impl Engine {
    /// Opens the store in a directory with default options, creating it (mode 0700) if it is not there.
    ///
    /// # Errors
    /// [`OpenError`]; the store is as it was, and each message names the next step.
    ///
    /// # Examples
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("data");
    /// let engine = mq::Engine::builder(path).open_wait()?;
    /// let message = mq::NewMessage::new("mail".parse()?, "welcome".parse()?, "{}".into());
    /// let receipt = engine.enqueue_raw(message).wait()?;   // synced to the disk when this answers
    /// println!("{}", receipt.accepted.id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::builder(path).open().await
    }

    /// Options for opening the store in a directory.
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder::at(path.into())
    }

    /// Options for a queue that lives in memory only: the same engine without a journal.
    pub fn in_memory() -> Builder {
        Builder::in_memory()
    }

    pub(crate) fn shell(&self) -> &shell::Shell {
        self.owner.backend.shell()
    }

    /// What was found and done when the store was opened; `None` in memory.
    #[must_use]
    pub fn report(&self) -> Option<&OpenReport> {
        self.owner.report.as_ref()
    }

    /// Where other processes can talk to this one while it owns the store.
    #[must_use]
    pub fn control_socket(&self) -> &ControlSocket {
        &self.owner.control
    }

    /// A message to be enqueued: set its options, then `.await`, `.wait()` or `.submit()` it. When that answers, the
    /// message survives what the engine's durability promises: by default, a power cut.
    pub fn enqueue<M: Message>(&self, message: M) -> Request<M> {
        Request::new(
            self.owner.backend.clone(),
            new_message(message),
            self.when_full(),
        )
    }

    /// As [`Engine::enqueue`], but never waits for room: a full store gives the message back at once
    /// ([`TryEnqueueError::Full`]).
    pub fn try_enqueue<M: Message>(&self, message: M) -> Request<M, TryEnqueueError<M>> {
        Request::new(
            self.owner.backend.clone(),
            new_message(message),
            WhenFull::Refuse,
        )
    }

    /// As [`Engine::enqueue`], for a message built by hand: any kind, any bytes.
    pub fn enqueue_raw(&self, message: NewMessage) -> Request {
        Request::new(self.owner.backend.clone(), Ok(message), self.when_full())
    }

    /// Several messages, all or none.
    ///
    /// # Examples
    /// ```
    /// # use mq::prelude::*;
    /// # #[derive(Serialize, Deserialize, Message)]
    /// # #[message(kind = "step")]
    /// # struct Step { number: u32 }
    /// let engine = Engine::in_memory().open_wait()?;
    /// let later = mq::Outgoing::new(&Step { number: 2 }).delay(secs(60));
    /// let receipts = engine.batch().push(Step { number: 1 }).push(later).wait()?;
    /// assert_eq!(receipts.len(), 2);
    /// # Ok::<(), mq::Error>(())
    /// ```
    pub fn batch(&self) -> Batch {
        Batch::new(self.owner.backend.clone(), self.when_full())
    }

    /// Waits for a message to be over and answers what its handler returned: also for one that was enqueued long ago, by
    /// another clone or in an earlier opening of the store. The result is there as long as the message is retained.
    ///
    /// # Examples
    /// ```
    /// # use mq::prelude::*;
    /// # #[derive(Serialize, Deserialize, Message)]
    /// # #[message(kind = "double", output = u32)]
    /// # struct Double { number: u32 }
    /// # async fn double(message: Double) -> Result<u32, Fail> { Ok(message.number * 2) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mq::Result {
    /// let engine = Engine::in_memory().open().await?;
    /// let workers = engine.workers().handle(double).start()?;
    /// let done = engine.enqueue(Double { number: 21 }).and_wait(secs(30)).await?;
    /// assert_eq!(done.output, 42);
    /// let again = engine.completion::<Double>(done.id).within(secs(30)).await?;
    /// assert_eq!(again.output, 42);
    /// # workers.stop(secs(5)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn completion<M: Message>(&self, id: MessageId) -> AwaitCompletion<M::Output> {
        AwaitCompletion::new(self.owner.backend.clone(), id, |result| {
            mq_dispatch::decode_output::<M>(result.as_deref())
        })
    }

    /// [`Engine::completion`] as the bytes that the handler's result was stored as.
    pub fn completion_raw(&self, id: MessageId) -> AwaitCompletion<Option<Bytes>> {
        AwaitCompletion::new(self.owner.backend.clone(), id, Ok)
    }

    /// Decodes every stored message of a kind and its aliases, waiting, held, dead or kept, as this program would: before
    /// a deploy. Changes nothing; goes through the store in pages.
    ///
    /// # Errors
    /// [`CheckError`] if the kind is not a valid name or the engine stopped.
    pub fn check<M: Message>(&self) -> Call<Result<CheckReport, CheckError>> {
        let backend = self.owner.backend.clone();
        Call::of(async move { crate::check::check::<M>(&backend).await })
    }

    /// The previous version of a dedup key in the queue of `M`: its last message that was processed with success, if that
    /// is retained.
    ///
    /// # Errors
    /// [`PreviousError`] if it cannot be read or is of another type; a key that is not valid has none.
    pub fn previous<M: Message>(
        &self,
        key: impl AsRef<[u8]>,
    ) -> Call<Result<Option<Previous<M>>, PreviousError>> {
        let backend = self.owner.backend.clone();
        let key = Key::new(Bytes::copy_from_slice(key.as_ref()));
        Call::of(async move {
            let (Ok(queue), Ok(key)) = (M::QUEUE.parse(), key) else {
                return Ok(None);
            };
            let asked = backend.previous(PreviousOf::Key(queue, key));
            Previous::of(asked.await??)
        })
    }

    /// A handler must not wait for room that only handlers can make.
    fn when_full(&self) -> WhenFull {
        if mq_dispatch::inside_handler() {
            WhenFull::Refuse
        } else {
            WhenFull::Wait(self.owner.full_wait)
        }
    }

    /// Handlers and pools: register handlers, then `start()`.
    pub fn workers(&self) -> WorkersBuilder {
        let shell = self.owner.backend.shell();
        let workers = WorkersBuilder::new(self.backend())
            .clock(Arc::clone(shell.clock()))
            .roster(shell.roster.clone())
            .defaults(|handlers| match self.owner.retry {
                Some(retry) => handlers.retry(retry),
                None => handlers,
            });
        #[cfg(feature = "otel")]
        let workers = workers.observer(Arc::new(crate::otel::Attempts::new(shell.sight.trace)));
        workers
    }

    /// The engine for those who must not keep it open.
    #[cfg(feature = "otel")]
    pub(crate) fn weak_shell(&self) -> std::sync::Weak<shell::Shell> {
        Arc::downgrade(&self.owner.backend.0)
    }

    /// The engine as any backend, for code that does not care which it is.
    #[must_use]
    pub fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.owner.backend.clone())
    }

    /// Pause, cancel, hold, dead letters.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.owner.backend.clone())
    }

    /// Messages that are sent again and again: cron expressions in time zones, intervals.
    #[must_use]
    pub fn schedules(&self) -> Schedules {
        Schedules::new(self.owner.backend.clone())
    }

    /// Looks a message up.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not serve any more.
    pub fn message(&self, id: MessageId) -> Call<Result<Lookup, Stopped>> {
        let backend = self.owner.backend.clone();
        Call::of(async move {
            let found = backend.message(id).await;
            found.unwrap_or_else(|_| Err(backend.why_stopped()))
        })
    }

    /// Reads what the producer gave for a stored message; `None` if it is not in the store.
    ///
    /// # Errors
    /// [`ReadError`] if its bytes are damaged or the engine stopped.
    pub fn envelope(&self, id: MessageId) -> Call<Result<Option<Arc<Envelope>>, ReadError>> {
        let backend = self.owner.backend.clone();
        Call::of(async move {
            let read = backend.envelope(id).await;
            read.unwrap_or_else(|_| Err(backend.why_stopped().into()))
        })
    }

    /// The messages that match a filter, to be asked for page by page: live, held, dead and kept ones.
    pub fn messages(&self, filter: Filter) -> Messages {
        Messages::new(self.owner.backend.clone(), filter)
    }

    /// The engine, for the other rooms of the facade.
    pub(crate) fn inner(&self) -> &EngineBackend {
        &self.owner.backend
    }

    /// Waits until nothing is ready, leased or waiting for another attempt in any queue that is not paused, and all of it is
    /// synced. What is scheduled for later, held or paused stays; what the clock has made due is waited for.
    ///
    /// # Errors
    /// [`Stopped`] if the engine stops before that.
    pub async fn run_until_empty(&self) -> Result<(), Stopped> {
        self.run_queue_until_empty(None).await
    }

    /// [`Engine::run_until_empty`] for one queue.
    ///
    /// # Errors
    /// [`Stopped`] if the engine stops before that.
    pub async fn run_queue_until_empty(&self, queue: Option<&QueueName>) -> Result<(), Stopped> {
        let shell = self.owner.backend.shell();
        let mut rounds = shell.watch_rounds();
        shell.call();
        loop {
            rounds.mark_unchanged();
            if let Some(stopped) = self.stopped() {
                return Err(stopped);
            }
            let (active, fallen_due, may_follow) = shell.look(|desk, now| {
                let manager = &desk.manager;
                let may_follow = manager.may_follow(queue);
                (manager.active(queue), desk.has_fallen_due(now), may_follow)
            });
            if fallen_due {
                shell.call();
            } else if active == 0 {
                self.sync().await?;
                if may_follow {
                    continue;
                }
                return Ok(());
            }
            if rounds.changed().await.is_err() {
                return Err(self.why_stopped());
            }
        }
    }

    /// [`Engine::run_until_empty`] for programs without async.
    ///
    /// # Errors
    /// As [`Engine::run_until_empty`]; [`Error::OnRuntimeThread`] on a thread of an async runtime, which it would block.
    pub fn run_until_empty_wait(&self) -> Result<(), Error> {
        refuse_on_runtime_thread().map_err(|_| Error::OnRuntimeThread)?;
        Ok(backend::block_on(self.run_until_empty())?)
    }

    /// Waits until everything decided so far is synced.
    ///
    /// # Errors
    /// [`Stopped`] if the engine does not serve any more.
    pub fn sync(&self) -> Call<Result<(), Stopped>> {
        let backend = self.owner.backend.clone();
        Call::of(async move {
            let synced = backend.0.at_desk(Needs::Sync, |_, _| Ok(()), Err).await;
            synced.unwrap_or_else(|_| Err(backend.why_stopped()))
        })
    }

    /// Runs until SIGINT or SIGTERM, then stops the workers with their grace and closes.
    ///
    /// # Errors
    /// [`Error`] if the signals cannot be listened for or the close failed.
    pub async fn run_until_signal(self, workers: Workers) -> Result<(), Error> {
        wait_for_signal().await.map_err(Error::Signal)?;
        workers.stop(mq_core::limits::GRACE_DEFAULT).await;
        self.close().await.map_err(Error::from)
    }

    /// [`Engine::run_until_signal`] for programs without async.
    ///
    /// # Errors
    /// As [`Engine::run_until_signal`]; [`Error::OnRuntimeThread`] on a thread of an async runtime, which it would
    /// block: the workers and the engine then stop at once.
    pub fn run_until_signal_wait(self, workers: Workers) -> Result<(), Error> {
        refuse_on_runtime_thread().map_err(|_| Error::OnRuntimeThread)?;
        let listener = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Signal)?;
        listener
            .block_on(wait_for_signal())
            .map_err(Error::Signal)?;
        workers.stop(mq_core::limits::GRACE_DEFAULT).wait();
        self.close_wait().map_err(Error::from)
    }

    /// Refuses everything new, syncs everything, marks the store as closed in order and lets it go. Stop the workers
    /// first: what they still hold is ready again at the next open, at no cost.
    ///
    /// # Errors
    /// [`Stopped::Poisoned`] if the engine had stopped, or the last sync failed.
    pub async fn close(&self) -> Result<(), Stopped> {
        self.owner.stop_taking();
        let closed = self.owner.backend.0.close().await;
        let owner = Arc::clone(&self.owner);
        Call::new(move || owner.let_go()).await;
        tracing::debug!("the store is free");
        closed.unwrap_or_else(|_| Err(self.why_stopped()))
    }

    /// [`Engine::close`] for programs without async.
    ///
    /// # Errors
    /// As [`Engine::close`].
    pub fn close_wait(&self) -> Result<(), Stopped> {
        self.owner.stop_taking();
        let closed = self.owner.backend.0.close().wait();
        self.owner.let_go();
        closed.unwrap_or_else(|_| Err(self.why_stopped()))
    }

    /// How often the wall clock has jumped by more than a minute since the store was opened. Due times follow such a jump;
    /// leases, retention and key windows do not.
    #[must_use]
    pub fn clock_jumps(&self) -> u64 {
        self.owner.backend.0.look(|desk, _| desk.time.jumps())
    }

    /// Why the engine does not serve any more, if so: the health check of a program.
    #[must_use]
    pub fn stopped(&self) -> Option<Stopped> {
        self.owner.backend.0.stopped().cloned()
    }

    fn why_stopped(&self) -> Stopped {
        self.stopped().unwrap_or(Stopped::Closed)
    }

    /// A handle that does not keep the engine open, for threads that end with it.
    fn guest(backend: EngineBackend, full_wait: Duration) -> Self {
        Self {
            owner: Arc::new(Owner {
                backend,
                report: None,
                full_wait,
                retry: None, // a guest starts no workers
                control: ControlSocket::Off,
                estate: None,
            }),
        }
    }

    /// The largest payload in bytes.
    pub(crate) fn payload_size_max(&self) -> usize {
        self.owner.backend.shell().payload_size_max
    }
}

impl Owner {
    /// Takes no further call from other processes.
    fn stop_taking(&self) {
        self.estate.iter().for_each(|estate| estate.stop_taking());
    }

    /// Waits for the threads, then lets the store's lock go.
    fn let_go(&self) {
        self.estate.iter().for_each(|estate| estate.let_go());
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.estate.take().into_iter().for_each(Estate::end);
    }
}

/// A typed message in its stored form.
pub(crate) fn new_message<M: Message>(message: M) -> Result<NewMessage, EnqueueError> {
    mq_dispatch::encode(&message).map_err(EnqueueError::from)
}

#[cfg(unix)]
async fn wait_for_signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
