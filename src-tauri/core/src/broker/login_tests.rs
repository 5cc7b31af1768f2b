//! Sign-ins by a code, and for a key, from the provider's answer to the store.

use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::oauth::testing::{FakeServer, Reply, jwt};
use crate::testbed::Machine;

struct Bed {
    machine: Machine,
    broker: Broker,
    server: FakeServer,
}

impl Bed {
    /// An empty state directory, and a built-in provider that is led to a server on loopback.
    async fn new(provider: &str, replies: Vec<Reply>) -> Self {
        let machine = Machine::new();
        let server = FakeServer::start(replies).await;
        let manifest = json!({
            "manifest": 1, "id": provider, "overrides": provider,
            "authorizeUrl": server.token_url().replace("/token", "/device"), "tokenUrl": server.token_url(),
            "verificationHosts": ["x.ai", "github.com"],
        });
        fs::create_dir_all(machine.path("kalit/providers")).unwrap();
        fs::write(machine.path("kalit/providers/it.json"), manifest.to_string()).unwrap();
        fs::create_dir_all(machine.agent_dir(".openclaw", "main")).unwrap();
        let broker = machine.broker();
        Self {
            machine,
            broker,
            server,
        }
    }

    async fn signs_in(&self, provider: &str, profile: Option<&str>) -> Result<SignedIn> {
        let request = LoginRequest {
            provider: ProviderId::parse(provider).unwrap(),
            agent: AgentId::normalize("main"),
            profile_id: profile.map(|id| ProfileId::parse(id).unwrap()),
            use_now: false,
        };
        let session = self.broker.login(request).await?;
        assert_eq!(session.code().unwrap().code, "ABCD-1234");
        session.wait().await
    }

    fn stored(&self) -> Value {
        self.machine
            .read_store(&self.machine.agent_dir(".openclaw", "main"))["profiles"]
            .clone()
    }
}

fn asked(page: &str) -> Reply {
    Reply::json(
        200,
        &json!({"device_code": "D", "user_code": "ABCD-1234", "verification_uri": page, "expires_in": 900, "interval": 1}),
    )
}

#[tokio::test]
async fn an_xai_login_is_stored_under_its_e_mail_and_again_over_itself() {
    let tokens = |number: u32| {
        let person = json!({"sub": "user-ann", "email": "ann@example.com", "jti": number});
        let body = json!({"access_token": jwt(&person), "refresh_token": format!("REFRESH{number}"), "expires_in": 3600});
        Reply::json(200, &body)
    };
    let page = "https://accounts.x.ai/oauth2/device";
    let bed = Bed::new("xai", vec![asked(page), tokens(1), asked(page), tokens(2)]).await;
    let first = bed.signs_in("xai", None).await.unwrap();
    assert_eq!(first.profile_id.as_str(), "xai:ann@example.com");
    assert!(!first.replaced);
    let second = bed.signs_in("xai", None).await.unwrap();
    assert_eq!((second.profile_id, second.replaced), (first.profile_id, true));
    let stored = bed.stored();
    assert_eq!(stored.as_object().unwrap().len(), 1);
    let login = &stored["xai:ann@example.com"];
    assert_eq!(login["type"], "oauth");
    assert_eq!(
        (&login["refresh"], &login["accountId"]),
        (&json!("REFRESH2"), &json!("user-ann"))
    );
    let journal = bed
        .broker
        .inner
        .journal(&bed.machine.path(".openclaw").canonicalize().unwrap());
    assert_eq!(
        journal.entries().unwrap().entries.len(),
        0,
        "what is stored waits no more"
    );
}

