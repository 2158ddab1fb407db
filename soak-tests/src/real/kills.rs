//! SIGKILL at any moment, also while the store is being opened: what was said before it must be true after it.

use std::time::Duration;

use super::{Order, Problem, folder};
use crate::lives::{Lives, Start};
use crate::plan::{Dice, Plan};

/// Messages enqueued a second.
const RATE: u64 = 1_500;

/// Kills a child `cases` times; each next one opens the store, lists everything, and goes on.
///
/// # Errors
/// A promise was broken.
pub fn kills(order: &Order<'_>) -> Result<(), Problem> {
    let folder = folder("kills")?;
    let store = folder.path().join("store");
    let errors = folder.path().join("errors");
    let mut lives = Lives::new(store, errors, Plan { cold: 400 }, RATE, order.seed);
    let mut dice = Dice::new(order.seed);
    for case in 0..order.cases {
        let child = lives.start(&Start::default())?;
        // A quarter die early: while the store is opened, or soon after.
        let moment = match dice.below(4) {
            0 => dice.between(0, 40_000),
            _ => dice.between(20_000, 450_000),
        };
        let speaks = lives.hear_for(&child, Duration::from_micros(moment))?;
        if !speaks {
            let status = lives.close(child)?;
            let said = lives.judge.violations().join("; ");
            let text = format!("case {case}: the child ended by itself with {status}: {said}");
            return Err(Problem::Broken(text));
        }
        lives.kill(child)?;
        lives.so_far()?;
        (order.tried)(1);
    }
    lives.look(Duration::from_millis(100))?;
    lives.work_off()?;
    Ok(())
}
