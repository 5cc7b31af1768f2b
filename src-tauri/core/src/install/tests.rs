use std::fs;
use std::time::Instant;

use super::*;

fn environment(home: &Path) -> Environment {
    Environment::new([], home, home)
}

fn open(home: &Path) -> Installation {
    Installation::open(&environment(home), &Settings::default(), None).unwrap()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn install(home: &Path, manager: &str, version: &str) {
    let dir = home.join(manager).join("lib/node_modules/openclaw");
    let package = format!(r#"{{"name":"openclaw","version":"{version}"}}"#);
    write(&dir.join("package.json"), &package);
}

const STORE: &str = r#"{"version":1,"profiles":{"a:b":{"type":"token","provider":"a","token":"t"}}}"#;

#[test]
fn a_fresh_machine_has_an_empty_installation_with_main() {
    let home = tempfile::tempdir().unwrap();
    let installation = open(home.path());
    assert_eq!(installation.era, Era::Empty);
    assert_eq!(installation.agents.len(), 1);
    assert_eq!(installation.program, None);
    assert_eq!(installation.evidence, Evidence::default());
    let error = installation.ensure_json_era().unwrap_err();
    assert_eq!(error.code(), ErrorCode::StateDirMissing);
    assert!(!home.path().join(".openclaw").exists());
    fs::create_dir(home.path().join(".openclaw")).unwrap();
    installation.ensure_json_era().unwrap();
}

#[test]
fn evidence_lists_programs_then_the_configuration() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    install(home, ".npm-global", "2026.6.1");
    install(home, ".nvm/versions/node/v22.0.0", "2026.4.29");
    write(
        &home.join(".openclaw/openclaw.json"),
        "{meta:{lastTouchedVersion:'2026.2.17'}}",
    );
    let installation = open(home);
    let sources: Vec<_> = installation
        .evidence
        .sources
        .iter()
        .map(|source| (source.what.as_str(), source.version.unwrap().to_string()))
        .collect();
    assert_eq!(
        sources,
        [
            ("package installed by npm", "2026.6.1".to_owned()),
            ("package installed by nvm", "2026.4.29".to_owned()),
            (
                "meta.lastTouchedVersion of the configuration",
                "2026.2.17".to_owned()
            ),
        ]
    );
    assert_eq!(installation.era, Era::Json);
    let rules = installation.rules();
    assert_eq!(rules.order_rules, RuleSet::V6_1);
    assert!(rules.store_lock_during_call);
    assert_eq!(installation.program.unwrap().version, Version::parse("2026.6.1"));
}

#[test]
fn the_gateways_program_is_evidence_for_its_own_state_directory_only() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    install(home, "srv", "2026.2.17");
    let script = home.join("srv/lib/node_modules/openclaw/dist/index.js");
    write(&script, "");
    write(
        &home.join(".config/systemd/user/openclaw-gateway-work.service"),
        &format!(
            "[Service]\nExecStart=/usr/bin/node {} gateway\nEnvironment=OPENCLAW_STATE_DIR=%h/.openclaw-work\n",
            script.display()
        ),
    );
    fs::create_dir_all(home.join(".openclaw")).unwrap();
    let all = installations(&environment(home), &Settings::default(), None);
    let gateway = &all[0];
    assert_eq!(gateway.state_dir.source, StateDirSource::GatewayUnit);
    assert_eq!(gateway.evidence.sources[0].what, "program of the gateway service");
    assert_eq!(gateway.evidence.newest, Version::parse("2026.2.17"));
    assert_eq!(all[1].evidence, Evidence::default());
}

#[test]
fn a_broken_configuration_does_not_hide_the_installation() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    write(&home.join(".openclaw/openclaw.json"), "{ auth: ");
    write(
        &home.join(".openclaw/agents/work/agent/auth-profiles.json"),
        STORE,
    );
    let installation = open(home);
    let failure = installation.config_failure.clone().unwrap();
    assert_eq!(failure.code, ErrorCode::ConfigUnparsable);
    assert_eq!(failure.to_error().code().exit_code(), 65);
    assert_eq!(failure.to_notice().code, "config.unparsable");
    assert_eq!(installation.config, Config::default());
    assert_eq!(installation.era, Era::Json);
    let work = installation.agent(&AgentId::normalize("work")).unwrap();
    assert_eq!(work.agent_dir, home.join(".openclaw/agents/work/agent"));
    let unknown = installation.agent(&AgentId::normalize("other")).unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::AgentUnknown);
}

#[test]
fn an_upgrade_is_noticed_before_the_next_write() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    install(home, ".npm-global", "2026.6.1");
    let store = home.join(".openclaw/agents/main/agent/auth-profiles.json");
    write(&store, STORE);
    let installation = open(home);
    installation.ensure_json_era().unwrap();
    install(home, ".npm-global", "2026.6.5");
    let error = installation.ensure_json_era().unwrap_err();
    assert_eq!(error.code(), ErrorCode::EraMixed);
    fs::remove_file(&store).unwrap();
    let error = installation.ensure_json_era().unwrap_err();
    assert_eq!(error.code(), ErrorCode::EraSqlite);
    assert!(error.message().contains("OpenClaw 2026.6.5 was found"), "{error}");
    install(home, ".npm-global", "2026.6.1");
    installation.ensure_json_era().unwrap();
    write(
        &home.join(".openclaw/openclaw.json"),
        "{meta:{lastTouchedVersion:'2026.9.6'}}",
    );
    let error = installation.ensure_json_era().unwrap_err();
    assert_eq!(error.code(), ErrorCode::EraSqlite);
}

#[test]
fn a_database_in_a_configured_agent_directory_is_found() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let elsewhere = home.join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    rusqlite::Connection::open(elsewhere.join("openclaw-agent.sqlite"))
        .unwrap()
        .execute_batch("CREATE TABLE auth_profile_store(x)")
        .unwrap();
    write(
        &home.join(".openclaw/openclaw.json"),
        "{agents:{list:[{id:'far',agentDir:'~/elsewhere'}]}}",
    );
    assert!(matches!(open(home).era, Era::Sqlite { .. }));
}

#[test]
fn opening_is_quick_and_starts_nothing() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    install(home, ".npm-global", "2026.6.1");
    write(
        &home.join(".openclaw/openclaw.json"),
        "{agents:{list:[{id:'a'}]}}",
    );
    let times = (0..20).map(|_| {
        let start = Instant::now();
        open(home);
        start.elapsed()
    });
    let best = times.min().unwrap();
    assert!(best.as_millis() < 10, "{best:?}");
}

#[test]
fn debug_output_holds_no_environment() {
    let home = tempfile::tempdir().unwrap();
    let environment = environment(home.path()).with_var("OPENAI_API_KEY", "sk-leak");
    let installation = Installation::open(&environment, &Settings::default(), None).unwrap();
    assert!(!format!("{installation:?}").contains("sk-leak"));
}
