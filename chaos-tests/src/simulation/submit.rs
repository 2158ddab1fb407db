//! Enqueues of every shape, and what their answers promise.

use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{EnqueueError, Receipt, WhenFull};
use mq_core::command::{Enqueue, EnqueueRefused};
use mq_core::id::MessageId;
use mq_core::key::{DedupPolicy, Key};
use mq_core::limits::FAILURES_UNLIMITED;
use mq_core::message::{Due, NewMessage, Priority};
use mq_testing::oracle::{Submission, Survives};

use super::facts::Fact;
use super::lives::{Life, OpenEnqueue};
use super::mix::Sizes;
use super::{Halt, Step, broken};

const POLICIES: [DedupPolicy; 4] = [
    DedupPolicy::Replace,
    DedupPolicy::Keep,
    DedupPolicy::Reject,
    DedupPolicy::DiscardIdentical,
];

/// The name of a message stands in the first eight bytes of its payload.
pub(super) fn name_in(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().copied().map(u64::from_le_bytes)
}

fn payload(name: u64, size: usize) -> Bytes {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend((8..size).map(|at| (at as u64).wrapping_mul(name | 1).to_le_bytes()[2]));
    Bytes::from(bytes)
}

/// A message without keys.
pub(super) fn plain(name: u64, size: usize) -> NewMessage {
    let queue = if name % 5 == 4 { "mail" } else { "orders" };
    let queue = queue
        .parse()
        .unwrap_or_else(|_| unreachable!("a plain name"));
    let kind = "order"
        .parse()
        .unwrap_or_else(|_| unreachable!("a plain name"));
    let mut message = NewMessage::new(queue, kind, payload(name, size));
    // A lease that runs out must not kill it: the oracle could not know.
    message.failures_max = Some(FAILURES_UNLIMITED);
    message
}

/// What the oracle is told of a message.
pub(super) fn submission(message: &NewMessage) -> Submission {
    // Equal keys of two queues are two keys.
    let bytes = |key: &Key| [message.queue.as_str().as_bytes(), key.as_bytes()].concat();
    let once_more = message.dedup == Some(DedupPolicy::RunOnceMore);
    Submission {
        payload: message.envelope.payload.to_vec(),
        ordering_key: message.envelope.ordering_key.as_ref().map(bytes),
        dedup_key: message
            .envelope
            .dedup_key
            .as_ref()
            .filter(|_| !once_more)
            .map(bytes),
        ..Submission::default()
    }
}

fn key(text: String) -> Option<Key> {
    Key::new(text).ok()
}

