//! Which messages are meant: conditions on facts and on fields of JSON payloads.
//!
//! A filter is written as it is said and checked when it is used: every problem is reported at once, and a filter that
//! cannot be understood is an error, never one that matches nothing. Its serde form is a JSON object of the same words.

mod predicate;

use std::fmt;
use std::time::Duration;

use mq_core::index::TermRange;
use mq_core::key::{Key, KeyError, KeyHasher};
use mq_core::message::Priority;
use mq_core::name::{KindName, Label, NameError, QueueName};
use mq_core::state::DeadReason;
use mq_core::time::Timestamp;
use mq_core::view::{Filter as Facts, KeyIs, StateKind};
use serde::{Deserialize, Serialize};

pub(crate) use predicate::scalar;
pub use predicate::{Comparison, PREDICATE_SIZE_MAX, Predicate, PredicateError};

use crate::engine::Scan;

/// Conditions on payloads in one filter.
pub const PREDICATES_LEN_MAX: usize = 16;

/// Which messages are meant. All conditions must hold; none is every message.
///
/// # Examples
/// ```
/// # use mq::{Filter, StateKind, minutes};
/// let stuck = Filter::new().kind("charge").state(StateKind::Held).older_than(minutes(10));
/// let large = Filter::new().queue("orders").payload("/order/cents >= 100");
/// let declined = Filter::reason("Declined"); // dead letters by the type of their last error
/// # drop((stuck, large, declined));
/// ```
#[must_use = "a filter does nothing by itself"]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Filter {
    form: Box<Form>,
}

/// The words of a filter, as they stand in JSON. Not checked yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Form {
    #[serde(skip_serializing_if = "is_false")]
    all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    live: bool,
    #[serde(skip_serializing_if = "is_false")]
    retrying: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<KeyForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup_key: Option<KeyForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<KeyForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    older_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    older_than_ms: Option<u64>,
    #[serde(rename = "where", skip_serializing_if = "Vec::is_empty")]
    payload: Vec<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A key: text, or bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum KeyForm {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Vec<u8>> for KeyForm {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|no| Self::Bytes(no.into_bytes()), Self::Text)
    }
}

/// One thing that is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterProblem {
    /// Not a name of a queue, kind or label.
    #[error("{given:?} is no {what}: {source}")]
    Name {
        /// `queue`, `kind` or `label`.
        what: &'static str,
        /// What was given.
        given: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Not the word of a state or of a reason for death.
    #[error("{given:?} is no {what}; known are {known}")]
    Word {
        /// `state` or `reason`.
        what: &'static str,
        /// What was given.
        given: String,
        /// All there are.
        known: String,
    },
    /// Not a priority.
    #[error("priority {given} is out of range; allowed are 0 to 9, 9 most urgent")]
    Priority {
        /// What was given.
        given: u8,
    },
    /// Not a key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key without a queue: the same key in two queues is two keys.
    #[error("a key belongs to a queue; name the queue too")]
    KeyWithoutQueue,
    /// More than one key.
    #[error("a filter finds by one key; leave the others out")]
    SeveralKeys,
    /// Not a condition on a payload.
    #[error(transparent)]
    Predicate(#[from] PredicateError),
    /// Too many conditions on payloads.
    #[error("{given} conditions on payloads are over the limit of {PREDICATES_LEN_MAX}")]
    TooManyPredicates {
        /// How many were given.
        given: usize,
    },
    /// A change of many messages needs a condition, or `all` said in so many words.
    #[error("this would change every message; say so with Filter::all(), or give a condition")]
    Empty,
}

/// Everything that is wrong with a filter. Nothing was looked at or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// At least one.
    pub problems: Vec<FilterProblem>,
}

impl FilterError {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "filter"
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FilterError {}

/// Dead letters that have been dead for longer than `age`, or other messages that were enqueued longer ago.
pub fn older_than(age: Duration) -> Filter {
    Filter::new().older_than(age)
}

impl Filter {
    /// No condition: every message, for listings. Changes of many messages want [`Filter::all`] instead.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every message, said in so many words.
    pub fn all() -> Self {
        Self::new().set(|form| form.all = true)
    }

    /// Dead letters by reason: `budget_spent`, `dead_lettered`, `undecodable`, `crashed` or `expired`; any other word is
    /// the type of their last error, such as `Declined`.
    pub fn reason(word: impl Into<String>) -> Self {
        let word = word.into();
        Self::new()
            .state(StateKind::Dead)
            .set(|form| match reason_of(&word) {
                Some(_) => form.reason = Some(word),
                None => form.error_type = Some(word),
            })
    }

    fn set(mut self, change: impl FnOnce(&mut Form)) -> Self {
        change(&mut self.form);
        self
    }

    /// Of this queue. Beside a key: of messages that were enqueued there.
    pub fn queue(self, name: impl Into<String>) -> Self {
        self.set(|form| form.queue = Some(name.into()))
    }

