use super::*;
use crate::environment::Environment;
use crate::install::StateDirSource;

const V2_17: Option<Version> = Some(Version::new(2026, 2, 17));
const V6_1: Option<Version> = Some(Version::new(2026, 6, 1));

fn state_dir(home: &Path) -> StateDir {
    let path = home.join(".openclaw");
    fs::create_dir_all(&path).unwrap();
    StateDir {
        path,
        source: StateDirSource::Default,
        environment: Environment::new([], home, home),
    }
}

fn read(text: &str) -> ConfigRead {
    let home = tempfile::tempdir().unwrap();
    let dir = state_dir(home.path());
    fs::write(dir.path.join("openclaw.json"), text).unwrap();
    Config::read(&dir, V6_1)
}

fn profile(text: &str) -> ProfileId {
    ProfileId::parse(text).unwrap()
}

fn places(read: &ConfigRead) -> Vec<(ErrorCode, String)> {
    read.notices
        .iter()
        .map(|notice| {
            let (_, what) = notice.message.split_once(": ").unwrap();
            (notice.code, what.to_owned())
        })
        .collect()
}

#[test]
fn a_missing_file_is_the_default() {
    let home = tempfile::tempdir().unwrap();
    let dir = state_dir(home.path());
    let read = Config::read(&dir, None);
    assert_eq!(read.path, dir.path.join("openclaw.json"));
    assert_eq!(read.config, Config::default());
    assert_eq!((read.failure, read.notices), (None, Vec::new()));
}

#[test]
fn every_part_is_read() {
    let read = read(
        r#"{
          meta: { lastTouchedVersion: "2026.4.29", lastTouchedAt: "x" },
          auth: {
            profiles: {
              "anthropic:b": { provider: " Anthropic ", mode: "token", email: "b@x" },
              "openai-codex:default": { provider: "openai-codex", mode: "oauth" },
              "bedrock": { provider: "amazon-bedrock", mode: "aws-sdk" },
              "a:1": { provider: "a", mode: "api_key" }, "a:2": { provider: "a", mode: "later" },
            },
            order: { "Z.ai": ["zai:b", "zai:a"], anthropic: [] },
            cooldowns: { billingBackoffHours: 5, billingMaxHours: 24.5, failureWindowHours: 1,
              billingBackoffHoursByProvider: { anthropic: 2 }, authPermanentBackoffMinutes: 10, authPermanentMaxMinutes: 60 },
          },
          agents: {
            defaults: { model: { primary: "anthropic/x", fallbacks: ["openai/y", "openai/z"] }, workspace: "~/ws" },
            list: [ { id: "Work Two", name: "W", agentDir: "~/elsewhere", workspace: "/w", model: "openai/o" },
                    { id: "ops", default: true, model: { primary: "p", fallbacks: [] } },
                    { id: "work-two", name: "again" } ],
            entries: { late: { name: "L", model: { fallbacks: ["f"] } }, ops: { name: "second" } },
          },
          session: { store: "~/s/{agentId}.json" },
          gateway: { port: 19000, auth: { token: "${NOT_LOOKED_AT}" } },
          bindings: [ { agentId: "ops", match: { channel: "telegram", accountId: "work" } },
                      { agentId: "ops", match: { channel: "discord", peer: { kind: "group", id: 7 }, guildId: "g", teamId: "t" } },
                      { match: { channel: "signal" } } ],
        }"#,
    );
    assert_eq!((&read.failure, places(&read)), (&None, Vec::new()));
    let entry = |provider: &str, mode, email: Option<&str>| ConfigProfile {
        provider: ProviderId::parse(provider).unwrap(),
        mode,
        email: email.map(str::to_owned),
    };
    let model = |primary: Option<&str>, fallbacks: Option<&[&str]>| {
        Some(ModelSelection {
            primary: primary.map(str::to_owned),
            fallbacks: fallbacks.map(|list| list.iter().map(|text| (*text).to_owned()).collect()),
        })
    };
    let agent = |id: &str, name: Option<&str>, model| AgentEntry {
        id: AgentId::normalize(id),
        name: name.map(str::to_owned),
        default: false,
        agent_dir: None,
        workspace: None,
        model,
    };
    let binding = |agent: &str, description: &str| Binding {
        agent: AgentId::normalize(agent),
        description: description.to_owned(),
    };
    let expected = Config {
        auth: AuthConfig {
            profiles: vec![
                (
                    profile("anthropic:b"),
                    entry("anthropic", ConfigMode::Token, Some("b@x")),
                ),
                (
                    profile("openai-codex:default"),
                    entry("openai-codex", ConfigMode::Oauth, None),
                ),
                (
                    profile("bedrock"),
                    entry("amazon-bedrock", ConfigMode::AwsSdk, None),
                ),
                (profile("a:1"), entry("a", ConfigMode::ApiKey, None)),
                (
                    profile("a:2"),
                    entry("a", ConfigMode::Unknown("later".into()), None),
                ),
            ],
            order: vec![
                ("Z.ai".to_owned(), vec![profile("zai:b"), profile("zai:a")]),
                ("anthropic".to_owned(), vec![]),
            ],
            cooldowns: Cooldowns {
                billing_backoff_hours: Some(5.0),
                billing_backoff_hours_by_provider: vec![("anthropic".to_owned(), 2.0)],
                billing_max_hours: Some(24.5),
                failure_window_hours: Some(1.0),
                auth_permanent_backoff_minutes: Some(10.0),
                auth_permanent_max_minutes: Some(60.0),
            },
        },
        agents: vec![
            AgentEntry {
                agent_dir: Some("~/elsewhere".to_owned()),
                workspace: Some("/w".to_owned()),
                ..agent("work-two", Some("W"), model(Some("openai/o"), None))
            },
            AgentEntry {
                default: true,
                ..agent("ops", None, model(Some("p"), Some(&[])))
            },
            agent("late", Some("L"), model(None, Some(&["f"]))),
        ],
        default_model: model(Some("anthropic/x"), Some(&["openai/y", "openai/z"])),
        default_workspace: Some("~/ws".to_owned()),
        session_store: Some("~/s/{agentId}.json".to_owned()),
        last_touched_version: Version::parse("2026.4.29"),
        bindings: vec![
            binding("ops", "telegram accountId=work"),
            binding("ops", "discord peer=group:7 guild=g team=t"),
            binding("main", "signal"),
        ],
        gateway_port: Some(19000),
    };
    assert_eq!(read.config, expected);
    assert_eq!(
        read.config
            .auth
            .profile(&profile("a:1"))
            .unwrap()
            .mode
            .to_string(),
        "api_key"
    );
}

