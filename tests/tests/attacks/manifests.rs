//! Provider manifests of somebody else's making: rejected, told, and nothing is ever sent where they
//! lead. What Kalit sends meanwhile goes to a proxy that leads nowhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use kalit_journeys::authserver;
use kalit_journeys::http::{Answer, Reply, Server};
use kalit_journeys::kalit::{Kalit, expired_login};
use kalit_journeys::openclaw::{TestHome, Version, release, write_json};
use kalit_journeys::proxy::Proxy;
use kalit_journeys::token_endpoint::Login;
use serde_json::{Value, json};

use super::tally::{not_tried, refused};

const INVALID: &str = "provider.manifest_invalid";
const UNTRUSTED: &str = "provider.manifest_untrusted";
const NOBODY: u32 = 65_534;
const PROFILE: &str = "openai:ada@example.com";

#[tokio::test]
async fn a_manifest_of_somebody_else_is_rejected_and_nothing_is_sent_where_it_leads() -> Result<()> {
    let bed = Bed::new().await?;
    let at = |url: &str| authserver::manifest(url, &[1455]);
    let rogue = at(&bed.rogue_url());
    let with = |field: &str, url: &str| {
        let mut manifest = rogue.clone();
        manifest[field] = json!(url);
        manifest
    };
    let port = bed.rogue.port();
    let mut rows = vec![
        ("writable for a group", rogue.clone(), 0o620, true, INVALID),
        ("writable for all", rogue.clone(), 0o602, true, INVALID),
        ("without consent", rogue.clone(), 0o600, false, UNTRUSTED),
        (
            "an unknown field",
            with("hook", "https://example.com"),
            0o600,
            true,
            INVALID,
        ),
        (
            "a user in the address",
            with("tokenUrl", &format!("http://auth.openai.com@127.0.0.1:{port}/")),
            0o600,
            true,
            INVALID,
        ),
        (
            "a password in the address",
            with("tokenUrl", "https://me:secret@auth.openai.com/"),
            0o600,
            true,
            INVALID,
        ),
        (
            "plain HTTP to another host",
            with("tokenUrl", "http://auth.openai.example/oauth/token"),
            0o600,
            true,
            INVALID,
        ),
        (
            "a host that only looks like loopback",
            with("tokenUrl", "http://127.0.0.1.evil.example/"),
            0o600,
            true,
            INVALID,
        ),
        (
            "a name for loopback",
            with("tokenUrl", &format!("http://localhost:{port}/")),
            0o600,
            true,
            INVALID,
        ),
        (
            "a file",
            with("tokenUrl", "file:///etc/passwd"),
            0o600,
            true,
            INVALID,
        ),
        (
            "the tests' consent for another host",
            with("tokenUrl", "https://evil.example/oauth/token"),
            0o600,
            true,
            UNTRUSTED,
        ),
        (
            "one more than loopback",
            with("authorizeUrl", "https://evil.example/authorize"),
            0o600,
            true,
            UNTRUSTED,
        ),
    ];
    if rustix::process::geteuid().is_root() {
        rows.push(("another owner", rogue.clone(), 0o600, true, INVALID));
    } else {
        not_tried("only root can make a manifest of another user", 1)?;
    }
    for (name, manifest, mode, tests_consent, code) in &rows {
        write_json(&bed.path(), manifest)?;
        fs::set_permissions(bed.path(), Permissions::from_mode(*mode))?;
        if *name == "another owner" {
            chown(bed.path(), Some(NOBODY), None)?;
        }
        bed.rejected(code, *tests_consent).await.context(*name)?;
        fs::remove_file(bed.path())?;
    }

    // A consent is for what was shown.
    write_json(&bed.path(), &rogue)?;
    let kalit = bed.kalit.clone().with_var("KALIT_TEST_PROVIDERS", "0");
    let path = bed.path();
    let trust = ["providers", "trust", path.to_str().context("no path")?, "--yes"];
    let ran = kalit.run(&trust).await?;
    ensure!(ran.code == 0, "{ran:?}");
    write_json(&bed.path(), &with("clientId", "another"))?;
    bed.rejected(UNTRUSTED, false)
        .await
        .context("changed after the consent")?;
    let record = bed.home.path().join("kalit/config/providers-trusted.json");
    write_json(&bed.path(), &rogue)?;
    fs::set_permissions(&record, Permissions::from_mode(0o666))?;
    let ran = bed.refresh(false).await?;
    ensure!(
        ran.code != 0 && bed.asked() == 0,
        "a consent that all could write: {ran:?}"
    );

    // With the person's consent, and only then, the same login goes there: the check can fail.
    fs::set_permissions(&record, Permissions::from_mode(0o600))?;
    let ran = bed.refresh(false).await?;
    ensure!(bed.asked() == 1, "{ran:?}");
    refused("manifests of somebody else", rows.len() + 2)
}

struct Bed {
    home: TestHome,
    kalit: Kalit,
    rogue: Server,
    asked: Arc<AtomicUsize>,
    _proxy: Proxy,
}

impl Bed {
    async fn new() -> Result<Self> {
        let home = TestHome::new()?;
        let login = Login::named("ada", "test-refresh-0");
        let profiles = json!({PROFILE: expired_login(&login, "openai")});
        home.write_profiles("main", &json!({"version": 1, "profiles": profiles}))?;
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let rogue = Server::plain(0, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Answer::Reply(Reply::html(503, "rogue")) }
        })
        .await?;
        let proxy = Proxy::start(Some("nobody:gets-through")).await?;
        let release = release(Version::V2026_6_1).await?;
        let kalit = Kalit::new(&home, &release, &json!({}))?
            .with_var("HTTPS_PROXY", format!("http://{}", proxy.address()));
        Ok(Self {
            home,
            kalit,
            rogue,
            asked,
            _proxy: proxy,
        })
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("kalit/providers/openai.json")
    }

    fn rogue_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.rogue.port())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn kalit(&self, tests_consent: bool) -> Kalit {
        let consent = if tests_consent { "1" } else { "0" };
        self.kalit.clone().with_var("KALIT_TEST_PROVIDERS", consent)
    }

    async fn refresh(&self, tests_consent: bool) -> Result<kalit_journeys::kalit::Ran> {
        self.kalit(tests_consent)
            .run(&["refresh", PROFILE, "--json"])
            .await
    }

    /// It is listed with the reason, and a renewal does not go there.
    async fn rejected(&self, code: &str, tests_consent: bool) -> Result<()> {
        let listed = self
            .kalit(tests_consent)
            .run(&["providers", "list", "--json"])
            .await?
            .json()?;
        let path = self.path();
        let found = listed
            .as_array()
            .into_iter()
            .flatten()
            .find(|provider| names(provider, &path));
        let found = found.with_context(|| format!("not listed: {listed:#}"))?;
        ensure!(found["error"]["code"] == code, "{found}");
        let ran = self.refresh(tests_consent).await?;
        ensure!(ran.error_code()? == "network.unreachable", "{ran:?}");
        ensure!(self.asked() == 0, "the rogue was asked");
        Ok(())
    }
}

fn names(provider: &Value, path: &Path) -> bool {
    !provider["error"].is_null() && provider["source"] == path.to_string_lossy().as_ref()
}
