//! The N-th call of the operating system fails, or kills the process at that very call: `strace --inject`.

use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Order, Problem, folder, need};
use crate::lives::{Lives, Start, ended_in_order};
use crate::plan::Plan;

const RATE: u64 = 400;
/// How long a life lasts whose call did not fail, or did not stop the engine.
const LIFE: Duration = Duration::from_millis(900);
/// The N-th call of a thread, for these N.
const PLACES: [u64; 13] = [1, 5, 34, 2, 3, 13, 89, 8, 21, 55, 144, 233, 377];

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    call: &'static str,
    action: &'static str,
}

/// The calls by which the engine makes things durable, each in every way.
const INJECTIONS: [Injection; 19] = {
    const fn of(call: &'static str, action: &'static str) -> Injection {
        Injection { call, action }
    }
    [
        of("fdatasync", "error=EIO"),
        of("fdatasync", "error=ENOSPC"),
        of("fdatasync", "signal=SIGKILL"),
        of("pwrite64", "error=EIO"),
        of("pwrite64", "error=ENOSPC"),
        of("pwrite64", "signal=SIGKILL"),
        of("fsync", "error=EIO"),
        of("fsync", "signal=SIGKILL"),
        of("renameat", "error=EIO"),
        of("renameat", "error=ENOSPC"),
        of("renameat", "signal=SIGKILL"),
        of("ftruncate", "error=EIO"),
        of("ftruncate", "signal=SIGKILL"),
        of("openat", "error=EMFILE"),
        of("openat", "error=ENOSPC"),
        of("openat", "signal=SIGKILL"),
        of("unlink", "error=EIO"),
        of("unlink", "signal=SIGKILL"),
        of("pread64", "error=EIO"),
    ]
};

/// Tries `cases` pairs of an injection and a place, one life each, and a sound life after each of them.
///
/// # Errors
/// A promise was broken; or there is no strace, or it may not trace.
pub fn injected_calls(order: &Order<'_>) -> Result<(), Problem> {
    need(&["strace"])?;
    let traces = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    if !traces.is_ok_and(|status| status.success()) {
        return Err(Problem::Skipped("strace may not trace here".to_owned()));
    }
    let folder = folder("inject")?;
    let store = folder.path().join("store");
    let errors = folder.path().join("errors");
    let mut lives = Lives::new(store, errors, Plan { cold: 200 }, RATE, order.seed);
    lives.look(LIFE)?;
    let pairs = PLACES
        .iter()
        .flat_map(|place| INJECTIONS.iter().map(move |it| (it, place)));
    let cases = usize::try_from(order.cases).unwrap_or(usize::MAX);
    for (injection, place) in pairs.cycle().take(cases) {
        try_one(&mut lives, *injection, *place)
            .map_err(|error| error.context(format!("{injection:?} at {place}")))?;
        (order.tried)(1);
    }
    lives.work_off()?;
    Ok(())
}

fn try_one(lives: &mut Lives, injection: Injection, place: u64) -> anyhow::Result<()> {
    let Injection { call, action } = injection;
    // -D: the child stays our own; the tracer is its grandchild and ends with it.
    let wrapper = [
        "strace",
        "-D",
        "-f",
        "--quiet=all",
        "-o",
        "/dev/null",
        "-e",
        &format!("trace={call}"),
        "-e",
        &format!("inject={call}:{action}:when={place}"),
    ];
    let start = Start {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        frail: true,
        idle: false,
    };
    let mut child = lives.start(&start)?;
    let speaks = lives.hear_for(&child, LIFE)?;
    let status = if speaks {
        lives.close(child)?
    } else {
        lives.bury(&mut child)?
    };
    let was_killed = action == "signal=SIGKILL" && status.code().is_none();
    // The program itself may not start when its first files do not open.
    let did_not_start = call == "openat" || call == "pread64";
    anyhow::ensure!(
        was_killed || did_not_start || ended_in_order(status),
        "the child ended with {status}: {}",
        lives.judge.last_trouble()
    );
    lives.so_far()?;
    lives.look(Duration::from_millis(50))
}
