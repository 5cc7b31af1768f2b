//! Whole sign-ins by a code, against a server that plays the recorded shapes of xAI, GitHub and MiniMax.

use super::*;
use crate::ErrorCode;
use crate::clock::{ManualClock, Timestamp};
use crate::oauth::testing::{FakeServer, Reply, environment, jwt, manifest, until};
use serde_json::json;
use url::form_urlencoded;

const NOW: i64 = 1_763_900_000_000;

/// Fast enough for a test; the pauses themselves are real.
fn options() -> LoginOptions {
    LoginOptions {
        shortest_poll: Duration::from_millis(10),
        slow_down: Duration::from_millis(300),
        ..LoginOptions::default()
    }
}

fn provider(server: &FakeServer, more: &Value) -> Provider {
    let mut text = json!({
        "manifest": 1, "id": "acme", "flow": "device", "clientId": "client-1", "scopes": ["openid", "offline_access"],
        "authorizeUrl": server.token_url().replace("/token", "/device"), "tokenUrl": server.token_url(),
        "verificationHosts": ["x.ai"],
    });
    for (name, value) in more.as_object().unwrap() {
        text[name] = value.clone();
    }
    manifest(&text)
}

async fn begin(server: &FakeServer, more: Value) -> Result<DeviceFlow> {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    DeviceFlow::start(&provider(server, &more), &environment(), clock, options()).await
}

/// As auth.x.ai answers (reports of 2026); `interval` is a hundredth of a second here.
fn asked() -> Value {
    json!({
        "device_code": "DEVICECODE1", "user_code": "ABCD-1234", "expires_in": 900, "interval": 0.01,
        "verification_uri": "https://accounts.x.ai/oauth2/device",
        "verification_uri_complete": "https://accounts.x.ai/oauth2/device?user_code=ABCD-1234",
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut body = asked();
    body[field] = value;
    body
}

fn tokens() -> Value {
    json!({
        "access_token": jwt(&json!({"sub": "user-1"})), "refresh_token": "REFRESH1", "token_type": "Bearer",
        "id_token": jwt(&json!({"sub": "user-1", "email": "ann@example.com"})), "expires_in": 21600,
    })
}

/// RFC 8628 section 3.5.
fn says(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({"error": code, "error_description": "d"}))
}

fn fields(body: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    owned.collect()
}

#[tokio::test]
async fn a_code_is_polled_for_until_it_is_entered() {
    let server = FakeServer::start(vec![
        Reply::json(200, &asked()),
        says(400, "authorization_pending"),
        Reply::json(200, &tokens()),
    ])
    .await;
    let flow = begin(&server, json!({})).await.unwrap();
    assert_eq!(flow.user_code(), "ABCD-1234");
    assert_eq!(flow.page(), "https://accounts.x.ai/oauth2/device");
    assert_eq!(
        flow.page_to_open(),
        "https://accounts.x.ai/oauth2/device?user_code=ABCD-1234"
    );
    assert_eq!(flow.lifetime(), Duration::from_secs(900));
    let shown = format!("{flow:?} {:?}", flow.handle());
    assert!(
        !shown.contains("DEVICECODE1") && !shown.contains("ABCD-1234"),
        "{shown}"
    );

    let signed_in = flow.run().await.unwrap();
    assert_eq!(signed_in.claims.email.as_deref(), Some("ann@example.com"));
    assert_eq!(
        signed_in.tokens.refresh.as_ref().map(Secret::expose),
        Some("REFRESH1")
    );
    assert_eq!(signed_in.token_url, server.token_url());
    assert_eq!(signed_in.expires_at(), Timestamp::from_millis(NOW + 21_600_000));

    let bodies = server.bodies();
    assert_eq!(
        fields(&bodies[0]),
        named(&[("client_id", "client-1"), ("scope", "openid offline_access")])
    );
    let polled = named(&[
        ("client_id", "client-1"),
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", "DEVICECODE1"),
    ]);
    assert_eq!(
        bodies[1..].iter().map(|body| fields(body)).collect::<Vec<_>>(),
        [polled.clone(), polled]
    );
    assert!(server.requests()[0].starts_with("POST /device "));
    assert!(
        server.requests()[0]
            .to_lowercase()
            .contains("accept: application/json")
    );
}

#[tokio::test]
async fn slow_down_lengthens_every_pause_after_it() {
    let server = FakeServer::start(vec![
        Reply::json(200, &asked()),
        says(400, "slow_down"),
        says(400, "authorization_pending"),
        Reply::json(200, &tokens()),
    ])
    .await;
    let flow = begin(&server, json!({})).await.unwrap();
    let began = std::time::Instant::now();
    flow.run().await.unwrap();
    assert!(
        began.elapsed() >= 2 * options().slow_down,
        "it asked as often as before"
    );
}

#[tokio::test]
async fn outages_walls_and_lost_answers_are_polled_through() {
    let server = FakeServer::start(vec![
        Reply::json(200, &asked()),
        Reply::Drop,
        Reply::http(503, "text/html", "<html>busy</html>"),
        Reply::http(403, "text/html", "<html>blocked</html>"),
        says(429, "too_many_requests"),
        Reply::http(200, "text/html", "<html>Wi-Fi</html>"),
        Reply::json(200, &tokens()),
    ])
    .await;
    begin(&server, json!({})).await.unwrap().run().await.unwrap();
    assert_eq!(server.requests().len(), 7);
}

#[tokio::test]
async fn what_ends_a_code_ends_the_sign_in() {
    for (reply, expected) in [
        (says(400, "access_denied"), ErrorCode::LoginDenied),
        (says(400, "authorization_denied"), ErrorCode::LoginDenied),
        (says(400, "expired_token"), ErrorCode::LoginTimeout),
        (says(401, "invalid_client"), ErrorCode::RefreshClient),
        (says(400, "invalid_grant"), ErrorCode::LoginExchangeFailed),
        (says(400, "nonsense"), ErrorCode::LoginExchangeFailed),
    ] {
        let told = format!("{reply:?}");
        let server = FakeServer::start(vec![Reply::json(200, &asked()), reply]).await;
        let error = begin(&server, json!({})).await.unwrap().run().await.unwrap_err();
        assert_eq!(error.code(), expected, "{told}");
        assert_eq!(server.requests().len(), 2, "{told}");
    }
}

#[tokio::test]
async fn a_code_that_nobody_enters_ends_with_its_lifetime() {
    let server = FakeServer::start(vec![
        Reply::json(200, &with("expires_in", json!(1))),
        says(400, "authorization_pending"),
    ])
    .await;
    let error = begin(&server, json!({})).await.unwrap().run().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LoginTimeout);
    let asked = server.requests().len();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.requests().len(), asked, "nothing is asked after the end");
}

