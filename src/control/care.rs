//! Calls about a store as a whole: a snapshot, a copy.

use std::path::PathBuf;

use mq_persistence::backup::BackupReport;
use mq_persistence::snapshot::SnapshotFacts;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::fault::CallError;
use crate::backup::BackupError;
use crate::engine::Engine;

/// A copy to be made by the owner of the store, with its rights.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupCall {
    /// The copy's directory, from the root on: the owner may work in another one than the caller.
    pub to: String,
    /// Copy at most so many bytes in a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
}

/// A finished copy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupJson {
    /// Where it is.
    pub to: String,
    /// Messages in it, each read back.
    pub messages: u64,
    /// Segments copied.
    pub segments: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// The place in the journal up to which it holds the store.
    pub position: String,
}

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotJson {
    /// The how-manieth of its store.
    pub generation: u64,
    /// Messages in it.
    pub messages: u64,
    /// Its bytes.
    pub bytes: u64,
    /// The place in the journal up to which it covers the store.
    pub position: String,
}

impl From<SnapshotFacts> for SnapshotJson {
    fn from(facts: SnapshotFacts) -> Self {
        Self {
            generation: facts.generation,
            messages: facts.places,
            bytes: facts.size,
            position: facts.at.to_string(),
        }
    }
}

/// Takes a snapshot.
pub(super) async fn snapshot(engine: &Engine) -> Result<Answer, CallError> {
    let facts = engine.admin().snapshot().await?;
    Ok(Answer::Snapshot(facts.into()))
}

/// Makes a copy.
pub(super) async fn backup(engine: &Engine, call: BackupCall) -> Result<Answer, CallError> {
    let to = PathBuf::from(&call.to);
    if !to.is_absolute() {
        let allowed = "a path from the root on";
        return Err(CallError::bad_value("to", &call.to, allowed));
    }
    let mut backup = engine.admin().backup(to);
    if let Some(rate) = call.rate {
        backup = backup.rate(rate);
    }
    let report: BackupReport = backup.await?;
    Ok(Answer::Backup(BackupJson {
        to: call.to,
        messages: report.messages,
        segments: report.segments,
        bytes: report.bytes,
        position: report.at.to_string(),
    }))
}

impl From<BackupError> for CallError {
    fn from(error: BackupError) -> Self {
        Self::new(error.code(), with_causes(&error))
    }
}

/// What an error says, with its causes: the caller gets text only.
fn with_causes(error: &BackupError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
