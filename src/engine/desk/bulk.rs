//! One step of a bulk job, under the manager token.
//!
//! Invariant: the changes of a step and the job's new position stand in the open frame together: it is not handed over in
//! between, because the token is held for all of it. A step stops early when the frame is full; a change that fits into none
//! is counted as refused.

use mq_core::bulk::{BulkEnd, BulkId, BulkRefused, EndBulk, StepBulk};
use mq_core::command::{Operate, OperateRefused, Operated, Operation};
use mq_core::id::{MessageId, Seq};
use mq_core::time::Now;
use mq_core::view::Filter;
use mq_persistence::spares::Work;

use super::fitting::Fitting;
use super::{Desk, frees_room};

/// Bytes that a job's new position and its end take in a frame at most.
const POSITION_SIZE_MAX: usize = 1 << 10;
/// Bytes that its end alone takes at most.
const END_SIZE_MAX: usize = POSITION_SIZE_MAX / 2;

/// A step that was prepared outside.
#[derive(Debug)]
pub(crate) struct BulkStep {
    pub(crate) id: BulkId,
    /// Where the job was when the step was prepared.
    pub(crate) from: Seq,
    /// What the messages must still match.
    pub(crate) facts: Filter,
    pub(crate) operation: Operation,
    /// Who asks, for the messages' histories.
    pub(crate) by: String,
    /// Ascending.
    pub(crate) messages: Vec<MessageId>,
    /// Messages whose payloads could not be read, ascending.
    pub(crate) unreadable: Vec<MessageId>,
    /// Where the job is after all of them; `None` if nothing is left.
    pub(crate) next: Option<Seq>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stepped {
    /// Messages it met.
    pub(crate) met: usize,
    /// The job has ended with it.
    pub(crate) ended: bool,
    /// It has to wait until something is freed on the disk.
    pub(crate) held: bool,
}

impl Desk {
    /// Whether an operation on many messages has to wait: it would write into the room that settling needs on a full disk,
    /// and free none.
    pub(crate) fn lacks_room_for(&self, operation: &Operation) -> bool {
        self.disk_low && !frees_room(operation)
    }

    /// Changes the messages of a step, each as if a user had asked for it alone.
    pub(crate) fn bulk_step(&mut self, now: &Now, step: &BulkStep) -> Result<Stepped, BulkRefused> {
        let id = step.id;
        let job = self.manager.bulk_job(id);
        let job = job.ok_or(BulkRefused::Unknown { id })?;
        let (mut counts, cutoff) = (job.counts, job.cutoff);
        if let Some((how, _)) = &job.ended {
            let how = how.as_str();
            return Err(BulkRefused::Ended { id, how });
        }
        if job.cursor != step.from {
            return Ok(Stepped {
                met: 0,
                ended: false,
                held: false,
            });
        }
        let (mut met, mut last, events_before) = (0, step.from, self.open_events);
        for message in &step.messages {
            if met > 0 && self.is_full() {
                break;
            }
            let seq = message.seq();
            let is_gone = !self.manager.contains(seq);
            if !is_gone && !self.manager.is_match(now, &step.facts, seq) {
                counts.passed += 1;
            } else {
                match self.change_in_bulk(now, *message, step) {
                    Fitting::Decided(Ok(Operated::Done)) => counts.done += 1,
                    Fitting::Decided(Ok(Operated::Requested)) => counts.requested += 1,
                    Fitting::Decided(Err(refused)) => counts.refuse(&refused),
                    Fitting::NextFrame | Fitting::Later => break,
                    Fitting::TooLarge => counts.refuse(&OperateRefused::Full(self.disk_full())),
                }
            }
            (met, last) = (met + 1, seq);
            counts.matched += 1;
        }
        if met == 0 && !step.messages.is_empty() {
            return Ok(self.not_stepped()); // the open frame has no room: the next one has
        }
        let is_cut = met < step.messages.len();
        let cursor = if is_cut {
            last
        } else {
            step.next.unwrap_or(cutoff)
        };
        let unreadable = step.unreadable.iter().filter(|id| id.seq() <= cursor);
        counts.unreadable += u64::try_from(unreadable.count()).unwrap_or(u64::MAX);
        let ended = !is_cut && step.next.is_none();
        let position = StepBulk { id, cursor, counts };
        if self.open_events > events_before {
            self.decide(now, &position)?; // what was changed has left room for it
        } else {
            let size = if ended { END_SIZE_MAX } else { 0 };
            match self.decide_fitting_before(now, &position, Work::Settling, size) {
                Fitting::Decided(decided) => decided?,
                Fitting::NextFrame | Fitting::Later | Fitting::TooLarge => {
                    return Ok(self.not_stepped());
                }
            }
        }
        if ended {
            let how = BulkEnd::Completed;
            self.decide(now, &EndBulk { id, how })?;
        }
        let held = false;
        Ok(Stepped { met, ended, held })
    }

    /// Nothing of a step was done: it is to be tried again.
    fn not_stepped(&self) -> Stepped {
        Stepped {
            met: 0,
            ended: false,
            held: self.is_held(),
        }
    }

    fn change_in_bulk(
        &mut self,
        now: &Now,
        id: MessageId,
        step: &BulkStep,
    ) -> Fitting<Result<Operated, OperateRefused>> {
        let command = Operate {
            id,
            operation: step.operation.clone(),
            by: step.by.clone(),
        };
        let work = if frees_room(&command.operation) {
            Work::Settling
        } else {
            Work::Growing
        };
        let operated = self.decide_fitting_before(now, &command, work, POSITION_SIZE_MAX);
        if matches!(command.operation, Operation::Cancel)
            && let Fitting::Decided(Ok(_)) = operated
        {
            self.waiters.note_cancelled(id.seq());
        }
        operated
    }
}
