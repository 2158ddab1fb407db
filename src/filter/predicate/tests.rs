//! What parses, what is refused, and what matches.

use serde_json::json;

use super::*;

fn parse(text: &str) -> Predicate {
    text.parse().unwrap()
}

fn refused(text: &str) -> PredicateError {
    text.parse::<Predicate>().unwrap_err()
}

const DOCUMENT: &str = r#"{
    "sku": "A1", "cents": 250, "rate": 0.5, "gift": true, "note": null, "big": 18446744073709551615,
    "order": {"lines": [{"sku": "B2"}]}, "a/b": 1, "c~d": 2, "e<f": 3, "": 4
}"#;

#[test]
fn every_operator_compares_numbers_texts_and_the_rest_as_the_rules_say() {
    for (text, holds) in [
        ("/cents == 250", true),
        ("/cents == 250.0", true),
        ("/cents != 250", false),
        ("/cents > 249.5", true),
        ("/cents<251", true),
        ("/cents >= 250", true),
        ("/cents <= 249", false),
        ("/big > 9223372036854775807", true),
        ("/big == 18446744073709551614", false),
        ("/rate < 1", true),
        (r#"/sku == "A1""#, true),
        (r#"/sku > "A""#, true),
        (r#"/sku >= "B""#, false),
        ("/gift == true", true),
        ("/gift != false", true),
        ("/note == null", true),
        ("/missing == null", true),
        ("/missing != 5", true),
        ("/missing < 5", false),
        ("/sku == 1", false),
        ("/sku != 1", true),
        ("/sku < 1", false),
        (r#"/order/lines/0/sku == "B2""#, true),
        ("/a~1b == 1", true),
        ("/c~0d == 2", true),
        (r#""/e<f" == 3"#, true),
        ("/ == 4", true),
        ("/order == null", false),
    ] {
        assert_eq!(parse(text).matches(DOCUMENT.as_bytes()), holds, "{text}");
    }
}

#[test]
fn a_text_that_is_no_predicate_is_refused_and_never_matches_nothing() {
    assert!(matches!(refused(""), PredicateError::Pointer { .. }));
    assert!(matches!(
        refused("cents > 1"),
        PredicateError::Pointer { .. }
    ));
    assert!(matches!(
        refused("\"/a == 1"),
        PredicateError::Pointer { .. }
    ));
    assert!(matches!(refused("/cents"), PredicateError::Operator { .. }));
    assert!(matches!(
        refused("/cents = 1"),
        PredicateError::Operator { .. }
    ));
    assert!(matches!(
        refused("/cents ! 1"),
        PredicateError::Operator { .. }
    ));
    assert!(matches!(
        refused("/a~2 == 1"),
        PredicateError::Escape { .. }
    ));
    assert!(matches!(refused("/a ="), PredicateError::Operator { .. }));
    assert!(matches!(refused("/a =="), PredicateError::Value { .. }));
    assert!(matches!(refused("/a == b"), PredicateError::Value { .. }));
    assert!(matches!(refused("/a == 1 2"), PredicateError::Value { .. }));
    assert!(matches!(
        refused("/a == 1e999"),
        PredicateError::Value { .. }
    ));
    assert!(matches!(
        refused("/a == [1]"),
        PredicateError::NotPrimitive { .. }
    ));
    assert!(matches!(
        refused("/a < true"),
        PredicateError::NoOrder { .. }
    ));
    assert!(matches!(
        refused("/a >= null"),
        PredicateError::NoOrder { .. }
    ));
    let long = format!("/a == \"{}\"", "x".repeat(PREDICATE_SIZE_MAX));
    assert!(matches!(refused(&long), PredicateError::TooLong { .. }));
}

#[test]
fn what_is_printed_is_parsed_to_the_same() {
    for predicate in [
        Predicate::new("/a b/c", Comparison::LessOrEqual, 1.5),
        Predicate::new("/a>=b", Comparison::NotEqual, "x \"y\""),
        Predicate::new("/a ", Comparison::Equal, Value::Null),
        Predicate::new("/é/0", Comparison::Greater, u64::MAX),
    ] {
        let predicate = predicate.unwrap();
        assert_eq!(parse(&predicate.to_string()), predicate);
    }
}

#[test]
fn a_payload_that_is_not_json_meets_no_condition() {
    assert!(!parse("/a != 1").matches(b"text"));
    assert!(!parse("/a == null").matches(b"\xff\x00"));
    assert!(parse("/a == null").holds(&json!([1])));
}
