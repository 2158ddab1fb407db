//! Small disks that are full.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::full_disk::endure;
use crate::suite::{Outcome, Run};

/// A store for each seed. A run in which the disk was never what it is about has tried nothing.
pub(super) fn ordeals(run: &Run) -> Outcome {
    let held = AtomicU64::new(0);
    let cases = run.level.of(12, 100, 10_000);
    let done = run.each_seed(cases, |seed| {
        let ordeal = endure(seed)?;
        held.fetch_add(ordeal.held, Ordering::Relaxed);
        run.tried(ordeal.taken);
        Ok(())
    });
    if done.is_ok() && run.cases.is_none() && held.into_inner() == 0 {
        return Outcome::Failed("no settlement ever had to wait for room".to_owned());
    }
    done.into()
}
