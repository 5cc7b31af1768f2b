//! The test bed itself: each real part comes up and does what the journeys rely on.

use std::time::Duration;

use kalit_journeys::authserver::{AuthorizationServer, CLIENT_ID, Options, Revocation};
use kalit_journeys::http::{fetch, post_form};
use kalit_journeys::oidc::{Errors, OidcProvider};
use kalit_journeys::token_endpoint::{Door, Login, Mode, TokenEndpoint};
use serde_json::{Value, json};

mod sign_in;
use sign_in::{Callback, authorize_url, challenge, exchange, refresh};

#[tokio::test]
async fn the_local_server_ends_a_family_whose_spent_token_comes_back() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let token = format!("{}/oauth/token", server.url());
    let first = sign_in::without_browser(&server, "ada@example.com").await;
    let other = sign_in::without_browser(&server, "ada@example.com").await;
    let second = refresh(&token, &first).await.1["refresh_token"]
        .as_str()
        .unwrap()
        .to_owned();

    assert_eq!(
        refresh(&token, &first).await.1["error"]["code"],
        "refresh_token_reused"
    );
    assert_eq!(
        refresh(&token, &second).await.1["error"]["code"],
        "refresh_token_invalidated"
    );
    assert_eq!(
        refresh(&token, &other).await.0,
        200,
        "another login of the account goes on"
    );
    assert_eq!(
        refresh(&token, "garbage").await.1["error"]["code"],
        "invalid_refresh_token"
    );
}

#[tokio::test]
async fn the_local_server_checks_what_an_authorization_server_must_check() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let authorize = format!("{}/oauth/authorize", server.url());
    let token = format!("{}/oauth/token", server.url());
    let callback = Callback::listen().await.unwrap();
    let good = authorize_url(&authorize, &callback);
    assert_eq!(fetch(&good).await.unwrap().0, 200);
    for (name, value) in [
        ("client_id", "another"),
        ("redirect_uri", "http://example.com/auth/callback"),
        ("redirect_uri", "http://localhost:1455/elsewhere"),
        ("response_type", "token"),
        ("code_challenge_method", "plain"),
        ("code_challenge", ""),
        ("state", ""),
    ] {
        let mut url = url::Url::parse(&good).unwrap();
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, old)| {
                (
                    key.to_string(),
                    if key == name {
                        value.to_owned()
                    } else {
                        old.to_string()
                    },
                )
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(pairs);
        assert_eq!(fetch(url.as_str()).await.unwrap().0, 400, "{name}={value}");
    }

    let code = sign_in::code_without_browser(&server, &callback, "ada@example.com").await;
    let wrong = format!(
        "grant_type=authorization_code&code={code}&client_id={CLIENT_ID}&redirect_uri={}&code_verifier={}",
        callback.redirect_uri(),
        "x".repeat(43)
    );
    assert_eq!(
        post_form(&token, wrong).await.unwrap().0,
        400,
        "the verifier must match"
    );
    let code = sign_in::code_without_browser(&server, &callback, "ada@example.com").await;
    let tokens = exchange(&token, &code, &callback).await.1;
    assert_eq!(
        exchange(&token, &code, &callback).await.0,
        400,
        "a code is good once"
    );
    let refused = refresh(&token, tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refused.0, 401, "a replayed code ends what it gave");
}

#[tokio::test]
async fn a_sabotaged_server_ignores_revocation() {
    let options = Options {
        revocation: Revocation::Ignored,
        ..Options::default()
    };
    let server = AuthorizationServer::start(options).await.unwrap();
    let token = format!("{}/oauth/token", server.url());
    let first = sign_in::without_browser(&server, "ada@example.com").await;
    let page = format!("{}/accounts/revoke", server.url());
    assert_eq!(
        post_form(&page, "account=ada@example.com".to_owned())
            .await
            .unwrap()
            .0,
        303
    );
    assert_eq!(refresh(&token, &first).await.0, 200);
}

