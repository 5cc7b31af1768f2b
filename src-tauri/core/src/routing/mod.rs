//! Which account OpenClaw uses for a provider, and why: its order resolution and cooldowns as a
//! pure function over plain values, for the rule sets of five releases. Here too: what a switch
//! would write. Nothing here reads a file, asks the clock or sees a secret.

mod order;
mod plan;
mod providers;
mod reason;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use crate::clock::TimeZone;

use crate::clock::Timestamp;
use crate::ids::{ProfileId, ProviderId};
use crate::view::{CredentialKind, OrderSource, Reason};

pub use order::resolve;
pub use plan::{Note, Override, Plan, Refusal, overridden_by, plan_activation, plan_append};
pub use providers::{normalize_provider, order_key, provider_name};
pub use reason::PassedOver;

/// The releases whose order resolution was read and is compared with this module in the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleSet {
    /// 2026.2.17: no references, no aliases of plugins, every provider cools down.
    V2_17,
    /// 2026.4.29.
    V4_29,
    /// 2026.6.1: `blockedUntil`, profiles of mode `aws-sdk`, provider `openai`.
    V6_1,
    /// 2026.6.5 to 2026.7.1 (6.11 and 7.1 read, 7.1 compared): as 2026.6.1, with the aliases of fewer plugins.
    V7_1,
    /// 2026.9.6: of the logins without an order those that have expired come last; fences.
    V9_6,
}

impl RuleSet {
    /// All rule sets, oldest first.
    pub const ALL: [Self; 5] = [Self::V2_17, Self::V4_29, Self::V6_1, Self::V7_1, Self::V9_6];

    /// The rule set nearest to a release (year, month, day). References came with 2026.2.26,
    /// `blockedUntil` with 2026.5.28, the shared database with 2026.8; an unknown release is read
    /// as the newest of the json era.
    pub fn for_release(release: Option<(u32, u32, u32)>) -> Self {
        match release {
            Some(release) if release < (2026, 2, 26) => Self::V2_17,
            Some(release) if release < (2026, 5, 28) => Self::V4_29,
            Some(release) if release >= (2026, 8, 0) => Self::V9_6,
            Some(release) if release >= (2026, 6, 5) => Self::V7_1,
            Some(_) | None => Self::V6_1,
        }
    }
}

/// Everything the resolution depends on, for one provider in the view of one agent.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    pub rules: RuleSet,
    /// The provider asked for, as a model names it.
    pub provider: &'a ProviderId,
    /// For people, such as "ChatGPT".
    pub provider_name: &'a str,
    /// Every profile the agent sees, of all providers, in store order: main's first, with the
    /// agent's own in place of main's of the same id, then the agent's others.
    pub profiles: &'a [Candidate],
    /// The stored order that [`order_key`] finds. OpenClaw trims its ids and drops empty ones
    /// and empty lists when it loads them.
    pub stored_order: Option<&'a [ProfileId]>,
    /// The order in `auth.order` that [`order_key`] finds. Here an empty list means "none".
    pub config_order: Option<&'a [ProfileId]>,
    /// `auth.profiles` of openclaw.json, of all providers, in the order of the file.
    pub config_profiles: &'a [ConfigProfile],
    pub usage: &'a BTreeMap<ProfileId, Usage>,
    /// Whether `models.providers.<provider>.auth` is `aws-sdk`.
    pub aws_sdk: bool,
    /// The profile a person pinned for a session.
    pub preferred: Option<&'a ProfileId>,
    /// `agents.defaults.model.fallbacks`.
    pub fallback_models: &'a [String],
    pub now: Timestamp,
    /// For the times in texts.
    pub time_zone: &'a TimeZone,
}

/// One profile of the store, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: ProfileId,
    /// `provider` as the store spells it.
    pub provider_text: String,
    pub kind: CredentialKind,
    pub secret: SecretPresence,
    /// `expires`: it matters for kind `token` only.
    pub expires: Expiry,
    /// The profile lies in main's store alone; this agent only reads it.
    pub inherited: bool,
}

/// Where a credential's secret is: `key`, `token`, or one of `access` and `refresh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPresence {
    /// Nowhere, or the text is blank.
    None,
    /// In the store.
    Inline,
    /// A valid `keyRef` or `tokenRef` (or a reference in their place). 2026.2.17 reads none.
    Reference,
    /// In an encrypted side file (`oauthRef`).
    SideFile,
    /// OpenClaw renews the login at this moment, and has taken its tokens out of the store.
    Renewing,
    /// OpenClaw could not renew the login and dropped its tokens.
    Dropped,
    /// The unfinished replacement of another credential.
    Unfinished,
}

/// `expires` of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Not there: it never ends.
    None,
    /// Not a finite number.
    Invalid,
    /// Epoch milliseconds, whatever they are.
    At(Timestamp),
}

/// One entry of `auth.profiles` in openclaw.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProfile {
    pub id: ProfileId,
    pub provider_text: String,
    pub mode: ConfigMode,
}

/// `mode` of an entry of `auth.profiles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigMode {
    Oauth,
    Token,
    ApiKey,
    AwsSdk,
    Other,
}

impl ConfigMode {
    /// Parses the word in openclaw.json.
    pub fn parse(text: &str) -> Self {
        match text {
            "oauth" => Self::Oauth,
            "token" => Self::Token,
            "api_key" => Self::ApiKey,
            "aws-sdk" => Self::AwsSdk,
            _ => Self::Other,
        }
    }

    /// The word in openclaw.json.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oauth => "oauth",
            Self::Token => "token",
            Self::ApiKey => "api_key",
            Self::AwsSdk => "aws-sdk",
            Self::Other => "unknown",
        }
    }
}

/// What `usageStats` says of a profile, as far as the order depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub last_used: Option<Timestamp>,
    pub cooldown_until: Option<Timestamp>,
    pub cooldown_reason: Option<String>,
    pub disabled_until: Option<Timestamp>,
    pub disabled_reason: Option<String>,
    /// From 2026.5.28 on.
    pub blocked_until: Option<Timestamp>,
    pub blocked_reason: Option<String>,
}

/// An active window in which OpenClaw leaves a profile alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    pub until: Timestamp,
    /// OpenClaw's reason word of the window that ends last, such as `rate_limit`.
    pub reason: Option<String>,
    /// That window is `disabledUntil` (billing, permanent refusal) rather than a cooldown.
    pub disabled: bool,
}

/// Which profiles OpenClaw tries for a provider, first to last, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// OpenClaw's own list. Resting profiles stand at its end.
    pub candidates: Vec<ProfileId>,
    pub source: OrderSource,
    /// The first candidate that is not resting (a pinned one even if it is): with an explicit
    /// order "the" account, without one merely the next.
    pub effective: Option<ProfileId>,
    /// An explicit order is in force.
    pub in_use: bool,
    pub reason: Reason,
    /// Profiles of this provider that are not candidates, each with its cause: those of the order
    /// in its order, then those of the store.
    pub passed_over: Vec<(ProfileId, PassedOver)>,
    /// Active windows of the provider's profiles.
    pub unusable: BTreeMap<ProfileId, Unusable>,
}
