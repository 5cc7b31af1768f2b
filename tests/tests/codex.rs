//! The real Codex CLI and OpenClaw with one login: seen before it clashes, named after, and ended by a
//! login of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_journeys::authserver::{ACCOUNTS, AuthorizationServer, Options};
use kalit_journeys::codex::Codex;
#[cfg(target_os = "linux")]
use kalit_journeys::desktop::{DesktopSession, Part};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::{Kalit, expired_login};
use kalit_journeys::openclaw::{TestHome, Version, finish, read_json, release};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint, access_token, last_page};
use serde_json::{Value, json};

const PROFILE: &str = "openai:ada@example.com";
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_login_that_codex_and_openclaw_share_is_seen_before_named_after_and_parted_by_one_of_its_own()
-> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_6_1).await?;
    let home = TestHome::new()?;
    let login = Login::named("ada", "test-refresh-0");
    let store = json!({"version": 1, "profiles": {PROFILE: expired_login(&login, "openai")}});
    home.write_profiles("main", &store)?;
    home.write_state("main", &json!({"version": 1, "lastGood": {"openai": PROFILE}}))?;
    let endpoint = TokenEndpoint::start(login.clone(), Duration::from_secs(3600)).await?;
    let codex = Codex::new(home.path(), &endpoint.url())?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[free_port()?]))?
        .with_var("CODEX_HOME", codex.home().to_string_lossy());
    let mut watching = kalit.watch().await?;

    // Before: Codex gets a copy of the login. Seen while it is watched, told by the radar.
    let gone = access_token(&login, Duration::ZERO, 0);
    let copied = Instant::now();
    codex.is_given(&gone, "test-refresh-0", &login.account_id)?;
    let shared = watching.event("shared", SOON).await?;
    let seen_after = copied.elapsed();
    assert_eq!(
        (&shared["cause"], &shared["profileId"]),
        (&json!("codex-cli"), &json!(PROFILE))
    );
    let before = radar(&kalit, 1).await?;
    assert_eq!(
        (&before["kind"], &before["severity"]),
        (&json!("shared"), &json!("clash"))
    );
    let sign_out = before["signOut"].as_str().context("nothing of signing out")?;
    assert!(sign_out.contains("codex logout"), "{sign_out}");
    assert_eq!(endpoint.requests().len(), 0, "the radar asks nobody");

    // Codex renews it for itself: the copy that OpenClaw has is spent, and Kalit does not send it.
    let status = codex.looks_at_its_login().await?;
    assert_eq!(status["authMethod"], "chatgpt", "{status}");
    assert_eq!(codex.refresh_token(), endpoint.current_refresh(&login.account_id));
    let renewed = watching.event("renewed-elsewhere", SOON).await?;
    assert_eq!(renewed["cause"], "codex-cli");
    let after = radar(&kalit, 1).await?;
    assert_eq!(
        (&after["kind"], &after["severity"]),
        (&json!("older"), &json!("clash"))
    );
    let account = kalit.account("main", PROFILE).await?;
    assert_eq!(
        (&account["state"], &account["sharedWith"]),
        (&json!("shared"), &json!(["Codex CLI"]))
    );
    let asked = endpoint.token_requests().len();
    let refused = kalit.run(&["refresh", PROFILE, "--json"]).await?;
    assert_ne!(refused.code, 0, "{refused:?}");
    assert_eq!((endpoint.token_requests().len(), endpoint.reuses()), (asked, 0));

    // OpenClaw sends it all the same, as it does: the provider ends the login for both.
    let mut command = release.command(&home, &release.package_dir.join("openclaw.mjs"));
    command
        .args(["status", "--usage", "--json"])
        .envs(endpoint.node_env());
    finish(command, None).await?;
    assert!(endpoint.reuses() > 0 && !endpoint.is_live(&login.account_id));
    let lost = watching.event("openclaw-refused", SOON).await?;
    assert_eq!(lost["profileId"], PROFILE);

    let why = why(&kalit, PROFILE).await?;
    assert_eq!(
        (&why["cause"], &why["confidence"]),
        (&json!("other-program"), &json!("likely"))
    );
    let sentence = why["sentence"].as_str().context("no sentence")?;
    assert!(
        sentence.starts_with("Codex CLI used the same login "),
        "{sentence}"
    );

    // A login of its own ends it.
    drop(watching);
    endpoint.add_login(Login::named("ada", "test-refresh-own"));
    let consent = async |url: &str| last_page(url, &login.account_id);
    kalit
        .signs_in(&["login", "openai", "--profile-id", PROFILE], consent)
        .await?;
    let account = kalit.account("main", PROFILE).await?;
    assert_eq!(
        (&account["state"], &account["sharedWith"]),
        (&json!("healthy"), &json!([]))
    );
    let found = kalit.run(&["radar", "--check", "--json"]).await?;
    assert_eq!(found.code, 0, "{found:?}");
    let store = read_json(&home.profiles_path("main"))?;
    assert_eq!(
        store["profiles"][PROFILE]["refresh"],
        json!(endpoint.current_refresh(&login.account_id))
    );
    println!(
        "codex and openclaw: {:.1} s, seen after {seen_after:?}",
        started.elapsed().as_secs_f32()
    );
    Ok(())
}

