//! The demo with a person: Kalit runs on their desktop, and what happens is followed in the
//! server's log and in the store until they quit.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kalit_journeys::authserver::{Entry, ServerProcess};
use kalit_journeys::codex::Codex;
use kalit_journeys::process::{Process, binary};

use crate::Sabotage;
use crate::installation::Installation;
use crate::report::Report;

/// A name, and whether a request is that.
type Chapter = (&'static str, fn(&Entry) -> bool);

/// What a person can make happen, in order; each is true only after the one before.
const CHAPTERS: [Chapter; 8] = [
    ("signed in", |entry| {
        entry.text("grant") == "authorization_code" && entry.status == 200
    }),
    ("renewed before it expired", |entry| {
        entry.is_refresh() && entry.status == 200
    }),
    ("revoked on the server's page", |entry| entry.is("revoke")),
    ("refused", |entry| entry.is_refresh() && entry.status == 401),
    (SIGNED_IN_AGAIN, |entry| {
        entry.text("grant") == "authorization_code" && entry.status == 200
    }),
    ("ended by `codex logout`", |entry| entry.is("revoke")),
    ("refused again", |entry| entry.is_refresh() && entry.status == 401),
    ("signed in once more", |entry| {
        entry.text("grant") == "authorization_code" && entry.status == 200
    }),
];
/// After this Codex CLI gets a copy of the login.
const SIGNED_IN_AGAIN: &str = "signed in again";
/// So long it has the copy before it signs out.
const SHARED_FOR: Duration = Duration::from_secs(40);

pub async fn tell(report: &mut Report, sabotage: Option<Sabotage>) -> Result<()> {
    report.step("authorization server");
    let flags: &[&str] = match sabotage {
        Some(Sabotage::Revoke) => &["--ttl", "120", "--sabotage", "revoke"],
        Some(Sabotage::Tray) => bail!("--sabotage tray needs the private desktop: add --headless"),
        None => &["--ttl", "120"],
    };
    let program = binary("KALIT_AUTHORIZATION_SERVER_BIN", "examples/authorization-server")?;
    let server = ServerProcess::start(&program, report.dir(), flags).await?;
    report.says("server", "address", server.url());

    report.step("Kalit on your desktop");
    let dir = tempfile::tempdir()?;
    let installation = Installation::create(dir.path(), server.url(), &[1455, 1457])?;
    let codex = Codex::new(dir.path(), server.url())?;
    let mut command = Command::new(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
    command.envs(installation.env());
    let mut kalit = Process::start(&mut command, &report.dir().join("kalit-desktop.log"))?;
    report.says("process", "kalit-desktop", kalit.id());
    println!(
        "\n   1. Choose \"Add account…\" in the tray, then allow it in the browser.\n   \
         2. Wait: within two minutes the account is renewed.\n   \
         3. Open {} and press \"Revoke\".\n   \
         4. When the notification comes, press \"Sign in again\" and allow it.\n   \
         5. The real Codex CLI gets a copy of the login then: choose \"Shared logins…\" in the tray.\n   \
         6. {} s later it signs out, which ends the login for both: the notification names it.\n      \
         Press \"Sign in again\" and allow it.\n   \
         7. Choose \"Quit\" in the tray.\n",
        server.url(),
        SHARED_FOR.as_secs()
    );

    report.step("what happened");
    let mut chapters = CHAPTERS.iter();
    let mut open = chapters.next();
    let mut told = 0;
    let mut signs_out: Option<Instant> = None;
    while kalit.ended().is_none() {
        for entry in server
            .entries()
            .into_iter()
            .filter(|entry| entry.request > told)
            .collect::<Vec<_>>()
        {
            told = entry.request;
            let Some((name, happened)) = open else { continue };
            if happened(&entry) {
                report.says("server log", name, format!("request {}", entry.request));
                if let Ok(stored) = installation
                    .holds(entry.text("issued"), Duration::from_secs(2))
                    .await
                {
                    report.says(
                        "store",
                        &stored.profile_id,
                        format!("generation {}", stored.generation),
                    );
                    if *name == SIGNED_IN_AGAIN {
                        let [access, refresh, account] = installation.login(&stored.profile_id)?;
                        codex.is_given(&access, &refresh, &account)?;
                        report.says("file system", "copied to", codex.home().to_string_lossy());
                        signs_out = Some(Instant::now() + SHARED_FOR);
                    }
                }
                open = chapters.next();
            }
        }
        if signs_out.take_if(|at| *at <= Instant::now()).is_some() {
            codex.logs_out().await?;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    match open {
        None => Ok(()),
        Some((missing, _)) => bail!("Kalit ended before this happened: {missing}"),
    }
}
