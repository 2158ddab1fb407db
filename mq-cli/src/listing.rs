//! Which messages a verb is about: filters on the command line, and the pages behind them.

use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use mq::control::MessageJson;
use mq::{Filter, Predicate};
use mq_core::backend::Backend;
use mq_core::id::{MessageId, Seq};
use mq_core::name::{KindName, Label, QueueName};
use mq_core::state::DeadReason;
use mq_core::time::Timestamp;
use mq_core::view::{Filter as Facts, MessageView, StateKind};

use crate::exit::{Exit, Failure, Result};
use crate::hint;
use crate::output;
use crate::target::Target;
use crate::values;

/// Messages asked for at once.
const PAGE_LEN: usize = 200;

/// Damaged messages that are named; all are counted.
const UNREADABLE_NAMED_MAX: usize = 5;

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
    word(text, &DeadReason::ALL, DeadReason::as_str)
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
    /// Only those whose JSON payload meets this condition, such as '/order/cents >= 100'; may be given several times
    #[arg(long = "where", value_name = "CONDITION")]
    payload: Vec<Predicate>,
    /// Only those whose last failed attempt had this type of error, such as Declined
    #[arg(long, value_name = "TYPE")]
    error_type: Option<String>,
    /// Only those held under this label
    #[arg(long, value_name = "LABEL")]
    held_as: Option<Label>,
    /// Only of this priority
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    of_priority: Option<u8>,
    /// Only with this idempotency key; needs --queue
    #[arg(long, value_name = "KEY", requires = "queue")]
    idempotency_key: Option<String>,
    /// Only with this dedup key; needs --queue
    #[arg(long, value_name = "KEY", requires = "queue")]
    dedup_key: Option<String>,
    /// Only with this ordering key; needs --queue
    #[arg(long, value_name = "KEY", requires = "queue")]
    ordering_key: Option<String>,
    /// Only those enqueued at this moment or later, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = values::moment)]
    enqueued_from: Option<Timestamp>,
    /// Only those enqueued before this moment
    #[arg(long, value_name = "MOMENT", value_parser = values::moment)]
    enqueued_before: Option<Timestamp>,
    /// Only those dead for longer than this, such as 30d; of others those enqueued longer ago
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    older_than: Option<Duration>,
}

impl Which {
    /// Whether any of them is given.
    pub(crate) fn is_set(&self) -> bool {
        !self.filter(None, None).is_empty()
    }

    /// The filter for these, in `state` and dead for `reason`.
    pub(crate) fn filter(&self, state: Option<StateKind>, reason: Option<DeadReason>) -> Filter {
        fn with<T>(
            filter: Filter,
            value: Option<T>,
            set: impl FnOnce(Filter, T) -> Filter,
        ) -> Filter {
            match value {
                Some(value) => set(filter, value),
                None => filter,
            }
        }
        let mut filter = Filter::new();
        filter = with(filter, self.queue.as_ref(), |it, name| {
            it.queue(name.as_str())
        });
        filter = with(filter, self.kind.as_ref(), |it, name| {
            it.kind(name.as_str())
        });
        filter = with(filter, self.error_type.as_ref(), |it, name| {
            it.error_type(name.as_str())
        });
        filter = with(filter, self.held_as.as_ref(), |it, label| {
            it.label(label.as_str())
        });
        filter = with(filter, self.of_priority, Filter::priority);
        filter = with(
            filter,
            self.idempotency_key.as_deref(),
            Filter::idempotency_key,
        );
        filter = with(filter, self.dedup_key.as_deref(), Filter::dedup_key);
        filter = with(filter, self.ordering_key.as_deref(), Filter::ordering_key);
        filter = with(filter, self.enqueued_from, Filter::enqueued_from);
        filter = with(filter, self.enqueued_before, Filter::enqueued_before);
        filter = with(filter, self.older_than, Filter::older_than);
        filter = with(filter, state, Filter::state);
        filter = with(filter, reason, Filter::dead_reason);
        self.payload.iter().fold(filter, Filter::payload)
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

/// Payloads that are many to read for one listing.
const READ_MUCH: u64 = 10_000;

/// What a walk through messages met.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// It ended before the last message.
    pub(crate) was_cut: bool,
    /// What it could not show.
    pub(crate) unreadable: Unreadable,
    /// Some of it was found by looking at all messages.
    scanned: bool,
    /// Some of it was found in the index of a field.
    by_index: bool,
    /// Payloads read for it.
    read: u64,
}

impl Walked {
    /// How a page was found.
    pub(crate) fn see_cost(&mut self, by: &str, read: u64) {
        self.scanned |= by == "scan";
        self.by_index |= by == "index";
        self.read += read;
    }

