//! A throw-away home with one installation, and `kalit` run in it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::process::{Process, binary};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What every invented secret contains: nothing that Kalit prints may contain it.
pub const MARK: &str = "fake-secret-";
/// Beginnings of what the local servers issue.
const ISSUED: [&str; 3] = ["test-refresh-", "test-code-", "eyJhbGciOi"];
/// Whoever is not root anywhere.
const NOBODY: u32 = 65_534;

pub const WORK: &str = "openai-codex:work@example.com";
pub const OLD: &str = "openai-codex:old@example.com";

/// One run of `kalit`: data in.
pub struct Case {
    pub args: &'static [&'static str],
    pub stdin: &'static str,
    pub status: i32,
    /// What stdout contains.
    pub stdout: &'static [&'static str],
    /// What stderr contains.
    pub stderr: &'static [&'static str],
}

/// What came out.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Stdout as one JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `error.code` of the answer to `--json`.
    pub fn code(&self) -> String {
        let answer = self.json();
        for part in ["message", "hint"] {
            let text = answer["error"][part].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {part}: {self:?}");
        }
        answer["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

#[derive(Debug)]
pub struct Bed {
    dir: TempDir,
    user: Option<u32>,
}

impl Bed {
    pub fn new() -> Self {
        let bed = Self {
            dir: tempfile::tempdir().unwrap(),
            user: None,
        };
        for dir in [bed.agent_dir("main"), bed.path("bin")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        bed
    }

    /// With two logins of ChatGPT, a token and a key in main's store.
    pub fn with_accounts() -> Self {
        let bed = Self::new();
        bed.write_store("main", &accounts());
        bed
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state_dir(&self) -> PathBuf {
        self.path("home/.openclaw")
    }

    pub fn agent_dir(&self, agent: &str) -> PathBuf {
        self.state_dir().join("agents").join(agent).join("agent")
    }

    pub fn store(&self, agent: &str) -> PathBuf {
        self.agent_dir(agent).join("auth-profiles.json")
    }

    pub fn config(&self) -> PathBuf {
        self.state_dir().join("openclaw.json")
    }

    pub fn write(&self, path: &Path, bytes: impl AsRef<[u8]>) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn write_store(&self, agent: &str, profiles: &Value) {
        let store = json!({"version": 1, "profiles": profiles});
        let text = serde_json::to_string_pretty(&store).unwrap() + "\n";
        self.write(&self.store(agent), text);
    }

    /// The stored profiles of an agent.
    pub fn profiles(&self, agent: &str) -> Value {
        let bytes = std::fs::read(self.store(agent)).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["profiles"].take()
    }

    /// Lets Kalit's built-in `openai` use a local server.
    pub fn manifest(&self, manifest: &Value) {
        self.write(
            &self.path("home/.config/kalit/providers/openai.json"),
            manifest.to_string(),
        );
    }

    /// From now on `kalit` runs as a user who is not root. Call it when everything is written.
    pub fn as_nobody(&mut self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for path in walk(self.dir.path()).keys() {
            std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(self.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        self.user = Some(NOBODY);
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(kalit());
        command.args(args);
        self.dress(&mut command);
        command
    }

    /// Nothing of the environment but this home; no browser, no OpenClaw, nobody's network.
    pub fn dress(&self, command: &mut Command) {
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("OPENCLAW_STATE_DIR", self.state_dir())
            .env("PATH", self.path("bin"))
            .env("TZ", "UTC")
            .env("KALIT_TEST_PROVIDERS", "1")
            .current_dir(self.dir.path());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    pub fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        self.run_command(&mut self.command(args), stdin)
    }

    pub fn run_command(&self, command: &mut Command, stdin: &str) -> Ran {
        let before = self.auth_files();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // a program that does not read its stdin closes it: that is fine
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let ran = Ran {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert_no_secret(&ran.stdout);
        assert_no_secret(&ran.stderr);
        assert_eq!(self.auth_files(), before, "an auth.json changed: {command:?}");
        ran
    }

    /// A limit on the size of a file (2 MB) stands for the full disk: the write itself fails, in
    /// the middle.
    pub fn run_on_a_full_disk(&self, args: &[&str], stdin: &str) -> Ran {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$@\"", "sh"])
            .arg(kalit())
            .args(args);
        self.dress(&mut shell);
        self.run_command(&mut shell, stdin)
    }

    /// Starts `kalit` without waiting for it; stdin is a pipe, stdout and stderr go to one log.
    pub fn start(&self, args: &[&str]) -> Process {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        Process::start(&mut command, &self.path("log")).unwrap()
    }

    pub fn check(&self, case: &Case) {
        let ran = self.run_with(case.args, case.stdin);
        let shown = format!("kalit {}: {ran:#?}", case.args.join(" "));
        assert_eq!(ran.status, case.status, "{shown}");
        for text in case.stdout {
            assert!(ran.stdout.contains(text), "no {text:?} on stdout of {shown}");
        }
        for text in case.stderr {
            assert!(ran.stderr.contains(text), "no {text:?} on stderr of {shown}");
        }
    }

    /// What stands in the state directory, locks apart: kind, mode and content of every entry.
    pub fn state(&self) -> BTreeMap<PathBuf, String> {
        let mut entries = walk(&self.state_dir());
        // the directory in which releases from 2026.4.21 on keep their refresh locks
        entries.retain(|path, _| !path.starts_with(self.state_dir().join("locks")));
        entries
    }

    fn auth_files(&self) -> BTreeMap<PathBuf, String> {
        let mut entries = walk(self.dir.path());
        entries.retain(|path, _| path.ends_with("auth.json"));
        entries
    }
}

/// Fails when the text holds an invented secret, plain or in base64.
pub fn assert_no_secret(text: &str) {
    for secret in [MARK].into_iter().chain(ISSUED) {
        assert!(!text.contains(secret), "{secret} was printed: {text}");
    }
    for shift in 0..3 {
        let shifted = format!("{}{MARK}", &"xyz"[..shift]);
        let encoded = STANDARD.encode(&shifted);
        let core = &encoded[4..encoded.len() - 4];
        assert!(!text.contains(core), "base64 of {MARK} was printed: {text}");
    }
}

/// A login as OpenClaw stores it, which ends so many minutes from now.
pub fn login(name: &str, refresh: &str, minutes: i64) -> Value {
    json!({
        "type": "oauth",
        "provider": "openai-codex",
        "access": format!("{MARK}access-{name}"),
        "refresh": refresh,
        "expires": now() + minutes * 60_000,
        "email": format!("{name}@example.com"),
        "accountId": format!("acct-{name}"),
    })
}

pub fn accounts() -> Value {
    json!({
        WORK: login("work", &format!("{MARK}refresh-work"), 3 * 24 * 60),
        OLD: login("old", &format!("{MARK}refresh-old"), 3 * 24 * 60),
        "anthropic:manual": {"type": "token", "provider": "anthropic", "token": format!("{MARK}token")},
        "google:default": {"type": "api_key", "provider": "google", "key": format!("{MARK}key")},
    })
}

/// Epoch milliseconds.
pub fn now() -> i64 {
    SystemClock.now().as_millis()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    kalit_journeys::http::free_port().unwrap()
}

fn kalit() -> PathBuf {
    binary("KALIT_BIN", "kalit").unwrap()
}

fn walk(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            // a running `kalit` comes and goes with its own files
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            let kind = if metadata.is_dir() {
                open.push(path.clone());
                "directory".to_owned()
            } else if metadata.is_symlink() {
                format!("link to {}", std::fs::read_link(&path).unwrap().display())
            } else {
                let bytes = std::fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes);
                let text: String = text.chars().take(2_000_000).collect();
                format!("{:o} {} {text}", metadata.permissions().mode(), bytes.len())
            };
            found.insert(path, kind);
        }
    }
    found
}
