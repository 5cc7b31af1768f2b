//! Whole sign-ins: a browser played by a socket, and a token endpoint that counts.

use super::*;
use crate::clock::ManualClock;
use crate::oauth::testing::{FakeServer, Reply, environment, free_port, jwt, loopback_provider, openai};
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn tokens() -> Value {
    let access = jwt(&json!({
        "sub": "auth0|1", "exp": 1_700_864_000, "iat": 1_700_000_000,
        "https://api.openai.com/profile": {"email": "me@example.com"},
        "https://api.openai.com/auth": {"chatgpt_account_id": "acc-1", "chatgpt_plan_type": "plus"},
    }));
    json!({"access_token": access, "refresh_token": "REF1", "id_token": jwt(&json!({})), "expires_in": 864_000})
}

/// The tokens, after about a quarter of a second.
fn slowly() -> Reply {
    match Reply::json(200, &tokens()) {
        Reply::Octets(octets) => Reply::Slowly(octets, Duration::from_micros(300)),
        other => other,
    }
}

const NOW: i64 = 1_700_000_000_000;

async fn start(server: &FakeServer, ports: &[u16], options: LoginOptions) -> LoginFlow {
    let provider = loopback_provider(&server.token_url(), ports);
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    LoginFlow::start(&provider, &environment(), clock, options)
        .await
        .unwrap()
}

fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

