//! A token endpoint that can misbehave. Real OpenClaw releases reach it over TLS under OpenAI's
//! host names (preload `harness/loop.cjs`, throw-away CA), Kalit over plain loopback HTTP by a
//! manifest. It rotates, detects reuse, counts requests, and records the order of body fields.
//! Tokens in its records are obvious fakes, so they stand there in clear.

mod families;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use kalit_core::clock::{Clock, SystemClock, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::http::{Answer, Reply, Request, Server, value_of};
use crate::openclaw::TestHome;
use crate::process::harness;
use crate::wait::until_some;
use families::{Families, Refused};
pub use families::{Login, access_token, authorization_code, canary_code};

/// The address of the last page of a sign-in to which this account consented.
pub fn last_page(authorize_url: &str, account_id: &str) -> Result<String> {
    let url = Url::parse(authorize_url)?;
    let of = |wanted: &str| {
        let found = url.query_pairs().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.into_owned()).context("no parameter")
    };
    let code = authorization_code(account_id);
    Ok(format!(
        "{}?code={code}&state={}",
        of("redirect_uri")?,
        of("state")?
    ))
}

/// The names OpenClaw asks for.
pub const HOSTS: [&str; 3] = ["auth.openai.com", "chatgpt.com", "api.openai.com"];

/// What the endpoint does with a token request (local-refresh, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Rotates; reuse of a spent token ends the family.
    Ok,
    /// 400 `invalid_grant`, nothing rotated.
    InvalidGrant,
    /// 401 `refresh_token_reused`, nothing rotated.
    Reused,
    /// 401 `refresh_token_invalidated`, nothing rotated.
    Invalidated,
    /// 503 with a text body.
    Unavailable,
    /// Never answers.
    Hang,
    /// Rotates, then closes the connection: the answer is lost.
    DropAfter,
    /// Closes the connection, nothing rotated.
    DropBefore,
    /// 200 with a web page.
    Html,
    /// 401 with a web page.
    Unexplained,
    /// 204 without a body.
    NoContent,
    /// 200 with 10 MB of JSON that never becomes a token answer.
    Huge,
    /// A new access token beside the same refresh token.
    NoRotate,
    /// Rotates but leaves `refresh_token` out of the answer.
    Missing,
}

/// Which door a request came through: OpenClaw knows only the first, Kalit's manifest the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Tls,
    Plain,
}

/// A request as it was received, and what was done with it.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// 1 for the first.
    pub number: usize,
    /// Epoch milliseconds.
    pub at: i64,
    pub door: Door,
    /// The port of the door.
    pub port: u16,
    pub method: String,
    pub path: String,
    pub user_agent: String,
    pub content_type: String,
    /// The body of a token request, in the order sent.
    pub fields: Vec<(String, String)>,
    /// For example `rotated`, `reuse`, `unknown`, `hang`, `current access token`.
    pub outcome: &'static str,
    /// The refresh token that the answer carried.
    pub issued: Option<String>,
}

impl Recorded {
    /// Whether this asked for tokens.
    pub fn is_token(&self) -> bool {
        self.path == "/oauth/token"
    }

    /// The refresh token that was sent.
    pub fn refresh_token(&self) -> Option<&str> {
        value_of(&self.fields, "refresh_token")
    }
}

/// The running endpoint. Dropping it closes both doors and removes the CA.
#[derive(Debug)]
pub struct TokenEndpoint {
    tls: Server,
    plain: Server,
    /// Further doors, one for each program that is to be told from the others.
    more: Vec<Server>,
    tls_config: rustls::ServerConfig,
    shared: Arc<Shared>,
    dir: TempDir,
}

#[derive(Debug)]
struct Shared(Mutex<State>);

#[derive(Debug)]
struct State {
    mode: Mode,
    once: VecDeque<Mode>,
    delay: Duration,
    families: Families,
    recorded: Vec<Recorded>,
}

