//! `order`, `lastGood` and `usageStats`: in `auth-profiles.json` up to OpenClaw 2026.4.8, in
//! `auth-state.json` from 2026.4.9 on. Where both files have an entry for the same provider (or,
//! for `usageStats`, the same id), `auth-state.json` wins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{ProfileId, ProviderId};
use crate::store::document::{Document, WrongShape};
use crate::store::json::{self, Flaw};

/// The three records, typed. Entries of an unexpected type are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthState {
    /// The explicit order of a provider's profiles; never an empty list.
    pub order: BTreeMap<ProviderId, Vec<ProfileId>>,
    /// The profile that last worked. OpenClaw shows it; it does not influence the order.
    pub last_good: BTreeMap<ProviderId, ProfileId>,
    pub usage_stats: BTreeMap<ProfileId, UsageStats>,
}

/// What OpenClaw notes about the use of a profile (fields of 2026.2.17 to 2026.6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageStats {
    pub last_used: Option<Timestamp>,
    pub error_count: Option<u64>,
    /// Reason word, such as `rate_limit`, to number of failures.
    pub failure_counts: BTreeMap<String, u64>,
    pub last_failure_at: Option<Timestamp>,
    pub cooldown_until: Option<Timestamp>,
    pub cooldown_reason: Option<String>,
    /// The cooldown concerns this model only.
    pub cooldown_model: Option<String>,
    pub disabled_until: Option<Timestamp>,
    pub disabled_reason: Option<String>,
    pub blocked_until: Option<Timestamp>,
    pub blocked_reason: Option<String>,
    pub blocked_source: Option<String>,
    pub blocked_model: Option<String>,
}

impl AuthState {
    /// Reads the records from the top level of either file. Provider keys are compared trimmed
    /// and lower-cased; of two spellings of one provider the first in the file counts.
    pub fn read(root: &Map<String, Value>) -> Self {
        let mut state = Self::default();
        for (key, value) in record(root, ORDER) {
            let ids: Vec<ProfileId> = value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|id| ProfileId::parse(id.as_str()?.trim()))
                .collect();
            if let (Some(provider), false) = (ProviderId::parse(key), ids.is_empty()) {
                state.order.entry(provider).or_insert(ids);
            }
        }
        for (key, value) in record(root, LAST_GOOD) {
            let id = value.as_str().and_then(|id| ProfileId::parse(id.trim()));
            if let (Some(provider), Some(id)) = (ProviderId::parse(key), id) {
                state.last_good.entry(provider).or_insert(id);
            }
        }
        for (key, value) in record(root, USAGE_STATS) {
            if let (Some(id), Some(stats)) = (ProfileId::parse(key), value.as_object()) {
                state.usage_stats.insert(id, UsageStats::read(stats));
            }
        }
        state
    }

    /// `self` with the entries of `auth-state.json` over it.
    #[must_use]
    pub fn overlaid_by(mut self, auth_state: AuthState) -> Self {
        self.order.extend(auth_state.order);
        self.last_good.extend(auth_state.last_good);
        self.usage_stats.extend(auth_state.usage_stats);
        self
    }
}

