use std::path::Path;

use super::*;
use crate::environment::Environment;
use crate::install::StateDirSource;
use crate::install::config::{AgentEntry, Binding};

const V2_17: Option<Version> = Some(Version::new(2026, 2, 17));
const V4_29: Option<Version> = Some(Version::new(2026, 4, 29));
const V6_1: Option<Version> = Some(Version::new(2026, 6, 1));

fn state_dir(home: &Path) -> StateDir {
    StateDir {
        path: home.join(".openclaw"),
        source: StateDirSource::Default,
        environment: Environment::new([], home, home),
    }
}

fn with_var(state_dir: &StateDir, name: &str, value: &str) -> StateDir {
    StateDir {
        environment: state_dir.environment.clone().with_var(name, value),
        ..state_dir.clone()
    }
}

fn entry(id: &str) -> AgentEntry {
    AgentEntry {
        id: AgentId::normalize(id),
        name: None,
        default: false,
        agent_dir: None,
        workspace: None,
        model: None,
    }
}

/// `agents list --json` of 2026.4.29 and 2026.6.1 for this configuration (b: `agentDir`
/// `~/elsewhere`, ops the default, defaults' workspace `~/ws`); 2026.2.17 prints
/// `<state>/workspace-work-two`.
#[test]
fn configured_agents_are_listed_as_openclaw_lists_them() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let dir = state_dir(home);
    let config = Config {
        agents: vec![
            AgentEntry {
                name: Some("W".to_owned()),
                agent_dir: Some("~/elsewhere".to_owned()),
                ..entry("Work Two")
            },
            AgentEntry {
                default: true,
                ..entry("ops")
            },
        ],
        default_workspace: Some("~/ws".to_owned()),
        bindings: vec![Binding {
            agent: AgentId::normalize("ops"),
            description: "telegram".to_owned(),
        }],
        ..Config::default()
    };
    let work = Agent {
        id: AgentId::normalize("work-two"),
        name: Some("W".to_owned()),
        is_default: false,
        agent_dir: home.join("elsewhere"),
        configured: true,
        workspace: home.join("ws/work-two"),
        bindings: vec![],
    };
    let ops = Agent {
        id: AgentId::normalize("ops"),
        name: None,
        is_default: true,
        agent_dir: dir.path.join("agents/ops/agent"),
        configured: true,
        workspace: home.join("ws"),
        bindings: vec!["telegram".to_owned()],
    };
    let main = Agent {
        id: AgentId::main(),
        name: None,
        is_default: false,
        agent_dir: dir.path.join("agents/main/agent"),
        configured: false,
        workspace: home.join("ws/main"),
        bindings: vec![],
    };
    assert_eq!(agents(&dir, &config, V6_1), [work, ops, main]);
    let old = agents(&dir, &config, V2_17);
    assert_eq!(old[0].workspace, dir.path.join("workspace-work-two"));
    assert_eq!(old[1].workspace, home.join("ws"));
}

#[test]
fn without_configuration_main_is_the_only_and_the_default_agent() {
    let home = tempfile::tempdir().unwrap();
    let dir = state_dir(home.path());
    let all = agents(&dir, &Config::default(), V6_1);
    assert_eq!(all.len(), 1);
    assert!(all[0].id.is_main() && all[0].is_default && !all[0].configured);
    assert_eq!(all[0].workspace, home.path().join(".openclaw/workspace"));
    let profile = with_var(&dir, "OPENCLAW_PROFILE", "dev");
    assert_eq!(
        agents(&profile, &Config::default(), V6_1)[0].workspace,
        home.path().join(".openclaw/workspace-dev")
    );
}

#[test]
fn the_first_agent_is_the_default_when_none_is_marked() {
    let config = Config {
        agents: vec![entry("b"), entry("a")],
        ..Config::default()
    };
    assert_eq!(default_agent(&config).as_str(), "b");
}

#[test]
fn agents_are_found_on_disk_and_strange_names_only_as_stores() {
    let home = tempfile::tempdir().unwrap();
    let dir = state_dir(home.path());
    for name in ["zeta", "alpha", "Strange Name", "main"] {
        fs::create_dir_all(dir.path.join("agents").join(name).join("agent")).unwrap();
    }
    fs::create_dir_all(dir.path.join("agents/only-sessions/sessions")).unwrap();
    fs::create_dir_all(dir.path.join("agent")).unwrap();
    let config = Config {
        agents: vec![AgentEntry {
            agent_dir: Some("/srv/alpha".to_owned()),
            ..entry("alpha")
        }],
        ..Config::default()
    };
    let all = agents(&dir, &config, V6_1);
    let ids: Vec<_> = all.iter().map(|agent| agent.id.as_str()).collect();
    assert_eq!(ids, ["alpha", "main", "zeta"]);
    let stores = store_dirs(&dir, &all, V6_1);
    assert_eq!(
        stores,
        [
            PathBuf::from("/srv/alpha"),
            dir.path.join("agents/main/agent"),
            dir.path.join("agents/zeta/agent"),
            dir.path.join("agents/Strange Name/agent"),
            dir.path.join("agents/alpha/agent"),
            dir.path.join("agent"),
        ]
    );
}

/// `models status --json` with these variables, 2026.2.17, 2026.4.29 and 2026.6.1.
#[test]
fn variables_move_mains_directory() {
    let home = tempfile::tempdir().unwrap();
    let dir = state_dir(home.path());
    let config = Config {
        agents: vec![AgentEntry {
            agent_dir: Some("~/configured".to_owned()),
            ..entry("main")
        }],
        ..Config::default()
    };
    let main = |dir: &StateDir, version| agents(dir, &config, version)[0].agent_dir.clone();
    assert_eq!(main(&dir, V6_1), home.path().join("configured"));
    assert_eq!(inherited_dir(&dir, V6_1), dir.path.join("agents/main/agent"));

    let pi = with_var(&dir, "PI_CODING_AGENT_DIR", "~/pi");
    for version in [V2_17, V4_29, None] {
        assert_eq!(main(&pi, version), home.path().join("pi"));
        assert_eq!(inherited_dir(&pi, version), home.path().join("pi"));
    }
    assert_eq!(main(&pi, V6_1), home.path().join("configured"));

    let both = with_var(&pi, "OPENCLAW_AGENT_DIR", "~/own");
    for version in [V2_17, V4_29, V6_1, None] {
        assert_eq!(main(&both, version), home.path().join("own"));
    }
    for version in [V2_17, V4_29, None] {
        assert_eq!(inherited_dir(&both, version), home.path().join("own"));
    }
    assert_eq!(inherited_dir(&both, V6_1), dir.path.join("agents/main/agent"));
    let stores = store_dirs(&both, &agents(&both, &config, V6_1), V6_1);
    assert!(
        stores.contains(&dir.path.join("agents/main/agent")),
        "it is still a holder"
    );
}

#[cfg(unix)]
#[test]
fn two_agents_with_one_directory_are_one_store() {
    let home = tempfile::tempdir().unwrap();
    let dir = state_dir(home.path());
    fs::create_dir_all(dir.path.join("agents/a/agent")).unwrap();
    fs::create_dir_all(dir.path.join("agents/b")).unwrap();
    std::os::unix::fs::symlink("../a/agent", dir.path.join("agents/b/agent")).unwrap();
    let all = agents(&dir, &Config::default(), V6_1);
    assert_eq!(all.len(), 3);
    let stores = store_dirs(&dir, &all, V6_1);
    assert_eq!(
        stores,
        [
            dir.path.join("agents/main/agent"),
            dir.path.join("agents/a/agent"),
            dir.path.join("agent")
        ]
    );
}
