//! Ending a cooldown: real releases put a resting account last; after `kalit clear-cooldown` their
//! own resolver puts it where the order says, and their own function leaves the same files.

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{Release, TestHome, Version, read_json, release};
use serde_json::{Value, json};

#[tokio::test]
async fn a_cleared_account_is_first_again_for_2026_2_17() -> Result<()> {
    clears(Version::V2026_2_17).await
}

#[tokio::test]
async fn a_cleared_account_is_first_again_for_2026_4_29() -> Result<()> {
    clears(Version::V2026_4_29).await
}

#[tokio::test]
async fn a_cleared_account_is_first_again_for_2026_6_1() -> Result<()> {
    clears(Version::V2026_6_1).await
}

async fn clears(version: Version) -> Result<()> {
    let release = release(version).await?;
    let scenes = rests(version)
        .into_iter()
        .map(|rest| Scene::new(&release, rest))
        .collect::<Result<Vec<_>>>()?;
    let [first, second, third] = &ids(version);
    for (scene, order) in scenes.iter().zip(orders(&release, &scenes).await?) {
        ensure!(
            order == [second.as_str(), third, first],
            "{}: {order:?}",
            scene.rest
        );
    }

    let mut cleared = Vec::new();
    for scene in &scenes {
        let mut expected = scene.files()?;
        let ran = scene.kalit.run(&["clear-cooldown", first, "--json"]).await?;
        ensure!(ran.code == 0, "{}: {ran:?}", scene.rest);
        assert_eq!(ran.json()?["effective"], json!(first), "{}", scene.rest);
        expected.usage()[first] =
            json!({"lastUsed": 5, "lastFailureAt": 6, "errorCount": 0, "kept": {"n": 1}});
        assert_eq!(scene.files()?, expected, "{}", scene.rest);
        let again = scene.kalit.run(&["clear-cooldown", first, "--json"]).await?;
        assert_eq!(
            (again.code, again.error_code()?),
            (64, "cooldown.none".to_owned()),
            "{again:?}"
        );
        assert_eq!(scene.files()?, expected, "{}", scene.rest);
        cleared.push(expected);
    }
    for (scene, order) in scenes.iter().zip(orders(&release, &scenes).await?) {
        ensure!(
            order == [first.as_str(), second, third],
            "{}: {order:?}",
            scene.rest
        );
    }

    if version == Version::V2026_2_17 {
        return Ok(());
    }
    for scene in &scenes {
        scene.write()?;
    }
    clear_by_openclaw(&release, &scenes, first).await?;
    for (scene, mut ours) in scenes.iter().zip(cleared) {
        let mut theirs = scene.files()?;
        for files in [&mut ours, &mut theirs] {
            // 2026.6.1 drops what it does not know.
            files.usage()[first]["kept"].take();
        }
        assert_eq!(theirs, ours, "{}", scene.rest);
    }
    Ok(())
}

/// What the release notes with each kind of rest.
fn rests(version: Version) -> Vec<Value> {
    let later = SystemClock.now().as_millis() + 3_600_000;
    let mut rests = vec![
        json!({"cooldownUntil": later, "failureCounts": {"rate_limit": 3}}),
        json!({"disabledUntil": later, "disabledReason": "billing", "failureCounts": {"billing": 3}}),
    ];
    if version > Version::V2026_2_17 {
        rests.push(
            json!({"cooldownUntil": later, "cooldownReason": "rate_limit", "cooldownModel": "m",
            "disabledUntil": later, "disabledReason": "auth_permanent"}),
        );
    }
    if version == Version::V2026_6_1 {
        rests.push(
            json!({"blockedUntil": later, "blockedReason": "subscription_limit",
            "blockedSource": "wham", "blockedModel": "m"}),
        );
    }
    rests
}

/// Three logins in the order in which they are to be used.
fn ids(version: Version) -> [String; 3] {
    ["ada", "grace", "hedy"].map(|name| format!("{}:{name}@example.com", provider(version)))
}

fn provider(version: Version) -> &'static str {
    if version >= Version::V2026_6_1 {
        "openai"
    } else {
        "openai-codex"
    }
}

