//! What a secondary agent sees of its own store and main's: Kalit's board against the loader and
//! the resolver of real releases. From 2026.4.29 on an agent's outdated login `<provider>:default`
//! gives way to main's newer one of the same account.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use kalit_core::broker::{Broker, Options};
use kalit_core::clock::{ManualClock, Timestamp};
use kalit_core::environment::Environment;
use kalit_journeys::openclaw::{TestHome, Version, release, write_json};
use serde_json::{Value, json};

const NOW: i64 = 1_790_000_000_000;
const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn agents_see_what_they_see_in_2026_2_17() -> Result<()> {
    compare(Version::V2026_2_17, "openai-codex", 0).await
}

#[tokio::test]
async fn agents_see_what_they_see_in_2026_4_29() -> Result<()> {
    compare(Version::V2026_4_29, "openai-codex", 6).await
}

#[tokio::test]
async fn agents_see_what_they_see_in_2026_6_1() -> Result<()> {
    compare(Version::V2026_6_1, "openai", 6).await
}

struct Case {
    name: &'static str,
    main: Value,
    work: Value,
    work_state: Value,
}

/// A login by name, hours until it ends, and whose it is.
fn login(provider: &str, name: &str, hours: i64, whose: Value) -> Value {
    let mut login = json!({"type": "oauth", "provider": provider, "access": format!("access-fake-{name}"),
        "refresh": format!("refresh-fake-{name}"), "expires": NOW + hours * HOUR});
    for (key, value) in whose.as_object().into_iter().flatten() {
        login[key] = value.clone();
    }
    login
}

fn cases(provider: &str) -> Vec<Case> {
    let ada = || json!({"email": "Ada@example.com"});
    let bob = || json!({"email": "bob@example.com"});
    let account = || json!({"accountId": "account-ada"});
    let default = format!("{provider}:default");
    let (a, b) = (format!("{provider}:ada"), format!("{provider}:bob"));
    let one = |name: &'static str, old: Value, new: Value| Case {
        name,
        main: json!({&a: new}),
        work: json!({&default: old}),
        work_state: json!({}),
    };
    let make = |name, hours, whose| login(provider, name, hours, whose);
    let mut cases = vec![
        one(
            "ended, of one person",
            make("old", -1, ada()),
            make("new", 5, json!({"email": "ada@EXAMPLE.com"})),
        ),
        one(
            "valid and older, of one person",
            make("old", 2, ada()),
            make("new", 5, ada()),
        ),
        one(
            "valid and newer, of one person",
            make("old", 9, ada()),
            make("new", 5, ada()),
        ),
        one(
            "main's ends within the margin",
            make("old", -1, ada()),
            json!({"type": "oauth", "provider": provider,
            "access": "x", "refresh": "y", "expires": NOW + 240_000, "email": "ada@example.com"}),
        ),
        one(
            "ended, of another person",
            make("old", -1, bob()),
            make("new", 5, ada()),
        ),
        one(
            "valid, of nobody known",
            make("old", 2, json!({})),
            make("new", 5, ada()),
        ),
        one(
            "ended, compared by nothing",
            make("old", -1, ada()),
            make("new", 5, account()),
        ),
        one(
            "valid, compared by nothing",
            make("old", 2, ada()),
            make("new", 5, account()),
        ),
        one(
            "accounts differ, addresses agree",
            make("old", -1, json!({"accountId": "x", "email": "ada@example.com"})),
            make("new", 5, json!({"accountId": "y", "email": "ada@example.com"})),
        ),
    ];
    cases.push(Case {
        name: "two of main's may be it",
        main: json!({&a: make("new", 5, ada()), &b: make("newer", 6, bob())}),
        work: json!({&default: make("old", -1, json!({}))}),
        work_state: json!({}),
    });
    cases.push(Case {
        name: "main has the default as well",
        main: json!({&default: make("mains", 4, bob()), &a: make("new", 5, ada())}),
        work: json!({&default: make("old", -1, ada())}),
        work_state: json!({}),
    });
    cases.push(Case {
        name: "another id than default",
        main: json!({&a: make("new", 5, ada())}),
        work: json!({&b: make("old", -1, ada())}),
        work_state: json!({}),
    });
    cases.push(Case {
        name: "an order names the old one",
        main: json!({&a: make("new", 5, ada()), &b: make("other", 5, bob())}),
        work: json!({&default: make("old", -1, ada())}),
        work_state: json!({"order": {provider: [&b, &default]}}),
    });
    cases.push(Case {
        name: "an own copy of the newer one is older",
        main: json!({&a: make("new", 5, ada())}),
        work: json!({&default: make("old", -1, ada()), &a: make("older", 1, ada())}),
        work_state: json!({"usageStats": {&a: {"lastUsed": NOW - HOUR}}}),
    });
    cases
}

