//! Queues and kinds by name: looked up, or defined by the message that uses them first.
//!
//! Invariant: a name that an earlier message of the batch has defined has the number it got there.

use hashbrown::HashMap;

use super::super::DeadFull;
use super::Plan;
use crate::command::EnqueueRefused;
use crate::event::Event;
use crate::id::{KindId, QueueId};
use crate::name::{KindName, QueueName};
use crate::view::StateKind;

impl Plan<'_> {
    /// The number of a queue that takes messages; a new one is defined.
    pub(super) fn queue(
        &mut self,
        name: &QueueName,
        frees_dead: bool,
        events: &mut Vec<Event>,
    ) -> Result<QueueId, EnqueueRefused> {
        let names = &self.manager.names;
        if let Some(id) = names.queue_id(name) {
            if !frees_dead {
                self.check_dead_letters(id)?;
            }
            return Ok(id);
        }
        let earlier = self.earlier.as_ref().map(|earlier| &earlier.queues);
        if let Some(id) = earlier.and_then(|queues| queues.get(name)) {
            return Ok(*id);
        }
        let id = names
            .next_queue(earlier.map_or(0, HashMap::len))
            .ok_or(EnqueueRefused::NumbersUsedUp { what: "queue" })?;
        if let Some(earlier) = self.for_later() {
            earlier.queues.insert(name.clone(), id);
        }
        let name = name.clone();
        events.push(Event::QueueDefined { id, name });
        Ok(id)
    }

    fn check_dead_letters(&self, id: QueueId) -> Result<(), EnqueueRefused> {
        if self.manager.config.dead_full == DeadFull::EvictOldest {
            return Ok(());
        }
        let (used, limit) = (self.manager.room.dead_bytes, self.manager.config.dead_bytes);
        let queue = self.manager.names.queue(id).filter(|queue| {
            let dead = queue.by_state.get(StateKind::Dead as usize);
            used >= limit && dead.is_some_and(|dead| *dead > 0)
        });
        queue.map_or(Ok(()), |queue| {
            Err(EnqueueRefused::DeadLettersFull {
                queue: queue.name.clone(),
                used,
                limit,
            })
        })
    }

    pub(super) fn kind(
        &mut self,
        name: &KindName,
        events: &mut Vec<Event>,
    ) -> Result<KindId, EnqueueRefused> {
        let names = &self.manager.names;
        if let Some(id) = names.kind_id(name) {
            return Ok(id);
        }
        let earlier = self.earlier.as_ref().map(|earlier| &earlier.kinds);
        if let Some(id) = earlier.and_then(|kinds| kinds.get(name)) {
            return Ok(*id);
        }
        let id = names
            .next_kind(earlier.map_or(0, HashMap::len))
            .ok_or(EnqueueRefused::NumbersUsedUp { what: "kind" })?;
        if let Some(earlier) = self.for_later() {
            earlier.kinds.insert(name.clone(), id);
        }
        let name = name.clone();
        events.push(Event::KindDefined { id, name });
        Ok(id)
    }
}
