//! The call that asks whether the handlers of the owner can read what is stored.

use mq_core::name::KindName;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::fault::CallError;
use crate::check::{CheckFailure, CheckReport};
use crate::engine::Engine;

/// What a check found of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckJson {
    /// The kind, or an alias of one.
    pub kind: String,
    /// Messages that were looked at.
    pub checked: u64,
    /// Of them, those that cannot be decoded or read.
    pub failed: u64,
    /// Of them, those that a newer program wrote.
    pub newer: u64,
    /// The first hundred that cannot be handled.
    pub failures: Vec<CheckFailureJson>,
}

/// A stored message that the owner's handler cannot be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckFailureJson {
    /// The message.
    pub id: String,
    /// Its state.
    pub state: String,
    /// Version of its payload.
    pub version: u16,
    /// Why.
    pub text: String,
}

impl From<CheckFailure> for CheckFailureJson {
    fn from(failure: CheckFailure) -> Self {
        Self {
            id: failure.id.to_string(),
            state: failure.state.as_str().to_owned(),
            version: failure.version,
            text: failure.problem.to_string(),
        }
    }
}

impl From<(KindName, CheckReport)> for CheckJson {
    fn from((kind, report): (KindName, CheckReport)) -> Self {
        let failures = report.failures.into_iter();
        Self {
            kind: kind.to_string(),
            checked: report.checked,
            failed: report.failed,
            newer: report.newer,
            failures: failures.map(CheckFailureJson::from).collect(),
        }
    }
}

pub(super) async fn check(engine: &Engine) -> Result<Answer, CallError> {
    let reports = engine.admin().check_running().await?;
    if reports.is_empty() {
        let text = "no handler of the process that owns the store decodes payloads, so there is nothing to check";
        return Err(CallError::new("no_handlers", text));
    }
    Ok(Answer::Checked(
        reports.into_iter().map(CheckJson::from).collect(),
    ))
}
