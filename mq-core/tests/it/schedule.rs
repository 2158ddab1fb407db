//! Schedules: due times that fire once, whatever happens in between.

use std::sync::Arc;

use bytes::Bytes;
use mq_core::command::EnqueueRefused;
use mq_core::event::{Event, ScheduleEvent};
use mq_core::image::ImageRecord;
use mq_core::key::DedupPolicy;
use mq_core::limits::{
    SCHEDULE_TEMPLATE_SIZE_MAX, SCHEDULE_TIMING_SIZE_MAX, SCHEDULES_LEN_MAX, SCHEDULES_SIZE_MAX,
};
use mq_core::manager::{ApplyError, Config, RestoreError};
use mq_core::message::Draft;
use mq_core::name::ScheduleName;
use mq_core::schedule::{
    Existing, FireSchedule, Fired, Firing, LastFire, PauseSchedule, Put, PutSchedule,
    RemoveSchedule, ResumeSchedule, Schedule, ScheduleRefused,
};
use mq_core::time::Timestamp;

use crate::rig::{Rig, START, deduped, draft, secs};

pub(crate) fn name(text: &str) -> ScheduleName {
    ScheduleName::new(text).unwrap()
}

/// So many seconds after the start.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_ms(START).after(secs(seconds))
}

fn put_of(name_of: &str, timing: &'static str, next: u64) -> PutSchedule {
    PutSchedule {
        name: name(name_of),
        timing: Bytes::from_static(timing.as_bytes()),
        template: Bytes::from_static(b"{}"),
        next: Some(at(next)),
        existing: Existing::Replace,
    }
}

pub(crate) fn seen(rig: &Rig, name_of: &str) -> Arc<Schedule> {
    Arc::clone(rig.manager.schedule(&name(name_of)).unwrap())
}

pub(crate) fn fire(seen: Arc<Schedule>, drafts: Vec<Draft>, next: u64) -> FireSchedule {
    FireSchedule {
        due: seen.next.unwrap_or_default(),
        seen,
        drafts: drafts.into(),
        firing: Firing::Due {
            skipped: 0,
            next: Some(at(next)),
        },
    }
}

/// A store with schedule `s`, due after 10 s.
fn rig() -> Rig {
    let mut rig = Rig::new();
    assert_eq!(rig.run(&put_of("s", "every 10 s", 10)), Ok(Put::Created));
    rig
}

fn due(rig: &Rig) -> Vec<String> {
    let due = rig.manager.due_schedules(&rig.now, 100);
    due.iter()
        .map(|schedule| schedule.name.to_string())
        .collect()
}

fn fire_due(rig: &mut Rig, next: u64) -> Result<Fired, ScheduleRefused> {
    let fire = fire(seen(rig, "s"), vec![draft()], next);
    rig.run(&fire)
}

fn live(rig: &Rig) -> u64 {
    rig.manager.stats(&rig.now).live_messages
}

#[test]
fn a_schedule_is_due_at_its_time_and_fires_once_for_it() {
    let mut rig = rig();
    assert_eq!(rig.manager.next_deadline().schedule, Some(at(10)));
    assert!(due(&rig).is_empty());
    let early = fire_due(&mut rig, 20).unwrap_err();
    assert_eq!(early, ScheduleRefused::Changed { name: name("s") });
    rig.pass(secs(11));
    assert_eq!(due(&rig), ["s"]);
    let first = fire(seen(&rig, "s"), vec![draft()], 20);
    assert_eq!(rig.run(&first).unwrap().len(), 1);
    assert_eq!(
        rig.run(&first),
        Err(ScheduleRefused::Changed { name: name("s") }),
        "it was seen before it fired"
    );
    assert_eq!(live(&rig), 1);
    assert!(due(&rig).is_empty());
    assert_eq!(rig.manager.next_deadline().schedule, Some(at(20)));
    let schedule = seen(&rig, "s");
    let last = LastFire {
        due: at(10),
        at: at(11),
    };
    assert_eq!((schedule.last, schedule.runs), (Some(last), 1));
    rig.check_recovery();
}

