//! What is stored is read as what it was, and its bytes are a format.

use mq_core::name::ScheduleName;

use super::*;

fn message() -> NewMessage {
    let payload = Bytes::from_static(b"{\"n\":1}");
    NewMessage::new(
        "reports".parse().unwrap(),
        "report".parse().unwrap(),
        payload,
    )
}

fn full_message() -> NewMessage {
    let mut message = message();
    message.envelope.version = 3;
    message.envelope.content_type = ContentType::Binary;
    message.envelope.payload = Bytes::from_static(b"\x00\xff\x10");
    message.envelope.headers = vec![("tenant".to_owned(), "acme".to_owned())];
    message.envelope.dedup_key = Some(Key::new("nightly").unwrap());
    message.dedup = Some(DedupPolicy::RunOnceMore);
    message.envelope.ordering_key = Some(Key::new(&b"\xfe"[..]).unwrap());
    message.halt_on_dead = true;
    message.priority = Priority::new(9).unwrap();
    message.due = Due::After(Duration::from_secs(5));
    message.expires_in = Some(Duration::from_secs(60));
    message.hold = Some("review".parse().unwrap());
    message.failures_max = Some(3);
    message.retain = Some(Duration::from_secs(3_600));
    message
}

fn kept(timing: Bytes, template: Bytes) -> Kept {
    Kept {
        name: ScheduleName::new("s").unwrap(),
        timing,
        template,
        next: None,
        paused: false,
        last: None,
        runs: 0,
        skipped: 0,
    }
}

#[test]
fn a_schedule_is_read_as_what_it_was() {
    let whens = [
        When::ByHand,
        When::Every(Duration::from_millis(90_500)),
        When::Cron {
            expression: "0 3 * * *".to_owned(),
            zone: "Europe/Berlin".to_owned(),
        },
    ];
    for when in whens {
        for message in [message(), full_message()] {
            for missed in [Missed::Skip, Missed::Once, Missed::All] {
                let kept = kept(timing(&when), template(missed, &message));
                let read = read_schedule(&kept).unwrap();
                assert_eq!((read.when(), read.missed_policy()), (&when, missed));
                // A message has no equality: what is written of it again must be the same.
                let again = template(missed, read.new_message().unwrap());
                assert_eq!(again, kept.template);
                assert_eq!(read.new_message().unwrap().envelope, message.envelope);
            }
        }
    }
}

#[test]
fn the_stored_form_is_a_format() {
    assert_eq!(timing(&When::ByHand), "\"by_hand\"");
    assert_eq!(
        timing(&When::Every(Duration::from_secs(5))),
        "{\"every_ms\":5000}"
    );
    let cron = When::Cron {
        expression: "0 3 * * *".to_owned(),
        zone: "UTC".to_owned(),
    };
    assert_eq!(
        timing(&cron),
        "{\"cron\":{\"expression\":\"0 3 * * *\",\"zone\":\"UTC\"}}"
    );
    let plain = "{\"missed\":\"once\",\"message\":{\"queue\":\"reports\",\"kind\":\"report\",\"version\":0,\
                 \"content\":\"json\",\"payload\":{\"text\":\"{\\\"n\\\":1}\"},\"halt_on_dead\":false,\"priority\":4}}";
    assert_eq!(template(Missed::Once, &message()), plain);
}

#[test]
fn what_cannot_be_read_says_why() {
    let good = kept(timing(&When::ByHand), template(Missed::Once, &message()));
    let broken = [
        kept(Bytes::from_static(b"{\"lunar\":1}"), good.template.clone()),
        kept(good.timing.clone(), Bytes::from_static(b"{}")),
        kept(
            Bytes::from_static(
                b"{\"cron\":{\"expression\":\"0 3 * * *\",\"zone\":\"Mars/Olympus\"}}",
            ),
            good.template.clone(),
        ),
    ];
    for broken in broken {
        assert!(!Plan::read(&broken).unwrap_err().is_empty());
    }
    Plan::read(&good).unwrap();
}
