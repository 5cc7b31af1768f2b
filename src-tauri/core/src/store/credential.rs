//! One credential of a store, typed: what OpenClaw 2026.2.17 to 2026.6.1 write and accept.
//!
//! A view, not the truth: the raw object in the [`super::Document`] is what is written back, so
//! that fields unknown here survive. A field of an unexpected type reads as absent.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::ids::ProviderId;
use crate::secret::{Fingerprint, Secret};
use crate::store::json;
use crate::view::CredentialKind;

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

/// What a token endpoint returned, to be written into an `oauth` credential.
#[derive(Clone, Debug)]
pub struct NewTokens {
    pub access: Secret,
    /// `None` when the provider did not rotate: the stored one stays.
    pub refresh: Option<Secret>,
    pub expires: Timestamp,
    pub id_token: Option<Secret>,
    pub account_id: Option<String>,
    /// `chatgptPlanType`.
    pub plan: Option<String>,
    pub email: Option<String>,
}

/// Which fields besides access, refresh and expires a refresh writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshedFields {
    /// Only those that the credential has already: right for OpenClaw 2026.2.17 and for an
    /// unknown release. `accountId` is written in any case, as 2026.2.17 itself does.
    Stored,
    /// All that are known: for releases that write them themselves.
    All,
}

/// A credential to be stored by a sign-in or a paste.
#[derive(Clone, Debug)]
pub struct NewCredential {
    pub provider: ProviderId,
    pub secret: NewSecret,
    pub display_name: Option<String>,
}

/// The secret part of a [`NewCredential`].
#[derive(Clone, Debug)]
pub enum NewSecret {
    ApiKey {
        key: Secret,
        email: Option<String>,
    },
    Token {
        token: Secret,
        expires: Option<Timestamp>,
        email: Option<String>,
    },
    Oauth {
        tokens: NewTokens,
        /// Only for providers whose client id differs by sign-in.
        client_id: Option<String>,
    },
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
        Self {
            common,
            access: secret_of(entry, "access"),
            refresh: secret_of(entry, "refresh"),
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

impl NewTokens {
    /// Writes the tokens into a stored `oauth` object; every other field and the order of the
    /// keys stay.
    pub(super) fn write_over(&self, entry: &mut Map<String, Value>, fields: RefreshedFields) {
        entry.insert("access".into(), self.access.expose().into());
        if let Some(refresh) = &self.refresh {
            entry.insert("refresh".into(), refresh.expose().into());
        }
        entry.insert("expires".into(), self.expires.as_millis().into());
        for (field, value) in self.identity_fields() {
            let writable = match fields {
                RefreshedFields::All => true,
                RefreshedFields::Stored => field == "accountId" || entry.contains_key(field),
            };
            if let (true, Some(value)) = (writable, value) {
                entry.insert(field.into(), value.into());
            }
        }
    }

    fn identity_fields(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("email", self.email.as_deref()),
            ("idToken", self.id_token.as_ref().map(Secret::expose)),
            ("accountId", self.account_id.as_deref()),
            ("chatgptPlanType", self.plan.as_deref()),
        ]
    }
}

/// Fields that belong to the secret or to the person behind it: a new sign-in replaces them all.
const REPLACED_FIELDS: &[&str] = &[
    "type",
    "mode",
    "provider",
    "key",
    "apiKey",
    "keyRef",
    "token",
    "tokenRef",
    "access",
    "refresh",
    "expires",
    "email",
    "idToken",
    "clientId",
    "accountId",
    "chatgptPlanType",
];

/// Fields that say how a provider is reached: they stay only while type and provider stay.
const PROVIDER_FIELDS: &[&str] = &["metadata", "enterpriseUrl", "projectId"];

impl NewCredential {
    /// The object to store in place of `old`. The person's own settings (`displayName`,
    /// `copyToAgents`) and unknown fields of `old` stay, where they were.
    pub(super) fn over(&self, old: Option<&Map<String, Value>>) -> Map<String, Value> {
        let mut fields = self.fields();
        let mut entry = Map::new();
        let same_kind = old.is_some_and(|old| self.is_kind_of(old));
        for (name, value) in old.into_iter().flatten() {
            let name = name.as_str();
            let canonical = match name {
                "mode" => "type",
                "apiKey" => "key",
                _ => name,
            };
            if let Some(value) = fields.shift_remove(canonical) {
                entry.insert(canonical.to_owned(), value);
            } else if !REPLACED_FIELDS.contains(&name)
                && (same_kind || !PROVIDER_FIELDS.contains(&name))
                && !entry.contains_key(name)
            {
                entry.insert(name.to_owned(), value.clone());
            }
        }
        entry.extend(fields);
        entry
    }

