//! What happens to accounts, as `kalit watch --json` prints it and the history keeps it.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AgentId, ProfileId};

/// One event. `installation` is the canonical state directory.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub schema: u32,
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub at: Timestamp,
    pub installation: String,
    pub agent: Option<AgentId>,
    pub profile_id: Option<ProfileId>,
    /// Fingerprint (16 hex) of the generation concerned.
    pub generation: Option<String>,
    /// The snapshot from which it can be put back.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// The order that is stored since it was switched or changed; `None` where none is.
    #[serde(default)]
    pub order: Option<Vec<ProfileId>>,
    /// A stable word: the provider's code, an error code, or who did it.
    pub cause: Option<String>,
    /// One sentence for people, free of secrets.
    pub text: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The engine watches this installation.
    Started,
    SignedIn,
    /// A sign-in that a crash interrupted found no place: a sealed copy is kept.
    SignInSealed,
    /// Kalit rotated the generation.
    Refreshed,
    /// Another program rotated it.
    Adopted,
    RefreshFailed,
    /// Another program was found to hold the same generation; `cause` names it.
    Shared,
    /// A program that held the same generation renewed it for itself; `cause` names it.
    RenewedElsewhere,
    SignedOut,
    OpenclawRefused,
    /// OpenClaw could not renew it and dropped the token from its store.
    Dropped,
    NotRenewed,
    Vanished,
    Switched,
    /// By Kalit, or outside of it.
    OrderChanged,
    /// A person ended the time for which OpenClaw leaves an account alone.
    CooldownCleared,
    Added,
    Removed,
    /// A person ended the login at its provider.
    Revoked,
    Imported,
    /// A newer generation was put back over a stale one.
    Repaired,
    /// A login was put back as a person asked: one that OpenClaw had dropped, or from a snapshot.
    Restored,
    StoreUnreadable,
    StoreReadable,
    Changed,
}

impl EventKind {
    /// Its word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::SignedIn => "signed-in",
            Self::SignInSealed => "sign-in-sealed",
            Self::Refreshed => "refreshed",
            Self::Adopted => "adopted",
            Self::RefreshFailed => "refresh-failed",
            Self::Shared => "shared",
            Self::RenewedElsewhere => "renewed-elsewhere",
            Self::SignedOut => "signed-out",
            Self::OpenclawRefused => "openclaw-refused",
            Self::Dropped => "dropped",
            Self::NotRenewed => "not-renewed",
            Self::Vanished => "vanished",
            Self::Switched => "switched",
            Self::OrderChanged => "order-changed",
            Self::CooldownCleared => "cooldown-cleared",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Revoked => "revoked",
            Self::Imported => "imported",
            Self::Repaired => "repaired",
            Self::Restored => "restored",
            Self::StoreUnreadable => "store-unreadable",
            Self::StoreReadable => "store-readable",
            Self::Changed => "changed",
        }
    }
}
