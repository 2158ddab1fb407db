//! The queue manager on the journal: what it was before the power went is what it is after, fact by fact, from journal and snapshots.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mq_core::command::{EnqueueBatch, PoolSpec, Selector, Settle, Settlement};
use mq_core::event::Event;
use mq_core::id::{LeaseToken, PoolId};
use mq_core::image::ImageRecord;
use mq_core::index::Terms;
use mq_core::key::KeyHash;
use mq_core::manager::{Command, Open};
use mq_core::message::{Draft, Due, Envelope, Priority};
use mq_core::name::{KindName, QueueName};
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::state::Failure;
use mq_core::time::Now;
use mq_persistence::envelope::{seal, unseal};
use mq_persistence::frame::Frame;
use mq_persistence::keeper::Snapshotted;
use mq_persistence::open::{Opened, open};
use mq_persistence::spares::Prepared;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, SimDisk};

use crate::fixture::now;
use crate::journal::{SMALL, inputs};

const SEED: u64 = 90_125;

fn policy() -> RetryPolicy {
    RetryPolicy {
        failures_max: 2,
        backoff: Backoff::Fixed(Duration::from_secs(1)),
    }
}

/// An engine in miniature.
pub(crate) struct Store {
    pub(crate) opened: Opened,
    frame: Frame,
    pool: PoolId,
    mark: u64,
    pub(crate) time: u64,
    pub(crate) tokens: Vec<LeaseToken>,
}

impl Store {
    pub(crate) fn open(disk: &SimDisk, time: u64) -> Opened {
        let mut random = SplitMix64::new(time);
        let mut random = || random.next_u64();
        open(Arc::new(disk.clone()), &SMALL, inputs(time, &mut random)).unwrap()
    }

    /// Notes the opening, as an engine does first.
    pub(crate) fn begin(mut opened: Opened, time: u64) -> Self {
        let lease = Duration::from_secs(30);
        let spec = PoolSpec::one(Selector::default(), lease, policy());
        let pool = opened.manager.attach_pool(spec);
        opened.manager.add_permits(pool, 4);
        let frame = Frame::new(&opened.identity);
        let mut store = Self {
            opened,
            frame,
            pool,
            mark: 1,
            time,
            tokens: Vec::new(),
        };
        store.run(&Open);
        store.commit();
        store
    }

    pub(crate) fn now(&self) -> Now {
        now(self.time)
    }

    fn take(&mut self, event: &Event) {
        self.frame.append(event);
        self.opened.manager.apply(event, self.mark).unwrap();
    }

    pub(crate) fn run<C: Command>(&mut self, command: &C) -> Option<C::Answer> {
        let mut events = Vec::new();
        let answer = self
            .opened
            .manager
            .decide(&self.now(), command, &mut events);
        for event in &events {
            self.take(event);
        }
        answer.ok()
    }

    pub(crate) fn commit(&mut self) {
        let now = self.now();
        let written = self.opened.log.write(&mut self.frame, &now).unwrap();
        self.opened.places.note(&written);
        self.opened.log.sync().unwrap();
        self.opened.manager.durable(self.mark);
        self.mark += 1;
        self.time += 400;
    }

    pub(crate) fn draft(&self, random: &mut SplitMix64) -> Draft {
        let key = |random: &mut SplitMix64| KeyHash(u128::from(random.below(5)));
        let envelope = Envelope {
            payload: Bytes::from(vec![7; usize::try_from(random.below(900)).unwrap()]),
            ..Envelope::default()
        };
        Draft {
            queue: QueueName::new("q").unwrap(),
            kind: KindName::new("k").unwrap(),
            priority: Priority::DEFAULT,
            due: Due::Now,
            expires_in: None,
            hold: None,
            idempotency: random
                .chance(1, 4)
                .then(|| KeyHash(u128::from(random.next_u64()))),
            dedup: None,
            ordering: random.chance(1, 3).then(|| key(random)),
            halt_on_dead: random.chance(1, 2),
            payload: KeyHash(3),
            failures_max: None,
            retain: random.chance(1, 4).then(|| Duration::from_secs(5)),
            awaited: false,
            terms: Terms::NONE,
            sealed: seal(&envelope, &self.opened.identity),
        }
    }