    fn fields(&self) -> Map<String, Value> {
        let mut fields: Vec<(&str, Option<Value>)> = vec![
            ("type", Some(self.kind().name().into())),
            ("provider", Some(self.provider.as_str().into())),
        ];
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        match &self.secret {
            NewSecret::ApiKey { key, email } => {
                fields.extend([("key", Some(key.expose().into())), ("email", text(email))]);
            }
            NewSecret::Token {
                token,
                expires,
                email,
            } => fields.extend([
                ("token", Some(token.expose().into())),
                ("expires", expires.map(|expires| expires.as_millis().into())),
                ("email", text(email)),
            ]),
            NewSecret::Oauth { tokens, client_id } => {
                fields.extend([
                    ("access", Some(tokens.access.expose().into())),
                    (
                        "refresh",
                        tokens.refresh.as_ref().map(|refresh| refresh.expose().into()),
                    ),
                    ("expires", Some(tokens.expires.as_millis().into())),
                    ("clientId", text(client_id)),
                ]);
                let identity = tokens.identity_fields();
                fields.extend(identity.map(|(name, value)| (name, value.map(Value::from))));
            }
        }
        fields.push(("displayName", text(&self.display_name)));
        fields
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    fn is_kind_of(&self, old: &Map<String, Value>) -> bool {
        let provider = old
            .get("provider")
            .and_then(Value::as_str)
            .and_then(ProviderId::parse);
        kind_of(old) == Some(self.kind()) && provider.as_ref() == Some(&self.provider)
    }

    fn kind(&self) -> Kind {
        match self.secret {
            NewSecret::ApiKey { .. } => Kind::ApiKey,
            NewSecret::Token { .. } => Kind::Token,
            NewSecret::Oauth { .. } => Kind::Oauth,
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(id: &str) -> ProviderId {
        ProviderId::parse(id).unwrap()
    }

    fn exposed(secret: &Option<Secret>) -> Option<&str> {
        secret.as_ref().map(Secret::expose)
    }

    #[test]
    fn every_oauth_field_is_read() {
        let credential = Credential::read(&json!({
            "type": "oauth", "provider": " OpenAI-Codex ", "access": "A", "refresh": "R",
            "expires": 1_700_000_000_123_i64, "email": "Me@x.com", "displayName": "Me",
            "copyToAgents": true, "idToken": "I", "clientId": "C", "enterpriseUrl": "https://e",
            "projectId": "P", "accountId": "acc", "chatgptPlanType": "plus",
            "oauthRef": {"source": "openclaw-credentials"},
        }));
        assert_eq!(credential.kind(), CredentialKind::Oauth);
        assert_eq!(credential.generation(), Some(Secret::new("R").fingerprint()));
        assert!(credential.has_secret());
        let oauth = credential.as_oauth().unwrap();
        assert_eq!(
            oauth.common,
            Common {
                provider: provider("openai-codex"),
                provider_text: " OpenAI-Codex ".into(),
                email: Some("Me@x.com".into()),
                display_name: Some("Me".into()),
                copy_to_agents: Some(true),
            }
        );
        assert_eq!(exposed(&oauth.access), Some("A"));
        assert_eq!(exposed(&oauth.refresh), Some("R"));
        assert_eq!(exposed(&oauth.id_token), Some("I"));
        assert_eq!(
            oauth.expires,
            Expiry::At(Timestamp::from_millis(1_700_000_000_123))
        );
        assert_eq!(oauth.client_id.as_deref(), Some("C"));
        assert_eq!(oauth.account_id.as_deref(), Some("acc"));
        assert_eq!(oauth.chatgpt_plan_type.as_deref(), Some("plus"));
        assert_eq!(oauth.enterprise_url.as_deref(), Some("https://e"));
        assert_eq!(oauth.project_id.as_deref(), Some("P"));
        assert!(oauth.has_oauth_ref);
    }

    #[test]
    fn static_types_are_read_with_their_references() {
        let Credential::ApiKey(api_key) = Credential::read(&json!({
            "type": "api_key", "provider": "cf", "key": "K", "metadata": {"accountId": "1", "n": 2},
            "keyRef": {"source": "exec", "provider": "gate", "id": "cf/work"},
        })) else {
            panic!("not an api key")
        };
        assert_eq!(exposed(&api_key.key), Some("K"));
        assert_eq!(api_key.key_ref.unwrap().label(), "ref(exec:cf/work)");
        assert_eq!(api_key.metadata.keys().collect::<Vec<_>>(), ["accountId"]);

        let Credential::Token(token) = Credential::read(&json!({
            "type": "token", "provider": "anthropic", "token": "T", "expires": 5,
            "tokenRef": {"source": "env", "id": "TOK"},
        })) else {
            panic!("not a token")
        };
        assert_eq!(exposed(&token.token), Some("T"));
        assert_eq!(
            token.token_ref,
            Some(SecretRef {
                source: "env".into(),
                provider: "default".into(),
                id: "TOK".into()
            })
        );
        assert_eq!(token.expires, Expiry::At(Timestamp::from_millis(5)));
    }

    #[test]
    fn a_reference_in_the_place_of_the_secret_counts_as_reference() {
        let reference = json!({"source": "file", "provider": "f", "id": "/a"});
        for value in [
            json!({"type": "api_key", "provider": "p", "key": reference}),
            json!({"type": "token", "provider": "p", "token": reference}),
        ] {
            let credential = Credential::read(&value);
            assert!(credential.has_secret());
            assert_eq!(credential.generation(), None);
        }
        let broken =
            Credential::read(&json!({"type": "api_key", "provider": "p", "keyRef": {"source": "x"}}));
        assert!(!broken.has_secret());
    }

    #[test]
    fn aliases_of_later_releases_are_accepted() {
        for value in [
            json!({"mode": "api_key", "provider": "p", "apiKey": "K"}),
            json!({"type": "apiKey", "provider": "p", "key": "K"}),
        ] {
            let credential = Credential::read(&value);
            assert_eq!(credential.kind(), CredentialKind::ApiKey);
            assert_eq!(credential.generation(), Some(Secret::new("K").fingerprint()));
        }
        // The field itself, whatever it holds, comes before its alias.
        let shadowed = Credential::read(&json!({"type": "new", "mode": "oauth", "provider": "p"}));
        assert_eq!(shadowed.kind(), CredentialKind::Unknown);
    }

    #[test]
    fn entries_that_openclaw_would_drop_are_unknown() {
        let cases = [
            (json!("text"), None, UnknownWhy::NotAnObject),
            (json!(null), None, UnknownWhy::NotAnObject),
            (json!([]), None, UnknownWhy::NotAnObject),
            (json!({"provider": "P"}), Some(provider("p")), UnknownWhy::Type),
            (
                json!({"type": 7, "provider": "p"}),
                Some(provider("p")),
                UnknownWhy::Type,
            ),
            (
                json!({"type": "passkey", "provider": "p"}),
                Some(provider("p")),
                UnknownWhy::Type,
            ),
            (
                json!({"type": "oauth", "access": "A"}),
                None,
                UnknownWhy::Provider,
            ),
            (
                json!({"type": "oauth", "provider": " "}),
                None,
                UnknownWhy::Provider,
            ),
            (
                json!({"type": "oauth", "provider": 1}),
                None,
                UnknownWhy::Provider,
            ),
        ];
        for (value, provider, why) in cases {
            let Credential::Unknown(unknown) = Credential::read(&value) else {
                panic!("{value} is known")
            };
            assert_eq!(unknown, Unknown { provider, why }, "{value}");
        }
    }

    #[test]
    fn fields_of_a_wrong_type_are_absent() {
        let credential = Credential::read(&json!({
            "type": "oauth", "provider": "p", "access": 1, "refresh": "  ", "expires": "soon",
            "email": [], "copyToAgents": "yes", "oauthRef": null,
        }));
        let oauth = credential.as_oauth().unwrap();
        assert!(!credential.has_secret());
        assert_eq!(credential.generation(), None);
        assert_eq!(oauth.expires, Expiry::Invalid);
        assert_eq!(oauth.common.email, None);
        assert_eq!(oauth.common.copy_to_agents, None);
        assert!(!oauth.has_oauth_ref);
    }

    #[test]
    fn expiry_is_valid_only_as_a_positive_finite_number() {
        let expiry = |expires: &str| {
            let text = format!(r#"{{"type":"token","provider":"p","expires":{expires}}}"#);
            Credential::read(&json::parse(text.as_bytes()).unwrap()).expiry()
        };
        assert_eq!(expiry("1"), Expiry::At(Timestamp::from_millis(1)));
        assert_eq!(
            expiry("1.7e12").at(),
            Some(Timestamp::from_millis(1_700_000_000_000))
        );
        for invalid in ["0", "-1", "0.5", "\"1\"", "true", "1e999", "{}"] {
            assert_eq!(expiry(invalid), Expiry::Invalid, "{invalid}");
        }
        assert_eq!(expiry("null"), Expiry::Absent);
    }

    #[test]
    fn debug_shows_no_secret() {
        let credential = Credential::read(&json!({
            "type": "api_key", "provider": "p", "key": "SECRET-1", "metadata": {"m": "SECRET-2"},
        }));
        let oauth = Credential::read(&json!({
            "type": "oauth", "provider": "p", "access": "SECRET-3", "refresh": "SECRET-4",
            "idToken": "SECRET-5",
        }));
        let shown = format!("{credential:?} {oauth:?}");
        assert!(!shown.contains("SECRET"), "{shown}");
    }
}