/// What a browser does with the redirect.
async fn visit(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    let port = url.port().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let target = format!("{}?{}", url.path(), url.query().unwrap());
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn redirected(flow: &LoginFlow, code: &str) -> String {
    let state = &query(flow.authorize_url())["state"];
    format!("{}?code={code}&state={state}", flow.redirect_uri())
}

#[tokio::test]
async fn the_authorize_url_has_the_parameters_in_codexs_order() {
    let server = FakeServer::start(vec![Reply::Drop]).await;
    let port = free_port().await;
    let flow = start(&server, &[port], LoginOptions::default()).await;
    let url = flow.authorize_url().to_owned();
    let names: Vec<String> = Url::parse(&url)
        .unwrap()
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    assert_eq!(
        names,
        [
            "response_type",
            "client_id",
            "redirect_uri",
            "code_challenge",
            "code_challenge_method",
            "state",
            "scope",
            "id_token_add_organizations",
            "codex_cli_simplified_flow",
            "originator",
        ]
    );
    let values = query(&url);
    assert_eq!(
        values["redirect_uri"],
        format!("http://localhost:{port}/auth/callback")
    );
    assert_eq!(values["scope"], "openid profile email offline_access");
    assert!(
        url.contains("&scope=openid+profile+email+offline_access&"),
        "{url}"
    );
    assert_eq!(values["code_challenge"].len(), 43);
    assert_eq!(values["state"].len(), 43);
    assert_ne!(values["state"], values["code_challenge"]);
    assert!(!format!("{flow:?}").contains(&values["state"]), "{flow:?}");
    assert!(!format!("{:?}", flow.handle()).contains(&values["state"]));
}

#[tokio::test]
async fn the_browsers_code_is_exchanged_with_the_same_redirect_uri_and_verifier() {
    let server = FakeServer::start(vec![Reply::json(200, &tokens())]).await;
    let flow = start(&server, &[free_port().await], LoginOptions::default()).await;
    let asked = query(flow.authorize_url());
    let redirect = redirected(&flow, "the+code");
    let running = tokio::spawn(flow.run());
    assert!(visit(&redirect).await.starts_with("HTTP/1.1 200"));
    let signed_in = running.await.unwrap().unwrap();

    assert_eq!(signed_in.tokens.refresh.as_ref().unwrap().expose(), "REF1");
    assert_eq!(signed_in.claims.email.as_deref(), Some("me@example.com"));
    assert_eq!(signed_in.received_at, Timestamp::from_millis(NOW));
    assert_eq!(signed_in.expires_at(), Timestamp::from_millis(NOW + 864_000_000));
    assert_eq!(signed_in.token_url, server.token_url());
    assert_eq!(signed_in.provider.as_str(), "openai");

    let body = server.bodies().remove(0);
    let sent: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let names: Vec<&str> = sent.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        ["grant_type", "code", "redirect_uri", "client_id", "code_verifier"]
    );
    assert_eq!(sent[1].1, "the code");
    assert_eq!(sent[2].1, asked["redirect_uri"]);
    use base64::Engine;
    use sha2::Digest;
    let challenge =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(sent[4].1.as_bytes()));
    assert_eq!(challenge, asked["code_challenge"]);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_wrong_state_then_the_right_one_signs_in_with_one_request() {
    let server = FakeServer::start(vec![Reply::json(200, &tokens())]).await;
    let flow = start(&server, &[free_port().await], LoginOptions::default()).await;
    let right = redirected(&flow, "the-code");
    let wrong = format!("{}?code=evil&state=wrong", flow.redirect_uri());
    let running = tokio::spawn(flow.run());
    assert!(visit(&wrong).await.starts_with("HTTP/1.1 400"));
    assert!(visit(&right).await.starts_with("HTTP/1.1 200"));
    running.await.unwrap().unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_bad_paste_does_not_end_the_sign_in_and_a_good_one_wins_the_race() {
    let server = FakeServer::start(vec![Reply::json(200, &tokens())]).await;
    let flow = start(&server, &[free_port().await], LoginOptions::default()).await;
    let redirect = redirected(&flow, "pasted-code");
    let handle = flow.handle();
    let running = tokio::spawn(flow.run());
    let paste = |text: &str| handle.paste(&Secret::new(text)).map_err(|error| error.code());
    assert_eq!(paste("garbage"), Err(ErrorCode::LoginPasteUnusable));
    assert_eq!(
        paste(&redirect.replace("state=", "state=x")),
        Err(ErrorCode::LoginStateMismatch)
    );
    assert_eq!(paste(&format!("  <{redirect}>\n")), Ok(()));
    assert_eq!(
        paste(&redirect),
        Ok(()),
        "a second paste of the same is no mistake"
    );
    assert!(!handle.cancel(), "the exchange is not abandoned");
    running.await.unwrap().unwrap();
    assert!(server.bodies()[0].contains("code=pasted-code"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_callback_and_a_paste_at_once_are_one_exchange() {
    let server = FakeServer::start(vec![slowly()]).await;
    let flow = start(&server, &[free_port().await], LoginOptions::default()).await;
    let redirect = redirected(&flow, "the-code");
    let handle = flow.handle();
    let running = tokio::spawn(flow.run());
    let pasted = {
        let redirect = redirect.clone();
        tokio::spawn(async move { handle.paste(&Secret::new(redirect)) })
    };
    let visited = visit(&redirect).await;
    assert!(
        visited.starts_with("HTTP/1.1 200") || visited.starts_with("HTTP/1.1 409"),
        "{visited}"
    );
    pasted.await.unwrap().unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn cancelling_ends_the_wait_without_a_request_and_frees_the_port() {
    let server = FakeServer::start(vec![Reply::Drop]).await;
    let port = free_port().await;
    let flow = start(&server, &[port], LoginOptions::default()).await;
    let redirect = redirected(&flow, "the-code");
    let handle = flow.handle();
    let running = tokio::spawn(flow.run());
    assert!(handle.cancel());
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::LoginCancelled);
    let late = handle.paste(&Secret::new(redirect)).unwrap_err();
    assert_eq!(late.code(), ErrorCode::LoginCancelled);
    assert_eq!(server.requests().len(), 0);
    for _ in 0..200 {
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the port stays taken");
}

#[tokio::test]
async fn nobody_coming_is_a_timeout() {
    let server = FakeServer::start(vec![Reply::Drop]).await;
    let options = LoginOptions {
        wait: Duration::from_millis(50),
        ..LoginOptions::default()
    };
    let flow = start(&server, &[free_port().await], options).await;
    assert_eq!(flow.run().await.unwrap_err().code(), ErrorCode::LoginTimeout);
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn the_providers_refusal_ends_the_sign_in() {
    let server = FakeServer::start(vec![Reply::Drop]).await;
    let flow = start(&server, &[free_port().await], LoginOptions::default()).await;
    let redirect = redirected(&flow, "x").replace("code=x", "error=access_denied");
    let running = tokio::spawn(flow.run());
    visit(&redirect).await;
    assert_eq!(running.await.unwrap().unwrap_err().code(), ErrorCode::LoginDenied);
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn with_all_ports_taken_pasting_still_works_and_the_holder_is_named() {
    let server = FakeServer::start(vec![Reply::json(200, &tokens())]).await;
    let (first, second) = (free_port().await, free_port().await);
    let _one = TcpListener::bind(("127.0.0.1", first)).await.unwrap();
    let _other = TcpListener::bind(("127.0.0.1", second)).await.unwrap();
    let flow = start(&server, &[first, second], LoginOptions::default()).await;
    let notice = flow.notice().expect("a notice");
    assert_eq!(notice.code(), ErrorCode::LoginPortBusy);
    assert!(
        notice
            .message()
            .contains(&format!("(pid {})", std::process::id())),
        "{notice}"
    );
    assert_eq!(
        flow.redirect_uri(),
        format!("http://localhost:{first}/auth/callback")
    );
    let pasted = Secret::new(redirected(&flow, "the-code"));
    let handle = flow.handle();
    let running = tokio::spawn(flow.run());
    handle.paste(&pasted).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_second_port_is_used_when_the_first_is_taken() {
    let server = FakeServer::start(vec![Reply::json(200, &tokens())]).await;
    let (first, second) = (free_port().await, free_port().await);
    let _squatter = TcpListener::bind(("127.0.0.1", first)).await.unwrap();
    let flow = start(&server, &[first, second], LoginOptions::default()).await;
    assert!(flow.notice().is_none());
    assert_eq!(
        flow.redirect_uri(),
        format!("http://localhost:{second}/auth/callback")
    );
    let redirect = redirected(&flow, "the-code");
    let running = tokio::spawn(flow.run());
    visit(&redirect).await;
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_repeated_callback_during_the_exchange_is_a_conflict() {
    let server = FakeServer::start(vec![slowly()]).await;
    let flow = start(&server, &[free_port().await], LoginOptions::default()).await;
    let redirect = redirected(&flow, "the-code");
    let running = tokio::spawn(flow.run());
    assert!(visit(&redirect).await.starts_with("HTTP/1.1 200"));
    assert!(visit(&redirect).await.starts_with("HTTP/1.1 409"));
    running.await.unwrap().unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_failed_exchange_says_so_in_the_words_of_a_sign_in() {
    let html = "<html>";
    let cases = [
        (
            Reply::json(400, &json!({"error": "invalid_grant"})),
            ErrorCode::LoginExchangeFailed,
        ),
        (
            Reply::json(401, &json!({"error": "invalid_client"})),
            ErrorCode::RefreshClient,
        ),
        (
            Reply::http(401, "text/html", html),
            ErrorCode::LoginExchangeFailed,
        ),
        (
            Reply::json(200, &json!({"refresh_token": "R"})),
            ErrorCode::LoginExchangeFailed,
        ),
        (Reply::http(200, "text/html", html), ErrorCode::NetworkCaptive),
        (
            Reply::with_headers(204, "", ""),
            ErrorCode::ProviderAnswerMalformed,
        ),
        (
            Reply::http(200, "application/json", ""),
            ErrorCode::ProviderAnswerMalformed,
        ),
        (
            Reply::http(200, "application/json", &"x".repeat(10 << 20)),
            ErrorCode::NetworkCaptive,
        ),
        (Reply::http(503, "text/html", html), ErrorCode::ProviderOutOfOrder),
        (
            Reply::http(429, "text/html", html),
            ErrorCode::ProviderRateLimited,
        ),
        (Reply::Drop, ErrorCode::LoginExchangeFailed),
    ];
    for (reply, code) in cases {
        let server = FakeServer::start(vec![reply.clone()]).await;
        let flow = start(&server, &[free_port().await], LoginOptions::default()).await;
        let pasted = Secret::new(redirected(&flow, "the-code"));
        flow.handle().paste(&pasted).unwrap();
        let error = flow.run().await.unwrap_err();
        let shown: String = format!("{reply:?}").chars().take(200).collect();
        assert_eq!(error.code(), code, "{shown}");
        assert!(!error.message().contains("refresh token"), "{error}");
        assert_eq!(server.requests().len(), 1, "never sent twice: {shown}");
    }
}

#[tokio::test]
async fn a_provider_without_a_browser_flow_says_so() {
    let anthropic = crate::oauth::Providers::built_in()
        .unwrap()
        .get(&ProviderId::parse("anthropic").unwrap())
        .unwrap()
        .clone();
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let error = LoginFlow::start(&anthropic, &environment(), clock, LoginOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProviderFlowUnsupported);
}

#[test]
fn an_authorization_endpoint_keeps_its_own_query() {
    let provider = openai();
    let mut authorization = provider.authorization().unwrap().clone();
    authorization.url = Url::parse("https://id.example/a?tenant=1").unwrap();
    authorization.scopes.clear();
    authorization.params.clear();
    let redirect = RedirectUri::new(&authorization, 1455);
    let (verifier, state) = (Verifier::random().unwrap(), State::random().unwrap());
    let url = authorize_url(&authorization, "c", &redirect, &verifier, &state);
    assert!(
        url.as_str()
            .starts_with("https://id.example/a?tenant=1&response_type=code&client_id=c&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback&"),
        "{url}"
    );
    assert!(!url.as_str().contains("scope="));
}

/// openrouter.ai's own documentation of "OAuth PKCE", and what OpenClaw 2026.9.6 sends.
#[tokio::test]
async fn openrouter_makes_a_key_for_the_code_of_a_callback_with_our_state() {
    let reply = Reply::json(200, &json!({"key": "sk-or-v1-fake", "user_id": "user_1"}));
    let server = FakeServer::start(vec![reply]).await;
    let port = free_port().await;
    let text = json!({
        "manifest": 1, "id": "openrouter", "flow": "pkce", "issues": "api-key", "account": "default",
        "authorizeUrl": server.token_url().replace("/token", "/auth"), "tokenUrl": server.token_url(),
        "tokenRequest": "json", "redirect": {"ports": [port], "path": "/openrouter-oauth/callback"},
    });
    let provider = crate::oauth::testing::manifest(&text);
    assert_eq!(provider.token_route(), None, "a key is not renewed");
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let flow = LoginFlow::start(&provider, &environment(), clock, LoginOptions::default())
        .await
        .unwrap();
    let asked = Url::parse(flow.authorize_url()).unwrap();
    let names: Vec<String> = asked.query_pairs().map(|(name, _)| name.into_owned()).collect();
    assert_eq!(names, ["callback_url", "code_challenge", "code_challenge_method"]);
    let values = query(asked.as_str());
    let callback = &values["callback_url"];
    let expected = format!("http://localhost:{port}/openrouter-oauth/callback?state=");
    assert!(callback.starts_with(&expected), "{callback}");

    let back = callback.clone();
    let waiting = tokio::spawn(flow.run());
    let foreign = format!("{expected}another&code=FOREIGN");
    assert!(visit(&foreign).await.starts_with("HTTP/1.1 400 "));
    visit(&format!("{back}&code=CODE1")).await;
    let signed_in = waiting.await.unwrap().unwrap();
    assert_eq!(signed_in.tokens.access.expose(), "sk-or-v1-fake");
    assert!(signed_in.tokens.refresh.is_none());

    let bodies = server.bodies();
    assert_eq!(bodies.len(), 1);
    let body: Value = serde_json::from_str(&bodies[0]).unwrap();
    let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["code", "code_verifier", "code_challenge_method"]);
    assert_eq!(
        (&body["code"], &body["code_challenge_method"]),
        (&json!("CODE1"), &json!("S256"))
    );
    assert!(
        server.requests()[0]
            .to_lowercase()
            .contains("content-type: application/json")
    );
}
