//! From handlers to running workers: everything is checked before anything starts.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use mq_core::backend::{Backend, Grant};
use mq_core::command::Selector;
use mq_core::name::{KindName, QueueName};
use mq_core::time::Clock;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tower::{BoxError, Layer, Service};

use crate::check::{Checked, Entry, check, raw_name};
use crate::ctx::Ctx;
use crate::defaults::Defaults;
use crate::fail::Fail;
use crate::handler::{AsyncHandler, BlockingHandler, ByFunction, ByTrait, Handler};
use crate::layer::{AnyLayer, AttemptRequest, AttemptResponse, AttemptService};
use crate::message::{Message, decode};
use crate::newer::{self, Readable};
use crate::observer::Observer;
use crate::options::{HandlerOptions, PoolOptions};
use crate::pool::Shared;
use crate::problem::{Fault, Problem, StartError};
use crate::roster::Roster;
use crate::runner::{
    Async, Blocking, Layered, OnRuntime, OnThreads, RawAsync, RawBlocking, Runner,
};
use crate::settle::Settler;
use crate::sharing::{attach_all, group};
use crate::states::{Needs, PartList, Parts, States};
use crate::timers::{self, Timers};
use crate::workers::{Crew, Workers};

/// Collects handlers; [`WorkersBuilder::start`] starts them.
#[must_use = "nothing runs before `start`"]
pub struct WorkersBuilder {
    backend: Arc<dyn Backend>,
    clock: Option<Arc<dyn Clock>>,
    observer: Option<Arc<dyn Observer>>,
    timers: Timers,
    roster: Roster,
    states: States,
    layers: Vec<AnyLayer>,
    problems: Vec<Problem>,
    entries: Vec<Entry>,
    pools: Vec<(String, PoolOptions)>,
    defaults: Defaults,
}

