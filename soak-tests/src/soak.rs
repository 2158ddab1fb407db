//! A soak run: hours of load with kills, stops and jumps of the clock, judged line by line, and measured.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use mq::environment::SystemClock;
use mq_core::time::Clock;
use rustix::process::Signal;

use crate::child::{Arguments, Told};
use crate::judge::Judge;
use crate::line::{Figures, Said};
use crate::orders::{Blow, Orders};
use crate::plan::{Class, Name, Plan};
use crate::process::{Process, disk_use};
use crate::series::{Latency, Sample};

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// A child that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Lines of a child that was continued or opened so lately tell nothing about speed.
const UNREST: Duration = Duration::from_secs(2);
const SEGMENT: u32 = 4 << 20;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) store: PathBuf,
    pub(crate) total: Duration,
    pub(crate) rate: u64,
    pub(crate) cold: u64,
    pub(crate) seed: u64,
}

/// What was done to the child.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blows {
    pub(crate) kills: u64,
    pub(crate) restarts: u64,
    pub(crate) stops: u64,
    pub(crate) stopped_for: Duration,
    pub(crate) jumps: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ran: Duration,
    pub(crate) judge: Judge,
    pub(crate) blows: Blows,
    pub(crate) samples: Vec<Sample>,
    pub(crate) enqueue: Latency,
    pub(crate) end_to_end: Latency,
    pub(crate) openings: Latency,
    /// What `verify` found in the closed store at the end: damages, and everything read.
    pub(crate) damages: u64,
    pub(crate) frames_read: u64,
}

struct Run {
    setup: Setup,
    clock: SystemClock,
    started: Duration,
    orders: Orders,
    judge: Judge,
    blows: Blows,
    samples: Vec<Sample>,
    enqueue: Latency,
    end_to_end: Latency,
    openings: Latency,
    offset: i64,
    life: u64,
    opened_at: Duration,
    calm_from: Duration,
    last_heard: Duration,
    next_sample: Duration,
    next_minute: Duration,
    figures: Figures,
    /// When messages were submitted that are to be handled at once.
    submitted: HashMap<Name, Duration>,
    audits: u64,
}

/// Runs it to its end.
///
/// # Errors
/// The machine refused something; a broken promise is no error but in the outcome.
pub(crate) fn run(setup: Setup) -> anyhow::Result<Outcome> {
    let clock = SystemClock::start();
    let started = clock.monotonic();
    let mut run = Run {
        orders: Orders::new(setup.total, setup.seed),
        judge: Judge::new(Plan { cold: setup.cold }),
        setup,
        clock,
        started,
        blows: Blows::default(),
        samples: Vec::new(),
        enqueue: Latency::new()?,
        end_to_end: Latency::new()?,
        openings: Latency::new()?,
        offset: 0,
        life: 0,
        opened_at: started,
        calm_from: started,
        last_heard: started,
        next_sample: Duration::ZERO,
        next_minute: Duration::from_secs(60),
        figures: Figures::default(),
        submitted: HashMap::new(),
        audits: 0,
    };
    let mut child = run.start_child()?;
    while run.now() < run.setup.total {
        run.listen(&mut child)?;
        if let Some(blow) = run.orders.due(run.now()) {
            child = run.strike(child, blow)?;
        }
    }
    run.work_off(child)
}

