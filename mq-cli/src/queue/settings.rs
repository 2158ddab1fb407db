//! `mq queue show` and `mq queue set`: what an operator sets for a queue.
//!
//! Each setting is a change of its own; the first that is refused ends the run, and those before it are stored.

use std::time::Duration;

use mq::control::{Answer, Call, OneQueue, QueueChangeJson, QueueSettingsJson, SetQueueCall};
use mq_core::name::{Label, QueueName};

use crate::args::Data;
use crate::clock;
use crate::escape::Escaped;
use crate::exit::{Failure, Result};
use crate::output::Output;
use crate::target::Target;
use crate::values;

/// Arguments of `mq queue show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    data: Data,
    /// The queue
    #[arg(value_name = "Q")]
    queue: QueueName,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// Arguments of `mq queue set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    data: Data,
    /// The queue
    #[arg(value_name = "Q")]
    queue: QueueName,
    /// Hold new messages under this label until they are released
    #[arg(long, value_name = "LABEL", conflicts_with = "no_hold_new")]
    hold_new: Option<Label>,
    /// Hold new messages no more; those that are held stay so
    #[arg(long)]
    no_hold_new: bool,
    /// Keep new messages so long after their completion, such as 7d, or forever
    #[arg(long, value_name = "TIME", value_parser = retention, conflicts_with = "no_retain_completed")]
    retain_completed: Option<Retention>,
    /// Keep new messages no longer than their completion
    #[arg(long)]
    no_retain_completed: bool,
    /// Refuse messages of producers while so many are not over
    #[arg(long, value_name = "N", conflicts_with = "no_limit_messages")]
    limit_messages: Option<u64>,
    /// Take as many as the store does
    #[arg(long)]
    no_limit_messages: bool,
}

/// How long completed messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retention {
    For(Duration),
    Forever,
}

fn retention(text: &str) -> std::result::Result<Retention, values::ValueError> {
    if text == "forever" {
        return Ok(Retention::Forever);
    }
    values::duration(text).map(Retention::For)
}

impl Retention {
    fn change(self) -> QueueChangeJson {
        let (for_ms, forever) = match self {
            Retention::For(time) => (u64::try_from(time.as_millis()).ok(), false),
            Retention::Forever => (None, true),
        };
        QueueChangeJson::RetainCompleted { for_ms, forever }
    }
}

impl Set {
    fn changes(&self) -> Vec<QueueChangeJson> {
        let label = self.hold_new.as_ref().map(ToString::to_string);
        let hold = self.no_hold_new || label.is_some();
        let keep = self.retain_completed.map(Retention::change);
        let (for_ms, forever) = (None, false);
        let no_more = QueueChangeJson::RetainCompleted { for_ms, forever };
        let max = self.limit_messages;
        let limit = self.no_limit_messages || max.is_some();
        let changes = [
            hold.then_some(QueueChangeJson::HoldNew { label }),
            keep.or(self.no_retain_completed.then_some(no_more)),
            limit.then_some(QueueChangeJson::LimitMessages { max }),
        ];
        changes.into_iter().flatten().collect()
    }

    pub(crate) fn run(&self) -> Result {
        let changes = self.changes();
        if changes.is_empty() {
            return Err(Failure::usage(
                "say what is to be set, such as --hold-new review",
            ));
        }
        Target::visit(&self.data, |target, output| {
            for change in changes {
                let queue = self.queue.to_string();
                target.call(Call::SetQueue(SetQueueCall { queue, change }))?;
            }
            show(target, &self.queue, false, output)
        })
    }
}

impl Show {
    pub(crate) fn run(&self) -> Result {
        Target::visit(&self.data, |target, output| {
            show(target, &self.queue, self.json, output)
        })
    }
}

fn show(target: &Target, queue: &QueueName, json: bool, output: &mut Output) -> Result {
    let queue = queue.to_string();
    let call = Call::QueueSettings(OneQueue { queue });
    let settings = target.ask(call, |answer| match answer {
        Answer::QueueSettings(settings) => Some(settings),
        _ => None,
    })?;
    if json {
        return output.json(&settings);
    }
    Ok(output.facts(facts(&settings))?)
}

fn facts(settings: &QueueSettingsJson) -> [(&'static str, String); 5] {
    let label = settings.hold_new.as_deref();
    let kept = settings.retain_completed_ms.map(Duration::from_millis);
    let kept = match kept {
        _ if settings.retain_completed_forever => "kept forever".to_owned(),
        Some(time) => format!("kept {}", clock::duration(time)),
        None => "not kept".to_owned(),
    };
    let most = settings.messages_max;
    [
        ("queue", Escaped(&settings.queue).to_string()),
        (
            "paused",
            if settings.paused { "yes" } else { "no" }.to_owned(),
        ),
        (
            "new messages",
            label.map_or_else(
                || "go on".to_owned(),
                |label| format!("held as {}", Escaped(label)),
            ),
        ),
        ("completed messages", kept),
        (
            "messages at most",
            most.map_or_else(
                || "as many as the store".to_owned(),
                |most| most.to_string(),
            ),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        set: Set,
    }

    fn changes(rest: &str) -> Option<Vec<QueueChangeJson>> {
        let words = ["set", "--data", "d", "mail"].into_iter();
        let line = Line::try_parse_from(words.chain(rest.split_whitespace()));
        line.ok().map(|line| line.set.changes())
    }

    #[test]
    fn each_option_is_a_change_and_its_opposite_takes_it_back() {
        let label = Some("review".to_owned());
        let keep = |for_ms, forever| QueueChangeJson::RetainCompleted { for_ms, forever };
        for (rest, change) in [
            ("--hold-new review", QueueChangeJson::HoldNew { label }),
            ("--no-hold-new", QueueChangeJson::HoldNew { label: None }),
            ("--retain-completed 1d", keep(Some(86_400_000), false)),
            ("--retain-completed forever", keep(None, true)),
            ("--no-retain-completed", keep(None, false)),
            (
                "--limit-messages 0",
                QueueChangeJson::LimitMessages { max: Some(0) },
            ),
            (
                "--no-limit-messages",
                QueueChangeJson::LimitMessages { max: None },
            ),
        ] {
            assert_eq!(changes(rest), Some(vec![change]), "{rest}");
        }
        assert_eq!(
            changes("--hold-new a --limit-messages 3").map(|all| all.len()),
            Some(2)
        );
    }

    #[test]
    fn what_contradicts_itself_or_cannot_be_is_refused() {
        for rest in [
            "--hold-new a --no-hold-new",
            "--retain-completed 1d --no-retain-completed",
            "--limit-messages 1 --no-limit-messages",
            "--limit-messages -1",
            "--retain-completed soon",
            "--hold-new ;",
        ] {
            assert_eq!(changes(rest), None, "{rest}");
        }
    }
}
