//! How the releases in use behave. The newest known release decides what is written, the oldest
//! which locks are needed; an unknown one gets every careful choice.

use super::evidence::Evidence;
use super::version::Version;
use crate::ids::ProviderId;
pub use crate::routing::RuleSet;

/// First release with auth-state.json.
const AUTH_STATE: Version = Version::new(2026, 4, 9);
/// Last release known without a refresh lock of its own; that came by 2026.4.21.
const LAST_WITHOUT_REFRESH_LOCK: Version = Version::new(2026, 4, 15);
/// First release known to read main's store instead of copying it.
const READ_THROUGH: Version = Version::new(2026, 4, 29);
/// First release that drops unknown credential fields when it saves.
const WHITELIST: Version = Version::new(2026, 5, 20);
/// First release that calls ChatGPT's provider `openai`.
const OPENAI: Version = Version::new(2026, 6, 1);
/// First release read that puts an agent's own profiles before the inherited ones, the first of
/// the sqlite era; 2026.6.1 does not.
const OWN_FIRST: Version = Version::new(2026, 6, 5);
/// First release with the shared database, taken for the first with the rules of 2026.9.6; those
/// between 2026.7.1 and 2026.9.6 were not read.
const SHARED_DATABASE: Version = Version::new(2026, 8, 0);

/// Behaviour that differs between releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Order resolution and cooldowns.
    pub order_rules: RuleSet,
    /// The store lock is what keeps others from refreshing (up to 2026.4.15): it is held during
    /// the call.
    pub store_lock_during_call: bool,
    /// Whether order and usage belong into auth-state.json (from 2026.4.9 on). `None`: unknown,
    /// so only if that file exists.
    pub auth_state_file: Option<bool>,
    /// `openai` (from 2026.6.1 on) or `openai-codex`. `None`: as the store already has it.
    pub openai_provider: Option<&'static str>,
    /// A release in use copies main's whole store into every agent (up to 2026.4.21).
    pub copies_main_store: bool,
    /// Agents read through to main's store without a copy (from 2026.4.29 on).
    pub inherits: bool,
    /// Unknown credential fields are dropped when OpenClaw saves (from 2026.5.20 on).
    pub writes_whitelist: bool,
    /// An outdated OAuth login `<provider>:default` of a secondary agent gives way to a newer one
    /// of the same account in main's store (from 2026.4.29 on).
    pub adopts_main_login: bool,
    /// An agent's own profiles stand before the inherited ones, and before an inherited order
    /// (from 2026.6.5 on).
    pub own_profiles_first: bool,
    /// Every command about logins, and the gateway, refuses to work beside a file of the json era,
    /// an empty one too (from 2026.8 on; 2026.7.1 does not mind).
    pub leftovers_block: bool,
}