    /// What it cost, if payloads were asked for; `always`, or only if it was much.
    fn tell_cost(&self, always: bool) {
        let read = self.read;
        if self.scanned && (read > READ_MUCH || (always && read > 0)) {
            output::remark(format_args!(
                "every message was looked at and {read} payloads were read; an index of the field spares that (mq index set)"
            ));
        } else if self.by_index && always {
            output::remark(format_args!(
                "found in the index of a field; {read} payloads were read"
            ));
        }
    }
}

/// Messages that are left out because their payloads cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    count: u64,
    /// The first few.
    ids: Vec<String>,
}

impl Unreadable {
    /// So many, of which no id is known.
    pub(crate) fn count(count: u64) -> Unreadable {
        let ids = Vec::new();
        Unreadable { count, ids }
    }

    pub(crate) fn see(&mut self, ids: Vec<String>) {
        self.count += u64::try_from(ids.len()).unwrap_or(u64::MAX);
        let room = UNREADABLE_NAMED_MAX.saturating_sub(self.ids.len());
        self.ids.extend(ids.into_iter().take(room));
    }

    /// Fails if there are any: what was shown is true, and not all.
    ///
    /// # Errors
    /// With [`Exit::Corrupt`].
    pub(crate) fn must_be_none(&self, data: &Path) -> Result {
        if self.count == 0 {
            return Ok(());
        }
        let ids = match self.ids.as_slice() {
            [] => String::new(),
            ids => format!(
                " ({}{})",
                ids.join(", "),
                if self.count > ids.len() as u64 {
                    ", …"
                } else {
                    ""
                }
            ),
        };
        let verify = hint::command(data, "verify", &[], &[]);
        let error = anyhow!(
            "{} messages are left out: they may match, but their payloads are damaged{ids}. All that is wrong: {verify}",
            self.count
        );
        Err(Failure::new(Exit::Corrupt, error))
    }
}

/// Calls `show` with each message that matches, oldest first, as far as `extent` goes. Says on standard error how to see
/// more, if there are more; what had to be left out is told by who prints.
///
/// # Errors
/// When the store stops, or `show` fails.
pub(crate) fn show_each(
    target: &Target,
    filter: &Filter,
    extent: Extent,
    mut show: impl FnMut(&MessageJson) -> Result,
) -> Result<Walked> {
    let mut left = extent.limit;
    let mut last = String::new();
    let page_len = extent.limit.saturating_add(1).min(PAGE_LEN);
    let walked = target.walk(filter, extent.after, page_len, |message| {
        if left == 0 {
            return Ok(false);
        }
        left -= 1;
        message.id.clone_into(&mut last);
        show(message).map(|()| true)
    })?;
    walked.tell_cost(false);
    if walked.was_cut && !last.is_empty() {
        output::remark(format_args!(
            "there are more; raise --limit, or go on with --after {last}"
        ));
    }
    Ok(walked)
}

/// Calls `act` with each message that matches, oldest first.
///
/// # Errors
/// When the store stops, or `act` fails; with [`Exit::Corrupt`] at the end if messages had to be left out.
pub(crate) fn for_all(
    target: &Target,
    filter: &Filter,
    mut act: impl FnMut(&MessageJson) -> Result,
) -> Result {
    let walked = target.walk(filter, None, PAGE_LEN, |message| {
        act(message).map(|()| true)
    })?;
    walked.tell_cost(true);
    walked.unreadable.must_be_none(target.data())
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
        for known in DeadReason::ALL {
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
