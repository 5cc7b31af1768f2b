//! Undo: a store that another program corrupted or emptied is noticed within a second, offered, and
//! put back from a sealed snapshot with nothing lost; a login that is known to be spent is not.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::kalit::{Kalit, Ran, Watching, expired_login};
use kalit_journeys::openclaw::{Release, TestHome, Version, finish, read_json, release, write_json};
use kalit_journeys::proof::{self, Figures};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint, access_token};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};

const ADA: &str = "openai:ada@example.com";
const ONE: &str = "anthropic:one";
const NEW: &str = "anthropic:new";
const SOON: Duration = Duration::from_secs(10);
const OPENCLAW: Duration = Duration::from_secs(120);
/// Nobody writes without end.
const BETWEEN_WRITES: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const TEN_DAYS: Duration = Duration::from_secs(10 * 86_400);

/// How a file is broken.
type Break = fn(&str) -> String;

/// From what people do to what crashes leave.
const CORRUPTIONS: [(&str, Break); 6] = [
    ("a trailing comma", |text| {
        text.trim_end()
            .strip_suffix('}')
            .map_or_else(String::new, |text| format!("{},\n}}\n", text.trim_end()))
    }),
    ("a comment", |text| format!("// mine\n{text}")),
    ("half of it", |text| text[..text.len() / 2].to_owned()),
    ("nothing", |_| String::new()),
    ("zeros", |text| "\0".repeat(text.len())),
    ("another shape", |text| format!("[{text}]")),
];

#[tokio::test]
async fn what_openclaw_destroys_after_a_corruption_comes_back() -> Result<()> {
    let versions: &[Version] = if proof::is_long() {
        &[Version::V2026_2_17, Version::V2026_4_29, Version::V2026_6_1]
    } else {
        &[Version::V2026_2_17, Version::V2026_4_29]
    };
    let corruptions = proof::times(1, CORRUPTIONS.len());
    let (mut unreadable, mut vanished) = (Vec::new(), Vec::new());
    for version in versions {
        let release = release(*version).await?;
        for (what, damage) in &CORRUPTIONS[..corruptions] {
            let times = survived(&release, *damage)
                .await
                .with_context(|| format!("{what}, {}", version.as_str()))?;
            unreadable.push(times.0);
            vanished.push(times.1);
        }
    }
    let mut figures = Figures::new("undo");
    figures
        .row(
            "corruptions by another program, then a write of OpenClaw's",
            unreadable.len(),
        )
        .row("survived with every profile", vanished.len())
        .row("until \"cannot be read\" was told, p50", median(&mut unreadable))
        .row("until \"disappeared\" was told, p50", median(&mut vanished));
    figures.tell()
}