#[tokio::test]
async fn a_cancelled_sign_in_asks_no_more_and_takes_no_answer() {
    for second in [says(400, "authorization_pending"), Reply::Hang] {
        let server = FakeServer::start(vec![Reply::json(200, &asked()), second]).await;
        let flow = begin(&server, json!({})).await.unwrap();
        let handle = flow.handle();
        let waiting = tokio::spawn(flow.run());
        until("it polls", || server.requests().len() > 1).await;
        assert_eq!(
            handle.paste(&Secret::new("anything")).unwrap_err().code(),
            ErrorCode::LoginPasteUnusable
        );
        assert!(handle.cancel());
        assert_eq!(
            waiting.await.unwrap().unwrap_err().code(),
            ErrorCode::LoginCancelled
        );
        let asked = server.requests().len();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.requests().len(), asked);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_trusted_or_shown_starts_nothing() {
    for body in [
        with("verification_uri", json!("https://evil.example/device")),
        with("verification_uri", json!("http://accounts.x.ai/device")),
        with("verification_uri", json!(null)),
        with("user_code", json!("")),
        with("user_code", json!("A\u{1b}[2J")),
        with("user_code", json!("A".repeat(65))),
        with("device_code", json!(null)),
        json!([]),
    ] {
        let server = FakeServer::start(vec![Reply::json(200, &body)]).await;
        let error = begin(&server, json!({})).await.unwrap_err();
        let told = format!("{error} {error:?} {}", error.hint());
        assert!(
            !told.contains("evil.example") && !told.contains("DEVICECODE1"),
            "{told}"
        );
        assert!(
            matches!(
                error.code(),
                ErrorCode::LoginExchangeFailed | ErrorCode::NetworkCaptive
            ),
            "{body}: {told}"
        );
    }
    let server = FakeServer::start(vec![says(400, "unauthorized_client")]).await;
    let error = begin(&server, json!({})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RefreshClient);
}

#[tokio::test]
async fn a_complete_page_elsewhere_is_not_opened() {
    let body = with(
        "verification_uri_complete",
        json!("https://evil.example/?user_code=ABCD-1234"),
    );
    let server = FakeServer::start(vec![Reply::json(200, &body)]).await;
    let flow = begin(&server, json!({})).await.unwrap();
    assert_eq!(flow.page_to_open(), "https://accounts.x.ai/oauth2/device");
}

/// github.com answers every poll with 200 (its documentation of 2026, and OpenClaw 2026.6.1).
#[tokio::test]
async fn githubs_answers_come_with_200_and_its_token_has_no_end() {
    let asked = json!({
        "device_code": "3584d83530557fdd1f46af8289938c8ef79f9dc5", "user_code": "WDJB-MJHT",
        "verification_uri": "https://github.com/login/device", "expires_in": 900, "interval": 0.01,
    });
    let server = FakeServer::start(vec![
        Reply::json(200, &asked),
        says(200, "authorization_pending"),
        Reply::json(
            200,
            &json!({"error": "slow_down", "error_description": "d", "interval": 10}),
        ),
        Reply::json(
            200,
            &json!({"access_token": "gho_fake", "token_type": "bearer", "scope": "read:user"}),
        ),
    ])
    .await;
    let github = json!({"issues": "token", "account": "github", "verificationHosts": ["github.com"]});
    let flow = begin(&server, github.clone()).await.unwrap();
    assert_eq!(flow.page_to_open(), "https://github.com/login/device");
    let signed_in = flow.run().await.unwrap();
    assert_eq!(signed_in.tokens.access.expose(), "gho_fake");
    assert!(signed_in.tokens.refresh.is_none() && signed_in.tokens.expires_in.is_none());
    assert_eq!(
        provider(&server, &github).token_route(),
        None,
        "it is not renewed"
    );

    for (code, expected) in [
        ("access_denied", ErrorCode::LoginDenied),
        ("expired_token", ErrorCode::LoginTimeout),
        ("device_flow_disabled", ErrorCode::RefreshClient),
    ] {
        let server = FakeServer::start(vec![Reply::json(200, &asked), says(200, code)]).await;
        let mut as_github = github.clone();
        as_github["id"] = json!("github-copilot");
        let error = begin(&server, as_github).await.unwrap().run().await.unwrap_err();
        assert_eq!(error.code(), expected, "{code}");
    }
}

/// account.minimax.io as OpenClaw 2026.6.1 reads it.
#[tokio::test]
async fn minimax_redeems_the_user_code_with_a_verifier() {
    let server = EchoServer::start().await;
    let minimax = json!({"id": "minimax-portal", "flow": "user-code", "account": "default"});
    let flow = begin(&server.0, minimax).await.unwrap();
    assert_eq!(flow.user_code(), "XYZ 123");
    assert_eq!(flow.lifetime(), Duration::from_secs(600));
    let signed_in = flow.run().await.unwrap();
    assert_eq!(signed_in.tokens.access.expose(), "ACCESS1");
    assert_eq!(signed_in.expires_at(), Timestamp::from_millis(NOW + 86_400_000));

    let bodies = server.0.bodies();
    let asked = fields(&bodies[0]);
    let of = |name: &str| asked.iter().find(|(known, _)| known == name).unwrap().1.clone();
    assert_eq!(
        (of("response_type"), of("code_challenge_method")),
        ("code".to_owned(), "S256".to_owned())
    );
    let polled = fields(bodies.last().unwrap());
    assert_eq!(polled[1].1, "urn:ietf:params:oauth:grant-type:user_code");
    assert_eq!(polled[2], ("user_code".to_owned(), "XYZ 123".to_owned()));
    let verifier = &polled[3];
    assert_eq!(verifier.0, "code_verifier");
    assert_ne!(verifier.1, of("state"));
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier.1));
    assert_eq!(challenge, of("code_challenge"));
}

