//! Credentials on their way into a store: what a token endpoint returned, what a person pasted.

use serde_json::{Map, Value};

use super::{Kind, kind_of};
use crate::clock::Timestamp;
use crate::ids::ProviderId;
use crate::secret::Secret;

crate::keeps_secret!(NewTokens, NewCredential, NewSecret);

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

impl NewTokens {
    /// Writes the tokens into a stored `oauth` object; every other field and the order of the
    /// keys stay.
    pub(in crate::store) fn write_over(&self, entry: &mut Map<String, Value>, fields: RefreshedFields) {
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
    pub(in crate::store) fn over(&self, old: Option<&Map<String, Value>>) -> Map<String, Value> {
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
