//! What the program shares with its handlers, by type: whole values, and parts of one.

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;

/// One value of each type.
#[derive(Default)]
pub struct States(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl States {
    /// Adds a value; answers `false` if one of its type was there, which stays.
    pub(crate) fn insert<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        if self.contains::<T>() {
            return false;
        }
        self.0.insert(TypeId::of::<T>(), Box::new(value));
        true
    }

    /// Whether a value of this type was given.
    #[must_use]
    pub fn contains<T: 'static>(&self) -> bool {
        self.0.contains_key(&TypeId::of::<T>())
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        let value = self.0.get(&TypeId::of::<T>())?;
        value.downcast_ref()
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("States")
            .field("len", &self.0.len())
            .finish_non_exhaustive()
    }
}

/// Says how a part is taken from a whole, so that a handler can ask for the part alone: `State<Payments>` of an `App`.
///
/// Usually derived: `#[derive(Clone, FromRef)]` makes each field of a struct a part of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a part of `{T}`",
    label = "not a part",
    note = "`#[derive(Clone, FromRef)]` on `{T}` makes each of its fields a part of it"
)]
pub trait FromRef<T> {
    /// Takes the part.
    fn from_ref(whole: &T) -> Self;
}

/// A value whose parts handlers can ask for; given by [`crate::WorkersBuilder::state_parts`].
///
/// ```
/// use mq_macros::FromRef;
///
/// #[derive(Clone)]
/// struct Payments;
///
/// #[derive(Clone, FromRef)]
/// #[from_ref(crate = mq_dispatch)]
/// struct App {
///     payments: Payments,
///     #[from_ref(skip)]
///     started: std::time::Instant,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no parts that handlers could ask for",
    label = "not a value with parts",
    note = "derive them: `#[derive(Clone, FromRef)]`; a value without parts is given by `.state(…)`"
)]
pub trait Parts: Clone + Send + Sync + 'static {
    /// Names each part.
    fn parts(list: &mut PartList<'_, Self>);
}

/// Collects the parts of one value.
#[derive(Debug)]
pub struct PartList<'a, T> {
    whole: &'a T,
    states: &'a mut States,
    twice: Vec<&'static str>,
}

impl<'a, T> PartList<'a, T> {
    /// A list of the parts of `whole`, which go into `states`.
    pub(crate) fn new(whole: &'a T, states: &'a mut States) -> Self {
        let twice = Vec::new();
        Self {
            whole,
            states,
            twice,
        }
    }

    /// Names a part. It is taken once, now; each handler that asks for it gets a clone.
    pub fn part<P: FromRef<T> + Clone + Send + Sync + 'static>(&mut self) {
        if !self.states.insert(P::from_ref(self.whole)) {
            self.twice.push(type_name::<P>());
        }
    }

    /// Types of which there was a value already.
    pub(crate) fn into_twice(self) -> Vec<&'static str> {
        self.twice
    }
}

/// What a handler asks for, collected before anything runs.
#[derive(Debug)]
pub struct Needs<'a> {
    states: &'a States,
    missing: Vec<&'static str>,
}

impl<'a> Needs<'a> {
    pub(crate) fn new(states: &'a States) -> Self {
        Self {
            states,
            missing: Vec::new(),
        }
    }

    /// Notes that a value of type `T` must have been given.
    pub fn state<T: 'static>(&mut self) {
        if !self.states.contains::<T>() {
            self.missing.push(type_name::<T>());
        }
    }

    pub(crate) fn into_missing(self) -> Vec<&'static str> {
        self.missing
    }
}
