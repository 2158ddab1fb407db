//! A store's life in small: every kind of record, rotation, snapshots, reclaim, compaction, dead letters and replay, in
//! a fixed order, with an oracle that is told everything. And the check: open what is left, run until empty, judge.

use std::time::Duration;

use bytes::Bytes;
use mq_core::backend::{EnqueueError, Grant, OperateError, OperateRequest, WhenFull};
use mq_core::command::{Enqueue, Operated, Settlement};
use mq_core::id::{MessageId, Seq};
use mq_core::key::{DedupPolicy, Key};
use mq_core::message::{Due, NewMessage};
use mq_core::name::{KindName, QueueName};
use mq_core::state::{DeadReason, Failure};
use mq_core::view::{Filter, StateKind};
use mq_testing::crash_points::{Checked, Reopened};
use mq_testing::oracle::{Ending, Oracle, Submission, Survives};
use mq_testing::sim_disk::SimDisk;

use crate::machine::{Machine, RETRY, text};

/// What an enqueue answers that the rules refuse.
pub(crate) const REFUSED: &str = "refused";

/// What the test knows of one store through all its lives.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    oracle: Oracle<u64>,
    next: u64,
    lives: u64,
}

/// The name of a message stands in the first eight bytes of its payload.
fn payload(name: u64, size: usize) -> Bytes {
    let mut bytes = name.to_le_bytes().to_vec();
    bytes.extend((8..size).map(|at| (at as u64).wrapping_mul(name | 1).to_le_bytes()[2]));
    Bytes::from(bytes)
}

fn name_of(payload: &[u8]) -> u64 {
    payload
        .first_chunk()
        .copied()
        .map_or(u64::MAX, u64::from_le_bytes)
}

fn message(name: u64, size: usize) -> Result<NewMessage, String> {
    let queue: QueueName = "orders".parse().map_err(text)?;
    let kind: KindName = "order".parse().map_err(text)?;
    Ok(NewMessage::new(queue, kind, payload(name, size)))
}

fn submission(message: &NewMessage) -> Submission {
    Submission {
        payload: message.envelope.payload.to_vec(),
        ordering_key: message
            .envelope
            .ordering_key
            .as_ref()
            .map(|key| key.as_bytes().to_vec()),
        ..Submission::default()
    }
}

/// A life that is being played, with what is known of it.
pub(crate) struct Script<'a> {
    machine: Machine,
    known: &'a mut Knowledge,
}

impl Knowledge {
    /// The number of the life that begins now.
    pub(crate) const fn next_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives - 1
    }

    /// The life is over.
    pub(crate) fn ended(&mut self, ending: Ending) {
        self.oracle.ended(ending);
    }
}

/// Whether a payload is one that the workload made.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && payload(name_of(bytes), bytes.len()) == bytes
}

impl<'a> Script<'a> {
    pub(crate) const fn new(machine: Machine, known: &'a mut Knowledge) -> Self {
        Self { machine, known }
    }

    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }
}