#[tokio::test]
async fn codex_logout_ends_the_login_that_it_shares_and_is_named_for_it() -> Result<()> {
    let started = Instant::now();
    let release = release(Version::V2026_6_1).await?;
    let home = TestHome::new()?;
    let server = AuthorizationServer::start(Options::default()).await?;
    let codex = Codex::new(home.path(), &server.url())?;
    let kalit = Kalit::new(&home, &release, &server.manifest(&[free_port()?]))?
        .with_var("CODEX_HOME", codex.home().to_string_lossy());
    home.write_profiles("main", &json!({"version": 1, "profiles": {}}))?;
    let consent = async |url: &str| server.consent(url, "allow").await;
    let profile = format!("openai:{}", ACCOUNTS[0].email);
    kalit.signs_in(&["login", "openai"], consent).await?;
    let stored =
        || -> Result<Value> { Ok(read_json(&home.profiles_path("main"))?["profiles"][&profile].clone()) };
    let text = |value: &Value, name: &str| -> Result<String> {
        Ok(value[name]
            .as_str()
            .with_context(|| format!("no {name}"))?
            .to_owned())
    };
    let login = stored()?;
    codex.is_given(
        &text(&login, "access")?,
        &text(&login, "refresh")?,
        &text(&login, "accountId")?,
    )?;
    let mut watching = kalit.watch().await?;
    watching.event("shared", SOON).await?;

    codex.logs_out().await?;
    let gone = watching.event("renewed-elsewhere", SOON).await?;
    assert_eq!(gone["cause"], "codex-cli:gone");
    // The engine's next renewal, or this one, is refused.
    let refreshed = kalit.run(&["refresh", &profile, "--json"]).await?;
    assert_ne!(refreshed.code, 0, "{refreshed:?}");
    let account = kalit.account("main", &profile).await?;
    assert_eq!(account["state"], "signed-out", "{account}");

    let why = why(&kalit, &profile).await?;
    assert_eq!(
        (&why["cause"], &why["signedOut"]),
        (&json!("ended-by-other-program"), &json!(true))
    );
    let sentence = why["sentence"].as_str().context("no sentence")?;
    assert!(
        sentence.starts_with("Codex CLI most likely ended this login"),
        "{sentence}"
    );
    let told = account["lost"]["text"].as_str().context("no text")?;
    assert!(told.starts_with("Codex CLI most likely ended"), "{told}");

    // Signed in again, each on its own: both renew.
    drop(watching);
    let again = ["login", "openai", "--profile-id", &profile];
    kalit.signs_in(&again, consent).await?;
    let own = stored()?;
    assert_ne!(own["refresh"], login["refresh"]);
    let second = TestHome::new()?;
    let elsewhere = Kalit::new(&second, &release, &server.manifest(&[free_port()?]))?;
    second.write_profiles("main", &json!({"version": 1, "profiles": {}}))?;
    elsewhere.signs_in(&["login", "openai"], consent).await?;
    let another = read_json(&second.profiles_path("main"))?["profiles"][&profile].clone();
    let over = access_token(&Login::named("ada", ""), Duration::ZERO, 0);
    codex.is_given(&over, &text(&another, "refresh")?, &text(&another, "accountId")?)?;
    let refreshed = kalit.run(&["refresh", &profile, "--json"]).await?;
    ensure!(refreshed.code == 0, "{refreshed:?}");
    codex.looks_at_its_login().await?;
    assert_ne!(codex.refresh_token(), Some(text(&another, "refresh")?));
    let refreshed = kalit.run(&["refresh", &profile, "--json"]).await?;
    ensure!(refreshed.code == 0, "{refreshed:?}");
    let found = kalit.run(&["radar", "--check", "--json"]).await?;
    assert_eq!(found.code, 0, "{found:?}");
    assert_eq!(found.json()?["findings"][0]["kind"], "same-account", "{found:?}");
    println!("codex logout: {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

async fn why(kalit: &Kalit, profile: &str) -> Result<Value> {
    let told = kalit.run(&["why", profile, "--json"]).await?;
    ensure!(told.code == 0, "{told:?}");
    told.json()
}

/// Its keychain is looked into when a person asks for that, and at no other time.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_login_that_codex_keeps_in_the_keychain_is_found_on_request() -> Result<()> {
    let session = DesktopSession::start(&[Part::Keyring]).await?;
    let bus = session.bus_address()?;
    let release = release(Version::V2026_6_1).await?;
    let home = TestHome::new()?;
    let login = Login::named("ada", "test-refresh-0");
    let endpoint = TokenEndpoint::start(login.clone(), Duration::from_secs(3600)).await?;
    let mut codex = Codex::new(home.path(), &endpoint.url())?;
    codex.keeps_in_keychain(bus)?;
    let gone = access_token(&login, Duration::ZERO, 0);
    codex.is_given(&gone, "test-refresh-0", &login.account_id)?;
    codex.looks_at_its_login().await?;
    assert_eq!(codex.refresh_token(), None, "its file is gone");
    // A copy of it comes to OpenClaw.
    let current = endpoint.current_refresh(&login.account_id).context("no login")?;
    let stored = expired_login(
        &Login {
            refresh: current,
            ..login
        },
        "openai",
    );
    home.write_profiles("main", &json!({"version": 1, "profiles": {PROFILE: stored}}))?;
    let kalit = Kalit::new(&home, &release, &endpoint.manifest(&[free_port()?]))?
        .with_var("CODEX_HOME", codex.home().to_string_lossy())
        .with_var("DBUS_SESSION_BUS_ADDRESS", bus);

    let unasked = kalit.run(&["radar", "--json"]).await?.json()?;
    assert_eq!(
        (&unasked["findings"], &unasked["unseen"]),
        (&json!([]), &json!(["Codex CLI"]))
    );
    let asked = kalit.run(&["radar", "--keychain", "--json"]).await?.json()?;
    let found = &asked["findings"][0];
    assert_eq!((&found["kind"], &asked["unseen"]), (&json!("shared"), &json!([])));
    assert_eq!(found["places"][1]["path"], "keychain:Codex Auth");
    let ways = found["ways"].as_array().context("no ways")?;
    assert!(
        ways.iter().all(|way| way["code"] == "own-login"),
        "no file to delete: {found}"
    );
    Ok(())
}

/// The worst that `kalit radar --check` finds, which ends with `code`.
async fn radar(kalit: &Kalit, code: i32) -> Result<Value> {
    let found = kalit.run(&["radar", "--check", "--json"]).await?;
    ensure!(found.code == code, "{found:?}");
    Ok(found.json()?["findings"][0].clone())
}