    /// Of this kind.
    pub fn kind(self, name: impl Into<String>) -> Self {
        self.set(|form| form.kind = Some(name.into()))
    }

    /// In this state.
    pub fn state(self, state: StateKind) -> Self {
        self.set(|form| form.state = Some(state.as_str().to_owned()))
    }

    /// In the state with this word.
    pub fn state_word(self, word: impl Into<String>) -> Self {
        self.set(|form| form.state = Some(word.into()))
    }

    /// Not over: scheduled, ready, blocked, leased or held.
    pub fn live(self) -> Self {
        self.set(|form| form.live = true)
    }

    /// Scheduled for another attempt after a failed one.
    pub fn retrying(self) -> Self {
        self.set(|form| form.retrying = true)
    }

    /// Dead for this reason.
    pub fn dead_reason(self, reason: DeadReason) -> Self {
        self.set(|form| form.reason = Some(reason.as_str().to_owned()))
    }

    /// The last of its attempts that failed did so with this type of error, such as `Declined`.
    pub fn error_type(self, name: impl Into<String>) -> Self {
        self.set(|form| form.error_type = Some(name.into()))
    }

    /// Held under this label.
    pub fn label(self, label: impl Into<String>) -> Self {
        self.set(|form| form.label = Some(label.into()))
    }

    /// Of this urgency, 0 to 9.
    pub fn priority(self, level: u8) -> Self {
        self.set(|form| form.priority = Some(level))
    }

    /// With this idempotency key, as long as its window lasts. Needs a queue.
    /// Found in the table of keys, whatever the state of the message.
    pub fn idempotency_key(self, key: impl Into<Vec<u8>>) -> Self {
        self.set(|form| form.idempotency_key = Some(key.into().into()))
    }

    /// With this dedup key, whether the message holds it now or not. Needs a queue.
    /// Beside [`Filter::live`] or a live state it is found in the table of keys; else every message is looked at, page by page.
    pub fn dedup_key(self, key: impl Into<Vec<u8>>) -> Self {
        self.set(|form| form.dedup_key = Some(key.into().into()))
    }

    /// With this ordering key. Needs a queue.
    /// The cost is that of [`Filter::dedup_key`].
    pub fn ordering_key(self, key: impl Into<Vec<u8>>) -> Self {
        self.set(|form| form.ordering_key = Some(key.into().into()))
    }

    /// Enqueued at this moment or later.
    pub fn enqueued_from(self, from: Timestamp) -> Self {
        self.set(|form| form.from_ms = Some(from.as_ms()))
    }

    /// Enqueued before this moment.
    pub fn enqueued_before(self, before: Timestamp) -> Self {
        self.set(|form| form.before_ms = Some(before.as_ms()))
    }

    /// Dead for longer than this; or, if it is not dead, enqueued longer ago.
    pub fn older_than(self, age: Duration) -> Self {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.set(|form| form.older_than_ms = Some(age_ms))
    }

    /// A condition on a field of the JSON payload, such as `/order/cents >= 100`; several must all hold. See
    /// [`Predicate`]. Found in the index of the field, if the messages of the kind have one
    /// ([`set_index`](crate::Admin::set_index), `#[message(index = "/order/cents")]`): then only payloads that can match are
    /// read. Else all are, page by page. [`Page::by`](crate::Page::by) says which it was.
    pub fn payload(self, predicate: impl ToString) -> Self {
        self.set(|form| form.payload.push(predicate.to_string()))
    }

    /// Whether it has no condition and does not say `all` either.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self.form == Form::default()
    }

    /// Checks every word of it.
    ///
    /// # Errors
    /// [`FilterError`] with all that is wrong.
    pub fn check(&self) -> Result<(), FilterError> {
        let hasher = KeyHasher::new([0; 16]);
        self.resolve(&hasher, Timestamp::default()).map(drop)
    }

    /// As it is at the moment `wall`: an age becomes a moment.
    pub(crate) fn at(self, wall: Timestamp) -> Self {
        self.set(|form| {
            if let Some(age) = form.older_than_ms.take() {
                let before = wall.as_ms().saturating_sub(age);
                form.older_ms = Some(form.older_ms.map_or(before, |older| older.min(before)));
            }
        })
    }

    /// Whether it may choose what is changed: it has a condition, or says [`Filter::all`].
    ///
    /// # Errors
    /// [`FilterProblem::Empty`] if it would change everything without saying so.
    pub fn must_say_all(&self) -> Result<(), FilterError> {
        if self.is_empty() {
            let problems = vec![FilterProblem::Empty];
            return Err(FilterError { problems });
        }
        Ok(())
    }

