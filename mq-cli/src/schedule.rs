//! `mq schedule`: put schedules, list them, see when they fire, pause, resume, run and remove them.

use std::time::Duration;

use mq::Schedule;
use mq::control::{
    Answer, Call, EnqueueCall, JsonText, NextFires, NextFiresCall, OperateScheduleCall,
    PutScheduleCall, ScheduleJson, ScheduleOperation, SchedulesCall, Sent, moment,
};
use mq_core::name::{KindName, QueueName, ScheduleName};

use crate::args::Data;
use crate::clock;
use crate::escape::Escaped;
use crate::exit::{Failure, Result};
use crate::output::Output;
use crate::target::Target;
use crate::values;

/// Schedules of one page.
const PAGE_LEN: u32 = 200;

const PUT_EXAMPLES: &str = "\
Examples:
  Nine o'clock on working days, as Berlin knows it:
    mq schedule put report --data ./data --cron '0 9 * * MON-FRI' --zone Europe/Berlin --queue mail --payload '{\"to\":7}'
  Every five minutes, never two at once, nothing made up for:
    mq schedule put poll --data ./data --every 5m --missed skip --dedup-key poll --queue sync
  By hand only, with mq schedule run:
    mq schedule put backup --data ./data --by-hand --queue ops

Putting the same schedule again changes nothing; a new message leaves the next time alone.";

const PREVIEW_EXAMPLES: &str = "\
Examples:
  mq schedule preview '30 2 * * *' --zone Europe/Berlin
  mq schedule preview '*/10 * * * * *' --count 3";

/// Verbs of `mq schedule`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List schedules
    #[command(after_help = "Examples:\n  mq schedule ls --data ./data")]
    Ls(List),
    /// Store a schedule, or change the one of that name
    Put(Box<PutArguments>),
    /// Show when a schedule fires
    #[command(after_help = "Examples:\n  mq schedule next --data ./data daily-report")]
    Next(Next),
    /// Show when an expression would fire; needs no store
    Preview(Preview),
    /// Send a schedule's message now; its next time stays
    #[command(after_help = "Examples:\n  mq schedule run --data ./data daily-report")]
    Run(One),
    /// Let a schedule fire no more until it is resumed
    #[command(after_help = "Examples:\n  mq schedule pause --data ./data daily-report")]
    Pause(One),
    /// Let a paused schedule fire again; nothing is made up for
    #[command(after_help = "Examples:\n  mq schedule resume --data ./data daily-report")]
    Resume(One),
    /// Remove a schedule; messages that it has sent stay
    #[command(after_help = "Examples:\n  mq schedule rm --data ./data daily-report")]
    Rm(One),
}

/// Arguments of `mq schedule ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    data: Data,
    /// Print a JSON object per schedule
    #[arg(long)]
    json: bool,
}

/// One schedule.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    #[command(flatten)]
    data: Data,
    /// The schedule
    #[arg(value_name = "NAME")]
    name: ScheduleName,
}