impl TokenEndpoint {
    /// Starts with one login; more by [`TokenEndpoint::add_login`]. `lifetime` is that of the
    /// access tokens it issues.
    pub async fn start(login: Login, lifetime: Duration) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let tls_config = throw_away_tls(dir.path())?;
        let mut families = Families::new(lifetime);
        families.add(login);
        let shared = Arc::new(Shared(Mutex::new(State {
            mode: Mode::Ok,
            once: VecDeque::new(),
            delay: Duration::ZERO,
            families,
            recorded: Vec::new(),
        })));
        let tls = door(&shared, Door::Tls, &tls_config).await?;
        let plain = door(&shared, Door::Plain, &tls_config).await?;
        Ok(Self {
            tls,
            plain,
            more: Vec::new(),
            tls_config,
            shared,
            dir,
        })
    }

    /// Opens one more door of this kind and returns its port, by which its requests are known.
    pub async fn open(&mut self, kind: Door) -> Result<u16> {
        let opened = door(&self.shared, kind, &self.tls_config).await?;
        let port = opened.port();
        self.more.push(opened);
        Ok(port)
    }

    /// Lets another login refresh here. One of a known account takes its place.
    pub fn add_login(&self, login: Login) {
        self.shared.state().families.add(login);
    }

    /// What happens to token requests from now on.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.state().mode = mode;
    }

    /// What happens to the next token request only.
    pub fn once(&self, mode: Mode) {
        self.shared.state().once.push_back(mode);
    }

    /// How long a token request waits before it is answered.
    pub fn set_delay(&self, delay: Duration) {
        self.shared.state().delay = delay;
    }

    /// How far the endpoint's clock is ahead of this machine's, in milliseconds: in the `Date` of
    /// its answers and in the times of its tokens.
    pub fn set_clock_ahead(&self, millis: i64) {
        self.shared.state().families.ahead_ms = millis;
    }

    /// From now on every token that it issues is a canary.
    pub fn issue_canaries(&self) {
        self.shared.state().families.canaries = true;
    }

    /// Ends the family of a login, as a sign-out elsewhere does.
    pub fn revoke(&self, account_id: &str) {
        self.shared.state().families.revoke(account_id);
    }

    /// Whether the family of a login has not ended.
    pub fn is_live(&self, account_id: &str) -> bool {
        self.shared.state().families.is_live(account_id)
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.state().recorded.clone()
    }

    /// Every token request so far.
    pub fn token_requests(&self) -> Vec<Recorded> {
        let mut all = self.requests();
        all.retain(Recorded::is_token);
        all
    }

    /// How many token requests were answered with a new generation.
    pub fn rotations(&self) -> usize {
        self.shared.state().families.issued()
    }

    /// How many spent tokens came back.
    pub fn reuses(&self) -> usize {
        self.shared.state().families.reuses()
    }

    /// The refresh token that would be accepted next.
    pub fn current_refresh(&self, account_id: &str) -> Option<String> {
        self.shared.state().families.current_refresh(account_id)
    }

    /// The access token issued last.
    pub fn current_access(&self, account_id: &str) -> Option<String> {
        self.shared.state().families.current_access(account_id)
    }

    /// Waits until `count` token requests have arrived.
    pub async fn arrived(&self, count: usize, limit: Duration) -> Result<()> {
        until_some(&format!("{count} token requests"), limit, || {
            (self.token_requests().len() >= count).then_some(())
        })
        .await
    }

    /// The plain door, for a manifest.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.plain.port())
    }

    /// The port of the plain door.
    pub fn port(&self) -> u16 {
        self.plain.port()
    }

    /// The port of the door with TLS. Its certificate is good for loopback as well.
    pub fn tls_port(&self) -> u16 {
        self.tls.port()
    }

    /// A manifest that lets Kalit refresh here.
    pub fn manifest(&self, callback_ports: &[u16]) -> Value {
        crate::authserver::manifest(&self.url(), callback_ports)
    }

    /// The certificate authority of the TLS door.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The connections that OpenClaw tried: one JSON line each.
    pub fn connections(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.connection_log()).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Leads every OpenClaw that Kalit starts in this home to this endpoint; the preload it has already.
    pub fn lead(&self, home: &TestHome) -> Result<()> {
        let variables = self.node_env();
        let lead: Vec<(&str, String)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()))
            .filter(|(name, _)| *name != "NODE_OPTIONS")
            .collect();
        home.led_to(&lead)
    }

    /// Variables under which a Node process reaches this endpoint by OpenAI's names, and nothing
    /// beyond loopback.
    pub fn node_env(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [
            (
                "NODE_OPTIONS",
                format!("--require=\"{}\"", text(&harness("loop.cjs"))),
            ),
            ("NODE_EXTRA_CA_CERTS", text(&self.ca_file())),
            ("LOOP_PORT", self.tls.port().to_string()),
            ("LOOP_HOSTS", HOSTS.join(",")),
            ("LOOP_LOG", text(&self.connection_log())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn connection_log(&self) -> PathBuf {
        self.dir.path().join("connections.jsonl")
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, door: Door, request: Request) -> Answer {
        if request.path == "/oauth/revoke" {
            return Answer::Reply(self.ended_by(door, &request));
        }
        if request.path != "/oauth/token" {
            return Answer::Reply(self.api(door, &request));
        }
        let fields = if request
            .header("content-type")
            .is_some_and(|kind| kind.contains("json"))
        {
            let body: serde_json::Map<String, Value> =
                serde_json::from_slice(&request.body).unwrap_or_default();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            body.iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect()
        } else {
            request.form()
        };
        let token = match value_of(&fields, "code") {
            Some(code) => self.state().families.refresh_for(code).unwrap_or_default(),
            None => value_of(&fields, "refresh_token").unwrap_or_default().to_owned(),
        };
        let (mode, delay, number) = {
            let mut state = self.state();
            let mode = state.once.pop_front().unwrap_or(state.mode);
            let number = state.record(door, &request, fields, "arrived");
            (mode, state.delay, number)
        };
        tokio::time::sleep(delay).await;
        let mut state = self.state();
        let (outcome, mut answer) = state.token(mode, &token);
        let issued = match &answer {
            Answer::Reply(reply) => issued_in(&reply.body),
            Answer::Drop | Answer::Hang => None,
        };
        let recorded = &mut state.recorded[number - 1];
        (recorded.outcome, recorded.issued) = (outcome, issued);
        if let Answer::Reply(reply) = &mut answer {
            reply.headers.push(("date", http_date(state.families.now())));
        }
        answer
    }

    /// A revocation, as OpenAI takes it: JSON. Unknown tokens are accepted, too.
    fn ended_by(&self, door: Door, request: &Request) -> Reply {
        let mut state = self.state();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let outcome = match state.families.end(body["token"].as_str().unwrap_or_default()) {
            true => "ended",
            false => "nothing to end",
        };
        state.record(door, request, Vec::new(), outcome);
        Reply::json(200, &json!({}))
    }

    /// What OpenClaw asks with the access token afterwards, which proves that it uses it.
    fn api(&self, door: Door, request: &Request) -> Reply {
        let mut state = self.state();
        let bearer = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        let known = bearer.is_some_and(|token| state.families.is_current_access(token));
        let outcome = match (bearer, known) {
            (None, _) => "no access token",
            (Some(_), true) => "current access token",
            (Some(_), false) => "another access token",
        };
        state.record(door, request, Vec::new(), outcome);
        if bearer.is_some() && !known {
            return Reply::json(
                401,
                &json!({"error": {"message": "token expired", "code": "token_expired"}}),
            );
        }
        if request.path.contains("usage") {
            let at = SystemClock.now().as_millis() / 1000 + 100;
            let window = json!({"used_percent": 5, "limit_window_seconds": 18000, "reset_after_seconds": 100, "reset_at": at});
            return Reply::json(
                200,
                &json!({"plan_type": "pro", "rate_limit": {
                    "allowed": true, "limit_reached": false, "primary_window": window, "secondary_window": window,
                }}),
            );
        }
        if request.path.contains("responses") {
            return Reply::text(200, "text/event-stream", model_answer());
        }
        Reply::json(404, &json!({}))
    }
}

impl State {
    fn record(
        &mut self,
        door: Door,
        request: &Request,
        fields: Vec<(String, String)>,
        outcome: &'static str,
    ) -> usize {
        let number = self.recorded.len() + 1;
        let header = |name| request.header(name).unwrap_or_default().to_owned();
        self.recorded.push(Recorded {
            number,
            at: SystemClock.now().as_millis(),
            door,
            port: request.port,
            method: request.method.clone(),
            path: request.path.clone(),
            user_agent: header("user-agent"),
            content_type: header("content-type"),
            fields,
            outcome,
            issued: None,
        });
        number
    }

    fn token(&mut self, mode: Mode, token: &str) -> (&'static str, Answer) {
        let reply = |outcome, status, body: Value| (outcome, Answer::Reply(Reply::json(status, &body)));
        match mode {
            Mode::Hang => return ("hang", Answer::Hang),
            Mode::DropBefore => return ("dropped before", Answer::Drop),
            Mode::InvalidGrant => return reply("invalid_grant", 400, invalid_grant()),
            Mode::Reused => return reply("reused", 401, refused("refresh_token_reused")),
            Mode::Invalidated => return reply("invalidated", 401, refused("refresh_token_invalidated")),
            Mode::Unavailable => {
                return (
                    "unavailable",
                    Answer::Reply(Reply::text(503, "text/plain", "upstream unavailable")),
                );
            }
            Mode::Html => {
                let page = "<!doctype html><html><body>Just a moment...</body></html>";
                return ("html", Answer::Reply(Reply::html(200, page)));
            }
            Mode::Unexplained => {
                let page = "<!doctype html><html><body>Unauthorized</body></html>";
                return ("unexplained", Answer::Reply(Reply::html(401, page)));
            }
            Mode::NoContent => {
                return (
                    "no content",
                    Answer::Reply(Reply {
                        status: 204,
                        headers: Vec::new(),
                        body: Vec::new(),
                    }),
                );
            }
            Mode::Huge => {
                let filler = format!("{{\"filler\":\"{}\"}}", "x".repeat(10 << 20));
                return (
                    "huge",
                    Answer::Reply(Reply::text(200, "application/json", filler)),
                );
            }
            Mode::Ok | Mode::DropAfter | Mode::NoRotate | Mode::Missing => {}
        }
        let rotated = if mode == Mode::NoRotate {
            self.families.renew(token)
        } else {
            self.families.rotate(token)
        };
        match rotated {
            Err(Refused::Reuse) => reply("reuse", 401, refused("refresh_token_reused")),
            Err(Refused::Unknown) => reply("unknown", 400, invalid_grant()),
            Err(Refused::Ended) => reply("ended", 401, refused("refresh_token_invalidated")),
            Ok(_) if mode == Mode::DropAfter => ("rotated, then dropped", Answer::Drop),
            Ok(mut body) => {
                if mode == Mode::Missing {
                    body.remove("refresh_token");
                }
                reply("rotated", 200, Value::Object(body))
            }
        }
    }
}

/// A door of this kind on a free port.
async fn door(shared: &Arc<Shared>, kind: Door, tls: &rustls::ServerConfig) -> Result<Server> {
    let shared = Arc::clone(shared);
    let answer = move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(kind, request).await }
    };
    match kind {
        Door::Tls => Server::tls(tls.clone(), answer).await,
        Door::Plain => Server::plain(0, answer).await,
    }
}