    /// What the engine looks for.
    pub(crate) fn resolve(&self, hasher: &KeyHasher, wall: Timestamp) -> Result<Scan, FilterError> {
        let form = *self.clone().at(wall).form;
        let mut problems = Vec::new();
        let queue = form.queue.and_then(|given| {
            let name = QueueName::new(given.as_str());
            note(
                name.map_err(|source| bad_name("queue", given, source)),
                &mut problems,
            )
        });
        let kind = form.kind.and_then(|given| {
            let name = KindName::new(given.as_str());
            note(
                name.map_err(|source| bad_name("kind", given, source)),
                &mut problems,
            )
        });
        let label = form.label.and_then(|given| {
            let name = Label::new(given.as_str());
            note(
                name.map_err(|source| bad_name("label", given, source)),
                &mut problems,
            )
        });
        let state = form.state.and_then(|given| {
            let known = StateKind::ALL.iter().map(|state| state.as_str());
            let found = state_of(&given).ok_or_else(|| bad_word("state", given, known));
            note(found, &mut problems)
        });
        let reason = form.reason.and_then(|given| {
            let known = DeadReason::ALL.iter().map(|reason| reason.as_str());
            let found = reason_of(&given).ok_or_else(|| bad_word("reason", given, known));
            note(found, &mut problems)
        });
        let priority = form.priority.and_then(|given| {
            let level = Priority::new(given).ok_or(FilterProblem::Priority { given });
            note(level, &mut problems)
        });
        let keys = [
            (form.idempotency_key, KeyIs::Idempotency as fn(_) -> _),
            (form.dedup_key, KeyIs::Dedup),
            (form.ordering_key, KeyIs::Ordering),
        ];
        let key = note(key_of(keys, queue.as_ref(), hasher), &mut problems).flatten();
        let predicates = predicates(&form.payload, &mut problems);
        if !problems.is_empty() {
            return Err(FilterError { problems });
        }
        let facts = Facts {
            queue: queue.filter(|_| key.is_none()),
            kind,
            state,
            live: form.live,
            retrying: form.retrying,
            reason,
            error_type: form.error_type,
            label,
            priority,
            key,
            from: form.from_ms.map(Timestamp::from_ms),
            before: form.before_ms.map(Timestamp::from_ms),
            older: form.older_ms.map(Timestamp::from_ms),
            terms: ranges(&predicates),
            last: None,
        };
        Ok(Scan { facts, predicates })
    }
}

type KeyKind = fn(mq_core::key::KeyHash) -> KeyIs;

fn key_of(
    given: [(Option<KeyForm>, KeyKind); 3],
    queue: Option<&QueueName>,
    hasher: &KeyHasher,
) -> Result<Option<KeyIs>, FilterProblem> {
    let mut keys = given
        .into_iter()
        .filter_map(|(key, kind)| Some((key?, kind)));
    let Some((key, kind)) = keys.next() else {
        return Ok(None);
    };
    if keys.next().is_some() {
        return Err(FilterProblem::SeveralKeys);
    }
    let queue = queue.ok_or(FilterProblem::KeyWithoutQueue)?;
    let key = match key {
        KeyForm::Text(text) => Key::new(text)?,
        KeyForm::Bytes(bytes) => Key::new(bytes)?,
    };
    Ok(Some(kind(hasher.key(queue, &key))))
}

fn predicates(texts: &[String], problems: &mut Vec<FilterProblem>) -> Vec<Predicate> {
    if texts.len() > PREDICATES_LEN_MAX {
        let given = texts.len();
        problems.push(FilterProblem::TooManyPredicates { given });
        return Vec::new();
    }
    let parsed = texts.iter().map(|text| text.parse::<Predicate>());
    parsed
        .filter_map(|predicate| note(predicate.map_err(FilterProblem::from), problems))
        .collect()
}

/// Where the index has those that can meet all conditions: a range for each field.
fn ranges(predicates: &[Predicate]) -> Vec<TermRange> {
    let mut ranges: Vec<TermRange> = Vec::new();
    for range in predicates.iter().filter_map(Predicate::range) {
        match ranges.iter_mut().find(|one| one.pointer == range.pointer) {
            Some(one) => *one = one.and(&range),
            None => ranges.push(range),
        }
    }
    ranges
}

fn note<T>(found: Result<T, FilterProblem>, problems: &mut Vec<FilterProblem>) -> Option<T> {
    match found {
        Ok(value) => Some(value),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

fn bad_name(what: &'static str, given: String, source: NameError) -> FilterProblem {
    FilterProblem::Name {
        what,
        given,
        source,
    }
}

fn bad_word(
    what: &'static str,
    given: String,
    known: impl Iterator<Item = &'static str>,
) -> FilterProblem {
    let known = known.collect::<Vec<_>>().join(", ");
    FilterProblem::Word { what, given, known }
}

fn state_of(word: &str) -> Option<StateKind> {
    let mut all = StateKind::ALL.into_iter();
    all.find(|state| state.as_str() == word)
}

fn reason_of(word: &str) -> Option<DeadReason> {
    let mut all = DeadReason::ALL.into_iter();
    all.find(|reason| reason.as_str() == word)
}

#[cfg(test)]
mod tests;
