//! A store in memory: commands are decided, journalled in a list and applied; every frame is durable at once unless a
//! test says otherwise. Time is what the test says.

use std::time::Duration;

use bytes::Bytes;
use mq_core::command::{
    Accepted, EnqueueBatch, EnqueueRefused, GiveBack, Granted, Notice, Operate, OperateRefused,
    Operated, Operation, PoolSpec, Selector, Settle, SettleRefused, Settled, Settlement,
};
use mq_core::event::Event;
use mq_core::id::{LeaseToken, MessageId, PoolId};
use mq_core::image::ImageRecord;
use mq_core::index::Terms;
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::manager::{Close, Command, Config, Open, QueueManager};
use mq_core::message::{Draft, Due, Priority, Sealed};
use mq_core::name::{KindName, QueueName};
use mq_core::queue::{QueueChange, SetQueue};
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::state::{Failure, State};
use mq_core::time::{Monotonic, Now, StoreTime, Timestamp};
use mq_core::view::{Lookup, MessageView};

/// 2026-01-01, in milliseconds.
pub(crate) const START: u64 = 1_767_225_600_000;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

pub(crate) fn kind(name: &str) -> KindName {
    KindName::new(name).unwrap()
}

pub(crate) fn priority(level: u8) -> Priority {
    Priority::new(level).unwrap()
}

pub(crate) fn failure(text: &str) -> Failure {
    Failure {
        error_type: "Test".to_owned(),
        text: text.to_owned(),
    }
}

/// A message of kind `k` in queue `q` with a payload of 10 bytes.
pub(crate) fn draft() -> Draft {
    Draft {
        queue: queue("q"),
        kind: kind("k"),
        priority: Priority::DEFAULT,
        due: Due::Now,
        expires_in: None,
        hold: None,
        idempotency: None,
        dedup: None,
        ordering: None,
        halt_on_dead: false,
        payload: KeyHash(0),
        failures_max: None,
        retain: None,
        awaited: false,
        terms: Terms::NONE,
        sealed: Sealed {
            bytes: Bytes::from_static(b"0123456789"),
            crc: 0,
        },
    }
}

pub(crate) fn in_queue(name: &str) -> Draft {
    Draft {
        queue: queue(name),
        ..draft()
    }
}

pub(crate) fn of_kind(name: &str) -> Draft {
    Draft {
        kind: kind(name),
        ..draft()
    }
}

pub(crate) fn at_priority(level: u8) -> Draft {
    Draft {
        priority: priority(level),
        ..draft()
    }
}

pub(crate) fn delayed(delay: Duration) -> Draft {
    Draft {
        due: Due::After(delay),
        ..draft()
    }
}

pub(crate) fn ordered(key: u128) -> Draft {
    Draft {
        ordering: Some(KeyHash(key)),
        ..draft()
    }
}

pub(crate) fn retained(duration: Duration) -> Draft {
    Draft {
        retain: Some(duration),
        ..draft()
    }
}

pub(crate) fn deduped(key: u128, policy: DedupPolicy, payload: u128) -> Draft {
    Draft {
        dedup: Some((KeyHash(key), policy)),
        payload: KeyHash(payload),
        ..draft()
    }
}

pub(crate) fn idempotent(key: u128, payload: u128) -> Draft {
    Draft {
        idempotency: Some(KeyHash(key)),
        payload: KeyHash(payload),
        ..draft()
    }
}

pub(crate) fn sized(size: usize) -> Draft {
    Draft {
        sealed: Sealed {
            bytes: Bytes::from(vec![7; size]),
            crc: 0,
        },
        ..draft()
    }
}

/// Three failures, a second between them.
pub(crate) fn policy() -> RetryPolicy {
    RetryPolicy {
        failures_max: 3,
        backoff: Backoff::Fixed(secs(1)),
    }
}

pub(crate) fn pool(queue: Option<&str>, kind: Option<&str>) -> PoolSpec {
    let selector = Selector {
        queue: queue.map(|name| QueueName::new(name).unwrap()),
        kind: kind.map(|name| KindName::new(name).unwrap()),
    };
    PoolSpec::one(selector, secs(30), policy())
}

