//! A store that was closed in order lies on a disk for years: a bit turns over, a sector is lost, two change places, or a write that
//! was meant for another file hits it. The life that would have come next is begun twice, beside the simulation: on a copy of the
//! disk as it is, and on one with the damage.
//!
//! A close leaves nothing unproven: so the damaged store is refused, with the file, and left as it is; or it shows the same messages
//! in the same states. What it hands out is what was enqueued; a message whose bytes are gone says so and is never handed out.
//! Random numbers are drawn from a source of its own: the lives of a seed are the same with and without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mq_core::id::{MessageId, Seq};
use mq_core::pending::Pending;
use mq_core::state::State;
use mq_core::view::{Filter, MessageView};
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{SECTOR_SIZE, SimDisk};

use super::World;
use crate::machine::{Machine, text};
use crate::rot::has_changed;

/// Messages that are looked at together.
const PAGE_LEN: usize = 1_000;
/// Messages that are handed out in the end, at most: more than a machine has room for.
const HANDED_OUT_MAX: u32 = 2_000;

/// What is seen of a store.
#[derive(Debug, PartialEq, Eq)]
struct Sight {
    messages: Vec<MessageView>,
    payloads: BTreeMap<MessageId, Option<Bytes>>,
}

/// Damage that was done.
#[derive(Debug)]
struct Decayed {
    file: String,
    what: &'static str,
    at: u64,
}

impl World {
    /// Looks at what becomes of the store, which was closed in order, if its disk decays.
    pub(super) fn decay(&mut self) -> Result<(), String> {
        let disk = self.disk.fork();
        let Some(decayed) = strike(&disk, &mut self.decay) else {
            return Ok(());
        };
        self.faults += 1;
        let before = disk.fork();
        let whole = self.begin_beside(&self.disk.fork())?;
        let whole = Sight::of(&whole, |id| {
            Err(format!("{id} is unreadable on a whole disk"))
        })?;
        let verdict = match self.begin_beside(&disk) {
            Err(refused) if !refused.contains(&decayed.file) => {
                Err(format!("the refusal names another file: {refused}"))
            }
            Err(_) if has_changed(&before, &disk) => Err("a refusal changed the store".to_owned()),
            Err(_) => Ok(()),
            Ok(machine) => compare(&whole, &machine),
        };
        let Decayed { file, what, at } = &decayed;
        verdict.map_err(|reason| {
            format!(
                "after life {}, {what} at {at} of {file}: {reason}",
                self.life
            )
        })
    }

    fn begin_beside(&self, disk: &SimDisk) -> Result<Machine, String> {
        Machine::open_on(disk, Arc::clone(&self.clock), self.life, |it| it)
    }
}

impl Sight {
    /// Reads everything; `unreadable` is asked about what cannot be read.
    fn of(
        machine: &Machine,
        unreadable: impl Fn(MessageId) -> Result<(), String>,
    ) -> Result<Self, String> {
        let (mut messages, mut after) = (Vec::new(), Some(Seq::NONE));
        while let Some(from) = after {
            let asked = machine.backend().list(Filter::default(), from, PAGE_LEN);
            let page = answer(machine, asked)?.map_err(text)?;
            messages.extend(page.messages);
            after = page.next;
        }
        let mut payloads = BTreeMap::new();
        for view in &messages {
            let asked = machine.backend().envelope(view.id);
            let payload = match answer(machine, asked)? {
                Ok(envelope) => envelope.map(|envelope| envelope.payload.clone()),
                Err(_) => {
                    unreadable(view.id)?;
                    None
                }
            };
            payloads.insert(view.id, payload);
        }
        Ok(Self { messages, payloads })
    }
}

fn answer<T>(machine: &Machine, asked: Pending<T>) -> Result<T, String> {
    machine.wait(asked).map_err(text)?.map_err(text)
}

/// What a damaged store shows, held against the same store whole.
fn compare(whole: &Sight, machine: &Machine) -> Result<(), String> {
    let seen = Sight::of(machine, |_| Ok(()))?;
    if seen.messages != whole.messages {
        let (seen, whole) = (&seen.messages, &whole.messages);
        return Err(format!("it opened, and shows {seen:?}, not {whole:?}"));
    }
    let mut lost = Vec::new();
    for (id, payload) in &seen.payloads {
        match payload {
            Some(_) if Some(payload) == whole.payloads.get(id) => {}
            Some(_) => return Err(format!("{id} was read with other bytes")),
            None => lost.push(*id),
        }
    }
    for grant in machine.take(HANDED_OUT_MAX) {
        let expected = whole.payloads.get(&grant.token.id);
        if expected != Some(&Some(grant.envelope.payload.clone())) {
            return Err(format!(
                "{} was handed out with other bytes",
                grant.token.id
            ));
        }
    }
    machine.settle_down();
    let after = Sight::of(machine, |_| Ok(()))?;
    for id in &lost {
        let view = after.messages.iter().find(|view| view.id == *id);
        match view.map(|view| &view.state) {
            Some(State::Leased { .. }) => return Err(format!("{id} is unreadable and runs")),
            Some(_) => {}
            None => return Err(format!("{id} is unreadable and is gone without a word")),
        }
    }
    Ok(())
}

/// Damages some file, where something stands; `None` if nothing was changed.
fn strike(disk: &SimDisk, random: &mut SplitMix64) -> Option<Decayed> {
    let names = disk.file_names();
    let names: Vec<&String> = names.iter().filter(|name| *name != "LOCK").collect();
    let file = (*random.pick(&names)?).clone();
    let bytes = disk.file_bytes(&file)?;
    let begin = usize::try_from(random.below(bytes.len() as u64)).ok()?;
    let mut places = (begin..bytes.len()).chain(0..begin);
    let at = places.find(|at| bytes.get(*at).is_some_and(|byte| *byte != 0))?;
    let (at, sector) = (at as u64, (at / SECTOR_SIZE) as u64);
    let sectors = (bytes.len() / SECTOR_SIZE) as u64;
    let what = match random.below(4) {
        0 => {
            let bit = u8::try_from(random.below(8)).unwrap_or(0);
            disk.flip_bit(&file, at, bit).ok()?;
            "a bit turned over"
        }
        1 => {
            disk.zero_sector(&file, sector).ok()?;
            "a sector is zeros"
        }
        2 => {
            let other = random.below(sectors.max(1));
            disk.swap_sectors(&file, sector, other).ok()?;
            "two sectors changed places"
        }
        _ => {
            let from = (*random.pick(&names)?).clone();
            let others = disk.file_bytes(&from)?;
            let first = random.below((others.len() / SECTOR_SIZE) as u64 + 1);
            let first = usize::try_from(first).ok()? * SECTOR_SIZE;
            let stray = others.get(first..first + SECTOR_SIZE)?;
            disk.overwrite(&file, sector * SECTOR_SIZE as u64, stray)
                .ok()?;
            "a write went astray"
        }
    };
    (disk.file_bytes(&file)? != bytes).then_some(Decayed { file, what, at })
}
