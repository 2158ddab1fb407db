//! One store and its many short lives, with the judge beside it: what the suites of real systems are made of.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail};
use mq::environment::SystemClock;
use mq_core::time::Clock;
use rustix::process::Signal;

use crate::child::{Arguments, GAVE_UP, Told};
use crate::judge::Judge;
use crate::line::Said;
use crate::plan::Plan;
use crate::process::Process;
use crate::soak::verify;

/// A child that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// What a thread says that panics.
const PANIC: &str = "panicked at";

/// A store, whoever opened it.
#[derive(Debug)]
pub(crate) struct Lives {
    arguments: Arguments,
    errors: PathBuf,
    clock: SystemClock,
    pub(crate) judge: Judge,
}

/// How a life is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Start {
    /// What stands before the program on the command line.
    pub(crate) wrapper: Vec<String>,
    /// The machine will be made to fail.
    pub(crate) frail: bool,
    /// Nothing new is enqueued.
    pub(crate) idle: bool,
}

impl Lives {
    /// A new store in `folder/store`; the children's standard error goes to `errors`.
    pub(crate) fn new(store: PathBuf, errors: PathBuf, plan: Plan, rate: u64, seed: u64) -> Self {
        let arguments = Arguments {
            store,
            first: 0,
            rate,
            cold: plan.cold,
            offset: 0,
            segment: 1 << 20,
            seed,
            frail: false,
        };
        Self {
            arguments,
            errors,
            clock: SystemClock::start(),
            judge: Judge::new(plan),
        }
    }

    /// Starts a child on the store.
    ///
    /// # Errors
    /// The operating system refused.
    pub(crate) fn start(&mut self, start: &Start) -> anyhow::Result<Process> {
        let arguments = Arguments {
            first: self.judge.next_number(),
            rate: if start.idle { 0 } else { self.arguments.rate },
            frail: start.frail,
            ..self.arguments.clone()
        };
        let errors = File::create(&self.errors).context("cannot make a file for errors")?;
        let mut child = Process::start(&start.wrapper, &arguments, self.clock, Some(errors))?;
        if !start.idle {
            for name in self.judge.to_send_again() {
                child.tell(&Told::Again(name));
            }
        }
        self.judge.set_machine_fails(start.frail);
        Ok(child)
    }

    /// Hears the child for so long; whether it still speaks.
    ///
    /// # Errors
    /// It said something that is no line.
    pub(crate) fn hear_for(&mut self, child: &Process, time: Duration) -> anyhow::Result<bool> {
        self.hear_until(child, time, |_, _| false)
    }

    /// Hears the child for so long, or until something is true; whether it still speaks.
    ///
    /// # Errors
    /// It said something that is no line.
    pub(crate) fn hear_until(
        &mut self,
        child: &Process,
        time: Duration,
        mut enough: impl FnMut(&Said, &Judge) -> bool,
    ) -> anyhow::Result<bool> {
        let until = self.clock.monotonic() + time;
        loop {
            let left = until.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return Ok(true);
            }
            match child.hear(left) {
                Ok(Some((_, said))) => {
                    let said = said?;
                    self.judge.hear(&said);
                    if enough(&said, &self.judge) {
                        return Ok(true);
                    }
                }
                Ok(None) => {}
                Err(_) => return Ok(false),
            }
        }
    }

    /// SIGKILL, and everything that was said before it.
    ///
    /// # Errors
    /// The child does not end.
    pub(crate) fn kill(&mut self, mut child: Process) -> anyhow::Result<()> {
        child.signal(Signal::KILL)?;
        self.bury(&mut child).map(drop)
    }

    /// Asks the child to close, and hears it out.
    ///
    /// # Errors
    /// The child does not end, or ended badly although the machine did not fail.
    pub(crate) fn close(&mut self, mut child: Process) -> anyhow::Result<ExitStatus> {
        child.tell(&Told::Close);
        self.bury(&mut child)
    }

    /// Hears the child out and waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn bury(&mut self, child: &mut Process) -> anyhow::Result<ExitStatus> {
        loop {
            match child.hear(SILENCE_MAX) {
                Ok(Some((_, said))) => self.judge.hear(&said?),
                Ok(None) => bail!("the child hangs: it does not end and says nothing"),
                Err(_) => break,
            }
        }
        let status = child.wait()?;
        self.judge.died();
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        if errors.contains(PANIC) {
            bail!("the child panicked:\n{errors}");
        }
        Ok(status)
    }

    /// A life on a sound machine that is closed in order: its first listing is judged.
    ///
    /// # Errors
    /// The store does not open, or the child fails.
    pub(crate) fn look(&mut self, time: Duration) -> anyhow::Result<()> {
        let child = self.start(&Start::default())?;
        let mut open = false;
        self.hear_until(&child, SILENCE_MAX, |said, _| {
            open = matches!(said, Said::AuditEnds(0));
            open
        })?;
        self.hear_for(&child, time)?;
        let status = self.close(child)?;
        self.ended_well(status)?;
        self.so_far()
    }

    /// Works everything off and reads the store from end to end.
    ///
    /// # Errors
    /// A promise was broken.
    pub(crate) fn work_off(&mut self) -> anyhow::Result<()> {
        let mut child = self.start(&Start {
            idle: true,
            ..Start::default()
        })?;
        child.tell(&Told::Drain);
        child.tell(&Told::Audit(1));
        let status = self.close(child)?;
        self.ended_well(status)?;
        self.judge.finish();
        let (damages, _) = verify(&self.arguments.store)?;
        if damages > 0 {
            bail!("verify finds {damages} damages");
        }
        self.so_far()
    }

    fn ended_well(&self, status: ExitStatus) -> anyhow::Result<()> {
        if status.success() {
            return Ok(());
        }
        let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
        bail!(
            "on a sound machine the child ended with {status}\n{errors}{}",
            self.told()
        )
    }

    /// Whether a promise was broken so far.
    ///
    /// # Errors
    /// It was.
    pub(crate) fn so_far(&self) -> anyhow::Result<()> {
        if self.judge.counts().violations() > 0 {
            bail!("promises were broken:{}", self.told());
        }
        Ok(())
    }

    fn told(&self) -> String {
        let lines = self.judge.violations().iter();
        lines.map(|violation| format!("\n- {violation}")).collect()
    }
}

/// Whether a child whose machine failed ended as it should: by itself and in order, or because the engine had stopped.
pub(crate) fn ended_in_order(status: ExitStatus) -> bool {
    matches!(status.code(), Some(0 | 1 | GAVE_UP))
}
