//! Whatever happened, the image and the journal both lead back to the state; at random, with the seed printed.

use std::collections::BTreeMap;

use bytes::Bytes;
use mq_core::command::{
    EnqueueBatch, Extend, GiveBack, Operate, Operation, Reserve, SaveCheckpoint, Settle, Settlement,
};
use mq_core::event::Event;
use mq_core::id::{Incarnation, LeaseToken, MessageId, QueueId, Seq};
use mq_core::image::{Holder, ImageRecord};
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::manager::{ApplyError, Close, Config, QueueManager, RestoreError};
use mq_core::message::{Draft, Due, Edited, Sealed};
use mq_core::name::{Label, QueueName};
use mq_core::schedule::{
    Existing, FireSchedule, Firing, PauseSchedule, PutSchedule, RemoveSchedule, ResumeSchedule,
};
use mq_core::state::{DeadReason, State};
use mq_core::time::{Monotonic, Timestamp};
use mq_core::view::{Filter, StateKind};

use crate::index;
use crate::rig::{Rig, draft, failure, kind, policy, pool, priority, queue, secs};
use crate::schedule;

/// Source: xorshift64*, <https://vigna.di.unimi.it/ftp/papers/xorshift.pdf>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `bound` − 1.
    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 33) % bound
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let len = u64::try_from(from.len()).unwrap();
        (len > 0).then(|| from[usize::try_from(self.below(len)).unwrap()])
    }

    fn draft(&mut self) -> Draft {
        let policies = [
            DedupPolicy::Replace,
            DedupPolicy::Keep,
            DedupPolicy::Reject,
            DedupPolicy::DiscardIdentical,
            DedupPolicy::RunOnceMore,
        ];
        let size = usize::try_from(self.below(40)).unwrap();
        let key = KeyHash(u128::from(self.below(12)));
        let payload = KeyHash(u128::from(self.below(2)));
        let some = |is: bool, seconds: u64| is.then(|| secs(seconds));
        Draft {
            queue: queue(["a", "b", "c"][usize::try_from(self.below(3)).unwrap()]),
            kind: kind(["x", "y"][usize::try_from(self.below(2)).unwrap()]),
            priority: priority(u8::try_from(self.below(10)).unwrap()),
            due: if self.one_in(4) {
                Due::After(secs(self.below(30)))
            } else {
                Due::Now
            },
            expires_in: some(self.one_in(6), self.below(60)),
            hold: self.one_in(12).then(|| Label::new("aside").unwrap()),
            idempotency: self.one_in(5).then_some(key),
            dedup: self.one_in(2).then(|| (key, self.pick(&policies).unwrap())),
            ordering: self.one_in(3).then(|| KeyHash(u128::from(self.below(4)))),
            halt_on_dead: self.one_in(2),
            payload,
            failures_max: self.one_in(4).then_some(3),
            retain: some(self.one_in(4), self.below(100)),
            awaited: false,
            terms: index::terms(self.below(40)),
            sealed: Sealed {
                bytes: Bytes::from(vec![1; size]),
                crc: 0,
            },
        }
    }

    fn settlement(&mut self) -> Settlement {
        match self.below(9) {
            0..3 => Settlement::Succeed {
                result: Some(Bytes::from_static(b"r")),
            },
            3 | 4 => Settlement::Fail {
                failure: failure("random"),
                retry: policy(),
                retry_in: None,
            },
            5 => Settlement::Snooze {
                delay: secs(self.below(20)),
            },
            6 => Settlement::Interrupt,
            7 => Settlement::DeadLetter {
                reason: DeadReason::DeadLettered,
                failure: failure("random"),
                note: None,
            },
            _ => Settlement::Discard { failure: None },
        }
    }

    fn operation(&mut self) -> Operation {
        match self.below(9) {
            0 => Operation::Cancel,
            1 => Operation::Hold(Label::new("aside").unwrap()),
            2 => Operation::Release,
            3 => Operation::RunNow,
            4 => Operation::Reschedule(Due::After(secs(self.below(20)))),
            5 => Operation::SetPriority(priority(u8::try_from(self.below(10)).unwrap())),
            6 => Operation::MoveTo(queue(["a", "d"][usize::try_from(self.below(2)).unwrap()])),
            7 => {
                let bytes = Bytes::from_static(b"edited");
                let sealed = Sealed { bytes, crc: 0 };
                let terms = index::terms(self.below(40));
                let edit = self.one_in(2).then(|| Box::new(Edited { sealed, terms }));
                Operation::Replay { edit }
            }
            _ => Operation::Purge,
        }
    }
}

