//! The installed gateway service as OpenClaw writes it: systemd user units and launchd agents.
//! Read as text, never through `systemctl` or `launchctl`. Observed form: OpenClaw 2026.6.1
//! (`openclaw-gateway[-<profile>].service`, `ai.openclaw.<gateway or profile>.plist`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::paths;
use crate::environment::Environment;

/// Units are a few kilobytes.
const MAX_BYTES: u64 = 256 * 1024;

/// One installed gateway service.
pub(super) struct GatewayUnit {
    pub path: PathBuf,
    /// `ExecStart` or `ProgramArguments`.
    pub command: Vec<String>,
    variables: BTreeMap<String, String>,
}

impl GatewayUnit {
    /// A variable the service is started with.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// `base` with the service's variables over it.
    pub fn environment(&self, base: &Environment) -> Environment {
        self.variables
            .iter()
            .fold(base.clone(), |environment, (name, value)| {
                environment.with_var(name, value)
            })
    }

    /// The state directory the service uses.
    pub fn state_dir(&self, base: &Environment, old_names: bool) -> PathBuf {
        // Kalit's own variable says nothing about the service.
        let environment = self.environment(&base.clone().with_var("OPENCLAW_STATE_DIR", ""));
        match self.var("OPENCLAW_STATE_DIR") {
            Some(dir) => paths::user_path(dir, &environment),
            None => paths::default_state_dir(&environment, old_names),
        }
    }
}

/// All gateway services of this user; the one without a profile first.
pub(super) fn installed(environment: &Environment) -> Vec<GatewayUnit> {
    let home = environment.home();
    let mut systemd = vec![home.join(".config/systemd/user")];
    if let Some(dir) = environment.var("XDG_CONFIG_HOME") {
        systemd.push(Path::new(dir).join("systemd/user"));
    }
    let mut units: Vec<GatewayUnit> = Vec::new();
    for dir in systemd {
        for path in files(&dir, |name| {
            name.ends_with(".service")
                && (name.starts_with("openclaw-gateway") || name.starts_with("clawdbot-gateway"))
        }) {
            if units.iter().all(|unit| unit.path.file_name() != path.file_name()) {
                units.extend(systemd_unit(path, &home));
            }
        }
    }
    for path in files(&home.join("Library/LaunchAgents"), |name| {
        name.starts_with("ai.openclaw.") && name.ends_with(".plist") && name != "ai.openclaw.node.plist"
    }) {
        units.extend(launch_agent(path));
    }
    units
}

/// Matching files, shortest name first, so that the unit without a profile leads.
fn files(dir: &Path, matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| matches(name))
        .collect();
    names.sort_by_key(|name| {
        let plain = matches!(
            name.as_str(),
            "openclaw-gateway.service" | "ai.openclaw.gateway.plist"
        );
        (!plain, name.clone())
    });
    names.into_iter().map(|name| dir.join(name)).collect()
}

fn read(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The unit file and its drop-ins, later assignments winning.
fn systemd_unit(path: PathBuf, home: &Path) -> Option<GatewayUnit> {
    let mut unit = GatewayUnit {
        command: Vec::new(),
        variables: BTreeMap::new(),
        path: path.clone(),
    };
    let mut drop_ins = path.clone().into_os_string();
    drop_ins.push(".d");
    let mut texts = vec![read(&path)?];
    let conf = files(Path::new(&drop_ins), |name| name.ends_with(".conf"));
    texts.extend(conf.iter().filter_map(|path| read(path)));
    for text in texts {
        let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
        for line in joined.lines() {
            let Some((key, value)) = line.trim().split_once('=') else {
                continue;
            };
            let words = || words(&value.trim().replace("%h", &home.to_string_lossy()));
            match key.trim() {
                "ExecStart" if value.trim().is_empty() => unit.command.clear(),
                "ExecStart" => unit.command = words(),
                "Environment" if value.trim().is_empty() => unit.variables.clear(),
                "Environment" => {
                    unit.variables
                        .extend(words().iter().filter_map(|word| assignment(word)));
                }
                "EnvironmentFile" => {
                    for file in words() {
                        let text = read(Path::new(file.trim_start_matches('-')));
                        let lines = text.as_deref().unwrap_or_default().lines();
                        let known = lines.filter(|line| !line.trim_start().starts_with(['#', ';']));
                        unit.variables.extend(known.filter_map(|line| {
                            let (name, value) = assignment(line.trim())?;
                            Some((name, words_or_text(&value)))
                        }));
                    }
                }
                _ => {}
            }
        }
    }
    unit.keep_openclaws_variables();
    Some(unit)
}

impl GatewayUnit {
    /// Environment files hold API keys too: what is not needed is not kept.
    fn keep_openclaws_variables(&mut self) {
        let needed = |name: &str| {
            (name.starts_with("OPENCLAW_") || name == "HOME" || name == "PI_CODING_AGENT_DIR")
                && !["TOKEN", "PASSWORD", "SECRET", "KEY"]
                    .iter()
                    .any(|word| name.contains(word))
        };
        self.variables.retain(|name, _| needed(name));
    }
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let name = name.trim();
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

fn words_or_text(value: &str) -> String {
    let trimmed = value.trim();
    if trimmed.starts_with(['"', '\'']) {
        words(trimmed).concat()
    } else {
        trimmed.to_owned()
    }
}

/// Splits at blanks outside quotes; a backslash takes the next character as it is.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut current = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => current.extend(chars.next()),
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => quote = Some(c),
            _ if c.is_whitespace() && quote.is_none() => {
                if !current.is_empty() {
                    words.push(std::mem::take(&mut current));
                }
            }
            _ => current.push(c),
        }
    }
    if !current.is_empty() {
        words.push(current);
    }
    words
}

