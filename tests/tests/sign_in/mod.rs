//! A bare OAuth client for trying the servers: fixed verifier, a listener that writes down what
//! the redirect brought.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kalit_journeys::authserver::{AuthorizationServer, CLIENT_ID};
use kalit_journeys::http::{Answer, Reply, Server, fetch, post_form, post_form_for_location};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, mpsc};

const VERIFIER: &str = "a-verifier-that-is-the-same-in-every-test-of-this-file";

pub struct Callback {
    server: Server,
    received: Mutex<mpsc::UnboundedReceiver<Vec<(String, String)>>>,
}

impl Callback {
    pub async fn listen() -> Result<Self> {
        let (sender, received) = mpsc::unbounded_channel();
        let server = Server::plain(0, move |request| {
            if request.path == "/auth/callback" {
                let _ = sender.send(request.query);
            }
            std::future::ready(Answer::Reply(Reply::html(200, "received")))
        })
        .await?;
        Ok(Self {
            server,
            received: Mutex::new(received),
        })
    }

    pub fn redirect_uri(&self) -> String {
        format!("http://localhost:{}/auth/callback", self.server.port())
    }

    pub async fn received(&self) -> Result<Vec<(String, String)>> {
        let mut received = self.received.lock().await;
        let pairs = tokio::time::timeout(Duration::from_secs(10), received.recv()).await;
        pairs
            .context("nothing came to the callback")?
            .context("the callback is closed")
    }
}

pub fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

pub fn authorize_url(endpoint: &str, callback: &Callback) -> String {
    let mut url = url::Url::parse(endpoint).unwrap();
    url.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", &callback.redirect_uri()),
        ("scope", "openid profile email offline_access"),
        ("code_challenge", &challenge(VERIFIER)),
        ("code_challenge_method", "S256"),
        ("state", "state-1"),
        ("prompt", "consent"),
    ]);
    url.into()
}

pub async fn exchange(token_url: &str, code: &str, callback: &Callback) -> (u16, Value) {
    post(
        token_url,
        &[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &callback.redirect_uri()),
            ("client_id", CLIENT_ID),
            ("code_verifier", VERIFIER),
        ],
    )
    .await
}

pub async fn refresh(token_url: &str, token: &str) -> (u16, Value) {
    post(
        token_url,
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", CLIENT_ID),
        ],
    )
    .await
}

/// The first refresh token of a login, the consent form being posted by hand.
pub async fn without_browser(server: &AuthorizationServer, account: &str) -> String {
    let callback = Callback::listen().await.unwrap();
    let code = code_without_browser(server, &callback, account).await;
    let tokens = exchange(&format!("{}/oauth/token", server.url()), &code, &callback).await;
    tokens.1["refresh_token"].as_str().unwrap().to_owned()
}

pub async fn code_without_browser(
    server: &AuthorizationServer,
    callback: &Callback,
    account: &str,
) -> String {
    let url = authorize_url(&format!("{}/oauth/authorize", server.url()), callback);
    let (_, page) = fetch(&url).await.unwrap();
    let request = page
        .split("name=\"request\" value=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let form = format!("request={request}&account={account}&decision=allow");
    let decision = format!("{}/oauth/decision", server.url());
    let location = url::Url::parse(&post_form_for_location(&decision, form).await.unwrap()).unwrap();
    location
        .query_pairs()
        .find(|(name, _)| name == "code")
        .unwrap()
        .1
        .into_owned()
}

async fn post(url: &str, fields: &[(&str, &str)]) -> (u16, Value) {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish();
    let (status, body) = post_form(url, form).await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}