impl Script<'_> {
    fn name(&mut self) -> u64 {
        self.known.next += 1;
        self.known.next
    }

    pub(crate) fn enqueue(
        &mut self,
        size: usize,
        shape: impl FnOnce(&mut NewMessage) -> Result<(), String>,
    ) -> Result<MessageId, String> {
        let name = self.name();
        let mut message = message(name, size)?;
        shape(&mut message)?;
        self.known.oracle.submitted(name, submission(&message));
        let answer = self
            .machine
            .backend()
            .enqueue(vec![message], WhenFull::Refuse)
            .wait()
            .map_err(text)?;
        let receipts = match answer {
            Err(EnqueueError::Refused { .. }) => {
                self.known.oracle.refused(name);
                return Err(REFUSED.to_owned());
            }
            answer => answer.map_err(text)?,
        };
        let receipt = receipts.first().ok_or("no receipt")?;
        let id = receipt.accepted.id;
        match receipt.accepted.enqueue {
            Enqueue::New | Enqueue::Replaced { .. } => {
                self.known.oracle.answered(name, Survives::PowerLoss);
            }
            // The message that was there already can be relied on.
            Enqueue::Existing | Enqueue::Discarded => {
                self.known.oracle.refused(name);
                let stored = self.machine.backend().envelope(id).wait().map_err(text)?;
                if let Some(envelope) = stored.map_err(text)? {
                    let original = name_of(&envelope.payload);
                    self.known.oracle.answered(original, Survives::PowerLoss);
                }
            }
        }
        Ok(id)
    }

    /// Cancels a message that nobody holds.
    pub(crate) fn cancel(&mut self, id: MessageId) -> Result<(), String> {
        let stored = self.machine.backend().envelope(id).wait().map_err(text)?;
        let Some(envelope) = stored.map_err(text)? else {
            return Ok(());
        };
        let name = name_of(&envelope.payload);
        self.known.oracle.settle_submitted(name);
        let request = OperateRequest::Cancel;
        let answer = self.machine.backend().operate(id, request).wait();
        match answer.map_err(text)? {
            Ok(Operated::Done) => self.known.oracle.settled(name, Survives::PowerLoss),
            Ok(Operated::Requested) => {}
            Err(OperateError::Refused(_)) => self.known.oracle.settle_refused(name),
            Err(error) => return Err(text(error)),
        }
        Ok(())
    }

    /// Gives leases back whose handlers never started.
    pub(crate) fn give_back(&self, grants: &[Grant]) {
        let tokens = grants.iter().map(|grant| grant.token).collect();
        self.machine.backend().give_back(tokens);
        self.machine.commit();
    }

    pub(crate) fn batch(&mut self, sizes: &[usize]) -> Result<(), String> {
        let names: Vec<u64> = sizes.iter().map(|_| self.name()).collect();
        let messages: Vec<NewMessage> = names
            .iter()
            .zip(sizes)
            .map(|(name, size)| message(*name, *size))
            .collect::<Result<_, _>>()?;
        self.known
            .oracle
            .batch_submitted(names.iter().copied().zip(messages.iter().map(submission)));
        self.machine
            .backend()
            .enqueue(messages, WhenFull::Refuse)
            .wait()
            .map_err(text)?
            .map_err(text)?;
        names
            .iter()
            .for_each(|name| self.known.oracle.answered(*name, Survives::PowerLoss));
        Ok(())
    }

    pub(crate) fn take(&mut self, permits: u32) -> Vec<Grant> {
        let grants = self.machine.take(permits);
        self.look_at(&grants);
        grants
    }

    /// What has come for those who asked earlier.
    pub(crate) fn receive(&mut self) -> Vec<Grant> {
        let grants = self.machine.taken();
        self.look_at(&grants);
        grants
    }

    fn look_at(&mut self, grants: &[Grant]) {
        for grant in grants {
            self.known
                .oracle
                .delivered(name_of(&grant.envelope.payload), &grant.envelope.payload);
        }
    }

    pub(crate) fn end(
        &mut self,
        grant: &Grant,
        settlement: Settlement,
        staged: usize,
    ) -> Result<(), String> {
        let name = name_of(&grant.envelope.payload);
        let children: Vec<(u64, NewMessage)> = (0..staged)
            .map(|_| {
                let child = self.name();
                message(child, 120).map(|message| (child, message))
            })
            .collect::<Result<_, _>>()?;
        self.known.oracle.settle_submitted_with(
            name,
            children
                .iter()
                .map(|(child, message)| (*child, submission(message))),
        );
        self.machine.settle(
            grant,
            settlement,
            children.into_iter().map(|(_, message)| message).collect(),
        )?;
        self.known.oracle.settled(name, Survives::Kill); // answered when written; synced within 10 ms
        Ok(())
    }

    pub(crate) fn succeed_all(&mut self, permits: u32) -> Result<(), String> {
        for grant in self.take(permits) {
            self.end(&grant, Settlement::Succeed { result: None }, 0)?;
        }
        Ok(())
    }

    pub(crate) fn fail(&mut self, grant: &Grant) -> Result<(), String> {
        let failure = Failure {
            error_type: "Declined".to_owned(),
            text: "card declined".to_owned(),
        };
        self.machine
            .settle(
                grant,
                Settlement::Fail {
                    failure,
                    retry: RETRY,
                    retry_in: None,
                },
                Vec::new(),
            )
            .map(drop)
    }

    pub(crate) fn dead_letter(&mut self, grant: &Grant) -> Result<(), String> {
        let failure = Failure {
            error_type: "Gone".to_owned(),
            text: "no such card".to_owned(),
        };
        let settlement = Settlement::DeadLetter {
            reason: DeadReason::DeadLettered,
            failure,
            note: Some("ask".to_owned()),
        };
        let name = name_of(&grant.envelope.payload);
        self.known.oracle.burial_submitted(name);
        self.machine.settle(grant, settlement, Vec::new())?;
        self.known.oracle.buried(name, Survives::Kill); // it stays in the store: it is still owed
        Ok(())
    }

    /// Pauses or resumes a queue.
    pub(crate) fn pause(&self, queue: &str, paused: bool) -> Result<(), String> {
        let queue = queue.parse().map_err(text)?;
        let answer = self.machine.backend().pause_queue(queue, paused).wait();
        answer.map_err(text)?.map_err(text)
    }

    /// Whether a queue is paused.
    pub(crate) fn is_paused(&self, queue: &str) -> Result<bool, String> {
        let queue = queue.parse().map_err(text)?;
        let settings = self.machine.backend().queue_settings(queue).wait();
        Ok(settings.map_err(text)?.map_err(text)?.paused)
    }

    /// Closes in order.
    pub(crate) fn close(&mut self) -> Result<(), String> {
        self.machine.close()
    }

    fn first_half(&mut self) -> Result<(), String> {
        for size in [64, 300, 5_000] {
            self.enqueue(size, |_| Ok(()))?;
        }
        self.batch(&[100, 2_000, 70])?;
        let grants = self.take(4);
        let [first, second, third, ..] = grants.as_slice() else {
            return Err(format!("only {} grants", grants.len()));
        };
        self.end(first, Settlement::Succeed { result: None }, 2)?;
        self.fail(second)?;
        self.dead_letter(third)?;
        for _ in 0..3 {
            self.enqueue(200, |message| {
                message.envelope.ordering_key = Some(Key::new("customer-3").map_err(text)?);
                Ok(())
            })?;
        }
        self.machine.pass(Duration::from_millis(15));
        self.machine.maintain();
        Ok(())
    }

    fn second_half(&mut self) -> Result<(), String> {
        for _ in 0..6 {
            self.enqueue(20_000, |_| Ok(()))?;
            self.succeed_all(2)?;
        }
        self.machine.maintain();
        self.enqueue(100, |message| {
            message.envelope.dedup_key = Some(Key::new("sku-1").map_err(text)?);
            message.dedup = Some(DedupPolicy::Keep);
            message.due = Due::After(Duration::from_secs(5));
            Ok(())
        })?;
        self.replay_dead()?;
        for _ in 0..4 {
            self.enqueue(18_000, |_| Ok(()))?;
            self.succeed_all(3)?;
        }
        self.machine.pass(Duration::from_secs(2));
        self.succeed_all(2)?;
        self.machine.maintain();
        self.machine.pass(Duration::from_millis(15));
        Ok(())
    }

    pub(crate) fn replay_dead(&mut self) -> Result<(), String> {
        let filter = Filter {
            state: Some(StateKind::Dead),
            ..Filter::default()
        };
        loop {
            let page = self
                .machine
                .backend()
                .list(filter.clone(), Seq::NONE, 10)
                .wait()
                .map_err(text)?
                .map_err(text)?;
            if page.messages.is_empty() {
                return Ok(());
            }
            for dead in page.messages {
                let stored = self.machine.backend().envelope(dead.id).wait();
                if let Some(envelope) = stored.map_err(text)?.map_err(text)? {
                    let name = name_of(&envelope.payload);
                    self.known.oracle.replay_submitted(name);
                }
                self.machine
                    .backend()
                    .operate(dead.id, OperateRequest::Replay { edit: None })
                    .wait()
                    .map_err(text)?
                    .map_err(text)?;
            }
        }
    }
}