#[tokio::test]
async fn the_token_endpoint_rotates_counts_and_misbehaves() {
    let lifetime = Duration::from_secs(3600);
    let endpoint = TokenEndpoint::start(Login::named("ada", "test-refresh-0"), lifetime)
        .await
        .unwrap();
    let url = format!("{}/oauth/token", endpoint.url());

    assert_eq!(
        refresh(&url, "test-refresh-0").await.1["refresh_token"],
        "test-refresh-1"
    );
    for (mode, status) in [
        (Mode::InvalidGrant, 400),
        (Mode::Reused, 401),
        (Mode::Invalidated, 401),
        (Mode::Unavailable, 503),
        (Mode::Html, 200),
        (Mode::NoContent, 204),
        (Mode::Huge, 200),
    ] {
        endpoint.once(mode);
        let form = format!("grant_type=refresh_token&refresh_token=test-refresh-1&client_id={CLIENT_ID}");
        assert_eq!(post_form(&url, form).await.unwrap().0, status, "{mode:?}");
    }
    endpoint.once(Mode::NoRotate);
    assert_eq!(
        refresh(&url, "test-refresh-1").await.1["refresh_token"],
        "test-refresh-1"
    );
    endpoint.once(Mode::Missing);
    assert_eq!(refresh(&url, "test-refresh-1").await.1.get("refresh_token"), None);
    let current = endpoint.current_refresh("acct-ada").unwrap();

    let form = |token: &str| format!("grant_type=refresh_token&refresh_token={token}&client_id={CLIENT_ID}");
    endpoint.once(Mode::DropBefore);
    assert!(post_form(&url, form(&current)).await.is_err());
    assert_eq!(endpoint.current_refresh("acct-ada").unwrap(), current);
    endpoint.once(Mode::Hang);
    let hanging = post_form(&url, form(&current));
    assert!(
        tokio::time::timeout(Duration::from_millis(300), hanging)
            .await
            .is_err()
    );
    endpoint.once(Mode::DropAfter);
    assert!(post_form(&url, form(&current)).await.is_err());
    assert_ne!(
        endpoint.current_refresh("acct-ada").unwrap(),
        current,
        "rotated all the same"
    );
    assert_eq!(
        refresh(&url, &current).await.1["error"]["code"],
        "refresh_token_reused"
    );
    assert_eq!(endpoint.reuses(), 1);

    let requests = endpoint.token_requests();
    assert_eq!(requests.len(), 14);
    assert!(requests.iter().all(|request| request.door == Door::Plain));
    let names: Vec<_> = requests[0].fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["grant_type", "refresh_token", "client_id"],
        "the order sent is kept"
    );
    assert_eq!(requests[12].outcome, "rotated, then dropped");
}

#[tokio::test]
async fn node_reaches_the_token_endpoint_by_openais_names_and_nothing_else() {
    let lifetime = Duration::from_secs(3600);
    let endpoint = TokenEndpoint::start(Login::named("ada", "test-refresh-0"), lifetime)
        .await
        .unwrap();
    let script = r#"
        const answer = await fetch('https://auth.openai.com/oauth/token', {
          method: 'POST',
          body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: 'test-refresh-0' }),
        });
        const tokens = await answer.json();
        const headers = { authorization: `Bearer ${tokens.access_token}` };
        const usage = await fetch('https://chatgpt.com/backend-api/wham/usage', { headers });
        const outside = await fetch('https://example.com/').then(() => 'reached', (error) => error.cause.code);
        console.log(JSON.stringify({ status: answer.status, usage: usage.status, outside }));
    "#;
    let mut node = tokio::process::Command::new("node");
    node.args(["--input-type=module", "--eval", script])
        .envs(endpoint.node_env());
    let output = node.output().await.unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(
        printed,
        json!({"status": 200, "usage": 200, "outside": "ECONNREFUSED"})
    );
    let outcomes: Vec<_> = endpoint
        .requests()
        .iter()
        .map(|request| (request.door, request.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [(Door::Tls, "rotated"), (Door::Tls, "current access token")]
    );
    assert!(
        endpoint
            .connections()
            .iter()
            .any(|line| line["host"] == "example.com")
    );
}

#[tokio::test]
async fn the_certified_server_can_tell_refusals_as_openai_does() {
    let server = OidcProvider::start(Duration::from_secs(120), Errors::OpenAi)
        .await
        .unwrap();
    let token = server.manifest(&[1455])["tokenUrl"].as_str().unwrap().to_owned();
    let refused = refresh(&token, "garbage").await;
    assert_eq!(
        (refused.0, &refused.1["error"]["code"]),
        (401, &json!("refresh_token_invalidated"))
    );
}

#[test]
fn the_challenge_is_that_of_rfc_7636() {
    assert_eq!(
        challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    );
}

/// Through a real browser, which the test bed has on Linux.
#[cfg(target_os = "linux")]
mod with_a_browser {
    use kalit_journeys::authserver::ServerProcess;
    use kalit_journeys::browser::Browser;
    use kalit_journeys::http::value_of;
    use kalit_journeys::process::binary;

    use super::*;

    #[tokio::test]
    async fn a_person_signs_in_at_the_local_server_and_is_revoked_on_its_page() {
        let dir = tempfile::tempdir().unwrap();
        let program = binary("KALIT_AUTHORIZATION_SERVER_BIN", "examples/authorization-server").unwrap();
        let server = ServerProcess::start(&program, dir.path(), &["--ttl", "90"])
            .await
            .unwrap();
        let authorize = format!("{}/oauth/authorize", server.url());
        let token = format!("{}/oauth/token", server.url());
        let callback = Callback::listen().await.unwrap();
        let browser = Browser::on_its_own().await.unwrap();

        let shown = browser
            .allow(&authorize_url(&authorize, &callback), "grace@example.com")
            .await
            .unwrap();
        assert_eq!(shown, "received");
        let pairs = callback.received().await.unwrap();
        assert_eq!(value_of(&pairs, "state"), Some("state-1"));
        let code = value_of(&pairs, "code").unwrap();

        let first = exchange(&token, code, &callback).await;
        assert_eq!(first.0, 200, "{}", first.1);
        assert_eq!(first.1["expires_in"], 90);
        let claims = claims(first.1["access_token"].as_str().unwrap());
        assert_eq!(claims["https://api.openai.com/auth"]["chatgpt_plan_type"], "pro");
        assert_eq!(
            claims["https://api.openai.com/profile"]["email"],
            "grace@example.com"
        );
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            90
        );