/// `adopting`: in how many cases at least main's login must have taken the place of the agent's.
async fn compare(version: Version, provider: &str, adopting: usize) -> Result<()> {
    let release = release(version).await?;
    let cases = cases(provider);
    let (mut homes, mut questions) = (Vec::new(), Vec::new());
    let mut ours = BTreeMap::new();
    for case in &cases {
        let home = TestHome::new()?;
        write_json(
            &home.state_dir().join("openclaw.json"),
            &json!({"meta": {"lastTouchedVersion": version.as_str()}}),
        )?;
        let document = |profiles: &Value| json!({"version": 1, "profiles": profiles});
        home.write_profiles("main", &document(&case.main))?;
        let mut work = document(&case.work);
        if version == Version::V2026_2_17 {
            for (key, value) in case.work_state.as_object().into_iter().flatten() {
                work[key] = value.clone();
            }
        } else {
            home.write_state("work", &case.work_state)?;
        }
        home.write_profiles("work", &work)?;
        ours.insert(case.name.to_owned(), candidates(&home, provider)?);
        questions.push(json!({"name": case.name, "stateDir": home.state_dir(),
            "agentDir": home.agent_dir("work"), "config": {}, "provider": provider}));
        homes.push(home);
    }
    let home = TestHome::new()?;
    let input = serde_json::to_vec(&json!({"now": NOW, "cases": questions}))?;
    let output = release
        .node_script(&home, "resolve-order.mjs", &[], Some(&input))
        .await?;
    ensure!(output.status.success(), "{output:?}");
    let last = output.stdout.lines().rfind(|line| !line.trim().is_empty());
    let answer: Value = serde_json::from_str(last.context("no answer")?)?;
    let theirs: BTreeMap<String, Vec<String>> = serde_json::from_value(answer["orders"].clone())?;
    assert_eq!(ours, theirs);

    let default = format!("{provider}:default");
    let adopted = cases
        .iter()
        .filter(|case| case.work.get(&default).is_some() && !ours[case.name].contains(&default));
    assert!(adopted.count() >= adopting);
    Ok(())
}

/// The candidates of agent `work`, as the board has them.
fn candidates(home: &TestHome, provider: &str) -> Result<Vec<String>> {
    let vars = [
        ("HOME", home.path()),
        ("OPENCLAW_STATE_DIR", &home.state_dir()),
        ("KALIT_DATA_DIR", &home.path().join("data")),
        ("KALIT_CONFIG_DIR", &home.path().join("config")),
    ];
    let vars = vars.map(|(name, path)| (name.to_owned(), path.display().to_string()));
    let broker = Broker::open(Options {
        environment: Environment::new(vars, home.path(), home.path()),
        clock: Arc::new(ManualClock::new(Timestamp::from_millis(NOW))),
        state_dir: None,
        program: "kalit",
    })?;
    let snapshot = broker.snapshot();
    let mut agents = snapshot.agents.iter();
    let work = agents
        .find(|agent| agent.id.as_str() == "work")
        .context("no agent")?;
    let view = work.providers.iter().find(|view| view.id.as_str() == provider);
    let ids = view.context("no provider")?.candidates.iter();
    Ok(ids.map(ToString::to_string).collect())
}