/// `resolveAgentModelFallbacksOverride` of 2026.2.17, 2026.4.29 and 2026.6.1.
#[test]
fn fallback_models_follow_the_release() {
    let config = read(
        r#"{ agents: { defaults: { model: { primary: "d/p", fallbacks: ["d/f"] } }, list: [
            { id: "plain", model: "own/p" }, { id: "object", model: { primary: "own/p" } },
            { id: "none", model: { primary: "own/p", fallbacks: [] } }, { id: "own", model: { fallbacks: ["own/f"] } },
            { id: "silent" } ] } }"#,
    )
    .config;
    let fallbacks =
        |id: &str, version| -> Vec<String> { config.fallbacks(&AgentId::normalize(id), version).to_vec() };
    for (id, old, new) in [
        ("plain", &["d/f"][..], &[][..]),
        ("object", &["d/f"], &[]),
        ("none", &[], &[]),
        ("own", &["own/f"], &["own/f"]),
        ("silent", &["d/f"], &["d/f"]),
        ("unknown", &["d/f"], &["d/f"]),
    ] {
        assert_eq!(fallbacks(id, V2_17), old, "{id}");
        assert_eq!(fallbacks(id, V6_1), new, "{id}");
        assert_eq!(fallbacks(id, None), new, "{id}");
    }
    assert_eq!(config.primary_model(&AgentId::normalize("plain")), Some("own/p"));
    assert_eq!(config.primary_model(&AgentId::normalize("own")), Some("d/p"));
}

#[test]
fn a_plain_string_is_a_model_of_the_defaults_too() {
    let config = read("{ agents: { defaults: { model: 'anthropic/x' } } }").config;
    assert_eq!(config.primary_model(&AgentId::main()), Some("anthropic/x"));
    assert!(config.fallbacks(&AgentId::main(), V6_1).is_empty());
}

#[test]
fn wrong_types_are_left_out_and_named_and_the_rest_is_kept() {
    let read = read(
        r#"{ auth: { order: { a: "sk-leak", b: ["b:1", 5] }, profiles: { p: [], q: { mode: "oauth" }, r: { provider: "r", mode: "token" } },
                     cooldowns: { billingMaxHours: "24" } },
             agents: { list: [ 5, { id: 7 }, { id: "ok", model: 3 } ], defaults: [] }, session: "x", bindings: {}, meta: 1 }"#,
    );
    let wrong = |what: &str| (ErrorCode::ConfigWrongShape, what.to_owned());
    let mut found = places(&read);
    found.sort();
    let mut expected: Vec<_> = [
        "auth.order.a is not a list of strings",
        "auth.order.b is not a string",
        "auth.profiles.p is not an object",
        "auth.profiles.q is not an entry with provider and mode",
        "auth.cooldowns.billingMaxHours is not a number",
        "agents.list[0] is not an object",
        "agents.list[1].id is not a string",
        "agents.list[2].model is not a model",
        "agents.defaults is not an object",
        "session is not an object",
        "bindings is not a list",
        "meta is not an object",
    ]
    .map(wrong)
    .to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(read.config.auth.order, [("b".to_owned(), vec![profile("b:1")])]);
    assert_eq!(read.config.auth.profiles.len(), 1);
    let ids: Vec<_> = read.config.agents.iter().map(|agent| agent.id.as_str()).collect();
    assert_eq!(ids, ["main", "ok"]);
    for text in ["[]", "5", "'text'", "null"] {
        assert_eq!(self::read(text).config, Config::default(), "{text}");
    }
}

