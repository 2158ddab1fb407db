//! What the words behind a proof's name mean.

use super::times_and_filter;

#[test]
fn the_word_behind_times_is_a_number_and_what_follows_names_tests() {
    assert_eq!(times_and_filter(&[]).unwrap(), (5, &[][..]));
    assert_eq!(times_and_filter(&["ring"]).unwrap(), (5, &["ring"][..]));
    let both = ["--times", "9", "ring"];
    assert_eq!(times_and_filter(&both).unwrap(), (9, &["ring"][..]));
    for bad in [&["--times"][..], &["--times", "ring"]] {
        let refused = times_and_filter(bad).unwrap_err();
        assert_eq!(refused.to_string(), "--times takes a number");
    }
}
