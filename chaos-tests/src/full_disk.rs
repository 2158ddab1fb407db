//! A small disk is filled, worked off while it is full, and filled again: in any order, in bursts that leave no time to keep house,
//! with follow-ups, with other programs that take what is free.
//!
//! Invariants
//! 1. The engine never stops, and every refusal says that the disk is full.
//! 2. Whatever was answered is handed out whole, and settled in the end; nothing else is there.
//! 3. A store that was worked off takes messages again.

use std::collections::BTreeMap;

use bytes::Bytes;
use mq::Limit;
use mq_core::backend::{EnqueueError, Grant, SettleError, SettleReceipt, SettleRequest, WhenFull};
use mq_core::command::{EnqueueRefused, SettleRefused, Settlement};
use mq_core::message::NewMessage;
use mq_core::pending::Pending;
use mq_persistence::storage::Storage;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::machine::{Machine, text};

/// Times that a store is filled and worked off.
const ROUNDS: u64 = 3;
/// Looks after the store until what is wanted must have come.
const PATIENCE: u32 = 100;
/// What the disk has in the beginning: from here to twice as much.
const CAPACITY_MIN: u64 = 2 << 20;

/// Bytes of a frame and a record beside the payload, about.
const RECORD_SIZE: u64 = 200;

/// What one store went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ordeal {
    /// Refusals of new messages and of settlements.
    pub refusals: u64,
    /// Settlements that had to wait until something was freed.
    pub held: u64,
    /// Messages that were worked off.
    pub settled: u64,
    /// Times that other programs took all that was free.
    pub taken: u64,
}

/// Fills a store, works it off, and fills it again.
///
/// # Errors
/// The promise that was broken.
pub fn endure(seed: u64) -> Result<Ordeal, String> {
    let mut random = SplitMix64::new(seed);
    let capacity = CAPACITY_MIN + random.below(CAPACITY_MIN);
    let disk = SimDisk::with_capacity(capacity);
    let mut store = Store::open(&disk, capacity, 0)?;
    let mut first = 0;
    for round in 0..ROUNDS {
        let size = 100 + random.below(12_000);
        let taken = store.fill(&mut random, size)?;
        if round == 0 {
            first = taken;
        } else if taken * 3 < first {
            return Err(format!(
                "{first} bytes fitted in the beginning, {taken} in round {round}"
            ));
        }
        if random.chance(3, 4) {
            store.take_space()?;
        }
        if random.chance(1, 4) {
            store = store.die(1 + round)?;
        }
        store.work_off(&mut random)?;
        store.disk.set_capacity(Some(capacity));
        store.machine.maintain();
    }
    store.machine.close()?;
    Ok(store.ordeal)
}

#[derive(Debug)]
struct Store {
    machine: Machine,
    disk: SimDisk,
    capacity: u64,
    /// Payloads of messages that were answered and not settled yet, by name.
    live: BTreeMap<u64, Bytes>,
    names: u64,
    ordeal: Ordeal,
}

/// A settlement under way.
struct Ending {
    name: u64,
    staged: Option<(u64, Bytes)>,
    grant: Grant,
    pending: Pending<Vec<Result<SettleReceipt, SettleError>>>,
}

impl Store {
    fn open(disk: &SimDisk, capacity: u64, life: u64) -> Result<Self, String> {
        Ok(Self {
            machine: Machine::open_with(disk, life, |builder| {
                builder.capacity(Limit::messages(1 << 20).bytes(1 << 30))
            })?,
            disk: disk.clone(),
            capacity,
            live: BTreeMap::new(),
            names: 0,
            ordeal: Ordeal::default(),
        })
    }

    /// The process dies, and another one opens the store.
    fn die(self, life: u64) -> Result<Self, String> {
        drop(self.machine);
        let disk = self.disk.restart_process();
        let mut store = Self::open(&disk, self.capacity, life)?;
        (store.live, store.names, store.ordeal) = (self.live, self.names, self.ordeal);
        store.machine.maintain();
        Ok(store)
    }

    /// Other programs take whatever is free.
    fn take_space(&mut self) -> Result<(), String> {
        let free = self.disk.free_bytes().map_err(text)?;
        self.disk
            .set_capacity(Some(self.capacity.saturating_sub(free)));
        self.ordeal.taken += 1;
        self.machine.maintain();
        self.is_alive()
    }

    fn is_alive(&self) -> Result<(), String> {
        match self.machine.engine()?.stopped() {
            Some(stopped) => Err(format!("a full disk stopped the engine: {stopped}")),
            None => Ok(()),
        }
    }

    /// What there is, for whoever has to find out why it is not enough.
    fn state(&self) -> String {
        let names = self.disk.file_names();
        let sizes = names.iter().map(|name| {
            let size = self.disk.file_bytes(name).map_or(0, |bytes| bytes.len());
            format!("{name} {size}")
        });
        let free = self.disk.free_bytes().unwrap_or_default();
        let files: Vec<String> = sizes.collect();
        let live: usize = self.live.values().map(Bytes::len).sum();
        let engine = self.machine.engine();
        let stats = engine.map(|engine| format!("{:?}", engine.stats().disk));
        format!(
            "{} messages of {live} bytes are left, {free} bytes are free, {stats:?}, {files:?}",
            self.live.len()
        )
    }

    fn message(&mut self, size: u64) -> Result<(u64, NewMessage, Bytes), String> {
        self.names += 1;
        let name = self.names;
        let mut bytes = name.to_le_bytes().to_vec();
        bytes.resize(
            usize::try_from(size.max(8)).map_err(text)?,
            name.to_le_bytes()[0],
        );
        let payload = Bytes::from(bytes);
        let (queue, kind) = ("orders".parse(), "order".parse());
        let message = NewMessage::new(queue.map_err(text)?, kind.map_err(text)?, payload.clone());
        Ok((name, message, payload))
    }

