//! The rules alone, without journal, threads or clock: commands are decided and applied, and every frame is durable at once.

use std::time::Duration;

use bytes::Bytes;
use mq_core::command::{EnqueueBatch, Granted, PoolSpec, Selector, Settle, Settlement};
use mq_core::event::Event;
use mq_core::id::{LeaseToken, PoolId};
use mq_core::key::KeyHash;
use mq_core::manager::{Command, Config, Open, QueueManager};
use mq_core::message::{Draft, Due, Priority, Sealed};
use mq_core::name::{KindName, QueueName};
use mq_core::retry::RetryPolicy;
use mq_core::time::{Monotonic, Now, StoreTime, Timestamp};

/// Messages that come in one command while the rig is filled.
const BATCH: usize = 1_000;
/// 2026-01-01, in milliseconds.
const START: u64 = 1_767_225_600_000;

/// A queue manager and the time.
#[derive(Debug)]
pub struct Rig {
    /// The rules.
    pub manager: QueueManager,
    now: Now,
    mark: u64,
    events: Vec<Event>,
}

/// A message with a payload of 256 bytes.
#[must_use]
#[expect(clippy::expect_used, reason = "the names are good")]
pub fn draft() -> Draft {
    Draft {
        queue: QueueName::new("bench").expect("a name"),
        kind: KindName::new("bench").expect("a name"),
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
        terms: mq_core::index::Terms::NONE,
        sealed: Sealed {
            bytes: Bytes::from_static(&[0x42; 256]),
            crc: 0,
        },
    }
}

/// The end of a lease in success.
#[must_use]
pub const fn settle(token: LeaseToken) -> Settle {
    Settle {
        token,
        settlement: Settlement::Succeed { result: None },
        staged: Vec::new(),
    }
}

impl Rig {
    /// A store that is open, with so many messages that nobody takes.
    #[must_use]
    pub fn new(backlog: usize) -> Self {
        Self::filled(backlog, |_| draft())
    }

    /// A store that is open, with so many messages that nobody takes, made by number.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a bench fails by panicking")]
    pub fn filled(backlog: usize, make: impl Fn(usize) -> Draft) -> Self {
        let config = Config {
            capacity_messages: 1 << 30,
            capacity_bytes: 1 << 40,
            keys: 1 << 30,
            ..Config::default()
        };
        let mut rig = Self {
            manager: QueueManager::new(config),
            now: Now {
                wall: Timestamp::from_ms(START),
                monotonic: Monotonic::from_ms(0),
                store: StoreTime::from_ms(1),
            },
            mark: 1,
            events: Vec::new(),
        };
        rig.run(&Open).expect("a new store opens");
        let kind = KindName::new("kept").expect("a name");
        let kept = |number| Draft {
            kind: kind.clone(),
            ..make(number)
        };
        for first in (0..backlog).step_by(BATCH) {
            let drafts: Vec<Draft> = (first..first + BATCH).map(kept).collect();
            rig.run(&EnqueueBatch {
                drafts: drafts.into(),
            })
            .expect("there is room");
        }
        rig
    }

    /// A pool for what [`draft`] makes, without permits.
    pub fn pool(&mut self) -> PoolId {
        let selector = Selector {
            queue: None,
            kind: Some(draft().kind),
        };
        let lease = Duration::from_secs(30);
        let spec = PoolSpec::one(selector, lease, RetryPolicy::default());
        self.manager.attach_pool(spec)
    }

    /// Decides and applies a command.
    ///
    /// # Errors
    /// Its refusal.
    #[expect(clippy::expect_used, reason = "a bench fails by panicking")]
    pub fn run<C: Command>(&mut self, command: &C) -> Result<C::Answer, C::Refused> {
        let mut events = std::mem::take(&mut self.events);
        let answer = self.manager.decide(&self.now, command, &mut events);
        for event in events.drain(..) {
            self.manager.apply(&event, self.mark).expect("decided");
        }
        self.events = events;
        self.manager.durable(self.mark);
        self.mark += 1;
        answer
    }

    /// The events of a command, which is applied.
    #[expect(clippy::expect_used, reason = "a bench fails by panicking")]
    pub fn events_of<C: Command>(&mut self, command: &C) -> Vec<Event> {
        let mut events = Vec::new();
        let answer = self.manager.decide(&self.now, command, &mut events);
        assert!(answer.is_ok(), "the command was refused");
        for event in &events {
            self.manager.apply(event, self.mark).expect("decided");
        }
        self.manager.durable(self.mark);
        self.mark += 1;
        events
    }

    /// Enqueues one message.
    #[expect(clippy::expect_used, reason = "a bench fails by panicking")]
    pub fn enqueue(&mut self, draft: Draft) {
        let drafts = vec![draft];
        self.run(&EnqueueBatch {
            drafts: drafts.into(),
        })
        .expect("there is room");
    }

    /// Hands out the next message.
    #[expect(clippy::expect_used, reason = "a bench fails by panicking")]
    pub fn grant(&mut self) -> Option<Granted> {
        let (event, granted) = self.manager.next_grant(&self.now)?;
        self.manager.apply(&event, self.mark).expect("decided");
        Some(granted)
    }

    /// Lets all clocks go on and makes ready what has fallen due.
    pub fn pass(&mut self, time: Duration) {
        self.now.wall = self.now.wall.after(time);
        self.now.monotonic = self.now.monotonic.after(time);
        self.now.store = self.now.store.after(time);
        while self.is_due() {
            self.manager.advance(&self.now);
        }
    }

    fn is_due(&self) -> bool {
        let next = self.manager.next_deadline().wall;
        next.is_some_and(|next| next <= self.now.wall)
    }
}