        let second = refresh(&token, first.1["refresh_token"].as_str().unwrap()).await;
        assert_eq!(second.0, 200, "{}", second.1);
        browser.revoke(server.url(), "grace@example.com").await.unwrap();
        let refused = refresh(&token, second.1["refresh_token"].as_str().unwrap()).await;
        assert_eq!(
            (refused.0, &refused.1["error"]["code"]),
            (401, &json!("refresh_token_invalidated"))
        );

        browser.deny(&authorize_url(&authorize, &callback)).await.unwrap();
        let pairs = callback.received().await.unwrap();
        assert_eq!(value_of(&pairs, "error"), Some("access_denied"));
        assert_eq!(value_of(&pairs, "state"), Some("state-1"));
        browser.close().await.unwrap();

        let entries = server.entries();
        assert!(
            entries
                .iter()
                .zip(1..)
                .all(|(entry, number)| entry.request == number),
            "ids count up from 1"
        );
        let refreshes: Vec<_> = entries
            .iter()
            .filter(|entry| entry.is_refresh())
            .map(|entry| (entry.text("account"), entry.text("outcome"), entry.status))
            .collect();
        assert_eq!(
            refreshes,
            [
                ("grace@example.com", "issued", 200),
                ("grace@example.com", "refresh_token_invalidated", 401)
            ]
        );
        let log = std::fs::read_to_string(server.log()).unwrap();
        for secret in [
            code,
            first.1["refresh_token"].as_str().unwrap(),
            first.1["access_token"].as_str().unwrap(),
        ] {
            assert!(!log.contains(secret), "a secret stands in the log");
        }
    }

    #[tokio::test]
    async fn the_certified_server_signs_in_rotates_and_detects_reuse() {
        let server = OidcProvider::start(Duration::from_secs(120), Errors::Standard)
            .await
            .unwrap();
        let manifest = server.manifest(&[1455]);
        let (authorize, token) = (
            manifest["authorizeUrl"].as_str().unwrap(),
            manifest["tokenUrl"].as_str().unwrap(),
        );
        let callback = Callback::listen().await.unwrap();
        let browser = Browser::on_its_own().await.unwrap();
        let sign_in = async || {
            browser
                .allow(&authorize_url(authorize, &callback), "ada@example.com")
                .await
                .unwrap();
            let pairs = callback.received().await.unwrap();
            assert_eq!(value_of(&pairs, "iss"), Some(server.url()));
            let tokens = exchange(token, value_of(&pairs, "code").unwrap(), &callback).await;
            assert_eq!(tokens.0, 200, "{}", tokens.1);
            tokens.1
        };
        let first = sign_in().await;
        let claims = claims(first["access_token"].as_str().unwrap());
        assert_eq!(
            claims["https://api.openai.com/auth"]["chatgpt_account_id"],
            "acct-demo-ada"
        );
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            120
        );
        let other = sign_in().await;

        let spent = first["refresh_token"].as_str().unwrap();
        let second = refresh(token, spent).await.1;
        assert_ne!(second["refresh_token"], first["refresh_token"]);
        assert_eq!(refresh(token, spent).await.1["error"], "invalid_grant");
        assert_eq!(
            refresh(token, second["refresh_token"].as_str().unwrap()).await.0,
            400,
            "the family is dead"
        );

        let other = other["refresh_token"].as_str().unwrap();
        server.revoke(other).await.unwrap();
        assert_eq!(refresh(token, other).await.0, 400);
        let reasons: Vec<_> = server
            .refreshes()
            .iter()
            .map(|entry| entry.text("outcome").to_owned())
            .collect();
        assert_eq!(
            reasons,
            [
                "issued",
                "refresh token already used",
                "refresh token not found",
                "refresh token not found"
            ]
        );

        browser.deny(&authorize_url(authorize, &callback)).await.unwrap();
        assert_eq!(
            value_of(&callback.received().await.unwrap(), "error"),
            Some("access_denied")
        );
        browser.close().await.unwrap();
    }

    fn claims(token: &str) -> Value {
        use base64::Engine;
        let part = token.split('.').nth(1).unwrap();
        serde_json::from_slice(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .unwrap(),
        )
        .unwrap()
    }
}
