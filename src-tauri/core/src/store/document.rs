//! The content of one `auth-profiles.json`: a typed way to look at it and to change one thing,
//! over the raw JSON, so that everything else stays as it was: unknown fields, unknown types,
//! the order of keys, the spelling of numbers.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorCode, Result};
use crate::ids::ProfileId;
use crate::json5_text;
use crate::store::credential::{self, Credential, NewCredential, NewTokens, RefreshedFields, UnknownWhy};
use crate::store::json::{self, Flaw};
use crate::store::state::{self, AuthState};

crate::keeps_secret!(Document);

/// A parsed `auth-profiles.json`.
#[derive(Clone)]
pub struct Document {
    root: Map<String, Value>,
    flaw: Option<Flaw>,
}

impl Document {
    /// The document of a store that does not exist yet.
    pub fn empty() -> Self {
        let mut root = Map::new();
        root.insert("version".into(), json!(1));
        root.insert("profiles".into(), json!({}));
        Self { root, flaw: None }
    }

    /// Parses the file's bytes.
    ///
    /// # Errors
    ///
    /// `store.unparsable`, `store.too_large`, and `store.wrong_shape` when the top level or
    /// `profiles` is not an object. Smaller surprises are listed by [`Document::wrong_shapes`].
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let parsed = json::parse_for_edit(bytes)?;
        let Value::Object(root) = parsed.value else {
            return Err(WrongShape::no_object(&say!("the top level")).error());
        };
        if root.get("profiles").is_some_and(|profiles| !profiles.is_object()) {
            return Err(WrongShape::no_object("profiles").error());
        }
        Ok(Self {
            root,
            flaw: parsed.flaw,
        })
    }

    /// What can still be read of a file that does not parse, by the more lenient rules of JSON5: a
    /// trailing comma or a comment is what people leave in a file. `None` when that is nothing.
    /// Never written but in the place of bytes that were sealed before.
    pub fn recovered(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let value = json5_text::parse(text, &mut BTreeSet::new()).ok()?;
        // Read once more by OpenClaw's rules, so that nothing stands in it that those do not know.
        let document = Self::parse(value.to_string().as_bytes()).ok()?;
        let usable = document
            .profiles()
            .any(|(_, credential)| credential.common().is_some());
        usable.then_some(document)
    }

    /// Stores a new credential under `id`, in place of what was there: the secret and all that
    /// belongs to it is replaced; `displayName`, `copyToAgents` and unknown fields stay.
    ///
    /// # Errors
    ///
    /// `store.encrypted` when the entry's tokens lie in OpenClaw's encrypted side file;
    /// `store.wrong_shape` when the entry is not an object.
    pub fn put(&mut self, id: &ProfileId, credential: &NewCredential) -> Result<()> {
        let old = match self.entry(id) {
            None => None,
            Some(Value::Object(old)) if credential::has_oauth_ref(old) => return Err(encrypted(id)),
            Some(Value::Object(old)) => Some(old),
            Some(_) => return Err(not_an_object(id).error()),
        };
        let new = credential.over(old);
        self.put_raw(id, new)
    }

    /// Writes refreshed tokens into the `oauth` credential `id`.
    ///
    /// # Errors
    ///
    /// `profile.unknown`; `profile.not_refreshable` for another type; `store.encrypted` when the
    /// tokens lie in OpenClaw's encrypted side file.
    pub fn replace_tokens(
        &mut self,
        id: &ProfileId,
        tokens: &NewTokens,
        fields: RefreshedFields,
    ) -> Result<()> {
        match self.credential(id) {
            None => return Err(unknown_profile(id)),
            Some(Credential::Oauth(oauth)) if oauth.has_oauth_ref => return Err(encrypted(id)),
            Some(Credential::Oauth(_)) => {}
            Some(_) => {
                return Err(Error::new(
                    ErrorCode::ProfileNotRefreshable,
                    say!("{id} is not an OAuth login", id),
                ));
            }
        }
        let entry = self.profiles_mut()?.get_mut(id.as_str());
        if let Some(entry) = entry.and_then(Value::as_object_mut) {
            tokens.write_over(entry, fields);
        }
        Ok(())
    }

    /// Removes a profile, and its id from `order`, `lastGood` and `usageStats` of this file.
    /// [`super::AgentStore::update`] does the same in `auth-state.json`.
    ///
    /// # Errors
    ///
    /// `profile.unknown`.
    pub fn remove(&mut self, id: &ProfileId) -> Result<()> {
        if self.profiles_mut()?.shift_remove(id.as_str()).is_none() {
            return Err(unknown_profile(id));
        }
        state::forget(&mut self.root, id);
        Ok(())
    }

    /// All profiles in the order of the file, those of unknown type included.
    pub fn profiles(&self) -> impl Iterator<Item = (ProfileId, Credential)> + '_ {
        self.raw_profiles()
            .filter_map(|(id, value)| Some((ProfileId::parse(id)?, Credential::read(value))))
    }

    /// One profile.
    pub fn credential(&self, id: &ProfileId) -> Option<Credential> {
        self.entry(id).map(Credential::read)
    }

    /// The whole document as OpenClaw writes it into a cell: compact.
    ///
    /// # Errors
    ///
    /// As [`Document::to_bytes`].
    pub(super) fn compact(&self) -> Result<Zeroizing<String>> {
        match self.flaw() {
            Some(flaw) => Err(flaw),
            None => Ok(Zeroizing::new(Value::Object(self.root.clone()).to_string())),
        }
    }

    /// Puts a credential object, given as JSON, in the place of what stands under `id`.
    ///
    /// # Errors
    ///
    /// `profile.unknown`; `store.unparsable`, `store.wrong_shape` for another text.
    pub(super) fn put_stored(&mut self, id: &ProfileId, credential: &str) -> Result<()> {
        if !self.contains(id) {
            return Err(unknown_profile(id));
        }
        self.put_back(id, credential)
    }

    /// Puts a credential object, given as JSON as it was once stored, under `id`.
    ///
    /// # Errors
    ///
    /// `store.unparsable`, `store.wrong_shape` for another text.
    pub(crate) fn put_back(&mut self, id: &ProfileId, credential: &str) -> Result<()> {
        let Value::Object(credential) = json::parse(credential.as_bytes())? else {
            return Err(not_an_object(id).error());
        };
        self.put_raw(id, credential)
    }

    /// One profile as it is stored, compact: the credential object, secrets and all.
    pub(crate) fn raw(&self, id: &ProfileId) -> Option<Zeroizing<String>> {
        self.entry(id).map(|entry| Zeroizing::new(entry.to_string()))
    }

    /// Whether a profile of this id exists, whatever its type.
    pub fn contains(&self, id: &ProfileId) -> bool {
        self.entry(id).is_some()
    }

    /// `order`, `lastGood` and `usageStats` as this file has them (all releases before 2026.4.9).
    pub fn state(&self) -> AuthState {
        AuthState::read(&self.root)
    }

    /// What in this file has another type than OpenClaw writes. All of it is kept.
    pub fn wrong_shapes(&self) -> Vec<WrongShape> {
        let mut found = Vec::new();
        for (id, value) in self.raw_profiles() {
            let entry = format!("profiles[{id:?}]");
            match Credential::read(value) {
                Credential::Unknown(unknown) => found.push(match unknown.why {
                    UnknownWhy::NotAnObject => WrongShape::no_object(&entry),
                    UnknownWhy::Type => WrongShape {
                        message: say!("{place} has no type that Kalit knows", place = entry),
                    },
                    UnknownWhy::Provider => WrongShape {
                        message: say!("{place} has no provider", place = entry),
                    },
                }),
                Credential::ApiKey(_) | Credential::Token(_) | Credential::Oauth(_) => {
                    found.extend(wrong_fields(&entry, value));
                }
            }
            if id.is_empty() {
                found.push(WrongShape {
                    message: say!("profiles has an empty id"),
                });
            }
        }
        found.extend(state::wrong_shapes(&self.root));
        found
    }

    /// Whether both hold the same.
    pub(super) fn is_same(&self, other: &Document) -> bool {
        self.root == other.root
    }

    /// Whether there is a `profiles` object at all.
    pub(super) fn has_profiles(&self) -> bool {
        self.root.contains_key("profiles")
    }

    /// Why this document may be read but must not be written, if so.
    pub fn flaw(&self) -> Option<Error> {
        self.flaw.map(Flaw::error)
    }

    /// The bytes to store.
    ///
    /// # Errors
    ///
    /// `store.duplicate_keys` or `store.unparsable` when the original bytes hold something that
    /// would be lost; `store.too_large`.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        if let Some(flaw) = self.flaw() {
            return Err(flaw);
        }
        let bytes = json::format(&Value::Object(self.root.clone()));
        if bytes.len() >= json::SIZE_LIMIT {
            return Err(json::too_large());
        }
        Ok(bytes)
    }

    pub(super) fn put_raw(&mut self, id: &ProfileId, entry: Map<String, Value>) -> Result<()> {
        self.profiles_mut()?
            .insert(id.as_str().to_owned(), Value::Object(entry));
        Ok(())
    }

    /// Ids of this document that `later` no longer has.
    pub(super) fn ids_missing_in(&self, later: &Document) -> Vec<ProfileId> {
        self.raw_profiles()
            .filter_map(|(id, _)| ProfileId::parse(id))
            .filter(|id| !later.contains(id))
            .collect()
    }

    pub(super) fn root_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.root
    }

    fn raw_profiles(&self) -> impl Iterator<Item = (&String, &Value)> {
        let profiles = self.root.get("profiles").and_then(Value::as_object);
        profiles.into_iter().flatten()
    }

    fn entry(&self, id: &ProfileId) -> Option<&Value> {
        self.root.get("profiles")?.get(id.as_str())
    }

    fn profiles_mut(&mut self) -> Result<&mut Map<String, Value>> {
        let profiles = self.root.entry("profiles").or_insert_with(|| json!({}));
        profiles
            .as_object_mut()
            .ok_or_else(|| WrongShape::no_object("profiles").error())
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&String> = self.raw_profiles().map(|(id, _)| id).collect();
        formatter
            .debug_struct("Document")
            .field("profiles", &ids)
            .field("flaw", &self.flaw)
            .finish_non_exhaustive()
    }
}

