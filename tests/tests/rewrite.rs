//! Kalit's edit of one account and real OpenClaw's edit of another, on invented stores: the same
//! comes out in either order, and what Kalit stored survives OpenClaw's own loading and saving.

#[path = "rewrite/invented.rs"]
mod invented;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_core::ErrorCode;
use kalit_core::clock::{SystemClock, Timestamp};
use kalit_core::ids::{ProfileId, ProviderId};
use kalit_core::secret::Secret;
use kalit_core::store::credential::{NewSecret, RefreshedFields};
use kalit_core::store::lock::{LockContext, PidTrust, SandboxMarks, StoreLock};
use kalit_core::store::{AgentStore, Document, NewCredential, NewTokens};
use kalit_journeys::dialogue::Dialogue;
use kalit_journeys::openclaw::{TestHome, Version, harness, read_json, release};
use kalit_journeys::proof::{Figures, times};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use invented::{THEIRS, invented};

#[tokio::test]
async fn edits_commute_with_2026_2_17() -> Result<()> {
    edits_commute(Version::V2026_2_17).await
}

#[tokio::test]
async fn edits_commute_with_2026_4_29() -> Result<()> {
    edits_commute(Version::V2026_4_29).await
}

#[tokio::test]
async fn edits_commute_with_2026_6_1() -> Result<()> {
    edits_commute(Version::V2026_6_1).await
}

/// Each stands for what another program can leave behind. Kalit reports it and leaves the file.
#[test]
fn a_damaged_store_is_reported_and_never_written_over() -> Result<()> {
    let home = TestHome::new()?;
    let (whole, _) = invented(1);
    let damaged: [(&str, Vec<u8>, ErrorCode); 8] = [
        ("nothing", Vec::new(), ErrorCode::StoreUnparsable),
        (
            "cut",
            whole.as_bytes()[..whole.len() / 2].to_vec(),
            ErrorCode::StoreUnparsable,
        ),
        (
            "a comma too many",
            br#"{"version":1,"profiles":{"a":{"type":"token","provider":"p","token":"T"},}}"#.to_vec(),
            ErrorCode::StoreUnparsable,
        ),
        (
            "a byte order mark",
            [b"\xef\xbb\xbf", whole.as_bytes()].concat(),
            ErrorCode::StoreUnparsable,
        ),
        (
            "a key twice",
            br#"{"profiles":{"a":{"type":"token","provider":"p","token":"T"},"a":{}}}"#.to_vec(),
            ErrorCode::StoreDuplicateKeys,
        ),
        (
            "no UTF-8",
            br#"{"profiles":{"a":"#.iter().copied().chain(*b"\"\xff\"}}").collect(),
            ErrorCode::StoreUnparsable,
        ),
        ("zeros", vec![0; 512], ErrorCode::StoreUnparsable),
        ("a list", b"[]".to_vec(), ErrorCode::StoreWrongShape),
    ];
    for (what, bytes, code) in damaged {
        let agent_dir = home.agent_dir(&what.replace(' ', "-"));
        fs::create_dir_all(&agent_dir)?;
        let path = agent_dir.join("auth-profiles.json");
        fs::write(&path, &bytes)?;
        let error = edit(&agent_dir, |document| document.put(&id("new:one")?, &login()))
            .err()
            .with_context(|| format!("{what}: it was written"))?;
        ensure!(error.code() == code, "{what}: {error}");
        assert_eq!(fs::read(&path)?, bytes, "{what}");
    }
    // Every beginning of a store, without the file: none is taken for a whole one.
    let text = whole.trim_end();
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        ensure!(
            Document::parse(&text.as_bytes()[..end]).is_err(),
            "cut after {end} bytes"
        );
    }
    Document::parse(text.as_bytes())?;
    Ok(())
}

/// What Kalit does to one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    SignIn,
    PasteKey,
    Renew,
    Remove,
}