#[test]
fn the_fire_and_its_messages_are_the_events_of_one_command() {
    let mut rig = rig();
    rig.pass(secs(10));
    let command = fire(seen(&rig, "s"), vec![draft(), draft()], 20);
    let mut events = Vec::new();
    rig.manager.decide(&rig.now, &command, &mut events).unwrap();
    let words: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Enqueued(_) => "enqueued",
            Event::Schedule(ScheduleEvent::Fired { runs: 2, .. }) => "fired",
            Event::QueueDefined { .. } | Event::KindDefined { .. } => "defined",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        words,
        ["defined", "defined", "enqueued", "enqueued", "fired"]
    );
}

#[test]
fn a_fire_that_a_crash_forgot_is_due_again_and_one_that_it_kept_is_not() {
    let mut rig = rig();
    rig.pass(secs(10));
    let before = rig.journal.len();
    fire_due(&mut rig, 20).unwrap();
    rig.crash();
    assert!(due(&rig).is_empty());
    assert_eq!(live(&rig), 1);
    rig.journal.truncate(before);
    rig.crash();
    assert_eq!(due(&rig), ["s"]);
    assert_eq!(live(&rig), 0);
    rig.check_recovery();
}

#[test]
fn a_fire_into_a_full_store_is_refused_and_stays_due() {
    let mut rig = Rig::with(Config {
        capacity_messages: 64,
        ..Config::default()
    });
    rig.run(&put_of("s", "every 10 s", 10)).unwrap();
    let ids = rig.enqueue_all((0..64).map(|_| draft()).collect());
    rig.pass(secs(10));
    let refused = fire_due(&mut rig, 20).unwrap_err();
    assert!(
        matches!(
            refused,
            ScheduleRefused::Enqueue(EnqueueRefused::Full { used: 64, .. })
        ),
        "{refused:?}"
    );
    assert_eq!(due(&rig), ["s"]);
    rig.manager.postpone_schedule(&name("s"), at(12));
    assert!(due(&rig).is_empty());
    assert_eq!(rig.manager.next_deadline().schedule, Some(at(12)));
    rig.check_recovery();
    rig.operate(ids[0], mq_core::command::Operation::Cancel)
        .unwrap();
    rig.pass(secs(2));
    assert_eq!(due(&rig), ["s"]);
    fire_due(&mut rig, 20).unwrap();
    assert_eq!(seen(&rig, "s").last.unwrap().due, at(10));
}

#[test]
fn a_postponement_is_forgotten_by_a_restart_and_by_a_fire() {
    let mut rig = rig();
    rig.pass(secs(10));
    rig.manager.postpone_schedule(&name("s"), at(500));
    rig.manager.postpone_schedule(&name("unknown"), at(500));
    rig.reopen();
    assert_eq!(due(&rig), ["s"]);
    rig.manager.postpone_schedule(&name("s"), at(500));
    fire_due(&mut rig, 20).unwrap();
    assert_eq!(rig.manager.next_deadline().schedule, Some(at(20)));
}

#[test]
fn what_is_put_again_unchanged_stays_due_for_what_it_was() {
    let mut rig = rig();
    rig.pass(secs(15));
    let events = rig.journal.len();
    assert_eq!(rig.run(&put_of("s", "every 10 s", 99)), Ok(Put::Unchanged));
    assert_eq!(rig.journal.len(), events);
    let new_message = PutSchedule {
        template: Bytes::from_static(b"{\"other\":1}"),
        ..put_of("s", "every 10 s", 99)
    };
    assert_eq!(rig.run(&new_message), Ok(Put::Changed));
    assert_eq!(due(&rig), ["s"], "a new message leaves the due time alone");
    let new_timing = put_of("s", "every 20 s", 30);
    assert_eq!(rig.run(&new_timing), Ok(Put::Changed));
    assert!(due(&rig).is_empty());
    assert_eq!(seen(&rig, "s").next, Some(at(30)));
    rig.check_recovery();
}

#[test]
fn a_default_does_not_touch_what_is_there() {
    let mut rig = rig();
    let default = PutSchedule {
        existing: Existing::Keep,
        ..put_of("s", "every 20 s", 30)
    };
    assert_eq!(rig.run(&default), Ok(Put::Unchanged));
    assert_eq!(seen(&rig, "s").timing, "every 10 s");
    let new = PutSchedule {
        name: name("new"),
        ..default
    };
    assert_eq!(rig.run(&new), Ok(Put::Created));
}