/// One corruption from the file to the restored store; how long each was not told.
async fn survived(release: &Release, damage: Break) -> Result<(Duration, Duration)> {
    let scene = Scene::new(release, TEN_DAYS).await?;
    let before = scene.store()?["profiles"].clone();
    let watching = scene.watch().await?;
    let text = fs::read_to_string(scene.path())?;
    let broken = damage(&text);
    let told = watching.events().len();
    let changed = Instant::now();
    fs::write(scene.path(), &broken)?;
    let event = next(&watching, told, "store-unreadable").await?;
    let unreadable = changed.elapsed();
    ensure!(event["snapshot"].is_string(), "nothing is offered: {event}");
    let shown = scene.agent().await?;
    ensure!(shown["restore"]["offered"] == true, "{shown:#}");
    ensure!(shown["unreadableSince"].is_number(), "{shown:#}");

    // OpenClaw takes the broken file for an empty store and writes a new one over it.
    let told = watching.events().len();
    let openclaw = tokio::spawn(scene.pasting(release));
    let changed = until_some("OpenClaw's write", OPENCLAW, || {
        let store = scene.store().ok()?;
        store["profiles"][NEW].is_object().then(Instant::now)
    })
    .await?;
    ensure!(
        scene.store()?["profiles"]
            .as_object()
            .is_some_and(|all| all.len() == 1),
        "this release does not destroy the others any more"
    );
    let event = next(&watching, told, "vanished").await?;
    let vanished = changed.elapsed();
    ensure!(openclaw.await??.status.success(), "OpenClaw failed");
    until_some("both to be told", SOON, || {
        (watching.kinds().iter().filter(|kind| *kind == "vanished").count() == 2).then_some(())
    })
    .await?;
    let snapshot = event["snapshot"].as_str().context("nothing is offered")?;
    let shown = scene.kalit.account("main", ADA).await?;
    ensure!(shown["restore"]["snapshot"] == snapshot, "{shown:#}");

    let asked = scene
        .kalit
        .run(&["snapshots", "restore", snapshot, "--json"])
        .await?;
    ensure!(asked.code == 64, "restored without a person's consent: {asked:?}");
    ensure!(asked.json()?["preview"]["offered"] == true, "{asked:?}");
    ensure!(scene.store()?["profiles"][ADA].is_null(), "changed by a preview");
    let done = scene
        .kalit
        .run(&["snapshots", "restore", snapshot, "--yes", "--json"])
        .await?;
    ensure!(done.code == 0, "{done:?}");
    no_secret(&[&asked, &done])?;
    let after = scene.store()?["profiles"].clone();
    for id in [ADA, ONE] {
        ensure!(after[id] == before[id], "{id} is not as it was");
    }
    ensure!(after[NEW].is_object(), "what was pasted is gone");
    let orders = scene.orders(release).await?;
    ensure!(orders["openai"] == json!([ADA]), "OpenClaw resolves {orders}");
    let mut anthropic: Vec<&str> = orders["anthropic"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    anthropic.sort_unstable();
    ensure!(anthropic == [NEW, ONE], "OpenClaw resolves {orders}");
    ensure!(scene.endpoint.token_requests().is_empty(), "something was sent");
    Ok((unreadable, vanished))
}

#[tokio::test]
async fn a_broken_file_is_replaced_on_consent_and_its_bytes_are_kept() -> Result<()> {
    let release = release(Version::V2026_4_29).await?;
    for (what, damage) in CORRUPTIONS {
        let scene = Scene::new(&release, TEN_DAYS).await?;
        let before = scene.store()?["profiles"].clone();
        let watching = scene.watch().await?;
        let broken = damage(&fs::read_to_string(scene.path())?);
        let told = watching.events().len();
        fs::write(scene.path(), &broken)?;
        let event = next(&watching, told, "store-unreadable").await?;
        let id = event["snapshot"].as_str().context("nothing is offered")?;
        let alone = ["snapshots", "restore", id, "--profile-id", ADA, "--yes", "--json"];
        let refused = scene.kalit.run(&alone).await?;
        ensure!(refused.error_code()? == "store.unparsable", "{what}: {refused:?}");
        ensure!(fs::read_to_string(scene.path())? == broken, "{what}: changed");
        let done = scene
            .kalit
            .run(&["snapshots", "restore", id, "--agent", "main", "--yes", "--json"])
            .await?;
        // What JSON5 still reads stands there already: then nothing but the file is mended.
        ensure!(done.code == 0, "{what}: {done:?}");
        ensure!(scene.store()?["profiles"] == before, "{what}: not as it was");
        let kept = scene.sealed_texts()?;
        ensure!(kept.contains(&broken), "{what}: the broken bytes are not kept");
    }
    Ok(())
}

#[tokio::test]
async fn a_loss_is_noticed_within_a_second_and_a_slow_write_is_none() -> Result<()> {
    let release = release(Version::V2026_2_17).await?;
    let scene = Scene::new(&release, TEN_DAYS).await?;
    let good = fs::read_to_string(scene.path())?;
    let mut fewer = scene.store()?;
    fewer["profiles"]
        .as_object_mut()
        .context("no profiles")?
        .remove(ONE);
    let fewer = serde_json::to_string(&fewer)?;
    let watching = scene.watch().await?;
    let tries = proof::times(5, 50);
    let (mut unreadable, mut vanished) = (Vec::new(), Vec::new());
    for _ in 0..tries {
        for (text, lost, back, times) in [
            (
                "{\"version\":1,",
                "store-unreadable",
                "store-readable",
                &mut unreadable,
            ),
            (fewer.as_str(), "vanished", "added", &mut vanished),
        ] {
            let told = watching.events().len();
            let changed = Instant::now();
            fs::write(scene.path(), text)?;
            next(&watching, told, lost).await?;
            times.push(changed.elapsed());
            let told = watching.events().len();
            fs::write(scene.path(), &good)?;
            next(&watching, told, back).await?;
        }
    }

    // 2026.2.17 truncates the file and then fills it; here with a pause between.
    let told = watching.events().len();
    let writes = proof::times(10, 100);
    for number in 0..writes {
        fs::write(scene.path(), "")?;
        let pause = Duration::from_millis(number as u64 * 20 % 200);
        tokio::time::sleep(pause).await;
        fs::write(scene.path(), &good)?;
        tokio::time::sleep(BETWEEN_WRITES).await;
    }
    let mut more = scene.store()?;
    more["profiles"][NEW] = json!({"type": "token", "provider": "anthropic", "token": "fake-new"});
    fs::write(scene.path(), serde_json::to_string(&more)?)?;
    next(&watching, told, "added").await?;
    let alarms = alarms(&watching, told);
    // A file that stays empty is told: the check can fail.
    let told = watching.events().len();
    fs::write(scene.path(), "")?;
    next(&watching, told, "store-unreadable").await?;

    let mut figures = Figures::new("undo-notice");
    figures.row("tries of each", tries);
    for (what, times) in [("unreadable", &mut unreadable), ("disappeared", &mut vanished)] {
        figures
            .row(format!("{what}: from the file to the event, p50"), median(times))
            .row(format!("{what}: p100"), slowest(times));
    }
    figures
        .row("slow writes in place", writes)
        .row("false alarms among them", alarms);
    figures.tell()?;
    ensure!(alarms == 0, "{:?}", watching.kinds());
    for times in [&unreadable, &vanished] {
        // The machine may do other things at the same time: the slowest is told above.
        let judged = if proof::is_long() {
            times.get(times.len() * 9 / 10)
        } else {
            times.get(times.len() / 2)
        };
        ensure!(judged.is_some_and(|time| *time < SECOND), "{times:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_spent_login_is_not_brought_back_its_newest_one_is() -> Result<()> {
    let release = release(Version::V2026_6_1).await?;
    let scene = Scene::new(&release, Duration::ZERO).await?;
    scene.watch_only()?;
    let watching = scene.watch().await?;
    let first = scene.snapshots().await?[0]["id"]
        .as_str()
        .context("no snapshot")?
        .to_owned();
    let renewed = scene.kalit.run(&["refresh", ADA, "--json"]).await?;
    ensure!(renewed.code == 0, "{renewed:?}");
    let newest = scene.endpoint.current_refresh("acct-ada").context("no login")?;
    ensure!(newest != "test-refresh-0", "nothing was rotated");
    let told = watching.events().len();
    fs::write(scene.path(), "garbage")?;
    next(&watching, told, "store-unreadable").await?;
    drop(watching);
    let shown = scene.kalit.run(&["snapshots", "show", &first, "--json"]).await?;
    let profiles = &shown.json()?["stores"][0]["profiles"];
    ensure!(profiles[0]["verdict"] == "newest-instead", "{shown:?}");
    let whole = ["snapshots", "restore", &first, "--yes", "--json"];
    let done = scene.kalit.run(&whole).await?;
    ensure!(done.code == 0, "{done:?}");
    ensure!(
        scene.store()?["profiles"][ADA]["refresh"] == newest,
        "a spent login came back"
    );
    let again = scene.kalit.run(&["refresh", ADA, "--json"]).await?;
    ensure!(again.code == 0 && scene.endpoint.reuses() == 0, "{again:?}");

    // Nobody has the newest one any more: the first snapshot is all there is.
    write_json(&scene.path(), &json!({"version": 1, "profiles": {}}))?;
    scene.forget_all_but(&first)?;
    let alone = [
        "snapshots",
        "restore",
        &first,
        "--profile-id",
        ADA,
        "--yes",
        "--json",
    ];
    let refused = scene.kalit.run(&alone).await?;
    ensure!(
        (refused.code, refused.error_code()?.as_str()) == (69, "snapshot.superseded"),
        "{refused:?}"
    );
    let done = scene.kalit.run(&whole).await?;
    ensure!(done.code == 0, "{done:?}");
    let store = scene.store()?;
    ensure!(
        store["profiles"][ADA].is_null() && store["profiles"][ONE].is_object(),
        "the spent login came back, or the other did not"
    );
    no_secret(&[&shown, &refused, &done])
}

#[tokio::test]
async fn without_the_key_the_list_is_told_and_nothing_is_opened() -> Result<()> {
    let release = release(Version::V2026_4_29).await?;
    let scene = Scene::new(&release, TEN_DAYS).await?;
    let watching = scene.watch().await?;
    drop(watching);
    let key = scene.home.path().join("kalit/data/key/seal.key");
    let away = key.with_extension("away");
    fs::rename(&key, &away)?;
    write_json(&scene.path(), &json!({"version": 1, "profiles": {}}))?;
    let list = scene.snapshots().await?;
    ensure!(list[0]["missing"] == 2, "{list}");
    let id = list[0]["id"].as_str().context("no id")?;
    for args in [
        &["snapshots", "show", id, "--json"][..],
        &["snapshots", "restore", id, "--yes", "--json"],
    ] {
        let refused = scene.kalit.run(args).await?;
        ensure!(
            (refused.code, refused.error_code()?.as_str()) == (69, "keychain.unavailable"),
            "{refused:?}"
        );
    }
    ensure!(scene.store()?["profiles"] == json!({}), "something was written");
    fs::rename(&away, &key)?;
    let done = scene
        .kalit
        .run(&["snapshots", "restore", id, "--yes", "--json"])
        .await?;
    ensure!(done.code == 0, "{done:?}");
    ensure!(scene.store()?["profiles"][ADA].is_object(), "nothing came back");
    let nowhere = scene.kalit.run(&["snapshots", "show", "none", "--json"]).await?;
    ensure!(nowhere.error_code()? == "snapshot.unknown", "{nowhere:?}");
    Ok(())
}

/// A home with a login and a token in main's store, and Kalit beside it.
struct Scene {
    home: TestHome,
    endpoint: TokenEndpoint,
    kalit: Kalit,
}

impl Scene {
    /// `left`: how long the login lasts; zero: it has ended.
    async fn new(release: &Release, left: Duration) -> Result<Self> {
        let home = TestHome::new()?;
        let login = Login::named("ada", "test-refresh-0");
        let mut ada = expired_login(&login, "openai");
        if !left.is_zero() {
            ada["access"] = json!(access_token(&login, left, 0));
            ada["expires"] = json!(SystemClock.now().as_millis() + i64::try_from(left.as_millis())?);
        }
        let one = json!({"type": "token", "provider": "anthropic", "token": format!("sk-ant-oat01-{}", "o".repeat(80))});
        home.write_profiles("main", &json!({"version": 1, "profiles": {ADA: ada, ONE: one}}))?;
        let endpoint = TokenEndpoint::start(login, Duration::from_secs(3600)).await?;
        let kalit = Kalit::new(&home, release, &endpoint.manifest(&[1455]))?;
        Ok(Self {
            home,
            endpoint,
            kalit,
        })
    }

    fn path(&self) -> PathBuf {
        self.home.profiles_path("main")
    }

    fn store(&self) -> Result<Value> {
        read_json(&self.path())
    }

    fn watch_only(&self) -> Result<()> {
        let settings = self.home.path().join("kalit/config/settings.json");
        let mut all = read_json(&settings)?;
        all["watchOnly"] = json!(true);
        write_json(&settings, &all)
    }

    /// `kalit watch`, which has sealed what there is.
    async fn watch(&self) -> Result<Watching> {
        let watching = self.kalit.watch().await?;
        let list = self.snapshots().await?;
        ensure!(list[0]["profiles"] == 2, "nothing was sealed: {list}");
        Ok(watching)
    }

    /// `snapshots list`, the newest first.
    async fn snapshots(&self) -> Result<Value> {
        let ran = self.kalit.run(&["snapshots", "list", "--json"]).await?;
        no_secret(&[&ran])?;
        Ok(ran.json()?["snapshots"].clone())
    }

    /// What `status` shows of main.
    async fn agent(&self) -> Result<Value> {
        let status = self.kalit.run(&["status", "--json"]).await?;
        Ok(status.json()?["kalit"]["agents"][0].clone())
    }

    /// OpenClaw's own `models auth paste-token`, answered as by a person.
    fn pasting(
        &self,
        release: &Release,
    ) -> impl Future<Output = Result<kalit_journeys::openclaw::Output>> + use<> {
        let mut command = release.command(&self.home, &release.package_dir.join("openclaw.mjs"));
        command.args([
            "models",
            "auth",
            "paste-token",
            "--provider",
            "anthropic",
            "--profile-id",
            NEW,
        ]);
        let token = format!("sk-ant-oat01-{}\r", "n".repeat(80));
        async move { finish(command, Some(token.as_bytes())).await }
    }

    /// The profiles that OpenClaw tries, by its own resolver.
    async fn orders(&self, release: &Release) -> Result<Value> {
        let case = |provider: &str| {
            json!({"name": provider, "stateDir": self.home.state_dir(), "agentDir": self.home.agent_dir("main"),
                "config": {}, "provider": provider})
        };
        let cases =
            json!({"now": SystemClock.now().as_millis(), "cases": [case("openai"), case("anthropic")]});
        let input = serde_json::to_vec(&cases)?;
        let asked = release.node_script(&self.home, "resolve-order.mjs", &[], Some(&input));
        let output = asked.await?;
        let last = output.stdout.lines().rfind(|line| !line.trim().is_empty());
        let answer: Value = serde_json::from_str(last.with_context(|| format!("{output:?}"))?)?;
        Ok(answer["orders"].clone())
    }

    fn installation_dir(&self) -> Result<PathBuf> {
        let all = self.home.path().join("kalit/data/installations");
        let first = fs::read_dir(all)?.next().context("no installation")??;
        Ok(first.path())
    }

    /// The files that did not parse, of every snapshot.
    fn sealed_texts(&self) -> Result<Vec<String>> {
        let data = self.home.path().join("kalit/data");
        let key = kalit_core::vault::SealKey::from_file(&data)?.context("no key")?;
        let mut texts = Vec::new();
        for entry in fs::read_dir(self.installation_dir()?.join("snapshots"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "age") {
                let opened = kalit_core::vault::open_snapshot(&path, &key)?;
                for (name, bytes) in &opened.files {
                    if name.ends_with(".broken") {
                        texts.push(String::from_utf8_lossy(bytes).into_owned());
                    }
                }
            }
        }
        Ok(texts)
    }

    /// Leaves one snapshot and no sealed login.
    fn forget_all_but(&self, id: &str) -> Result<()> {
        let own = self.installation_dir()?;
        fs::remove_dir_all(own.join("logins"))?;
        for entry in fs::read_dir(own.join("snapshots"))? {
            let path = entry?.path();
            let is_other = path.file_stem().is_some_and(|stem| stem != id);
            if is_other && path.extension().is_some_and(|extension| extension == "age") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// The next event of this type after the first `told` events.
async fn next(watching: &Watching, told: usize, kind: &str) -> Result<Value> {
    let what = format!("the event {kind}");
    let found = until_some(&what, SOON, || {
        let events = watching.events();
        events.into_iter().skip(told).find(|event| event["type"] == kind)
    });
    found.await.with_context(|| format!("{:?}", watching.events()))
}

/// How many losses were told after the first `told` events.
fn alarms(watching: &Watching, told: usize) -> usize {
    let kinds = watching.kinds();
    let losses = kinds.iter().skip(told);
    losses
        .filter(|kind| ["store-unreadable", "vanished"].contains(&kind.as_str()))
        .count()
}

/// No answer holds a token or a part of one.
fn no_secret(answers: &[&Ran]) -> Result<()> {
    for answer in answers {
        for secret in ["test-refresh", "sk-ant", "oooooooo", "nnnnnnnn", "eyJ"] {
            ensure!(!answer.stdout.contains(secret), "{secret} in {answer:?}");
            ensure!(!answer.stderr.contains(secret), "{secret} in {answer:?}");
        }
    }
    Ok(())
}

/// Sorts; the middle one, in milliseconds.
fn median(times: &mut [Duration]) -> String {
    times.sort();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{} ms", middle.as_millis())
}

/// Of sorted times the last, in milliseconds.
fn slowest(times: &[Duration]) -> String {
    format!("{} ms", times.last().copied().unwrap_or_default().as_millis())
}
