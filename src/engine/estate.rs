//! What remains of an engine when its last handle is gone, and how that ends.
//!
//! Invariants
//! 1. The store's lock goes last, when none of the engine's threads is left to write or to read.
//! 2. Whoever drops the last handle waits for that; but not inside the engine, on one of its threads or under the log token, where a
//!    waker may have dropped it: it would wait for itself. There a thread of its own brings it to its end.

use std::cell::Cell;
use std::sync::Arc;
use std::thread::JoinHandle;

use mq_core::backend::Stopped;
use mq_persistence::storage::StorageLock;
use parking_lot::Mutex;

use super::EngineBackend;
use crate::control::Server;

thread_local! {
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, what this thread runs is run inside an engine.
#[derive(Debug)]
pub(crate) struct Inside(bool);

impl Inside {
    pub(crate) fn enter() -> Self {
        Self(IS_INSIDE.replace(true))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        IS_INSIDE.set(self.0);
    }
}

/// What has to be brought to its end in order.
#[derive(Debug)]
pub(super) struct Estate {
    backend: EngineBackend,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn StorageLock>>>,
    server: Option<Server>,
}

impl Estate {
    pub(super) const fn new(
        backend: EngineBackend,
        threads: Vec<JoinHandle<()>>,
        lock: Option<Box<dyn StorageLock>>,
        server: Option<Server>,
    ) -> Self {
        Self {
            backend,
            threads: Mutex::new(threads),
            lock: Mutex::new(lock),
            server,
        }
    }

    /// Takes no further call from other processes.
    pub(super) fn stop_taking(&self) {
        if let Some(server) = &self.server {
            server.stop_taking();
        }
    }

    /// Waits for the threads, then lets the store's lock go.
    pub(super) fn let_go(&self) {
        if let Some(server) = &self.server {
            server.end();
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("an engine thread panicked");
            }
        }
        self.backend.0.copies.end();
        drop(self.lock.lock().take());
    }

    /// Brings it to its end, here or elsewhere.
    pub(super) fn end(self) {
        if !IS_INSIDE.get() {
            return self.end_here();
        }
        let shared = Arc::new(Mutex::new(Some(self)));
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("mq-end".to_owned());
        let ending = thread.spawn(move || {
            let estate = theirs.lock().take();
            estate.into_iter().for_each(Self::end_here);
        });
        if let Err(error) = ending {
            tracing::error!(%error, "no thread to close the engine on: its store is free when the process ends");
            let estate = shared.lock().take();
            let lock = estate.and_then(|estate| {
                drop(estate.backend.0.close()); // asked for, and not waited for
                estate.lock.lock().take()
            });
            std::mem::forget(lock); // its threads go on writing: nobody else may
        }
    }

    fn end_here(self) {
        self.stop_taking();
        if let Ok(Err(stopped)) | Err(stopped) =
            self.backend.0.close().wait().map_err(|_| Stopped::Closed)
        {
            tracing::debug!(%stopped, "dropped an engine that had stopped");
        }
        self.let_go();
    }
}
