//! The fuzzer's functions of the store: documents, states, cells and locks.

use serde_json::{Number, Value};

use super::credential::{Expiry, NewSecret, RefreshedFields};
use super::json::Flaw;
use super::lock::payload::Payload;
use super::state::{StateEdit, StateFile};
use super::{Credential, Document, Fence, FenceKind, NewCredential, NewTokens, StoreContent, json, sqlite};
use crate::clock::Timestamp;
use crate::error::{ErrorCode, Result};
use crate::fuzzing::{CANARY, assert_no_secret, told};
use crate::ids::{ProfileId, ProviderId};
use crate::secret::Secret;

/// How many profiles and providers of one input are edited.
const EDITED: usize = 3;

/// `auth-profiles.json`: what is read is written back as it was, whatever else is edited.
pub(crate) fn document(input: &[u8]) {
    let document = match Document::parse(input) {
        Ok(document) => document,
        Err(error) => return assert_no_secret(&told(&error)),
    };
    agrees_with_serde(input);
    let shape: Vec<String> = document.wrong_shapes().iter().map(|w| told(&w.error())).collect();
    if !a_key_is_secret(input) {
        assert_no_secret(&format!("{document:?} {shape:?}"));
    }
    let bytes = match document.to_bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            assert!(document.flaw().is_some() || error.code() == ErrorCode::StoreTooLarge);
            return assert_no_secret(&told(&error));
        }
    };
    let again = Document::parse(&bytes).expect("what is written can be read");
    assert!(again.is_same(&document), "something is lost by writing");
    assert!(again.to_bytes().expect("written before") == bytes);

    let new = ProfileId::parse("new:of-the-fuzzer").expect("not empty");
    let mut ids: Vec<ProfileId> = document.profiles().map(|(id, _)| id).take(EDITED).collect();
    if !ids.contains(&new) {
        ids.push(new);
    }
    for id in &ids {
        edits(&document, id);
    }
    for pair in ids.windows(2) {
        commutes(&document, &pair[0], &pair[1]);
    }
}

/// `auth-profiles.json`, a NUL and `auth-state.json`: the second wins, and an edit of one
/// provider's order changes nothing else.
pub(crate) fn auth_state(input: &[u8]) {
    let (profiles, state) = two_parts(input);
    let content = match StoreContent::of_cells(Some(profiles), Some(state), None) {
        Ok(content) => content,
        Err(error) => return assert_no_secret(&told(&error)),
    };
    if let Some(error) = &content.state_error {
        assert_no_secret(&told(error));
    }
    let Ok(file) = StateFile::parse(state) else {
        assert_eq!(content.state, content.document.state());
        return;
    };
    let (older, newer) = (content.document.state(), file.state());
    for (provider, ids) in &content.state.order {
        assert!(!ids.is_empty());
        let expected = newer.order.get(provider).or_else(|| older.order.get(provider));
        assert_eq!(Some(ids), expected);
    }
    assert!(
        newer
            .order
            .keys()
            .chain(older.order.keys())
            .all(|provider| content.state.order.contains_key(provider))
    );

    let plain = |id: &ProfileId| id.as_str().trim() == id.as_str();
    let mut ids: Vec<ProfileId> = content
        .document
        .profiles()
        .map(|(id, _)| id)
        .filter(plain)
        .collect();
    ids.reverse();
    let new = ProviderId::parse("new").expect("not empty");
    for provider in content.state.order.keys().take(EDITED).chain([&new]) {
        for in_state_file in [true, false] {
            let (mut document, mut file) = (content.document.clone(), StateFile::empty());
            if in_state_file {
                file = StateFile::parse(state).expect("parsed above");
            }
            let before = document.state().overlaid_by(file.state());
            let mut edit = StateEdit::new(before.clone());
            edit.set_order(provider, &ids);
            if let Err(error) = edit.apply(&mut document, &mut file, in_state_file) {
                assert_eq!(error.code(), ErrorCode::StoreWrongShape);
                continue;
            }
            let mut expected = before;
            if ids.is_empty() {
                expected.order.remove(provider);
            } else {
                expected.order.insert(provider.clone(), ids.clone());
            }
            assert_eq!(document.state().overlaid_by(file.state()), expected);
        }
    }
    for id in content.state.usage_stats.keys().take(EDITED) {
        let mut document = content.document.clone();
        let mut file = StateFile::parse(state).expect("parsed above");
        let before = document.state().overlaid_by(file.state());
        let mut edit = StateEdit::new(before.clone());
        edit.clear_cooldown(id);
        edit.apply(&mut document, &mut file, true)
            .expect("there is no order to refuse");
        let mut after = document.state().overlaid_by(file.state());
        let (mut expected, cleared) = (before, after.usage_stats.remove(id).expect("it is noted"));
        let noted = expected.usage_stats.remove(id).expect("it is noted");
        assert_eq!(after, expected);
        assert_eq!(
            (cleared.last_used, cleared.last_failure_at),
            (noted.last_used, noted.last_failure_at)
        );
        let windows = [
            cleared.cooldown_until,
            cleared.disabled_until,
            cleared.blocked_until,
        ];
        assert_eq!(windows, [None; 3]);
    }
    for id in ids.iter().take(EDITED) {
        let (mut document, mut file) = (
            content.document.clone(),
            StateFile::parse(state).expect("parsed above"),
        );
        document.remove(id).expect("it is there");
        file.forget(id);
        let state = document.state().overlaid_by(file.state());
        assert!(
            !state
                .order
                .values()
                .flatten()
                .chain(state.last_good.values())
                .any(|left| left == id)
        );
        assert!(!state.usage_stats.contains_key(id));
    }
}

