//! Power cuts and kills after every I/O of two lives of a store, and after every so many of the recovery.

use chaos_tests::workload::{check, two_lives};
use mq_testing::crash_points::{Plan, crash_everywhere};

const SEED: u64 = 20_261_121;

#[test]
fn nothing_acknowledged_is_lost_wherever_the_machine_dies() {
    let report = crash_everywhere(&Plan::new(SEED, 7), two_lives, check)
        .unwrap_or_else(|failure| panic!("seed {SEED}: {failure}"));
    println!("seed {SEED}: {report:?}");
    assert!(
        report.workload_ios > 100,
        "the workload became too small: {report:?}"
    );
    assert!(
        report.recoveries >= 25_000,
        "too little was tried: {report:?}"
    );
}
