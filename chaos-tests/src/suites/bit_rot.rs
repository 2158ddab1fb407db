//! Damage to stores whose life is known, one thing at a time.

use crate::rot::{Damage, Density, End, Specimen, Tally, Verdict, specimen};
use crate::suite::{Level, Outcome, Run, caught, grouped};

/// Memory that the suite may ask for: a length that rotted must not be believed.
const MEMORY_MAX: u64 = 1 << 30;

/// Each damage to each specimen.
pub(super) fn damages(run: &Run) -> Outcome {
    let before = virtual_memory();
    let judged = End::ALL.iter().try_for_each(|end| {
        let specimen = specimen(*end, run.seed)?;
        try_all(run, &specimen)
    });
    let grown = before
        .zip(virtual_memory())
        .map(|(before, after)| after.saturating_sub(before));
    match (judged, grown) {
        (Ok(()), Some(grown)) if grown > MEMORY_MAX => {
            Outcome::Failed(format!("it asked for {} bytes of memory", grouped(grown)))
        }
        (judged, _) => judged.into(),
    }
}

fn try_all(run: &Run, specimen: &Specimen) -> Result<(), String> {
    let damages = specimen.damages(&density(run.level), run.seed);
    let tally = Tally::default();
    let title = &specimen.title;
    let tried = run.each(damages.len() as u64, |index| {
        let Some(damage) = usize::try_from(index).ok().and_then(|it| damages.get(it)) else {
            return Ok(());
        };
        run.tried(1);
        let verdict = judge(specimen, *damage)?;
        tally.count(verdict);
        Ok(())
    });
    println!("chaos: bit-rot: {title}: {tally}");
    tried.map_err(|(_, reason)| {
        let again = run.command(run.seed);
        format!("{title}: {reason}\nsee it again: {again}")
    })?;
    if !tally.has(Verdict::Refused) {
        return Err(format!("{title}: nothing that matters was damaged"));
    }
    Ok(())
}

fn judge(specimen: &Specimen, damage: Damage) -> Result<Verdict, String> {
    caught(|| specimen.judge(damage)).map_err(|reason| {
        let files = damage.files().into_iter().map(|file| specimen.name(file));
        let files: Vec<&str> = files.collect();
        format!("{damage:?} in {}: {reason}", files.join(" and "))
    })
}

const fn density(level: Level) -> Density {
    level.of(
        Density {
            head_bits: 41,
            bytes: 499,
            all_bits: false,
            cuts: 701,
            sectors: 41,
            ways: 1,
        },
        Density {
            head_bits: 2,
            bytes: 5,
            all_bits: false,
            cuts: 11,
            sectors: 1,
            ways: 2,
        },
        Density {
            head_bits: 1,
            bytes: 1,
            all_bits: true,
            cuts: 1,
            sectors: 1,
            ways: 64,
        },
    )
}

/// The most memory that this process ever asked for, in bytes, where the system says so.
fn virtual_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmPeak:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}
