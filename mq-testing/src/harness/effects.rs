//! The world outside, as far as a test needs one: what handlers did to it, which no crash undoes.

use std::fmt::{self, Display};
use std::sync::Arc;

use parking_lot::Mutex;

use super::fail;
use super::world::World;

#[derive(Clone, Debug)]
struct Effect {
    key: Option<String>,
    what: String,
}

/// What handlers did to the world outside: money taken, mails sent. It survives every crash, and it remembers.
///
/// Give it to handlers with [`Harness::state`](crate::Harness::state) (as itself or inside of a fake client), let them call
/// [`Effects::happen`] where they would call the payment service, and say at the end what should have happened how often.
/// Around each call are points at which an explored scenario lets the process die: before it, and after it but before the
/// handler knows.
#[derive(Clone, Debug, Default)]
pub struct Effects(Arc<Mutex<Vec<Effect>>>);

impl Effects {
    /// A world to which nothing was done yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Something happens that cannot be taken back.
    pub async fn happen(&self, what: impl Display) {
        self.note(None, what.to_string());
        tokio::task::yield_now().await; // the process may die here: it happened, and the handler does not know
    }

    /// Something happens in a system that knows idempotency keys: a second call with the same key does nothing. Answers
    /// whether it happened now.
    pub async fn happen_once(&self, key: impl Display, what: impl Display) -> bool {
        let key = key.to_string();
        let is_known = |effect: &Effect| effect.key.as_ref() == Some(&key);
        let happens = !self.0.lock().iter().any(is_known);
        if happens {
            self.note(Some(key), what.to_string());
        }
        tokio::task::yield_now().await;
        happens
    }

    /// As [`Effects::happen`], for blocking handlers. The process does not die around it.
    pub fn happen_blocking(&self, what: impl Display) {
        self.note(None, what.to_string());
    }

    fn note(&self, key: Option<String>, what: String) {
        if let Some(world) = World::current() {
            world.tell(format_args!("outside: {what}"));
        }
        self.0.lock().push(Effect { key, what });
    }

    /// Everything that happened, in order.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let effects = self.0.lock();
        effects.iter().map(|effect| effect.what.clone()).collect()
    }

    /// How often this happened.
    #[must_use]
    pub fn times(&self, what: &str) -> usize {
        let effects = self.0.lock();
        effects.iter().filter(|effect| effect.what == what).count()
    }

    /// This happened so often.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn assert_times(&self, what: &str, times: usize) {
        let found = self.times(what);
        if found != times {
            fail(&format!(
                "{what:?} happened {found} times instead of {times}{self}"
            ));
        }
    }

    /// Nothing happened twice.
    ///
    /// # Panics
    /// If something did.
    #[track_caller]
    pub fn assert_nothing_twice(&self) {
        let all = self.all();
        let twice = all.iter().find(|what| self.times(what) > 1);
        if let Some(what) = twice {
            let found = self.times(what);
            fail(&format!(
                "{what:?} happened {found} times: its handler was run again and did it again; give the outside \
                 system an idempotency key, such as the message's id{self}"
            ));
        }
    }
}

impl Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all();
        if all.is_empty() {
            return f.write_str("\nnothing has happened outside");
        }
        f.write_str("\nwhat has happened outside:")?;
        all.iter().try_for_each(|what| write!(f, "\n  {what}"))
    }
}
