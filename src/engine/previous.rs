//! Reading the previous version of a dedup key: its last message that succeeded, if that is retained.

use std::sync::Arc;

use mq_core::backend::{Previous, PreviousOf, ReadError};
use mq_core::key::KeyHasher;
use mq_core::pending::Pending;
use mq_core::time::Now;
use mq_core::view::Lookup;

use super::backend::{EngineBackend, open_body};
use super::desk::Desk;
use super::effects::Needs;

impl EngineBackend {
    /// Finds it at the desk, and reads what its producer gave under no token.
    pub(super) fn previous_version(
        &self,
        of: PreviousOf,
    ) -> Pending<Result<Option<Previous>, ReadError>> {
        let hasher = KeyHasher::new(self.0.identity.secret);
        let find = move |desk: &mut Desk, now: &Now| {
            let key = match &of {
                PreviousOf::Message(id) => desk.manager.dedup_key(*id)?,
                PreviousOf::Key(queue, key) => hasher.key(queue, key),
            };
            let id = desk.manager.previous(key)?;
            let Lookup::Found(view) = desk.manager.lookup(now, id) else {
                return None;
            };
            let body = desk.find_envelope(id.seq());
            Some((id, view.tail.result, body))
        };
        let shell = Arc::clone(&self.0);
        let read = move |found: Option<_>| {
            let Some((id, result, body)) = found else {
                return Ok(None);
            };
            let envelope = open_body(body).map_err(|reason| shell.unread(id, &reason))?;
            Ok(Some(Previous {
                id,
                envelope,
                result,
            }))
        };
        self.0
            .at_desk_then(Needs::Sync, find, read, |stopped| Err(stopped.into()))
    }
}
