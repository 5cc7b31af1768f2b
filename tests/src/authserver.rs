//! The local authorization server of the demo and of the journeys: consent page, PKCE, rotation,
//! reuse detection, revocation, short-lived access tokens with OpenAI's claims and errors in
//! OpenAI's shape. It listens on loopback only, knows two invented accounts, and is never linked
//! into the app. [`AuthorizationServer`] runs inside a test, [`ServerProcess`] is the example
//! program `authorization-server` on its own.

mod grants;
mod log;
mod pages;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http::{Answer, Reply, Request, Server, fetch, post_form_for_location, value_of};
use crate::process::Process;
use crate::wait::until_some;
pub use grants::{ACCOUNTS, Account};
use grants::{Consent, Grants, Refusal};
use log::Journal;
pub use log::{Entry, fingerprint, read_log};

/// The public client every OpenClaw release signs in as (providers, section 1.1).
pub const CLIENT_ID: &str = "app_EMoamEEZ73f0CkXaXp7hrann";

/// How the server is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// 0 takes a free port.
    pub port: u16,
    /// JSON lines, one a request; appended to.
    pub log: Option<PathBuf>,
    /// Lifetime of an access token.
    pub ttl: Duration,
    pub revocation: Revocation,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            log: None,
            ttl: Duration::from_secs(120),
            revocation: Revocation::Honoured,
        }
    }
}

/// Whether "Revoke" does what it says; a demo that still succeeds when it does not proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    Honoured,
    Ignored,
}

/// A running server.
#[derive(Debug)]
pub struct AuthorizationServer {
    server: Server,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    grants: Mutex<Grants>,
    journal: Journal,
    /// Whether the answers to token requests wait.
    held: watch::Sender<bool>,
}

impl AuthorizationServer {
    /// Listens on 127.0.0.1.
    pub async fn start(options: Options) -> Result<Self> {
        let shared = Arc::new(Shared {
            grants: Mutex::new(Grants::new(options.ttl, options.revocation)),
            journal: Journal::open(options.log.as_deref())?,
            held: watch::Sender::new(false),
        });
        let answering = Arc::clone(&shared);
        let server = Server::plain(options.port, move |request| {
            let shared = Arc::clone(&answering);
            async move {
                let reply = shared.answer(&request);
                if request.path == "/oauth/token" {
                    // an error is a server that ends
                    let _ = shared.held.subscribe().wait_for(|held| !held).await;
                }
                Answer::Reply(reply)
            }
        })
        .await?;
        Ok(Self { server, shared })
    }

    /// The address of the page with the accounts.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.server.port())
    }

    /// The log so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.shared.journal.entries()
    }

    /// What the page's "Revoke" does; the number of logins that ended.
    pub fn revoke(&self, email: &str) -> usize {
        self.shared.grants().revoke_account(email)
    }

    /// What a person does in the browser with the address of a sign-in, `allow` or `deny`: the
    /// address of the last page.
    pub async fn consent(&self, authorize_url: &str, decision: &str) -> Result<String> {
        let (status, page) = fetch(authorize_url).await?;
        ensure!(status == 200, "{page}");
        let request = page
            .split("name=\"request\" value=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .context("no consent page")?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("request", request),
                ("account", ACCOUNTS[0].email),
                ("decision", decision),
            ])
            .finish();
        post_form_for_location(&format!("{}/oauth/decision", self.url()), form).await
    }

    /// From now on token requests are carried out and logged, and their answers kept back.
    pub fn hold_answers(&self) {
        self.shared.held.send_replace(true);
    }

    /// Sends what was kept back.
    pub fn let_answers_go(&self) {
        self.shared.held.send_replace(false);
    }

    /// A provider manifest that points Kalit's built-in `openai` here.
    pub fn manifest(&self, callback_ports: &[u16]) -> Value {
        manifest(&self.url(), callback_ports)
    }
}

/// A provider manifest that points Kalit's built-in `openai` at a server on `url`.
pub fn manifest(url: &str, callback_ports: &[u16]) -> Value {
    json!({
        "manifest": 1,
        "id": "openai",
        "overrides": "openai",
        "flow": "pkce",
        "authorizeUrl": format!("{url}/oauth/authorize"),
        "tokenUrl": format!("{url}/oauth/token"),
        "revokeUrl": format!("{url}/oauth/revoke"),
        "redirect": {"host": "localhost", "ports": callback_ports, "path": "/auth/callback"},
    })
}