impl Life<'_> {
    /// Enqueues something.
    pub(super) fn enqueue_some(&mut self) -> Step {
        let random = if self.mix.keyed && self.world.random.chance(2, 3) {
            self.world.random.pick(&[7, 7, 11, 11, 11, 17]).copied()
        } else {
            None
        };
        let random = random.unwrap_or_else(|| self.world.random.below(20));
        let size = self.size();
        match random {
            0..7 => self.enqueue_new(size, |_, _| {}),
            7..11 => {
                let number = self.world.random.below(self.mix.keys);
                self.enqueue_new(size, move |message, fact| {
                    message.envelope.ordering_key = key(format!("line-{number}"));
                    fact.ordered = true;
                })
            }
            11..14 => self.enqueue_keyed(size),
            14 => {
                let number = self.world.random.below(self.mix.keys);
                self.enqueue_new(size, move |message, fact| {
                    fact.dedup = Some((100 + number, DedupPolicy::RunOnceMore));
                    message.envelope.dedup_key = key(format!("once-{number}"));
                    message.dedup = Some(DedupPolicy::RunOnceMore);
                })
            }
            15 => self.enqueue_new(size, |message, _| {
                message.due = Due::After(Duration::from_secs(7));
            }),
            16 => {
                let level = self.world.random.below(10);
                self.enqueue_new(size, move |message, _| {
                    let level = u8::try_from(level).ok().and_then(Priority::new);
                    message.priority = level.unwrap_or_default();
                    message.retain = Some(Duration::from_secs(3600));
                })
            }
            17 => self.enqueue_idempotent(),
            _ => self.enqueue_batch(),
        }
    }

    fn size(&mut self) -> usize {
        let sizes = [8, 64, 500, 700, 4_000, 9_000, 20_000];
        let few = match self.mix.sizes {
            Sizes::Small => true,
            Sizes::Mixed => self.world.random.chance(3, 4),
            Sizes::Large => self.world.random.chance(1, 4),
        };
        let index = if few {
            self.world.below(4)
        } else {
            4 + self.world.below(3)
        };
        sizes.get(index).copied().unwrap_or(64)
    }

    fn enqueue_new(&mut self, size: usize, shape: impl FnOnce(&mut NewMessage, &mut Fact)) -> Step {
        let name = self.world.name();
        let (mut message, mut fact) = (plain(name, size), Fact::default());
        shape(&mut message, &mut fact);
        self.world.facts.insert(name, fact);
        self.world.oracle.submitted(name, submission(&message));
        self.submit(vec![name], Vec::new(), vec![message])
    }

    /// A dedup key under a policy: which message is replaced is told by the answer.
    fn enqueue_keyed(&mut self, size: usize) -> Step {
        let number = self.world.random.below(self.mix.keys);
        let policy = self
            .world
            .random
            .pick(&POLICIES)
            .copied()
            .unwrap_or(DedupPolicy::Keep);
        let name = self.world.name();
        let mut message = plain(name, size);
        message.envelope.dedup_key = key(format!("sku-{number}"));
        message.dedup = Some(policy);
        let number = if message.queue.as_str() == "mail" {
            number + 10
        } else {
            number
        };
        let replaces = matches!(policy, DedupPolicy::Replace | DedupPolicy::DiscardIdentical);
        if replaces {
            // Others share a frame with the message that they are a duplicate of.
            self.commit_through()?;
        }
        let alike = self.world.facts.iter().filter(|(_, fact)| {
            let same = fact.dedup.is_some_and(|(other, _)| other == number);
            replaces && same && !fact.over && !fact.dead
        });
        let rivals: Vec<u64> = alike.map(|(name, _)| *name).collect();
        for rival in &rivals {
            self.world.oracle.settle_submitted(*rival);
        }
        for held in self
            .held
            .iter_mut()
            .filter(|held| rivals.contains(&held.name))
        {
            held.superseded = true;
        }
        let dedup = Some((number, policy));
        self.world.facts.insert(
            name,
            Fact {
                dedup,
                ..Fact::default()
            },
        );
        self.world.oracle.submitted(name, submission(&message));
        if replaces {
            // Which message it replaces is decided before anything else happens.
            return self.submit_and_wait(vec![name], rivals, vec![message]);
        }
        self.submit(vec![name], rivals, vec![message])
    }

    /// An idempotency key, sent again and again: all answers are about one message.
    fn enqueue_idempotent(&mut self) -> Step {
        const FIRST: u64 = 1 << 40;
        let name = FIRST + self.world.random.below(4);
        let mut message = plain(name, 64 + usize::try_from(name % 4).unwrap_or(0));
        message.envelope.idempotency_key = key(format!("request-{name}"));
        if self.world.facts.contains_key(&name) {
            return self.submit(vec![name], Vec::new(), vec![message]);
        }
        self.world.facts.insert(name, Fact::default());
        self.world.oracle.submitted(name, submission(&message));
        self.submit(vec![name], Vec::new(), vec![message])
    }

    fn enqueue_batch(&mut self) -> Step {
        let len = 2 + self.world.random.below(5);
        let mut batch = Vec::new();
        for _ in 0..len {
            let name = self.world.name();
            let size = self.size();
            let mut message = plain(name, size);
            let mut fact = Fact::default();
            if self.world.random.chance(1, 3) {
                message.envelope.ordering_key = key("line-0".to_owned());
                fact.ordered = true;
            }
            self.world.facts.insert(name, fact);
            batch.push((name, message));
        }
        let submissions = batch
            .iter()
            .map(|(name, message)| (*name, submission(message)));
        self.world.oracle.batch_submitted(submissions);
        let (names, messages) = batch.into_iter().unzip();
        self.submit(names, Vec::new(), messages)
    }

    /// Everything that was asked for is carried out, also if a thread is held in the middle of it.
    pub(super) fn commit_through(&mut self) -> Step {
        self.machine.commit();
        self.machine.commit(); // if it was held in the first
        self.receive_all()
    }

    /// Whether the next answer is waited for.
    pub(super) fn waits(&mut self) -> bool {
        self.world.random.below(10) < self.mix.waits_of_10
    }

    fn submit(&mut self, names: Vec<u64>, rivals: Vec<u64>, messages: Vec<NewMessage>) -> Step {
        self.world.saw(("submit", &names));
        let pending = self.machine.backend().enqueue(messages, WhenFull::Refuse);
        let open = OpenEnqueue {
            names,
            rivals,
            pending,
        };
        if self.waits() {
            self.answered_enqueue(open)
        } else {
            self.enqueues.push(open);
            Ok(())
        }
    }

    fn submit_and_wait(
        &mut self,
        names: Vec<u64>,
        rivals: Vec<u64>,
        messages: Vec<NewMessage>,
    ) -> Step {
        self.world.saw(("submit", &names));
        let pending = self.machine.backend().enqueue(messages, WhenFull::Refuse);
        // Those who came before are answered before: what is replaced may be one of them.
        self.enqueues.push(OpenEnqueue {
            names,
            rivals,
            pending,
        });
        self.commit_through()?;
        let last = self.enqueues.pop();
        self.collect()?;
        match last {
            Some(open) => self.answered_enqueue(open),
            None => Ok(()),
        }
    }

    /// Takes the answer to an enqueue, waiting for it if need be.
    pub(super) fn answered_enqueue(&mut self, open: OpenEnqueue) -> Step {
        match self.answer(open.pending)? {
            Ok(Ok(receipts)) => {
                let pairs: Vec<_> = open.names.iter().copied().zip(receipts).collect();
                for (name, receipt) in pairs {
                    self.answered(name, &receipt, &open.rivals)?;
                }
                Ok(())
            }
            Ok(Err(EnqueueError::Refused { refused, .. })) => {
                open.names
                    .iter()
                    .for_each(|name| self.world.oracle.refused(*name));
                self.spare(&open.rivals);
                match refused {
                    EnqueueRefused::KeyHeld { id } => self.stands(id),
                    EnqueueRefused::Full { .. } => {}
                    other => return broken(format!("an enqueue was refused: {other}")),
                }
                Ok(())
            }
            Ok(Err(EnqueueError::Invalid { source, .. })) => broken(format!("not valid: {source}")),
            Ok(Err(EnqueueError::Stopped(_))) | Err(_) => {
                // Whether they were replaced shows only when one of them is seen.
                for rival in &open.rivals {
                    self.world.facts.entry(*rival).or_default().ending = true;
                }
                self.check_alive()?;
                broken("no answer to an enqueue")
            }
        }
    }

    fn answered(&mut self, name: u64, receipt: &Receipt, rivals: &[u64]) -> Step {
        let id = receipt.accepted.id;
        self.world.saw((name, id, receipt.accepted.enqueue));
        if receipt.durability != mq_core::backend::Durability::Synced {
            return broken(format!("{name} was answered as {:?}", receipt.durability));
        }
        match receipt.accepted.enqueue {
            Enqueue::New => {
                self.spare(rivals);
                self.stored(name, id)?;
            }
            Enqueue::Replaced { old } => {
                let old_name = self.name_of(old)?;
                let others: Vec<u64> = rivals
                    .iter()
                    .copied()
                    .filter(|it| Some(*it) != old_name)
                    .collect();
                self.spare(&others);
                if let Some(old) = old_name {
                    self.world.facts.entry(old).or_default().over = true;
                    self.world.oracle.settled(old, Survives::PowerLoss);
                }
                self.stored(name, id)?;
            }
            Enqueue::Existing | Enqueue::Discarded => {
                self.spare(rivals);
                if self.name_of(id)? != Some(name) {
                    self.world.oracle.refused(name);
                }
                self.stands(id);
            }
        }
        Ok(())
    }

    fn stored(&mut self, name: u64, id: MessageId) -> Step {
        // An id whose enqueue was answered when written may be given again after a power cut.
        let former = self
            .world
            .names
            .insert(id, name)
            .filter(|other| *other != name);
        let durable = |other: &u64| {
            self.world
                .facts
                .get(other)
                .is_some_and(|fact| fact.answered)
        };
        if let Some(other) = former.filter(durable) {
            return broken(format!("{name} was answered with the id of {other}: {id}"));
        }
        self.world.facts.entry(name).or_default().answered = true;
        self.world.facts.entry(name).or_default().id = Some(id);
        self.world.oracle.answered(name, Survives::PowerLoss);
        Ok(())
    }

    /// An answer named this message: it can be relied on. If nobody knows yet whose it is, the next life looks: to ask now would
    /// bring about the sync that the answer must not have left before.
    fn stands(&mut self, id: MessageId) {
        match self.world.names.get(&id) {
            Some(name) => self.world.oracle.answered(*name, Survives::PowerLoss),
            None => self.world.promised.push(id),
        }
    }

    /// They were not replaced after all.
    fn spare(&mut self, rivals: &[u64]) {
        for rival in rivals {
            if self
                .world
                .facts
                .get(rival)
                .is_some_and(|fact| !fact.over && !fact.ending)
            {
                self.world.oracle.settle_refused(*rival);
            }
            for held in self.held.iter_mut().filter(|held| held.name == *rival) {
                held.superseded = false;
            }
        }
    }

    /// Which message an id is of; asked for if it is not known.
    pub(super) fn name_of(&mut self, id: MessageId) -> Step<Option<u64>> {
        if let Some(name) = self.world.names.get(&id) {
            return Ok(Some(*name));
        }
        let asked = self.machine.backend().envelope(id);
        match self.answer(asked)? {
            Ok(Ok(Some(envelope))) => {
                let name = name_in(&envelope.payload);
                if let Some(name) = name {
                    self.world.names.insert(id, name);
                }
                Ok(name)
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(mq_core::backend::ReadError::Unreadable { reason, .. })) => {
                if self.world.disk.was_disturbed() {
                    return Err(Halt::Over);
                }
                broken(format!("{id} cannot be read: {reason}"))
            }
            Ok(Err(mq_core::backend::ReadError::Stopped(_))) | Err(_) => Err(Halt::Over),
        }
    }
}
