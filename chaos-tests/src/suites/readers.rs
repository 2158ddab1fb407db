//! Leases lie in a pool that does not look, their payloads on the disk, while the housekeeper copies what lives, takes
//! snapshots, frees segments and gives them to the log again. Whenever the pool looks, it is handed the bytes that were sent.
//!
//! A suite that does not press is worth nothing: most cases must see a segment go that stood when the leases were granted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{Delivery, Grant, WhenFull};
use mq_core::command::Settlement;
use mq_core::id::PoolId;
use mq_core::message::NewMessage;
use mq_persistence::segment;
use mq_persistence::storage::Filesystem;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::SimDisk;

use crate::machine::{Machine, text};
use crate::suite::{Outcome, Run};

/// Of messages that come and go: four of them fill a segment.
const FILLING_SIZE: usize = 15_000;
const SIZES: [usize; 4] = [64, 500, 4_000, 9_000];

/// Many seeds.
pub(super) fn wait(run: &Run) -> Outcome {
    let cases = run.level.of(300, 3_000, 200_000);
    let pressed = AtomicU64::new(0);
    let tried = run.each_seed(cases, |seed| {
        pressed.fetch_add(u64::from(read_late(seed)?), Ordering::Relaxed);
        run.tried(0);
        Ok(())
    });
    let (cases, pressed) = (run.counts().0, pressed.into_inner());
    match tried {
        Ok(()) if cases >= 100 && pressed < cases / 2 => Outcome::Failed(format!(
            "only in {pressed} of {cases} cases did a segment go that stood at the grant"
        )),
        tried => tried.into(),
    }
}

/// One store; answers whether a segment that stood at the grant is gone at the end.
fn read_late(seed: u64) -> Result<bool, String> {
    let mut random = SplitMix64::new(seed);
    let disk = SimDisk::new();
    if random.chance(1, 3) {
        disk.pose_as(Filesystem::Btrfs); // segments are removed there, not recycled
    }
    let mut scene = Scene {
        machine: Machine::open_with(&disk, 0, |builder| builder.payload_cache(0))?,
        sent: Vec::new(),
        next: 0,
        random,
    };
    let before = 1 + scene.random.below(3);
    for _ in 0..before {
        scene.fill()?;
    }
    let late = scene.grant_late()?;
    let stood = segments(&disk);
    for _ in 0..4 + scene.random.below(12) {
        scene.disturb()?;
    }
    scene.look(late)?;
    for _ in 0..3 {
        scene.machine.pass(Duration::from_millis(15));
        scene.machine.snapshot()?;
        scene.machine.maintain();
    }
    let left = segments(&disk);
    let gone = stood.iter().any(|name| !left.contains(name));
    match scene.machine.backend().stats().live_messages {
        0 => Ok(gone),
        live => Err(format!("{live} messages are left")),
    }
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.file_names();
    names.retain(|name| segment::number_of(name).is_some());
    names
}

struct Scene {
    machine: Machine,
    /// Payloads that are handed out and were not looked at.
    sent: Vec<Bytes>,
    next: u64,
    random: SplitMix64,
}

impl Scene {
    fn enqueue(&mut self, size: usize) -> Result<Bytes, String> {
        self.next += 1;
        let mut bytes = self.next.to_le_bytes().to_vec();
        bytes.extend((8..size).map(|at| (at as u64).wrapping_mul(self.next | 1).to_le_bytes()[2]));
        let payload = Bytes::from(bytes);
        let queue = "orders".parse().map_err(text)?;
        let kind = "order".parse().map_err(text)?;
        let message = NewMessage::new(queue, kind, payload.clone());
        let asked = self
            .machine
            .backend()
            .enqueue(vec![message], WhenFull::Refuse);
        let answer = self.machine.wait(asked).map_err(text)?.map_err(text)?;
        answer.map_err(text)?;
        Ok(payload)
    }

    /// One to three messages are handed out to a pool that does not look.
    fn grant_late(&mut self) -> Result<PoolId, String> {
        let count = 1 + self.random.below(3);
        for _ in 0..count {
            let size = self.random.pick(&SIZES).copied().unwrap_or(64);
            let payload = self.enqueue(size)?;
            self.sent.push(payload);
        }
        let late = self.machine.attach_pool().ok_or("no pool")?;
        let permits = u32::try_from(count).map_err(text)?;
        self.machine.backend().checkout(late, permits);
        self.machine.commit();
        Ok(late)
    }

    /// So many messages come and go that one segment is full, or less.
    fn fill(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(5) {
            self.enqueue(FILLING_SIZE)?;
        }
        for grant in self.machine.take(8) {
            self.done(&grant)?;
        }
        Ok(())
    }

    fn done(&self, grant: &Grant) -> Result<(), String> {
        let done = Settlement::Succeed { result: None };
        self.machine.settle(grant, done, Vec::new()).map(drop)
    }

    /// What may happen between a lease and its reader.
    fn disturb(&mut self) -> Result<(), String> {
        match self.random.below(6) {
            0 | 1 => self.fill(),
            2 | 3 => self.machine.snapshot(),
            4 => {
                self.machine.pass(Duration::from_millis(15));
                Ok(())
            }
            _ => {
                self.machine.maintain();
                Ok(())
            }
        }
    }

    /// The pool looks: all are there, and whole.
    fn look(&mut self, late: PoolId) -> Result<(), String> {
        let mut deliveries = Vec::new();
        self.machine.backend().take(late, &mut deliveries);
        let mut missing = std::mem::take(&mut self.sent);
        for delivery in deliveries {
            let Delivery::Grant(grant) = delivery else {
                return Err(format!("a lease was lost: {delivery:?}"));
            };
            let payload = &grant.envelope.payload;
            let Some(at) = missing.iter().position(|sent| sent == payload) else {
                return Err(format!("what nobody sent was handed out: {}", grant.token));
            };
            missing.swap_remove(at);
            self.done(&grant)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
        let count = missing.len();
        Err(format!(
            "{count} messages were handed out and could not be read"
        ))
    }
}
