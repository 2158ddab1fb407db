//! Calls about schedules.

use std::time::Duration;

use mq_core::command::Accepted;
use mq_core::schedule::Put;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::EnqueueCall;
use super::convert::word_of_enqueue;
use super::fault::CallError;
use super::text::moment;
use crate::engine::Engine;
use crate::schedules::{Missed, Schedule, ScheduleView, When};

/// Schedules of a page without a limit of its own, and the most of any page.
const PAGE_LEN_DEFAULT: u32 = 100;
const PAGE_LEN_MAX: u32 = 1_000;

const POLICIES: [(&str, Missed); 3] = [
    ("skip", Missed::Skip),
    ("once", Missed::Once),
    ("all", Missed::All),
];

/// A page of schedules, by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SchedulesCall {
    /// Begin behind this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// At most so many, 1,000 at once; without it 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A schedule to be stored: `cron` and perhaps `zone`, or `every_ms`, or neither for one that fires by hand only.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutScheduleCall {
    /// Its name.
    pub name: String,
    /// A cron expression of five fields, or six with seconds first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The zone of the expression, such as `Europe/Berlin`; without it UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// An interval, 1,000 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// `skip`, `once` or `all`; without it `once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// Leave a schedule of that name as it is, if there is one.
    #[serde(default)]
    pub keep: bool,
    /// What it sends, without idempotency key and due time.
    pub message: EnqueueCall,
}

/// A change of one schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperateScheduleCall {
    /// Its name.
    pub name: String,
    /// What to do with it.
    pub operation: ScheduleOperation,
}

/// What can be done to a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ScheduleOperation {
    /// Let it fire no more until it is resumed; survives a restart.
    Pause,
    /// Let it fire again; what it was due for meanwhile is not made up for.
    Resume,
    /// Remove it; messages that it has sent stay.
    Remove,
}

/// The next times of a schedule.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextFiresCall {
    /// Its name.
    pub name: String,
    /// How many, 1,000 at most.
    pub count: u32,
}

/// Some schedules, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulesPage {
    /// The schedules.
    pub schedules: Vec<ScheduleJson>,
    /// The name behind which the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleJson {
    /// Its name.
    pub name: String,
    /// Its expression, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The expression's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its interval, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// `skip`, `once` or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// The queue of its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The kind of its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether it is paused.
    pub paused: bool,
    /// When it fires next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The time for which it fired last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_due: Option<String>,
    /// When it fired last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fired: Option<String>,
    /// Messages sent.
    pub runs: u64,
    /// Due times that got no message of their own.
    pub skipped: u64,
    /// Why it does not fire although it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Fires refused since the store was opened.
    pub refusals: u64,
}

/// When a schedule fires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NextFires {
    /// Its name.
    pub name: String,
    /// The zone of its expression, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The times, ascending.
    pub fires: Vec<String>,
}

/// The message that a schedule sent by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sent {
    /// The message that does the work.
    pub id: String,
    /// `new`, `existing`, `replaced` or `discarded`.
    pub enqueue: String,
}

pub(super) async fn list(engine: &Engine, call: SchedulesCall) -> Result<Answer, CallError> {
    let limit = call.limit.unwrap_or(PAGE_LEN_DEFAULT).min(PAGE_LEN_MAX);
    let limit = usize::try_from(limit).unwrap_or_default().max(1);
    let views = engine.schedules().list().await?;
    let after = call.after.unwrap_or_default();
    let mut rest = views
        .iter()
        .skip_while(|view| view.name.as_str() <= after.as_str());
    let schedules: Vec<_> = rest.by_ref().take(limit).map(ScheduleJson::from).collect();
    let last = schedules.last().map(|schedule| schedule.name.clone());
    Ok(Answer::Schedules(SchedulesPage {
        next: last.filter(|_| rest.next().is_some()),
        schedules,
    }))
}