impl WorkersBuilder {
    /// Workers for this store, without handlers yet.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            clock: None,
            observer: None,
            timers: Timers::default(),
            roster: Roster::default(),
            states: States::default(),
            layers: Vec::new(),
            problems: Vec::new(),
            entries: Vec::new(),
            pools: Vec::new(),
            defaults: Defaults::default(),
        }
    }

    /// Settings of all handlers that do not say it themselves, nor their queue ([`WorkersBuilder::queue`]).
    pub fn defaults(mut self, options: impl FnOnce(HandlerOptions) -> HandlerOptions) -> Self {
        self.defaults.of_program = options(self.defaults.of_program);
        self
    }

    /// Settings for the messages of a queue, where their handlers do not say it themselves: retry and time limit by the
    /// queue that each message is in; parallelism, lease, and what a lease that runs out means, for handlers whose kind
    /// has this queue.
    pub fn queue(
        mut self,
        name: &str,
        options: impl FnOnce(HandlerOptions) -> HandlerOptions,
    ) -> Self {
        let options = options(HandlerOptions::default());
        self.defaults.of_queues.push((name.to_owned(), options));
        self
    }

    /// The engine's clock, by which waiting times are measured.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sees each attempt from outside: for traces and metrics of a program's own.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Whose threads renewal and time limits run on.
    pub fn timers(mut self, timers: Timers) -> Self {
        self.timers = timers;
        self
    }

    /// Puts something between the workers and their store, such as a test that decides when messages are handed out.
    pub fn through(mut self, between: impl FnOnce(Arc<dyn Backend>) -> Arc<dyn Backend>) -> Self {
        self.backend = between(self.backend);
        self
    }

    /// Shares a value with the handlers, which ask for `State<T>`. One per type.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        if !self.states.insert(value) {
            self.state_given_twice(type_name::<T>());
        }
        self
    }

    /// Shares a value and each of its parts: with `#[derive(Clone, FromRef)]`, each of its fields. A handler asks for
    /// `State<Part>` and need not know the whole.
    pub fn state_parts<T: Parts>(mut self, whole: T) -> Self {
        let mut list = PartList::new(&whole, &mut self.states);
        T::parts(&mut list);
        for twice in list.into_twice() {
            self.state_given_twice(twice);
        }
        self.state(whole)
    }

    fn state_given_twice(&mut self, type_name: &'static str) {
        self.problems.push(Problem {
            handler: "state".to_owned(),
            fault: Fault::DuplicateState { type_name },
        });
    }

    /// Where the workers are listed while they run.
    pub fn roster(mut self, roster: Roster) -> Self {
        self.roster = roster;
        self
    }

    /// A pool of workers that several handlers share: `.handle_with(handler, |h| h.pool(name))` for each of them. It
    /// answers to its name and to the kinds of its handlers; scaled or paused by any of them, it is as a whole.
    ///
    /// ```
    /// # fn add(workers: mq_dispatch::WorkersBuilder, a: fn(), b: fn()) -> mq_dispatch::WorkersBuilder {
    /// // At most four at once over all its handlers.
    /// workers.pool("images", |p| p.parallelism(1..=4))
    /// # }
    /// ```
    pub fn pool(mut self, name: &str, options: impl FnOnce(PoolOptions) -> PoolOptions) -> Self {
        let options = options(PoolOptions::default());
        self.pools.push((name.to_owned(), options));
        self
    }

    /// Puts a tower layer around every handler of these workers, whatever its form and wherever in this chain it is
    /// added. The first layer is outermost, as in `tower::ServiceBuilder`: it sees an attempt first and its answer
    /// last. Each handler gets a service of its own, so a limit counts for each handler by itself.
    ///
    /// A message is asked for only when the layers are ready (`poll_ready`) to take one: a concurrency limit keeps
    /// messages in the store, not waiting under a lease. A place under a limit is taken from that moment on, also while
    /// there is no message; so a limit that several handlers share may be held by an idle one for ever. Handlers that
    /// should share a limit share a pool with that parallelism, without such a layer. In a shared pool a message is asked for
    /// only when the layers of all its handlers are ready: one whose layer is at its limit holds up the others.
    ///
    /// `LoadShedLayer` makes what is inside it look ready at all times: a limit inside it then keeps nothing in the
    /// store and is answered with a snooze, which is rarely what a queue wants.
    ///
    /// What layers answer in the handler's stead: [`tower::timeout::error::Elapsed`] is a failed attempt past its time
    /// limit, [`tower::load_shed::error::Overloaded`] comes again in a second at no cost, an
    /// [`AttemptError`](crate::AttemptError) is what it says, any other error is a failed attempt. A thread cannot be
    /// stopped: if a layer gives up on a blocking handler, that is asked to stop, and its attempt ends when it returns.
    ///
    /// ```
    /// # fn add(workers: mq_dispatch::WorkersBuilder) -> mq_dispatch::WorkersBuilder {
    /// use mq_dispatch::TraceLayer;
    /// use std::time::Duration;
    /// use tower::limit::ConcurrencyLimitLayer;
    /// use tower::timeout::TimeoutLayer;
    ///
    /// workers
    ///     .layer(TraceLayer::new())
    ///     .layer(TimeoutLayer::new(Duration::from_secs(60)))
    ///     .layer(ConcurrencyLimitLayer::new(64))
    /// # }
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<AttemptService> + Send + Sync + 'static,
        L::Service: Service<AttemptRequest, Response = AttemptResponse> + Clone + Send + 'static,
        <L::Service as Service<AttemptRequest>>::Error: Into<BoxError>,
        <L::Service as Service<AttemptRequest>>::Future: Send + 'static,
    {
        self.layers.push(AnyLayer::new(layer));
        self
    }

    /// Handles messages with an async function: the message first, then any extractors.
    pub fn handle<F, Arguments>(self, function: F) -> Self
    where
        F: AsyncHandler<Arguments>,
        Arguments: 'static,
    {
        self.handle_with(function, |options| options)
    }

    /// As [`WorkersBuilder::handle`], with settings.
    pub fn handle_with<F, Arguments>(
        self,
        function: F,
        options: impl FnOnce(HandlerOptions) -> HandlerOptions,
    ) -> Self
    where
        F: AsyncHandler<Arguments>,
        Arguments: 'static,
    {
        let runner = OnRuntime::new(Async::<F::Message, _>::new(ByFunction::new(function)));
        let options = options(HandlerOptions::default());
        self.typed::<F::Message>(options, F::needs, Arc::new(runner))
    }

    /// Handles messages with a value that implements [`Handler`].
    pub fn handler<M, H>(self, handler: H) -> Self
    where
        M: Message,
        H: Handler<M>,
    {
        let options = HandlerOptions::of_trait(H::PARALLELISM, H::TIMEOUT, handler.retry());
        let runner = OnRuntime::new(Async::<M, _>::new(ByTrait(handler)));
        self.typed::<M>(options, no_needs, Arc::new(runner))
    }

    /// Handles messages with a function that blocks, on threads of its own.
    pub fn handle_blocking<F, Arguments>(self, function: F) -> Self
    where
        F: BlockingHandler<Arguments>,
        Arguments: 'static,
    {
        self.handle_blocking_with(function, |options| options)
    }

    /// As [`WorkersBuilder::handle_blocking`], with settings.
    pub fn handle_blocking_with<F, Arguments>(
        self,
        function: F,
        options: impl FnOnce(HandlerOptions) -> HandlerOptions,
    ) -> Self
    where
        F: BlockingHandler<Arguments>,
        Arguments: 'static,
    {
        let runner = OnThreads::new(Blocking::new(function), F::Message::KIND);
        let options = options(HandlerOptions::default());
        self.typed::<F::Message>(options, F::needs, Arc::new(runner))
    }

    /// Handles whatever `selector` selects, undecoded, with an async function.
    pub fn handle_raw<F, Fut, E>(
        self,
        selector: Selector,
        options: HandlerOptions,
        function: F,
    ) -> Self
    where
        F: Fn(Grant, Ctx) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Fail> + 'static,
    {
        self.raw(
            &selector,
            options,
            Arc::new(OnRuntime::new(RawAsync(function))),
        )
    }

    /// Handles whatever `selector` selects, undecoded, with a function that blocks, on threads of its own.
    pub fn handle_raw_blocking<F, E>(
        self,
        selector: Selector,
        options: HandlerOptions,
        function: F,
    ) -> Self
    where
        F: Fn(Grant, &Ctx) -> Result<(), E> + Send + Sync + 'static,
        E: Into<Fail> + 'static,
    {
        let name = raw_name(&selector);
        self.raw(
            &selector,
            options,
            Arc::new(OnThreads::new(RawBlocking(function), &name)),
        )
    }

    fn raw(
        mut self,
        selector: &Selector,
        mut options: HandlerOptions,
        runner: Arc<dyn Runner>,
    ) -> Self {
        if let Some(queue) = &selector.queue {
            options = options.queue(queue.as_str());
        }
        self.entries.push(Entry {
            kinds: selector.kind.iter().map(KindName::to_string).collect(),
            is_raw: true,
            options,
            faults: Vec::new(),
            needs: no_needs,
            runner,
            home: None,
            index: ("", &[]),
            reads: None,
        });
        self
    }

    fn typed<M: Message>(
        mut self,
        options: HandlerOptions,
        needs: fn(&mut Needs<'_>),
        runner: Arc<dyn Runner>,
    ) -> Self {
        let mut faults = Vec::new();
        if mq_core::message::Priority::new(M::PRIORITY).is_none() {
            faults.push(Fault::Priority { given: M::PRIORITY });
        }
        if M::VERSION == 0 {
            faults.push(Fault::Version);
        }
        faults.extend(QueueName::new(M::QUEUE).err().map(Fault::Name));
        let kinds = std::iter::once(M::KIND).chain(M::ALIASES.iter().copied());
        self.entries.push(Entry {
            kinds: kinds.map(str::to_owned).collect(),
            is_raw: false,
            options,
            faults,
            needs,
            runner,
            home: Some(M::QUEUE),
            index: (M::KIND, M::INDEX),
            reads: Some((M::VERSION, |envelope| decode::<M>(envelope).err())),
        });
        self
    }

    /// Checks all handlers and starts them: on the async runtime of the caller, or else on one of their own.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn start(self) -> Result<Workers, StartError> {
        let Self {
            backend,
            clock,
            observer,
            timers,
            roster,
            states,
            layers,
            problems,
            entries,
            pools,
            defaults,
        } = self;
        let indexes: Vec<_> = entries.iter().map(|entry| entry.index).collect();
        let (mut handlers, shared_pools) = check(entries, pools, &defaults, &states, problems)?;
        let readable = handlers.iter_mut();
        let readable: Vec<Readable> = readable
            .flat_map(|handler| handler.readable.drain(..))
            .collect();
        let (runtime, own) = runtime()?;
        put_around(&mut handlers, &layers, &runtime);
        let pools = group(handlers, shared_pools);
        let shared = Arc::new(Shared {
            settler: Settler::new(Arc::clone(&backend)),
            backend,
            runtime,
            states: Arc::new(states),
            clock,
            observer,
            timers: Notify::new(),
        });
        for (kind, fields) in indexes.into_iter().filter(|(_, fields)| !fields.is_empty()) {
            if let Ok(kind) = KindName::new(kind) {
                shared.backend.declare_index(&kind, fields);
            }
        }
        let pools = attach_all(pools, &shared)?;
        let crew = Crew::new(pools, shared, readable.clone());
        if let Err(error) = start_timers(&crew, timers) {
            crew.pools.iter().for_each(|pool| pool.detach());
            return Err(error);
        }
        let settling = Arc::clone(&crew.shared);
        drop(
            crew.shared
                .runtime
                .spawn(async move { settling.settler.run().await }),
        );
        for pool in &crew.pools {
            let runtime = &crew.shared.runtime;
            drop(runtime.spawn(Arc::clone(pool).receive()));
            for gate in pool.gates() {
                let same = Arc::clone(pool);
                drop(runtime.spawn(Arc::clone(gate).keep(move || same.balance())));
            }
            pool.balance();
        }
        let backend = Arc::clone(&crew.shared.backend);
        drop(crew.shared.runtime.spawn(newer::release(backend, readable)));
        roster.enlist(&crew);
        Ok(Workers::new(crew, own))
    }
}

