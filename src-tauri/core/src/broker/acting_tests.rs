//! What OpenClaw claims and what its database says, with a shell script in OpenClaw's place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::oauth::testing::{FakeServer, Reply};
use crate::secret::Secret;

const NOW: i64 = 1_790_000_000_000;
const AGENT: &str = "PRAGMA user_version = 23;
    CREATE TABLE auth_profile_store(store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;
    CREATE TABLE auth_profile_state(state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL, updated_at INTEGER NOT NULL) STRICT;";
const ONE: &str = "anthropic:one";
const TWO: &str = "anthropic:two";
const LOGIN: &str = "openai:ann@example.com";
/// Begins as a setup-token does.
const TOKEN: &str =
    "sk-ant-oat01-a-token-that-nobody-may-see-a-token-that-nobody-may-see-a-token-that-nobody-may-see-x";

/// An installation of 2026.9.6 with two tokens in main's database.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// `script` is what `openclaw` does.
    fn new(script: &str) -> Self {
        let home = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(home.agent_dir()).unwrap();
        fs::create_dir_all(home.path("bin")).unwrap();
        let config = json!({"meta": {"lastTouchedVersion": "2026.9.6"}, "gateway": {"port": 1}});
        fs::write(home.path(".openclaw/openclaw.json"), config.to_string()).unwrap();
        write_database(&home.database(), &json!({}), &[ONE, TWO]);
        // A file that this process has open for writing cannot be started.
        let draft = home.path("bin/draft");
        let log = r#"printf '%s\n' "$@" >> "$HOME/args"; env >> "$HOME/env""#;
        fs::write(&draft, format!("#!/bin/sh\n{log}\n{script}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&draft, home.path("bin/openclaw")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn agent_dir(&self) -> PathBuf {
        self.path(".openclaw/agents/main/agent")
    }

    fn database(&self) -> PathBuf {
        self.agent_dir().join("openclaw-agent.sqlite")
    }

    fn broker(&self) -> Broker {
        let home = self.dir.path();
        let environment = Environment::new([], home, home)
            .with_var("HOME", &home.to_string_lossy())
            .with_var("TMPDIR", &home.join("tmp").to_string_lossy())
            .with_var("PATH", &format!("{}:/usr/bin:/bin", home.join("bin").display()))
            .with_var("KALIT_DATA_DIR", "data")
            .with_var("KALIT_CONFIG_DIR", "config")
            .with_var("KALIT_PROVIDERS_DIR", &self.path("providers").to_string_lossy())
            .with_var("KALIT_TEST_PROVIDERS", "1");
        Broker::open(Options {
            environment,
            clock: Arc::new(ManualClock::new(Timestamp::from_millis(NOW))),
            state_dir: None,
            program: "kalit",
        })
        .unwrap()
    }

    /// The database that the script puts in place of the first.
    fn prepare(&self, state: &Value, ids: &[&str]) {
        write_database(&self.path("next.sqlite"), state, ids);
    }

    fn written(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }
}

fn write_database(path: &Path, state: &Value, ids: &[&str]) {
    let profiles: serde_json::Map<String, Value> = ids
        .iter()
        .map(|id| {
            let token = if *id == "anthropic:new" { TOKEN } else { id };
            let entry = match *id {
                LOGIN => json!({"type": "oauth", "provider": "openai", "access": "ACC0", "refresh": "REF0",
                    "expires": NOW + 86_400_000}),
                _ => json!({"type": "token", "provider": "anthropic", "token": token}),
            };
            ((*id).to_owned(), entry)
        })
        .collect();
    let _ = fs::remove_file(path);
    let database = Connection::open(path).unwrap();
    database.execute_batch(AGENT).unwrap();
    let store = json!({"version": 1, "profiles": profiles}).to_string();
    database
        .execute("INSERT INTO auth_profile_store VALUES('primary', ?1, 1)", [store])
        .unwrap();
    database
        .execute(
            "INSERT INTO auth_profile_state VALUES('primary', ?1, 1)",
            [state.to_string()],
        )
        .unwrap();
}

const DONE: &str = r#"mv "$HOME/next.sqlite" "$OPENCLAW_STATE_DIR/agents/main/agent/openclaw-agent.sqlite""#;

fn id(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn anthropic() -> ProviderId {
    ProviderId::parse("anthropic").unwrap()
}

fn order() -> Value {
    json!({"version": 1, "order": {"anthropic": [TWO, ONE]}})
}

#[tokio::test]
async fn a_switch_counts_when_the_database_says_so() {
    let home = Home::new(&format!("{DONE}; exit 1"));
    home.prepare(&order(), &[ONE, TWO]);
    let done = home.broker().activate(&AgentId::main(), &id(TWO)).await.unwrap();
    assert_eq!(done.effective, Some(id(TWO)));
    assert_eq!(
        home.written("args"),
        "models\nauth\n--agent\nmain\norder\nset\n--provider\nanthropic\nanthropic:two\nanthropic:one\n"
    );
}

#[tokio::test]
async fn a_claim_that_the_database_does_not_bear_out_is_no_success() {
    let home = Home::new("echo 'Auth profile order override: anthropic:two'");
    let broker = home.broker();
    let mut events = broker.subscribe();
    let main = AgentId::main();
    let error = broker
        .set_order(&main, &anthropic(), vec![id(TWO), id(ONE)])
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawUnconfirmed);
    let error = broker.remove(&main, &id(ONE), false).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawUnconfirmed);
    assert!(events.try_recv().is_err(), "nothing happened, nothing is told");
    // Nobody expects the profile to be gone.
    let marks = &broker.inner.marks;
    assert!(
        marks
            .record_vanished(
                &home.agent_dir(),
                &id(ONE),
                "anthropic",
                None,
                Timestamp::from_millis(NOW)
            )
            .unwrap()
    );
}

#[tokio::test]
async fn a_refusal_of_openclaws_is_told_in_its_words() {
    let home = Home::new(r#"echo '{"ok":false,"error":{"message":"no such thing"}}'; exit 1"#);
    let error = home
        .broker()
        .clear_order(&AgentId::main(), &anthropic())
        .await
        .map(|done| done.order);
    assert_eq!(
        error.unwrap(),
        None,
        "there was no order: that is what was wanted"
    );
    let error = home
        .broker()
        .remove(&AgentId::main(), &id(ONE), false)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (
            ErrorCode::OpenClawFailed,
            "openclaw: it ended with exit code 1: no such thing"
        )
    );
}

#[tokio::test]
async fn a_pasted_secret_goes_through_standard_input_alone() {
    let home = Home::new(&format!(r#"cat > "$HOME/stdin"; {DONE}"#));
    home.prepare(&json!({}), &[ONE, TWO, "anthropic:new"]);
    let broker = home.broker();
    let stored = broker.paste_secret(pasted()).await.unwrap();
    assert_eq!(stored.profile_id, id("anthropic:new"));
    assert_eq!(home.written("stdin"), format!("{TOKEN}\n"));
    assert_eq!(
        home.written("args"),
        "models\nauth\n--agent\nmain\npaste-token\n--provider\nanthropic\n--profile-id\nanthropic:new\n"
    );
    assert!(!home.written("env").contains(TOKEN));
}

#[tokio::test]
async fn a_pasted_secret_is_in_no_error() {
    let home = Home::new(r#"read secret; echo "cannot store $secret" >&2; exit 1"#);
    let error = home.broker().paste_secret(pasted()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawFailed);
    assert_eq!(
        error.message(),
        "openclaw: it ended with exit code 1: cannot store …"
    );
    // Another secret than the pasted one is stored.
    let home = Home::new(DONE);
    home.prepare(&json!({}), &[ONE, TWO, "anthropic:other"]);
    let error = home.broker().paste_secret(pasted()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawUnconfirmed);
}

#[tokio::test]
async fn a_token_of_a_snapshot_is_stored_by_openclaw_again() {
    let home = Home::new(&format!(r#"cat > "$HOME/stdin"; {DONE}"#));
    let all = [ONE, TWO, "anthropic:new"];
    home.prepare(&json!({}), &all);
    write_database(&home.database(), &json!({}), &all);
    let broker = home.broker();
    broker.inner.seal("test");
    write_database(&home.database(), &json!({}), &[ONE, TWO]);
    let sealed = broker.snapshots().unwrap().remove(0);
    assert_eq!((sealed.profiles, sealed.missing), (3, 1));
    let mut choice = SnapshotChoice {
        id: sealed.id,
        agent: None,
        profile_id: None,
    };
    let error = broker.restore_snapshot(choice.clone()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::EraSqlite);
    choice.profile_id = Some(id(ONE));
    let error = broker.restore_snapshot(choice.clone()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RestoreNotNeeded);
    choice.profile_id = Some(id("anthropic:new"));
    let done = broker.restore_snapshot(choice).await.unwrap();
    assert_eq!(done.restored[0].profile_id, id("anthropic:new"));
    assert_eq!(home.written("stdin"), format!("{TOKEN}\n"));
}

#[tokio::test]
async fn a_removal_is_expected_and_told_once() {
    let home = Home::new(DONE);
    home.prepare(&json!({}), &[TWO]);
    let broker = home.broker();
    let mut events = broker.subscribe();
    let removal = broker.remove(&AgentId::main(), &id(ONE), false).await.unwrap();
    assert_eq!(removal.profile_id, id(ONE));
    assert_eq!(events.try_recv().unwrap().kind, EventKind::Removed);
    let known = broker.inner.marks.record_vanished(
        &home.agent_dir(),
        &id(ONE),
        "anthropic",
        None,
        Timestamp::from_millis(NOW),
    );
    assert!(!known.unwrap(), "its absence is no surprise");
}

#[tokio::test]
async fn what_kalit_refuses_openclaw_is_not_asked() {
    let home = Home::new("exit 0");
    let (broker, main) = (home.broker(), AgentId::main());
    let unknown = broker.activate(&main, &id("anthropic:none")).await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::ProfileUnknown);
    let openai = ProviderId::parse("openai").unwrap();
    let foreign = broker.set_order(&main, &openai, vec![id(ONE)]).await.unwrap_err();
    assert_eq!(foreign.code(), ErrorCode::OrderInvalid);
    let offer = broker.test_logins_offer().await;
    assert_eq!(
        (offer.offered, offer.why_not.as_deref()),
        (false, Some("there is no login that OpenClaw could renew"))
    );
    let pinned = broker.pin_session(&main, "agent:main:main", Some(id(ONE))).await;
    assert_eq!(pinned.unwrap_err().code(), ErrorCode::Usage);
    assert_eq!(home.written("args"), "");

    let old = json!({"meta": {"lastTouchedVersion": "2026.7.1"}, "gateway": {"port": 1}});
    fs::write(home.path(".openclaw/openclaw.json"), old.to_string()).unwrap();
    let error = broker.remove(&main, &id(ONE), false).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawUnsupported);
    assert!(error.hint().contains("--force"), "{}", error.hint());
    assert_eq!(home.written("args"), "");
}

#[tokio::test]
async fn an_order_for_all_agents_is_merged_and_clears_what_would_win() {
    let home = Home::new(&format!(
        r#"case "$*" in
           *config*) printf '{{"meta":{{"lastTouchedVersion":"2026.9.6"}},"gateway":{{"port":1}},"auth":{{"order":%s}}}}' "$4" > "$OPENCLAW_STATE_DIR/openclaw.json";;
           *) {DONE};;
           esac"#
    ));
    let config = json!({"meta": {"lastTouchedVersion": "2026.9.6"}, "gateway": {"port": 1},
        "auth": {"order": {"openai": ["openai:a"]}}});
    fs::write(home.path(".openclaw/openclaw.json"), config.to_string()).unwrap();
    write_database(&home.database(), &order(), &[ONE, TWO]);
    home.prepare(&json!({}), &[ONE, TWO]);
    let broker = home.broker();
    let ids = Some(vec![id(ONE), id(TWO)]);
    let preview = broker.order_globally_preview(&anthropic(), ids.clone()).unwrap();
    assert_eq!(preview.clears, [AgentId::main()]);
    assert!(!preview.gateway_running && !preview.restarts_gateway);
    let done = broker.order_globally(&anthropic(), ids).await.unwrap();
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].effective, Some(id(ONE)));
    assert_eq!(done[0].order, None, "no order is stored any more");
    let args = home.written("args");
    let value = r#"{"openai":["openai:a"],"anthropic":["anthropic:one","anthropic:two"]}"#;
    assert_eq!(
        args,
        format!(
            "config\nset\nauth.order\n{value}\n--strict-json\n\
             models\nauth\n--agent\nmain\norder\nclear\n--provider\nanthropic\n"
        )
    );
}

