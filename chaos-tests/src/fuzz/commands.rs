//! Commands and crashes in any order, two bytes each, on the simulated machine; the oracle judges.

use std::time::Duration;

use mq_core::command::Settlement;
use mq_core::key::Key;
use mq_core::limits::FAILURES_UNLIMITED;
use mq_core::message::Due;
use mq_testing::crash_points::{Crash, Reopened};
use mq_testing::sim_disk::{CrashMode, SimDisk};

use crate::machine::{Machine, text};
use crate::workload::{Knowledge, Script, check};

/// Commands of one input.
const COMMANDS_MAX: usize = 200;
/// Lives of one input: what died in as many as it has attempts would be a dead letter.
const LIVES_MAX: u32 = 3;

/// Carries them out, then opens what a last crash left and works it off.
///
/// # Panics
/// A promise was broken.
pub fn commands(data: &[u8]) {
    let played = play(data);
    assert!(played.is_ok(), "{}", played.err().unwrap_or_default());
}

fn play(data: &[u8]) -> Result<(), String> {
    let mut known = Knowledge::default();
    let mut disk = SimDisk::new();
    let mut commands = data.chunks_exact(2).take(COMMANDS_MAX).peekable();
    for left_over in (0..LIVES_MAX).rev() {
        let crash = live(&disk, &mut known, &mut commands)?;
        let left = crash.strike(&disk);
        let ending = crash.ending(&disk);
        disk = left;
        if commands.peek().is_none() || left_over == 0 {
            let knowledge = &mut known;
            let reopened = Reopened {
                disk: &disk,
                knowledge,
                ending,
            };
            return check(reopened).map(drop);
        }
        known.ended(ending);
    }
    Ok(())
}

/// One life, until a crash among the commands.
fn live<'a>(
    disk: &SimDisk,
    known: &mut Knowledge,
    commands: &mut impl Iterator<Item = &'a [u8]>,
) -> Result<Crash, String> {
    let machine = Machine::open(disk, known.next_life())?;
    let mut script = Script::new(machine, known);
    for command in commands {
        let [what, how] = *command else { continue };
        if let Some(crash) = crash(what, how) {
            return Ok(crash);
        }
        act(&mut script, what, how)?;
    }
    Ok(Crash::Kill)
}

const fn crash(what: u8, how: u8) -> Option<Crash> {
    let seed = how as u64;
    match what % 16 {
        14 => Some(Crash::Power(match how % 6 {
            0 => CrashMode::LoseAll,
            1 => CrashMode::KeepAll,
            2 => CrashMode::Prefix(seed),
            3 => CrashMode::Subset(seed),
            4 => CrashMode::Page4k(seed),
            _ => CrashMode::MissingOne(seed),
        })),
        15 => Some(Crash::Kill),
        _ => None,
    }
}

fn act(script: &mut Script<'_>, what: u8, how: u8) -> Result<(), String> {
    let size = 40 + usize::from(how) * 64;
    match what % 16 {
        0 | 1 => script.enqueue(size, |_| Ok(())).map(drop),
        2 => script
            .enqueue(size, |message| {
                let key = Key::new(vec![b'k', how % 4]).map_err(text)?;
                message.envelope.ordering_key = Some(key);
                // A dead one lets its successors pass, and lost leases count: the oracle is not told of those here.
                message.failures_max = Some(FAILURES_UNLIMITED);
                Ok(())
            })
            .map(drop),
        3 => script
            .enqueue(size, |message| {
                message.due = Due::After(Duration::from_secs(u64::from(how)));
                Ok(())
            })
            .map(drop),
        4 => script.batch(&vec![size / 4; 1 + usize::from(how % 8)]),
        5 | 6 => script.succeed_all(1 + u32::from(how % 8)),
        7 => {
            let staged = usize::from(how % 3);
            for grant in script.take(1 + u32::from(how % 4)) {
                script.end(&grant, Settlement::Succeed { result: None }, staged)?;
            }
            Ok(())
        }
        8 | 9 => {
            for grant in script.take(1 + u32::from(how % 3)) {
                if grant.envelope.ordering_key.is_some() {
                    script.end(&grant, Settlement::Succeed { result: None }, 0)?;
                } else if what % 16 == 8 {
                    script.fail(&grant)?;
                } else {
                    script.dead_letter(&grant)?;
                }
            }
            Ok(())
        }
        10 => script.replay_dead(),
        11 => {
            script.machine().maintain();
            Ok(())
        }
        12 => {
            let time = Duration::from_millis(u64::from(how) * 100);
            script.machine().pass(time);
            Ok(())
        }
        _ => {
            drop(script.take(1)); // and never settled
            Ok(())
        }
    }
}
