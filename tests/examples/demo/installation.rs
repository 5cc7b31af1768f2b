//! The demo's throw-away installation: an OpenClaw state directory of the json era in which nobody
//! has signed in yet, and Kalit's own directories with a manifest that leads to the local server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use kalit_journeys::authserver::{fingerprint, manifest};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};

/// The release whose evidence the installation carries: the last of the json era.
const RELEASE: &str = "2026.6.1";

pub struct Installation {
    root: PathBuf,
}

/// An OAuth profile as it stands in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub profile_id: String,
    /// The fingerprint of its refresh token: which generation this is.
    pub generation: String,
    /// Epoch milliseconds.
    pub expires: i64,
    pub modified: SystemTime,
}

impl Installation {
    /// Lays everything out below `root`.
    pub fn create(root: &Path, server: &str, callback_ports: &[u16]) -> Result<Self> {
        let own = Self {
            root: root.to_owned(),
        };
        for dir in [own.state_dir().join("agents/main/agent"), own.providers_dir()] {
            fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        write_json(
            &own.state_dir().join("openclaw.json"),
            &json!({"meta": {"lastTouchedVersion": RELEASE}}),
        )?;
        write_json(
            &own.providers_dir().join("openai.json"),
            &manifest(server, callback_ports),
        )?;
        Ok(own)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.root.join(".openclaw")
    }

    /// The variables that lead Kalit here and nowhere else.
    pub fn env(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        [
            ("OPENCLAW_STATE_DIR", text(self.state_dir())),
            ("CODEX_HOME", text(self.root.join("codex"))),
            ("KALIT_CONFIG_DIR", text(self.root.join("kalit/config"))),
            ("KALIT_DATA_DIR", text(self.root.join("kalit/data"))),
            ("KALIT_PROVIDERS_DIR", text(self.providers_dir())),
            ("KALIT_TEST_PROVIDERS", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    pub fn store_file(&self) -> PathBuf {
        self.state_dir().join("agents/main/agent/auth-profiles.json")
    }

    /// The OAuth profiles in the store, read from the file.
    pub fn stored(&self) -> Vec<Stored> {
        let read = || {
            let modified = fs::metadata(self.store_file()).ok()?.modified().ok()?;
            let store: Value = serde_json::from_slice(&fs::read(self.store_file()).ok()?).ok()?;
            let profiles = store.get("profiles")?.as_object()?.clone();
            let oauth = profiles.into_iter().filter_map(|(profile_id, profile)| {
                Some(Stored {
                    profile_id,
                    generation: fingerprint(profile.get("refresh")?.as_str()?),
                    expires: profile.get("expires")?.as_i64()?,
                    modified,
                })
            });
            Some(oauth.collect())
        };
        read().unwrap_or_default()
    }

    /// Access token, refresh token and account id of a profile.
    pub fn login(&self, profile_id: &str) -> Result<[String; 3]> {
        let store: Value = serde_json::from_slice(&fs::read(self.store_file())?)?;
        let of = |name: &str| -> Result<String> {
            let value = store["profiles"][profile_id][name].as_str();
            Ok(value
                .with_context(|| format!("{profile_id} has no {name}"))?
                .to_owned())
        };
        Ok([of("access")?, of("refresh")?, of("accountId")?])
    }

    /// Waits until a profile holds the generation with this fingerprint.
    pub async fn holds(&self, generation: &str, limit: Duration) -> Result<Stored> {
        until_some(&format!("generation {generation} in the store"), limit, || {
            self.stored()
                .into_iter()
                .find(|stored| stored.generation == generation)
        })
        .await
    }

    fn providers_dir(&self) -> PathBuf {
        self.root.join("kalit/providers")
    }
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(value)? + "\n")?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