/// A store under random use.
struct Storm {
    rig: Rig,
    random: Random,
    tokens: Vec<LeaseToken>,
    ids: Vec<MessageId>,
}

impl Storm {
    fn new(seed: u64) -> Self {
        let mut rig = Rig::with(Config {
            capacity_messages: 64,
            completed_bytes: 300,
            keys: 40,
            idempotency_window: secs(200),
            ..Config::default()
        });
        attach(&mut rig);
        Self {
            rig,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            tokens: Vec::new(),
            ids: Vec::new(),
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..35 => self.enqueue(),
            35..60 => self.grant(),
            60..80 => self.settle(),
            80..90 => self.operate(),
            90..96 => {
                let seconds = self.random.below(20);
                self.rig.pass(secs(seconds));
            }
            96 => {
                let queue = queue(["a", "b"][usize::try_from(self.random.below(2)).unwrap()]);
                let paused = self.random.one_in(2);
                let change = mq_core::queue::QueueChange::Pause(paused);
                let pause = mq_core::queue::SetQueue { queue, change };
                self.rig.run(&pause).unwrap();
            }
            97 => self.schedule(),
            98 => {
                self.rig.sync();
                self.rig.synced = !self.rig.synced;
            }
            _ => self.restart(),
        }
    }

    fn enqueue(&mut self) {
        let drafts: Vec<_> = (0..1 + self.random.below(3))
            .map(|_| self.random.draft())
            .collect();
        if let Ok(accepted) = self.rig.run(&EnqueueBatch {
            drafts: drafts.into(),
        }) {
            self.ids.extend(accepted.iter().map(|accepted| accepted.id));
        }
    }

    fn schedule(&mut self) {
        self.rig.sync();
        let name = schedule::name(["s", "t"][usize::try_from(self.random.below(2)).unwrap()]);
        let timing = ["one", "two"][usize::try_from(self.random.below(2)).unwrap()];
        let next = self.rig.now.wall.after(secs(self.random.below(30)));
        let put = PutSchedule {
            name: name.clone(),
            timing: Bytes::from_static(timing.as_bytes()),
            template: Bytes::new(),
            next: Some(next),
            existing: Existing::Replace,
        };
        self.rig.run(&put).unwrap();
        for due in self.rig.manager.due_schedules(&self.rig.now, 10) {
            let fire = FireSchedule {
                due: self.rig.now.wall,
                seen: due,
                drafts: vec![draft()].into(),
                firing: Firing::Due {
                    skipped: 1,
                    next: Some(self.rig.now.wall.after(secs(10))),
                },
            };
            let _refused_if_full = self.rig.run(&fire).is_ok();
        }
        match self.random.below(4) {
            0 => self.rig.run(&PauseSchedule { name }).unwrap(),
            1 => self.rig.run(&RemoveSchedule { name }).unwrap(),
            2 => {
                let seen = schedule::seen(&self.rig, name.as_str());
                let next = Some(next);
                self.rig.run(&ResumeSchedule { seen, next }).unwrap();
            }
            _ => {}
        }
    }

    fn grant(&mut self) {
        if let Some(granted) = self.rig.grant() {
            self.rig.manager.add_permits(granted.pool, 1);
            self.tokens.push(granted.token);
        }
    }

    fn settle(&mut self) {
        let Some(token) = self.random.pick(&self.tokens) else {
            return;
        };
        let _refused_if_stale = match self.random.below(8) {
            0 => self.rig.run(&GiveBack { token }).is_ok(),
            1 => {
                let checkpoint = Bytes::from_static(b"at");
                self.rig.run(&SaveCheckpoint { token, checkpoint }).is_ok()
            }
            2 => {
                let duration = secs(40);
                let extend = Extend { token, duration };
                self.rig.manager.extend(&self.rig.now, &extend).is_ok()
            }
            3 => {
                let reserve = Reserve {
                    token,
                    messages: 1,
                    bytes: 40,
                };
                self.rig.manager.reserve(&reserve).is_ok()
            }
            _ => {
                let settlement = self.random.settlement();
                let staged = (0..self.random.below(2))
                    .map(|_| self.random.draft())
                    .collect();
                let settle = Settle {
                    token,
                    settlement,
                    staged,
                };
                self.rig.run(&settle).is_ok()
            }
        };
    }

    fn operate(&mut self) {
        if let Some(id) = self.random.pick(&self.ids) {
            let operation = self.random.operation();
            let _refused_in_other_states = self
                .rig
                .run(&Operate {
                    id,
                    operation,
                    by: String::new(),
                })
                .is_ok();
        }
    }

