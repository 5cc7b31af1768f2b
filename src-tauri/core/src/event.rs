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
    /// Fingerprint (16 hex) of the chain of generations that it belongs to.
    #[serde(default)]
    pub family: Option<String>,
    /// The snapshot from which it can be put back.
    #[serde(default)]
    pub snapshot: Option<String>,
    /// The order that is stored since it was switched or changed; `None` where none is.
    #[serde(default)]
    pub order: Option<Vec<ProfileId>>,
    /// A stable word: the provider's code, an error code, or who did it.
    pub cause: Option<String>,
    /// Whose doing it was, a stable word: see [`EventKind::source`].
    #[serde(default = "unknown")]
    pub source: String,
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

fn unknown() -> String {
    "unknown".to_owned()
}

impl EventKind {
    /// Every kind, as `kalit history --type` takes them.
    pub const ALL: [Self; 25] = [
        Self::Started,
        Self::SignedIn,
        Self::SignInSealed,
        Self::Refreshed,
        Self::Adopted,
        Self::RefreshFailed,
        Self::Shared,
        Self::RenewedElsewhere,
        Self::SignedOut,
        Self::OpenclawRefused,
        Self::Dropped,
        Self::NotRenewed,
        Self::Vanished,
        Self::Switched,
        Self::OrderChanged,
        Self::CooldownCleared,
        Self::Added,
        Self::Removed,
        Self::Revoked,
        Self::Imported,
        Self::Repaired,
        Self::Restored,
        Self::StoreUnreadable,
        Self::StoreReadable,
        Self::Changed,
    ];

    /// Whose doing an event of this kind with this cause was: `person` (with Kalit), `kalit` by itself,
    /// `openclaw`, the word of another program such as `codex-cli`, else `unknown`.
    pub fn source(self, cause: Option<&str>) -> &str {
        match self {
            Self::Shared | Self::RenewedElsewhere => cause.unwrap_or("unknown"),
            Self::OpenclawRefused | Self::Dropped => "openclaw",
            _ if cause == Some("outside") => "unknown",
            Self::Adopted
            | Self::Changed
            | Self::NotRenewed
            | Self::Vanished
            | Self::StoreUnreadable
            | Self::StoreReadable => "unknown",
            Self::Started
            | Self::SignInSealed
            | Self::Refreshed
            | Self::RefreshFailed
            | Self::SignedOut
            | Self::Repaired => "kalit",
            Self::SignedIn
            | Self::Switched
            | Self::OrderChanged
            | Self::CooldownCleared
            | Self::Added
            | Self::Removed
            | Self::Revoked
            | Self::Imported
            | Self::Restored => "person",
        }
    }

    /// The kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_word_and_a_source() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        let source = |kind: EventKind, cause| kind.source(cause).to_owned();
        assert_eq!(
            source(EventKind::RenewedElsewhere, Some("codex-cli")),
            "codex-cli"
        );
        assert_eq!(source(EventKind::OrderChanged, Some("outside")), "unknown");
        assert_eq!(source(EventKind::OrderChanged, Some("kalit")), "person");
        assert_eq!(source(EventKind::SignedOut, Some("invalid_grant")), "kalit");
        assert_eq!(
            source(EventKind::Dropped, Some("refresh_fence_failed")),
            "openclaw"
        );
    }

    #[test]
    fn a_row_of_an_earlier_version_is_read() {
        let old = r#"{"schema":1,"type":"refreshed","at":1,"installation":"/a","agent":null,
            "profileId":null,"generation":null,"cause":null,"text":"t"}"#;
        let event: Event = serde_json::from_str(old).unwrap();
        assert_eq!((event.family, event.source.as_str()), (None, "unknown"));
    }
}
