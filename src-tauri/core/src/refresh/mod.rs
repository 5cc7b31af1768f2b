//! Renewing logins: by generation, under OpenClaw's own locks, with nothing lost on the way.
//!
//! Must never send a generation that another program holds too, that was refused, or that has a
//! successor; must never let go of an answer before it is in every store that needs it.

mod fleet;
mod healing;
pub mod holders;
mod merge;
mod revocation;
mod rotation;
pub mod schedule;

pub use fleet::{Fleet, FleetStore};
pub use healing::{Asks, Healing, Sources};
pub use holders::{Holder, HolderLocks, Holders};
pub use merge::{answers_wait, new_tokens, replay, seal_tokens};
pub use revocation::{Login, Revocable};
pub use rotation::{Attempt, Done, Failed, Kept, Refresher, Wanted, due_item};
