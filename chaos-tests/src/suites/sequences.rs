//! Every sequence of up to three operations, a crash after each of its I/Os, and the oracle.
//!
//! Few mistakes of file systems needed more than three operations in a row to show. Source: Mohan et al., "Finding
//! crash-consistency bugs with bounded black-box crash testing", OSDI 2018.

use std::time::Duration;

use mq_core::backend::Grant;
use mq_core::command::Settlement;
use mq_core::id::MessageId;
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::Due;
use mq_testing::crash_points::{Checked, Crash, CrashPoint, Disturbance, Reopened, crash_at};
use mq_testing::oracle::Ending;
use mq_testing::sim_disk::{CrashMode, SimDisk};

use crate::machine::{Machine, text};
use crate::suite::{Level, Outcome, Run};
use crate::workload::{Knowledge, REFUSED, Script, check_with};

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Enqueue(Shape),
    Batch,
    Checkout,
    /// As `Checkout`, but what it asks for stays asked for: whose turn comes later is handed out at that moment.
    Ask,
    /// What happens to the message that has been held longest; to the next one, if none is.
    End(How),
    Replay,
    /// Of the message that was enqueued last.
    Cancel,
    Pause(bool),
    Snapshot,
    /// What was written is synced, and the housekeeper looks round.
    Wait,
    Reopen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Plain,
    DedupKey,
    IdempotencyKey,
    OrderingKey,
    Delayed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Ack,
    AckWithStaged,
    Fail,
    DeadLetter,
    GiveBack,
}

const STEPS: [Step; 20] = [
    Step::Enqueue(Shape::Plain),
    Step::Enqueue(Shape::DedupKey),
    Step::Enqueue(Shape::IdempotencyKey),
    Step::Enqueue(Shape::OrderingKey),
    Step::Enqueue(Shape::Delayed),
    Step::Batch,
    Step::Checkout,
    Step::Ask,
    Step::End(How::Ack),
    Step::End(How::AckWithStaged),
    Step::End(How::Fail),
    Step::End(How::DeadLetter),
    Step::End(How::GiveBack),
    Step::Replay,
    Step::Cancel,
    Step::Pause(true),
    Step::Pause(false),
    Step::Snapshot,
    Step::Wait,
    Step::Reopen,
];

const QUEUE: &str = "orders";
/// More than there are messages.
const PERMITS: u32 = 16;

/// What the test knows of the store.
#[derive(Clone, Debug, Default)]
struct Known {
    base: Knowledge,
    /// Whether the queue is paused, where that is beyond doubt.
    paused: Option<bool>,
    /// The last message that was enqueued and answered.
    last: Option<MessageId>,
}

/// Every sequence.
pub(super) fn all(run: &Run) -> Outcome {
    let len_max = run.level.of(2, 3, 3);
    let sequences: Vec<Vec<Step>> = (1..=len_max).flat_map(sequences_of).collect();
    let prepared = match prepared() {
        Ok(prepared) => prepared,
        Err(reason) => return Outcome::Failed(reason),
    };
    let tried = run.each(sequences.len() as u64, |index| {
        let sequence = usize::try_from(index).ok().and_then(|it| sequences.get(it));
        sequence.map_or(Ok(()), |sequence| try_sequence(run, &prepared, sequence))
    });
    let again = run.command(run.seed);
    tried
        .map_err(|(_, reason)| format!("{reason}\nsee it again: {again}"))
        .into()
}

fn sequences_of(len: usize) -> Vec<Vec<Step>> {
    (0..len).fold(vec![Vec::new()], |shorter, _| {
        shorter
            .iter()
            .flat_map(|start: &Vec<Step>| {
                STEPS.iter().map(|step| {
                    let mut longer = start.clone();
                    longer.push(*step);
                    longer
                })
            })
            .collect()
    })
}

/// A store with something in every state, closed in order.
fn prepared() -> Result<(SimDisk, Known), String> {
    let (disk, mut known) = (SimDisk::new(), Known::default());
    let mut player = Player::open(&disk, &mut known)?;
    for step in [
        Step::Enqueue(Shape::Plain),
        Step::End(How::DeadLetter),
        Step::Enqueue(Shape::OrderingKey), // the first to be handed out
        Step::Enqueue(Shape::Plain),
        Step::Enqueue(Shape::IdempotencyKey),
        Step::Snapshot,
        Step::Enqueue(Shape::Delayed),
    ] {
        player.play(step)?;
    }
    player.script.close()?;
    drop(player);
    known.base.ended(Ending::Closed);
    Ok((disk.restart_process(), known))
}

fn crashes(level: Level, seed: u64) -> Vec<Crash> {
    let mut crashes = vec![
        Crash::Power(CrashMode::LoseAll),
        Crash::Power(CrashMode::Subset(seed)),
    ];
    if level > Level::Quick {
        crashes.push(Crash::Kill);
    }
    if level == Level::Nightly {
        crashes.extend([
            Crash::Power(CrashMode::KeepAll),
            Crash::Power(CrashMode::Prefix(seed)),
            Crash::Power(CrashMode::Page4k(seed)),
            Crash::Power(CrashMode::MissingOne(seed)),
        ]);
    }
    crashes
}

