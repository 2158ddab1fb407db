//! Random lives of the whole engine.

use crate::simulation::{LONG, SHORT, live};
use crate::suite::{Outcome, Run};

/// One seed after the other; every 16th is a long one.
pub(super) fn lives(run: &Run) -> Outcome {
    let cases = run.level.of(1_500, 15_000, 1_000_000);
    run.each_seed(cases, |seed| {
        let shape = if seed % 16 == 0 { LONG } else { SHORT };
        let lived = live(seed, shape)?;
        run.tried(lived.faults);
        Ok(())
    })
    .into()
}

/// Each seed twice.
pub(super) fn replays(run: &Run) -> Outcome {
    let cases = run.level.of(64, 512, 8_192);
    run.each_seed(cases, |seed| {
        let shape = if seed % 16 == 0 { LONG } else { SHORT };
        let (once, again) = (live(seed, shape)?, live(seed, shape)?);
        run.tried(once.faults);
        if once == again {
            Ok(())
        } else {
            Err(format!(
                "seed {seed} does not replay: {once:?}, then {again:?}"
            ))
        }
    })
    .into()
}