async fn edits_commute(version: Version) -> Result<()> {
    let release = release(version).await?;
    let home = TestHome::new()?;
    let agent_dir = home.agent_dir("main");
    fs::create_dir_all(&agent_dir)?;
    let mut command = release.command(&home, &harness("store-edits.mjs"));
    command.arg(&release.package_dir);
    let mut openclaw = Dialogue::start(command)?;
    assert_eq!(openclaw.answer().await?, json!({"ready": true}));

    let fields = match version {
        Version::V2026_6_1 => RefreshedFields::All,
        _ => RefreshedFields::Stored,
    };
    let (mut compared, mut refused, mut replaced, mut shown) = (0, 0, 0, 0);
    for seed in 0..times(20, 500) as u64 {
        let (text, mut random) = invented(seed);
        let (id, kalit) = choose(&text, &mut random)?;
        let kalits = |document: &mut Document| apply(kalit, document, &id, fields);

        write(&agent_dir, &text)?;
        if let Err(error) = edit(&agent_dir, kalits) {
            ensure!(error.code() == ErrorCode::StoreUnparsable, "seed {seed}: {error}");
            assert_eq!(fs::read_to_string(agent_dir.join("auth-profiles.json"))?, text);
            refused += 1;
            continue;
        }
        let ours = files(&agent_dir)?;
        theirs(&mut openclaw, seed).await?;
        let ours_first = files(&agent_dir)?;
        keeps(&ours, &ours_first, &id, kalit).with_context(|| format!("seed {seed}, {kalit:?} of {id}"))?;

        write(&agent_dir, &text)?;
        theirs(&mut openclaw, seed).await?;
        let theirs_alone = files(&agent_dir)?;
        // What OpenClaw drops before Kalit comes is put as new.
        if kalit != Edit::SignIn
            && kalit != Edit::PasteKey
            && theirs_alone.0["profiles"][id.as_str()].is_null()
        {
            continue;
        }
        edit(&agent_dir, kalits)?;
        let theirs_first = files(&agent_dir)?;
        if dropped(&text, &theirs_alone.0, &id) {
            replaced += 1;
            keeps(&ours, &theirs_first, &id, kalit)?;
            continue;
        }
        assert_eq!(theirs_first, ours_first, "seed {seed}, {kalit:?} of {id}");
        compared += 1;
        // The comparison sees a lost edit.
        shown += usize::from(ours != theirs_first && theirs_alone != theirs_first);
    }
    ensure!(openclaw.end().await?.success(), "OpenClaw ended badly");
    ensure!(shown == compared, "of {compared} stores {shown} show a lost edit");
    ensure!(compared >= times(12, 300), "only {compared} stores were compared");
    Figures::new(match version {
        Version::V2026_2_17 => "rewrite-2026.2.17",
        Version::V2026_4_29 => "rewrite-2026.4.29",
        _ => "rewrite-2026.6.1",
    })
    .row("stores with the same result in either order", compared)
    .row("stores that cannot be kept: refused and unchanged", refused)
    .row("entries that OpenClaw drops: Kalit's stays", replaced)
    .tell()
}

/// OpenClaw stores another account.
async fn theirs(openclaw: &mut Dialogue, seed: u64) -> Result<()> {
    let credential = json!({"type": "api_key", "provider": "acme", "key": format!("THEIRS-{seed}")});
    let line = json!({"id": THEIRS, "credential": credential});
    openclaw.say(&line.to_string()).await?;
    ensure!(
        openclaw.answer().await? == json!({"written": true}),
        "it could not write"
    );
    Ok(())
}

/// Whether the entry that Kalit stored stands in `now` as it was stored.
fn keeps(stored: &Files, now: &Files, id: &ProfileId, kalit: Edit) -> Result<()> {
    let (stored, now) = (
        &stored.0["profiles"][id.as_str()],
        &now.0["profiles"][id.as_str()],
    );
    if kalit == Edit::Remove {
        ensure!(now.is_null(), "the account is back");
        return Ok(());
    }
    ensure!(now.is_object(), "the account was dropped");
    let fields = [
        "type",
        "key",
        "access",
        "refresh",
        "expires",
        "idToken",
        "accountId",
        "email",
    ];
    for field in fields {
        ensure!(now[field] == stored[field], "{field} was changed");
    }
    let provider = |entry: &Value| entry["provider"].as_str().map(str::to_lowercase);
    ensure!(provider(now) == provider(stored), "the provider was changed");
    Ok(())
}

