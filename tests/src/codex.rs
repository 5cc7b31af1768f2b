//! The real Codex CLI (npm, pinned in `tests/npm/codex`), led to a token endpoint on loopback: it
//! shares a login with OpenClaw.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::dialogue::Dialogue;
use crate::npm;
use crate::openclaw::{read_json, write_json};

/// One `CODEX_HOME`.
#[derive(Debug)]
pub struct Codex {
    program: PathBuf,
    home: PathBuf,
    /// The token endpoint's address without a path.
    server: String,
    /// The session bus on which its keychain is.
    bus: Option<String>,
}

impl Codex {
    /// Keeps its files below `dir`; `server` has `/oauth/token` and `/oauth/revoke`.
    ///
    /// # Errors
    /// When npm has no Codex CLI for this machine.
    pub fn new(dir: &Path, server: &str) -> Result<Self> {
        let home = dir.join("codex");
        std::fs::create_dir_all(&home)?;
        Ok(Self {
            program: program()?,
            home,
            server: server.to_owned(),
            bus: None,
        })
    }

    /// It keeps its login in the keychain of this session bus from its next renewal on.
    pub fn keeps_in_keychain(&mut self, bus: &str) -> Result<()> {
        self.bus = Some(bus.to_owned());
        let config = "cli_auth_credentials_store = \"auto\"\n";
        Ok(std::fs::write(self.home.join("config.toml"), config)?)
    }

    /// `CODEX_HOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The login is copied into its file, as people and switchers do.
    pub fn is_given(&self, access: &str, refresh: &str, account_id: &str) -> Result<()> {
        let tokens = json!({
            "id_token": access, "access_token": access, "refresh_token": refresh, "account_id": account_id,
        });
        write_json(
            &self.home.join("auth.json"),
            &json!({
                "auth_mode": "chatgpt", "OPENAI_API_KEY": null, "tokens": tokens,
                "last_refresh": "2026-11-20T10:00:00.000000001Z",
            }),
        )
    }

    /// The refresh token that it holds.
    pub fn refresh_token(&self) -> Option<String> {
        let file = read_json(&self.home.join("auth.json")).ok()?;
        file["tokens"]["refresh_token"].as_str().map(str::to_owned)
    }

    /// It wants to know who is signed in, and renews an access token that has ended.
    pub async fn looks_at_its_login(&self) -> Result<Value> {
        let mut server = Dialogue::start(self.command(&["app-server"]))?;
        let client = json!({"clientInfo": {"name": "kalit-journey", "version": "0"}});
        server
            .say(&json!({"id": 1, "method": "initialize", "params": client}).to_string())
            .await?;
        answer(&mut server, 1).await?;
        server.say(r#"{"method":"initialized"}"#).await?;
        let asked = json!({"includeToken": false, "refreshToken": false});
        server
            .say(&json!({"id": 2, "method": "getAuthStatus", "params": asked}).to_string())
            .await?;
        answer(&mut server, 2).await
    }

    /// `codex logout`.
    pub async fn logs_out(&self) -> Result<()> {
        let ran = self.command(&["logout"]).output().await?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // Whatever else it asks for goes to a port where nobody listens.
        let nowhere = "http://127.0.0.1:9";
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.parent().unwrap_or(&self.home))
            .env("CODEX_HOME", &self.home)
            .envs(self.bus.iter().map(|bus| ("DBUS_SESSION_BUS_ADDRESS", bus)))
            .envs([
                ("HTTPS_PROXY", nowhere),
                ("HTTP_PROXY", nowhere),
                ("NO_PROXY", "127.0.0.1"),
            ])
            .env(
                "CODEX_REFRESH_TOKEN_URL_OVERRIDE",
                format!("{}/oauth/token", self.server),
            )
            .env(
                "CODEX_REVOKE_TOKEN_URL_OVERRIDE",
                format!("{}/oauth/revoke", self.server),
            )
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

async fn answer(server: &mut Dialogue, id: u64) -> Result<Value> {
    loop {
        let message = server.answer().await?;
        if message["id"] == json!(id) {
            return Ok(message["result"].clone());
        }
    }
}

/// The program for this machine in the installed package.
fn program() -> Result<PathBuf> {
    let packages = npm::installed("codex")?.join("node_modules/@openai");
    for package in std::fs::read_dir(&packages)? {
        let vendor = package?.path().join("vendor");
        for triple in vendor.read_dir().into_iter().flatten() {
            let program = triple?.path().join("bin/codex");
            if program.is_file() {
                return Ok(program);
            }
        }
    }
    None.with_context(|| format!("no Codex CLI for this machine below {}", packages.display()))
}