impl Rules {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let (newest, oldest) = (evidence.newest, evidence.oldest);
        Self {
            order_rules: match newest {
                Some(version) if version < READ_THROUGH => RuleSet::V2_17,
                Some(version) if version < OPENAI => RuleSet::V4_29,
                Some(version) if version >= SHARED_DATABASE => RuleSet::V9_6,
                Some(version) if version >= OWN_FIRST => RuleSet::V7_1,
                Some(_) | None => RuleSet::V6_1,
            },
            store_lock_during_call: oldest.is_none_or(|version| version <= LAST_WITHOUT_REFRESH_LOCK),
            auth_state_file: newest.map(|version| version >= AUTH_STATE),
            openai_provider: newest.map(|version| {
                if version >= OPENAI {
                    "openai"
                } else {
                    "openai-codex"
                }
            }),
            copies_main_store: oldest.is_none_or(|version| version < READ_THROUGH),
            inherits: newest.is_none_or(|version| version >= READ_THROUGH),
            writes_whitelist: newest.is_none_or(|version| version >= WHITELIST),
            adopts_main_login: newest.is_none_or(|version| version >= READ_THROUGH),
            own_profiles_first: newest.is_some_and(|version| version >= OWN_FIRST),
            leftovers_block: newest.is_some_and(|version| version >= SHARED_DATABASE),
        }
    }

    /// The provider id for a new ChatGPT sign-in. With an unknown release it is the one that the
    /// store already uses, and `openai` in a store without either.
    pub fn openai_provider_id<'a>(
        &self,
        stored: impl IntoIterator<Item = &'a ProviderId>,
    ) -> Option<ProviderId> {
        match self.openai_provider {
            Some(id) => ProviderId::parse(id),
            None => stored
                .into_iter()
                .find(|provider| provider.is_openai())
                .cloned()
                .or_else(|| ProviderId::parse("openai")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(newest: &str, oldest: &str) -> Rules {
        Rules::of(&Evidence {
            sources: Vec::new(),
            newest: Version::parse(newest),
            oldest: Version::parse(oldest),
        })
    }

    #[test]
    fn each_release_has_its_rules() {
        assert_eq!(
            rules("2026.2.17", "2026.2.17"),
            Rules {
                order_rules: RuleSet::V2_17,
                store_lock_during_call: true,
                auth_state_file: Some(false),
                openai_provider: Some("openai-codex"),
                copies_main_store: true,
                inherits: false,
                writes_whitelist: false,
                adopts_main_login: false,
                own_profiles_first: false,
                leftovers_block: false,
            }
        );
        assert_eq!(
            rules("2026.4.29", "2026.4.29"),
            Rules {
                order_rules: RuleSet::V4_29,
                store_lock_during_call: false,
                auth_state_file: Some(true),
                openai_provider: Some("openai-codex"),
                copies_main_store: false,
                inherits: true,
                writes_whitelist: false,
                adopts_main_login: true,
                own_profiles_first: false,
                leftovers_block: false,
            }
        );
        assert_eq!(
            rules("2026.6.1", "2026.6.1"),
            Rules {
                order_rules: RuleSet::V6_1,
                store_lock_during_call: false,
                auth_state_file: Some(true),
                openai_provider: Some("openai"),
                copies_main_store: false,
                inherits: true,
                writes_whitelist: true,
                adopts_main_login: true,
                own_profiles_first: false,
                leftovers_block: false,
            }
        );
    }

    #[test]
    fn at_the_borders() {
        assert!(rules("2026.4.15", "2026.4.15").store_lock_during_call);
        assert!(!rules("2026.4.21", "2026.4.21").store_lock_during_call);
        assert!(!rules("2026.4.21", "2026.4.21").store_lock_during_call);
        assert!(rules("2026.4.21", "2026.4.21").copies_main_store);
        assert_eq!(rules("2026.4.9", "2026.4.9").auth_state_file, Some(true));
        assert_eq!(rules("2026.4.1", "2026.4.1").auth_state_file, Some(false));
        assert!(!rules("2026.6.1", "2026.6.1").own_profiles_first);
        assert!(rules("2026.6.11", "2026.6.11").own_profiles_first);
        assert_eq!(rules("2026.7.1", "2026.7.1").order_rules, RuleSet::V7_1);
        assert_eq!(rules("2026.9.6", "2026.9.6").order_rules, RuleSet::V9_6);
        assert!(!rules("2026.7.1", "2026.7.1").leftovers_block);
        assert!(rules("2026.9.6", "2026.6.1").leftovers_block);
        assert_eq!(
            rules("2026.5.28", "2026.5.28").openai_provider,
            Some("openai-codex")
        );
    }

    #[test]
    fn an_unknown_release_and_two_at_once_get_every_lock() {
        let unknown = rules("", "");
        assert_eq!(
            unknown,
            Rules {
                order_rules: RuleSet::V6_1,
                store_lock_during_call: true,
                auth_state_file: None,
                openai_provider: None,
                copies_main_store: true,
                inherits: true,
                writes_whitelist: true,
                adopts_main_login: true,
                own_profiles_first: false,
                leftovers_block: false,
            }
        );
        let both = rules("2026.6.1", "2026.2.17");
        assert!(both.store_lock_during_call && both.copies_main_store && both.inherits);
        assert_eq!(both.openai_provider, Some("openai"));
    }

    #[test]
    fn with_an_unknown_release_the_store_decides_the_provider_id() {
        let provider = |text: &str| ProviderId::parse(text).unwrap();
        let stored = [provider("anthropic"), provider("openai-codex")];
        assert_eq!(
            rules("", "").openai_provider_id(&stored),
            Some(provider("openai-codex"))
        );
        assert_eq!(rules("", "").openai_provider_id([]), Some(provider("openai")));
        assert_eq!(
            rules("2026.6.1", "").openai_provider_id(&stored),
            Some(provider("openai"))
        );
    }
}
