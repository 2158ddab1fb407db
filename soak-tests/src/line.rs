//! What the child says on its standard output, a line at a time, each in one write: a kill cuts between lines or leaves a
//! last one without its end, which is not counted as said.

use anyhow::{Context, bail};

use crate::plan::Name;

/// Which hand-out of a message: later ones compare greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HandOut {
    pub(crate) incarnation: u32,
    pub(crate) delivery: u32,
}

/// How a message of the store ended, or did not; durable when it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    Dead,
    Replayed,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// The store is open: how long that took, in microseconds.
    Opened { micros: u64 },
    /// About to enqueue.
    Submitted(Name),
    /// About to enqueue a group as one.
    BatchSubmitted { number: u64 },
    /// The enqueue was answered.
    Answered {
        name: Name,
        seq: u64,
        micros: u64,
        is_new: bool,
    },
    /// The enqueue was refused for certain.
    Refused(Name),
    /// A handler has it in hand.
    Handed {
        name: Name,
        seq: u64,
        hand_out: HandOut,
        checksum: u32,
    },
    /// A handler has a message of a schedule in hand.
    Tick { seq: u64, hand_out: HandOut },
    /// The handler is about to return success.
    Finishing {
        name: Name,
        seq: u64,
        hand_out: HandOut,
    },
    /// What the engine told in its events.
    Told { seq: u64, fate: Fate },
    /// The listener of events missed some.
    Gap(u64),
    /// A listing of everything that lives or is dead begins.
    AuditBegins(u64),
    /// Some of it.
    Listed(Vec<u64>),
    /// It ends.
    AuditEnds(u64),
    /// Figures of the engine.
    Figures(Figures),
    /// Producers have stopped, everything was worked off.
    Drained,
    /// The store is closed.
    Closed,
    /// Something failed that should not.
    Trouble(String),
    /// The engine has stopped, and so does the child.
    GaveUp(String),
}

/// What the engine says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) live: u64,
    pub(crate) live_bytes: u64,
    pub(crate) dead: u64,
    pub(crate) journal: u64,
    pub(crate) segments: u64,
    pub(crate) spares: u64,
    pub(crate) keys: u64,
    pub(crate) clock_jumps: u64,
    pub(crate) snapshots: u64,
    pub(crate) sync_p99_micros: u64,
}

impl Figures {
    fn words(&self) -> String {
        let all = [
            self.live,
            self.live_bytes,
            self.dead,
            self.journal,
            self.segments,
            self.spares,
            self.keys,
            self.clock_jumps,
            self.snapshots,
            self.sync_p99_micros,
        ];
        join(&all)
    }

    fn parse(words: &mut Words<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            live: words.number()?,
            live_bytes: words.number()?,
            dead: words.number()?,
            journal: words.number()?,
            segments: words.number()?,
            spares: words.number()?,
            keys: words.number()?,
            clock_jumps: words.number()?,
            snapshots: words.number()?,
            sync_p99_micros: words.number()?,
        })
    }
}

fn join(numbers: &[u64]) -> String {
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    words.join(" ")
}

impl Said {
    /// With its line end.
    pub(crate) fn line(&self) -> String {
        let text = match self {
            Self::Opened { micros } => format!("O {micros}"),
            Self::Submitted(name) => format!("S {}", name.0),
            Self::BatchSubmitted { number } => format!("B {number}"),
            Self::Answered {
                name,
                seq,
                micros,
                is_new,
            } => format!("A {} {seq} {micros} {}", name.0, u8::from(*is_new)),
            Self::Refused(name) => format!("R {}", name.0),
            Self::Handed {
                name,
                seq,
                hand_out,
                checksum,
            } => format!(
                "H {} {seq} {} {} {checksum}",
                name.0, hand_out.incarnation, hand_out.delivery
            ),
            Self::Tick { seq, hand_out } => {
                format!("K {seq} {} {}", hand_out.incarnation, hand_out.delivery)
            }
            Self::Finishing {
                name,
                seq,
                hand_out,
            } => format!(
                "F {} {seq} {} {}",
                name.0, hand_out.incarnation, hand_out.delivery
            ),
            Self::Told { seq, fate } => format!("E {seq} {}", *fate as u8),
            Self::Gap(missed) => format!("G {missed}"),
            Self::AuditBegins(number) => format!("V {number}"),
            Self::Listed(seqs) => format!("L {}", join(seqs)),
            Self::AuditEnds(number) => format!("W {number}"),
            Self::Figures(figures) => format!("Q {}", figures.words()),
            Self::Drained => "Z".to_owned(),
            Self::Closed => "C".to_owned(),
            Self::Trouble(text) => format!("P {}", text.replace('\n', " / ")),
            Self::GaveUp(text) => format!("X {}", text.replace('\n', " / ")),
        };
        text + "\n"
    }

