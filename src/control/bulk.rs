//! Calls about many messages at once: bulk jobs, and groups of dead letters.

use std::collections::BTreeMap;

use mq_core::bulk::{BulkEnd, BulkId};
use mq_core::state::{Edit, EditKind};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, JsonText, MessageJson};
use super::call::OperationJson;
use super::execute::request;
use super::fault::CallError;
use super::text::moment;
use crate::bulk::{BulkReport, DryRun};
use crate::dead::{DeadGroup, DeadGroups};
use crate::engine::Engine;
use crate::filter::Filter;

/// A change of every message that matches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkCall {
    /// Which; `{"all":true}` for every one.
    pub filter: Filter,
    /// What to do with them.
    pub operation: OperationJson,
    /// Messages changed per second at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Who asks, for the record.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Change nothing; say how many would be.
    #[serde(default)]
    pub dry_run: bool,
}

/// A bulk job of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneBulkJob {
    /// Its number.
    pub job: u64,
    /// Who asks, for the record of a cancel.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// A bulk job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BulkJobJson {
    /// Its number.
    pub job: u64,
    /// What it does to each message: `cancel`, `hold`, …
    pub what: String,
    /// `running`, `completed`, `cancelled` or `failed`.
    pub state: String,
    /// Who started it.
    pub by: String,
    /// When.
    pub started: String,
    /// When it ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Who cancelled it, if somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Messages changed per second at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Of the messages it has met: `matched`, `done`, `requested`, `passed`, `wrong_state`, `not_kept`, `key_held`, `full`,
    /// `unreadable`.
    pub counts: BTreeMap<String, u64>,
    /// All of what it looks for and does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<JsonText>,
}

impl BulkJobJson {
    /// One of its counts.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }
}

impl From<BulkReport> for BulkJobJson {
    fn from(report: BulkReport) -> Self {
        let counts = report.counts.each().into_iter();
        let mut json = Self {
            job: report.id.0,
            what: report.what.to_owned(),
            state: "running".to_owned(),
            by: report.by,
            started: moment(report.started),
            rate: report.rate,
            counts: counts
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            spec: JsonText::new(report.spec.as_bytes()),
            ..Self::default()
        };
        if let Some((how, at)) = report.ended {
            how.as_str().clone_into(&mut json.state);
            json.ended = Some(moment(at));
            match how {
                BulkEnd::Completed => {}
                BulkEnd::Cancelled { by } => json.cancelled_by = Some(by),
                BulkEnd::Failed { reason } => json.error = Some(reason),
            }
        }
        json
    }
}

/// What a bulk call would meet.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DryRunJson {
    /// Messages that match.
    pub matched: u64,
    /// Messages whose payloads could not be read.
    pub unreadable: u64,
    /// How they were found: `key`, `index` or `scan`.
    pub by: String,
    /// Payloads read for it.
    pub read: u64,
    /// How many of those that match are in which state.
    pub states: BTreeMap<String, u64>,
    /// The first few of them.
    pub sample: Vec<MessageJson>,
}

impl From<DryRun> for DryRunJson {
    fn from(dry: DryRun) -> Self {
        let states = dry.states.into_iter();
        Self {
            matched: dry.matched,
            unreadable: dry.unreadable,
            by: dry.by.as_str().to_owned(),
            read: dry.read,
            states: states
                .map(|(state, count)| (state.as_str().to_owned(), count))
                .collect(),
            sample: dry.sample.iter().map(MessageJson::from).collect(),
        }
    }
}

/// A change of a message by a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EditJson {
    /// When.
    pub at: String,
    /// Who, in their own words; empty if they did not say.
    pub by: String,
    /// `cancel`, `hold`, `release`, `run-now`, `reschedule`, `set-priority`, `move` or `replay`.
    pub what: String,
    /// The label of a hold or release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The new due time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The priority or queue before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The priority or queue from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The replay had another payload.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
}

