//! A gateway of a release, as a person runs it in the foreground.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::openclaw::{Output, Release, TestHome, read_json};
use crate::process::Process;

/// The longest a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(150);

/// The running gateway; ended when it is dropped.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
}

impl Gateway {
    /// Adds a gateway to the home's configuration and starts it on loopback, with `variables` over
    /// those of every OpenClaw here.
    pub async fn start(release: &Release, home: &TestHome, variables: &[(String, String)]) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut config = read_json(&home.state_dir().join("openclaw.json"))?;
        config["gateway"] = json!({
            "mode": "local", "port": port, "auth": {"mode": "token", "token": "fake-gateway-token"},
        });
        home.write_config(&config)?;
        let port = port.to_string();
        let mut command = release.command(home, &release.package_dir.join("openclaw.mjs"));
        command
            .args(["gateway", "run", "--bind", "loopback", "--port", &port])
            .envs(variables.iter().cloned())
            .stdin(std::process::Stdio::null());
        let log = home.path().join("gateway.log");
        let mut process = Process::start(command.as_std_mut(), &log)?;
        process
            .line("its server", START_LIMIT, |line| {
                line.contains("http server listening").then_some(())
            })
            .await?;
        Ok(Self { process })
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        self.process.output()
    }

    /// How often it was asked for a method.
    pub fn asked(&self, method: &str) -> usize {
        let answered = format!("res ✓ {method} ");
        self.log().lines().filter(|line| line.contains(&answered)).count()
    }

    /// Waits until it has logged `text`.
    pub async fn logs(&mut self, text: &str) -> Result<()> {
        let told = |line: &str| line.contains(text).then_some(());
        self.process.line(text, START_LIMIT, told).await
    }
}

/// `openclaw gateway call <method>`, as another client of the gateway.
pub async fn call(release: &Release, home: &TestHome, method: &str, params: &Value) -> Result<Output> {
    let params = params.to_string();
    let args = ["gateway", "call", method, "--params", &params, "--json"];
    release.run(home, &args, None).await
}
