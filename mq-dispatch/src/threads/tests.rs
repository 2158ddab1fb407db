//! A task never stays behind without a thread that will come for it.

use std::io::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Task, Threads};
use crate::attempt::End;

struct Counted(Arc<AtomicU32>);

impl Task for Counted {
    fn run(self: Box<Self>) {}

    fn refuse(self: Box<Self>, _end: End) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_task_is_refused_when_none_of_its_threads_could_be_started() {
    let refused = Arc::new(AtomicU32::new(0));
    let threads = Threads::new("test");
    {
        // Two starts at once: both tasks are queued before either finds out that there is no thread.
        let mut state = threads.state.lock();
        for _ in 0..2 {
            state
                .tasks
                .push_back(Box::new(Counted(Arc::clone(&refused))));
            state.threads += 1;
        }
    }
    threads.no_thread(&Error::other("no more threads"));
    assert_eq!(refused.load(Ordering::Relaxed), 0, "the other may start");
    threads.no_thread(&Error::other("no more threads"));
    assert_eq!(refused.load(Ordering::Relaxed), 2);
}
