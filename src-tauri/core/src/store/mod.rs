//! OpenClaw's credential stores. In the json era (OpenClaw 2026.2.17 to 2026.6.1) one
//! `auth-profiles.json` and, from 2026.4.9 on, one `auth-state.json` per agent directory; later
//! the same documents in cells of databases, which [`sqlite`] reads.
//!
//! Reading needs no lock and is a hint. Writing goes through [`AgentStore::update`], which asks
//! for the [`StoreLock`] of that very directory, reads fresh bytes, changes only what the caller
//! names and keeps everything else. Nothing here may write a file that it could not read back
//! without loss, nor touch `auth.json` and `credentials/oauth.json` other than by reading.

pub mod agent_store;
pub mod atomic;
pub mod credential;
pub mod document;
pub mod fence;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod generated;
pub mod json;
pub mod legacy;
pub mod lock;
pub mod sqlite;
pub mod state;

pub use agent_store::{AgentStore, OrderFile, Revision, StoreContent};
pub use credential::{Credential, NewCredential, NewTokens};
pub use document::Document;
pub use fence::{Fence, FenceDigest, FenceKind, FencedToken};
pub use lock::StoreLock;
pub use state::{AuthState, StateEdit, UsageStats};
