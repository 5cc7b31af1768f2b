//! The sqlite era: databases that real releases wrote, read by Kalit and compared with what the
//! release says of them itself. Nothing of Kalit's writes there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{Release, TestHome, Version, release};
use serde_json::{Value, json};

const PROVIDER: &str = "anthropic";

#[tokio::test]
async fn kalit_shows_what_2026_6_11_stored() -> Result<()> {
    shows_the_same(Version::V2026_6_11).await
}

#[tokio::test]
async fn kalit_shows_what_2026_7_1_stored() -> Result<()> {
    shows_the_same(Version::V2026_7_1).await
}

#[tokio::test]
async fn kalit_shows_what_2026_9_6_stored() -> Result<()> {
    shows_the_same(Version::V2026_9_6).await
}

/// Tokens in main, one of the other agent's own, an order: by the release's own commands.
async fn shows_the_same(version: Version) -> Result<()> {
    let (home, release) = (TestHome::new()?, release(version).await?);
    let agents = match version {
        Version::V2026_9_6 => json!({"ownership": "explicit", "entries": {"main": {}, "work": {}}}),
        _ => json!({"list": [{"id": "main"}, {"id": "work"}]}),
    };
    let mut config = json!({"agents": agents});
    // Another model would make 2026.9.6 install a plugin.
    config["agents"]["defaults"] = json!({"model": {"primary": "anthropic/claude-opus-4-6"}});
    home.write_config(&config)?;
    for (agent, id) in [
        ("main", "anthropic:one"),
        ("main", "anthropic:two"),
        ("work", "anthropic:own"),
    ] {
        let token = format!("sk-ant-oat01-{}\n", id.replace(':', "-").repeat(8));
        let args = ["paste-token", "--provider", PROVIDER, "--profile-id", id];
        openclaw(&release, &home, agent, &args, Some(token.as_bytes())).await?;
    }
    let order = [
        "order",
        "set",
        "--provider",
        PROVIDER,
        "anthropic:two",
        "anthropic:one",
    ];
    openclaw(&release, &home, "main", &order, None).await?;

    let before = databases(&home.state_dir())?;
    let kalit = Kalit::new(&home, &release, &json!({}))?;
    #[cfg(target_os = "linux")]
    let kalit = kalit.traced()?;
    let get = ["order", "get", "--provider", PROVIDER, "--json"];
    let mut ours = Vec::new();
    for agent in ["main", "work"] {
        let list = kalit.run(&["list", "--json", "--agent", agent]).await?;
        assert_eq!(list.code, 0, "{list:?}");
        let order = kalit.run(&[&get[..], &["--agent", agent]].concat()).await?;
        ours.push((agent, list.json()?, order.json()?));
    }
    // Not a byte was written, and no file was left behind.
    assert_eq!(databases(&home.state_dir())?, before);

    for (agent, list, order) in ours {
        let theirs = openclaw(&release, &home, agent, &["list", "--json"], None).await?;
        assert_eq!(profiles(&list)?, profiles(&theirs)?, "{agent}");
        // An agent's own profiles stand before what it inherits, in an inherited order too; with
        // the shared store main's order is main's alone, and the config's list counts.
        let expected = match (agent, version) {
            ("main", _) => json!(["anthropic:two", "anthropic:one"]),
            (_, Version::V2026_9_6) => json!(["anthropic:one", "anthropic:two", "anthropic:own"]),
            _ => json!(["anthropic:own", "anthropic:two", "anthropic:one"]),
        };
        assert_eq!(order["kalit"]["candidates"], expected, "{agent}");
    }
    let theirs = openclaw(&release, &home, "main", &get, None).await?;
    let order = kalit.run(&[&get[..], &["--agent", "main"]].concat()).await?;
    assert_eq!(order.json()?["order"], theirs["order"]);
    let status = kalit.run(&["status", "--json", "--check"]).await?;
    assert_eq!(status.code, 0, "{status:?}");
    let status = status.json()?;
    assert_eq!(status["kalit"]["installation"]["era"], "sqlite");
    assert_eq!(
        status["kalit"]["installation"]["openclawVersion"],
        version.as_str()
    );
    #[cfg(target_os = "linux")]
    assert_eq!(kalit.databases_written().await?.own, []);
    Ok(())
}

/// `openclaw models auth --agent <agent> <args>`; with `--json` its answer.
async fn openclaw(
    release: &Release,
    home: &TestHome,
    agent: &str,
    args: &[&str],
    stdin: Option<&[u8]>,
) -> Result<Value> {
    let all = [&["models", "auth", "--agent", agent][..], args].concat();
    let output = release.run(home, &all, stdin).await?;
    ensure!(output.status.success(), "{args:?}: {output:?}");
    if args.contains(&"--json") {
        output.json()
    } else {
        Ok(Value::Null)
    }
}

/// Id to provider and type.
fn profiles(answer: &Value) -> Result<BTreeMap<String, (String, String)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let profiles = answer["profiles"].as_array().context("no profiles")?;
    let entry = |profile: &Value| {
        Ok((
            text(&profile["id"])?,
            (text(&profile["provider"])?, text(&profile["type"])?),
        ))
    };
    profiles.iter().map(entry).collect()
}

/// Every file of a credential database with its content.
fn databases(state_dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let agents = ["main", "work"].map(|agent| state_dir.join("agents").join(agent).join("agent"));
    for dir in agents.into_iter().chain([state_dir.join("state")]) {
        let Ok(listing) = fs::read_dir(&dir) else { continue };
        for entry in listing {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("openclaw-agent.sqlite") || name.starts_with("openclaw.sqlite") {
                found.insert(entry.path(), fs::read(entry.path())?);
            }
        }
    }
    Ok(found)
}
