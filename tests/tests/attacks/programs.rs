//! Programs planted under the names of those that Kalit starts: in the working directory, in places
//! that `PATH` names badly, and in a directory that everybody can write.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kalit_journeys::authserver::{AuthorizationServer, Options};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{Release, TestHome, Version, release, write_json};
use kalit_journeys::wait::until_some;
use serde_json::json;

use super::tally::refused;

const SOON: Duration = Duration::from_secs(30);
/// What Kalit starts, and what its browser starts.
const NAMES: [&str; 3] = ["openclaw", "xdg-open", "helper"];

/// What `PATH` holds in front, by the home.
type Entry = fn(&Path) -> String;

#[tokio::test]
async fn a_planted_program_is_never_started() -> Result<()> {
    let release = release(Version::V2026_6_1).await?;
    let places: [(&str, Entry, u32); 7] = [
        ("the working directory", |_| ".".to_owned(), 0o755),
        ("an empty entry", |_| String::new(), 0o755),
        ("a relative entry", |_| "planted".to_owned(), 0o755),
        (
            "a climbing entry",
            |home| format!("{0}/bin/../planted", home.display()),
            0o755,
        ),
        (
            "a directory writable for all",
            |home| planted(home).display().to_string(),
            0o777,
        ),
        (
            "one with the sticky bit",
            |home| planted(home).display().to_string(),
            0o1777,
        ),
        (
            "a link to one writable for all",
            |home| home.join("link").display().to_string(),
            0o777,
        ),
    ];
    for (name, entry, mode) in places {
        let bed = Bed::new(&release).await?;
        for dir in [planted(bed.home.path()), bed.home.path().to_owned()] {
            NAMES.iter().try_for_each(|name| bed.plant(&dir, name))?;
        }
        fs::set_permissions(planted(bed.home.path()), Permissions::from_mode(mode))?;
        std::os::unix::fs::symlink(planted(bed.home.path()), bed.home.path().join("link"))?;
        let path = format!("{}:{}", entry(bed.home.path()), bed.own_bin().display());
        bed.opens_the_browser(&path).await.context(name)?;
        let ran = bed
            .kalit
            .clone()
            .with_var("PATH", path)
            .run(&["agents", "add", "spare", "--json"])
            .await?;
        ensure!(ran.error_code()? == "openclaw.missing", "{name}: {ran:?}");
        ensure!(
            !bed.started().exists(),
            "{name}: {}",
            fs::read_to_string(bed.started())?
        );
    }
    // Each is started where it belongs, in the same way: the check can fail.
    let bed = Bed::new(&release).await?;
    let dir = planted(bed.home.path());
    let path = format!("{}:{}", dir.display(), bed.own_bin().display());
    let kalit = bed.kalit.clone().with_var("PATH", &path);
    bed.plant(&dir, "openclaw")?;
    kalit.run(&["agents", "add", "spare", "--json"]).await?;
    bed.is_started("openclaw").await?;
    bed.plant(&dir, "helper")?;
    bed.opens_the_browser(&path).await?;
    bed.is_started("helper").await?;
    bed.plant(&dir, "xdg-open")?;
    let _login = kalit.start(&["login", "openai"])?;
    bed.is_started("xdg-open").await?;
    refused("places with planted programs", places.len())
}

fn planted(home: &Path) -> PathBuf {
    home.join("planted")
}

struct Bed {
    home: TestHome,
    _server: AuthorizationServer,
    kalit: Kalit,
}

impl Bed {
    /// Without an OpenClaw, and with a browser in a directory of the person's.
    async fn new(release: &Release) -> Result<Self> {
        let (home, server) = (
            TestHome::new()?,
            AuthorizationServer::start(Options::default()).await?,
        );
        let kalit = Kalit::new(&home, release, &server.manifest(&[free_port()?]))?;
        write_json(
            &home.path().join("kalit/config/settings.json"),
            &json!({"version": 1}),
        )?;
        let bed = Self {
            home,
            _server: server,
            kalit,
        };
        fs::create_dir_all(planted(bed.home.path()))?;
        let opened = bed.opened();
        let browser = format!(
            "#!/bin/sh\nhelper\necho \"$1\" > '{}'\nexit 0\n",
            opened.display()
        );
        write_program(&bed.own_bin().join("xdg-open"), &browser)?;
        Ok(bed)
    }

    /// A program that leaves a trace, and fails, so that the next candidate is tried as well.
    fn plant(&self, dir: &Path, name: &str) -> Result<()> {
        let script = format!(
            "#!/bin/sh\necho {name} >> '{}'\nexit 1\n",
            self.started().display()
        );
        write_program(&dir.join(name), &script)
    }

    /// `kalit login` opens the person's browser, which starts a helper without naming its place.
    async fn opens_the_browser(&self, path: &str) -> Result<()> {
        let kalit = self.kalit.clone().with_var("PATH", path);
        let _login = kalit.start(&["login", "openai"])?;
        until_some("the person's browser", SOON, || {
            let address = fs::read_to_string(self.opened()).ok()?;
            address.starts_with("http://127.0.0.1").then_some(())
        })
        .await
    }

    async fn is_started(&self, name: &str) -> Result<()> {
        until_some(name, SOON, || {
            let started = fs::read_to_string(self.started()).ok()?;
            started.lines().any(|line| line == name).then_some(())
        })
        .await
    }

    fn own_bin(&self) -> PathBuf {
        self.home.path().join("own-bin")
    }

    fn opened(&self) -> PathBuf {
        self.home.path().join("opened")
    }

    fn started(&self) -> PathBuf {
        self.home.path().join("started")
    }
}

/// A file that this process has open for writing cannot be started.
fn write_program(path: &Path, script: &str) -> Result<()> {
    let dir = path.parent().context("no directory")?;
    fs::create_dir_all(dir)?;
    let draft = dir.join("draft");
    fs::write(&draft, script)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o755))?;
    Ok(fs::rename(draft, path)?)
}
