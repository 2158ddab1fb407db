//! What was answered is vouched for by something behind it: after each answered operation, in each configuration, damage to
//! what it wrote is refused at the next opening, and not taken for a torn end.
//!
//! What the very last sync covered is the stated exception, until something is written behind it.

use std::time::Duration;

use mq::{Builder, Durability};
use mq_core::backend::OperateRequest;
use mq_core::command::Settlement;
use mq_core::id::MessageId;
use mq_persistence::lsn::Lsn;
use mq_persistence::segment::{self, DATA_START};
use mq_testing::sim_disk::{SECTOR_SIZE, SimDisk};

use crate::machine::{Machine, text};
use crate::rot::{Damage, Specimen, Tally, Verdict, journal_end};
use crate::suite::{Outcome, Run, caught};
use crate::workload::{Knowledge, Script};

/// How an engine is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    durability: Durability,
    segment_size: u32,
    /// Snapshots are taken, and segments recycled.
    recycles: bool,
    /// After so many operations the engine is left alone until it writes its mark.
    idle_every: usize,
}

const INTERVAL: Duration = Duration::from_millis(100);
/// As long as it takes until a mark is written: time passes twice.
const IDLE: Duration = Duration::from_millis(25);

fn setups() -> Vec<Setup> {
    let mut setups = Vec::new();
    let modes = [
        Durability::Synced,
        Durability::Interval(INTERVAL),
        Durability::Buffered,
    ];
    for durability in modes {
        for segment_size in [64 << 10, 256 << 10, 1 << 20] {
            for recycles in [false, true] {
                for idle_every in [1, 3, usize::MAX] {
                    setups.push(Setup {
                        durability,
                        segment_size,
                        recycles,
                        idle_every,
                    });
                }
            }
        }
    }
    setups
}

/// Each setup, each operation.
pub(super) fn answers(run: &Run) -> Outcome {
    let setups = setups();
    let rounds = run.level.of(1, 4, 40);
    let thin = run.level.of(3, 1, 1);
    let tally = Tally::default();
    let tried = run.each(setups.len() as u64, |index| {
        let setup = usize::try_from(index).ok().and_then(|it| setups.get(it));
        setup.map_or(Ok(()), |setup| {
            let mut watch = Watch {
                run,
                tally: &tally,
                setup: *setup,
                disk: SimDisk::new(),
                known: Lsn::START,
                proven: Lsn::START,
                synced: Lsn::START,
                before: Lsn::START,
                thin,
                turn: run.seed.wrapping_add(index),
            };
            let lived = watch.live(rounds);
            lived.map_err(|reason| format!("{setup:?}: {reason}"))
        })
    });
    println!("chaos: watermark: {tally}");
    if !tally.has(Verdict::Refused) && tried.is_ok() {
        return Outcome::Failed("nothing was refused".to_owned());
    }
    let again = run.command(run.seed);
    tried
        .map_err(|(_, reason)| format!("{reason}\nsee it again: {again}"))
        .into()
}

/// One engine, and what must be vouched for by now.
struct Watch<'a> {
    run: &'a Run,
    tally: &'a Tally,
    setup: Setup,
    disk: SimDisk,
    /// Where the journal ended after the last look.
    known: Lsn,
    /// Where it ended before what was answered last.
    before: Lsn,
    proven: Lsn,
    synced: Lsn,
    thin: u64,
    turn: u64,
}

