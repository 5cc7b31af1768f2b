use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::agents::{AddedAgent, add_agent};
use super::cli::{Cli, Reach};
use super::quoted;

use crate::environment::Environment;
use crate::ids::AgentId;
use crate::install::Installation;
use crate::install::program::Program;
use crate::settings::Settings;
use crate::{ErrorCode, Result};

/// A home with `openclaw` on `PATH`: a shell script that stands in for the real program.
struct Machine {
    home: tempfile::TempDir,
}

impl Machine {
    fn new(script: Option<&str>) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join(".openclaw")).unwrap();
        if let Some(script) = script {
            let bin = home.path().join("bin");
            fs::create_dir_all(&bin).unwrap();
            // A file that this process has open for writing cannot be started.
            let draft = bin.join("draft");
            fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(&draft, bin.join("openclaw")).unwrap();
        }
        Self { home }
    }

    fn installation(&self) -> Installation {
        let home = self.home.path();
        let path = format!("{}:/usr/bin:/bin", home.join("bin").display());
        let environment = Environment::new([], home, home)
            .with_var("HOME", &home.to_string_lossy())
            .with_var("PATH", &path)
            .with_var("OPENAI_API_KEY", "sk-not-passed-on");
        Installation::open(&environment, &Settings::default(), None).unwrap()
    }

    async fn add(&self, id: &str) -> Result<AddedAgent> {
        add_agent(&self.installation(), &AgentId::normalize(id), Path::new("~/ws")).await
    }

    fn written(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap()
    }
}

/// Output as 2026.2.17 prints it for `agents add "Work Two"`: a notice on standard output first.
const ADDS: &str = r#"printf '%s\n' "$@" > "$HOME/args"; env | sort > "$HOME/env"
echo 'Normalized agent id to "work-two".'
echo '{agents:{list:[{id:"main"},{id:"work-two",workspace:"'"$HOME"'/ws"}]}}' > "$OPENCLAW_STATE_DIR/openclaw.json"
printf '{\n  "agentId": "work-two",\n  "bindings": {\n    "added": []\n  }\n}\n'"#;

#[tokio::test]
async fn an_agent_is_added_through_openclaw_and_read_back() {
    let machine = Machine::new(Some(ADDS));
    let home = machine.home.path();
    let added = machine.add("Work Two").await.unwrap();
    assert_eq!(
        added,
        AddedAgent {
            id: AgentId::normalize("work-two"),
            agent_dir: home.join(".openclaw/agents/work-two/agent"),
            workspace: home.join("ws"),
            copies_main_store: true,
        }
    );
    assert_eq!(
        machine.written("args"),
        format!(
            "agents\nadd\nwork-two\n--non-interactive\n--workspace\n{}\n--json\n",
            home.join("ws").display()
        )
    );
    let env = machine.written("env");
    let names: Vec<_> = env
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"))
        .collect();
    assert_eq!(
        names,
        [
            "HOME",
            "NO_COLOR",
            "OPENCLAW_DISABLE_AUTO_UPDATE",
            "OPENCLAW_NO_RESPAWN",
            "OPENCLAW_STATE_DIR",
            "PATH"
        ]
    );
    let again = machine.add("work-two").await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::Usage);
}

#[tokio::test]
async fn without_openclaw_the_command_to_run_is_told() {
    let machine = Machine::new(None);
    let error = machine.add("work").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawMissing);
    let home = machine.home.path().display();
    assert_eq!(
        error.hint(),
        format!(
            "Run this where OpenClaw is installed: OPENCLAW_STATE_DIR={home}/.openclaw openclaw agents add work \
             --non-interactive --workspace {home}/ws"
        )
    );
    assert_eq!(quoted("it's here"), r"'it'\''s here'");
}

