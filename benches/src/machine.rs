//! Where and when something was measured, in one line: a figure without it says nothing.

use std::path::Path;
use std::thread::available_parallelism;

use rustix::fs::statfs;

/// A load average above this part of a core before the run means that others were at work.
const QUIET: f64 = 0.3;

/// Date, processor, cores, kernel, file system, and whether others were at work.
#[must_use]
pub fn describe(folder: &Path) -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(
            || "unknown processor".to_owned(),
            |(_, name)| name.to_owned(),
        );
    let cores = available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel
        .split('-')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    let load = read("/proc/loadavg");
    let load: f64 = load
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(f64::NAN);
    let quiet = if load < QUIET {
        "the machine was quiet"
    } else {
        "**shared machine, provisional**"
    };
    let filesystem = match statfs(folder).map(|facts| facts.f_type) {
        Ok(0xef53) => "ext4",
        Ok(0x5846_5342) => "xfs",
        Ok(0x0102_1994) => "tmpfs, which syncs nothing",
        Ok(_) => "another file system",
        Err(_) => "unknown file system",
    };
    let date = jiff::Zoned::now().date();
    format!(
        "{date}, {cpu}, {cores} cores, Linux {kernel}, {filesystem}, load average {load} before the run: {quiet}."
    )
}