fn pasted() -> PasteRequest {
    PasteRequest {
        agent: AgentId::main(),
        provider: anthropic(),
        profile_id: Some(id("anthropic:new")),
        kind: PasteKind::Token,
        secret: Secret::new(TOKEN),
        expires_in: None,
    }
}

/// OpenAI's endpoints, one after the other with these answers.
async fn serve(home: &Home, replies: Vec<Reply>) -> FakeServer {
    let server = FakeServer::start(replies).await;
    let url = server.token_url();
    let manifest = json!({"manifest": 1, "id": "openai", "overrides": "openai",
        "authorizeUrl": url.replace("/token", "/authorize"), "tokenUrl": url,
        "revokeUrl": url.replace("/token", "/revoke")});
    fs::create_dir_all(home.path("providers")).unwrap();
    fs::write(home.path("providers/openai.json"), manifest.to_string()).unwrap();
    server
}

#[tokio::test]
async fn a_login_is_ended_before_openclaw_removes_it() {
    let home = Home::new(DONE);
    write_database(&home.database(), &json!({}), &[TWO, LOGIN]);
    home.prepare(&json!({}), &[TWO]);
    let replies = [Reply::http(503, "text/plain", ""), Reply::json(200, &json!({}))];
    let server = serve(&home, replies.to_vec()).await;
    let broker = home.broker();
    let (main, login) = (AgentId::main(), id(LOGIN));
    let preview = broker.removal_preview(&main, &login).unwrap();
    assert!(preview.can_sign_out, "{preview:?}");

    let error = broker.remove(&main, &login, true).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProviderOutOfOrder);
    assert_eq!(home.written("args"), "", "OpenClaw was not asked");

    let mut events = broker.subscribe();
    let removal = broker.remove(&main, &login, true).await.unwrap();
    assert_eq!(removal.signed_out, Some(SignedOut::Ended));
    let kinds: Vec<EventKind> = std::iter::from_fn(|| Some(events.try_recv().ok()?.kind)).collect();
    assert_eq!(kinds, [EventKind::Revoked, EventKind::Removed]);
    assert_eq!(server.requests().len(), 2);
    assert!(home.written("args").contains("logout"));
}

#[tokio::test]
async fn a_login_that_ended_and_that_openclaw_keeps_is_told() {
    let home = Home::new("exit 0");
    write_database(&home.database(), &json!({}), &[LOGIN]);
    serve(&home, vec![Reply::json(200, &json!({}))]).await;
    let broker = home.broker();
    let error = broker
        .remove(&AgentId::main(), &id(LOGIN), true)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawUnconfirmed);
    assert!(error.message().contains("has ended at its provider"), "{error}");
    let account = &broker.snapshot().agents[0].providers[0].accounts[0];
    assert_eq!(account.state, crate::view::AccountState::SignedOut);
    assert!(
        account.sentence.contains("signed this login out everywhere"),
        "{account:?}"
    );
}
