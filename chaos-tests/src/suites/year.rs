//! One message waits a year while many others come and go. It is handed out exactly when it is due, and the journal does not
//! grow because of it: the segment in which it was written is freed like every other.
//!
//! Others have kept hundreds of gigabytes for one old message: beanstalkd, issues 359 and 570.

use std::time::Duration;

use bytes::Bytes;
use mq::Limit;
use mq_core::backend::{SettleRequest, WhenFull};
use mq_core::command::Settlement;
use mq_core::id::MessageId;
use mq_core::message::{Due, NewMessage};
use mq_testing::crash_points::Crash;
use mq_testing::random::SplitMix64;
use mq_testing::sim_disk::{CrashMode, SimDisk};

use crate::machine::{Machine, text};
use crate::suite::{Outcome, Run};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const BATCH: u64 = 250;
const PAYLOAD_SIZE: usize = 200;
/// Segments of 64 KiB and two small snapshots: what a store of so few messages at a time may take.
const DISK_MAX: u64 = 2 << 20;

/// A year of so many messages.
pub(super) fn waits(run: &Run) -> Outcome {
    let messages = run
        .cases
        .unwrap_or_else(|| run.level.of(100_000, 1_000_000, 10_000_000));
    let again = run.command(run.seed);
    Year::begin(run)
        .and_then(|mut year| year.pass(messages / BATCH))
        .map_err(|reason| format!("{reason}\nsee it again: {again}"))
        .into()
}

struct Year<'a> {
    run: &'a Run,
    random: SplitMix64,
    machine: Machine,
    disk: SimDisk,
    waiting: MessageId,
    life: u64,
    passed: Duration,
}

fn open(disk: &SimDisk, life: u64, passed: Duration) -> Result<Machine, String> {
    let clock = std::sync::Arc::new(mq_testing::clock::ManualClock::default());
    clock.advance(passed);
    Machine::open_on(disk, clock, life, |builder| {
        builder.capacity(Limit::messages(1_000).bytes(8 << 20))
    })
}

fn message() -> Result<NewMessage, String> {
    let queue = "orders".parse().map_err(text)?;
    let kind = "order".parse().map_err(text)?;
    let payload = Bytes::from(vec![7; PAYLOAD_SIZE]);
    Ok(NewMessage::new(queue, kind, payload))
}

impl<'a> Year<'a> {
    fn begin(run: &'a Run) -> Result<Self, String> {
        let disk = SimDisk::new();
        let machine = open(&disk, 1, Duration::ZERO)?;
        let mut late = message()?;
        late.due = Due::After(YEAR);
        let answer = machine.backend().enqueue(vec![late], WhenFull::Refuse);
        let receipts = answer.wait().map_err(text)?.map_err(text)?;
        let first = receipts.first().ok_or("no receipt")?;
        Ok(Self {
            run,
            random: SplitMix64::new(run.seed),
            machine,
            disk,
            waiting: first.accepted.id,
            life: 1,
            passed: Duration::ZERO,
        })
    }

    fn pass(&mut self, batches: u64) -> Result<(), String> {
        let each = u32::try_from(batches + 1).map_err(text)?;
        for batch in 0..batches {
            self.come_and_go()?;
            self.run.tried(0);
            self.advance(YEAR / each)?;
            if batch % 4 == 3 {
                self.machine.maintain();
                self.measure()?;
            }
            if self.random.chance(1, 200) {
                self.die()?;
            }
        }
        // To the last millisecond: nothing comes; then it does.
        let rest = YEAR.saturating_sub(self.passed);
        self.advance(rest.saturating_sub(Duration::from_millis(1)))?;
        self.expect_nothing()?;
        self.advance(Duration::from_millis(1))?;
        let grants = self.machine.take(1);
        match grants.as_slice() {
            [grant] if grant.token.id == self.waiting && grant.attempt == 1 => {
                self.machine
                    .settle(grant, Settlement::Succeed { result: None }, Vec::new())?;
            }
            others => return Err(format!("due, and this comes: {others:?}")),
        }
        let left = self.machine.backend().stats().live_messages;
        if left == 0 {
            self.measure()
        } else {
            Err(format!("{left} messages are left"))
        }
    }

    /// A batch is sent, handed out, and done.
    fn come_and_go(&mut self) -> Result<(), String> {
        let batch: Vec<NewMessage> = (0..BATCH).map(|_| message()).collect::<Result<_, _>>()?;
        let answer = self.machine.backend().enqueue(batch, WhenFull::Refuse);
        answer.wait().map_err(text)?.map_err(text)?;
        let mut done = 0;
        while done < BATCH {
            let grants = self.machine.take(256);
            if grants.is_empty() {
                return Err(format!("{done} of a batch were handed out"));
            }
            if grants.iter().any(|grant| grant.token.id == self.waiting) {
                return Err(format!("it came after {:?}", self.passed));
            }
            let settlements = grants.iter().map(|grant| SettleRequest {
                token: grant.token,
                settlement: Settlement::Succeed { result: None },
                staged: Vec::new(),
            });
            let answers = self.machine.backend().settle(settlements.collect());
            for answer in answers.wait().map_err(text)? {
                answer.map_err(text)?;
                done += 1;
            }
        }
        Ok(())
    }

    fn advance(&mut self, time: Duration) -> Result<(), String> {
        // Whole milliseconds: that is what due times are made of.
        let time = Duration::from_millis(u64::try_from(time.as_millis()).map_err(text)?);
        self.machine.pass(time);
        self.passed += time;
        Ok(())
    }

    fn expect_nothing(&self) -> Result<(), String> {
        let grants = self.machine.take(1);
        if grants.is_empty() {
            Ok(())
        } else {
            Err(format!("after {:?} this comes: {grants:?}", self.passed))
        }
    }

    /// The process or the machine dies, everything being synced, and lives on.
    fn die(&mut self) -> Result<(), String> {
        self.machine.pass(Duration::from_millis(20));
        self.passed += Duration::from_millis(20);
        self.life += 1;
        let crash = if self.random.chance(1, 2) {
            Crash::Kill
        } else {
            Crash::Power(CrashMode::LoseAll)
        };
        self.run.tried(1);
        self.disk = crash.strike(&self.disk);
        self.machine = open(&self.disk, self.life, self.passed)?;
        self.expect_nothing()
    }

    fn measure(&self) -> Result<(), String> {
        let names = self.disk.file_names().into_iter();
        let sizes = names.filter_map(|name| self.disk.file_bytes(&name));
        let taken: u64 = sizes.map(|bytes| bytes.len() as u64).sum();
        if taken <= DISK_MAX {
            return Ok(());
        }
        let passed = self.passed;
        Err(format!("after {passed:?} the store takes {taken} bytes"))
    }
}
