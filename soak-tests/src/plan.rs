//! What each number stands for: class, payload, keys and options of a message follow from its number alone, so that two
//! processes agree on them without a word.
//!
//! Numbers come in aligned groups of four: the four of a batch are enqueued as one. A name is a number and a stage; the
//! later stages of a chain are named before they exist.

use std::time::Duration;

/// Numbers in a group.
pub(crate) const GROUP: u64 = 4;
/// Stages of a chain after its first message.
pub(crate) const STAGES: u64 = 2;
/// Ordering keys in use.
const ORDERING_KEYS: u64 = 61;
/// Dedup keys in use.
const DEDUP_KEYS: u64 = 23;

/// What is done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Enqueued alone, any priority, handled once.
    Plain,
    /// With an ordering key.
    Ordered,
    /// With an idempotency key; sent again after a crash.
    Once,
    /// Its handler stages the next stage.
    Chain,
    /// Delayed.
    Later,
    /// Fails some times before it succeeds.
    Flaky,
    /// Goes dead, is replayed, and succeeds then.
    Doomed,
    /// With a dedup key that keeps the older message.
    Keep,
    /// In an all-or-none batch.
    Batch,
    /// In a paused queue until the end.
    Cold,
    /// Delayed by a year.
    Pinned,
}

/// What both processes must agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How many messages wait in the paused queue; a multiple of [`GROUP`].
    pub(crate) cold: u64,
}

/// A message: its number and its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(pub(crate) u64);

impl Name {
    pub(crate) const fn first_stage(number: u64) -> Self {
        Self(number * GROUP)
    }

    pub(crate) const fn number(self) -> u64 {
        self.0 / GROUP
    }

    pub(crate) const fn stage(self) -> u64 {
        self.0 % GROUP
    }

    /// The message that its handler stages.
    pub(crate) const fn next_stage(self) -> Option<Self> {
        if self.stage() < STAGES {
            Some(Self(self.0 + 1))
        } else {
            None
        }
    }

    /// The message whose handler staged it.
    pub(crate) const fn staged_by(self) -> Option<Self> {
        if self.stage() > 0 {
            Some(Self(self.0 - 1))
        } else {
            None
        }
    }

    /// What its payload carries: mostly some hundred bytes, sometimes 8 KiB, rarely 200 KiB.
    pub(crate) fn body(self) -> String {
        const LETTERS: &[u8; 64] =
            b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let dice = mix(self.0 ^ 0xb0d7);
        let len = match dice % 4096 {
            0 | 1 => 200 << 10,
            2..64 => 8 << 10,
            _ => 16 + dice % 600,
        };
        let mut body = String::new();
        let mut word = dice;
        for at in 0..len {
            if at % 8 == 0 {
                word = mix(word ^ at);
            }
            let index = usize::try_from((word >> (at % 8 * 8)) & 63).unwrap_or_default();
            body.push(char::from(LETTERS.get(index).copied().unwrap_or(b'a')));
        }
        body
    }

    /// Of what its payload should carry.
    pub(crate) fn checksum(self) -> u32 {
        checksum(&self.body())
    }
}

/// Of what a payload carries.
pub(crate) fn checksum(body: &str) -> u32 {
    crc32fast::hash(body.as_bytes())
}

impl Plan {
    /// What is done with the message of this number.
    pub(crate) fn class(self, number: u64) -> Class {
        if number < self.cold {
            return Class::Cold;
        }
        if number < self.cold + GROUP {
            return Class::Pinned;
        }
        if mix(number / GROUP) % 100 < 12 {
            return Class::Batch;
        }
        match mix(number ^ 0xc1a5) % 100 {
            0..20 => Class::Ordered,
            20..35 => Class::Once,
            35..50 => Class::Chain,
            50..58 => Class::Later,
            58..64 => Class::Flaky,
            64..66 => Class::Doomed,
            66..72 => Class::Keep,
            _ => Class::Plain,
        }
    }

    /// Whether its group is enqueued as one batch.
    pub(crate) fn is_batched(self, number: u64) -> bool {
        matches!(
            self.class(number),
            Class::Batch | Class::Cold | Class::Pinned
        )
    }
}

pub(crate) fn ordering_key(number: u64) -> u64 {
    mix(number ^ 0x0de5) % ORDERING_KEYS
}

pub(crate) fn dedup_key(number: u64) -> u64 {
    mix(number ^ 0xdead) % DEDUP_KEYS
}

pub(crate) fn idempotency_key(number: u64) -> String {
    format!("once-{number}")
}

pub(crate) fn priority(number: u64) -> u8 {
    u8::try_from(mix(number ^ 0x9419) % 10).unwrap_or_default()
}

pub(crate) fn delay(number: u64) -> Duration {
    Duration::from_millis(500 + mix(number ^ 0x7a7e) % 30_000)
}

/// How often a flaky message fails.
pub(crate) fn failures(number: u64) -> u32 {
    1 + u32::try_from(mix(number ^ 0xf1a2) % 3).unwrap_or_default()
}

/// How long its handler works.
pub(crate) fn work(name: Name) -> Duration {
    let dice = mix(name.0 ^ 0x3042);
    match dice % 100 {
        0 => Duration::from_millis(60),
        1..20 => Duration::from_millis(dice % 5),
        _ => Duration::ZERO,
    }
}

/// Source: the finalizer of SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Numbers that look random and come again with the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        if limit == 0 { 0 } else { mix(self.0) % limit }
    }

    pub(crate) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }
}