impl UsageStats {
    fn read(stats: &Map<String, Value>) -> Self {
        let time = |field: &str| stats.get(field).and_then(json::millis);
        let text = |field: &str| stats.get(field).and_then(Value::as_str).map(str::to_owned);
        let counts = stats.get("failureCounts").and_then(Value::as_object);
        Self {
            last_used: time("lastUsed"),
            error_count: stats.get("errorCount").and_then(count),
            failure_counts: counts
                .into_iter()
                .flatten()
                .filter_map(|(reason, value)| Some((reason.clone(), count(value)?)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            last_failure_at: time("lastFailureAt"),
            cooldown_until: time("cooldownUntil"),
            cooldown_reason: text("cooldownReason"),
            cooldown_model: text("cooldownModel"),
            disabled_until: time("disabledUntil"),
            disabled_reason: text("disabledReason"),
            blocked_until: time("blockedUntil"),
            blocked_reason: text("blockedReason"),
            blocked_source: text("blockedSource"),
            blocked_model: text("blockedModel"),
        }
    }
}

/// Changes to the order and to what holds profiles back, collected while the store is edited. An
/// order is written to the file that holds the order of this installation.
#[derive(Debug)]
pub struct StateEdit {
    on_disk: AuthState,
    changes: BTreeMap<ProviderId, Vec<ProfileId>>,
    cleared: BTreeSet<ProfileId>,
}

impl StateEdit {
    pub(super) fn new(on_disk: AuthState) -> Self {
        Self {
            on_disk,
            changes: BTreeMap::new(),
            cleared: BTreeSet::new(),
        }
    }

    /// Makes `ids` the explicit order of `provider`, first to last. An id that stands twice
    /// counts once; an empty list clears the order, as it does in OpenClaw. Every id must exist
    /// in the store when the edit ends, or stand in the order already: OpenClaw from 2026.4.29
    /// on prunes others, and the order would silently not be what was asked for.
    pub fn set_order(&mut self, provider: &ProviderId, ids: &[ProfileId]) {
        let mut seen = BTreeSet::new();
        let ids = ids.iter().filter(|id| seen.insert(*id)).cloned().collect();
        self.changes.insert(provider.clone(), ids);
    }

    /// Removes the explicit order of `provider`: its profiles rotate again.
    pub fn clear_order(&mut self, provider: &ProviderId) {
        self.changes.insert(provider.clone(), Vec::new());
    }

    /// Ends every window in which OpenClaw leaves the profile alone and forgets the failures that
    /// led to it, as OpenClaw itself does after a success. What else is noted of its use stays.
    pub fn clear_cooldown(&mut self, id: &ProfileId) {
        self.cleared.insert(id.clone());
    }

    /// The explicit order of `provider` with the changes made so far.
    pub fn order(&self, provider: &ProviderId) -> Option<&[ProfileId]> {
        let ids = self
            .changes
            .get(provider)
            .or_else(|| self.on_disk.order.get(provider))?;
        (!ids.is_empty()).then_some(ids)
    }

    /// The merged records as they were when the edit began.
    pub fn before(&self) -> &AuthState {
        &self.on_disk
    }

    pub(super) fn changes_something(&self) -> bool {
        !self.changes.is_empty() || !self.cleared.is_empty()
    }

    /// Puts an order into the one file that holds the order.
    ///
    /// A cleared order is removed from both files, and so is what holds a profile back: an old copy
    /// in `auth-profiles.json` would otherwise come into force again.
    pub(super) fn apply(
        &self,
        document: &mut Document,
        state_file: &mut StateFile,
        order_in_state_file: bool,
    ) -> Result<()> {
        for (provider, ids) in &self.changes {
            if ids.is_empty() {
                clear_order(document.root_mut(), provider);
                clear_order(&mut state_file.root, provider);
                continue;
            }
            let known = self.on_disk.order.get(provider);
            if let Some(id) = ids
                .iter()
                .find(|id| !document.contains(id) && !known.is_some_and(|known| known.contains(id)))
            {
                return Err(Error::new(
                    ErrorCode::OrderInvalid,
                    say!("{id} is not in this agent's store", id),
                ));
            }
            let root = if order_in_state_file {
                &mut state_file.root
            } else {
                document.root_mut()
            };
            set_order(root, provider, ids)?;
        }
        for id in &self.cleared {
            clear_cooldown(document.root_mut(), id);
            clear_cooldown(&mut state_file.root, id);
        }
        Ok(())
    }
}

/// The content of `auth-state.json`, raw.
#[derive(Clone, PartialEq)]
pub(super) struct StateFile {
    root: Map<String, Value>,
    flaw: Option<Flaw>,
}

impl StateFile {
    pub(super) fn empty() -> Self {
        let mut root = Map::new();
        root.insert("version".into(), json!(1));
        Self { root, flaw: None }
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let parsed = json::parse_for_edit(bytes)?;
        match parsed.value {
            Value::Object(root) => Ok(Self {
                root,
                flaw: parsed.flaw,
            }),
            _ => Err(WrongShape::no_object(&say!("the top level")).error()),
        }
    }

    pub(super) fn state(&self) -> AuthState {
        AuthState::read(&self.root)
    }

    pub(super) fn forget(&mut self, id: &ProfileId) {
        forget(&mut self.root, id);
    }

    /// Whether nothing is left that OpenClaw would keep the file for. A key that is not
    /// OpenClaw's is a reason to keep it.
    pub(super) fn is_blank(&self) -> bool {
        self.root.iter().all(|(key, value)| {
            key == "version"
                || (RECORDS.contains(&key.as_str()) && value.as_object().is_some_and(Map::is_empty))
        })
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        match self.flaw {
            Some(flaw) => Err(flaw.error()),
            None => Ok(json::format(&Value::Object(self.root.clone()))),
        }
    }
}

impl fmt::Debug for StateFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StateFile(…)")
    }
}

const ORDER: &str = "order";
const LAST_GOOD: &str = "lastGood";
const USAGE_STATS: &str = "usageStats";
const RECORDS: [&str; 3] = [ORDER, LAST_GOOD, USAGE_STATS];

