//! Whether OpenClaw's gateway runs for an installation, and asking it something.
//!
//! No program is started to find out: a running gateway leaves a lock file with its port (2026.9.6
//! in the state directory, 2026.6.11 and 2026.7.1 in the temporary one; observed), and whoever
//! runs one on that port answers a connection.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::cli::Cli;
use super::temporary_dir;
use crate::Result;
use crate::install::{Installation, canonical};
use crate::store::lock::openclaw_lives;

/// Where OpenClaw serves unless it is told otherwise.
const DEFAULT_PORT: u16 = 18789;
/// A connection within this machine.
const CONNECT: Duration = Duration::from_millis(500);
/// Larger files are no lock.
const MAX_BYTES: u64 = 64 * 1024;

/// What is known of an installation's gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gateway {
    /// Nobody answers on any port that it could have.
    Absent,
    /// Somebody answers on the installation's port, but no lock says that it is its gateway; or a
    /// living process has its lock and does not answer yet: 2026.9.6 takes the lock before it
    /// listens.
    Uncertain,
    /// The gateway of this installation.
    Running,
}

impl Gateway {
    /// Looks for it. Blocks, for about a second where a port does not answer at all.
    pub fn of(installation: &Installation) -> Self {
        let configured = configured_port(installation);
        let locks = locks(installation);
        if locks.iter().any(|lock| answers(lock.port.unwrap_or(configured))) {
            return Self::Running;
        }
        if locks.iter().any(|lock| lock.owner_lives) || answers(configured) {
            Self::Uncertain
        } else {
            Self::Absent
        }
    }
}

/// Asks the running gateway: `openclaw gateway call <method> --params <json> --json`. Parameters
/// are arguments and never hold a secret.
///
/// # Errors
/// `openclaw.failed` with what it answered.
pub(crate) async fn call(cli: Cli<'_>, method: &str, params: &Value) -> Result<Value> {
    let params = params.to_string();
    cli.json(&["gateway", "call", method, "--params", &params, "--json"], None)
        .await
}

fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), CONNECT).is_ok()
}

fn configured_port(installation: &Installation) -> u16 {
    let variable = installation.state_dir.environment.var("OPENCLAW_GATEWAY_PORT");
    variable
        .and_then(|port| port.parse().ok())
        .or(installation.config.gateway_port)
        .unwrap_or(DEFAULT_PORT)
}

/// A gateway's lock.
struct Lock {
    /// 2026.6.11 writes none.
    port: Option<u16>,
    owner_lives: bool,
}

/// The locks of gateways of this installation.
fn locks(installation: &Installation) -> Vec<Lock> {
    let temporary = temporary_dir(&installation.state_dir.environment);
    let config = canonical(&installation.config_path);
    [installation.state_dir.path.join("tmp"), temporary]
        .iter()
        .flat_map(|dir| children(dir, |name| name.starts_with("openclaw")))
        .flat_map(|dir| {
            children(&dir, |name| {
                name.starts_with("gateway.") && name.ends_with(".lock")
            })
        })
        .filter_map(|path| lock(&path))
        .filter(|lock| {
            let place = lock.get("configPath").and_then(Value::as_str);
            let role = lock.get("role").and_then(Value::as_str);
            place.is_some_and(|place| canonical(Path::new(place)) == config)
                && role.is_none_or(|role| role == "gateway")
        })
        .map(|lock| {
            let number = |name: &str| lock.get(name).and_then(Value::as_u64);
            Lock {
                port: number("port").and_then(|port| u16::try_from(port).ok()),
                owner_lives: number("pid")
                    .and_then(|pid| u32::try_from(pid).ok())
                    .is_some_and(openclaw_lives),
            }
        })
        .collect()
}

fn lock(path: &Path) -> Option<Value> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return None;
    }
    // 2026.9.6 lets white space follow.
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn children(dir: &Path, wanted: fn(&str) -> bool) -> Vec<PathBuf> {
    let listing = fs::read_dir(dir).into_iter().flatten().flatten();
    listing
        .filter(|entry| entry.file_name().to_str().is_some_and(wanted))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;
    use crate::environment::Environment;
    use crate::settings::Settings;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            fs::create_dir_all(home.path().join(".openclaw/tmp/openclaw-1000")).unwrap();
            fs::create_dir_all(home.path().join("tmp/openclaw-1000")).unwrap();
            Self(home)
        }

        fn installation(&self, port: u16) -> Installation {
            let home = self.0.path();
            let config = json!({"gateway": {"port": port, "auth": {"token": "${NOT_LOOKED_AT}"}}});
            fs::write(home.join(".openclaw/openclaw.json"), config.to_string()).unwrap();
            let environment = Environment::new([], home, home)
                .with_var("HOME", &home.to_string_lossy())
                .with_var("TMPDIR", &home.join("tmp").to_string_lossy());
            Installation::open(&environment, &Settings::default(), None).unwrap()
        }

        fn lock(&self, dir: &str, lock: &Value) {
            let path = self
                .0
                .path()
                .join(dir)
                .join("openclaw-1000/gateway.0a1b2c3d.lock");
            fs::write(path, format!("{lock:#}\n \t \t\n")).unwrap();
        }

        fn config_path(&self) -> String {
            self.0
                .path()
                .join(".openclaw/openclaw.json")
                .display()
                .to_string()
        }
    }

    fn serving() -> (TcpListener, u16) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// A port that was free a moment ago.
    fn closed() -> u16 {
        serving().1
    }

    #[test]
    fn a_gateway_is_found_by_the_lock_of_either_place_and_whoever_answers() {
        for dir in [".openclaw/tmp", "tmp"] {
            let home = Home::new();
            let (listener, port) = serving();
            let installation = home.installation(closed());
            assert_eq!(Gateway::of(&installation), Gateway::Absent);
            home.lock(
                dir,
                &json!({"pid": 1, "configPath": home.config_path(), "port": port}),
            );
            assert_eq!(Gateway::of(&installation), Gateway::Running, "{dir}");
            drop(listener);
            assert_eq!(Gateway::of(&installation), Gateway::Absent, "{dir}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_gateway_that_has_its_lock_and_does_not_answer_yet_is_not_called_absent() {
        let home = Home::new();
        let installation = home.installation(closed());
        let program = home.0.path().join("openclaw");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut starting = std::process::Command::new(&program).arg("60").spawn().unwrap();
        home.lock(
            "tmp",
            &json!({"pid": starting.id(), "configPath": home.config_path(), "port": closed()}),
        );
        let found = Gateway::of(&installation);
        starting.kill().unwrap();
        starting.wait().unwrap();
        assert_eq!(found, Gateway::Uncertain);
        assert_eq!(Gateway::of(&installation), Gateway::Absent);
    }

    #[test]
    fn a_lock_without_a_port_means_the_configured_one() {
        let home = Home::new();
        let (_listener, port) = serving();
        let installation = home.installation(port);
        home.lock("tmp", &json!({"pid": 1, "configPath": home.config_path()}));
        assert_eq!(Gateway::of(&installation), Gateway::Running);
    }

    #[test]
    fn another_installations_gateway_is_not_taken_for_this_ones() {
        let home = Home::new();
        let (_listener, port) = serving();
        let installation = home.installation(closed());
        home.lock(
            "tmp",
            &json!({"pid": 1, "configPath": "/elsewhere/openclaw.json", "port": port}),
        );
        assert_eq!(Gateway::of(&installation), Gateway::Absent);
        // On this one's port it could be either.
        let installation = home.installation(port);
        assert_eq!(Gateway::of(&installation), Gateway::Uncertain);
    }
}
