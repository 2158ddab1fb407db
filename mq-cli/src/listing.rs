//! Which messages a verb is about: filters on the command line, and the pages behind them.

use mq::Filter;
use mq::control::MessageJson;
use mq_core::backend::Backend;
use mq_core::id::{MessageId, Seq};
use mq_core::name::{KindName, QueueName};
use mq_core::state::DeadReason;
use mq_core::view::{Filter as Facts, MessageView, StateKind};

use crate::exit::Result;
use crate::target::Target;

/// Messages asked for at once.
const PAGE_LEN: usize = 200;

/// Every reason for a dead letter.
const REASONS: [DeadReason; 5] = [
    DeadReason::BudgetSpent,
    DeadReason::DeadLettered,
    DeadReason::Undecodable,
    DeadReason::Crashed,
    DeadReason::Expired,
];

/// Why a word names no state or reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not one of {}", .known.join(", "))]
pub(crate) struct UnknownWord {
    given: String,
    known: Vec<&'static str>,
}

/// Reads the word of a state.
///
/// # Errors
/// When there is none such; it names them all.
pub(crate) fn state(text: &str) -> std::result::Result<StateKind, UnknownWord> {
    word(text, &StateKind::ALL, StateKind::as_str)
}

/// Reads the word of a reason for death.
///
/// # Errors
/// When there is none such; it names them all.
pub(crate) fn reason(text: &str) -> std::result::Result<DeadReason, UnknownWord> {
    word(text, &REASONS, |reason| reason.as_str())
}

fn word<T: Copy>(
    text: &str,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> std::result::Result<T, UnknownWord> {
    let found = all
        .iter()
        .copied()
        .find(|candidate| name(*candidate) == text);
    found.ok_or_else(|| UnknownWord {
        given: text.to_owned(),
        known: all.iter().map(|known| name(*known)).collect(),
    })
}

/// Filters that every listing has.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Which {
    /// Only of this queue
    #[arg(long, value_name = "Q")]
    queue: Option<QueueName>,
    /// Only of this kind
    #[arg(long, value_name = "K")]
    kind: Option<KindName>,
}

impl Which {
    /// Whether any of them is given.
    pub(crate) fn is_set(&self) -> bool {
        self.queue.is_some() || self.kind.is_some()
    }

    /// The filter for these, in `state` and dead for `reason`.
    pub(crate) fn filter(&self, state: Option<StateKind>, reason: Option<DeadReason>) -> Filter {
        let mut filter = Filter::new();
        if let Some(queue) = &self.queue {
            filter = filter.queue(queue.as_str());
        }
        if let Some(kind) = &self.kind {
            filter = filter.kind(kind.as_str());
        }
        if let Some(state) = state {
            filter = filter.state(state);
        }
        if let Some(reason) = reason {
            filter = filter.dead_reason(reason);
        }
        filter
    }
}

/// How much of a listing to show.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Extent {
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Begin behind this message
    #[arg(long, value_name = "ID")]
    after: Option<MessageId>,
}

/// Calls `show` with each message that matches, oldest first; answers whether there are more than `extent` shows.
///
/// # Errors
/// When the store stops, or `show` fails.
pub(crate) fn show_each(
    target: &Target,
    filter: &Filter,
    extent: Extent,
    mut show: impl FnMut(&MessageJson) -> Result,
) -> Result<bool> {
    let mut left = extent.limit;
    let page_len = extent.limit.saturating_add(1).min(PAGE_LEN);
    target.walk(filter, extent.after, page_len, |message| {
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        show(message).map(|()| true)
    })
}

/// Calls `act` with each message that matches, oldest first.
///
/// # Errors
/// When the store stops, or `act` fails.
pub(crate) fn for_all(
    target: &Target,
    filter: &Filter,
    mut act: impl FnMut(&MessageJson) -> Result,
) -> Result {
    let walked = target.walk(filter, None, PAGE_LEN, |message| {
        act(message).map(|()| true)
    });
    walked.map(drop)
}

/// Walks through a store of this process until `go_on` answers `false`; answers whether it did.
///
/// # Errors
/// When the store stops, or `go_on` fails.
pub(crate) fn walk(
    backend: &dyn Backend,
    filter: &Facts,
    mut after: Seq,
    mut go_on: impl FnMut(&MessageView) -> Result<bool>,
) -> Result<bool> {
    loop {
        let page = backend.list(filter.clone(), after, PAGE_LEN).wait()??;
        for view in &page.messages {
            if !go_on(view)? {
                return Ok(true);
            }
        }
        match page.next {
            Some(next) => after = next,
            None => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_that_is_printed_can_be_asked_for() {
        for kind in StateKind::ALL {
            assert_eq!(state(kind.as_str()), Ok(kind));
        }
        for known in REASONS {
            assert_eq!(reason(known.as_str()), Ok(known));
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let text = state("running").unwrap_err().to_string();
        assert!(
            text.contains("running") && text.contains("leased"),
            "{text}"
        );
    }
}
