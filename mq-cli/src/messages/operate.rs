//! `mq messages cancel`, `run-now`, `hold`, `release`, `move`, `set-priority`, `reschedule`: one change of messages that
//! are named by id.
//!
//! Each id is printed once its change is durable. The first message that cannot be changed ends the run; those before it
//! are changed.

use std::time::Duration;

use clap::ArgGroup;
use mq::control::OperationJson;
use mq_core::id::MessageId;
use mq_core::name::{Label, QueueName};
use mq_core::time::Timestamp;
use mq_core::view::StateKind;

use crate::args::Data;
use crate::bulk::Pace;
use crate::exit::{Failure, Result};
use crate::listing::{self, Which};
use crate::output;
use crate::target::Target;
use crate::values;

/// Which messages.
#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("chosen").args(["ids", "all", "everything"]).required(true)))]
pub(crate) struct Chosen {
    #[command(flatten)]
    data: Data,
    /// The messages' ids
    #[arg(value_name = "ID")]
    ids: Vec<MessageId>,
    /// Every message that the filters let through, as a bulk job
    #[arg(long)]
    all: bool,
    /// Every message of the store
    #[arg(long)]
    everything: bool,
    #[command(flatten)]
    which: Which,
    /// Only in this state: scheduled, ready, blocked, leased, held, completed, dead or superseded
    #[arg(long, value_name = "STATE", value_parser = listing::state)]
    state: Option<StateKind>,
    #[command(flatten)]
    pace: Pace,
}

/// Arguments of `mq messages hold`.
#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    #[command(flatten)]
    chosen: Chosen,
    /// A word of your own that says why, such as audit
    #[arg(long, value_name = "LABEL", default_value = "operator")]
    label: Label,
}

/// Arguments of `mq messages move`.
#[derive(Debug, clap::Args)]
pub(crate) struct Move {
    #[command(flatten)]
    chosen: Chosen,
    /// The other queue
    #[arg(long, value_name = "Q")]
    to: QueueName,
}

/// Arguments of `mq messages set-priority`.
#[derive(Debug, clap::Args)]
pub(crate) struct SetPriority {
    #[command(flatten)]
    chosen: Chosen,
    /// 0 to 9; 9 is most urgent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
}

/// Arguments of `mq messages reschedule`.
#[derive(Debug, clap::Args)]
pub(crate) struct Reschedule {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    when: When,
}

/// Arguments of `mq messages purge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    chosen: Chosen,
}

/// When a message is due.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct When {
    /// So long from now, such as 5s or 1h30m
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    delay: Option<Duration>,
    /// At this moment, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = values::moment)]
    at: Option<Timestamp>,
}

impl Chosen {
    /// Changes each message.
    ///
    /// # Errors
    /// At the first that cannot be changed.
    pub(crate) fn change(&self, operation: &OperationJson) -> Result {
        let is_filtered = self.which.is_set() || self.state.is_some();
        if !self.all && is_filtered {
            return Err(Failure::usage(
                "filters go with --all, and with nothing else",
            ));
        }
        if self.all && !is_filtered {
            return Err(Failure::usage(
                "--all takes what filters let through, and there is none; for every message of the store say --everything",
            ));
        }
        Target::visit(&self.data, |target, output| {
            if self.all || self.everything {
                let filter = self.which.filter(self.state, None);
                return self.pace.change_all(target, filter, operation, output);
            }
            for id in &self.ids {
                if self.pace.dry_run {
                    output.line(target.message(*id, false, false)?.id)?;
                    continue;
                }
                let id = id.to_string();
                if target.operate_by(&id, operation.clone(), &self.pace.by)? == "requested" {
                    output::remark(format_args!(
                        "{id} is running; its handler was asked to stop"
                    ));
                }
                output.line(&id)?;
            }
            Ok(())
        })
    }
}

impl Hold {
    pub(crate) fn run(&self) -> Result {
        let label = self.label.to_string();
        self.chosen.change(&OperationJson::Hold { label })
    }
}

impl Move {
    pub(crate) fn run(&self) -> Result {
        let queue = self.to.to_string();
        self.chosen.change(&OperationJson::Move { queue })
    }
}

impl Purge {
    pub(crate) fn run(&self) -> Result {
        let can_be_purged = [StateKind::Held, StateKind::Completed, StateKind::Dead];
        let chosen = &self.chosen;
        if (chosen.all || chosen.everything)
            && !chosen
                .state
                .is_some_and(|state| can_be_purged.contains(&state))
        {
            return Err(Failure::usage(
                "purging is for good: say which with --state held, --state completed or --state dead",
            ));
        }
        chosen.change(&OperationJson::Purge {})
    }
}

impl SetPriority {
    pub(crate) fn run(&self) -> Result {
        let priority = self.priority;
        self.chosen.change(&OperationJson::SetPriority { priority })
    }
}

impl Reschedule {
    pub(crate) fn run(&self) -> Result {
        let delay = self.when.delay.map(|delay| delay.as_millis());
        let operation = OperationJson::Reschedule {
            delay_ms: delay.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            due: self.when.at.map(mq::control::moment),
        };
        self.chosen.change(&operation)
    }
}
