//! Stores, locks and directories that another user has made or can change: nothing of the person's
//! is written where somebody else could read it, and nothing waits for ever.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kalit_core::store::atomic::write_atomic;
use kalit_journeys::kalit::{Kalit, Ran};
use kalit_journeys::openclaw::{TestHome, Version, release};
use kalit_journeys::process::run;
use kalit_journeys::proof;
use serde_json::json;

use super::tally::{not_tried, refused, told};

const SECRET: &str = "fake-secret-key-0123456789abcdef";
/// A store that Kalit could read.
const FOREIGN: &str = "{\"version\":1,\"profiles\":{}}";
const NOBODY: u32 = 65_534;
/// A refusal comes at once; a lock is waited for a little.
const SOON: Duration = Duration::from_secs(30);

/// An agent directory as an attacker left it.
struct Place {
    home: TestHome,
    /// A directory and a file of the attacker's.
    elsewhere: PathBuf,
    foreign: PathBuf,
}

type Prepare = fn(&Place) -> Result<()>;

#[tokio::test]
async fn nothing_is_written_where_somebody_else_could_read_it() -> Result<()> {
    let rows: [(&str, Prepare, &str); 13] = [
        (
            "a link to a directory that others can write",
            |place| {
                fs::set_permissions(&place.elsewhere, Permissions::from_mode(0o777))?;
                Ok(symlink(&place.foreign, place.store())?)
            },
            "store.symlink",
        ),
        (
            "a link to a directory that a group can write",
            |place| {
                fs::set_permissions(&place.elsewhere, Permissions::from_mode(0o770))?;
                Ok(symlink(&place.foreign, place.store())?)
            },
            "store.symlink",
        ),
        (
            "a link to a link",
            |place| {
                symlink(&place.foreign, place.elsewhere.join("second"))?;
                Ok(symlink(place.elsewhere.join("second"), place.store())?)
            },
            "store.symlink",
        ),
        (
            "a link to nothing",
            |place| Ok(symlink(place.elsewhere.join("not-yet"), place.store())?),
            "store.symlink",
        ),
        (
            "a pipe as store",
            |place| pipe(&place.store()),
            "store.not_a_file",
        ),
        (
            "a socket as store",
            |place| socket(&place.store()),
            "store.not_a_file",
        ),
        (
            "a directory as store",
            |place| Ok(fs::create_dir(place.store())?),
            "store.not_a_file",
        ),
        (
            "a device as store",
            |place| Ok(symlink("/dev/zero", place.store())?),
            "store.not_a_file",
        ),
        ("a pipe as lock", |place| pipe(&place.lock()), "lock."),
        ("a socket as lock", |place| socket(&place.lock()), "lock."),
        (
            "a directory as lock",
            |place| Ok(fs::create_dir(place.lock())?),
            "lock.",
        ),
        (
            "a link as lock",
            |place| Ok(symlink(&place.foreign, place.lock())?),
            "lock.",
        ),
        (
            "a link to nothing as lock",
            |place| Ok(symlink(place.elsewhere.join("not-yet"), place.lock())?),
            "lock.",
        ),
    ];
    let of_others: [(&str, Prepare, &str); 4] = [
        (
            "a store of somebody else",
            |place| {
                fs::write(place.store(), FOREIGN)?;
                Ok(chown(place.store(), Some(NOBODY), None)?)
            },
            "store.unreadable",
        ),
        (
            "a link to a file of somebody else",
            |place| {
                chown(&place.foreign, Some(NOBODY), None)?;
                Ok(symlink(&place.foreign, place.store())?)
            },
            "store.symlink",
        ),
        (
            "a link to a directory of somebody else",
            |place| {
                chown(&place.elsewhere, Some(NOBODY), None)?;
                Ok(symlink(&place.foreign, place.store())?)
            },
            "store.symlink",
        ),
        (
            "an agent directory of somebody else",
            |place| Ok(chown(place.agent_dir(), Some(NOBODY), None)?),
            "store.unreadable",
        ),
    ];
    let root = rustix::process::geteuid().is_root();
    if !root {
        not_tried("only root can make files of another user", of_others.len())?;
    }
    let mut tried = 0;
    for (name, prepare, code) in rows.iter().chain(of_others.iter().filter(|_| root)) {
        let (place, kalit) = Place::new().await?;
        prepare(&place).context(*name)?;
        let begun = Instant::now();
        let ran = place.paste(&kalit).await?;
        let waited = begun.elapsed();
        ensure!(
            ran.code != 0 && ran.error_code()?.starts_with(code),
            "{name}: {ran:?}"
        );
        ensure!(waited < SOON, "{name}: {waited:?}");
        place.is_untouched().context(*name)?;
        tried += 1;
    }
    // The same without an attacker is stored, for the person alone: the check can fail.
    let (place, kalit) = Place::new().await?;
    let ran = place.paste(&kalit).await?;
    ensure!(ran.code == 0, "{ran:?}");
    ensure!(fs::read_to_string(place.store())?.contains(SECRET));
    ensure!(fs::metadata(place.store())?.mode() & 0o777 == 0o600);
    refused("stores, locks and directories of others", tried)
}