pub(crate) fn fail() -> Settlement {
    Settlement::Fail {
        failure: failure("no"),
        retry: policy(),
        retry_in: None,
    }
}

pub(crate) fn succeed() -> Settlement {
    Settlement::Succeed { result: None }
}

/// The store.
pub(crate) struct Rig {
    pub(crate) manager: QueueManager,
    pub(crate) now: Now,
    pub(crate) config: Config,
    /// Every event ever applied.
    pub(crate) journal: Vec<Event>,
    /// The frame that is open.
    pub(crate) mark: u64,
    /// Frames are durable as soon as they are applied.
    pub(crate) synced: bool,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    /// A store that was just opened.
    pub(crate) fn with(config: Config) -> Self {
        let mut rig = Self {
            manager: QueueManager::new(config.clone()),
            now: Now {
                wall: Timestamp::from_ms(START),
                monotonic: Monotonic::from_ms(0),
                store: StoreTime::from_ms(1),
            },
            config,
            journal: Vec::new(),
            mark: 1,
            synced: true,
        };
        rig.run(&Open).unwrap();
        rig
    }

    /// Decides a command, journals and applies what comes of it.
    pub(crate) fn run<C: Command>(&mut self, command: &C) -> Result<C::Answer, C::Refused> {
        let mut events = Vec::new();
        let answer = self.manager.decide(&self.now, command, &mut events);
        if answer.is_err() {
            assert_eq!(events, [], "a refused command has events");
        }
        self.commit(events);
        answer
    }

    pub(crate) fn commit(&mut self, events: Vec<Event>) {
        for event in events {
            self.manager.apply(&event, self.mark).unwrap();
            self.journal.push(event);
        }
        if self.synced {
            self.sync();
        }
    }

    pub(crate) fn sync(&mut self) {
        self.manager.durable(self.mark);
        self.mark += 1;
    }

    pub(crate) fn try_enqueue(&mut self, draft: Draft) -> Result<Accepted, EnqueueRefused> {
        let drafts = vec![draft];
        self.run(&EnqueueBatch {
            drafts: drafts.into(),
        })
        .map(|accepted| accepted[0])
    }

    pub(crate) fn enqueue(&mut self, draft: Draft) -> MessageId {
        self.try_enqueue(draft).unwrap().id
    }

    pub(crate) fn enqueue_all(&mut self, drafts: Vec<Draft>) -> Vec<MessageId> {
        let accepted = self
            .run(&EnqueueBatch {
                drafts: drafts.into(),
            })
            .unwrap();
        accepted.iter().map(|accepted| accepted.id).collect()
    }

    /// A pool for everything with many permits.
    pub(crate) fn open_pool(&mut self) -> PoolId {
        self.pool(pool(None, None), 1_000)
    }

    pub(crate) fn pool(&mut self, spec: PoolSpec, permits: u32) -> PoolId {
        let pool = self.manager.attach_pool(spec);
        self.manager.add_permits(pool, permits);
        pool
    }

    /// Hands out the next message.
    pub(crate) fn grant(&mut self) -> Option<Granted> {
        let (event, granted) = self.manager.next_grant(&self.now)?;
        self.commit(vec![event]);
        Some(granted)
    }

    /// Hands out the next message, which must be `id`.
    pub(crate) fn grant_of(&mut self, id: MessageId) -> LeaseToken {
        let granted = self.grant().expect("something is ready");
        assert_eq!(granted.token.id, id, "another message was handed out");
        granted.token
    }

    /// Hands out everything, in order.
    pub(crate) fn grant_all(&mut self) -> Vec<MessageId> {
        std::iter::from_fn(|| self.grant().map(|granted| granted.token.id)).collect()
    }

    pub(crate) fn settle(&mut self, token: LeaseToken, settlement: Settlement) -> Settled {
        self.try_settle(token, settlement, Vec::new()).unwrap()
    }