#[test]
fn a_paused_schedule_does_not_fire_until_it_is_resumed_with_its_next_time() {
    let mut rig = rig();
    rig.run(&PauseSchedule { name: name("s") }).unwrap();
    let events = rig.journal.len();
    rig.run(&PauseSchedule { name: name("s") }).unwrap();
    assert_eq!(rig.journal.len(), events, "it is paused already");
    rig.reopen();
    rig.pass(secs(100));
    assert!(due(&rig).is_empty());
    assert_eq!(rig.manager.next_deadline().schedule, None);
    assert!(fire_due(&mut rig, 110).is_err());
    assert_eq!(rig.run(&put_of("s", "every 20 s", 120)), Ok(Put::Changed));
    assert!(seen(&rig, "s").paused, "a put does not resume it");
    rig.check_recovery();
    let resume = ResumeSchedule {
        seen: seen(&rig, "s"),
        next: Some(at(110)),
    };
    rig.run(&resume).unwrap();
    assert_eq!(
        rig.run(&resume),
        Err(ScheduleRefused::Changed { name: name("s") })
    );
    assert!(due(&rig).is_empty(), "nothing is made up for");
    rig.pass(secs(10));
    assert_eq!(due(&rig), ["s"]);
    rig.check_recovery();
}

#[test]
fn a_schedule_that_is_not_paused_can_be_moved() {
    let mut rig = rig();
    let sooner = ResumeSchedule {
        seen: seen(&rig, "s"),
        next: Some(at(5)),
    };
    rig.run(&sooner).unwrap();
    assert_eq!(rig.manager.next_deadline().schedule, Some(at(5)));
    rig.check_recovery();
    let events = rig.journal.len();
    let same = ResumeSchedule {
        seen: seen(&rig, "s"),
        next: Some(at(5)),
    };
    rig.run(&same).unwrap();
    assert_eq!(rig.journal.len(), events);
}

#[test]
fn a_fire_by_hand_leaves_the_due_time_alone_and_works_while_paused() {
    let mut rig = rig();
    rig.run(&PauseSchedule { name: name("s") }).unwrap();
    let by_hand = FireSchedule {
        due: rig.now.wall,
        seen: seen(&rig, "s"),
        drafts: vec![draft()].into(),
        firing: Firing::ByHand,
    };
    rig.run(&by_hand).unwrap();
    let schedule = seen(&rig, "s");
    assert_eq!((schedule.next, schedule.paused), (Some(at(10)), true));
    assert_eq!((schedule.runs, schedule.last.unwrap().due), (1, at(0)));
    rig.check_recovery();
}

#[test]
fn skipped_times_are_counted_and_are_no_fire() {
    let mut rig = rig();
    rig.pass(secs(100));
    let skip = FireSchedule {
        firing: Firing::Due {
            skipped: 10,
            next: Some(at(110)),
        },
        ..fire(seen(&rig, "s"), Vec::new(), 0)
    };
    rig.run(&skip).unwrap();
    let schedule = seen(&rig, "s");
    assert_eq!((schedule.last, schedule.skipped), (None, 10));
    assert_eq!((schedule.next, live(&rig)), (Some(at(110)), 0));
    rig.check_recovery();
}

#[test]
fn a_fire_that_would_not_move_on_is_refused() {
    let mut rig = rig();
    rig.pass(secs(10));
    let refused = fire_due(&mut rig, 10).unwrap_err();
    assert!(
        matches!(refused, ScheduleRefused::NotLater { .. }),
        "{refused:?}"
    );
    assert_eq!(due(&rig), ["s"]);
}

#[test]
fn a_refused_message_refuses_the_fire() {
    let mut rig = rig();
    rig.enqueue(deduped(1, DedupPolicy::Reject, 1));
    rig.pass(secs(10));
    let drafts = vec![draft(), deduped(1, DedupPolicy::Reject, 2)];
    let refused = rig.run(&fire(seen(&rig, "s"), drafts, 20)).unwrap_err();
    assert!(
        matches!(
            refused,
            ScheduleRefused::Enqueue(EnqueueRefused::KeyHeld { .. })
        ),
        "{refused:?}"
    );
    assert_eq!((live(&rig), due(&rig)), (1, vec!["s".to_owned()]));
}

