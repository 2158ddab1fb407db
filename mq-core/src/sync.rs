//! The primitives the ring and the signal are built on: those of std, or of a model checker when one runs it.
//!
//! `--cfg loom` puts loom's versions here and `--cfg shuttle` shuttle's; nothing else in the crate knows.
//! Only what they use is listed. The crate's locks and channels do not come from here.

#[cfg(loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence},
};
#[cfg(all(shuttle, not(loom)))]
pub(crate) use shuttle::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence},
};

/// std's `UnsafeCell` behind the scoped access that lets loom see where each access begins and ends.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Runs `access` on the pointer to the value; nobody else may use the value meanwhile.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// A pause means nothing to a model, which tries every order anyway.
#[cfg(any(loom, shuttle))]
pub(crate) const fn spin_loop() {}
