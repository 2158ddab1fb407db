//! Known mistakes, ours and other projects', that can be built in on purpose: a test that does not notice one is blind.
//!
//! Only a build with `--cfg mq_canary` contains them; in every other one [`sings`] is the constant `false`, and the branch
//! that asks is compiled out. One is chosen by name in the environment variable `MQ_CANARY`. The list, with what each does
//! wrong and which suite must notice, is in `chaos-tests/src/canaries.rs`.
//!
//! What it does not do: anything in a program that is shipped.

/// Whether the mistake called `name` is to be made.
#[cfg(mq_canary)]
#[must_use]
pub fn sings(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("MQ_CANARY").ok());
    chosen.as_deref() == Some(name)
}

/// Whether the mistake called `name` is to be made: never.
#[cfg(not(mq_canary))]
#[must_use]
pub const fn sings(_name: &str) -> bool {
    false
}