fn try_sequence(run: &Run, prepared: &(SimDisk, Known), sequence: &[Step]) -> Result<(), String> {
    let (start, before) = prepared;
    let (disk, mut known) = (start.fork(), before.clone());
    let opened = play(&disk, &mut known, sequence).map_err(|it| format!("{sequence:?}: {it}"))?;
    let workload = |disk: &SimDisk, known: &mut Known| {
        *known = before.clone();
        play(disk, known, sequence).map(drop)
    };
    for io in opened..=disk.io_count() {
        for crash in crashes(run.level, run.seed) {
            let point = CrashPoint {
                workload: Disturbance::CrashAfter(io),
                crash: crash.reseeded(io),
                then: None,
            };
            run.tried(1);
            crash_at(start, point, workload, check)
                .map_err(|failure| format!("{sequence:?}: {failure}"))?;
        }
    }
    Ok(())
}

/// Opens the store and does one thing after the other; answers how many I/Os passed before the first of them.
fn play(disk: &SimDisk, known: &mut Known, sequence: &[Step]) -> Result<u64, String> {
    let mut player = Player::open(disk, known)?;
    // Waits in line behind the first to be handed out. Its payload is in memory, so that it can be looked at when the disk is dead.
    player.play(Step::Enqueue(Shape::OrderingKey))?;
    let opened = disk.io_count();
    for step in sequence {
        if *step == Step::Reopen {
            player.script.close()?;
            drop(player);
            known.base.ended(Ending::Closed);
            player = Player::open(disk, known)?;
        } else {
            let played = player.play(*step);
            player.receive(); // also what left before the machine died
            played?;
        }
    }
    Ok(opened)
}

struct Player<'a> {
    script: Script<'a>,
    paused: &'a mut Option<bool>,
    last: &'a mut Option<MessageId>,
    held: Vec<Grant>,
}

impl<'a> Player<'a> {
    fn open(disk: &SimDisk, known: &'a mut Known) -> Result<Self, String> {
        let machine = Machine::open(disk, known.base.next_life())?;
        Ok(Self {
            script: Script::new(machine, &mut known.base),
            paused: &mut known.paused,
            last: &mut known.last,
            held: Vec::new(),
        })
    }

    fn play(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Enqueue(shape) => self.enqueue(shape),
            Step::Batch => self.script.batch(&[90, 600]),
            Step::Checkout => {
                self.held.extend(self.script.take(2));
                Ok(())
            }
            Step::Ask => {
                self.script.machine().ask(PERMITS);
                Ok(())
            }
            Step::End(how) => self.end(how),
            Step::Replay => self.script.replay_dead(),
            Step::Cancel => {
                // What is about to be handed out comes before it is cancelled.
                self.script.machine().commit();
                self.receive();
                self.last.map_or(Ok(()), |id| self.script.cancel(id))
            }
            Step::Pause(paused) => self.pause(paused),
            Step::Snapshot => self.script.machine().snapshot(),
            Step::Wait => {
                self.script.machine().pass(Duration::from_millis(15));
                self.script.machine().maintain();
                Ok(())
            }
            Step::Reopen => Ok(()), // the player ends with it
        }
    }

    /// Looks at what has come for those who asked earlier.
    fn receive(&mut self) {
        self.held.extend(self.script.receive());
    }

    fn enqueue(&mut self, shape: Shape) -> Result<(), String> {
        let enqueued = self.script.enqueue(80, |message| {
            match shape {
                Shape::Plain => {}
                Shape::DedupKey => {
                    message.envelope.dedup_key = Some(Key::new("sku-1").map_err(text)?);
                    message.dedup = Some(DedupPolicy::Keep);
                }
                Shape::IdempotencyKey => {
                    message.envelope.idempotency_key = Some(Key::new("order-17").map_err(text)?);
                }
                Shape::OrderingKey => {
                    message.envelope.ordering_key = Some(Key::new("customer-3").map_err(text)?);
                }
                Shape::Delayed => message.due = Due::After(Duration::from_secs(5)),
            }
            Ok(())
        });
        match enqueued {
            Ok(id) => *self.last = Some(id),
            Err(refused) if refused == REFUSED => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn end(&mut self, how: How) -> Result<(), String> {
        if self.held.is_empty() {
            self.held.extend(self.script.take(1));
        }
        if self.held.is_empty() {
            return Ok(());
        }
        let grant = self.held.remove(0);
        let done = || Settlement::Succeed { result: None };
        match how {
            How::Ack => self.script.end(&grant, done(), 0),
            How::AckWithStaged => self.script.end(&grant, done(), 2),
            How::Fail => self.script.fail(&grant),
            How::DeadLetter => self.script.dead_letter(&grant),
            How::GiveBack => {
                self.script.give_back(&[grant]);
                Ok(())
            }
        }
    }

    fn pause(&mut self, paused: bool) -> Result<(), String> {
        if *self.paused != Some(paused) {
            *self.paused = None;
        }
        self.script.pause(QUEUE, paused)?;
        *self.paused = Some(paused);
        Ok(())
    }
}

fn check(reopened: Reopened<'_, Known>) -> Result<Checked, String> {
    let Reopened {
        disk,
        knowledge,
        ending,
    } = reopened;
    let paused = knowledge.paused;
    let base = Reopened {
        disk,
        knowledge: &mut knowledge.base,
        ending,
    };
    check_with(base, |script| {
        let found = script.is_paused(QUEUE)?;
        if paused.is_some_and(|paused| paused != found) {
            return Err(format!(
                "the queue was answered to be paused: {paused:?}; now it is: {found}"
            ));
        }
        script.pause(QUEUE, false)
    })
}
