//! One credential of a store, typed: what OpenClaw 2026.2.17 to 2026.9.6 write and accept.
//!
//! A view, not the truth: the raw object in the [`super::Document`] is what is written back, so
//! that fields unknown here survive. A field of an unexpected type reads as absent.

mod new;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::ProviderId;
use crate::secret::{Fingerprint, Secret};
use crate::store::fence::{self, Fence};
use crate::store::json;
use crate::view::CredentialKind;

pub use new::{NewCredential, NewSecret, NewTokens, RefreshedFields};

crate::keeps_secret!(Credential, ApiKey, Token, Oauth);

/// A stored credential.
#[derive(Clone, Debug)]
pub enum Credential {
    ApiKey(ApiKey),
    /// A static bearer token, never refreshed.
    Token(Token),
    Oauth(Oauth),
    /// Something that OpenClaw would not use: kept as it is.
    Unknown(Unknown),
}

/// What every usable credential has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// Normalised: trimmed and lower-cased.
    pub provider: ProviderId,
    /// As the store spells it; refresh locks of OpenClaw are named after this.
    pub provider_text: String,
    pub email: Option<String>,
    pub display_name: Option<String>,
    pub copy_to_agents: Option<bool>,
    /// The unfinished replacement of another credential: OpenClaw (2026.9.6) does not use it yet.
    pub is_replacement: bool,
}

/// Type `api_key`.
#[derive(Clone, Debug)]
pub struct ApiKey {
    pub common: Common,
    pub key: Option<Secret>,
    pub key_ref: Option<SecretRef>,
    /// Free texts of the provider, such as an account or gateway id. Treated as secret because
    /// nobody says that they are not.
    pub metadata: BTreeMap<String, Secret>,
}

/// Type `token`.
#[derive(Clone, Debug)]
pub struct Token {
    pub common: Common,
    pub token: Option<Secret>,
    pub token_ref: Option<SecretRef>,
    pub expires: Expiry,
}

/// Type `oauth`.
#[derive(Clone, Debug)]
pub struct Oauth {
    pub common: Common,
    pub access: Option<Secret>,
    pub refresh: Option<Secret>,
    pub expires: Expiry,
    pub id_token: Option<Secret>,
    pub client_id: Option<String>,
    pub account_id: Option<String>,
    pub chatgpt_plan_type: Option<String>,
    pub enterprise_url: Option<String>,
    pub project_id: Option<String>,
    /// The tokens lie in OpenClaw's encrypted side file (around 2026.5.12). Such an entry is
    /// never given inline tokens.
    pub has_oauth_ref: bool,
    /// OpenClaw has set the tokens aside for a renewal (2026.9.6): there are none then.
    pub fence: Option<Fence>,
}

/// An entry that OpenClaw drops or ignores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub provider: Option<ProviderId>,
    pub why: UnknownWhy,
}

/// Why an entry is [`Credential::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownWhy {
    NotAnObject,
    /// No `type`, or one that OpenClaw does not know.
    Type,
    /// `provider` is missing, empty or not a string.
    Provider,
}

/// `expires`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Absent,
    At(Timestamp),
    /// Not a positive, finite number. OpenClaw 2026.2.17 ignores it in a `token`; from 2026.2.26
    /// on such a token is not used.
    Invalid,
}

/// A reference to a secret that is kept elsewhere (from OpenClaw 2026.2.26 on).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    /// `env`, `file` or `exec`.
    pub source: String,
    pub provider: String,
    pub id: String,
}