#[tokio::test]
async fn what_everybody_can_reach_is_told_and_a_saved_store_has_one_name() -> Result<()> {
    let (place, kalit) = Place::new().await?;
    fs::write(place.store(), json!({"version": 1, "profiles": {}}).to_string())?;
    let other = place.elsewhere.join("other-name");
    fs::hard_link(place.store(), &other)?;
    let before = fs::read(&other)?;
    ensure!(place.exposed(&kalit).await?, "another name is not told");
    ensure!(place.paste(&kalit).await?.code == 0);
    ensure!(fs::read(&other)? == before, "the other name got the new secret");
    ensure!(fs::read_to_string(place.store())?.contains(SECRET));
    ensure!(!place.exposed(&kalit).await?, "told without a reason");
    fs::set_permissions(place.agent_dir(), Permissions::from_mode(0o777))?;
    ensure!(
        place.exposed(&kalit).await?,
        "a directory writable for all is not told"
    );
    told("a hard link and a directory writable for all", 2)
}

/// A link that is turned to and fro while Kalit writes through it.
#[test]
fn a_link_that_changes_meanwhile_leads_nowhere_else() -> Result<()> {
    let own = tempfile::tempdir()?;
    let open = tempfile::tempdir()?;
    fs::set_permissions(open.path(), Permissions::from_mode(0o777))?;
    let (target, foreign) = (own.path().join("target"), open.path().join("foreign"));
    fs::write(&target, "old")?;
    fs::write(&foreign, "foreign")?;
    let link = own.path().join("store");
    symlink(&target, &link)?;
    let done = AtomicBool::new(false);
    let (mut written, mut not) = (0, 0);
    let swaps = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let draft = own.path().join("draft");
            let mut swaps = 0;
            while !done.load(Ordering::SeqCst) {
                let to = if swaps % 2 == 0 { &foreign } else { &target };
                symlink(to, &draft)?;
                fs::rename(&draft, &link)?;
                swaps += 1;
            }
            std::io::Result::Ok(swaps)
        });
        // Both ends of the link must have been met.
        let least = proof::times(30, 2_000);
        while written < least || not < least {
            match write_atomic(&link, SECRET.as_bytes()) {
                Ok(()) => written += 1,
                Err(_) => not += 1,
            }
        }
        done.store(true, Ordering::SeqCst);
        swapper.join()
    });
    let Ok(swaps) = swaps else {
        bail!("the swapper ended")
    };
    let swaps = swaps?;
    ensure!(
        fs::read_to_string(&foreign)? == "foreign",
        "the foreign target was written"
    );
    let names: Vec<_> = fs::read_dir(open.path())?
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    ensure!(names == ["foreign"], "{names:?}");
    println!("a link changed {swaps} times under {written} writes through it, {not} more were refused");
    refused("a link that changes during writes", 1)
}

impl Place {
    async fn new() -> Result<(Self, Kalit)> {
        let home = TestHome::new()?;
        let kalit = Kalit::new(&home, &release(Version::V2026_6_1).await?, &json!({}))?;
        let elsewhere = home.path().join("elsewhere");
        let place = Self {
            foreign: elsewhere.join("foreign"),
            elsewhere,
            home,
        };
        fs::create_dir_all(&place.elsewhere)?;
        fs::create_dir_all(place.agent_dir())?;
        fs::write(&place.foreign, FOREIGN)?;
        Ok((place, kalit))
    }

    async fn paste(&self, kalit: &Kalit) -> Result<Ran> {
        let args = ["paste-api-key", "--provider", "google", "--json"];
        kalit.run_with(&args, SECRET).await
    }

    /// Whether `doctor` says that others can reach the store.
    async fn exposed(&self, kalit: &Kalit) -> Result<bool> {
        let told = kalit.run(&["doctor", "--json"]).await?.json()?;
        let notices = told["notices"].as_array().context("no notices")?;
        Ok(notices.iter().any(|notice| notice["code"] == "store.exposed"))
    }

    /// Nothing but what the attacker put there stands there.
    fn is_untouched(&self) -> Result<()> {
        ensure!(
            fs::read_to_string(&self.foreign)? == FOREIGN,
            "the foreign file was written"
        );
        for dir in [&self.elsewhere, &self.agent_dir()] {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                let holds = path.symlink_metadata()?.is_file() && fs::read_to_string(&path)?.contains(SECRET);
                ensure!(!holds, "the secret is in {}", path.display());
            }
        }
        Ok(())
    }

    fn agent_dir(&self) -> PathBuf {
        self.home.agent_dir("main")
    }

    fn store(&self) -> PathBuf {
        self.home.profiles_path("main")
    }

    fn lock(&self) -> PathBuf {
        self.agent_dir().join("auth-profiles.json.lock")
    }
}

fn pipe(path: &Path) -> Result<()> {
    run(std::process::Command::new("mkfifo").arg(path))?;
    Ok(())
}

/// Stays when its listener goes.
fn socket(path: &Path) -> Result<()> {
    UnixListener::bind(path)?;
    Ok(())
}