    /// Enqueues until the disk is full; answers how many bytes of journal that took, about.
    fn fill(&mut self, random: &mut SplitMix64, size: u64) -> Result<u64, String> {
        let (mut taken, mut refused) = (0, 0);
        while refused < 4 {
            let each = (size / 2 + random.below(size)).max(8);
            let (name, message, payload) = self.message(each)?;
            let sent = self
                .machine
                .backend()
                .enqueue(vec![message], WhenFull::Refuse);
            self.machine.commit();
            if !sent.is_done() {
                return Err("an enqueue that may not wait has no answer".to_owned());
            }
            match sent.wait().map_err(text)? {
                Ok(_) => {
                    self.live.insert(name, payload);
                    // Each stands in a frame of its own, and frames begin at sectors.
                    taken += (each + RECORD_SIZE).next_multiple_of(512);
                }
                Err(EnqueueError::Refused { refused, .. }) if is_disk(&refused) => {
                    self.ordeal.refusals += 1;
                    self.machine.maintain();
                }
                Err(other) => return Err(format!("an enqueue: {other:?}")),
            }
            refused += u32::from(!self.live.contains_key(&name));
            if random.chance(1, 5) {
                self.machine.maintain();
            }
            self.is_alive()?;
        }
        Ok(taken)
    }

    /// Works everything off.
    fn work_off(&mut self, random: &mut SplitMix64) -> Result<(), String> {
        let bursts = 1 + random.below(200);
        let follow_ups = random.chance(1, 2);
        let mut idle = 0;
        while !self.live.is_empty() {
            let mut grants = self.machine.take(u32::MAX);
            shuffle(&mut grants, random);
            let mut under_way = Vec::new();
            if grants.is_empty() {
                idle += 1;
                self.machine.maintain();
                if idle > PATIENCE {
                    return Err(format!("nothing is handed out: {}", self.state()));
                }
                continue;
            }
            idle = 0;
            for grant in grants {
                let wanted = follow_ups && random.chance(1, 8);
                let ending = self.settle(grant, wanted.then(|| 8 + random.below(20_000)))?;
                under_way.push(ending);
                if random.chance(1, 3) {
                    self.machine.commit();
                }
                // A burst: the maintenance thread does not come to its turn.
                if random.below(bursts) == 0 {
                    self.await_all(&mut under_way)?;
                }
                self.is_alive()?;
            }
            self.await_all(&mut under_way)?;
        }
        self.machine.maintain();
        let live = self.machine.backend().stats().live_messages;
        if live > 0 {
            return Err(format!("{live} messages are there that nobody was told of"));
        }
        self.is_alive()
    }

    fn settle(&mut self, grant: Grant, follow_up: Option<u64>) -> Result<Ending, String> {
        let payload = &grant.envelope.payload;
        let name = payload.first_chunk().copied().map(u64::from_le_bytes);
        let name = name.ok_or("a payload without a name")?;
        if self.live.get(&name) != Some(payload) {
            return Err(format!("message {name} was not enqueued like this"));
        }
        let staged = follow_up.map(|size| self.message(size)).transpose()?;
        let message = staged.as_ref().map(|(_, message, _)| message.clone());
        let request = SettleRequest {
            token: grant.token,
            settlement: Settlement::Succeed { result: None },
            staged: message.into_iter().collect(),
        };
        Ok(Ending {
            name,
            staged: staged.map(|(name, _, payload)| (name, payload)),
            pending: self.machine.backend().settle(vec![request]),
            grant,
        })
    }

    /// Looks after the store until all of these are answered.
    fn await_all(&mut self, under_way: &mut Vec<Ending>) -> Result<(), String> {
        self.machine.commit();
        while let Some(ending) = under_way.pop() {
            let mut looks = 0;
            while !ending.pending.is_done() {
                self.ordeal.held += u64::from(looks == 0);
                looks += 1;
                if looks > PATIENCE {
                    return Err(format!("a settlement has no answer: {}", self.state()));
                }
                self.machine.maintain();
                self.is_alive()?;
            }
            if let Some(again) = self.note(ending)? {
                under_way.push(again);
                self.machine.commit();
            }
        }
        Ok(())
    }

    /// Takes note of an answer; a follow-up that was refused is left out the next time.
    fn note(&mut self, ending: Ending) -> Result<Option<Ending>, String> {
        let Ending {
            name,
            staged,
            grant,
            pending,
        } = ending;
        let answers = pending.wait().map_err(text)?;
        match answers.into_iter().next() {
            Some(Ok(_)) => {
                self.live.remove(&name);
                self.live.extend(staged);
                self.ordeal.settled += 1;
                Ok(None)
            }
            Some(Err(SettleError::Refused(SettleRefused::NoRoom(full))))
                if staged.is_some() && is_disk(&full) =>
            {
                self.ordeal.refusals += 1;
                self.settle(grant, None).map(Some)
            }
            other => Err(format!("a settlement: {other:?}")),
        }
    }
}

fn is_disk(refused: &EnqueueRefused) -> bool {
    matches!(refused, EnqueueRefused::Full { unit, .. } if *unit == "bytes of disk")
}

fn shuffle(grants: &mut [Grant], random: &mut SplitMix64) {
    if random.chance(1, 3) {
        return; // in the order in which they came
    }
    for index in (1..grants.len()).rev() {
        let other = random.below(index as u64 + 1);
        grants.swap(index, usize::try_from(other).unwrap_or(index));
    }
}
