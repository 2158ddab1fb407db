//! Settings for handlers that do not say it themselves: of the whole program, and of queues.
//!
//! Precedence, for each setting by itself: the message's own word (its failure budget), the handler's, that of the queue
//! the message is in, the program's, the engine's default.

use std::collections::BTreeMap;
use std::time::Duration;

use mq_core::name::QueueName;
use mq_core::retry::RetryPolicy;

use crate::options::HandlerOptions;
use crate::problem::{Fault, Problem};

/// What handlers inherit.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) of_program: HandlerOptions,
    pub(crate) of_queues: Vec<(String, HandlerOptions)>,
}

impl Defaults {
    /// What is wrong with them, whoever inherits them.
    pub(crate) fn problems(&self, cores: usize) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |handler: String, faults: Vec<Fault>| {
            problems.extend(faults.into_iter().map(|fault| Problem {
                handler: handler.clone(),
                fault,
            }));
        };
        let mut faults = Vec::new();
        let _: crate::options::Settings = self.of_program.settings(cores, &mut faults);
        note("defaults".to_owned(), faults);
        for (name, options) in &self.of_queues {
            let mut faults: Vec<Fault> = QueueName::new(name)
                .err()
                .map(Fault::Name)
                .into_iter()
                .collect();
            let _: crate::options::Settings = options.settings(cores, &mut faults);
            note(format!("queue {name}"), faults);
        }
        problems
    }

    /// A handler's settings with what it inherits, as far as that is one for all its messages: `queue` is the queue of
    /// its kind, or the only one it serves.
    pub(crate) fn complete(&self, own: &HandlerOptions, queue: Option<&str>) -> HandlerOptions {
        let of_queue = self
            .of_queues
            .iter()
            .filter(|(name, _)| Some(name.as_str()) == queue);
        let inherited = of_queue.fold(own.clone(), |options, (_, of_queue)| options.or(of_queue));
        inherited.or(&self.of_program)
    }

    /// What differs for messages in other queues, if the handler does not say it itself.
    pub(crate) fn by_queue(&self, own: &HandlerOptions) -> BTreeMap<QueueName, ByQueue> {
        let queues = self.of_queues.iter().filter_map(|(name, _)| {
            let queue = QueueName::new(name).ok()?;
            let options = self.complete(own, Some(name));
            let by_queue = ByQueue {
                retry: options.retry_policy(),
                timeout: options.time_limit(),
            };
            Some((queue, by_queue))
        });
        queues.collect()
    }
}

/// What is settled by the queue of each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByQueue {
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
}
