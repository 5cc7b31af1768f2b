use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::event::EventKind as Kind;
use crate::history::SignIn;
use crate::ids::ProviderId;
use crate::oauth::testing::{FakeServer, Reply, free_port, until};
use crate::secret::Secret;
use crate::testbed::{ANN, Machine, NOW, login};
use crate::view::{AccountState, AccountView};

const KEY: &str = "anthropic:key";

/// Ann's login in the stores of main and work.
struct Home {
    machine: Machine,
    broker: Broker,
}

impl Home {
    fn new() -> Self {
        let machine = Machine::new();
        let home = Self {
            broker: machine.broker(),
            machine,
        };
        let config = json!({"meta": {"lastTouchedVersion": "2026.6.1"},
            "agents": {"list": [{"id": "main", "default": true}, {"id": "work"}]}});
        fs::create_dir_all(home.machine.path(".openclaw")).unwrap();
        fs::write(home.machine.path(".openclaw/openclaw.json"), config.to_string()).unwrap();
        home.write("work", "REF0");
        home.write("main", "REF0");
        home
    }

    fn dir(&self, agent: &str) -> PathBuf {
        self.machine.agent_dir(".openclaw", agent)
    }

    fn write(&self, agent: &str, refresh: &str) {
        fs::create_dir_all(self.dir(agent)).unwrap();
        let key = json!({"type": "api_key", "provider": "anthropic", "key": "a-key"});
        let store = json!({"version": 1, "profiles": {ANN: login(refresh, 3_600_000), KEY: key}});
        fs::write(self.dir(agent).join("auth-profiles.json"), store.to_string()).unwrap();
    }

    /// The refresh token of Ann's login in a store.
    fn stored(&self, agent: &str) -> Value {
        self.machine.read_store(&self.dir(agent))["profiles"][ANN]["refresh"].clone()
    }

    async fn remove(&self, agent: &str) -> Result<Removal> {
        let id = profile(ANN);
        self.broker.remove(&AgentId::normalize(agent), &id, true).await
    }

    fn preview(&self, id: &str) -> RemovalPreview {
        self.broker
            .removal_preview(&AgentId::main(), &profile(id))
            .unwrap()
    }

    fn account(&self, agent: &str) -> AccountView {
        let agents = self.broker.snapshot().agents;
        let agent = agents.into_iter().find(|one| one.id.as_str() == agent).unwrap();
        let mut accounts = agent.providers.into_iter().flat_map(|provider| provider.accounts);
        accounts.find(|one| one.profile_id.as_str() == ANN).unwrap()
    }
}