    fn restart(&mut self) {
        self.rig.sync();
        if self.random.one_in(2) {
            self.rig.crash();
        } else {
            self.rig.reopen();
        }
        attach(&mut self.rig);
    }

    /// What holds after every step.
    fn check(&self) {
        let (manager, now) = (&self.rig.manager, &self.rig.now);
        let page = manager.list(now, &Filter::default(), Seq::NONE, usize::MAX);
        assert_eq!(page.next, None);
        let mut by_state: BTreeMap<QueueName, [u64; 8]> = BTreeMap::new();
        let mut live_bytes = 0;
        for view in &page.messages {
            let kind = view.state.kind();
            if self.rig.synced {
                by_state.entry(view.queue.clone()).or_default()[kind as usize] += 1;
            }
            let is_over = matches!(
                kind,
                StateKind::Completed | StateKind::Dead | StateKind::Superseded
            );
            live_bytes += if is_over { 0 } else { u64::from(view.size) };
            if let State::Blocked { by } = view.state {
                assert!(manager.contains(by.seq()), "blocked by nobody");
            }
        }
        index::check(manager, now);
        let stats = manager.stats(now);
        assert!(stats.live_bytes >= live_bytes);
        assert!(stats.live_messages <= 64 + 3, "three failures come back");
        for (name, queue) in stats.queues {
            let counted = by_state.get(&name).copied().unwrap_or_default();
            if self.rig.synced {
                assert_eq!(queue.by_state, counted, "queue {name}");
            }
        }
    }
}

fn attach(rig: &mut Rig) {
    rig.pool(pool(None, None), 4);
    rig.pool(pool(Some("a"), None), 2);
    rig.pool(pool(None, Some("x")), 2);
}

#[test]
fn random_histories_lead_back_to_the_same_state() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut storm = Storm::new(seed);
        for step in 0..600 {
            storm.step();
            storm.check();
            if step % 50 == 0 {
                storm.rig.sync();
                storm.rig.check_recovery();
            }
        }
        storm.rig.synced = true;
        storm.rig.sync();
        storm.rig.check_recovery();
    }
}

#[test]
fn a_store_that_is_left_alone_runs_empty() {
    for seed in 100..130 {
        println!("seed {seed}");
        let mut storm = Storm::new(seed);
        for _ in 0..400 {
            storm.step();
        }
        storm.rig.synced = true;
        storm.rig.reopen();
        attach(&mut storm.rig);
        for name in ["a", "b"] {
            storm.rig.pause(name, false);
        }
        let mut idle = 0;
        while idle < 100 {
            idle += 1;
            while let Some(granted) = storm.rig.grant() {
                idle = 0;
                storm.rig.manager.add_permits(granted.pool, 1);
                storm.rig.settle(granted.token, crate::rig::succeed());
            }
            storm.rig.pass(secs(3));
        }
        let page = storm
            .rig
            .manager
            .list(&storm.rig.now, &Filter::default(), Seq::NONE, 1_000);
        for view in page.messages {
            let mut first = view.state.clone();
            while let State::Blocked { by } = first {
                first = storm.rig.state(by);
            }
            let waits_for_a_person = matches!(first, State::Held { .. } | State::Dead { .. });
            assert!(waits_for_a_person, "{view:?} is left behind");
        }
    }
}

#[test]
fn an_image_is_not_changed_by_what_happens_after_it() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(); 3_000]);
    let image = rig.manager.image();
    let before: Vec<ImageRecord> = image.records().collect();
    for id in &ids[..500] {
        let token = rig.grant_of(*id);
        rig.settle(token, crate::rig::succeed());
        rig.manager.add_permits(mq_core::id::PoolId(0), 1);
    }
    rig.operate(ids[700], Operation::SetPriority(priority(9)))
        .unwrap();
    rig.enqueue_all(vec![draft(); 100]);
    assert!(image.records().eq(before));
}

/// Applies an event that must be refused.
fn refuse(rig: &mut Rig, event: &Event, error: ApplyError) {
    let before = rig.records();
    assert_eq!(rig.manager.apply(event, 99), Err(error));
    assert_eq!(rig.records(), before, "{event:?} changed something");
}