#[test]
fn duplicate_keys_are_noticed_and_the_last_one_counts() {
    let read = read("{ auth: { order: { a: ['a:1'] } }, auth: { order: { a: ['a:2'] } } }");
    assert_eq!(
        places(&read),
        [(
            ErrorCode::ConfigDuplicateKeys,
            "the key auth stands twice".to_owned()
        )]
    );
    assert_eq!(read.config.auth.order[0].1, [profile("a:2")]);
}

#[test]
fn an_unusable_file_is_a_failure_with_defaults() {
    let read = read("{ auth: ");
    assert_eq!(read.config, Config::default());
    assert_eq!(read.failure.unwrap().code, ErrorCode::ConfigUnparsable);
}

/// `config get` of 2026.2.17, 2026.4.29 and 2026.6.1 printed these values.
#[test]
fn variables_come_from_the_environment_the_dotenv_file_and_the_env_block() {
    let home = tempfile::tempdir().unwrap();
    let mut dir = state_dir(home.path());
    dir.environment = dir.environment.with_var("FIRST", "env");
    fs::write(
        dir.path.join(".env"),
        "# c\nFIRST=dot\nexport DOTVAR = \"dot # not a comment\" # c\nPLAIN=p # c\nEMPTY=\nbad line\n",
    )
    .unwrap();
    fs::write(
        dir.path.join("openclaw.json"),
        r#"{ env: { vars: { KEYVAR: "from-config", PLAIN: "hidden", REFERS: "${FIRST}" }, TOP: "top", shellEnv: { enabled: true } },
             auth: { profiles: { "p:${FIRST}": { provider: "${FIRST}", mode: "token", email: "$${KEYVAR}-${KEYVAR}@x" } } },
             agents: { list: [ { id: "a", name: "${DOTVAR}|${PLAIN}|${TOP}" }, { id: "b", name: "${GONE}${REFERS}${EMPTY}" } ] },
             channels: { x: { token: "${NOT_ASKED_FOR}" } } }"#,
    )
    .unwrap();
    let read = Config::read(&dir, V6_1);
    let config = &read.config;
    assert_eq!(
        config.auth.profiles,
        [(
            profile("p:${FIRST}"),
            ConfigProfile {
                provider: ProviderId::parse("env").unwrap(),
                mode: ConfigMode::Token,
                email: Some("${KEYVAR}-from-config@x".to_owned()),
            }
        )]
    );
    assert_eq!(
        config.agents[0].name.as_deref(),
        Some("dot # not a comment|p|top")
    );
    assert_eq!(config.agents[1].name.as_deref(), Some("${GONE}${REFERS}${EMPTY}"));
    let found = places(&read);
    assert!(found.iter().all(|(code, _)| *code == ErrorCode::ConfigVariable));
    let names: Vec<_> = found
        .iter()
        .map(|(_, what)| what.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["${EMPTY}", "${GONE}", "${REFERS}"]);
}

#[test]
fn the_file_is_found_by_variable_by_name_and_by_legacy_names() {
    let home = tempfile::tempdir().unwrap();
    let dir = state_dir(home.path());
    fs::write(dir.path.join("moltbot.json"), "{}").unwrap();
    assert_eq!(config_path(&dir, V2_17), dir.path.join("moltbot.json"));
    assert_eq!(config_path(&dir, None), dir.path.join("moltbot.json"));
    assert_eq!(config_path(&dir, V6_1), dir.path.join("openclaw.json"));
    fs::write(dir.path.join("clawdbot.json"), "{}").unwrap();
    assert_eq!(config_path(&dir, V6_1), dir.path.join("clawdbot.json"));
    fs::write(dir.path.join("openclaw.json"), "{}").unwrap();
    assert_eq!(config_path(&dir, V2_17), dir.path.join("openclaw.json"));
    let moved = StateDir {
        environment: dir
            .environment
            .clone()
            .with_var("OPENCLAW_CONFIG_PATH", "~/c.json"),
        ..dir
    };
    assert_eq!(config_path(&moved, V6_1), home.path().join("c.json"));
}

/// Candidates of `createConfigIO` in 2026.2.17; from 2026.4.29 on the state directory's own name
/// is used.
#[test]
fn release_2026_2_17_reads_the_default_directorys_file_when_its_own_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let default = state_dir(home.path());
    fs::write(default.path.join("openclaw.json"), "{}").unwrap();
    let other = StateDir {
        path: home.path().join("other"),
        ..default.clone()
    };
    assert_eq!(config_path(&other, V2_17), default.path.join("openclaw.json"));
    assert_eq!(config_path(&other, V6_1), other.path.join("openclaw.json"));
    assert_eq!(config_path(&other, None), other.path.join("openclaw.json"));
}