/// Two lives of a store: much work, a close in order, a little more.
///
/// # Errors
/// The first call that failed.
pub fn two_lives(disk: &SimDisk, known: &mut Knowledge) -> Result<(), String> {
    let machine = Machine::open(disk, known.lives)?;
    known.lives += 1;
    let mut script = Script { machine, known };
    script.first_half()?;
    script.second_half()?;
    script.machine.close()?;
    drop(script);
    known.oracle.ended(Ending::Closed);
    let machine = Machine::open(disk, known.lives)?;
    known.lives += 1;
    let mut script = Script { machine, known };
    script.enqueue(90, |_| Ok(()))?;
    script.succeed_all(1)?;
    script.take(1);
    Ok(())
}

/// A life of housekeeping: one message waits, others fill segments and are gone, two snapshots follow one another closely, and
/// segments go; three times. For a file system that does not overwrite in place: there they are removed, and nobody syncs the
/// directory before that for another reason.
///
/// # Errors
/// The first call that failed.
pub fn house_is_kept(disk: &SimDisk, known: &mut Knowledge) -> Result<(), String> {
    let machine = Machine::open_with(disk, known.next_life(), |builder| {
        builder.snapshot_after(1 << 30) // only when it is asked for
    })?;
    let mut script = Script { machine, known };
    script.enqueue(300, |message| {
        message.due = Due::After(Duration::from_secs(5));
        Ok(())
    })?;
    for _ in 0..3 {
        for _ in 0..7 {
            script.enqueue(18_000, |_| Ok(()))?;
            script.succeed_all(1)?;
        }
        script.machine.pass(Duration::from_millis(15));
        script.machine.maintain(); // the spares are made
        script.machine.snapshot()?;
        script.machine.snapshot()?;
        script.machine.maintain();
    }
    Ok(())
}