fn launch_agent(path: PathBuf) -> Option<GatewayUnit> {
    let text = read(&path)?;
    let command = block(&text, "ProgramArguments", "array")
        .map(|array| elements(array, "string"))
        .unwrap_or_default();
    let variables = block(&text, "EnvironmentVariables", "dict")
        .map(|dict| {
            elements(dict, "key")
                .into_iter()
                .zip(elements(dict, "string"))
                .collect()
        })
        .unwrap_or_default();
    let mut unit = GatewayUnit {
        path,
        command,
        variables,
    };
    unit.keep_openclaws_variables();
    Some(unit)
}

/// The content of the `tag` that follows `<key>name</key>`.
fn block<'a>(text: &'a str, name: &str, tag: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<key>{name}</key>"))?;
    let (before, after) = after.split_once(&format!("<{tag}>"))?;
    if !before.trim().is_empty() {
        return None;
    }
    after.split_once(&format!("</{tag}>")).map(|(content, _)| content)
}

fn elements(mut text: &str, tag: &str) -> Vec<String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut found = Vec::new();
    while let Some((_, after)) = text.split_once(&open) {
        let Some((content, rest)) = after.split_once(&close) else {
            break;
        };
        found.push(unescape(content.trim()));
        text = rest;
    }
    found
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(home: &Path) -> Environment {
        Environment::new([], home, home)
    }

    #[test]
    fn a_systemd_unit_as_openclaw_2026_6_1_writes_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let dir = home.join(".config/systemd/user");
        fs::create_dir_all(&dir).unwrap();
        let file = home.join("gateway.env");
        fs::write(
            &file,
            "# keys\nOPENAI_API_KEY=sk-not-kept\nOPENCLAW_OAUTH_DIR=\"/srv/o auth\"\n",
        )
        .unwrap();
        fs::write(
            dir.join("openclaw-gateway.service"),
            format!(
                "[Unit]\nDescription=OpenClaw Gateway (v2026.6.1)\n\n[Service]\n\
                 ExecStart=/usr/bin/node \"/opt/my node/openclaw/dist/index.js\" gateway --port 18789\n\
                 EnvironmentFile=-{}\nEnvironment=HOME={}\n\
                 Environment=\"OPENCLAW_STATE_DIR=/srv/my state\"\n\
                 Environment=OPENCLAW_GATEWAY_TOKEN=not-kept\n",
                file.display(),
                home.display()
            ),
        )
        .unwrap();
        fs::write(
            dir.join("openclaw-gateway-dev.service"),
            "[Service]\nEnvironment=OPENCLAW_STATE_DIR=%h/.openclaw-dev\n",
        )
        .unwrap();
        fs::write(dir.join("openclaw-node.service"), "[Service]\n").unwrap();
        let units = installed(&environment(home));
        assert_eq!(units.len(), 2);
        assert_eq!(
            units[0].command,
            [
                "/usr/bin/node",
                "/opt/my node/openclaw/dist/index.js",
                "gateway",
                "--port",
                "18789"
            ]
        );
        let kept: Vec<_> = units[0].variables.keys().map(String::as_str).collect();
        assert_eq!(kept, ["HOME", "OPENCLAW_OAUTH_DIR", "OPENCLAW_STATE_DIR"]);
        assert_eq!(units[0].var("OPENCLAW_OAUTH_DIR"), Some("/srv/o auth"));
        let base = environment(home).with_var("OPENCLAW_STATE_DIR", "/mine");
        assert_eq!(units[0].state_dir(&base, false), PathBuf::from("/srv/my state"));
        assert_eq!(units[1].state_dir(&base, false), home.join(".openclaw-dev"));
    }

    #[test]
    fn a_unit_without_a_state_directory_uses_the_default_and_drop_ins_win() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let dir = home.join(".config/systemd/user");
        fs::create_dir_all(dir.join("openclaw-gateway.service.d")).unwrap();
        fs::write(
            dir.join("openclaw-gateway.service"),
            "[Service]\nExecStart=/bin/a\n",
        )
        .unwrap();
        let base = environment(home);
        assert_eq!(
            installed(&base)[0].state_dir(&base, false),
            home.join(".openclaw")
        );
        fs::write(
            dir.join("openclaw-gateway.service.d/override.conf"),
            "[Service]\nExecStart=\nExecStart=/bin/b \\\n  gateway\nEnvironment='OPENCLAW_STATE_DIR=/drop in'\n",
        )
        .unwrap();
        let units = installed(&base);
        assert_eq!(units[0].command, ["/bin/b", "gateway"]);
        assert_eq!(units[0].state_dir(&base, false), PathBuf::from("/drop in"));
    }

    #[test]
    fn a_launch_agent() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let dir = home.join("Library/LaunchAgents");
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join("ai.openclaw.gateway.plist"),
            "<?xml version=\"1.0\"?><plist><dict>\n<key>Label</key><string>ai.openclaw.gateway</string>\n\
             <key>ProgramArguments</key>\n<array><string>/opt/homebrew/bin/node</string>\n\
             <string>/opt/a &amp; b/openclaw/dist/index.js</string><string>gateway</string></array>\n\
             <key>EnvironmentVariables</key>\n<dict><key>HOME</key><string>/Users/u</string>\
             <key>OPENCLAW_STATE_DIR</key><string>~/oc</string></dict></dict></plist>",
        )
        .unwrap();
        fs::write(dir.join("ai.openclaw.broken.plist"), "<plist><dict><key>").unwrap();
        let units = installed(&environment(home));
        assert_eq!(units[0].command[1], "/opt/a & b/openclaw/dist/index.js");
        assert_eq!(
            units[0].state_dir(&environment(home), false),
            PathBuf::from("/Users/u/oc")
        );
        assert_eq!(units.len(), 2);
    }
}
