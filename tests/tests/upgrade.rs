//! OpenClaw is upgraded from 2026.6.1 to 2026.9.6 while Kalit runs: from JSON to SQLite.

use std::time::Duration;

use anyhow::{Context, Result};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::authserver::manifest;
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, release};
use kalit_journeys::token_endpoint::{Login, access_token};
use kalit_journeys::wait::until;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const HOUR_MS: i64 = 3_600_000;
const OLD_ID: &str = "openai-codex:ada@example.com";
const NEW_ID: &str = "openai:ada@example.com";

/// A login as 2026.5.28 and earlier keep it, and a token.
fn store(ends_in_ms: i64) -> Value {
    let login = Login::named("ada", "test-refresh-0");
    let expires = SystemClock.now().as_millis() + ends_in_ms;
    json!({"version": 1, "profiles": {
        OLD_ID: {"type": "oauth", "provider": "openai-codex", "access": access_token(&login, Duration::from_secs(86_400 * 30), 0),
            "refresh": login.refresh, "expires": expires, "accountId": login.account_id, "email": login.email},
        "anthropic:team": {"type": "token", "provider": "anthropic", "token": format!("sk-ant-oat01-{}", "fake".repeat(20))},
    }})
}

/// A manifest whose token endpoint is not there.
fn nowhere() -> Result<Value> {
    Ok(manifest(
        &format!("http://127.0.0.1:{}", free_port()?),
        &[free_port()?],
    ))
}

/// Another model would make 2026.9.6 install a plugin.
fn config() -> Value {
    json!({"agents": {"defaults": {"model": {"primary": "anthropic/claude-opus-4-6"}}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_is_followed_by_a_running_watch_and_nothing_is_called_lost() -> Result<()> {
    let home = TestHome::new()?;
    let (old, new) = (
        release(Version::V2026_6_1).await?,
        release(Version::V2026_9_6).await?,
    );
    home.write_config(&config())?;
    home.write_profiles("main", &store(30 * 24 * HOUR_MS))?;
    let kalit = Kalit::new(&home, &old, &nowhere()?)?;
    let mut watching = kalit.watch().await?;
    assert_eq!(era(&kalit).await?, "json");

    // The package is replaced: nothing has been moved yet.
    kalit.finds(&new)?;
    assert_eq!(era(&kalit).await?, "mixed");
    let diagnosis = kalit.run(&["doctor", "--json"]).await?.json()?;
    let migration = &diagnosis["migration"];
    let file = home.profiles_path("main").display().to_string();
    assert_eq!(migration["blocks"], true, "{diagnosis:#}");
    assert_eq!(
        migration["files"],
        json!([format!(
            "{file} holds accounts, to be imported: {OLD_ID}, anthropic:team"
        )])
    );
    assert_eq!(
        (&migration["sealed"], &migration["warnings"]),
        (&json!(true), &json!([]))
    );
    let command = migration["command"].as_str().context("no command")?;
    assert!(command.ends_with(" openclaw doctor --fix"), "{command}");
    assert!(!diagnosis.to_string().contains("sk-ant-") && !diagnosis.to_string().contains("test-refresh"));
    // OpenClaw says the same.
    let list = ["models", "auth", "list", "--json", "--agent", "main"];
    let refused = new.run(&home, &list, None).await?;
    assert!(!refused.status.success(), "{refused:?}");
    assert!(
        (refused.stdout + &refused.stderr).contains("openclaw doctor --fix"),
        "another refusal than the one that Kalit explains"
    );

    let fixed = new
        .run(&home, &["doctor", "--fix", "--non-interactive"], None)
        .await?;
    assert!(fixed.status.success(), "{fixed:?}");
    let account = until("the new era", SOON, async || {
        kalit.account("main", NEW_ID).await.ok()
    })
    .await?;
    assert_eq!(era(&kalit).await?, "sqlite");
    assert_eq!(
        (&account["state"], &account["lost"]),
        (&json!("healthy"), &Value::Null)
    );
    assert!(kalit.account("main", OLD_ID).await.is_err());
    let theirs = new.run(&home, &list, None).await?.json()?;
    let ids = theirs["profiles"].as_array().context("no profiles")?;
    let ids: Vec<_> = ids.iter().filter_map(|profile| profile["id"].as_str()).collect();
    assert!(
        ids.contains(&NEW_ID) && ids.contains(&"anthropic:team"),
        "{theirs}"
    );
    assert_eq!(
        kalit.run(&["doctor", "--json"]).await?.json()?["migration"],
        Value::Null
    );

    // Kalit is asked for what it did in the old era, and a profile is called gone a second after it
    // went: there has been time for both.
    let refused = kalit.run(&["refresh", NEW_ID, "--json"]).await?;
    assert_eq!(refused.error_code()?, "era.sqlite", "{refused:?}");
    tokio::time::timeout(Duration::from_secs(4), watching.event("vanished", SOON))
        .await
        .expect_err("the renamed login was called vanished");
    let kinds = watching.kinds();
    for told in [
        "vanished",
        "signed-out",
        "dropped",
        "openclaw-refused",
        "not-renewed",
    ] {
        assert!(
            !kinds.iter().any(|kind| kind == told),
            "{told}: {:?}",
            watching.events()
        );
    }
    // Nothing of Kalit's has made a file of the old era again.
    for name in ["auth-profiles.json", "auth-state.json", "auth-profiles.json.lock"] {
        assert!(!home.agent_dir("main").join(name).exists(), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_doctor_could_lose_is_told_first_and_sealed() -> Result<()> {
    let home = TestHome::new()?;
    let new = release(Version::V2026_9_6).await?;
    home.write_config(&config())?;
    home.write_profiles("main", &store(3 * HOUR_MS))?;
    std::fs::create_dir_all(home.state_dir().join("credentials"))?;
    std::fs::write(home.state_dir().join("credentials/oauth.json"), "{}\n")?;
    std::fs::create_dir_all(home.agent_dir("work"))?;
    std::fs::write(home.profiles_path("work"), r#"{"version":1,"profiles":{"x""#)?;
    let kalit = Kalit::new(&home, &new, &nowhere()?)?;
    let diagnosis = kalit.run(&["doctor", "--json"]).await?.json()?;
    let migration = &diagnosis["migration"];
    let texts = |name: &str| -> Vec<String> {
        let values = migration[name].as_array().cloned().unwrap_or_default();
        values
            .iter()
            .filter_map(|value| Some(value.as_str()?.to_owned()))
            .collect()
    };
    let (files, warnings) = (texts("files"), texts("warnings"));
    // What does not parse cannot be sealed.
    assert_eq!(migration["sealed"], false, "{migration:#}");
    assert!(
        files
            .iter()
            .any(|text| text.ends_with("oauth.json holds nothing and is in the way all the same"))
    );
    assert!(
        files.iter().any(|text| text.ends_with("does not parse")),
        "{files:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("within 24 hours") && text.contains(OLD_ID)),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|text| text.contains("repair it first")),
        "{warnings:?}"
    );
    // Nobody answers for its token host: as good as offline.
    assert!(warnings[0].contains("do not run it now"), "{warnings:?}");

    let told = kalit.run(&["doctor"]).await?;
    let (mind, then) = (told.stdout.find("Mind: "), told.stdout.find("Then run: "));
    assert!(mind.is_some() && mind < then, "{}", told.stdout);
    Ok(())
}

async fn era(kalit: &Kalit) -> Result<String> {
    let status = kalit.run(&["status", "--json"]).await?.json()?;
    let era = status["kalit"]["installation"]["era"].as_str();
    Ok(era.context("no era")?.to_owned())
}