#[tokio::test]
async fn somebody_else_does_not_take_an_accounts_place() {
    let tokens = |person: &str| {
        let access = jwt(&json!({"sub": person, "email": format!("{person}@example.com")}));
        Reply::json(
            200,
            &json!({"access_token": access, "refresh_token": format!("REFRESH-{person}")}),
        )
    };
    let page = "https://accounts.x.ai/oauth2/device";
    let bed = Bed::new(
        "xai",
        vec![asked(page), tokens("ann"), asked(page), tokens("bob")],
    )
    .await;
    bed.signs_in("xai", None).await.unwrap();
    let before = bed.stored();
    let error = bed
        .signs_in("xai", Some("xai:ann@example.com"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProfileInUseElsewhere);
    assert_eq!(bed.stored(), before);
}

#[tokio::test]
async fn githubs_token_is_stored_as_a_token_and_renewed_where_it_is_named() {
    let page = "https://github.com/login/device";
    let token = |text: &str| Reply::json(200, &json!({"access_token": text, "token_type": "bearer"}));
    let replies = vec![
        asked(page),
        token("gho_1"),
        asked(page),
        token("gho_2"),
        asked(page),
        token("gho_3"),
    ];
    let bed = Bed::new("github-copilot", replies).await;
    let first = bed.signs_in("github-copilot", None).await.unwrap();
    assert_eq!(
        (first.profile_id.as_str(), first.expires_at),
        ("github-copilot:github", None)
    );
    // Nothing says that it is the same account.
    let other = bed.signs_in("github-copilot", None).await.unwrap();
    assert_eq!(other.profile_id.as_str(), "github-copilot:github-2");
    let again = bed
        .signs_in("github-copilot", Some("github-copilot:github"))
        .await
        .unwrap();
    assert!(again.replaced);
    let token = |text: &str| json!({"type": "token", "provider": "github-copilot", "token": text});
    assert_eq!(
        bed.stored(),
        json!({"github-copilot:github": token("gho_3"), "github-copilot:github-2": token("gho_2")})
    );
    assert_eq!(bed.server.requests().len(), 6);
}

#[tokio::test]
async fn what_has_ended_says_why_and_what_to_do_instead() {
    let machine = Machine::new();
    fs::create_dir_all(machine.agent_dir(".openclaw", "main")).unwrap();
    let broker = machine.broker();
    for (id, expected) in [
        ("qwen-portal", ErrorCode::ProviderEnded),
        ("google-gemini-cli", ErrorCode::ProviderEnded),
        ("google-antigravity", ErrorCode::ProviderEnded),
        ("chutes", ErrorCode::ProviderClientMissing),
    ] {
        let request = LoginRequest {
            provider: ProviderId::parse(id).unwrap(),
            agent: AgentId::normalize("main"),
            profile_id: None,
            use_now: false,
        };
        let error = broker.login(request).await.unwrap_err();
        assert_eq!(error.code(), expected, "{id}");
        let listed = broker
            .providers()
            .into_iter()
            .find(|info| info.id.as_str() == id)
            .unwrap();
        let note = listed.note.unwrap();
        assert!(
            note.contains(error.message()) && note.contains(&error.hint()),
            "{note}"
        );
    }
    let manifest = json!({
        "manifest": 1, "id": "chutes", "flow": "pkce", "clientId": "mine",
        "authorizeUrl": "https://api.chutes.ai/idp/authorize", "tokenUrl": "https://api.chutes.ai/idp/token",
    });
    fs::create_dir_all(machine.path("kalit/providers")).unwrap();
    fs::write(machine.path("kalit/providers/chutes.json"), manifest.to_string()).unwrap();
    let chutes: Vec<_> = broker
        .providers()
        .into_iter()
        .filter(|info| info.id.as_str() == "chutes")
        .collect();
    assert_eq!(
        chutes.len(),
        1,
        "one's own description takes the place of the note"
    );
    assert_eq!((chutes[0].flow.as_str(), &chutes[0].note), ("pkce", &None));
}

#[tokio::test]
async fn an_expired_account_of_an_ended_provider_says_that_it_has_ended() {
    let machine = Machine::new();
    let agent_dir = machine.agent_dir(".openclaw", "main");
    fs::create_dir_all(&agent_dir).unwrap();
    let login = json!({
        "type": "oauth", "provider": "qwen-portal", "access": "A", "refresh": "R",
        "expires": crate::testbed::NOW.plus_millis(-3_600_000),
    });
    let store = json!({"version": 1, "profiles": {"qwen-portal:default": login}});
    fs::write(agent_dir.join("auth-profiles.json"), store.to_string()).unwrap();
    let snapshot = machine.broker().snapshot();
    let accounts = snapshot
        .agents
        .iter()
        .flat_map(|agent| &agent.providers)
        .flat_map(|provider| &provider.accounts);
    let texts: Vec<String> = accounts
        .filter_map(|one| Some(one.lost.as_ref()?.text.clone()))
        .collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(texts[0].contains("15 April 2026"), "{texts:?}");
}
