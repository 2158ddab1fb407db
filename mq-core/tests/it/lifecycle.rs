//! docs/message-lifecycle.md held to the code: each row of its table is played on the real queue manager.

use std::collections::BTreeMap;

use bytes::Bytes;
use mq_core::command::{
    EnqueueBatch, EnqueueRefused, Extend, GiveBack, OperateRefused, Operation, SaveCheckpoint,
    SettleRefused, Settlement,
};
use mq_core::event::Event;
use mq_core::id::{LeaseToken, MessageId, Seq};
use mq_core::key::{DedupPolicy, KeyHash};
use mq_core::message::{Draft, Due, Priority};
use mq_core::name::Label;
use mq_core::retry::{Backoff, RetryPolicy};
use mq_core::state::{Completion, DeadReason, State, Tail};
use mq_core::time::{Monotonic, StoreTime};
use mq_core::view::Lookup;

use crate::rig::{Rig, deduped, delayed, draft, failure, pool, queue, secs};

const PAGE: &str = include_str!("../../../docs/message-lifecycle.md");
const STATES: [&str; 11] = [
    "scheduled",
    "ready",
    "suspect",
    "blocked",
    "leased",
    "asked",
    "solo",
    "held",
    "completed",
    "dead",
    "superseded",
];
const DEDUP: u128 = 1;
const ORDERING: u128 = 2;
const PAYLOAD: u128 = 10;
const OTHER_PAYLOAD: u128 = 11;
const RETENTION_SECS: u64 = 3_600;
const LEASE_SECS: u64 = 30;
const EXPIRY_SECS: u64 = 10;

/// What a row promises, or what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Effect {
    becomes: String,
    journalled: String,
    costs: String,
}

/// The table: command and state to effect.
fn promises() -> BTreeMap<(String, String), Effect> {
    let mut promises = BTreeMap::new();
    let rows = PAGE
        .lines()
        .skip_while(|line| !line.starts_with("| command | states |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [command, states, becomes, journalled, costs] = cells[..] else {
            panic!("a row has five cells: {row}");
        };
        for state in states.split(", ") {
            assert!(STATES.contains(&state), "{state:?} is no state: {row}");
            let becomes = if becomes == "same" { state } else { becomes };
            let effect = Effect {
                becomes: becomes.to_owned(),
                journalled: journalled.to_owned(),
                costs: costs.to_owned(),
            };
            let twice = promises.insert((command.to_owned(), state.to_owned()), effect);
            assert!(twice.is_none(), "{command} × {state} stands twice");
        }
    }
    promises
}

#[test]
fn the_table_has_every_pair_of_command_and_state() {
    let promises = promises();
    let commands: Vec<&String> = promises.keys().map(|(command, _)| command).collect();
    assert_eq!(commands.len() % STATES.len(), 0, "some pair is missing");
    assert!(commands.len() > 30 * STATES.len(), "the table was found");
    for command in commands {
        for state in STATES {
            let pair = (command.clone(), state.to_owned());
            assert!(
                promises.contains_key(&pair),
                "{command} × {state} is missing"
            );
        }
    }
}