/// A lock file: whatever it holds, the owner is a possible process or nobody.
pub(crate) fn lock_payload(input: &[u8]) {
    let payload = Payload::parse(input);
    if let Some(pid) = payload.pid {
        assert!((1..=i32::MAX as u32).contains(&pid));
        if let Some(created_at) = payload.created_at {
            let again = Payload::parse(&Payload::encode(pid, created_at, payload.starttime));
            assert_eq!(again, payload);
        }
    }
}

/// A cell of OpenClaw's databases: the store's document, or who owns the shared store.
pub(crate) fn sqlite_cell(input: &[u8]) {
    if let Err(error) = sqlite::owner(input) {
        assert_no_secret(&told(&error));
    }
    let content = match StoreContent::of_cells(Some(input), None, None) {
        Ok(content) => content,
        Err(error) => return assert_no_secret(&told(&error)),
    };
    if sqlite::has_known_shape(&content) {
        assert!(
            content
                .document
                .profiles()
                .all(|(_, credential)| credential.provider().is_some())
        );
    }
    for (_, credential) in content.document.profiles() {
        if let Some(fence) = credential.fence() {
            assert!(!credential.has_secret() && credential.generation().is_none());
            assert_eq!(
                Fence::parse(&text(fence, "access"), &text(fence, "refresh"), Some(1)).as_ref(),
                Some(fence)
            );
        }
    }
    let Ok(compact) = content.document.compact() else {
        return;
    };
    let again = Document::parse(compact.as_bytes()).expect("what is written can be read");
    assert!(again.is_same(&content.document), "something is lost by writing");
    for (id, _) in content.document.profiles().take(EDITED) {
        let mut document = content.document.clone();
        let raw = document.raw(&id).expect("it is there");
        match document.put_stored(&id, &raw) {
            Ok(()) => assert!(document.is_same(&content.document)),
            Err(error) => assert_eq!(error.code(), ErrorCode::StoreWrongShape),
        }
    }
}

/// Each kind of edit of one profile: done or refused, it leaves all else as it was.
fn edits(document: &Document, id: &ProfileId) {
    if let Some(after) = edited(document, id, |document| document.put(id, &login())) {
        let credential = after.credential(id).expect("just put");
        let oauth = credential
            .as_oauth()
            .expect("an oauth credential is stored as one");
        let stored = [&oauth.access, &oauth.refresh].map(|token| token.as_ref().map(Secret::expose));
        assert_eq!(stored, [Some("ACCESS"), Some("REFRESH")]);
        assert_eq!(oauth.expires, Expiry::At(EXPIRES));
    }
    if let Some(after) = edited(document, id, |document| document.put(id, &key())) {
        assert!(matches!(after.credential(id), Some(Credential::ApiKey(_))));
    }
    let renew = |document: &mut Document| document.replace_tokens(id, &tokens(), RefreshedFields::All);
    if let Some(after) = edited(document, id, renew) {
        let generation = after
            .credential(id)
            .and_then(|credential| credential.generation());
        assert_eq!(generation, Some(Secret::new("REFRESH").fingerprint()));
    }
    let removed = edited(document, id, |document| document.remove(id));
    assert_eq!(removed.is_some(), document.contains(id));
}