#[tokio::test]
async fn minimaxs_refusal_and_a_foreign_state_end_the_sign_in() {
    let minimax = || json!({"id": "minimax-portal", "flow": "user-code", "account": "default"});
    let foreign = json!({"user_code": "X", "verification_uri": "https://x.ai/a", "expired_in": NOW + 1, "state": "other"});
    let server = FakeServer::start(vec![Reply::json(200, &foreign)]).await;
    let error = begin(&server, minimax()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LoginExchangeFailed);

    let server = EchoServer::start_with(vec![Reply::json(
        200,
        &json!({"status": "error", "base_resp": {"status_code": 1000, "status_msg": "m"}}),
    )])
    .await;
    let error = begin(&server.0, minimax())
        .await
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::LoginDenied);
}

/// A server whose first answer repeats the state that it was sent.
struct EchoServer(FakeServer);

impl EchoServer {
    async fn start() -> Self {
        Self::start_with(vec![
            Reply::json(200, &json!({"status": "pending", "access_token": null})),
            Reply::json(200, &json!({
                "status": "success", "access_token": "ACCESS1", "refresh_token": "REFRESH1",
                "expired_in": NOW + 86_400_000, "token_type": "Bearer", "resource_url": "https://api.minimax.io",
            })),
        ])
        .await
    }

    async fn start_with(polls: Vec<Reply>) -> Self {
        let body = json!({
            "user_code": "XYZ 123", "verification_uri": "https://x.ai/authorize", "interval": 10,
            "expired_in": NOW + 600_000, "state": "$state",
        });
        let mut replies = vec![Reply::Echo("state", body.to_string())];
        replies.extend(polls);
        Self(FakeServer::start(replies).await)
    }
}