    /// Without its line end.
    pub(crate) fn parse(line: &str) -> anyhow::Result<Self> {
        if let Some(text) = line.strip_prefix("P ") {
            return Ok(Self::Trouble(text.to_owned()));
        }
        if let Some(text) = line.strip_prefix("X ") {
            return Ok(Self::GaveUp(text.to_owned()));
        }
        Self::parse_words(&mut Words(line.split(' ')))
            .with_context(|| format!("the child said {line:?}"))
    }

    fn parse_words(words: &mut Words<'_>) -> anyhow::Result<Self> {
        let word = words.0.next().context("an empty line")?;
        Ok(match word {
            "O" => Self::Opened {
                micros: words.number()?,
            },
            "S" => Self::Submitted(words.name()?),
            "B" => Self::BatchSubmitted {
                number: words.number()?,
            },
            "A" => Self::Answered {
                name: words.name()?,
                seq: words.number()?,
                micros: words.number()?,
                is_new: words.number()? == 1,
            },
            "R" => Self::Refused(words.name()?),
            "H" => Self::Handed {
                name: words.name()?,
                seq: words.number()?,
                hand_out: words.hand_out()?,
                checksum: u32::try_from(words.number()?)?,
            },
            "K" => Self::Tick {
                seq: words.number()?,
                hand_out: words.hand_out()?,
            },
            "F" => Self::Finishing {
                name: words.name()?,
                seq: words.number()?,
                hand_out: words.hand_out()?,
            },
            "E" => Self::Told {
                seq: words.number()?,
                fate: match words.number()? {
                    0 => Fate::Done,
                    1 => Fate::Dead,
                    2 => Fate::Replayed,
                    other => bail!("no fate is numbered {other}"),
                },
            },
            "G" => Self::Gap(words.number()?),
            "V" => Self::AuditBegins(words.number()?),
            "L" => Self::Listed(words.rest()?),
            "W" => Self::AuditEnds(words.number()?),
            "Q" => Self::Figures(Figures::parse(words)?),
            "Z" => Self::Drained,
            "C" => Self::Closed,
            other => bail!("no line begins with {other:?}"),
        })
    }
}

struct Words<'a>(std::str::Split<'a, char>);

impl Words<'_> {
    fn number(&mut self) -> anyhow::Result<u64> {
        let word = self.0.next().context("a number is missing")?;
        word.parse().with_context(|| format!("{word:?}"))
    }

    fn name(&mut self) -> anyhow::Result<Name> {
        self.number().map(Name)
    }

    fn hand_out(&mut self) -> anyhow::Result<HandOut> {
        Ok(HandOut {
            incarnation: u32::try_from(self.number()?)?,
            delivery: u32::try_from(self.number()?)?,
        })
    }

    fn rest(&mut self) -> anyhow::Result<Vec<u64>> {
        let words = self.0.by_ref().filter(|word| !word.is_empty());
        words.map(|word| Ok(word.parse()?)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_back_as_what_was_said() {
        let hand_out = HandOut {
            incarnation: 3,
            delivery: 2,
        };
        let name = Name(17);
        let all = [
            Said::Opened { micros: 9 },
            Said::Submitted(name),
            Said::BatchSubmitted { number: 8 },
            Said::Answered {
                name,
                seq: 4,
                micros: 5,
                is_new: true,
            },
            Said::Refused(name),
            Said::Handed {
                name,
                seq: 4,
                hand_out,
                checksum: u32::MAX,
            },
            Said::Tick { seq: 4, hand_out },
            Said::Finishing {
                name,
                seq: 4,
                hand_out,
            },
            Said::Told {
                seq: 4,
                fate: Fate::Replayed,
            },
            Said::Gap(7),
            Said::AuditBegins(1),
            Said::Listed(vec![1, 2, 3]),
            Said::Listed(Vec::new()),
            Said::AuditEnds(1),
            Said::Figures(Figures {
                live: 1,
                sync_p99_micros: 10,
                ..Figures::default()
            }),
            Said::Drained,
            Said::Closed,
            Said::Trouble("a b".to_owned()),
            Said::GaveUp("a b".to_owned()),
        ];
        for said in all {
            let line = said.line();
            let line = line.strip_suffix('\n').unwrap();
            assert_eq!(Said::parse(line).unwrap(), said);
        }
    }
}
