//! Carries calls out: the one place where a call becomes what the engine does.
//!
//! Everything here is bounded: a page has a most, a chain of waiting messages is followed so far and no further.

use mq_core::backend::OperateRequest;
use mq_core::command::Operated;
use mq_core::id::MessageId;
use mq_core::view::{Lookup, MessageView};

use super::answer::{Answer, Enqueued, Explained, MessageJson, MessagesPage, QueueJson, StatsJson};
use super::bulk;
use super::call::{Call, EnqueueCall, ListCall, OneQueue, OperateCall, OperationJson, ShowCall};
use super::care;
use super::check;
use super::convert::{self, after, bytes_of, id, priority};
use super::fault::CallError;
use super::index;
use super::queue;
use super::schedule;
use super::top;
use super::workers;
use crate::engine::{Engine, block_on};
use crate::request::Pending;

/// Messages of a page without a limit of its own, and the most of any page: its attempts and errors stand in one line.
const PAGE_LEN_DEFAULT: u32 = 100;
const PAGE_LEN_MAX: u32 = 200;

/// How far a chain of messages that wait for one another is followed.
const EXPLAINED_MAX: usize = 100;

type Result<T = Answer> = std::result::Result<T, CallError>;

/// Carries out a call on an open engine and answers when what the answer says is as durable as the engine promises.
///
/// # Errors
/// [`CallError`]; unless its sentence says otherwise nothing was changed.
pub async fn execute(engine: &Engine, call: Call) -> Result {
    match call {
        Call::Enqueue(call) => {
            let receipt = submit(engine, *call).await?.await?;
            Ok(Answer::Enqueued(Enqueued::from(receipt)))
        }
        Call::Stats {} => Ok(Answer::Stats(StatsJson::from(&engine.stats()))),
        Call::Metrics {} => Ok(Answer::Metrics(engine.stats().to_prometheus())),
        Call::Queues {} => {
            let queues = engine.stats().store.queues;
            Ok(Answer::Queues(queues.iter().map(QueueJson::from).collect()))
        }
        Call::PauseQueue(call) => pause(engine, &call, true).await,
        Call::ResumeQueue(call) => pause(engine, &call, false).await,
        Call::QueueSettings(call) => queue::settings(engine, &call).await,
        Call::SetQueue(call) => queue::set(engine, call).await,
        Call::Indexes {} => index::list(engine).await,
        Call::SetIndex(call) => index::set(engine, call).await,
        Call::Messages(call) => list(engine, call).await,
        Call::Message(call) => show(engine, &call).await,
        Call::Explain { id } => explain(engine, &id).await,
        Call::Operate(call) => operate(engine, call).await,
        Call::Bulk(call) => bulk::start(engine, call).await,
        Call::BulkJobs {} => bulk::list(engine).await,
        Call::BulkJob(call) => bulk::show(engine, &call).await,
        Call::CancelBulkJob(call) => bulk::cancel(engine, call).await,
        Call::DeadGroups { filter } => bulk::groups(engine, filter).await,
        Call::Pools {} => Ok(workers::pools(engine)),
        Call::Running {} => Ok(workers::running(engine)),
        Call::Scale(call) => workers::scale(engine, &call).await,
        Call::PauseKind(call) => workers::pause(engine, &call, true),
        Call::ResumeKind(call) => workers::pause(engine, &call, false),
        Call::Top {} => Ok(top::top(engine)),
        Call::Snapshot {} => care::snapshot(engine).await,
        Call::Check {} => check::check(engine).await,
        Call::Backup(call) => care::backup(engine, call).await,
        Call::Schedules(call) => schedule::list(engine, call).await,
        Call::PutSchedule(call) => schedule::put(engine, *call).await,
        Call::OperateSchedule(call) => schedule::operate(engine, call).await,
        Call::RunSchedule { name } => schedule::run(engine, &name).await,
        Call::NextFires(call) => schedule::next(engine, call).await,
    }
}

/// [`execute`] on this thread. Never call it on a thread of an async runtime.
///
/// # Errors
/// As [`execute`].
pub fn execute_wait(engine: &Engine, call: Call) -> Result {
    block_on(execute(engine, call))
}