impl Shared {
    fn grants(&self) -> MutexGuard<'_, Grants> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> Reply {
        let (reply, detail) = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => self.accounts(),
            ("POST", "/accounts/revoke") => self.revoke_account(request),
            ("GET", "/oauth/authorize") => self.authorize(request),
            ("POST", "/oauth/decision") => self.decide(request),
            ("POST", "/oauth/token") => self.token(request),
            ("POST", "/oauth/revoke") => self.revoke_token(request),
            _ => (
                Reply::html(404, pages::notice("Nothing here")),
                json!({"kind": "other"}),
            ),
        };
        self.journal.write(request, reply.status, detail);
        reply
    }

    fn accounts(&self) -> (Reply, Value) {
        (
            Reply::html(200, pages::accounts(&self.grants().overview())),
            json!({"kind": "accounts"}),
        )
    }

    fn revoke_account(&self, request: &Request) -> (Reply, Value) {
        let form = request.form();
        let email = value_of(&form, "account").unwrap_or_default();
        let ended = self.grants().revoke_account(email);
        (
            Reply::redirect("/"),
            json!({"kind": "revoke", "by": "page", "account": email, "ended": ended}),
        )
    }

    fn authorize(&self, request: &Request) -> (Reply, Value) {
        let detail = json!({
            "kind": "authorize",
            "clientId": request.query("client_id"),
            "redirectUri": request.query("redirect_uri"),
            "originator": request.query("originator"),
            "scope": request.query("scope"),
            "state": request.query("state").map(fingerprint),
        });
        match Consent::parse(request) {
            Ok(consent) => {
                let redirect = consent.redirect_uri.clone();
                let id = self.grants().ask(consent);
                (Reply::html(200, pages::consent(&id, &redirect)), detail)
            }
            Err(reason) => (Reply::html(400, pages::notice(reason)), detail),
        }
    }

    fn decide(&self, request: &Request) -> (Reply, Value) {
        let form = request.form();
        let field = |name| value_of(&form, name).unwrap_or_default();
        let allow = field("decision") == "allow";
        let detail = json!({
            "kind": "decision",
            "decision": if allow { "allow" } else { "deny" },
            "account": field("account"),
        });
        let location = if allow {
            self.grants().allow(field("request"), field("account"))
        } else {
            self.grants().deny(field("request"))
        };
        match location {
            Some(location) => (Reply::redirect(&location), detail),
            None => (
                Reply::html(400, pages::notice("This request is no longer open")),
                detail,
            ),
        }
    }

    fn token(&self, request: &Request) -> (Reply, Value) {
        let fields = body_fields(request);
        let field = |name| value_of(&fields, name).unwrap_or_default();
        let grant = field("grant_type");
        let mut grants = self.grants();
        let (sent, outcome) = match grant {
            "authorization_code" => ("code", grants.exchange(&fields)),
            "refresh_token" => (
                "refresh_token",
                grants.refresh(field("client_id"), field("refresh_token")),
            ),
            _ => (
                "",
                Err(Refusal::grant("unsupported_grant_type", "unknown grant type")),
            ),
        };
        let mut detail = json!({
            "kind": "token",
            "grant": grant,
            "sent": fingerprint(field(sent)),
            "fields": fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        });
        match outcome {
            Ok(tokens) => {
                detail["account"] = json!(tokens.account.email);
                detail["family"] = json!(tokens.family);
                detail["outcome"] = json!("issued");
                detail["issued"] = json!(fingerprint(&tokens.refresh));
                (Reply::json(200, &tokens.body()), detail)
            }
            Err(refusal) => {
                detail["outcome"] = json!(refusal.code);
                detail["account"] = json!(refusal.account);
                detail["family"] = json!(refusal.family);
                (Reply::json(refusal.status, &refusal.body()), detail)
            }
        }
    }

    fn revoke_token(&self, request: &Request) -> (Reply, Value) {
        let fields = body_fields(request);
        let token = value_of(&fields, "token").unwrap_or_default();
        let ended = self.grants().revoke_token(token);
        // 200 also for a token nobody knows (RFC 7009, section 2.2)
        let detail = json!({"kind": "revoke", "by": "client", "sent": fingerprint(token), "ended": ended});
        (Reply::json(200, &json!({})), detail)
    }
}

/// The fields of a form body, or the string fields of a JSON body.
fn body_fields(request: &Request) -> Vec<(String, String)> {
    if request
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("application/json"))
    {
        let fields: BTreeMap<String, Value> = serde_json::from_slice(&request.body).unwrap_or_default();
        return fields
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
            .collect();
    }
    request.form()
}

/// The example program `authorization-server`, running.
#[derive(Debug)]
pub struct ServerProcess {
    process: Process,
    url: String,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts the program in `dir`, where its log and output lie; `flags` are added to its own
    /// `--port 0 --log …`.
    pub async fn start(program: &Path, dir: &Path, flags: &[&str]) -> Result<Self> {
        let log = dir.join("authorization-server.jsonl");
        let mut command = Command::new(program);
        command.args(["--port", "0", "--log"]).arg(&log).args(flags);
        let mut process = Process::start(&mut command, &dir.join("authorization-server.out"))?;
        let url = process
            .line("its address", Duration::from_secs(20), |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                Some(line.get("url")?.as_str()?.to_owned())
            })
            .await?;
        Ok(Self { process, url, log })
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The log so far.
    pub fn entries(&self) -> Vec<Entry> {
        read_log(&self.log)
    }

    /// The last request id so far: what comes later has a greater one.
    pub fn last_request(&self) -> u64 {
        self.entries().last().map_or(0, |entry| entry.request)
    }

    /// Waits for the first request after `after` that is `wanted`.
    pub async fn request(
        &self,
        what: &str,
        after: u64,
        limit: Duration,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Entry> {
        until_some(what, limit, || {
            self.entries()
                .into_iter()
                .find(|entry| entry.request > after && wanted(entry))
        })
        .await
        .with_context(|| format!("the log of the authorization server ({})", self.log.display()))
    }
}