impl Credential {
    /// Reads an entry of `profiles`. Accepts the aliases of OpenClaw 2026.4.29 (`mode` for
    /// `type`, `apiKey` for `key`) and 2026.5.20 (`"apiKey"` as a type).
    pub fn read(value: &Value) -> Self {
        let Some(entry) = value.as_object() else {
            return Self::unknown(None, UnknownWhy::NotAnObject);
        };
        let provider = entry.get("provider").and_then(Value::as_str);
        let parsed = provider.and_then(ProviderId::parse);
        let Some(kind) = kind_of(entry) else {
            return Self::unknown(parsed, UnknownWhy::Type);
        };
        let (Some(provider), Some(text)) = (parsed, provider) else {
            return Self::unknown(None, UnknownWhy::Provider);
        };
        let common = Common {
            provider,
            provider_text: text.to_owned(),
            email: text_of(entry, "email"),
            display_name: text_of(entry, "displayName"),
            copy_to_agents: entry.get("copyToAgents").and_then(Value::as_bool),
            is_replacement: entry
                .get("setup")
                .and_then(|setup| setup.get("replacement"))
                .is_some_and(|replacement| !matches!(replacement, Value::Null | Value::Bool(false))),
        };
        match kind {
            Kind::ApiKey => Self::ApiKey(ApiKey::read(entry, common)),
            Kind::Token => Self::Token(Token::read(entry, common)),
            Kind::Oauth => Self::Oauth(Oauth::read(entry, common)),
        }
    }

    /// The fingerprint of what is rotated or replaced: the refresh token of an `oauth`
    /// credential, the token or the key itself otherwise. `None` without such a secret.
    pub fn generation(&self) -> Option<Fingerprint> {
        match self {
            Self::ApiKey(api_key) => api_key.key.as_ref(),
            Self::Token(token) => token.token.as_ref(),
            Self::Oauth(oauth) => oauth.refresh.as_ref(),
            Self::Unknown(_) => None,
        }
        .map(Secret::fingerprint)
    }

    /// The common part, unless the entry is unknown.
    pub fn common(&self) -> Option<&Common> {
        match self {
            Self::ApiKey(api_key) => Some(&api_key.common),
            Self::Token(token) => Some(&token.common),
            Self::Oauth(oauth) => Some(&oauth.common),
            Self::Unknown(_) => None,
        }
    }

    /// The provider, normalised.
    pub fn provider(&self) -> Option<&ProviderId> {
        match self {
            Self::Unknown(unknown) => unknown.provider.as_ref(),
            _ => self.common().map(|common| &common.provider),
        }
    }

    /// The type, as views show it.
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::ApiKey(_) => CredentialKind::ApiKey,
            Self::Token(_) => CredentialKind::Token,
            Self::Oauth(_) => CredentialKind::Oauth,
            Self::Unknown(_) => CredentialKind::Unknown,
        }
    }

    /// `expires`; keys have none.
    pub fn expiry(&self) -> Expiry {
        match self {
            Self::Token(token) => token.expires,
            Self::Oauth(oauth) => oauth.expires,
            Self::ApiKey(_) | Self::Unknown(_) => Expiry::Absent,
        }
    }

    /// The `oauth` part, if it is one.
    pub fn as_oauth(&self) -> Option<&Oauth> {
        match self {
            Self::Oauth(oauth) => Some(oauth),
            Self::ApiKey(_) | Self::Token(_) | Self::Unknown(_) => None,
        }
    }

    /// The fence that stands in place of the tokens.
    pub fn fence(&self) -> Option<&Fence> {
        self.as_oauth()?.fence.as_ref()
    }

    /// Whether there is a secret, or a reference to one, that OpenClaw could use.
    pub fn has_secret(&self) -> bool {
        match self {
            Self::ApiKey(api_key) => api_key.key.is_some() || api_key.key_ref.is_some(),
            Self::Token(token) => token.token.is_some() || token.token_ref.is_some(),
            Self::Oauth(oauth) => oauth.access.is_some() || oauth.refresh.is_some(),
            Self::Unknown(_) => false,
        }
    }

    fn unknown(provider: Option<ProviderId>, why: UnknownWhy) -> Self {
        Self::Unknown(Unknown { provider, why })
    }
}

impl ApiKey {
    fn read(entry: &Map<String, Value>, common: Common) -> Self {
        let field = if entry.contains_key("key") {
            "key"
        } else {
            "apiKey"
        };
        let metadata = entry.get("metadata").and_then(Value::as_object);
        Self {
            common,
            key: secret_of(entry, field),
            key_ref: SecretRef::of(entry, "keyRef").or_else(|| SecretRef::of(entry, "key")),
            metadata: metadata
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.clone(), Secret::new(value.as_str()?))))
                .collect(),
        }
    }
}