#[test]
fn the_code_does_what_the_table_says() {
    let wrong: Vec<String> = promises()
        .into_iter()
        .filter_map(|((command, state), promised)| {
            let seen = Case::new(&command, &state).play();
            (seen != promised)
                .then(|| format!("{command} × {state}\n   page: {promised:?}\n   code: {seen:?}"))
        })
        .collect();
    assert!(
        wrong.is_empty(),
        "{} pairs differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Everything else that is refused must be refused without a trace.
#[test]
fn a_refused_command_leaves_every_fact_as_it_was() {
    for ((command, state), promised) in promises() {
        if promised.becomes.starts_with("refused") {
            let mut case = Case::new(&command, &state);
            let before = case.rig.records();
            case.apply();
            assert_eq!(case.rig.records(), before, "{command} × {state}");
        }
    }
}

/// One message in one state, and a command for it.
struct Case {
    rig: Rig,
    command: String,
    state: String,
    id: MessageId,
    /// Its lease, or one that is not its own.
    token: LeaseToken,
    /// The message before it in its ordering key.
    predecessor: Option<MessageId>,
}

impl Case {
    fn new(command: &str, state: &str) -> Self {
        let mut rig = Rig::new();
        let predecessor = is_preceded(command, state).then(|| {
            let hold = Some(Label::new("first").unwrap());
            let ordering = Some(KeyHash(ORDERING));
            rig.enqueue(Draft {
                hold,
                ordering,
                ..draft()
            })
        });
        let id = rig.enqueue(Draft {
            ordering: predecessor.map(|_| KeyHash(ORDERING)),
            ..subject(command, state)
        });
        let token = LeaseToken {
            id,
            delivery: 1,
            incarnation: rig.manager.incarnation(),
        };
        let mut case = Self {
            rig,
            command: command.to_owned(),
            state: state.to_owned(),
            id,
            token,
            predecessor,
        };
        case.bring();
        assert_eq!(case.word(), state, "{command}: brought into another state");
        case
    }

    /// Brings the message into its state.
    fn bring(&mut self) {
        match self.state.as_str() {
            "scheduled" | "ready" | "blocked" => {}
            "held" => {
                let label = Label::new("held").unwrap();
                self.rig.operate(self.id, Operation::Hold(label)).unwrap();
            }
            "leased" => self.lease(),
            "asked" => {
                self.lease();
                self.rig.operate(self.id, Operation::Cancel).unwrap();
            }
            "suspect" => {
                self.lease();
                self.rig.crash();
                self.token.incarnation = self.rig.manager.incarnation();
            }
            "solo" => {
                self.lease();
                let crashes = if self.command == "third-solo-crash" {
                    3
                } else {
                    1
                };
                for _ in 0..crashes {
                    self.rig.crash();
                    self.lease();
                }
            }
            "completed" => {
                self.lease();
                let succeed = Settlement::Succeed { result: None };
                self.rig.settle(self.token, succeed);
            }
            "dead" => {
                self.lease();
                self.rig.settle(self.token, dead_letter());
            }
            "superseded" => {
                self.lease();
                let newer = deduped(DEDUP, DedupPolicy::Replace, PAYLOAD);
                self.rig.enqueue(newer);
            }
            other => panic!("{other} is no state"),
        }
    }

    /// Hands the message out.
    fn lease(&mut self) {
        let mut spec = pool(None, None);
        spec.lines[0].retry = self.retry();
        let pool = self.rig.pool(spec, 1);
        self.token = self.rig.grant_of(self.id);
        self.rig.manager.withdraw_permits(pool, 1);
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            failures_max: if self.command.ends_with("-last") {
                1
            } else {
                5
            },
            backoff: Backoff::Fixed(secs(60)),
        }
    }

    /// Plays the command and says what came of it.
    fn play(mut self) -> Effect {
        let before = self.rig.journal.len();
        let tail = self.tail();
        let refused = self.apply();
        let events = self.rig.journal[before..].to_vec();
        let words: Vec<&str> = events
            .iter()
            .filter_map(|event| self.event_word(event))
            .collect();
        let costs = costs(&tail, &self.tail());
        Effect {
            becomes: refused.map_or_else(|| self.described(), |word| format!("refused: {word}")),
            journalled: dash(words.join(", ")),
            costs: dash(costs.join(", ")),
        }
    }

    fn tail(&self) -> Tail {
        match self.rig.manager.lookup(&self.rig.now, self.id) {
            Lookup::Found(view) => view.tail,
            Lookup::SettledNotKept | Lookup::NeverIssued => Tail::default(),
        }
    }

    /// The word of the message's state.
    fn word(&self) -> &'static str {
        if self.rig.is_gone(self.id) {
            return "gone";
        }
        let view = self.rig.view(self.id);
        match view.state {
            State::Ready if view.suspect => "suspect",
            State::Leased { .. } if view.tail.cancel_requested => "asked",
            State::Leased { .. } if view.suspect => "solo",
            state => state.kind().as_str(),
        }
    }

    /// The word with its reason, as it stands in the table when it differs from the state before.
    fn described(&self) -> String {
        let word = self.word();
        if word == self.state {
            return word.to_owned();
        }
        match self.rig.manager.lookup(&self.rig.now, self.id) {
            Lookup::Found(view) => match view.state {
                State::Dead { reason } => format!("{word} ({})", reason.as_str()),
                State::Completed {
                    how: Completion::Succeeded,
                } => format!("{word} (succeeded)"),
                _ => word.to_owned(),
            },
            Lookup::SettledNotKept | Lookup::NeverIssued => word.to_owned(),
        }
    }

    /// The word of an event, if the table speaks of it.
    fn event_word(&self, event: &Event) -> Option<&'static str> {
        let own = |seq: Seq| seq == self.id.seq() || self.command.starts_with("duplicate");
        match event {
            Event::Opened { .. } => Some("opened"),
            Event::Closed => Some("closed"),
            Event::QueueDefined { .. }
            | Event::KindDefined { .. }
            | Event::QueueSet { .. }
            | Event::KindSet { .. }
            | Event::Schedule(_)
            | Event::Bulk(_) => None,
            Event::Enqueued(_) => Some("enqueued"),
            Event::CheckedOut { seq, .. } => own(*seq).then_some("checked-out"),
            Event::Returned { seq, .. } => own(*seq).then_some("returned"),
            Event::Changed(changed) => own(changed.seq).then_some("changed"),
            Event::Finished { seq } => own(*seq).then_some("finished"),
        }
    }

    /// Applies the command; answers the word of its refusal.
    fn apply(&mut self) -> Option<&'static str> {
        let refused = self
            .settle()
            .or_else(|| self.keep_lease())
            .or_else(|| self.pass_time())
            .or_else(|| self.reopen())
            .or_else(|| self.duplicate())
            .or_else(|| self.operate());
        let refused = refused.unwrap_or_else(|| panic!("{} is no command", self.command));
        self.rig.tick();
        refused
    }

    fn settle(&mut self) -> Option<Option<&'static str>> {
        let settlement = match self.command.as_str() {
            "succeed" | "succeed-retained" => Settlement::Succeed { result: None },
            "fail" | "fail-last" => Settlement::Fail {
                failure: failure("no"),
                retry: self.retry(),
                retry_in: None,
            },
            "again" => Settlement::Again {
                due: Due::After(secs(60)),
            },
            "set-aside" => Settlement::SetAside {
                label: Label::new("aside").unwrap(),
                failure: failure("not for this program"),
            },
            "snooze" => Settlement::Snooze { delay: secs(60) },
            "interrupt" => Settlement::Interrupt,
            "dead-letter" => dead_letter(),
            "discard" => Settlement::Discard { failure: None },
            "obey-cancel" => Settlement::Cancel,
            _ => return None,
        };
        let answer = self.rig.try_settle(self.token, settlement, Vec::new());
        Some(answer.err().map(|refused| match refused {
            SettleRefused::Stale(_) => "stale",
            other => panic!("{other:?}"),
        }))
    }

    fn keep_lease(&mut self) -> Option<Option<&'static str>> {
        let token = self.token;
        match self.command.as_str() {
            "checkout" => {
                self.rig.pool(pool(None, None), 1);
                self.rig.grant();
                Some(None)
            }
            "give-back" => Some(self.rig.run(&GiveBack { token }).err().map(|_| "stale")),
            "extend" => {
                let command = Extend {
                    token,
                    duration: secs(60),
                };
                let answer = self.rig.manager.extend(&self.rig.now, &command);
                Some(answer.err().map(|_| "stale"))
            }
            "checkpoint" => {
                let checkpoint = Bytes::from_static(b"half way");
                let command = SaveCheckpoint { token, checkpoint };
                Some(self.rig.run(&command).err().map(|_| "stale"))
            }
            _ => None,
        }
    }

    /// Moves the one clock that the command is about.
    fn pass_time(&mut self) -> Option<Option<&'static str>> {
        let now = &mut self.rig.now;
        match self.command.as_str() {
            "falls-due" => now.wall = now.wall.after(secs(3_600)),
            "lease-ends" | "lease-ends-last" => {
                now.monotonic = Monotonic::from_ms(now.monotonic.as_ms() + LEASE_SECS * 1_000);
            }
            "expires" => now.store = StoreTime::from_ms(now.store.as_ms() + EXPIRY_SECS * 1_000),
            "retention-ends" => now.store = now.store.after(secs(RETENTION_SECS)),
            "predecessor-finishes" => {
                if let Some(id) = self.predecessor {
                    self.rig.operate(id, Operation::Cancel).unwrap();
                }
            }
            _ => return None,
        }
        Some(None)
    }

    fn reopen(&mut self) -> Option<Option<&'static str>> {
        match self.command.as_str() {
            "open-after-crash" | "third-solo-crash" => self.rig.crash(),
            "open-after-close" => self.rig.reopen(),
            _ => return None,
        }
        Some(None)
    }

    fn duplicate(&mut self) -> Option<Option<&'static str>> {
        let (policy, payload) = match self.command.as_str() {
            "duplicate-replace" => (DedupPolicy::Replace, OTHER_PAYLOAD),
            "duplicate-upsert" => (DedupPolicy::Upsert, OTHER_PAYLOAD),
            "duplicate-keep" => (DedupPolicy::Keep, OTHER_PAYLOAD),
            "duplicate-reject" => (DedupPolicy::Reject, OTHER_PAYLOAD),
            "duplicate-same-bytes" => (DedupPolicy::DiscardIdentical, PAYLOAD),
            "duplicate-other-bytes" => (DedupPolicy::DiscardIdentical, OTHER_PAYLOAD),
            "duplicate-run-once-more" => (DedupPolicy::RunOnceMore, OTHER_PAYLOAD),
            _ => return None,
        };
        let drafts = vec![deduped(DEDUP, policy, payload)];
        let answer = self.rig.run(&EnqueueBatch {
            drafts: drafts.into(),
        });
        Some(answer.err().map(|refused| match refused {
            EnqueueRefused::KeyHeld { .. } => "key-held",
            other => panic!("{other:?}"),
        }))
    }

    fn operate(&mut self) -> Option<Option<&'static str>> {
        let operation = match self.command.as_str() {
            "cancel" => Operation::Cancel,
            "hold" => Operation::Hold(Label::new("again").unwrap()),
            "release" => Operation::Release,
            "run-now" => Operation::RunNow,
            "reschedule" => Operation::Reschedule(Due::After(secs(60))),
            "set-priority" => Operation::SetPriority(Priority::new(9).unwrap()),
            "move" => Operation::MoveTo(queue("other")),
            "replay" => Operation::Replay { edit: None },
            "purge" => Operation::Purge,
            _ => return None,
        };
        let answer = self.rig.operate(self.id, operation);
        Some(answer.err().map(|refused| match refused {
            OperateRefused::WrongState { .. } => "wrong-state",
            other => panic!("{other:?}"),
        }))
    }
}