#[test]
fn a_removed_schedule_is_gone_and_its_messages_stay() {
    let mut rig = rig();
    rig.pass(secs(10));
    let fire = fire(seen(&rig, "s"), vec![draft()], 20);
    rig.run(&fire).unwrap();
    rig.run(&RemoveSchedule { name: name("s") }).unwrap();
    let unknown = ScheduleRefused::Unknown { name: name("s") };
    assert_eq!(rig.run(&fire), Err(unknown.clone()));
    assert_eq!(
        rig.run(&RemoveSchedule { name: name("s") }),
        Err(unknown.clone())
    );
    assert_eq!(rig.run(&PauseSchedule { name: name("s") }), Err(unknown));
    assert_eq!(live(&rig), 1);
    rig.check_recovery();
    rig.run(&put_of("s", "every 10 s", 30)).unwrap();
    assert_eq!(seen(&rig, "s").runs, 0, "a new one");
}

#[test]
fn the_longest_waiting_is_the_first_of_those_due() {
    let mut rig = Rig::new();
    for (name, next) in [("late", 9), ("early", 3), ("middle", 5), ("not yet", 50)] {
        let name = name.replace(' ', "-");
        rig.run(&put_of(&name, "t", next)).unwrap();
    }
    rig.pass(secs(10));
    assert_eq!(due(&rig), ["early", "middle", "late"]);
    assert_eq!(rig.manager.due_schedules(&rig.now, 2).len(), 2);
}

#[test]
fn schedules_are_bounded_in_number_and_size() {
    let mut rig = Rig::new();
    let long = PutSchedule {
        timing: Bytes::from(vec![b'*'; SCHEDULE_TIMING_SIZE_MAX + 1]),
        ..put_of("s", "", 1)
    };
    let large = PutSchedule {
        template: Bytes::from(vec![b' '; SCHEDULE_TEMPLATE_SIZE_MAX + 1]),
        ..put_of("s", "", 1)
    };
    for (put, expected) in [(long, "a timing"), (large, "a message")] {
        let refused = rig.run(&put).unwrap_err();
        assert!(
            matches!(refused, ScheduleRefused::TooLarge { what, .. } if what == expected),
            "{refused:?}"
        );
    }
    let most = |number: usize| PutSchedule {
        template: Bytes::from(vec![b' '; SCHEDULE_TEMPLATE_SIZE_MAX]),
        ..put_of(&format!("big-{number}"), "t", 1)
    };
    let fit = usize::try_from(SCHEDULES_SIZE_MAX).unwrap() / (SCHEDULE_TEMPLATE_SIZE_MAX + 10);
    for number in 0..fit {
        rig.run(&most(number)).unwrap();
    }
    let refused = rig.run(&most(fit)).unwrap_err();
    assert!(
        matches!(refused, ScheduleRefused::TooLargeTogether { .. }),
        "{refused:?}"
    );
    rig.run(&RemoveSchedule {
        name: name("big-0"),
    })
    .unwrap();
    rig.run(&most(fit)).unwrap();
}

#[test]
fn the_number_of_schedules_is_bounded() {
    let mut rig = Rig::new();
    for number in 0..SCHEDULES_LEN_MAX {
        rig.run(&put_of(&number.to_string(), "t", 1)).unwrap();
    }
    assert_eq!(
        rig.run(&put_of("more", "t", 1)),
        Err(ScheduleRefused::TooMany)
    );
    assert_eq!(rig.run(&put_of("0", "other", 1)), Ok(Put::Changed));
}

#[test]
fn an_event_about_an_unknown_schedule_changes_nothing() {
    let mut rig = Rig::new();
    let fired = Event::Schedule(ScheduleEvent::Removed { name: name("s") });
    assert_eq!(
        rig.manager.apply(&fired, 1),
        Err(ApplyError::UnknownSchedule)
    );
    rig.run(&put_of("s", "t", 1)).unwrap();
    let twice = ImageRecord::Schedule(seen(&rig, "s"));
    assert_eq!(rig.manager.restore(twice), Err(RestoreError::ScheduleTwice));
}