impl Run {
    fn now(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    fn start_child(&mut self) -> anyhow::Result<Process> {
        self.life += 1;
        let arguments = Arguments {
            store: self.setup.store.clone(),
            first: self.judge.next_number(),
            rate: self.setup.rate,
            cold: self.setup.cold,
            offset: self.offset,
            segment: SEGMENT,
            seed: self.setup.seed ^ self.life,
            frail: false,
        };
        let mut child = Process::start(&[], &arguments, self.clock, None)?;
        self.last_heard = self.clock.monotonic();
        self.submitted.clear();
        for name in self.judge.to_send_again() {
            child.tell(&Told::Again(name));
        }
        Ok(child)
    }

    /// Hears what the child says until something is to be done.
    fn listen(&mut self, child: &mut Process) -> anyhow::Result<()> {
        loop {
            let now = self.now();
            if now >= self.next_sample {
                self.next_sample = now + SAMPLE_EVERY;
                self.sample(child);
            }
            if now >= self.next_minute {
                self.next_minute += Duration::from_secs(60);
                self.enqueue.end_minute(now);
                self.end_to_end.end_minute(now);
                self.progress();
            }
            let pause = self.orders.pause(now);
            if pause.is_zero() {
                return Ok(());
            }
            let limit = pause.min(self.next_sample.saturating_sub(now));
            match child.hear(limit.max(Duration::from_millis(1))) {
                Ok(Some((at, said))) => self.hear(at, &said?),
                Ok(None) => self.check_silence()?,
                Err(_) => {
                    let status = child.wait()?;
                    bail!("the child ended by itself with {status}");
                }
            }
        }
    }

    fn check_silence(&self) -> anyhow::Result<()> {
        if self.clock.monotonic().saturating_sub(self.last_heard) > SILENCE_MAX {
            bail!("the child said nothing for {} s", SILENCE_MAX.as_secs());
        }
        Ok(())
    }

    fn hear(&mut self, at: Duration, said: &Said) {
        self.last_heard = at;
        self.judge.hear(said);
        match said {
            Said::Opened { micros } => {
                self.opened_at = at;
                self.calm_from = at + UNREST;
                self.openings.record(*micros);
            }
            Said::Figures(figures) => self.figures = *figures,
            Said::Submitted(name) => {
                let is_plain = Plan {
                    cold: self.setup.cold,
                }
                .class(name.number())
                    == Class::Plain;
                if is_plain {
                    self.submitted.insert(*name, at);
                }
            }
            Said::Answered { micros, .. } => {
                let began = at.saturating_sub(Duration::from_micros(*micros));
                if began >= self.calm_from {
                    self.enqueue.record(*micros);
                } else {
                    self.enqueue.disturbed += 1;
                }
            }
            Said::Handed { name, .. } => {
                let Some(began) = self.submitted.remove(name) else {
                    return;
                };
                if began >= self.calm_from {
                    let took = at.saturating_sub(began).as_micros();
                    self.end_to_end
                        .record(u64::try_from(took).unwrap_or(u64::MAX));
                } else {
                    self.end_to_end.disturbed += 1;
                }
            }
            _ => {}
        }
    }

    /// Everything that the child said before its end.
    fn hear_out(&mut self, child: &Process) -> anyhow::Result<()> {
        while let Ok(heard) = child.hear(SILENCE_MAX) {
            let Some((at, said)) = heard else {
                bail!("the child does not end");
            };
            self.hear(at, &said?);
        }
        self.judge.died();
        Ok(())
    }

    fn strike(&mut self, mut child: Process, blow: Blow) -> anyhow::Result<Process> {
        match blow {
            Blow::Kill => {
                child.signal(Signal::KILL)?;
                self.hear_out(&child)?;
                child.wait()?;
                self.blows.kills += 1;
                return self.start_child();
            }
            Blow::Restart => {
                child.tell(&Told::Close);
                self.hear_out(&child)?;
                let status = child.wait()?;
                if !status.success() {
                    self.judge
                        .violate(format!("the child closed with {status}"));
                }
                self.blows.restarts += 1;
                return self.start_child();
            }
            Blow::Stop(time) => {
                child.signal(Signal::STOP)?;
                self.wait_aside(&child, time)?;
                child.signal(Signal::CONT)?;
                self.calm_from = self.clock.monotonic() + UNREST;
                self.blows.stops += 1;
                self.blows.stopped_for += time;
            }
            Blow::Jump(offset) => {
                self.offset = offset;
                child.tell(&Told::Clock(offset));
                self.blows.jumps += 1;
            }
            Blow::Audit => {
                self.audits += 1;
                child.tell(&Told::Audit(self.audits));
            }
        }
        Ok(child)
    }

    /// Hears what was said before the stop, until its time is over.
    fn wait_aside(&mut self, child: &Process, time: Duration) -> anyhow::Result<()> {
        let until = self.clock.monotonic() + time;
        loop {
            let left = until.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            match child.hear(left) {
                Ok(Some((at, said))) => self.hear(at, &said?),
                Ok(None) => {}
                Err(_) => bail!("the child ended while it was stopped"),
            }
        }
    }

    fn sample(&mut self, child: &Process) {
        if let Some(usage) = child.figures() {
            self.samples.push(Sample {
                at: self.now(),
                age: self.clock.monotonic().saturating_sub(self.opened_at),
                life: self.life,
                usage,
                disk: disk_use(&self.setup.store),
                figures: self.figures,
            });
        }
        // A message that is never handed out within this life is not measured.
        if self.submitted.len() > 200_000 {
            self.submitted.clear();
        }
    }

    fn progress(&self) {
        let counts = self.judge.counts();
        println!(
            "{:>5} s: {} answered, {} done, {} known live, {} kills, {} audits, {} violations",
            self.now().as_secs(),
            counts.answered,
            counts.done,
            self.judge.live_len(),
            self.blows.kills,
            counts.audits,
            counts.violations()
        );
    }

    fn work_off(mut self, mut child: Process) -> anyhow::Result<Outcome> {
        let ran = self.now();
        child.tell(&Told::Drain);
        self.audits += 1;
        child.tell(&Told::Audit(self.audits));
        child.tell(&Told::Close);
        self.hear_out(&child)?;
        let status = child.wait()?;
        if !status.success() {
            self.judge
                .violate(format!("the child closed with {status}"));
        }
        self.judge.finish();
        let (damages, frames_read) = verify(&self.setup.store)?;
        if damages > 0 {
            self.judge
                .violate(format!("verify finds {damages} damages in the store"));
        }
        Ok(Outcome {
            ran,
            judge: self.judge,
            blows: self.blows,
            samples: self.samples,
            enqueue: self.enqueue,
            end_to_end: self.end_to_end,
            openings: self.openings,
            damages,
            frames_read,
        })
    }
}

/// Reads the closed store from end to end.
///
/// # Errors
/// It cannot be read.
pub(crate) fn verify(store: &Path) -> anyhow::Result<(u64, u64)> {
    let storage = mq_persistence::storage::DirectoryStorage::new(store);
    let storage: std::sync::Arc<dyn mq_persistence::storage::Storage> =
        std::sync::Arc::new(storage);
    let report = mq_persistence::inspect::verify(&storage).context("cannot verify the store")?;
    for finding in &report.findings {
        eprintln!(
            "verify: {}: {} {}",
            finding.severity.as_str(),
            finding.file,
            finding.text
        );
    }
    Ok((report.damages, report.frames))
}