/// The document with an edit that was not refused.
fn edited(
    document: &Document,
    id: &ProfileId,
    edit: impl FnOnce(&mut Document) -> Result<()>,
) -> Option<Document> {
    let mut after = document.clone();
    let done = edit(&mut after);
    if let Err(error) = &done
        && !id.as_str().contains(CANARY)
    {
        assert_no_secret(&told(error));
    }
    let others = |document: &Document| -> Vec<(String, String)> {
        let bytes = document.to_bytes().expect("it has no flaw");
        let value = json::parse(&bytes).expect("what is written can be read");
        let top = value.as_object().into_iter().flatten();
        let top =
            top.filter(|(key, _)| !["profiles", "order", "lastGood", "usageStats"].contains(&key.as_str()));
        let profiles = value
            .get("profiles")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        let profiles = profiles.filter(|(key, _)| *key != id.as_str());
        top.chain(profiles)
            .map(|(key, value)| (key.clone(), value.to_string()))
            .collect()
    };
    assert_eq!(others(document), others(&after), "something else was edited");
    assert!(
        !after
            .credential(id)
            .is_some_and(|credential| done.is_ok() && credential.common().is_none())
    );
    done.is_ok().then_some(after)
}

/// Edits of two profiles give the same in either order.
fn commutes(document: &Document, one: &ProfileId, other: &ProfileId) {
    let put = |document: &mut Document| document.put(one, &login()).is_ok();
    let remove = |document: &mut Document| document.remove(other).is_ok();
    let (mut first, mut second) = (document.clone(), document.clone());
    let done = (put(&mut first), remove(&mut first));
    let (removed, was_put) = (remove(&mut second), put(&mut second));
    assert_eq!(done, (was_put, removed));
    assert!(first.is_same(&second), "two edits depend on their order");
}

const EXPIRES: Timestamp = Timestamp::from_millis(2_000_000_000_000);

fn tokens() -> NewTokens {
    NewTokens {
        access: Secret::new("ACCESS"),
        refresh: Some(Secret::new("REFRESH")),
        expires: EXPIRES,
        id_token: Some(Secret::new("ID")),
        account_id: Some("account".to_owned()),
        plan: None,
        email: Some("me@example.com".to_owned()),
    }
}

fn login() -> NewCredential {
    let tokens = tokens();
    let secret = NewSecret::Oauth {
        tokens,
        client_id: None,
    };
    new_credential(secret)
}

fn key() -> NewCredential {
    let key = Secret::new("KEY");
    new_credential(NewSecret::ApiKey { key, email: None })
}

fn new_credential(secret: NewSecret) -> NewCredential {
    NewCredential {
        provider: ProviderId::parse("openai").expect("not empty"),
        secret,
        display_name: None,
    }
}

/// Another parser reads the same. It refuses half surrogates and one level of nesting less, respells
/// exponents, and takes keys with a mark of its own for numbers.
fn agrees_with_serde(input: &[u8]) {
    let parsed = json::parse_for_edit(input).expect("parsed before");
    if a_key(&parsed.value, |key| key.starts_with("$serde_json::private::")) {
        return;
    }
    match serde_json::from_slice::<Value>(input) {
        Ok(theirs) => {
            assert!(!matches!(parsed.flaw, Some(Flaw::LoneSurrogate(_))));
            assert!(
                respelled(&parsed.value) == respelled(&theirs),
                "read in another way"
            );
        }
        // Only the first flaw is told: one of a key may hide a half surrogate behind it.
        Err(error) => assert!(
            parsed.flaw.is_some() || error.to_string().starts_with("recursion limit"),
            "refused: {error}"
        ),
    }
}

fn respelled(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.to_string().parse::<Number>() {
            Ok(number) => Value::Number(number),
            Err(_) => Value::Null,
        },
        Value::Array(items) => items.iter().map(respelled).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), respelled(value)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// Whether the mark of secrets stands in a key: keys and ids are told.
fn a_key_is_secret(input: &[u8]) -> bool {
    json::parse(input).is_ok_and(|value| a_key(&value, |key| key.contains(CANARY)))
}

fn a_key(value: &Value, is_meant: fn(&str) -> bool) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| a_key(item, is_meant)),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| is_meant(key) || a_key(value, is_meant)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The fence as OpenClaw spells it.
fn text(fence: &Fence, token: &str) -> String {
    let kind = match fence.kind {
        FenceKind::Pending => "",
        FenceKind::Failed => "failed:",
    };
    let digest = if token == "access" {
        &fence.access
    } else {
        &fence.refresh
    };
    format!(
        "openclaw-oauth-refresh-fence:v1:{}:{kind}{token}:{digest}",
        fence.claim
    )
}

/// An input of two files, parted by a NUL.
fn two_parts(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    (&input[..at], input.get(at + 1..).unwrap_or_default())
}