/// Arguments of `mq schedule next`.
#[derive(Debug, clap::Args)]
pub(crate) struct Next {
    #[command(flatten)]
    one: One,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    count: u32,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq schedule preview`.
#[derive(Debug, clap::Args)]
#[command(after_help = PREVIEW_EXAMPLES)]
pub(crate) struct Preview {
    /// The cron expression: five fields, or six with seconds first
    #[arg(value_name = "EXPRESSION")]
    expression: String,
    /// Its time zone
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// How many times
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    count: u32,
}

/// Arguments of `mq schedule put`.
#[derive(Debug, clap::Args)]
#[command(after_help = PUT_EXAMPLES)]
#[group(id = "when", required = true, multiple = false, args = ["cron", "every", "by_hand"])]
pub(crate) struct PutArguments {
    #[command(flatten)]
    one: One,
    /// At the times of this expression: five fields, or six with seconds first
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
    /// The expression's time zone; UTC without it
    #[arg(long, value_name = "ZONE", requires = "cron")]
    zone: Option<String>,
    /// Each so long after the one before
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    every: Option<Duration>,
    /// Never by itself
    #[arg(long)]
    by_hand: bool,
    /// What becomes of runs that were missed
    #[arg(long, value_name = "POLICY", default_value = "once")]
    missed: MissedPolicy,
    /// Leave a schedule of that name as it is, if there is one
    #[arg(long)]
    keep: bool,
    /// The message's queue
    #[arg(long, value_name = "Q")]
    queue: QueueName,
    /// The message's kind
    #[arg(long, value_name = "K", default_value = "message")]
    kind: KindName,
    /// The message's payload: JSON, or with --raw any text
    #[arg(long, value_name = "PAYLOAD", default_value = "{}")]
    payload: String,
    /// The payload is any text
    #[arg(long)]
    raw: bool,
    /// While a message with this key is unfinished, runs send no other
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,
    /// 0 to 9; 9 is most urgent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: Option<u8>,
    /// A header; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = values::header)]
    headers: Vec<(String, String)>,
}

/// See [`mq::Missed`].
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum MissedPolicy {
    /// Nothing is made up for
    Skip,
    /// One message for all that were missed
    Once,
    /// A message for each, the newest 1,000 at most
    All,
}

impl MissedPolicy {
    const fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// Runs a verb of `mq schedule`.
///
/// # Errors
/// When the store cannot be reached, the schedule is not there or cannot be, or the output fails.
pub(crate) fn run(verb: &Verb) -> Result {
    match verb {
        Verb::Ls(arguments) => list(arguments),
        Verb::Put(arguments) => put(arguments),
        Verb::Next(arguments) => next(arguments),
        Verb::Preview(arguments) => preview(arguments),
        Verb::Run(one) => run_now(one),
        Verb::Pause(one) => operate(one, ScheduleOperation::Pause),
        Verb::Resume(one) => operate(one, ScheduleOperation::Resume),
        Verb::Rm(one) => operate(one, ScheduleOperation::Remove),
    }
}

fn operate(one: &One, operation: ScheduleOperation) -> Result {
    let name = one.name.to_string();
    let call = Call::OperateSchedule(OperateScheduleCall { name, operation });
    Target::visit(&one.data, |target, _| target.call(call).map(drop))
}

fn run_now(one: &One) -> Result {
    let name = one.name.to_string();
    Target::visit(&one.data, |target, output| {
        let sent: Sent = target.ask(Call::RunSchedule { name }, |answer| match answer {
            Answer::Sent(sent) => Some(sent),
            _ => None,
        })?;
        Ok(output.line(sent.id)?)
    })
}

fn put(arguments: &PutArguments) -> Result {
    let call = Call::PutSchedule(Box::new(put_call(arguments)?));
    Target::visit(&arguments.one.data, |target, output| {
        let word = target.ask(call, |answer| match answer {
            Answer::Operated(word) => Some(word),
            _ => None,
        })?;
        Ok(output.line(word)?)
    })
}

fn put_call(arguments: &PutArguments) -> Result<PutScheduleCall> {
    let mut message = EnqueueCall {
        queue: arguments.queue.to_string(),
        kind: arguments.kind.to_string(),
        headers: arguments.headers.clone(),
        dedup_key: arguments.dedup_key.clone(),
        on_duplicate: arguments.dedup_key.as_ref().map(|_| "keep".to_owned()),
        priority: arguments.priority,
        ..EnqueueCall::default()
    };
    if arguments.raw {
        message.payload_text = Some(arguments.payload.clone());
    } else {
        let json = JsonText::new(arguments.payload.as_bytes());
        let json = json.ok_or_else(|| {
            Failure::usage("--payload is not JSON; with --raw it can be any text.")
        })?;
        message.payload = Some(json);
    }
    let every_ms = arguments
        .every
        .map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
    Ok(PutScheduleCall {
        name: arguments.one.name.to_string(),
        cron: arguments.cron.clone(),
        zone: arguments.zone.clone(),
        every_ms,
        missed: Some(arguments.missed.word().to_owned()),
        keep: arguments.keep,
        message,
    })
}

fn next(arguments: &Next) -> Result {
    let call = Call::NextFires(NextFiresCall {
        name: arguments.one.name.to_string(),
        count: arguments.count,
    });
    Target::visit(&arguments.one.data, |target, output| {
        let next: NextFires = target.ask(call, |answer| match answer {
            Answer::NextFires(next) => Some(next),
            _ => None,
        })?;
        if arguments.json {
            return output.json(&next);
        }
        print_fires(output, &next)
    })
}

fn preview(arguments: &Preview) -> Result {
    let schedule = Schedule::cron(arguments.expression.as_str()).zone(arguments.zone.as_str());
    let count = usize::try_from(arguments.count).unwrap_or(usize::MAX);
    let fires = schedule
        .next_fires(count, clock::now())
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut output = Output::stdout();
    let next = NextFires {
        name: String::new(),
        zone: Some(arguments.zone.clone()),
        fires: fires.into_iter().map(moment).collect(),
    };
    print_fires(&mut output, &next)?;
    Ok(output.flush()?)
}

/// A line for each time: as the schedule's own clock shows it, and in UTC.
fn print_fires(output: &mut Output, next: &NextFires) -> Result {
    for fire in &next.fires {
        let local = next.zone.as_deref().and_then(|zone| local(fire, zone));
        match local {
            Some(local) => output.line(format_args!("{fire}  {}", Escaped(&local)))?,
            None => output.line(Escaped(fire))?,
        }
    }
    Ok(())
}

/// `Sun 2026-03-29 03:00:00 +02:00`; `None` if this machine does not know the zone, or it is UTC anyhow.
fn local(fire: &str, zone: &str) -> Option<String> {
    let fire: jiff::Timestamp = fire.parse().ok()?;
    let local = fire.in_tz(zone).ok().filter(|_| zone != "UTC")?;
    Some(local.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string())
}

fn list(arguments: &List) -> Result {
    Target::visit(&arguments.data, |target, output| {
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let call = Call::Schedules(SchedulesCall {
                after: after.take(),
                limit: Some(PAGE_LEN),
            });
            let page = target.ask(call, |answer| match answer {
                Answer::Schedules(page) => Some(page),
                _ => None,
            })?;
            for schedule in &page.schedules {
                if arguments.json {
                    output.json(schedule)?;
                } else {
                    rows.push(row(schedule));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if arguments.json {
            return Ok(());
        }
        Ok(output.table(&HEADINGS, rows)?)
    })
}

const HEADINGS: [&str; 9] = [
    "NAME", "WHEN", "ZONE", "MISSED", "KIND", "NEXT", "LAST", "SENT", "STATE",
];

fn row(schedule: &ScheduleJson) -> Vec<String> {
    let or_dash = |text: &Option<String>| {
        text.as_ref()
            .map_or_else(|| "-".to_owned(), |text| Escaped(text).to_string())
    };
    let when = match (&schedule.cron, schedule.every_ms) {
        (Some(cron), _) => Escaped(cron).to_string(),
        (None, Some(ms)) => format!("every {}", clock::duration(Duration::from_millis(ms))),
        (None, None) => "by hand".to_owned(),
    };
    let state = match &schedule.trouble {
        Some(trouble) => Escaped(trouble).to_string(),
        None if schedule.paused => "paused".to_owned(),
        None => "-".to_owned(),
    };
    vec![
        Escaped(&schedule.name).to_string(),
        when,
        or_dash(&schedule.zone),
        or_dash(&schedule.missed),
        or_dash(&schedule.kind),
        or_dash(&schedule.next),
        or_dash(&schedule.last_due),
        schedule.runs.to_string(),
        state,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_of_a_schedule_is_a_contract() {
        let json = serde_json::json!({
            "name": "report", "cron": "0 9 * * *", "zone": "Europe/Berlin", "every_ms": 1, "missed": "once",
            "queue": "mail", "kind": "report", "paused": true, "next": "2026-01-01T08:00:00.000Z",
            "last_due": "2025-12-31T08:00:00.000Z", "last_fired": "2025-12-31T08:00:00.004Z", "runs": 7,
            "skipped": 1, "trouble": "the store is full", "refusals": 2,
        });
        let schedule: ScheduleJson = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&schedule).unwrap(), json);
        assert_eq!(row(&schedule).len(), HEADINGS.len());
    }

    #[test]
    fn what_is_hostile_in_a_schedule_cannot_drive_the_terminal() {
        let schedule = ScheduleJson {
            cron: Some("\u{1b}[2J".to_owned()),
            trouble: Some("\u{202e}".to_owned()),
            ..ScheduleJson::default()
        };
        let row = row(&schedule).concat();
        assert!(!row.contains(['\u{1b}', '\u{202e}']), "{row:?}");
    }

    #[test]
    fn a_time_is_shown_on_the_schedules_own_clock() {
        let fire = "2026-03-29T01:00:00.000Z";
        assert_eq!(
            local(fire, "Europe/Berlin").as_deref(),
            Some("Sun 2026-03-29 03:00:00 +02:00")
        );
        assert_eq!(local(fire, "UTC"), None);
        assert_eq!(local(fire, "Mars/Olympus"), None);
    }
}
