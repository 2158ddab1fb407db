//! Records about schedules as names and values.

use mq_core::event::ScheduleEvent;
use mq_core::schedule::Schedule;
use mq_core::time::Timestamp;

use super::{Fields, Value, flag, number, text};

pub(super) fn of_event(event: &ScheduleEvent) -> (&'static str, Fields) {
    match event {
        ScheduleEvent::Set {
            name,
            timing,
            template,
            next,
        } => {
            let mut fields = vec![
                text("name", name),
                ("timing", Value::Bytes(timing.clone())),
                ("template", Value::Bytes(template.clone())),
            ];
            fields.extend(of_next(*next));
            ("schedule_set", fields)
        }
        ScheduleEvent::Paused { name, paused, next } => {
            let mut fields = vec![text("name", name), flag("paused", *paused)];
            fields.extend(of_next(*next));
            ("schedule_paused", fields)
        }
        ScheduleEvent::Removed { name } => ("schedule_removed", vec![text("name", name)]),
        ScheduleEvent::Fired {
            name,
            due,
            at,
            runs,
            skipped,
            next,
        } => {
            let mut fields = vec![
                text("name", name),
                number("due", due.as_ms()),
                number("at", at.as_ms()),
                number("runs", (*runs).into()),
                number("skipped", *skipped),
            ];
            fields.extend(of_next(*next));
            ("schedule_fired", fields)
        }
    }
}

pub(super) fn of_schedule(schedule: &Schedule) -> Fields {
    let mut fields = vec![
        text("name", &schedule.name),
        ("timing", Value::Bytes(schedule.timing.clone())),
        ("template", Value::Bytes(schedule.template.clone())),
        flag("paused", schedule.paused),
        number("runs", schedule.runs),
        number("skipped", schedule.skipped),
    ];
    fields.extend(of_next(schedule.next));
    if let Some(last) = schedule.last {
        fields.push(number("last_due", last.due.as_ms()));
        fields.push(number("last_at", last.at.as_ms()));
    }
    fields
}

fn of_next(next: Option<Timestamp>) -> Option<(&'static str, Value)> {
    next.map(|at| number("next", at.as_ms()))
}
