//! Finding messages: facts are compared under the manager token, page by page; payloads are read and compared under none.
//!
//! Invariant: one step looks at a bounded number of messages and reads a bounded number of payloads, one at a time.

use std::sync::Arc;

use mq_core::backend::Stopped;
use mq_core::id::{MessageId, Seq};
use mq_core::time::Now;
use mq_core::view::{Filter as Facts, FoundBy, MessageView};

use super::backend::open_body;
use super::desk::Desk;
use super::effects::Needs;
use super::inbox::Body;
use super::shell::Shell;
use crate::filter::Predicate;

/// Payloads that one step reads.
pub(crate) const READS_LEN_MAX: usize = 256;
/// Steps of one page: it may come back short, with the place to go on from.
const STEPS_MAX: usize = 16;

/// What is looked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scan {
    pub(crate) facts: Facts,
    pub(crate) predicates: Vec<Predicate>,
}

/// Messages whose facts match, with where their payloads are.
#[derive(Debug)]
pub(crate) struct Sighted {
    messages: Vec<(MessageView, Option<Body>)>,
    next: Option<Seq>,
    by: FoundBy,
}

/// Messages that match.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Ascending.
    pub(crate) messages: Vec<MessageView>,
    /// Go on behind this one; `None` at the end.
    pub(crate) next: Option<Seq>,
    /// Their facts match, their payloads could not be read.
    pub(crate) unreadable: Vec<MessageId>,
    /// How: a scan, if any step was one.
    pub(crate) by: FoundBy,
    /// Payloads read for it.
    pub(crate) read: u64,
}

impl Scan {
    /// One step at the desk.
    pub(crate) fn sight(&self, desk: &Desk, now: &Now, after: Seq, limit: usize) -> Sighted {
        let page = desk.manager.list(now, &self.facts, after, limit);
        let reads = !self.predicates.is_empty();
        let body = |view: &MessageView| reads.then(|| desk.find_envelope(view.id.seq()));
        let messages = page.messages.into_iter();
        Sighted {
            messages: messages
                .map(|view| (body(&view), view))
                .map(|(body, view)| (view, body))
                .collect(),
            next: page.next,
            by: page.by,
        }
    }

    /// Keeps those whose payloads match, at most `limit`: no payload is read for more. Under no token.
    pub(crate) fn read(&self, sighted: Sighted, limit: usize) -> Found {
        let mut found = Found {
            next: sighted.next,
            by: sighted.by,
            ..Found::default()
        };
        for (view, body) in sighted.messages {
            if found.messages.len() >= limit {
                found.next = found.messages.last().map(|view| view.id.seq());
                break;
            }
            let Some(body) = body else {
                found.messages.push(view);
                continue;
            };
            found.read += 1;
            match open_body(body) {
                Ok(envelope) if self.matches(&envelope.payload) => found.messages.push(view),
                Ok(_) => {}
                Err(reason) => {
                    tracing::warn!(id = %view.id, %reason, "a payload could not be read and is left out");
                    found.unreadable.push(view.id);
                }
            }
        }
        found
    }

    fn matches(&self, payload: &[u8]) -> bool {
        serde_json::from_slice(payload)
            .is_ok_and(|document| self.predicates.iter().all(|one| one.holds(&document)))
    }

    /// A page of at most `limit` messages behind `after`. Blocks; what it shows is durable.
    pub(crate) fn page(
        &self,
        shell: &Arc<Shell>,
        mut after: Seq,
        limit: usize,
    ) -> Result<Found, Stopped> {
        let mut page = Found::default();
        for step in 0..STEPS_MAX {
            let left = limit - page.messages.len();
            let candidates = if self.predicates.is_empty() {
                left
            } else {
                READS_LEN_MAX
            };
            let mut found = self.step(shell, after, candidates, left)?;
            if step == 0 || found.by == FoundBy::Scan {
                page.by = found.by;
            }
            page.read += found.read;
            page.messages.append(&mut found.messages);
            page.unreadable.append(&mut found.unreadable);
            page.next = found.next;
            match page.next {
                Some(next) if page.messages.len() < limit => after = next,
                Some(_) | None => break,
            }
        }
        Ok(page)
    }

    fn step(
        &self,
        shell: &Arc<Shell>,
        after: Seq,
        candidates: usize,
        limit: usize,
    ) -> Result<Found, Stopped> {
        let scan = self.clone();
        let sight = move |desk: &mut Desk, now: &Now| Ok(scan.sight(desk, now, after, candidates));
        let sighted = shell.at_desk(Needs::Sync, sight, Err).wait();
        let stopped = || shell.stopped().cloned().unwrap_or(Stopped::Closed);
        let sighted = sighted.unwrap_or_else(|_| Err(stopped()))?;
        Ok(self.read(sighted, limit))
    }
}
