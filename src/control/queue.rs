//! Calls about what an operator sets for a queue. It is stored: it survives restarts and deploys.

use std::time::Duration;

use mq_core::queue::{FOREVER, QueueSettings};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::call::OneQueue;
use super::fault::CallError;
use crate::engine::Engine;

/// A change of one setting of a queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetQueueCall {
    /// Its name.
    pub queue: String,
    /// What is set.
    pub change: QueueChangeJson,
}

/// One setting of a queue. It is about messages that are enqueued from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum QueueChangeJson {
    /// Hold new messages.
    HoldNew {
        /// Under this label; absent: no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Keep messages after their completion. Neither of the two: no more.
    RetainCompleted {
        /// So many milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
        /// For ever.
        #[serde(default)]
        forever: bool,
    },
    /// Refuse further messages of producers.
    LimitMessages {
        /// Beyond so many that are not over; absent: no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u64>,
    },
}

/// What is set for a queue. What is not set is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueSettingsJson {
    /// Its name.
    pub queue: String,
    /// Nothing of it is handed out.
    pub paused: bool,
    /// New messages are held under this label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_new: Option<String>,
    /// New messages are kept so many milliseconds after their completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_completed_ms: Option<u64>,
    /// New messages are kept for ever after their completion.
    pub retain_completed_forever: bool,
    /// Messages that are not over: so many it takes from producers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_max: Option<u64>,
}

impl QueueSettingsJson {
    fn new(queue: String, settings: QueueSettings) -> Self {
        let retain = settings.retain_completed;
        let finite = retain.filter(|span| *span != FOREVER);
        Self {
            queue,
            paused: settings.paused,
            hold_new: settings.hold_new.map(|label| label.to_string()),
            retain_completed_ms: finite.and_then(|span| u64::try_from(span.as_millis()).ok()),
            retain_completed_forever: retain == Some(FOREVER),
            messages_max: settings.messages_max,
        }
    }
}

type Result = std::result::Result<Answer, CallError>;

pub(super) async fn settings(engine: &Engine, call: &OneQueue) -> Result {
    let settings = engine.admin().queue(&call.queue).settings().await?;
    let json = QueueSettingsJson::new(call.queue.clone(), settings);
    Ok(Answer::QueueSettings(json))
}

pub(super) async fn set(engine: &Engine, call: SetQueueCall) -> Result {
    let queue = engine.admin().queue(&call.queue);
    match call.change {
        QueueChangeJson::HoldNew { label } => queue.hold_new(label.as_deref()).await?,
        QueueChangeJson::RetainCompleted {
            for_ms: Some(_),
            forever: true,
        } => {
            let both = "give one of for_ms and forever, not both";
            return Err(CallError::new("bad_value", both));
        }
        QueueChangeJson::RetainCompleted { for_ms, forever } => {
            let span = forever.then_some(FOREVER);
            let span = span.or(for_ms.map(Duration::from_millis));
            queue.retain_completed(span).await?;
        }
        QueueChangeJson::LimitMessages { max } => queue.limit_messages(max).await?,
    }
    Ok(Answer::Done {})
}