impl Token {
    fn read(entry: &Map<String, Value>, common: Common) -> Self {
        Self {
            common,
            token: secret_of(entry, "token"),
            token_ref: SecretRef::of(entry, "tokenRef").or_else(|| SecretRef::of(entry, "token")),
            expires: Expiry::of(entry),
        }
    }
}

impl Oauth {
    fn read(entry: &Map<String, Value>, common: Common) -> Self {
        let text = |field| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let expires = entry.get("expires").and_then(Value::as_i64);
        Self {
            common,
            fence: Fence::parse(text("access"), text("refresh"), expires),
            access: token_of(entry, "access"),
            refresh: token_of(entry, "refresh"),
            expires: Expiry::of(entry),
            id_token: secret_of(entry, "idToken"),
            client_id: text_of(entry, "clientId"),
            account_id: text_of(entry, "accountId"),
            chatgpt_plan_type: text_of(entry, "chatgptPlanType"),
            enterprise_url: text_of(entry, "enterpriseUrl"),
            project_id: text_of(entry, "projectId"),
            has_oauth_ref: has_oauth_ref(entry),
        }
    }
}

impl Expiry {
    /// The moment, if there is a valid one.
    pub fn at(self) -> Option<Timestamp> {
        match self {
            Self::At(at) => Some(at),
            Self::Absent | Self::Invalid => None,
        }
    }

    fn of(entry: &Map<String, Value>) -> Self {
        let Some(value) = entry.get("expires").filter(|value| !value.is_null()) else {
            return Self::Absent;
        };
        match json::millis(value) {
            Some(at) if at.as_millis() > 0 => Self::At(at),
            _ => Self::Invalid,
        }
    }
}

impl SecretRef {
    /// What to show instead of a secret: `ref(exec:anthropic/work)`, OpenClaw's own form.
    pub fn label(&self) -> String {
        format!("ref({}:{})", self.source, self.id)
    }

    fn of(entry: &Map<String, Value>, field: &str) -> Option<Self> {
        let reference = entry.get(field)?.as_object()?;
        let text = |name| reference.get(name).and_then(Value::as_str).map(str::trim);
        let source = text("source").filter(|source| matches!(*source, "env" | "file" | "exec"))?;
        Some(Self {
            source: source.to_owned(),
            // OpenClaw fills in the alias `default` where none is named.
            provider: text("provider")
                .filter(|p| !p.is_empty())
                .unwrap_or("default")
                .to_owned(),
            id: text("id").filter(|id| !id.is_empty())?.to_owned(),
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ApiKey,
    Token,
    Oauth,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Token => "token",
            Self::Oauth => "oauth",
        }
    }
}

fn kind_of(entry: &Map<String, Value>) -> Option<Kind> {
    match entry.get("type").or_else(|| entry.get("mode"))?.as_str()? {
        "api_key" | "apiKey" => Some(Kind::ApiKey),
        "token" => Some(Kind::Token),
        "oauth" => Some(Kind::Oauth),
        _ => None,
    }
}

/// Whether OpenClaw's encrypted side file holds the tokens of this entry.
pub(super) fn has_oauth_ref(entry: &Map<String, Value>) -> bool {
    entry
        .get("oauthRef")
        .is_some_and(|reference| !reference.is_null())
}

fn text_of(entry: &Map<String, Value>, field: &str) -> Option<String> {
    let text = entry.get(field)?.as_str()?;
    (!text.trim().is_empty()).then(|| text.to_owned())
}

fn secret_of(entry: &Map<String, Value>, field: &str) -> Option<Secret> {
    text_of(entry, field).map(Secret::new)
}

/// A token, unless OpenClaw's mark of a renewal stands in its place: that is never a secret.
fn token_of(entry: &Map<String, Value>, field: &str) -> Option<Secret> {
    text_of(entry, field)
        .filter(|text| !fence::is_mark(text))
        .map(Secret::new)
}

#[cfg(test)]
mod tests;
