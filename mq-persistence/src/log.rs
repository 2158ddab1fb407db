//! The log.
pub use crate::frame::PlaceChange;
use crate::lsn::Lsn;

/// A frame that was written.
#[derive(Debug)]
pub struct Written {
    /// Where it begins.
    pub start: Lsn,
    /// Where the next one will begin.
    pub end: Lsn,
    /// What it did to the places of messages, in order.
    pub changes: Vec<PlaceChange>,
}