/// Whether OpenClaw dropped the entry that stood in the text.
fn dropped(text: &str, now: &Value, id: &ProfileId) -> bool {
    let before: Value = serde_json::from_str(text).unwrap_or_default();
    !before["profiles"][id.as_str()].is_null() && now["profiles"][id.as_str()].is_null()
}

/// An account of the store, or a new one, and an edit that it admits.
fn choose(text: &str, random: &mut StdRng) -> Result<(ProfileId, Edit)> {
    let new = (id("new:one")?, Edit::SignIn);
    let Ok(document) = Document::parse(text.as_bytes()) else {
        return Ok(new);
    };
    let mut choices = vec![new, (id("new:two")?, Edit::PasteKey)];
    for (id, credential) in document.profiles() {
        if id.as_str() == THEIRS {
            continue;
        }
        choices.extend([
            (id.clone(), Edit::SignIn),
            (id.clone(), Edit::PasteKey),
            (id.clone(), Edit::Remove),
        ]);
        if credential.as_oauth().is_some() {
            choices.extend([(id.clone(), Edit::Renew), (id, Edit::Renew)]);
        }
    }
    choices.choose(random).cloned().context("there is a choice")
}

fn apply(
    edit: Edit,
    document: &mut Document,
    id: &ProfileId,
    fields: RefreshedFields,
) -> kalit_core::Result<()> {
    match edit {
        Edit::SignIn => document.put(id, &login()),
        Edit::PasteKey => document.put(id, &pasted()),
        Edit::Renew => document.replace_tokens(id, &tokens(), fields),
        Edit::Remove => document.remove(id),
    }
}

fn edit(
    agent_dir: &Path,
    edit: impl FnOnce(&mut Document) -> kalit_core::Result<()>,
) -> kalit_core::Result<()> {
    let trust = PidTrust::detect(&SandboxMarks::default(), false);
    let context = LockContext::new(Arc::new(SystemClock), trust);
    let lock = StoreLock::acquire(agent_dir, &context, Duration::from_secs(10))?;
    AgentStore::new(agent_dir).update(&lock, |document, _| edit(document))?;
    Ok(())
}

/// Both files by meaning: an empty record is none, and a state without records is no file.
type Files = (Value, Option<Value>);

fn files(agent_dir: &Path) -> Result<Files> {
    let state = agent_dir.join("auth-state.json");
    let mut state = state.exists().then(|| read_json(&state)).transpose()?;
    if let Some(Value::Object(records)) = &mut state {
        records.retain(|_, record| record.as_object().is_none_or(|record| !record.is_empty()));
    }
    let state = state.filter(|state| *state != json!({"version": 1}));
    Ok((read_json(&agent_dir.join("auth-profiles.json"))?, state))
}

fn write(agent_dir: &Path, text: &str) -> Result<()> {
    let state = agent_dir.join("auth-state.json");
    if state.exists() {
        fs::remove_file(state)?;
    }
    Ok(fs::write(agent_dir.join("auth-profiles.json"), text)?)
}

fn id(text: &str) -> kalit_core::Result<ProfileId> {
    ProfileId::parse(text).ok_or_else(|| kalit_core::Error::new(ErrorCode::Internal, "an empty id"))
}

fn tokens() -> NewTokens {
    NewTokens {
        access: Secret::new("FAKE-ACCESS"),
        refresh: Some(Secret::new("FAKE-REFRESH")),
        expires: Timestamp::from_millis(2_000_000_000_000),
        id_token: Some(Secret::new("FAKE-ID")),
        account_id: Some("acc-1".to_owned()),
        plan: Some("plus".to_owned()),
        email: Some("me@example.com".to_owned()),
    }
}

fn login() -> NewCredential {
    new_credential(NewSecret::Oauth {
        tokens: tokens(),
        client_id: None,
    })
}

fn pasted() -> NewCredential {
    new_credential(NewSecret::ApiKey {
        key: Secret::new("FAKE-KEY"),
        email: None,
    })
}

fn new_credential(secret: NewSecret) -> NewCredential {
    NewCredential {
        // invariant: the text is not empty.
        provider: ProviderId::parse("openai-codex").unwrap(),
        secret,
        display_name: None,
    }
}
