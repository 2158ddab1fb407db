//! What is kept of errors.

use super::{chain, cut, short_name};

#[derive(Debug, thiserror::Error)]
#[error("the card was declined")]
struct Declined(#[source] std::num::ParseIntError);

#[derive(Debug, thiserror::Error)]
#[error("cannot charge: {0}")]
struct Charge(#[source] Declined);

#[test]
fn the_whole_chain_of_causes_is_kept_and_nothing_twice() {
    let cause = "x".parse::<u8>().expect_err("not a number");
    let text = chain(&Charge(Declined(cause)));
    assert_eq!(
        text,
        "cannot charge: the card was declined: invalid digit found in string"
    );
}

#[test]
fn a_type_is_named_by_its_last_segment() {
    assert_eq!(short_name("shop::pay::Declined"), "Declined");
    assert_eq!(short_name("shop::Failed<shop::pay::Card>"), "Failed");
    assert_eq!(short_name("&str"), "str");
}

#[test]
fn long_texts_are_cut_between_characters() {
    assert_eq!(cut("häuser", 2), "h");
    assert_eq!(cut("häuser", 3), "hä");
    assert_eq!(cut("h", 9), "h");
}
