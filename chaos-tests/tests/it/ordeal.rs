//! Small disks are filled and worked off: see `chaos_tests::full_disk`; `cargo xtask chaos disk-full` has more of them.

use chaos_tests::full_disk::{Ordeal, endure};

#[test]
fn a_full_disk_is_worked_off_and_filled_again_whatever_the_order() {
    let mut sum = Ordeal::default();
    for seed in 0..6 {
        let ordeal = endure(seed).unwrap_or_else(|reason| panic!("seed {seed}: {reason}"));
        println!("seed {seed}: {ordeal:?}");
        sum.refusals += ordeal.refusals;
        sum.held += ordeal.held;
    }
    assert!(sum.refusals > 0 && sum.held > 0, "{sum:?}");
}