/// A home of the release in which the first login rests.
struct Scene {
    home: TestHome,
    kalit: Kalit,
    version: Version,
    rest: Value,
}

/// auth-profiles.json, and auth-state.json where the release has it.
#[derive(Debug, PartialEq)]
struct Files {
    profiles: Value,
    state: Option<Value>,
}

impl Files {
    fn usage(&mut self) -> &mut Value {
        &mut self.state.as_mut().unwrap_or(&mut self.profiles)["usageStats"]
    }
}

impl Scene {
    fn new(release: &Release, rest: Value) -> Result<Self> {
        let home = TestHome::new()?;
        let scene = Self {
            kalit: Kalit::new(&home, release, &Value::Null)?,
            home,
            version: release.version,
            rest,
        };
        scene.write()?;
        Ok(scene)
    }

    fn write(&self) -> Result<()> {
        let (ids, provider) = (ids(self.version), provider(self.version));
        let mut profiles = json!({});
        for (n, id) in ids.iter().enumerate() {
            profiles[id] = json!({"type": "oauth", "provider": provider, "access": format!("fake-access-{n}"),
                "refresh": format!("fake-refresh-{n}"), "expires": SystemClock.now().as_millis() + 86_400_000});
        }
        let mut stats = json!({"lastUsed": 5, "errorCount": 3, "lastFailureAt": 6, "kept": {"n": 1}});
        for (field, value) in self.rest.as_object().into_iter().flatten() {
            stats[field] = value.clone();
        }
        let usage = json!({&ids[0]: stats, &ids[1]: {"lastUsed": 7, "errorCount": 1}});
        let mut store = json!({"version": 1, "profiles": profiles});
        let state = json!({"version": 1, "order": {provider: ids}, "usageStats": usage});
        if self.version > Version::V2026_2_17 {
            self.home.write_state("main", &state)?;
        } else {
            store["order"] = state["order"].clone();
            store["usageStats"] = state["usageStats"].clone();
        }
        self.home.write_profiles("main", &store)
    }

    /// Both files, without the ends of the logins: they depend on when they were written.
    fn files(&self) -> Result<Files> {
        let mut profiles = read_json(&self.home.profiles_path("main"))?;
        for id in ids(self.version) {
            profiles["profiles"][id]["expires"].take();
        }
        let state = self.home.state_path("main");
        Ok(Files {
            profiles,
            state: state.exists().then(|| read_json(&state)).transpose()?,
        })
    }
}

/// The order in each home, as the release resolves it.
async fn orders(release: &Release, scenes: &[Scene]) -> Result<Vec<Vec<String>>> {
    let provider = provider(release.version);
    let question = |(at, scene): (usize, &Scene)| json!({"name": at.to_string(), "stateDir": scene.home.state_dir(), "config": {}, "provider": provider});
    let questions: Vec<Value> = scenes.iter().enumerate().map(question).collect();
    let input = json!({"now": SystemClock.now().as_millis(), "cases": questions});
    let mut answer = script(release, "resolve-order.mjs", &input).await?;
    let mut order = |at: usize| Ok(serde_json::from_value(answer["orders"][at.to_string()].take())?);
    (0..scenes.len()).map(&mut order).collect()
}

async fn clear_by_openclaw(release: &Release, scenes: &[Scene], id: &str) -> Result<()> {
    let dirs: Vec<_> = scenes.iter().map(|scene| scene.home.state_dir()).collect();
    let input = json!({"stateDirs": dirs, "profileId": id});
    let answer = script(release, "clear-cooldown.mjs", &input).await?;
    ensure!(answer["cleared"] == scenes.len(), "{answer}");
    Ok(())
}

/// The last line that a script of the harness prints.
async fn script(release: &Release, name: &str, input: &Value) -> Result<Value> {
    let home = TestHome::new()?;
    let input = serde_json::to_vec(input)?;
    let output = release.node_script(&home, name, &[], Some(&input)).await?;
    ensure!(output.status.success(), "{output:?}");
    let last = output.stdout.lines().rfind(|line| !line.trim().is_empty());
    Ok(serde_json::from_str(last.context("no answer")?)?)
}
