//! What a soak run does when: storms of kills, calm stretches for the slopes, stops and jumps of the clock in both.

use std::time::Duration;

use crate::plan::Dice;

/// Something done to the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL, and a new child.
    Kill,
    /// An orderly close, and a new child.
    Restart,
    /// SIGSTOP for so long.
    Stop(Duration),
    /// The wall clock is off by so many milliseconds from now on.
    Jump(i64),
    /// Everything is listed.
    Audit,
}

/// The order of blows: a deadline each, drawn anew when it was reached.
#[derive(Debug)]
pub(crate) struct Orders {
    dice: Dice,
    total: Duration,
    cycle: Duration,
    next_end: Duration,
    next_stop: Duration,
    next_jump: Duration,
    next_audit: Duration,
}

const AUDIT_EVERY: Duration = Duration::from_secs(60);
const HOUR_MS: i64 = 3_600_000;

impl Orders {
    pub(crate) fn new(total: Duration, seed: u64) -> Self {
        let cycle = (total / 2).clamp(Duration::from_secs(60), Duration::from_secs(1_800));
        let mut orders = Self {
            dice: Dice::new(seed),
            total,
            cycle,
            next_end: Duration::ZERO,
            next_stop: Duration::ZERO,
            next_jump: Duration::ZERO,
            next_audit: AUDIT_EVERY.min(total / 4),
        };
        orders.next_end = orders.draw_end(Duration::ZERO);
        orders.next_stop = orders.draw(Duration::ZERO, 20, 60);
        orders.next_jump = orders.draw(Duration::ZERO, 30, 90);
        orders
    }

    fn draw(&mut self, now: Duration, low_s: u64, high_s: u64) -> Duration {
        now + Duration::from_millis(self.dice.between(low_s * 1_000, high_s * 1_000))
    }

    /// The first third of each cycle is a storm.
    pub(crate) fn is_storm(&self, now: Duration) -> bool {
        now.as_millis() % self.cycle.as_millis() < self.cycle.as_millis() / 3
    }

    /// The next kill: soon in a storm, else when the next storm begins.
    fn draw_end(&mut self, now: Duration) -> Duration {
        if self.is_storm(now) {
            return self.draw(now, 4, 30);
        }
        let cycles = u32::try_from(now.as_millis() / self.cycle.as_millis()).unwrap_or(u32::MAX);
        self.cycle.saturating_mul(cycles.saturating_add(1)) + Duration::from_secs(2)
    }

    /// How long until something is to be done.
    pub(crate) fn pause(&self, now: Duration) -> Duration {
        let deadlines = [
            self.next_end,
            self.next_stop,
            self.next_jump,
            self.next_audit,
            self.total,
        ];
        let next = deadlines.into_iter().min().unwrap_or(self.total);
        next.saturating_sub(now)
    }

    /// What is due; `None` if nothing is.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Blow> {
        if now >= self.next_audit {
            self.next_audit = now + AUDIT_EVERY;
            return Some(Blow::Audit);
        }
        if now >= self.next_end {
            // The last blow of a storm is drawn past its end: it opens the calm.
            self.next_end = self.draw_end(now);
            let orderly = self.dice.below(6) == 0;
            return Some(if orderly { Blow::Restart } else { Blow::Kill });
        }
        if now >= self.next_stop {
            self.next_stop = self.draw(now, 20, 90);
            // Some are longer than a lease.
            let millis = match self.dice.below(4) {
                0 => self.dice.between(9_000, 12_000),
                _ => self.dice.between(50, 2_000),
            };
            return Some(Blow::Stop(Duration::from_millis(millis)));
        }
        if now >= self.next_jump {
            self.next_jump = self.draw(now, 30, 120);
            let offsets = [0, 0, -HOUR_MS, 2 * HOUR_MS, 90_000, -20_000];
            let index = usize::try_from(self.dice.below(offsets.len() as u64)).unwrap_or_default();
            return Some(Blow::Jump(offsets.get(index).copied().unwrap_or_default()));
        }
        None
    }
}