/// Opens what a crash left, runs it until it is empty, and asks the oracle.
///
/// # Errors
/// The promise that was broken.
pub fn check(reopened: Reopened<'_, Knowledge>) -> Result<Checked, String> {
    check_with(reopened, |_| Ok(()))
}

/// [`check`], with something to look at and to do before.
pub(crate) fn check_with(
    reopened: Reopened<'_, Knowledge>,
    before: impl FnOnce(&Script<'_>) -> Result<(), String>,
) -> Result<Checked, String> {
    let Reopened {
        disk,
        knowledge,
        ending,
    } = reopened;
    knowledge.oracle.ended(ending);
    knowledge.lives += 1;
    let machine = match Machine::open(disk, knowledge.lives) {
        Ok(machine) => machine,
        Err(_) if disk.was_disturbed() => return Ok(Checked::Interrupted),
        Err(error) => return Err(error),
    };
    let mut script = Script {
        machine,
        known: knowledge,
    };
    match before(&script).and_then(|()| script.run_until_empty()) {
        Err(_) if disk.was_disturbed() => script
            .known
            .oracle
            .so_far()
            .into_result()
            .map(|()| Checked::Interrupted),
        Ok(()) => {
            script.known.oracle.when_empty().into_result()?;
            match script.machine.close() {
                Err(_) if disk.was_disturbed() => Ok(Checked::Interrupted),
                closed => closed.map(|()| Checked::Complete),
            }
        }
        Err(error) => Err(error),
    }
}

impl Script<'_> {
    fn run_until_empty(&mut self) -> Result<(), String> {
        self.replay_dead()?;
        for _ in 0..200 {
            self.succeed_all(64)?;
            if self.machine.backend().stats().live_messages == 0 {
                return Ok(());
            }
            self.machine.pass(Duration::from_secs(10));
        }
        Err(format!(
            "not empty after 200 rounds: {:?}",
            self.machine.backend().stats()
        ))
    }
}
