//! Messages that a newer program wrote: set aside under a label that names their version, and let go by the first
//! workers that can read it.
//!
//! Invariant: nothing is scanned under the store's token: pages of a bounded size, and only while something is held.

use std::sync::Arc;

use mq_core::backend::{Backend, OperateRequest};
use mq_core::id::Seq;
use mq_core::message::Envelope;
use mq_core::name::{KindName, Label};
use mq_core::state::State;
use mq_core::view::{Filter, StateKind};

use crate::message::DecodeError;

/// Labels that begin like this are the engine's own; the payload's version follows.
const LABEL_START: &str = "mq:version:";
/// Messages of one page.
const PAGE_LEN: usize = 256;

/// Why a stored message could not be handed to a handler, if so.
pub(crate) type Probe = fn(&Envelope) -> Option<DecodeError>;

/// A kind, or an alias of one, that running workers decode: what they can read of what is stored.
#[derive(Clone, Debug)]
pub struct Readable {
    pub(crate) kind: KindName,
    /// The latest version of the payload.
    pub(crate) version: u16,
    pub(crate) probe: Probe,
}

impl Readable {
    /// Its name.
    #[must_use]
    pub const fn kind(&self) -> &KindName {
        &self.kind
    }

    /// Why the handler could not be given what is in this envelope; `None` if it could.
    #[must_use]
    pub fn problem(&self, envelope: &Envelope) -> Option<DecodeError> {
        (self.probe)(envelope)
    }
}

/// The label under which a payload of this version waits; `None` cannot happen: it is a valid name.
pub(crate) fn label(version: u16) -> Option<Label> {
    Label::new(&format!("{LABEL_START}{version}")).ok()
}

fn version_of(label: &Label) -> Option<u16> {
    label.as_str().strip_prefix(LABEL_START)?.parse().ok()
}

/// Lets go what older workers set aside and these can read.
pub(crate) async fn release(backend: Arc<dyn Backend>, readable: Vec<Readable>) {
    let held = StateKind::Held as usize;
    let is_held = |(_, queue): &(_, mq_core::view::QueueStats)| {
        queue.by_state.get(held).is_some_and(|held| *held > 0)
    };
    if !backend.stats().queues.iter().any(is_held) {
        return;
    }
    for Readable { kind, version, .. } in readable {
        let mut after = Seq::NONE;
        let mut released = 0_u64;
        while let Some(next) = release_page(&*backend, &kind, version, after, &mut released).await {
            after = next;
        }
        if released > 0 {
            tracing::info!(%kind, version, released, "messages of newer versions can be read now; they go on");
        }
    }
}

/// Lets go what is held on one page; answers where the next one begins.
async fn release_page(
    backend: &dyn Backend,
    kind: &KindName,
    version: u16,
    after: Seq,
    released: &mut u64,
) -> Option<Seq> {
    let filter = Filter {
        kind: Some(kind.clone()),
        state: Some(StateKind::Held),
        ..Filter::default()
    };
    let page = backend.list(filter, after, PAGE_LEN).await.ok()?.ok()?;
    let readable = page.messages.iter().filter(|view| {
        matches!(&view.state, State::Held { label } if version_of(label).is_some_and(|stored| stored <= version))
    });
    let asked: Vec<_> = readable
        .map(|view| backend.operate(view.id, OperateRequest::Release))
        .collect();
    for answer in asked {
        *released += u64::from(matches!(answer.await, Ok(Ok(_))));
    }
    page.next
}