/// Puts a message on its way; those that were put first are stored first.
pub(super) async fn submit(
    engine: &Engine,
    call: EnqueueCall,
) -> Result<Pending<mq_core::backend::Receipt>> {
    let message = call.message()?;
    Ok(engine.enqueue_raw(message).entered().await?)
}

async fn pause(engine: &Engine, call: &OneQueue, paused: bool) -> Result {
    let queue = engine.admin().queue(&call.queue);
    if paused {
        queue.pause().await?;
    } else {
        queue.resume().await?;
    }
    Ok(Answer::Done {})
}

async fn list(engine: &Engine, call: ListCall) -> Result {
    let limit = call.limit.unwrap_or(PAGE_LEN_DEFAULT).min(PAGE_LEN_MAX);
    let limit = usize::try_from(limit).unwrap_or_default();
    let from = after(call.after.as_deref(), engine.shell().identity.tag)?;
    let page = engine.messages(call.filter).page(from, limit).await?;
    Ok(Answer::Messages(MessagesPage {
        messages: page.messages.iter().map(MessageJson::from).collect(),
        next: page.next.map(|next| next.to_string()),
        unreadable: page.unreadable.iter().map(MessageId::to_string).collect(),
        by: page.by.as_str().to_owned(),
        read: page.read,
    }))
}

async fn find(engine: &Engine, id: MessageId) -> Result<MessageView> {
    match engine.message(id).await? {
        Lookup::Found(view) => Ok(*view),
        Lookup::SettledNotKept => Err(CallError::not_kept(id)),
        Lookup::NeverIssued => Err(CallError::never_issued(id)),
    }
}

async fn show(engine: &Engine, call: &ShowCall) -> Result {
    let id = id(&call.id)?;
    let view = find(engine, id).await?;
    let message = MessageJson::from(&view);
    if !call.payload && !call.exact {
        return Ok(Answer::Message(Box::new(message)));
    }
    let envelope = engine.envelope(id).await?;
    let envelope = envelope.ok_or_else(|| CallError::not_kept(id))?;
    let message = message.with_envelope(&envelope, call.exact);
    Ok(Answer::Message(Box::new(message)))
}

async fn explain(engine: &Engine, text: &str) -> Result {
    let mut next = Some(id(text)?);
    let mut chain = Vec::new();
    while let Some(id) = next.take().filter(|_| chain.len() < EXPLAINED_MAX) {
        let explained = engine.admin().explain(id).await?;
        let text = explained.to_string();
        let Some(view) = explained.message else {
            if chain.is_empty() {
                find(engine, id).await?; // says how it is not there
            }
            break; // it has gone meanwhile, so it does not block any more
        };
        chain.push(Explained {
            id: id.to_string(),
            state: view.state.kind().as_str().to_owned(),
            text,
        });
        next = explained.held_up_by.map(|view| view.id);
    }
    Ok(Answer::Explained(chain))
}

async fn operate(engine: &Engine, call: OperateCall) -> Result {
    let id = id(&call.id)?;
    let request = request(call.operation)?;
    let operated = engine.change(id, request).by(call.by).await?;
    let word = match operated {
        Operated::Done => "done",
        Operated::Requested => "requested",
    };
    Ok(Answer::Operated(word.to_owned()))
}

pub(super) fn request(operation: OperationJson) -> Result<OperateRequest> {
    Ok(match operation {
        OperationJson::Cancel {} => OperateRequest::Cancel,
        OperationJson::Hold { label } => OperateRequest::Hold(label.parse()?),
        OperationJson::Release {} => OperateRequest::Release,
        OperationJson::RunNow {} => OperateRequest::RunNow,
        OperationJson::Reschedule {
            delay_ms: None,
            due: None,
        } => {
            return Err(CallError::new("bad_value", "give one of delay_ms and due"));
        }
        OperationJson::Reschedule { delay_ms, due } => {
            OperateRequest::Reschedule(convert::due(delay_ms, due.as_deref())?)
        }
        OperationJson::SetPriority { priority: level } => {
            OperateRequest::SetPriority(priority(level)?)
        }
        OperationJson::Move { queue } => OperateRequest::MoveTo(queue.parse()?),
        OperationJson::Replay { payload_hex } => OperateRequest::Replay {
            edit: payload_hex
                .map(|digits| bytes_of("payload_hex", &digits))
                .transpose()?,
        },
        OperationJson::Purge {} => OperateRequest::Purge,
    })
}
