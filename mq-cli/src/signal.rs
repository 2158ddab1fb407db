//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code after the second signal, as a shell reports a program that SIGINT killed.
const KILLED_BY_SIGINT: i32 = 130;

/// Whether an orderly end was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stopped(Arc<AtomicBool>);

impl Stopped {
    /// Whether a signal came.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The signals that end the program.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens from now on. Needs a runtime.
    ///
    /// # Errors
    /// When the system refuses the handler.
    pub(crate) fn listen() -> anyhow::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    /// Waits for the next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs `action` at the first signal, on a thread of its own.
///
/// # Errors
/// When the thread or its signal handlers cannot be set up.
pub(crate) fn on_stop(action: impl FnOnce() + Send + 'static) -> anyhow::Result<Stopped> {
    let stopped = Stopped::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let set = stopped.clone();
    thread::spawn(move || {
        runtime.block_on(signals.next());
        set.0.store(true, Ordering::Release);
        action();
        runtime.block_on(signals.next());
        std::process::exit(KILLED_BY_SIGINT);
    });
    Ok(stopped)
}