/// The ends of the windows in which OpenClaw leaves a profile alone.
const WINDOWS: [&str; 3] = ["cooldownUntil", "disabledUntil", "blockedUntil"];
/// What belongs to them: the fields that `resetAuthProfileFailureState` of 2026.9.6 and
/// `resetUsageStats` of 2026.4.29 to 2026.7.1 remove.
const WINDOW_DETAILS: [&str; 9] = [
    "cooldownReason",
    "cooldownModel",
    "cooldownClassification",
    "disabledReason",
    "blockedReason",
    "blockedSource",
    "blockedModel",
    "blockedScope",
    "failureCounts",
];

/// Removes every mention of `id` from the three records of a file.
pub(super) fn forget(root: &mut Map<String, Value>, id: &ProfileId) {
    let names = |value: &Value| value.as_str().is_some_and(|text| text.trim() == id.as_str());
    edit_record(root, ORDER, |order| {
        order.retain(|_, value| {
            let Some(ids) = value.as_array_mut() else {
                return true;
            };
            let before = ids.len();
            ids.retain(|value| !names(value));
            before == 0 || !ids.is_empty()
        });
    });
    edit_record(root, LAST_GOOD, |last_good| {
        last_good.retain(|_, value| !names(value))
    });
    edit_record(root, USAGE_STATS, |stats| {
        stats.shift_remove(id.as_str());
    });
}

/// What in the three records has another type than OpenClaw writes.
pub(super) fn wrong_shapes(root: &Map<String, Value>) -> Vec<WrongShape> {
    let mut found = Vec::new();
    for name in RECORDS {
        if root.get(name).is_some_and(|value| !value.is_object()) {
            found.push(WrongShape::no_object(name));
        }
    }
    for (key, value) in record(root, ORDER) {
        if !value
            .as_array()
            .is_some_and(|ids| ids.iter().all(Value::is_string))
        {
            found.push(WrongShape {
                message: say!(
                    "{place} is not a list of ids",
                    place = format_args!("order[{key:?}]")
                ),
            });
        }
    }
    for (key, value) in record(root, LAST_GOOD) {
        if !value.is_string() {
            found.push(WrongShape {
                message: say!("{place} is not an id", place = format_args!("lastGood[{key:?}]")),
            });
        }
    }
    for (key, value) in record(root, USAGE_STATS) {
        if !value.is_object() {
            found.push(WrongShape::no_object(&format!("usageStats[{key:?}]")));
        }
    }
    found
}

/// Writes the order under the spelling of the provider that the file has already.
fn set_order(root: &mut Map<String, Value>, provider: &ProviderId, ids: &[ProfileId]) -> Result<()> {
    let record = root.entry(ORDER).or_insert_with(|| json!({}));
    let Some(order) = record.as_object_mut() else {
        return Err(WrongShape::no_object(ORDER).error());
    };
    let key = order.keys().find(|key| is_provider(key, provider));
    let key = key.cloned().unwrap_or_else(|| provider.as_str().to_owned());
    // Releases differ in which of two spellings counts: only one may stay.
    order.retain(|other, _| *other == key || !is_provider(other, provider));
    let ids = ids.iter().map(|id| Value::from(id.as_str())).collect();
    order.insert(key, ids);
    Ok(())
}

fn clear_order(root: &mut Map<String, Value>, provider: &ProviderId) {
    edit_record(root, ORDER, |order| {
        order.retain(|key, _| !is_provider(key, provider));
    });
}

/// An entry without a window is left as it is.
fn clear_cooldown(root: &mut Map<String, Value>, id: &ProfileId) {
    edit_record(root, USAGE_STATS, |stats| {
        let entry = stats.get_mut(id.as_str()).and_then(Value::as_object_mut);
        let Some(entry) = entry.filter(|entry| WINDOWS.iter().any(|field| entry.contains_key(*field))) else {
            return;
        };
        entry.retain(|field, _| {
            !WINDOWS.contains(&field.as_str()) && !WINDOW_DETAILS.contains(&field.as_str())
        });
        entry.insert("errorCount".to_owned(), json!(0));
    });
}

/// Edits a record if it is there; one that the edit emptied is removed.
fn edit_record(root: &mut Map<String, Value>, name: &str, edit: impl FnOnce(&mut Map<String, Value>)) {
    let Some(record) = root.get_mut(name).and_then(Value::as_object_mut) else {
        return;
    };
    let before = record.len();
    edit(record);
    if record.is_empty() && before > 0 {
        root.shift_remove(name);
    }
}

fn record<'a>(root: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    root.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn is_provider(key: &str, provider: &ProviderId) -> bool {
    ProviderId::parse(key).as_ref() == Some(provider)
}

fn count(value: &Value) -> Option<u64> {
    u64::try_from(json::millis(value)?.as_millis()).ok()
}

#[cfg(test)]
mod tests;
