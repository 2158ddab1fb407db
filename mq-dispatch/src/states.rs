//! What the program shares with its handlers, by type.

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
