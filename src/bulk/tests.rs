//! The journalled form of bulk jobs.

use std::time::Duration;

use mq_core::message::{Due, Priority};

use super::*;

fn requests() -> Vec<OperateRequest> {
    vec![
        OperateRequest::Cancel,
        OperateRequest::Hold("review".parse().unwrap()),
        OperateRequest::Release,
        OperateRequest::RunNow,
        OperateRequest::Reschedule(Due::Now),
        OperateRequest::Reschedule(Due::After(Duration::from_secs(5))),
        OperateRequest::SetPriority(Priority::DEFAULT),
        OperateRequest::MoveTo("slow".parse().unwrap()),
        OperateRequest::Replay { edit: None },
        OperateRequest::Purge,
    ]
}

#[test]
fn what_is_journalled_of_a_job_is_read_as_what_it_was() {
    let wall = Timestamp::from_ms(1_000);
    for request in requests() {
        let spec = Spec {
            filter: Filter::new().kind("charge").payload("/cents >= 100"),
            what: What::of(request.clone(), wall),
            rate: Some(50),
        };
        let bytes = spec.encode().unwrap();
        assert_eq!(Spec::decode(&bytes).unwrap(), spec, "{request:?}");
        let operation = spec.what.operation().unwrap();
        assert_eq!(operation.as_str(), spec.what.as_str());
    }
}

/// The bytes that stand in journals: jobs of older programs go on under newer ones.
#[test]
fn the_journalled_form_stays_as_it_is() {
    let spec = Spec {
        filter: Filter::reason("Declined").queue("mail"),
        what: What::of(requests().remove(5), Timestamp::from_ms(1_000)),
        rate: None,
    };
    let text = String::from_utf8(spec.encode().unwrap()).unwrap();
    let expected = concat!(
        r#"{"filter":{"queue":"mail","state":"dead","error_type":"Declined"},"#,
        r#""do":{"op":"reschedule","due":6000}}"#
    );
    assert_eq!(text, expected);
}

#[test]
fn orders_that_are_not_understood_are_errors() {
    for text in [
        "",
        "{}",
        r#"{"filter":{},"do":{"op":"explode"}}"#,
        r#"{"filter":{},"do":{"op":"purge"},"until":5}"#,
        r#"{"filter":{"colour":"red"},"do":{"op":"purge"}}"#,
    ] {
        assert!(Spec::decode(text.as_bytes()).is_err(), "{text}");
    }
    let bad = What::SetPriority { priority: 10 };
    assert!(bad.operation().is_err());
}
