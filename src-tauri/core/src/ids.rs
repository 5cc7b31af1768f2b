//! Names that come from OpenClaw's files, parsed once and opaque afterwards.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// A profile id such as `openai:me@example.com`: an opaque, case-sensitive string. The
    /// provider is never derived from its prefix (openclaw-compat, section 5).
    ProfileId
}

text_id! {
    /// A provider id, trimmed and lower-cased; release-specific aliases are the business of
    /// [`crate::routing`].
    ProviderId
}

text_id! {
    /// An agent id: lower-cased, `^[a-z0-9][a-z0-9_-]{0,63}$`; other characters become `-`.
    AgentId
}

impl ProfileId {
    /// Any non-empty string is a profile id.
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The part after the first colon, else the whole id: the account's name in the window.
    pub fn account_name(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(_, name)| name)
    }
}

impl ProviderId {
    /// Trimmed and lower-cased; `None` when nothing is left.
    pub fn parse(text: &str) -> Option<Self> {
        let id = text.trim().to_lowercase();
        (!id.is_empty()).then_some(Self(id))
    }

    /// Whether this is ChatGPT/Codex OAuth under its old or its new name.
    pub fn is_openai(&self) -> bool {
        matches!(self.0.as_str(), "openai" | "openai-codex")
    }
}

impl AgentId {
    /// The agent that owns the inherited credentials, whatever the default agent is.
    pub fn main() -> Self {
        Self("main".to_owned())
    }

    /// Whether this is `main`.
    pub fn is_main(&self) -> bool {
        self.0 == "main"
    }

    /// Lower-cases; in anything that is not an id already, each run of foreign characters becomes
    /// one `-` and those at the ends go (OpenClaw 2026.6.1). Nothing left means `main`.
    pub fn normalize(text: &str) -> Self {
        let lower = text.trim().to_lowercase();
        let own = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let starts_well = lower.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && lower.len() <= 64 && lower.chars().all(own) {
            return Self(lower);
        }
        let mut id = String::new();
        for c in lower.chars() {
            if own(c) {
                id.push(c);
            } else if !id.ends_with('-') {
                id.push('-');
            }
        }
        let id: String = id.trim_matches('-').chars().take(64).collect();
        if id.is_empty() { Self::main() } else { Self(id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids_are_normalized() {
        assert_eq!(AgentId::normalize(" Work Agent ").as_str(), "work-agent");
        assert_eq!(AgentId::normalize("--a_b").as_str(), "a_b");
        assert_eq!(AgentId::normalize("Work-").as_str(), "work-");
        assert_eq!(AgentId::normalize("a  é b").as_str(), "a-b");
        assert_eq!(AgentId::normalize("").as_str(), "main");
    }
}
