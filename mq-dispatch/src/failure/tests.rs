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

#[derive(Debug, thiserror::Error)]
enum PayError {
    #[error("declined with code {0}")]
    Declined(u16),
    #[error("try later")]
    Busy { after: u64 },
    #[error("gone")]
    Gone,
}

/// Shows what it holds, as some errors do.
#[derive(thiserror::Error)]
#[error("of order {0}")]
struct Bare(&'static str);

impl std::fmt::Debug for Bare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

#[test]
fn the_class_of_an_error_is_its_variant_or_its_type_and_never_its_text() {
    use std::io;
    type BoxError = Box<dyn std::error::Error + Send + Sync>;
    let class = |error: PayError| super::of::<PayError>(&error).error_type;
    assert_eq!(class(PayError::Declined(402)), "Declined");
    assert_eq!(class(PayError::Busy { after: 3 }), "Busy");
    assert_eq!(class(PayError::Gone), "Gone");
    let boxed: BoxError = Box::new(PayError::Declined(402));
    assert_eq!(super::of::<BoxError>(boxed.as_ref()).error_type, "Declined");
    let text: BoxError = "order 7 is gone".into();
    assert_eq!(super::of::<&str>(text.as_ref()).error_type, "Error");
    let anyhow: BoxError = anyhow::anyhow!("Order").into();
    assert_eq!(
        super::of::<anyhow::Error>(anyhow.as_ref()).error_type,
        "Error"
    );
    let missing = io::Error::from(io::ErrorKind::NotFound);
    assert_eq!(super::of::<io::Error>(&missing).error_type, "NotFound");
    let other = io::Error::other(PayError::Gone);
    assert_eq!(super::of::<io::Error>(&other).error_type, "Gone");
    let bare = Bare("order-7");
    assert_eq!(super::of::<Bare>(&bare).error_type, "Bare");
}