impl Watch<'_> {
    fn live(&mut self, rounds: usize) -> Result<(), String> {
        let setup = self.setup;
        let options = |builder: Builder| {
            builder
                .durability(setup.durability)
                .segment_size_max(setup.segment_size)
                .snapshot_after(1 << 30)
        };
        let machine = Machine::open_with(&self.disk, 1, options)?;
        let mut known = Knowledge::default();
        let mut script = Script::new(machine, &mut known);
        // An opening is durable before it serves.
        self.known = journal_end(&self.disk)?;
        self.synced = self.known;
        let mut done = 0;
        for round in 0..rounds {
            for step in 0..STEPS {
                self.before = self.known;
                let answered = operate(&mut script, step)?;
                self.answered(answered)?;
                done += 1;
                if done % setup.idle_every == 0 {
                    self.idle(&script)?;
                }
            }
            if setup.recycles {
                script.machine().snapshot()?;
                script.machine().maintain();
                self.snapshotted()?;
            }
            if round % 2 == 1 {
                self.interval(&script)?;
            }
        }
        script.close()?;
        self.known = journal_end(&self.disk)?;
        (self.proven, self.synced) = (self.known, self.known);
        self.look()
    }

    /// An operation was answered, as synced or as written.
    fn answered(&mut self, answered: Answered) -> Result<(), String> {
        let end = journal_end(&self.disk)?;
        self.rotated(end);
        self.known = end;
        let syncs = self.setup.durability == Durability::Synced;
        if syncs && answered == Answered::Durable {
            // What was synced before this frame was written is vouched for by it.
            self.proven = self.proven.max(self.synced);
            self.synced = end;
        }
        self.look()
    }

    /// A segment that was left was synced before, and the next one says so.
    fn rotated(&mut self, end: Lsn) {
        if end.segment() > self.known.segment() {
            self.proven = self.proven.max(self.known);
            self.synced = self.synced.max(self.known);
        }
    }

    /// Nothing happens until there is nothing more to be done: all is synced, and marked.
    fn idle(&mut self, script: &Script<'_>) -> Result<(), String> {
        if self.setup.durability == Durability::Buffered {
            return Ok(()); // never synced by time, so never marked
        }
        self.interval(script)?;
        for _ in 0..3 {
            script.machine().pass(IDLE);
        }
        self.known = journal_end(&self.disk)?;
        (self.proven, self.synced) = (self.known, self.known);
        self.look()
    }

    /// So much time passes that what was written is synced.
    fn interval(&mut self, script: &Script<'_>) -> Result<(), String> {
        if self.setup.durability == Durability::Buffered {
            return Ok(());
        }
        script.machine().pass(INTERVAL);
        let end = journal_end(&self.disk)?;
        self.rotated(end);
        self.known = end;
        self.synced = end;
        self.look()
    }

    /// A snapshot is taken of what is durable, and vouches for it.
    fn snapshotted(&mut self) -> Result<(), String> {
        let end = journal_end(&self.disk)?;
        self.rotated(end);
        self.proven = self.proven.max(self.known);
        self.synced = self.synced.max(self.known);
        self.known = end;
        self.look()
    }

    /// Damages what was written lately, sector by sector.
    fn look(&mut self) -> Result<(), String> {
        let left = self.disk.fork();
        let ends = (Some(self.proven), Some(self.synced));
        let specimen = Specimen::new(String::new(), left, &[], ends)?;
        for (file, sector) in sectors(&specimen, self.before, self.known) {
            let at = sector * SECTOR_SIZE as u64;
            let bits = [5, 30, 70].map(|byte| Damage::Bit {
                file,
                at: at + byte,
                bit: 3,
            });
            for damage in [Damage::Zeroed { file, sector }].into_iter().chain(bits) {
                self.turn += 1;
                if !self.turn.is_multiple_of(self.thin) {
                    continue;
                }
                self.run.tried(1);
                let judged = caught(|| specimen.judge(damage)).map_err(|reason| {
                    let (known, proven, synced) = (self.known, self.proven, self.synced);
                    format!(
                        "{damage:?} in {}, of a journal up to {known}, synced to {synced}, vouched for to {proven}: {reason}",
                        specimen.name(file)
                    )
                })?;
                self.tally.count(judged);
            }
        }
        Ok(())
    }
}

/// The sectors from one place to another that are not empty, at most a dozen of each segment.
fn sectors(specimen: &Specimen, from: Lsn, to: Lsn) -> Vec<(usize, u64)> {
    let mut found = Vec::new();
    for (file, (name, _)) in specimen.files().iter().enumerate() {
        let Some(number) = segment::number_of(name) else {
            continue;
        };
        let start = if number == from.segment() {
            from.offset()
        } else {
            DATA_START
        };
        let end = if number == to.segment() {
            to.offset()
        } else {
            u32::MAX
        };
        if !(from.segment()..=to.segment()).contains(&number) {
            continue;
        }
        let size = SECTOR_SIZE as u64;
        let all = u64::from(start) / size..(u64::from(end) / size).min(specimen.sectors_of(file));
        let used = all.filter(|sector| {
            let bytes = specimen.sector(file, *sector);
            bytes.is_some_and(|bytes| bytes.iter().any(|byte| *byte != 0))
        });
        found.extend(used.take(12).map(|sector| (file, sector)));
    }
    found
}

/// What an answer of the default mode says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Written,
    Durable,
}

const STEPS: usize = 12;

fn operate(script: &mut Script<'_>, step: usize) -> Result<Answered, String> {
    match step {
        0 => script.batch(&[100, 900, 70])?,
        1 => {
            let grants = script.take(1);
            let first = grants.first().ok_or("no grant")?;
            script.end(first, Settlement::Succeed { result: None }, 1)?;
            return Ok(Answered::Written);
        }
        2 => {
            let grants = script.take(1);
            script.dead_letter(grants.first().ok_or("no grant")?)?;
            return Ok(Answered::Written);
        }
        3 => script.replay_dead()?,
        4 => {
            let id = script.enqueue(80, |_| Ok(()))?;
            ask(
                script,
                id,
                OperateRequest::Hold("aside".parse().map_err(text)?),
            )?;
            ask(script, id, OperateRequest::Release)?;
        }
        5 => script.pause("letters", true)?,
        6 => {
            script.succeed_all(64)?;
            return Ok(Answered::Written);
        }
        _ => drop(script.enqueue(20_000, |_| Ok(()))?),
    }
    Ok(Answered::Durable)
}

fn ask(script: &Script<'_>, id: MessageId, request: OperateRequest) -> Result<(), String> {
    let asked = script.machine().backend().operate(id, request);
    asked.wait().map_err(text)?.map_err(text).map(drop)
}