/// As servers write it (RFC 9110, section 5.6.7).
fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The refresh token in an answer's body.
fn issued_in(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body["refresh_token"].as_str().map(str::to_owned)
}

fn invalid_grant() -> Value {
    json!({"error": "invalid_grant", "error_description": "Invalid refresh token"})
}

fn refused(code: &str) -> Value {
    let message = match code {
        "refresh_token_reused" => {
            "Your refresh token has already been used to generate a new access token. Please try signing in again."
        }
        _ => "Your session has ended. Please sign in again.",
    };
    json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}})
}

/// The least event stream that OpenClaw takes for a finished model answer.
fn model_answer() -> String {
    let text = json!({"type": "output_text", "text": "OK", "annotations": []});
    let item = |status: &str, content: Value| json!({"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content});
    let done = item("completed", json!([text]));
    let place = |kind: &str, more: Value| {
        let mut event = json!({"type": kind, "item_id": "msg_1", "output_index": 0, "content_index": 0});
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        event
    };
    let usage = json!({
        "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    });
    [
        json!({"type": "response.created", "response": {"id": "r1", "object": "response", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([]))}),
        place("response.content_part.added", json!({"part": {"type": "output_text", "text": "", "annotations": []}})),
        place("response.output_text.delta", json!({"delta": "OK"})),
        place("response.output_text.done", json!({"text": "OK"})),
        json!({"type": "response.output_item.done", "output_index": 0, "item": done}),
        json!({"type": "response.completed", "response": {
            "id": "r1", "object": "response", "status": "completed", "output": [done], "usage": usage,
        }}),
    ]
    .iter()
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
    .collect()
}

/// A CA that exists for one test, and a leaf for [`HOSTS`] and loopback signed by it; `ca.pem`
/// goes to `dir`.
fn throw_away_tls(dir: &Path) -> Result<rustls::ServerConfig> {
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(DnType::CommonName, "throw-away test CA");
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    std::fs::write(dir.join("ca.pem"), ca.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::new(ca, ca_key);

    let names = HOSTS
        .into_iter()
        .chain(["127.0.0.1", "::1", "localhost"])
        .map(str::to_owned);
    let mut leaf = CertificateParams::new(names.collect::<Vec<_>>())?;
    leaf.distinguished_name.push(DnType::CommonName, HOSTS[0]);
    leaf.use_authority_key_identifier_extension = true;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&leaf_key, &issuer)?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
        )?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