#[tokio::test]
async fn failures_and_false_claims_are_reported_without_secrets() {
    for (script, told) in [
        (
            "echo 'Agent \"x\" already exists.' >&2; exit 1",
            "openclaw: it ended with exit code 1: Agent \"x\" already exists",
        ),
        (
            "echo 'bad key sk-ant-secret given' >&2; exit 3",
            "openclaw: it ended with exit code 3: bad key … given",
        ),
        (
            "printf 'Error: no\\n    at f (x.js:1)\\n}\\n' >&2; exit 1",
            "openclaw: it ended with exit code 1: Error: no",
        ),
        ("exit 2", "openclaw: it ended with exit code 2"),
        ("echo done", "openclaw: its answer is not JSON"),
        ("echo '{}'", "openclaw: its answer names no agent"),
        (
            "echo '{\"agentId\":\"work\"}'",
            "openclaw: it said that the agent was added, but openclaw.json does not name it",
        ),
        ("kill -9 $$", "openclaw: it ended with a signal"),
    ] {
        let error = Machine::new(Some(script)).add("work").await.unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (ErrorCode::OpenClawFailed, told),
            "{script}"
        );
    }
}

#[tokio::test]
async fn a_flood_of_output_does_not_block() {
    let script = "head -c 5000000 /dev/zero | tr '\\0' x >&2; head -c 3000000 /dev/zero; exit 1";
    let error = Machine::new(Some(script)).add("work").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::OpenClawFailed);
    assert!(error.message().len() < 400);
}

#[tokio::test]
async fn a_command_that_does_not_end_is_ended() {
    let machine = Machine::new(Some("echo $$ > \"$HOME/pid\"; exec sleep 600"));
    let installation = machine.installation();
    let cli = Cli::of(&installation).unwrap();
    let limit = std::time::Duration::from_millis(500);
    let error = cli.run(&["models"], None, limit).await.err().unwrap();
    assert_eq!(error.message(), "openclaw: no answer within 0 s");
    let pid: i32 = machine.written("pid").trim().parse().unwrap();
    let gone = || {
        rustix::process::Pid::from_raw(pid).is_none_or(|pid| rustix::process::test_kill_process(pid).is_err())
    };
    crate::oauth::testing::until("its end", gone).await;
}

#[tokio::test]
async fn a_command_finds_no_gateway_when_it_is_to_change_the_store_only() {
    let machine = Machine::new(Some("echo \"{\\\"port\\\": \\\"$OPENCLAW_GATEWAY_PORT\\\"}\""));
    let installation = machine.installation();
    let cli = Cli::of(&installation).unwrap();
    let port = async |cli: Cli<'_>| cli.json(&[], None).await.unwrap()["port"].clone();
    assert_eq!(port(cli).await, "");
    assert_eq!(port(cli.reaching(Reach::Store)).await, "1");
}

#[tokio::test]
async fn main_is_reserved() {
    let machine = Machine::new(Some("exit 0"));
    assert_eq!(machine.add("main").await.unwrap_err().code(), ErrorCode::Usage);
}

#[test]
fn a_script_is_started_with_node_from_an_absolute_path() {
    let machine = Machine::new(None);
    let node = machine.home.path().join("bin/node");
    fs::create_dir_all(node.parent().unwrap()).unwrap();
    fs::write(&node, "").unwrap();
    let script = machine.home.path().join("pkg/openclaw.mjs");
    let program = Program {
        what: "npm",
        launcher: script.clone(),
        package: None,
        version: None,
    };
    let mut installation = machine.installation();
    installation.program = Some(program);
    let proxy = "http://127.0.0.1:8080".to_owned();
    Settings::update(installation.environment(), |settings| {
        settings.proxy = Some(proxy.clone());
    })
    .unwrap();
    let command = Cli::of(&installation).unwrap().command(&["agents"]);
    let command = command.as_std();
    assert_eq!(command.get_program(), node.as_os_str());
    let passed_on = command.get_envs().find(|(name, _)| *name == "HTTPS_PROXY");
    assert_eq!(passed_on.and_then(|(_, value)| value), Some(proxy.as_ref()));
    let arguments: Vec<_> = command.get_args().collect();
    assert_eq!(arguments, [script.as_os_str(), "agents".as_ref()]);
}