pub(super) async fn put(engine: &Engine, call: PutScheduleCall) -> Result<Answer, CallError> {
    let PutScheduleCall {
        name,
        cron,
        zone,
        every_ms,
        missed,
        keep,
        message,
    } = call;
    let schedule = match (cron, every_ms) {
        (Some(_), Some(_)) => {
            let both = "give one of cron and every_ms, not both";
            return Err(CallError::new("bad_value", both));
        }
        (Some(cron), None) => Schedule::cron(cron),
        (None, Some(ms)) => Schedule::every(Duration::from_millis(ms)),
        (None, None) => Schedule::by_hand(),
    };
    let schedule = match zone {
        Some(zone) => schedule.zone(zone),
        None => schedule,
    };
    let missed = missed.as_deref().map(policy).transpose()?;
    let schedule = schedule
        .missed(missed.unwrap_or_default())
        .message(message.message()?);
    let schedules = engine.schedules();
    let put = if keep {
        schedules.put_default(&name, schedule).await?
    } else {
        schedules.put(&name, schedule).await?
    };
    let word = match put {
        Put::Created => "created",
        Put::Changed => "changed",
        Put::Unchanged => "unchanged",
    };
    Ok(Answer::Operated(word.to_owned()))
}

pub(super) async fn operate(
    engine: &Engine,
    call: OperateScheduleCall,
) -> Result<Answer, CallError> {
    let schedules = engine.schedules();
    match call.operation {
        ScheduleOperation::Pause => schedules.pause(&call.name).await?,
        ScheduleOperation::Resume => schedules.resume(&call.name).await?,
        ScheduleOperation::Remove => schedules.remove(&call.name).await?,
    }
    Ok(Answer::Done {})
}

pub(super) async fn run(engine: &Engine, name: &str) -> Result<Answer, CallError> {
    let Accepted { id, enqueue } = engine.schedules().run_now(name).await?;
    Ok(Answer::Sent(Sent {
        id: id.to_string(),
        enqueue: word_of_enqueue(enqueue).to_owned(),
    }))
}

pub(super) async fn next(engine: &Engine, call: NextFiresCall) -> Result<Answer, CallError> {
    let schedules = engine.schedules();
    let count = usize::try_from(call.count).unwrap_or(usize::MAX);
    let fires = schedules.next_fires(&call.name, count).await?;
    let view = schedules.get(&call.name).await?;
    let zone = view.and_then(|view| ScheduleJson::from(&view).zone);
    Ok(Answer::NextFires(NextFires {
        name: call.name,
        zone,
        fires: fires.into_iter().map(moment).collect(),
    }))
}

fn policy(word: &str) -> Result<Missed, CallError> {
    let found = POLICIES.iter().find(|(known, _)| *known == word);
    found
        .map(|(_, policy)| *policy)
        .ok_or_else(|| CallError::bad_value("missed", word, "one of skip, once, all"))
}

impl From<&ScheduleView> for ScheduleJson {
    fn from(view: &ScheduleView) -> Self {
        let mut json = Self {
            name: view.name.to_string(),
            paused: view.paused,
            next: view.next.map(moment),
            last_due: view.last.map(|last| moment(last.due)),
            last_fired: view.last.map(|last| moment(last.at)),
            runs: view.runs,
            skipped: view.skipped,
            trouble: view.trouble.clone(),
            refusals: view.refusals,
            ..Self::default()
        };
        let Some(schedule) = &view.schedule else {
            return json;
        };
        match schedule.when() {
            When::ByHand => {}
            When::Every(interval) => json.every_ms = u64::try_from(interval.as_millis()).ok(),
            When::Cron { expression, zone } => {
                json.cron = Some(expression.clone());
                json.zone = Some(zone.clone());
            }
        }
        let policy = schedule.missed_policy();
        let mut policies = POLICIES.iter();
        let word = policies.find(|(_, known)| *known == policy);
        json.missed = word.map(|(word, _)| (*word).to_owned());
        if let Some(message) = schedule.new_message() {
            json.queue = Some(message.queue.to_string());
            json.kind = Some(message.kind.to_string());
        }
        json
    }
}
