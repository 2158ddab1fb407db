//! What happens beside other things: a thread is held in a call to the disk while others go on; a bulk job changes messages.

use std::task::{Context, Waker};

use mq::Filter;
use mq_testing::sim_disk::IoKind;

use super::lives::Life;
use super::{Halt, Step, broken};
use crate::puppets::Moment;

/// Where the thread that commits is held.
const MOMENTS: [Moment; 6] = [
    Moment::Before(IoKind::SyncData),
    Moment::Before(IoKind::SyncData),
    Moment::Before(IoKind::SyncData),
    Moment::Behind(IoKind::SyncData),
    Moment::Before(IoKind::Write),
    Moment::Behind(IoKind::Write),
];

/// Where the thread that writes a snapshot is held.
const SNAPSHOT_MOMENTS: [Moment; 4] = [
    Moment::Before(IoKind::Write),
    Moment::Before(IoKind::SyncData),
    Moment::Before(IoKind::Rename),
    Moment::Behind(IoKind::Rename),
];

impl Life<'_> {
    /// Holds a thread in the middle of a call to the disk, does other things, and lets it go on; or the power goes.
    pub(super) fn hold(&mut self) -> Step {
        let snapshot = self.world.random.chance(1, 4);
        let moments: &[Moment] = if snapshot {
            &SNAPSHOT_MOMENTS
        } else {
            &MOMENTS
        };
        let moment = self.world.random.pick(moments).copied();
        let nth = 1 + self.world.random.below(2);
        self.machine.hold_at(moment.map(|moment| (moment, nth)));
        let waits = std::mem::replace(&mut self.mix.waits_of_10, 0);
        let worked = self.while_held(snapshot);
        self.mix.waits_of_10 = waits;
        worked?;
        if self.machine.is_held() && self.world.random.chance(1, 3) {
            self.world.disk.crash_after(self.world.disk.io_count());
        }
        self.machine.hold_at(None);
        Ok(())
    }

    fn while_held(&mut self, snapshot: bool) -> Step {
        for _ in 0..1 + self.world.random.below(5) {
            self.do_quietly()?;
        }
        if snapshot {
            self.wish_for_snapshot()?;
            self.machine.maintain();
        } else {
            self.machine.commit();
        }
        self.world.saw(("held", self.machine.is_held()));
        for _ in 0..self.world.random.below(4) {
            self.do_quietly()?;
            if snapshot {
                self.machine.commit();
            }
            self.collect()?;
        }
        Ok(())
    }

    /// Something whose answer nobody waits for.
    fn do_quietly(&mut self) -> Step {
        match self.world.random.below(8) {
            0..4 => self.enqueue_some(),
            4 | 5 => self.settle_some(),
            6 => {
                self.machine.ask(2);
                Ok(())
            }
            _ => self.receive_all(),
        }
    }

    /// Asks for a snapshot; whether it is taken, nobody looks.
    fn wish_for_snapshot(&mut self) -> Step {
        let admin = self.machine.engine().map_err(Halt::Broken)?.admin();
        let mut asked = std::pin::pin!(admin.snapshot());
        let mut context = Context::from_waker(Waker::noop());
        let _answer = asked.as_mut().poll(&mut context);
        Ok(())
    }

    /// Changes whatever a filter finds, by and by. Nothing ends by it.
    pub(super) fn order_bulk(&mut self) -> Step {
        self.commit_through()?;
        for fact in self.world.facts.values_mut() {
            fact.expect_suspect = None;
        }
        self.world.bulk = true;
        let queue = if self.world.random.chance(1, 2) {
            "mail"
        } else {
            "orders"
        };
        let filter = Filter::new().queue(queue);
        let engine = self.machine.engine().map_err(Halt::Broken)?;
        let order = match self.world.random.below(3) {
            0 => engine.hold(filter, "aside".parse().map_err(|_| Halt::Over)?),
            1 => engine.release(filter),
            _ => engine.run_now(filter),
        };
        self.world.saw(("bulk", queue));
        match order.wait() {
            Ok(_) => Ok(()),
            Err(mq::BulkError::Refused(_)) => Ok(()), // too many run
            Err(mq::BulkError::Stopped(_)) => {
                self.check_alive()?;
                broken("no answer to a bulk order")
            }
            Err(error) => broken(format!("a bulk order was refused: {error}")),
        }
    }

    /// Whether a bulk job has not come to its end.
    pub(super) fn bulk_is_under_way(&self) -> Step<bool> {
        let admin = self.machine.engine().map_err(Halt::Broken)?.admin();
        match admin.bulk_jobs().wait() {
            Ok(jobs) => Ok(jobs.iter().any(|job| job.ended.is_none())),
            Err(_) => Err(Halt::Over),
        }
    }
}
