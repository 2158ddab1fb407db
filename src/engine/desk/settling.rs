//! Settlements, under the manager token.
//!
//! Invariant: each settlement is one command, so its message, its staged messages and its result share a frame; those of one job
//! may stand in several, and are answered together.

use mq_core::backend::{SettleError, SettleReceipt};
use mq_core::command::{Settle, SettleRefused, Settled};
use mq_core::time::Now;
use mq_persistence::spares::Work;

use super::fitting::Fitting;
use super::{Desk, PutOff};
use crate::engine::effects::{Effect, Needs};
use crate::engine::jobs::SettleJob;
use crate::engine::telling::Cause;

impl Desk {
    /// Ends leases. Each settlement is one command: its message, its staged messages and its result share a frame.
    pub(crate) fn settle(&mut self, now: &Now, mut job: Box<SettleJob>) {
        while let Some(next) = job.settles.pop_front() {
            let answer = match next {
                Ok(settle) => match self.settle_one(now, &settle) {
                    Some(answer) => answer,
                    None => {
                        job.settles.push_front(Ok(settle));
                        self.put_off.push_back(PutOff::Settle(job));
                        return;
                    }
                },
                Err(refused) => Err(refused),
            };
            job.answers.push(answer);
            job.spent.append(&mut self.spent);
        }
        self.push(Needs::Write, Effect::Settle(job));
    }

    /// `None` if it has to wait for the next frame, or for room on the disk.
    fn settle_one(
        &mut self,
        now: &Now,
        settle: &Settle,
    ) -> Option<Result<SettleReceipt, SettleError>> {
        self.cause = Cause::of(settle);
        let work = if settle.staged.is_empty() {
            Work::Settling
        } else {
            Work::Growing
        };
        let fitting = self.decide_fitting(now, settle, work);
        self.cause = Cause::Plain;
        match fitting {
            Fitting::Decided(Ok(settled)) => Some(Ok(self.note_settled(settle, settled))),
            Fitting::Decided(Err(refused)) => Some(Err(refused.into())),
            Fitting::NextFrame | Fitting::Later => None,
            Fitting::TooLarge => Some(Err(SettleRefused::NoRoom(self.disk_full()).into())),
        }
    }

    fn note_settled(&mut self, settle: &Settle, settled: Settled) -> SettleReceipt {
        self.remember(&settled.staged, &settle.staged);
        let seq = settle.token.id.seq();
        self.waiters.note_settled(seq, &settle.settlement);
        self.waiters.note_replaced(&settled.staged);
        self.hurry_if_awaited();
        SettleReceipt {
            state: settled.state,
            staged: settled.staged,
        }
    }
}