fn profile(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn seen() -> Fingerprint {
    Secret::new("REF0").fingerprint()
}

fn ended() -> Reply {
    Reply::json(200, &json!({}))
}

#[tokio::test]
async fn a_login_ends_at_its_provider_and_every_copy_of_it_says_so() {
    let home = Home::new();
    let server = home.machine.serve(vec![ended()]).await;
    let preview = home.preview(ANN);
    assert!(preview.can_sign_out, "{preview:?}");
    assert_eq!(preview.also_used_by, ["agent work"]);
    let mut events = home.broker.subscribe();
    let removal = home.remove("main").await.unwrap();
    assert_eq!(removal.signed_out, Some(SignedOut::Ended));
    assert!(removal.notes[0].ends_with("has ended, too."), "{removal:?}");
    assert_eq!(home.stored("main"), Value::Null);
    let told: Vec<Kind> = std::iter::from_fn(|| Some(events.try_recv().ok()?.kind)).collect();
    assert_eq!(told, [Kind::Revoked, Kind::Removed]);
    let body: Value = serde_json::from_str(&server.bodies()[0]).unwrap();
    assert_eq!(
        (&body["token"], &body["token_type_hint"]),
        (&json!("REF0"), &json!("refresh_token"))
    );

    let other = home.account("work");
    assert_eq!(other.state, AccountState::SignedOut);
    assert_eq!(
        other.sentence,
        "You signed this login out everywhere. Sign in again."
    );
    let preview = home
        .broker
        .removal_preview(&AgentId::normalize("work"), &profile(ANN));
    assert_eq!(
        preview.unwrap().why_not.as_deref(),
        Some("the provider has ended it already")
    );
    let removal = home.remove("work").await.unwrap();
    assert_eq!(removal.signed_out, Some(SignedOut::EndedBefore));
    assert_eq!(server.requests().len(), 1, "an ended login is not sent");
}

#[tokio::test]
async fn what_fails_loses_nothing_and_can_be_tried_again() {
    let invalid = |code: &str| Reply::json(400, &json!({"error": code}));
    let cases = [
        (
            Reply::http(503, "text/plain", ""),
            "provider.out_of_order",
            AccountState::Healthy,
        ),
        (
            invalid("unsupported_token_type"),
            "revoke.refused",
            AccountState::Healthy,
        ),
        (
            Reply::http(404, "text/plain", "none"),
            "revoke.refused",
            AccountState::Healthy,
        ),
        (
            Reply::http(500, "text/html", "<p>"),
            "revoke.unknown",
            AccountState::Unknown,
        ),
        (Reply::Drop, "revoke.unknown", AccountState::Unknown),
    ];
    for (reply, code, state) in cases {
        let home = Home::new();
        let server = home.machine.serve(vec![reply.clone(), ended()]).await;
        let mut events = home.broker.subscribe();
        let error = home.remove("main").await.unwrap_err();
        assert_eq!(error.code().as_str(), code, "{reply:?}");
        assert!(error.message().contains("removed"), "{error}");
        assert_eq!(
            (home.stored("main"), home.account("main").state),
            (json!("REF0"), state)
        );
        assert!(events.try_recv().is_err(), "nothing happened, nothing is told");
        if state == AccountState::Unknown {
            assert!(home.account("main").sentence.contains("may have ended"));
        }
        let removal = home.remove("main").await.unwrap();
        assert_eq!(removal.signed_out, Some(SignedOut::Ended), "{reply:?}");
        assert_eq!((home.stored("main"), server.requests().len()), (Value::Null, 2));
    }
    let home = Home::new();
    home.machine
        .lead_to(&format!("http://127.0.0.1:{}/token", free_port().await));
    let error = home.remove("main").await.unwrap_err();
    assert_eq!(error.code().as_str(), "network.unreachable");
    assert_eq!(
        (home.stored("main"), home.account("main").state),
        (json!("REF0"), AccountState::Healthy)
    );
    home.broker
        .remove(&AgentId::main(), &profile(ANN), false)
        .await
        .unwrap();
    assert_eq!(home.stored("main"), Value::Null, "it can be forgotten here");

    let home = Home::new();
    let server = home.machine.serve(vec![invalid("invalid_grant")]).await;
    let removal = home.remove("main").await.unwrap();
    assert_eq!(removal.signed_out, Some(SignedOut::EndedBefore));
    assert_eq!((home.stored("main"), server.requests().len()), (Value::Null, 1));
}

#[tokio::test]
async fn what_another_program_renewed_meanwhile_is_not_removed() {
    let home = Home::new();
    let octets = b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
    let server = FakeServer::start(vec![Reply::Slowly(octets, Duration::from_millis(20))]).await;
    home.machine.lead_to(&server.token_url());
    let rewritten = async {
        until("a request", || !server.requests().is_empty()).await;
        home.write("main", "REF1");
    };
    let (removed, ()) = tokio::join!(home.remove("main"), rewritten);
    assert_eq!(removed.unwrap_err().code(), ErrorCode::StoreChanged);
    assert_eq!(home.stored("main"), json!("REF1"));
}

#[tokio::test]
async fn what_cannot_be_ended_is_not_offered_and_not_sent() {
    let home = Home::new();
    let server = home.machine.serve(vec![ended()]).await;
    let generations = home.broker.inner.generations();
    let why = |id: &str| home.preview(id).why_not.unwrap();
    assert!(why(KEY).contains("provider's own pages"));
    generations.record_unknown(seen(), NOW).unwrap();
    assert!(why(ANN).contains("not answered"));
    generations.clear_unknown(seen()).unwrap();
    let sign_in = SignIn {
        provider: ProviderId::parse("openai").unwrap(),
        token_url: "https://auth.example.com/token".to_owned(),
        at: NOW,
    };
    generations.record_sign_in(seen(), &sign_in, None).unwrap();
    assert!(why(ANN).contains("another server"));
    let error = home.remove("main").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RevokeUnavailable);
    let next = Secret::new("REF1").fingerprint();
    generations.record_rotation(seen(), next, NOW, None).unwrap();
    assert!(why(ANN).contains("spent"));
    home.write("main", "REF2");
    let manifest = json!({"manifest": 1, "id": "openai", "overrides": "openai",
        "authorizeUrl": "http://127.0.0.1:9/a", "tokenUrl": server.token_url()});
    fs::write(
        home.machine.path("kalit/providers/openai.json"),
        manifest.to_string(),
    )
    .unwrap();
    assert_eq!(why(ANN), "Kalit knows no way to do that at ChatGPT");
    let error = home.remove("main").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RevokeUnavailable);
    assert_eq!((server.requests().len(), home.stored("main")), (0, json!("REF2")));
}
