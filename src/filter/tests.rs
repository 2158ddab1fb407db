//! What is wrong with filters, and what they become.

use super::*;

fn resolve(filter: &Filter) -> Result<Scan, FilterError> {
    filter.resolve(&KeyHasher::new([1; 16]), Timestamp::from_ms(10_000))
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let filter = Filter::new()
        .queue("no name")
        .kind("")
        .label("x\n")
        .state_word("running")
        .priority(10)
        .ordering_key("k")
        .payload("cents > 1")
        .payload("/a < true");
    let error = resolve(&filter).unwrap_err();
    assert_eq!(error.problems.len(), 8, "{error}");
    let text = error.to_string();
    for word in [
        "no name",
        "running",
        "superseded",
        "priority 10",
        "name the queue",
        "cents",
        "true",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(filter.check().unwrap_err(), error);
}

#[test]
fn a_filter_finds_by_one_key_of_one_queue() {
    let both = Filter::new().queue("q").dedup_key("a").ordering_key("b");
    let problems = resolve(&both).unwrap_err().problems;
    assert_eq!(problems, [FilterProblem::SeveralKeys]);
    let one = resolve(&Filter::new().queue("q").dedup_key("a")).unwrap();
    assert!(matches!(one.facts.key, Some(KeyIs::Dedup(_))));
    assert_eq!(one.facts.queue, None, "a moved message keeps its keys");
}

#[test]
fn a_reason_is_a_word_of_the_rules_or_a_type_of_error() {
    let crashed = resolve(&Filter::reason("crashed")).unwrap().facts;
    assert_eq!(
        (crashed.reason, crashed.error_type),
        (Some(DeadReason::Crashed), None)
    );
    let declined = resolve(&Filter::reason("Declined")).unwrap().facts;
    assert_eq!(
        (declined.reason, declined.error_type),
        (None, Some("Declined".to_owned()))
    );
    assert_eq!(declined.state, Some(StateKind::Dead));
}

#[test]
fn an_age_is_counted_from_the_moment_of_use() {
    let facts = resolve(&older_than(Duration::from_secs(4))).unwrap().facts;
    assert_eq!(facts.older, Some(Timestamp::from_ms(6_000)));
    let fixed = older_than(Duration::from_secs(4)).at(Timestamp::from_ms(5_000));
    assert_eq!(
        resolve(&fixed).unwrap().facts.older,
        Some(Timestamp::from_ms(1_000))
    );
}

#[test]
fn the_serde_form_is_an_object_of_the_same_words_and_refuses_others() {
    let filter = Filter::reason("Declined")
        .queue("mail")
        .dedup_key(vec![0xff, 0])
        .payload("/cents >= 100");
    let json = serde_json::to_string(&filter).unwrap();
    let expected = concat!(
        r#"{"queue":"mail","state":"dead","error_type":"Declined","dedup_key":[255,0],"#,
        r#""where":["/cents >= 100"]}"#
    );
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Filter>(&json).unwrap(), filter);
    assert!(serde_json::from_str::<Filter>(r#"{"statee":"dead"}"#).is_err());
    assert!(serde_json::from_str::<Filter>("{}").unwrap().is_empty());
}

#[test]
fn only_a_condition_or_all_is_enough_for_a_change_of_many() {
    assert!(Filter::new().must_say_all().is_err());
    assert!(Filter::all().must_say_all().is_ok());
    assert!(Filter::new().kind("charge").must_say_all().is_ok());
}
