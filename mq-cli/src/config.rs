//! `mq config`: every default and its range, from the constants that the rules are built with.

use std::time::Duration;

use mq_core::limits as l;

use crate::clock;
use crate::exit::Result;
use crate::output::Output;

/// Runs `mq config`.
///
/// # Errors
/// When the output fails.
pub(crate) fn run() -> Result {
    let mut output = Output::stdout();
    let rows = settings()
        .into_iter()
        .map(|(name, value, range)| vec![name.to_owned(), value, range])
        .collect();
    output.table(&["SETTING", "DEFAULT", "RANGE"], rows)?;
    Ok(output.flush()?)
}

type Setting = (&'static str, String, String);

fn settings() -> Vec<Setting> {
    [stored(), run_by_handlers(), kept()].concat()
}

fn stored() -> Vec<Setting> {
    let (least, most) = l::CAPACITY_MESSAGES_RANGE;
    let names = "A-Z a-z 0-9 . _ : / -".to_owned();
    vec![
        (
            "capacity, messages",
            l::CAPACITY_MESSAGES_DEFAULT.to_string(),
            format!("{least} to {most}"),
        ),
        (
            "capacity, bytes",
            size(l::CAPACITY_BYTES_DEFAULT),
            String::new(),
        ),
        (
            "payload",
            size(l::PAYLOAD_SIZE_DEFAULT as u64),
            format!("up to {}", size(l::PAYLOAD_SIZE_MAX as u64)),
        ),
        ("headers", size(l::HEADERS_SIZE_MAX as u64), String::new()),
        ("error text", size(l::ERROR_SIZE_MAX as u64), String::new()),
        (
            "checkpoint",
            size(l::CHECKPOINT_SIZE_MAX as u64),
            String::new(),
        ),
        ("result", size(l::RESULT_SIZE_MAX as u64), String::new()),
        ("name", size(l::NAME_SIZE_MAX as u64), names),
        ("key", size(l::KEY_SIZE_MAX as u64), "any bytes".to_owned()),
        (
            "wait for room when full",
            clock::duration(l::FULL_WAIT_DEFAULT),
            String::new(),
        ),
        (
            "payload cache",
            size(l::PAYLOAD_CACHE_DEFAULT),
            String::new(),
        ),
    ]
}

fn run_by_handlers() -> Vec<Setting> {
    let (first, last) = l::BACKOFF_RANGE_DEFAULT;
    vec![
        (
            "failures",
            l::FAILURES_DEFAULT.to_string(),
            format!("0 to {}", l::FAILURES_MAX),
        ),
        ("solo crashes", l::CRASHES_MAX.to_string(), String::new()),
        (
            "back-off",
            span((first, last)),
            format!("\u{b1}{} % jitter", l::JITTER_PERCENT),
        ),
        (
            "lease",
            clock::duration(l::LEASE_DEFAULT),
            span(l::LEASE_RANGE),
        ),
        (
            "renewal of leases",
            clock::duration(l::RENEWAL_DEFAULT),
            String::new(),
        ),
        (
            "handler timeout",
            clock::duration(l::TIMEOUT_DEFAULT),
            String::new(),
        ),
        (
            "shutdown grace",
            clock::duration(l::GRACE_DEFAULT),
            String::new(),
        ),
        (
            "workers of a pool",
            "1 to 2 x cores".to_owned(),
            format!("1 to {}", l::PARALLELISM_MAX),
        ),
    ]
}

fn kept() -> Vec<Setting> {
    vec![
        (
            "dead letters",
            "kept".to_owned(),
            format!("within {}", size(l::DEAD_BYTES_DEFAULT)),
        ),
        (
            "completed messages",
            "not kept".to_owned(),
            format!("within {}", size(l::COMPLETED_BYTES_DEFAULT)),
        ),
        (
            "results that are waited for",
            clock::duration(l::RESULT_RETENTION_DEFAULT),
            String::new(),
        ),
        (
            "callers that wait for messages",
            l::WAITERS_LEN_MAX.to_string(),
            String::new(),
        ),
        (
            "idempotency window",
            clock::duration(l::IDEMPOTENCY_WINDOW_DEFAULT),
            String::new(),
        ),
        ("keys", l::KEYS_DEFAULT.to_string(), String::new()),
        (
            "schedules",
            l::SCHEDULES_LEN_MAX.to_string(),
            format!("within {}", size(l::SCHEDULES_SIZE_MAX)),
        ),
    ]
}

fn span((least, most): (Duration, Duration)) -> String {
    format!("{} to {}", clock::duration(least), clock::duration(most))
}

/// The largest binary unit that divides the size.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units
        .into_iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(
        || format!("{bytes} B"),
        |(shift, unit)| format!("{} {unit}", bytes >> shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        for (bytes, text) in [
            (128, "128 B"),
            (1 << 20, "1 MiB"),
            (8 << 30, "8 GiB"),
            (1_500, "1500 B"),
            (1536 << 10, "1536 KiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_rules() {
        let settings = settings();
        let find = |name| {
            settings
                .iter()
                .find(|(setting, ..)| *setting == name)
                .unwrap()
        };
        assert_eq!(find("capacity, messages").1, "1048576");
        assert_eq!(find("lease").1, "30s");
        assert_eq!(find("payload").2, "up to 16 MiB");
    }
}