impl From<&Edit> for EditJson {
    fn from(edit: &Edit) -> Self {
        let mut json = Self {
            at: moment(edit.at),
            by: edit.by.clone(),
            what: edit.what.as_str().to_owned(),
            ..Self::default()
        };
        match &edit.what {
            EditKind::Cancel | EditKind::RunNow => {}
            EditKind::Hold { label } | EditKind::Release { label } => {
                json.label = Some(label.to_string());
            }
            EditKind::Reschedule { due } => json.due = Some(moment(*due)),
            EditKind::SetPriority { from, to } => {
                json.from = Some(from.get().to_string());
                json.to = Some(to.get().to_string());
            }
            EditKind::Move { from, to } => {
                json.from = Some(from.to_string());
                json.to = Some(to.to_string());
            }
            EditKind::Replay { edited } => json.edited = *edited,
        }
        json
    }
}

/// Dead letters of one kind, dead for one reason, with one type of error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadGroupJson {
    /// Their kind; absent for what is beyond the first 1,000 groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Why they are dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The type of their last error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// How many there are.
    pub count: u64,
    /// When the first of them died.
    pub oldest: String,
    /// When the last of them died.
    pub newest: String,
    /// One of them.
    pub sample: String,
}

/// All dead letters that match, in groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeadGroupsJson {
    /// The largest first.
    pub groups: Vec<DeadGroupJson>,
    /// Dead letters that may match and are in no group: their payloads could not be read.
    pub unreadable: u64,
}

impl From<DeadGroups> for DeadGroupsJson {
    fn from(found: DeadGroups) -> Self {
        Self {
            groups: found.groups.into_iter().map(DeadGroupJson::from).collect(),
            unreadable: found.unreadable,
        }
    }
}

impl From<DeadGroup> for DeadGroupJson {
    fn from(group: DeadGroup) -> Self {
        Self {
            kind: group.kind.map(|kind| kind.to_string()),
            reason: group.reason.map(|reason| reason.as_str().to_owned()),
            error_type: group.error_type,
            count: group.count,
            oldest: moment(group.oldest),
            newest: moment(group.newest),
            sample: group.sample.to_string(),
        }
    }
}

type Result = std::result::Result<Answer, CallError>;

pub(super) async fn start(engine: &Engine, call: BulkCall) -> Result {
    let request = request(call.operation)?;
    if matches!(
        &request,
        mq_core::backend::OperateRequest::Replay { edit: Some(_) }
    ) {
        let message = "a new payload is for one message; give its id";
        return Err(CallError::new("bad_value", message));
    }
    let mut order = engine.change(call.filter, request).by(call.by);
    if let Some(rate) = call.rate {
        order = order.rate(rate);
    }
    if call.dry_run {
        return Ok(Answer::DryRun(Box::new(order.dry_run().await?.into())));
    }
    let job = order.await?;
    Ok(Answer::BulkJob(Box::new(job.report().await?.into())))
}

pub(super) async fn list(engine: &Engine) -> Result {
    let jobs = engine.admin().bulk_jobs().await?;
    Ok(Answer::BulkJobs(
        jobs.into_iter().map(BulkJobJson::from).collect(),
    ))
}

pub(super) async fn show(engine: &Engine, call: &OneBulkJob) -> Result {
    let report = engine.admin().bulk_job(BulkId(call.job)).report().await?;
    Ok(Answer::BulkJob(Box::new(report.into())))
}

pub(super) async fn cancel(engine: &Engine, call: OneBulkJob) -> Result {
    let id = BulkId(call.job);
    let report = engine.admin().bulk_job(id).cancel(call.by).await?;
    Ok(Answer::BulkJob(Box::new(report.into())))
}

pub(super) async fn groups(engine: &Engine, filter: Filter) -> Result {
    let groups = engine.admin().dead_letters().groups(filter).await?;
    Ok(Answer::DeadGroups(groups.into()))
}
