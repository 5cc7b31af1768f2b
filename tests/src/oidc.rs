//! The certified authorization server (`oidc-provider`, pinned in `tests/npm/oidc-provider`),
//! started with Node. Its consent page has the same buttons as that of [`crate::authserver`], and
//! its log the same lines.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::authserver::{CLIENT_ID, Entry, read_log};
use crate::npm;
use crate::process::{Process, harness};
use crate::wait::until_some;

/// How refused refreshes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// As the server itself tells them: 400 and a plain `invalid_grant`.
    Standard,
    /// As OpenAI tells them: 401 and `error.code`.
    OpenAi,
}

/// A running `oidc-provider`.
#[derive(Debug)]
pub struct OidcProvider {
    _process: Process,
    url: String,
    dir: TempDir,
}

impl OidcProvider {
    /// Starts the server on a free port; `lifetime` is that of its access tokens.
    pub async fn start(lifetime: Duration, errors: Errors) -> Result<Self> {
        let modules = npm::installed("oidc-provider")?;
        let dir = tempfile::tempdir()?;
        let mut command = Command::new("node");
        command
            .arg(harness("oidc-provider.mjs"))
            .arg("--modules")
            .arg(modules)
            .arg("--log")
            .arg(dir.path().join("log.jsonl"))
            .args(["--ttl", &lifetime.as_secs().to_string()])
            .stdin(Stdio::piped());
        if errors == Errors::OpenAi {
            command.arg("--openai-errors");
        }
        let mut process = Process::start(&mut command, &dir.path().join("out"))?;
        let url = process
            .line("its address", Duration::from_secs(20), |line| {
                let line: Value = serde_json::from_str(line).ok()?;
                Some(line.get("url")?.as_str()?.to_owned())
            })
            .await?;
        Ok(Self {
            _process: process,
            url,
            dir,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A manifest that points Kalit's built-in `openai` here. The server gives a refresh token for
    /// offline access only after an explicit consent, so the prompt asks for one.
    pub fn manifest(&self, callback_ports: &[u16]) -> Value {
        json!({
            "manifest": 1,
            "id": "openai",
            "overrides": "openai",
            "flow": "pkce",
            "authorizeUrl": format!("{}/auth", self.url),
            "tokenUrl": format!("{}/token", self.url),
            "revokeUrl": format!("{}/token/revocation", self.url),
            "revokeRequest": "form",
            "redirect": {"host": "localhost", "ports": callback_ports, "path": "/auth/callback"},
            "authorizeParams": {"prompt": "consent"},
        })
    }

    /// The log so far.
    pub fn entries(&self) -> Vec<Entry> {
        read_log(&self.dir.path().join("log.jsonl"))
    }

    /// Token requests with a refresh token so far.
    pub fn refreshes(&self) -> Vec<Entry> {
        let mut entries = self.entries();
        entries.retain(Entry::is_refresh);
        entries
    }

    /// Waits for a log entry.
    pub async fn request(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Entry> {
        until_some(what, limit, || self.entries().into_iter().find(&wanted)).await
    }

    /// Ends the login a refresh token belongs to, at the server's own revocation endpoint.
    pub async fn revoke(&self, refresh_token: &str) -> Result<()> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("token", refresh_token)
            .append_pair("token_type_hint", "refresh_token")
            .append_pair("client_id", CLIENT_ID)
            .finish();
        let (status, _) = crate::http::post_form(&format!("{}/token/revocation", self.url), form).await?;
        if status != 200 {
            bail!("the revocation endpoint answered {status}");
        }
        Ok(())
    }
}
