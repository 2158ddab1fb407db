//! Damage to what was durable, and what an opening may make of it.
//!
//! A [`Specimen`] is a store whose life is known. Each [`Damage`] is done to a copy of it, which is then opened, and
//! [`Specimen::judge`] allows three things: the same state as without the damage; a refusal that names the file and the place
//! and changes nothing; or the loss of a tail that nothing durable speaks for. A panic, silent loss, another state or an
//! imprecise refusal is a broken promise.
//!
//! What it does not do: damage two places at once, but for bytes that changed places.

mod damage;
mod judge;
mod life;
mod specimen;

pub use damage::{Damage, Density};
pub use judge::{Tally, Verdict};
pub(crate) use judge::{has_changed, journal_end};
pub use life::{End, specimen};
pub use specimen::Specimen;
