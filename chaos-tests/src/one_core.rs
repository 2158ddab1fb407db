//! Keeps a thread, and the threads that it starts from then on, on the core that it runs on.
//!
//! Where only one of many threads runs at a time, to hand over is most of the work, and to do it across cores costs many times as
//! much as on one: each turn interrupts another core and waits for it.

/// Stays here. Where the system does not allow it, everything is as it was, only slower.
pub(crate) fn stay() {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};
        let core = sched_getcpu();
        if core < CpuSet::MAX_CPU {
            let mut cores = CpuSet::new();
            cores.set(core);
            sched_setaffinity(None, &cores).ok();
        }
    }
}
