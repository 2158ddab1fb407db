//! The journal of mq: the storage seam, records, frames, segments, the log, snapshots, recovery, compaction.
//!
//! From bytes to a store: [`fields`](self) → [`record`] → [`frame`] → [`segment`] → [`log`]; back: [`recovery`] → [`mod@open`]. The layout of
//! every byte: docs/journal-format.md.

pub mod backup;
pub mod checksum;
mod closing;
pub mod compaction;
pub mod envelope;
pub mod error;
mod fields;
pub mod frame;
pub mod holdings;
pub mod identity;
pub mod inspect;
pub mod keeper;
pub mod log;
pub mod lsn;
pub mod open;
pub mod pins;
pub mod places;
pub mod reclaim;
pub mod record;
pub mod recovery;
pub mod room;
pub mod salvage;
pub mod scan;
pub mod segment;
pub mod snapshot;
pub mod spares;
pub mod storage;

pub use error::{DecodeError, JournalError};
pub use frame::{Frame, PlaceChange, Relocation};
pub use identity::Identity;
pub use log::{Log, Written};
pub use lsn::Lsn;
pub use open::{JournalOptions, OpenError, OpenInputs, OpenReport, Opened, open};
