//! Forms are coarse, never wrong.

use proptest::prelude::*;

use super::*;

const FIELD: PointerHash = PointerHash(7);

fn ranges(value: Scalar<'_>) -> [TermRange; 3] {
    [
        TermRange::at_most(FIELD, value),
        TermRange::equal(FIELD, value),
        TermRange::at_least(FIELD, value),
    ]
}

/// Each range holds what it must.
fn check(found: Scalar<'_>, wanted: Scalar<'_>, order: std::cmp::Ordering) {
    let form = Form::of(found);
    let [at_most, equal, at_least] = ranges(wanted);
    assert!(order.is_gt() || at_most.holds(form), "{found:?} {wanted:?}");
    assert!(order.is_ne() || equal.holds(form), "{found:?} {wanted:?}");
    assert!(
        order.is_lt() || at_least.holds(form),
        "{found:?} {wanted:?}"
    );
}

proptest! {
    #[test]
    fn no_number_is_lost(one in any::<f64>(), other in any::<f64>()) {
        if let Some(order) = one.partial_cmp(&other) {
            check(Scalar::Number(one), Scalar::Number(other), order);
        }
    }

    #[test]
    fn no_large_whole_number_is_lost(base in any::<i64>(), apart in -2048i64..2048) {
        let other = base.saturating_add(apart);
        #[expect(clippy::cast_precision_loss, reason = "what is lost is what the test is about")]
        let [a, b] = [base as f64, other as f64];
        check(Scalar::Number(a), Scalar::Number(b), base.cmp(&other));
    }

    #[test]
    fn no_text_is_lost(one in "[ab\u{0}é]{0,18}", other in "[ab\u{0}é]{0,18}") {
        check(Scalar::Text(&one), Scalar::Text(&other), one.cmp(&other));
    }
}

#[test]
fn zero_has_one_form_and_what_is_no_number_is_not_compared() {
    assert_eq!(
        Form::of(Scalar::Number(0.0)),
        Form::of(Scalar::Number(-0.0))
    );
    let nan = Form::of(Scalar::Number(f64::NAN));
    assert_eq!(nan, Form::of(Scalar::Other));
}

#[test]
fn a_range_holds_no_value_of_another_type() {
    let values = [
        Scalar::Null,
        Scalar::Bool(false),
        Scalar::Bool(true),
        Scalar::Number(f64::NEG_INFINITY),
        Scalar::Number(f64::INFINITY),
        Scalar::Text(""),
        Scalar::Text("\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}"),
        Scalar::Other,
    ];
    for value in values {
        for other in values {
            let same = std::mem::discriminant(&value) == std::mem::discriminant(&other);
            for range in ranges(value) {
                assert!(same || !range.holds(Form::of(other)), "{value:?} {other:?}");
            }
        }
    }
}

#[test]
fn long_texts_with_the_same_beginning_are_told_apart() {
    let range = TermRange::equal(FIELD, Scalar::Text("customer-00000000000017"));
    let is_same = |n: u32| {
        range.holds(Form::of(Scalar::Text(&format!(
            "customer-000000000000{n:02}"
        ))))
    };
    assert_eq!((0..100).filter(|n| is_same(*n)).collect::<Vec<_>>(), [17]);
}

#[test]
fn what_is_no_pointer_is_refused() {
    for text in ["", "order", "/a~2", "/~"] {
        assert!(Pointer::new(text).is_err(), "{text}");
    }
    for text in ["/", "/a~0b~1c", "/0/1"] {
        assert!(Pointer::new(text).is_ok(), "{text}");
    }
    let deep = "/a".repeat(POINTER_SIZE_MAX);
    assert!(matches!(
        Pointer::new(&deep),
        Err(IndexError::TooLong { .. })
    ));
    let many = (0..=INDEX_LEN_MAX).map(|n| format!("/{n}"));
    assert_eq!(Index::parse(many), Err(IndexError::TooMany { given: 9 }));
    assert!(matches!(
        Index::parse(["/a", "/b", "/a"]),
        Err(IndexError::Twice { .. })
    ));
}