impl fmt::Debug for WorkersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.entries.iter().map(|entry| &entry.kinds).collect();
        f.debug_struct("WorkersBuilder")
            .field("kinds", &kinds)
            .finish_non_exhaustive()
    }
}

fn no_needs(_needs: &mut Needs<'_>) {}

/// Puts layers around handlers. Layers with timers need the runtime for that.
fn put_around(pools: &mut [Checked], layers: &[AnyLayer], runtime: &Handle) {
    let _entered = runtime.enter();
    for pool in pools {
        let own = std::mem::take(&mut pool.layers);
        let all: Vec<AnyLayer> = layers.iter().cloned().chain(own).collect();
        if !all.is_empty() {
            pool.runner = Arc::new(Layered::new(Arc::clone(&pool.runner), &all));
        }
    }
}

/// The caller's runtime, or a new one.
fn runtime() -> Result<(Handle, Option<Runtime>), StartError> {
    if let Ok(handle) = Handle::try_current() {
        return Ok((handle, None));
    }
    let own = tokio::runtime::Builder::new_multi_thread()
        .thread_name("mq worker")
        .enable_all()
        .build()
        .map_err(|error| no_threads(&error))?;
    Ok((own.handle().clone(), Some(own)))
}

fn no_threads(error: &std::io::Error) -> StartError {
    StartError::Threads {
        reason: error.to_string(),
    }
}

fn start_timers(crew: &Arc<Crew>, timers: Timers) -> Result<(), StartError> {
    let watched = Arc::clone(crew);
    let work = timers::run(crew.pools.clone(), Arc::clone(&crew.shared), move || {
        watched.has_ended()
    });
    match timers {
        Timers::Runtime => drop(crew.shared.runtime.spawn(work)),
        Timers::OwnThread => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .map_err(|error| no_threads(&error))?;
            std::thread::Builder::new()
                .name("mq timers".to_owned())
                .spawn(move || runtime.block_on(work))
                .map_err(|error| no_threads(&error))?;
        }
    }
    Ok(())
}