#[test]
fn an_event_about_a_message_that_contradicts_its_state_changes_nothing() {
    let mut rig = Rig::new();
    rig.open_pool();
    let ids = rig.enqueue_all(vec![draft(); 3]);
    let [done, out, waiting] = [0, 1, 2].map(|index: usize| ids[index].seq());
    let token = rig.grant_of(ids[0]);
    rig.settle(token, crate::rig::succeed());
    rig.grant_of(ids[1]);
    let is_enqueue = |event: &&Event| matches!(event, Event::Enqueued(_));
    let again = rig.journal.iter().find(is_enqueue).unwrap().clone();
    let last = waiting;
    refuse(&mut rig, &again, ApplyError::SeqNotNew { seq: done, last });
    let gone = ApplyError::UnknownMessage { seq: done };
    refuse(&mut rig, &Event::Finished { seq: done }, gone);
    for (seq, delivery) in [(waiting, 0), (out, 1), (out, 2)] {
        let solo = false;
        let event = Event::CheckedOut {
            seq,
            delivery,
            solo,
        };
        refuse(&mut rig, &event, ApplyError::NotWaiting { seq, delivery });
    }
    for (seq, delivery) in [(waiting, 1), (out, 2)] {
        let event = Event::Returned { seq, delivery };
        refuse(&mut rig, &event, ApplyError::NotLeased { seq, delivery });
    }
}

#[test]
fn an_event_about_the_store_that_contradicts_its_state_changes_nothing() {
    let mut rig = Rig::new();
    rig.enqueue(draft());
    let definition = ApplyError::Definition {
        what: "queue",
        number: 5,
    };
    let id = QueueId(5);
    let name = queue("five");
    refuse(&mut rig, &Event::QueueDefined { id, name }, definition);
    let paused = Event::QueueSet {
        queue: id,
        settings: Box::default(),
    };
    refuse(&mut rig, &paused, ApplyError::UnknownQueue { id });
    let incarnation = Incarnation(1);
    let opened = Event::Opened {
        incarnation,
        at: Timestamp::default(),
    };
    let error = ApplyError::Incarnation {
        given: incarnation,
        last: incarnation,
    };
    refuse(&mut rig, &opened, error);
}

#[test]
fn a_record_that_contradicts_those_before_it_is_refused() {
    let mut rig = Rig::new();
    let ids = rig.enqueue_all(vec![draft(), draft()]);
    let records = rig.records();
    let restore = |records: &[ImageRecord]| {
        let mut manager = QueueManager::new(Config::default());
        records
            .iter()
            .try_for_each(|record| manager.restore(record.clone()))
    };
    assert_eq!(restore(&records), Ok(()));
    let [counters, queue, kind, one, two] = records.as_slice() else {
        panic!("{records:?}");
    };
    let (first, second) = (ids[0].seq(), ids[1].seq());
    let order = RestoreError::Order {
        seq: first,
        previous: second,
        last: second,
    };
    let swapped = [counters, queue, kind, two, one].map(Clone::clone);
    assert_eq!(restore(&swapped), Err(order));
    let unknown = [counters, queue, one].map(Clone::clone);
    assert!(matches!(restore(&unknown), Err(RestoreError::Apply(_))));
    let late = [counters, queue, kind, one, counters].map(Clone::clone);
    assert_eq!(restore(&late), Err(RestoreError::CountersNotFirst));
    let ImageRecord::Message(mut message) = one.clone() else {
        panic!("{one:?}");
    };
    message.state = mq_core::state::StoredState::Dead {
        reason: DeadReason::Expired,
        at: Timestamp::default(),
    };
    message.holder = Holder::Lease;
    let held = [
        counters.clone(),
        queue.clone(),
        kind.clone(),
        ImageRecord::Message(message),
    ];
    let holder = Holder::Lease;
    assert_eq!(
        restore(&held),
        Err(RestoreError::Holder { seq: first, holder })
    );
}

#[test]
fn recovery_may_call_durable_after_every_frame() {
    let mut storm = Storm::new(7);
    for _ in 0..500 {
        storm.step();
    }
    storm.rig.sync();
    let roomy = Config {
        capacity_messages: 1_000,
        ..storm.rig.config.clone()
    };
    let mut manager = QueueManager::new(roomy);
    for event in &storm.rig.journal {
        manager.apply(event, 0).unwrap();
        manager.durable(u64::MAX);
    }
    manager.advance(&storm.rig.now);
    let image: Vec<ImageRecord> = manager.image().records().collect();
    assert_eq!(image, storm.rig.records());
    // Live use begins with small marks again.
    storm.rig.manager = manager;
    storm.rig.mark = 1;
    storm.rig.now.monotonic = Monotonic::from_ms(0);
    storm.rig.run(&Close).unwrap();
    attach(&mut storm.rig);
    storm.rig.synced = false;
    let id = storm.rig.enqueue(draft());
    while let Some(granted) = storm.rig.grant() {
        assert_ne!(granted.token.id, id, "not durable");
        storm.rig.manager.add_permits(granted.pool, 1);
    }
}
