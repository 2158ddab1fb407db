//! Which kinds have indexed fields, for whoever prepares a message; and what a payload has in them.
//!
//! Invariants: it is read outside the tokens, by the caller's own thread, and a store without an index costs one look at a
//! flag. What a program's types declare is in force at once and stored at the side: terms say themselves what they are of, so
//! a message need not wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use mq_core::index::{Form, Index, IndexError, Scalar, SetKind, Term, Terms};
use mq_core::message::NewMessage;
use mq_core::name::KindName;
use mq_core::time::Now;
use mq_core::view::IndexView;
use parking_lot::RwLock;
use serde_json::Value;

use super::desk::Desk;
use super::effects::Needs;
use super::shell::Shell;
use crate::filter::scalar;

/// The fields that a type declares.
type Declared = &'static [&'static str];

/// The indexes in force, by kind.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    /// Whether there is any.
    any: AtomicBool,
    kinds: RwLock<HashMap<KindName, OfKind>>,
}

#[derive(Debug, Default)]
struct OfKind {
    index: Index,
    /// What types of this program have declared: each is taken up once.
    declared: Vec<Declared>,
}

impl Indexes {
    pub(super) fn new(stored: Vec<IndexView>) -> Self {
        let indexes = Self::default();
        for IndexView { kind, index, .. } in stored {
            indexes.set(kind, index);
        }
        indexes
    }

    /// The index of a kind.
    pub(super) fn of(&self, kind: &KindName) -> Index {
        if !self.any.load(Relaxed) {
            return Index::NONE;
        }
        let kinds = self.kinds.read();
        kinds.get(kind).map_or(Index::NONE, |of| of.index.clone())
    }

    /// From now on.
    pub(crate) fn set(&self, kind: KindName, index: Index) {
        let mut kinds = self.kinds.write();
        kinds.entry(kind).or_default().index = index;
        self.any.store(true, Relaxed);
    }

    /// Takes up what a type declares; answers what is to be stored, if it is new.
    fn declare(&self, kind: &KindName, fields: Declared) -> Result<Option<Index>, IndexError> {
        let is_known = |of: &OfKind| of.declared.contains(&fields);
        if self.kinds.read().get(kind).is_some_and(is_known) {
            return Ok(None);
        }
        let mut kinds = self.kinds.write();
        let of = kinds.entry(kind.clone()).or_default();
        if is_known(of) {
            return Ok(None);
        }
        of.declared.push(fields);
        let index = Index::parse(fields)?;
        if of.index == index {
            return Ok(None);
        }
        of.index = index.clone();
        self.any.store(true, Relaxed);
        Ok(Some(index))
    }
}

impl Shell {
    /// What a payload of a kind has in its indexed fields.
    pub(super) fn terms_of(&self, kind: &KindName, payload: &[u8]) -> Terms {
        terms_of(&self.indexes.of(kind), payload)
    }

    /// Takes up what the types of messages declare.
    pub(super) fn declare_all(self: &Arc<Self>, messages: &[NewMessage]) {
        let declaring = messages.iter().filter(|message| !message.index.is_empty());
        for message in declaring {
            self.declare(&message.kind, message.index);
        }
    }

    /// Takes up what a type declares: from now on all messages of its kind are indexed by it.
    pub(crate) fn declare(self: &Arc<Self>, kind: &KindName, fields: Declared) {
        let index = match self.indexes.declare(kind, fields) {
            Ok(Some(index)) => index,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%kind, %error, "the index of a kind cannot be used; its messages are not indexed");
                return;
            }
        };
        let set = SetKind {
            kind: kind.clone(),
            index,
        };
        let act = move |desk: &mut Desk, now: &Now| {
            if let Err(error) = desk.change(now, &set) {
                let kind = &set.kind;
                tracing::warn!(%kind, %error, "the index of a kind is in force, but not stored for others; it is tried again at the next start");
            }
        };
        // Nobody waits for it: it is stored before the first message that has need of it.
        drop(self.at_desk(Needs::Write, act, |_| ()));
        self.call();
    }
}

/// What a payload has in the fields of an index.
fn terms_of(index: &Index, payload: &[u8]) -> Terms {
    if index.is_empty() {
        return Terms::NONE;
    }
    let document: Option<Value> = serde_json::from_slice(payload).ok();
    let fields = index.fields().iter();
    let terms = fields.map(|field| Term {
        pointer: field.hash(),
        form: Form::of(document.as_ref().map_or(Scalar::Other, |document| {
            document
                .pointer(field.as_str())
                .map_or(Scalar::Null, scalar)
        })),
    });
    Terms::new(terms.collect())
}