/// Whether the message of a case stands behind another one of its ordering key. For the end of that one to make no
/// difference, the message must wait for something else.
fn is_preceded(command: &str, state: &str) -> bool {
    let waits_anyway = matches!(state, "scheduled" | "held");
    state == "blocked" || (command == "predecessor-finishes" && waits_anyway)
}

/// The message of a case as it is enqueued.
fn subject(command: &str, state: &str) -> Draft {
    let plain = deduped(DEDUP, DedupPolicy::Replace, PAYLOAD);
    let due = match state {
        "scheduled" => delayed(secs(3_600)).due,
        _ => Due::Now,
    };
    let is_retained = state == "completed" || command == "succeed-retained";
    Draft {
        due,
        retain: is_retained.then(|| secs(RETENTION_SECS)),
        expires_in: (command == "expires").then(|| secs(EXPIRY_SECS)),
        ..plain
    }
}

fn dead_letter() -> Settlement {
    Settlement::DeadLetter {
        reason: DeadReason::DeadLettered,
        failure: failure("give up"),
        note: None,
    }
}

/// The counters that grew.
fn costs(before: &Tail, after: &Tail) -> Vec<&'static str> {
    let counters = [
        ("failures", before.failures, after.failures),
        ("crashes", before.crashes, after.crashes),
        ("snoozes", before.snoozes, after.snoozes),
        ("interruptions", before.interruptions, after.interruptions),
        ("replays", before.replays, after.replays),
    ];
    let grown = counters.into_iter().filter(|(_, old, new)| new > old);
    grown.map(|(word, _, _)| word).collect()
}

fn dash(words: String) -> String {
    if words.is_empty() {
        "–".to_owned()
    } else {
        words
    }
}
