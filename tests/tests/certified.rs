//! Kalit against the certified authorization server `oidc-provider`: sign-in with a person's steps
//! done by a plain HTTP client, rotation, reuse, revocation, and what an attacker or a tired
//! person might send.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_core::ErrorCode;
use kalit_core::broker::{
    Broker, LoginRequest, LoginSession, RefreshResult, RefreshTarget, SignedIn, SignedOut,
};
use kalit_core::clock::SystemClock;
use kalit_core::ids::{AgentId, ProfileId, ProviderId};
use kalit_core::oauth::discovery::Issuer;
use kalit_core::secret::Secret;
use kalit_journeys::http::{Visitor, free_port};
use kalit_journeys::kalit::{Kalit, account};
use kalit_journeys::oidc::{Errors, OidcProvider};
use kalit_journeys::openclaw::{TestHome, Version, read_json, release};
use serde_json::{Value, json};
use url::Url;

const PROFILE: &str = "openai:ada@example.com";

#[tokio::test]
async fn a_login_is_made_rotated_revoked_and_made_again() -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(Errors::OpenAi).await?;
    let signed_in = scene.sign_in().await?;
    assert_eq!(
        (signed_in.profile_id.as_str(), signed_in.replaced),
        (PROFILE, false)
    );
    assert_eq!(signed_in.email.as_deref(), Some("ada@example.com"));
    let first = scene.stored()?;
    assert_eq!(
        (&first["provider"], &first["accountId"]),
        (&json!("openai"), &json!("acct-demo-ada"))
    );

    assert_eq!(scene.refresh().await?, Ok(RefreshResult::Refreshed));
    let second = scene.stored()?;
    assert_ne!(first["refresh"], second["refresh"]);
    assert_eq!(scene.outcomes(), ["issued"]);

    // Revoked at the server: signed out, with that cause, and asked once.
    scene.server.revoke(text(&second["refresh"])?).await?;
    for _ in 0..2 {
        assert_eq!(scene.refresh().await?, Err("refresh.signed_out".to_owned()));
    }
    let lost = scene.account()?;
    assert_eq!(
        (&lost["state"], &lost["lost"]["cause"]),
        (&json!("signed-out"), &json!("refresh_token_invalidated"))
    );
    assert_eq!(scene.outcomes().len(), 2);

    // The same person signs in again: the same profile holds a new generation.
    let again = scene.sign_in().await?;
    assert_eq!((again.profile_id.as_str(), again.replaced), (PROFILE, true));
    assert_eq!(scene.account()?["lost"], Value::Null);

    // Another program spends the token that Kalit holds: reuse ends the family, with that cause.
    let spent = scene.stored()?["refresh"].clone();
    scene.spend(text(&spent)?).await?;
    assert_eq!(scene.refresh().await?, Err("refresh.signed_out".to_owned()));
    let lost = scene.account()?;
    assert_eq!(
        (&lost["state"], &lost["lost"]["cause"]),
        (&json!("signed-out"), &json!("refresh_token_reused"))
    );
    assert_eq!(scene.stored()?["refresh"], spent, "the credential is kept");
    assert_eq!(
        scene.outcomes(),
        [
            "issued",
            "refresh token not found",
            "issued",
            "refresh token already used"
        ]
    );
    println!("certified: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

#[tokio::test]
async fn a_plain_invalid_grant_after_a_revocation_is_signed_out_too() -> Result<()> {
    let scene = Scene::new(Errors::Standard).await?;
    scene.sign_in().await?;
    scene.server.revoke(text(&scene.stored()?["refresh"])?).await?;
    assert_eq!(scene.refresh().await?, Err("refresh.signed_out".to_owned()));
    let lost = scene.account()?;
    assert_eq!(
        (&lost["state"], &lost["lost"]["cause"]),
        (&json!("signed-out"), &json!("invalid_grant"))
    );
    assert_eq!(scene.outcomes().len(), 1);
    Ok(())
}

#[tokio::test]
async fn signing_out_everywhere_ends_the_login_at_the_server_and_only_there_if_it_answers() -> Result<()> {
    let scene = Scene::new(Errors::Standard).await?;
    scene.sign_in().await?;
    let (main, id) = (
        AgentId::main(),
        ProfileId::parse(PROFILE).context("no profile id")?,
    );
    let token = text(&scene.stored()?["refresh"])?.to_owned();

    // Nobody there: nothing is lost, and the login still renews.
    let manifest = read_json(&scene.manifest_path())?;
    let mut away = manifest.clone();
    away["revokeUrl"] = json!(format!("http://127.0.0.1:{}/revoke", free_port()?));
    scene.lead(&away)?;
    let error = scene.broker.remove(&main, &id, true).await.unwrap_err();
    assert_eq!(error.code().as_str(), "network.unreachable");
    assert_eq!(scene.stored()?["refresh"], token.as_str());
    scene.lead(&manifest)?;
    assert_eq!(scene.refresh().await?, Ok(RefreshResult::Refreshed));

    let token = text(&scene.stored()?["refresh"])?.to_owned();
    let preview = scene.broker.removal_preview(&main, &id)?;
    ensure!(preview.can_sign_out, "{preview:?}");
    let removal = scene.broker.remove(&main, &id, true).await?;
    assert_eq!(removal.signed_out, Some(SignedOut::Ended));
    assert_eq!(scene.stored()?, Value::Null, "the profile is gone");
    assert!(scene.spend(&token).await.is_err(), "the server takes the token");
    let outcomes = scene.outcomes();
    assert_eq!(
        outcomes.last().map(String::as_str),
        Some("refresh token not found")
    );

    // The same person signs in anew.
    assert!(!scene.sign_in().await?.replaced);
    assert_eq!(scene.refresh().await?, Ok(RefreshResult::Refreshed));
    Ok(())
}

#[tokio::test]
async fn foreign_answers_do_not_end_a_sign_in_and_the_right_one_does() -> Result<()> {
    let started = Instant::now();
    let scene = Scene::new(Errors::OpenAi).await?;
    let session = scene.begin().await?;
    let mut visitor = Visitor::default();
    let answer = scene.consent(&session, "allow").await?;

    // Wrong state, no state, another path, another host: each refused, the sign-in goes on.
    let mut foreign = answer.clone();
    foreign
        .query_pairs_mut()
        .clear()
        .append_pair("code", "stolen")
        .append_pair("state", "guessed");
    let mut stateless = answer.clone();
    stateless.query_pairs_mut().clear().append_pair("code", "stolen");
    let mut elsewhere = answer.clone();
    elsewhere.set_path("/elsewhere");
    for url in [&foreign, &stateless, &elsewhere] {
        let page = visitor.get(url).await?;
        ensure!(
            (400..500).contains(&page.status),
            "{} for {}",
            page.status,
            url.path()
        );
        ensure!(!page.body.contains("stolen"), "the page repeats what came in");
    }
    for host in ["evil.example", "evil.example:1455", "localhost.evil.example"] {
        let page = visitor.get_as_host(&answer, host).await?;
        ensure!(
            (400..500).contains(&page.status),
            "{} for host {host}",
            page.status
        );
    }
    let pasted = session.handle().paste(&Secret::new(foreign.as_str()));
    assert_eq!(pasted.unwrap_err().code().as_str(), "login.state_mismatch");
    let pasted = session.handle().paste(&Secret::new("good morning"));
    assert_eq!(pasted.unwrap_err().code().as_str(), "login.paste_unusable");

    let (page, signed_in) = tokio::join!(visitor.get(&answer), session.wait());
    assert_eq!((page?.status, signed_in?.profile_id.as_str()), (200, PROFILE));

    // The code of that sign-in, replayed into another one.
    let session = scene.begin().await?;
    let page = visitor.get(&at_port(&answer, &session)?).await?;
    ensure!(
        (400..500).contains(&page.status),
        "an old answer was taken: {}",
        page.status
    );
    let code = parameter(&answer, "code")?;
    session.handle().paste(&Secret::new(code))?;
    let refused = session.wait().await.unwrap_err();
    assert_eq!(refused.code().as_str(), "login.exchange_failed", "{refused}");

    // The person denies: told as that.
    let session = scene.begin().await?;
    let denied = scene.consent(&session, "deny").await?;
    let (_, ended) = tokio::join!(visitor.get(&denied), session.wait());
    assert_eq!(ended.unwrap_err().code().as_str(), "login.denied");
    println!("foreign answers: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

/// Makes of the last page's address what a person pastes.
type Form = fn(&Url) -> Result<String>;

#[tokio::test]
async fn every_form_of_a_pasted_answer_signs_in() -> Result<()> {
    let scene = Scene::new(Errors::OpenAi).await?;
    let forms: [(&str, Form); 4] = [
        ("the address", |url| Ok(url.to_string())),
        ("the pairs", |url| {
            Ok(format!(
                "code={}&state={}",
                parameter(url, "code")?,
                parameter(url, "state")?
            ))
        }),
        ("code#state", |url| {
            Ok(format!(
                "{}#{}",
                parameter(url, "code")?,
                parameter(url, "state")?
            ))
        }),
        ("the bare code", |url| parameter(url, "code")),
    ];
    for (form, pasted) in forms {
        let session = scene.begin().await?;
        let answer = scene.consent(&session, "allow").await?;
        session
            .handle()
            .paste(&Secret::new(pasted(&answer)?))
            .context(form)?;
        let signed_in = session.wait().await.context(form)?;
        assert_eq!(signed_in.profile_id.as_str(), PROFILE, "{form}");
    }
    let codes = scene.server.entries();
    let codes = codes
        .iter()
        .filter(|entry| entry.text("grant") == "authorization_code")
        .count();
    assert_eq!(codes, forms.len(), "one exchange for each");
    Ok(())
}

/// The server, and a broker in an empty home beside 2026.6.1.
#[tokio::test]
async fn a_provider_is_found_by_its_issuer_signed_in_to_renewed_and_left() -> Result<()> {
    let scene = Scene::new(Errors::Standard).await?;
    let issuer = Issuer {
        url: scene.server.url().to_owned(),
        id: ProviderId::parse("acme").context("no provider id")?,
        name: None,
        client_id: kalit_journeys::authserver::CLIENT_ID.to_owned(),
        scopes: Vec::new(),
        redirect: None,
    };
    let found = scene.broker.discover_provider(&issuer).await?;
    assert_eq!(found.flow(), "pkce");
    found.write()?;
    let session = scene.begin_at("acme").await?;
    ensure!(session.code().is_none(), "it signs in with the browser");
    let answer = scene.consent(&session, "allow").await?;
    let (page, signed_in) = tokio::join!(async { Visitor::default().get(&answer).await }, session.wait());
    assert_eq!(page?.status, 200);
    let acme = signed_in?.profile_id;
    assert_eq!(acme.as_str(), "acme:ada@example.com");
    let target = RefreshTarget::Profile(AgentId::main(), acme.clone());
    let outcomes = scene.broker.refresh(target).await;
    assert_eq!(outcomes[0].result, RefreshResult::Refreshed);
    let removed = scene.broker.remove(&AgentId::main(), &acme, true).await?;
    assert_eq!(removed.signed_out, Some(SignedOut::Ended));
    Ok(())
}

#[tokio::test]
async fn a_login_is_made_by_a_code_that_is_entered_elsewhere() -> Result<()> {
    let scene = Scene::new(Errors::Standard).await?;
    let url = scene.server.url();
    let manifest = json!({
        "manifest": 1, "id": "acme", "flow": "device", "clientId": kalit_journeys::authserver::CLIENT_ID,
        "authorizeUrl": format!("{url}/device/auth"), "tokenUrl": format!("{url}/token"),
        "scopes": ["openid", "email", "offline_access"],
    });
    let path = scene.manifest_path().with_file_name("acme.json");
    std::fs::write(path, manifest.to_string())?;
    for (decision, expected) in [
        ("deny", Err(ErrorCode::LoginDenied)),
        ("allow", Ok("acme:ada@example.com")),
    ] {
        let session = scene.begin_at("acme").await?;
        let page = Url::parse(session.code().context("no code")?.page)?;
        let code = session.code().context("no code")?.code.to_owned();
        let waiting = tokio::spawn(session.wait());
        let mut visitor = Visitor::default();
        let mut shown = visitor.get(&page).await?;
        for confirm in ["", "yes"] {
            let xsrf = shown.body.split("name=\"xsrf\" value=\"").nth(1);
            let xsrf = xsrf
                .and_then(|rest| rest.split('"').next())
                .context("no xsrf")?
                .to_owned();
            let mut form = vec![("xsrf", xsrf.as_str()), ("user_code", code.as_str())];
            form.extend((confirm == "yes").then_some(("confirm", "yes")));
            shown = visitor.post(&page, &form).await?;
        }
        while let Some(next) = shown.location {
            shown = visitor.get(&next).await?;
            if shown.location.is_none() && shown.body.contains("name=\"decision\"") {
                let form = [("account", "ada@example.com"), ("decision", decision)];
                shown = visitor.post(&next, &form).await?;
            }
        }
        let ended = waiting.await?;
        let told = ended.as_ref().map(|signed_in| signed_in.profile_id.as_str());
        assert_eq!(told.map_err(kalit_core::Error::code), expected);
    }
    Ok(())
}

struct Scene {
    server: OidcProvider,
    home: TestHome,
    broker: Broker,
}

impl Scene {
    async fn new(errors: Errors) -> Result<Self> {
        let server = OidcProvider::start(Duration::from_secs(120), errors).await?;
        let home = TestHome::new()?;
        let free = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let release = release(Version::V2026_6_1).await?;
        let kalit = Kalit::new(&home, &release, &server.manifest(&[free]))?;
        Ok(Self {
            broker: kalit.broker(Arc::new(SystemClock))?,
            server,
            home,
        })
    }

    async fn begin(&self) -> Result<LoginSession> {
        self.begin_at("openai").await
    }

    async fn begin_at(&self, provider: &str) -> Result<LoginSession> {
        let session = self.broker.login(LoginRequest {
            provider: ProviderId::parse(provider).context("no provider id")?,
            agent: AgentId::main(),
            profile_id: None,
            use_now: false,
        });
        let session = session.await?;
        ensure!(session.port_notice().is_none(), "{:?}", session.port_notice());
        Ok(session)
    }

    fn manifest_path(&self) -> PathBuf {
        self.home.path().join("kalit/providers/openai.json")
    }

    /// Replaces the manifest.
    fn lead(&self, manifest: &Value) -> Result<()> {
        Ok(std::fs::write(self.manifest_path(), manifest.to_string())?)
    }

    /// Goes through the server's pages and returns where it sends the browser: the callback.
    async fn consent(&self, session: &LoginSession, decision: &str) -> Result<Url> {
        let mut visitor = Visitor::default();
        let mut url = Url::parse(session.authorize_url())?;
        for _ in 0..8 {
            if url.path() == "/auth/callback" {
                return Ok(url);
            }
            let page = visitor.get(&url).await?;
            let page = match page.location {
                Some(_) => page,
                None => {
                    ensure!(page.body.contains("<form"), "{}: {}", page.status, page.body);
                    let form = [("account", "ada@example.com"), ("decision", decision)];
                    visitor.post(&url, &form).await?
                }
            };
            url = page.location.context("the server leads nowhere")?;
        }
        anyhow::bail!("the server's pages do not end")
    }

    async fn sign_in(&self) -> Result<SignedIn> {
        let session = self.begin().await?;
        let answer = self.consent(&session, "allow").await?;
        let mut visitor = Visitor::default();
        let (page, signed_in) = tokio::join!(visitor.get(&answer), session.wait());
        assert_eq!(page?.status, 200);
        Ok(signed_in?)
    }

    /// The result, or the code of the error.
    async fn refresh(&self) -> Result<Result<RefreshResult, String>> {
        let id = ProfileId::parse(PROFILE).context("no profile id")?;
        let outcomes = self
            .broker
            .refresh(RefreshTarget::Profile(AgentId::main(), id))
            .await;
        let outcome = outcomes.into_iter().next().context("no outcome")?;
        Ok(outcome.error.map_or(Ok(outcome.result), |error| Err(error.code)))
    }

    /// Spends a refresh token as another program would.
    async fn spend(&self, refresh_token: &str) -> Result<()> {
        let manifest = self.server.manifest(&[1455]);
        let url = Url::parse(text(&manifest["tokenUrl"])?)?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", kalit_journeys::authserver::CLIENT_ID),
        ];
        let page = Visitor::default().post(&url, &form).await?;
        ensure!(page.status == 200, "{}", page.body);
        Ok(())
    }

    fn stored(&self) -> Result<Value> {
        Ok(read_json(&self.home.profiles_path("main"))?["profiles"][PROFILE].clone())
    }

    fn account(&self) -> Result<Value> {
        account(&serde_json::to_value(self.broker.snapshot())?, "main", PROFILE)
    }

    /// What became of each refresh, by the server's log.
    fn outcomes(&self) -> Vec<String> {
        let refreshes = self.server.refreshes();
        refreshes
            .iter()
            .map(|entry| entry.text("outcome").to_owned())
            .collect()
    }
}

/// An answer for the port at which `session` listens.
fn at_port(answer: &Url, session: &LoginSession) -> Result<Url> {
    let asked = Url::parse(session.authorize_url())?;
    let redirect = Url::parse(&parameter(&asked, "redirect_uri")?)?;
    let mut url = answer.clone();
    ensure!(url.set_port(redirect.port()).is_ok(), "no port");
    Ok(url)
}

fn parameter(url: &Url, name: &str) -> Result<String> {
    let found = url.query_pairs().find(|(key, _)| key == name);
    Ok(found.with_context(|| format!("no {name}"))?.1.into_owned())
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("no text")
}