    /// One round: messages come, are handed out, and end in some way.
    pub(crate) fn round(&mut self, random: &mut SplitMix64) {
        let drafts = (0..random.below(4)).map(|_| self.draft(random)).collect();
        self.run(&EnqueueBatch { drafts });
        let now = self.now();
        self.opened.manager.advance(&now);
        let mut events = Vec::new();
        self.opened.manager.tick(&now, 50, &mut events);
        for event in &events {
            self.take(event);
        }
        self.grant();
        while self.tokens.len() > 2 {
            let token = self.tokens.swap_remove(0);
            self.settle(token, random);
        }
        self.commit();
    }

    /// Hands out what is ready.
    pub(crate) fn grant(&mut self) {
        while let Some((event, granted)) = self.opened.manager.next_grant(&self.now()) {
            self.take(&event);
            self.tokens.push(granted.token);
        }
    }

    pub(crate) fn settle_as(
        &mut self,
        token: LeaseToken,
        settlement: Settlement,
        staged: Vec<Draft>,
    ) {
        self.run(&Settle {
            token,
            settlement,
            staged,
        });
        self.opened.manager.add_permits(self.pool, 1);
    }

    fn settle(&mut self, token: LeaseToken, random: &mut SplitMix64) {
        let settlement = match random.below(4) {
            0 => Settlement::Fail {
                failure: Failure {
                    error_type: "Declined".to_owned(),
                    text: "no".to_owned(),
                },
                retry: policy(),
                retry_in: None,
            },
            1 => Settlement::Snooze {
                delay: Duration::from_secs(1),
            },
            _ => Settlement::Succeed {
                result: Some(Bytes::from_static(b"done")),
            },
        };
        let staged = if random.chance(1, 4) {
            vec![self.draft(random)]
        } else {
            Vec::new()
        };
        self.settle_as(token, settlement, staged);
    }

    pub(crate) fn keep(&mut self) {
        let now = self.now();
        let Opened {
            manager,
            log,
            places,
            keeper,
            ..
        } = &mut self.opened;
        let survey = keeper.survey(places, log.written(), log.durable());
        if survey.snapshot {
            let image = manager.image();
            let at = (log.written(), log.durable());
            let taken = keeper.snapshot(image.records(), places.image(), at, &now);
            assert!(matches!(taken.unwrap(), Snapshotted::Taken(_)));
        }
        keeper.reclaim();
        while keeper.prepare_spares().unwrap() == Prepared::Progress {}
    }

    pub(crate) fn image(&self) -> Vec<ImageRecord> {
        self.opened.manager.image().records().collect()
    }
}

#[test]
fn the_manager_is_after_a_loss_of_power_what_it_was_before() {
    println!("seed {SEED}");
    let mut random = SplitMix64::new(SEED);
    let mut disk = SimDisk::new();
    let mut time = 1_000;
    let mut snapshots = 0;
    for _ in 0..12 {
        let mut store = Store::begin(Store::open(&disk, time), time);
        for _ in 0..random.below(60) {
            store.round(&mut random);
            if random.chance(1, 6) {
                store.keep();
            }
        }
        let before = store.image();
        time = store.time + 1_000;
        drop(store);
        disk = disk.power_cycle(CrashMode::LoseAll);
        let opened = Store::open(&disk.fork(), time);
        snapshots += u32::from(opened.report.snapshot.is_some());
        let after: Vec<_> = opened.manager.image().records().collect();
        assert_eq!(after, before);
        for record in &after {
            if let ImageRecord::Message(message) = record {
                let pinned = opened.places.pin(message.facts.seq).unwrap();
                let sealed = pinned.read().unwrap();
                assert_eq!(sealed.bytes.len(), message.facts.size as usize);
                unseal(&sealed.bytes).unwrap();
            }
        }
    }
    assert!(snapshots > 3, "{snapshots} openings began with a snapshot");
}
