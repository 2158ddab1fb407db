//! Calls about the indexed fields of kinds. They are stored: they survive restarts and deploys.

use mq_core::view::IndexView;
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::fault::CallError;
use crate::engine::Engine;

/// The index of a kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetIndexCall {
    /// The kind.
    pub kind: String,
    /// All its indexed fields from now on, JSON pointers; none takes the index away.
    pub fields: Vec<String>,
}

/// A kind with an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexJson {
    /// The kind.
    pub kind: String,
    /// Messages of the kind in the store, in whatever state.
    pub messages: u64,
    /// Its indexed fields.
    pub fields: Vec<IndexedFieldJson>,
}

/// An indexed field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IndexedFieldJson {
    /// A JSON pointer.
    pub field: String,
    /// Messages that are in the index: as many as the kind has, or its messages are looked at one by one.
    pub messages: u64,
}

impl From<IndexView> for IndexJson {
    fn from(view: IndexView) -> Self {
        let fields = view.index.fields().iter().zip(view.indexed);
        let field = |(field, messages): (&mq_core::index::Pointer, u64)| IndexedFieldJson {
            field: field.to_string(),
            messages,
        };
        Self {
            kind: view.kind.to_string(),
            messages: view.messages,
            fields: fields.map(field).collect(),
        }
    }
}

type Result = std::result::Result<Answer, CallError>;

pub(super) async fn list(engine: &Engine) -> Result {
    let indexes = engine.admin().indexes().await?;
    Ok(Answer::Indexes(
        indexes.into_iter().map(IndexJson::from).collect(),
    ))
}

pub(super) async fn set(engine: &Engine, call: SetIndexCall) -> Result {
    let set = engine.admin().set_index(&call.kind, call.fields);
    set.await?;
    Ok(Answer::Done {})
}