/// A place whose type is not what OpenClaw writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongShape {
    /// Where, and what is wrong there: keys and ids only, never a value.
    pub message: String,
}

impl WrongShape {
    pub(super) fn no_object(place: &str) -> Self {
        Self {
            message: say!("{place} is not an object", place),
        }
    }

    /// As a `store.wrong_shape` error.
    pub fn error(&self) -> Error {
        Error::new(ErrorCode::StoreWrongShape, self.message.clone())
    }
}

fn wrong_fields(entry: &str, value: &Value) -> Vec<WrongShape> {
    let is_text = |value: &Value| value.is_string();
    let is_text_or_ref = |value: &Value| value.is_string() || value.is_object();
    let is_number = |value: &Value| value.is_number();
    let no_string = |place: &str| say!("{place} is not a string", place);
    let no_number = |place: &str| say!("{place} is not a number", place);
    type Check<'a> = (
        &'a [&'a str],
        &'a dyn Fn(&Value) -> bool,
        &'a dyn Fn(&str) -> String,
    );
    let checks: [Check; 3] = [
        (&["key", "token"], &is_text_or_ref, &no_string),
        (
            &[
                "access",
                "refresh",
                "idToken",
                "email",
                "displayName",
                "accountId",
                "clientId",
            ],
            &is_text,
            &no_string,
        ),
        (&["expires"], &is_number, &no_number),
    ];
    let mut found = Vec::new();
    for (fields, fits, problem) in checks {
        for field in fields {
            if value
                .get(field)
                .is_some_and(|value| !value.is_null() && !fits(value))
            {
                found.push(WrongShape {
                    message: problem(&format!("{entry}.{field}")),
                });
            }
        }
    }
    found
}

fn not_an_object(id: &ProfileId) -> WrongShape {
    WrongShape::no_object(&format!("profiles[{:?}]", id.as_str()))
}

fn unknown_profile(id: &ProfileId) -> Error {
    Error::new(ErrorCode::ProfileUnknown, say!("there is no profile {id}", id))
}

fn encrypted(id: &ProfileId) -> Error {
    Error::new(
        ErrorCode::StoreEncrypted,
        say!("the tokens of {id} lie in OpenClaw's encrypted side file", id),
    )
}

#[cfg(test)]
mod tests;