    pub(crate) fn try_settle(
        &mut self,
        token: LeaseToken,
        settlement: Settlement,
        staged: Vec<Draft>,
    ) -> Result<Settled, SettleRefused> {
        self.run(&Settle {
            token,
            settlement,
            staged,
        })
    }

    pub(crate) fn give_back(&mut self, token: LeaseToken) {
        self.run(&GiveBack { token }).unwrap();
    }

    pub(crate) fn operate(
        &mut self,
        id: MessageId,
        operation: Operation,
    ) -> Result<Operated, OperateRefused> {
        self.run(&Operate {
            id,
            operation,
            by: "rig".to_owned(),
        })
    }

    pub(crate) fn pause(&mut self, name: &str, paused: bool) {
        let queue = queue(name);
        let change = QueueChange::Pause(paused);
        self.run(&SetQueue { queue, change }).unwrap();
    }

    /// Lets all three clocks go on, and does what the time brings.
    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now.wall = self.now.wall.after(duration);
        self.now.monotonic = self.now.monotonic.after(duration);
        self.now.store = self.now.store.after(duration);
        self.tick();
    }

    pub(crate) fn jump_wall(&mut self, wall: Timestamp) {
        self.now.wall = wall;
        self.tick();
    }

    pub(crate) fn tick(&mut self) {
        self.manager.advance(&self.now);
        let mut events = Vec::new();
        self.manager.tick(&self.now, 10_000, &mut events);
        self.commit(events);
        self.manager.advance(&self.now);
    }

    pub(crate) fn view(&self, id: MessageId) -> MessageView {
        match self.manager.lookup(&self.now, id) {
            Lookup::Found(view) => *view,
            gone @ (Lookup::SettledNotKept | Lookup::NeverIssued) => panic!("{id} is {gone:?}"),
        }
    }

    pub(crate) fn state(&self, id: MessageId) -> State {
        self.view(id).state
    }

    pub(crate) fn is_gone(&self, id: MessageId) -> bool {
        self.manager.lookup(&self.now, id) == Lookup::SettledNotKept
    }

    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.manager.take_notices(&mut notices);
        notices
    }

    pub(crate) fn records(&self) -> Vec<ImageRecord> {
        self.manager.image().records().collect()
    }

    /// The store after the journal was read by a new process that does not serve yet.
    pub(crate) fn replayed(&self) -> QueueManager {
        let mut manager = QueueManager::new(self.config.clone());
        for event in &self.journal {
            manager.apply(event, 0).unwrap();
        }
        manager.durable(u64::MAX);
        manager.advance(&self.now);
        manager
    }

    /// The store after its image was read by a new process that does not serve yet.
    pub(crate) fn restored(&self) -> QueueManager {
        let mut manager = QueueManager::new(self.config.clone());
        for record in self.records() {
            manager.restore(record).unwrap();
        }
        manager.durable(u64::MAX);
        manager.advance(&self.now);
        manager
    }

    /// kill -9, then a new process: the journal is read and the store opened.
    pub(crate) fn crash(&mut self) {
        self.manager = self.replayed();
        self.now.monotonic = Monotonic::from_ms(0);
        self.run(&Open).unwrap();
        self.tick();
    }

    /// An orderly close, then a new process that reads the image.
    pub(crate) fn reopen(&mut self) {
        self.run(&Close).unwrap();
        self.manager = self.restored();
        self.now.monotonic = Monotonic::from_ms(0);
        self.run(&Open).unwrap();
        self.tick();
    }

    /// Both ways back to the state must give the state.
    pub(crate) fn check_recovery(&self) {
        let records = self.records();
        let image = |manager: &QueueManager| manager.image().records().collect::<Vec<_>>();
        assert_eq!(image(&self.restored()), records, "image and restore differ");
        assert_eq!(
            image(&self.replayed()),
            records,
            "journal and replay differ"
        );
        let len = u64::try_from(records.len()).unwrap();
        assert_eq!(self.manager.image().len(), len);
    }
}
