//! Every verb of the command line, over a healthy installation and over files and answers that are
//! broken in every way in which they hold tokens, at the most verbose. Searched are what it prints,
//! the arguments and environment of every program that it starts, and all that it leaves behind.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::authserver::manifest;
use kalit_journeys::canary::{Searched, Searcher, canary, canary_token, secrets_of};
use kalit_journeys::http::{Answer, Reply, Server};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, release, write_json};
use kalit_journeys::process::Process;
use kalit_journeys::proof::{Figures, is_long, times};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};
use url::Url;

use super::LOUD;
use super::verbs::{ASKING, LOGIN, OLD, SNAPSHOT, VERBS, WATCH, WORK};

const SOON: Duration = Duration::from_secs(30);
/// The lock of the dead is left alone until it is stale, after 30 s.
const MERGED: Duration = Duration::from_secs(120);

/// Where a sign-in ends before anything can be pasted.
const NO_PASTE: [&str; 1] = ["tokens in Kalit's settings"];

/// What stands in a home, and what becomes of it. `planted` are the files that hold tokens on purpose.
struct Scene {
    home: TestHome,
    kalit: Kalit,
    secrets: Vec<(String, String)>,
    planted: Vec<PathBuf>,
    /// How many programs Kalit started.
    children: usize,
    /// How many snapshots were named to a verb, and how often `kalit watch` got to its work.
    snapshots: usize,
    watched: usize,
    answer: Arc<Mutex<Reply>>,
    _server: Server,
}

type Make = fn(&mut Scene) -> Result<()>;

/// A way in which something is wrong, and everything in it is a token.
const WRONG: &[(&str, Make)] = &[
    ("nothing", |_| Ok(())),
    ("a store cut off", |scene| {
        scene.spoil(|text| text[..text.len() * 2 / 3].to_owned())
    }),
    ("a store in an array", |scene| {
        scene.spoil(|text| format!("[{text}]"))
    }),
    ("a token for a number", |scene| {
        scene.spoil(|text| text.replace("\"expires\": ", "\"expires\": \"x\", \"n\": "))
    }),
    ("a token without quotes", |scene| {
        scene.spoil(|text| text.replacen("\"refresh\": \"", "\"refresh\": ", 1))
    }),
    ("a key that stands twice", |scene| {
        scene.spoil(|text| text.replace("\"access\":", "\"refresh\":"))
    }),
    ("a token as a profile's id", |scene| {
        let id = scene.secret("id");
        scene.spoil(move |text| text.replace("\"accountId\": \"", &format!("\"{id}\": \"")))
    }),
    ("tokens in the state", |scene| {
        let text = format!("{{\"order\": {{\"openai\": {:?}", scene.secret("state"));
        scene.plant(scene.home.state_path("main"), &text)
    }),
    ("a token in the lock", |scene| {
        let text = format!("{{\"pid\": {:?}", scene.secret("lock"));
        let lock = scene.home.agent_dir("main").join("auth-profiles.json.lock");
        scene.plant(lock.clone(), &text)?;
        // Nobody waits for the dead.
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        Ok(fs::File::options()
            .write(true)
            .open(lock)?
            .set_modified(long_ago)?)
    }),
    ("tokens in OpenClaw's configuration", |scene| {
        let text = format!(
            "{{models: {{providers: {{x: {{apiKey: {:?}}}}}}}, agents: [",
            scene.secret("config")
        );
        scene.plant(scene.home.state_dir().join("openclaw.json"), &text)
    }),
    ("tokens in Kalit's settings", |scene| {
        let text = format!(
            "{{\"version\": 1, \"watchOnly\": {:?}}}",
            scene.secret("settings")
        );
        scene.plant(scene.home.path().join("kalit/config/settings.json"), &text)
    }),
    ("tokens in a manifest", |scene| {
        let text = format!(
            "{{\"manifest\": 1, \"id\": \"other\", \"tokenUrl\": {:?}}}",
            scene.secret("manifest")
        );
        scene.plant(scene.home.path().join("kalit/providers/other.json"), &text)
    }),
    ("tokens in older files and in other programs'", |scene| {
        for (place, field) in [
            (".openclaw/credentials/oauth.json", "openai-codex"),
            (".codex/auth.json", "tokens"),
            (".claude/.credentials.json", "claudeAiOauth"),
        ] {
            let text = format!("{{{field:?}: {{\"access\": {:?}, ", scene.secret("older"));
            scene.plant(scene.home.path().join(place), &text)?;
        }
        Ok(())
    }),
    ("tokens in an entry of the journal", |scene| {
        let dir = scene.journal().context("no journal")?;
        let text = format!(
            "{{\"version\": 1, \"received\": {{\"refresh_token\": {:?}",
            scene.secret("journal")
        );
        scene.plant(dir.join("0123456789abcdef-0123456789abcdef.json"), &text)
    }),
    ("a refusal that repeats tokens", |scene| {
        let secret = scene.secret("answer");
        let body = json!({"error": {"code": secret, "message": format!("the token {secret} is spent")},
            "error_description": secret});
        scene.answers(Reply::json(400, &body))
    }),
    ("a refusal as OAuth has it", |scene| {
        let secret = scene.secret("answer");
        scene.answers(Reply::json(
            400,
            &json!({"error": "invalid_grant", "error_description": secret}),
        ))
    }),
    ("a web page with tokens", |scene| {
        let page = format!("<html><title>{0}</title>{0}", scene.secret("answer"));
        scene.answers(Reply::html(200, page))
    }),
    ("a redirect with tokens", |scene| {
        let to = format!("http://127.0.0.1:9/{0}?code={0}#{0}", scene.secret("answer"));
        scene.answers(Reply::redirect(&to))
    }),
    ("an answer of the wrong types", |scene| {
        let secret = scene.secret("answer");
        let body = json!({"access_token": [secret], "refresh_token": {"is": secret}, "expires_in": secret});
        scene.answers(Reply::json(200, &body))
    }),
    ("an answer cut off", |scene| {
        let body = format!(
            "{{\"access_token\":{0:?},\"refresh_token\":{0:?},\"exp",
            scene.secret("answer")
        );
        scene.answers(Reply::text(200, "application/json", body))
    }),
    ("an answer with headers full of tokens", |scene| {
        let secret = scene.secret("answer");
        let mut reply = Reply::json(503, &json!({"error": secret}));
        reply.headers.push(("retry-after", secret.clone()));
        reply.headers.push(("x-request-id", secret));
        scene.answers(reply)
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_verb_and_no_failure_tells_a_token() -> Result<()> {
    let (mut printed, mut left) = (Searched::default(), Searched::default());
    let (mut ran, mut children, mut pasted, mut snapshots, mut watched) = (0, 0, 0, 0, 0);
    let mut gave_up = Vec::new();
    for (index, (what, make)) in WRONG.iter().enumerate() {
        let mut scene = Scene::new().await?;
        // Kalit's own directories are there before anything goes wrong.
        scene.run(&["refresh", WORK], "", &mut printed).await?;
        scene.expire()?;
        make(&mut scene).with_context(|| what.to_string())?;
        // The short form turns to other verbs each time; the long form takes all.
        let each = times(if index == 0 { 1 } else { 8 }, 1);
        let asking = ASKING.iter().filter(|_| index == 0 || is_long());
        for (args, stdin) in VERBS.iter().skip(index % each).step_by(each).chain(asking) {
            scene
                .run(args, stdin, &mut printed)
                .await
                .with_context(|| format!("{what}: {args:?}"))?;
            ran += 1;
        }
        let outcome = scene.sign_in(&mut printed).await;
        let reached = outcome.with_context(|| what.to_string())?;
        if reached {
            pasted += 1;
        } else {
            gave_up.push(*what);
        }
        ran += 1;
        let searched = scene.left()?;
        searched.ensure_none(&format!("what is left after {what}"))?;
        left.add(searched);
        children += scene.children;
        snapshots += scene.snapshots;
        watched += scene.watched;
        scene.ensure_found()?;
    }
    let mut figures = Figures::new("canaries-cli");
    figures
        .row("ways in which files and answers were wrong", WRONG.len() - 1)
        .row("commands run", ran)
        .row("programs started by them", children)
        .row("sign-ins with a wrong and a right paste", pasted)
        .row("snapshots looked at or put back", snapshots)
        .row("times that `kalit watch` watched", watched)
        .row(
            "bytes printed, argv and environment of children; hits",
            format!("{}; {}", printed.bytes, printed.hits()),
        )
        .row(
            "bytes left in directories; hits",
            format!("{}; {}", left.bytes, left.hits()),
        );
    figures.tell()?;
    ensure!(gave_up == NO_PASTE, "sign-ins without a paste: {gave_up:?}");
    ensure!(children > 0, "OpenClaw was never started");
    ensure!(
        snapshots > 2 && watched > 0,
        "{snapshots} snapshots, {watched} watches"
    );
    printed.ensure_none("what was printed or handed to a program")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_leaves_holds_no_token_but_in_the_store_and_the_journal() -> Result<()> {
    let (mut searched, mut journals, mut kill) = (Searched::default(), 0, 0);
    let kills = times(8, 60);
    // On until one has hit an answer in the journal.
    while kill < kills || (journals == 0 && kill < 4 * kills) {
        let scene = Scene::new().await?;
        let mut kalit = scene.kalit.start(&["refresh", WORK, "--json"])?;
        if kill % 2 == 0 {
            // Anywhere between its start and its end: the moment is the input here.
            tokio::time::sleep(Duration::from_millis(320 * (kill % kills) as u64 / kills as u64)).await;
        } else {
            // As soon as the answer is in the journal, which it leaves again at once.
            while !scene.has_journal() && kalit.ended().is_none() {}
        }
        signal(&kalit, rustix::process::Signal::KILL)?;
        kalit.end(SOON).await?;
        journals += usize::from(scene.has_journal());
        searched.add(scene.searcher()?.bytes("output", kalit.output().as_bytes()));
        searched.add(scene.left_but_journal()?);
        // The next start merges it: then there is nothing in the journal either.
        let watching = scene.kalit.watch().await?;
        until_some("an empty journal", MERGED, || {
            (!scene.has_journal()).then_some(())
        })
        .await?;
        drop(watching.events());
        drop(watching);
        searched.add(scene.left()?);
        kill += 1;
    }
    let mut figures = Figures::new("canaries-kills");
    figures
        .row("renewals killed", kill)
        .row("of them with an answer in the journal", journals)
        .row(
            "bytes searched; hits",
            format!("{}; {}", searched.bytes, searched.hits()),
        );
    figures.tell()?;
    ensure!(journals > 0, "no kill met an answer in the journal");
    searched.ensure_none("what a kill leaves")
}

impl Scene {
    /// 2026.6.1 with two logins, one of which has ended, a token and a key.
    async fn new() -> Result<Self> {
        let (home, release) = (TestHome::new()?, release(Version::V2026_6_1).await?);
        let answer = Arc::new(Mutex::new(Reply::json(200, &Value::Null)));
        let answering = Arc::clone(&answer);
        let server = Server::plain(0, move |_request| {
            let reply = answering.lock().unwrap_or_else(PoisonError::into_inner).clone();
            std::future::ready(Answer::Reply(reply))
        })
        .await?;
        let url = format!("http://127.0.0.1:{}", server.port());
        let kalit = Kalit::new(&home, &release, &manifest(&url, &[1455]))?;
        let kalit = LOUD
            .into_iter()
            .fold(kalit, |kalit, (name, value)| kalit.with_var(name, value));
        let mut scene = Self {
            home,
            kalit,
            secrets: Vec::new(),
            planted: Vec::new(),
            children: 0,
            snapshots: 0,
            watched: 0,
            answer,
            _server: server,
        };
        let now = SystemClock.now().as_millis();
        let body = json!({
            "access_token": scene.token("work"), "refresh_token": scene.secret("issued"),
            "id_token": scene.token("work"), "expires_in": 3600,
        });
        scene.answers(Reply::json(200, &body))?;
        let mut profiles = json!({
            "anthropic:manual": {"type": "token", "provider": "anthropic", "token": canary("sk-ant-oat01")},
            "google:default": {"type": "api_key", "provider": "google", "key": canary("key")},
        });
        for (id, name, left) in [(WORK, "work", -60), (OLD, "old", 86_400)] {
            profiles[id] = json!({
                "type": "oauth", "provider": "openai", "access": canary_token(name, now, left),
                "refresh": canary("refresh"), "expires": now + left * 1000,
                "email": format!("{name}@example.com"), "accountId": format!("acct-{name}"),
            });
        }
        let store = json!({"version": 1, "profiles": profiles});
        scene.secrets.extend(secrets_of(&store));
        scene.home.write_profiles("main", &store)?;
        Ok(scene)
    }

    /// A new secret, looked for from now on.
    fn secret(&mut self, kind: &str) -> String {
        let secret = canary(kind);
        self.secrets.push((kind.to_owned(), secret.clone()));
        secret
    }

    fn token(&mut self, name: &str) -> String {
        let token = canary_token(name, SystemClock.now().as_millis(), 3600);
        self.secrets.push((format!("token of {name}"), token.clone()));
        token
    }

    fn answers(&mut self, reply: Reply) -> Result<()> {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = reply;
        Ok(())
    }

    /// A file that is to hold tokens.
    fn plant(&mut self, path: PathBuf, text: &str) -> Result<()> {
        fs::create_dir_all(path.parent().context("no directory")?)?;
        fs::write(&path, text)?;
        self.planted.push(path);
        Ok(())
    }

    fn spoil(&mut self, change: impl FnOnce(&str) -> String) -> Result<()> {
        let path = self.home.profiles_path("main");
        let text = fs::read_to_string(&path)?;
        let spoilt = change(&text);
        ensure!(spoilt != text, "nothing was changed");
        Ok(fs::write(&path, spoilt)?)
    }

    /// The login of work has to be renewed once more.
    fn expire(&mut self) -> Result<()> {
        let path = self.home.profiles_path("main");
        let mut store: Value = serde_json::from_slice(&fs::read(&path)?)?;
        let work = &mut store["profiles"][WORK];
        work["expires"] = json!(SystemClock.now().as_millis() - 60_000);
        work["refresh"] = json!(canary("refresh"));
        self.secrets.extend(secrets_of(&store));
        write_json(&path, &store)
    }

    /// What looks for all of them, and for the key of the sealed copies.
    fn searcher(&self) -> Result<Searcher> {
        let key = fs::read_to_string(self.seal_key()).ok();
        let key = key.map(|key| ("the seal's key".to_owned(), key.trim().to_owned()));
        Searcher::new(self.secrets.iter().cloned().chain(key))
    }

    fn seal_key(&self) -> PathBuf {
        self.home.path().join("kalit/data/key/seal.key")
    }

    async fn run(&mut self, args: &[&str], stdin: &str, printed: &mut Searched) -> Result<()> {
        if args == WATCH {
            return self.watch(printed).await;
        }
        let secret = self.secret("pasted");
        let newest = self.newest_snapshot(args).await?;
        let named = |arg: &&str| {
            if *arg == SNAPSHOT {
                newest.clone()
            } else {
                (*arg).to_owned()
            }
        };
        let args: Vec<String> = args.iter().map(named).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let kalit = self.kalit.clone().traced_starts()?;
        let ran = kalit.run_with(&args, &stdin.replace("SECRET", &secret)).await?;
        let searcher = self.searcher()?;
        let place = args.join(" ");
        printed.add(searcher.bytes(&place, ran.stdout.as_bytes()));
        printed.add(searcher.bytes(&place, ran.stderr.as_bytes()));
        for trace in kalit.traces().await? {
            self.children += trace.matches(" execve(").count() - 1;
            printed.add(searcher.bytes("a program's start", trace.as_bytes()));
        }
        printed.ensure_none(&place)
    }

    /// The id of the newest snapshot where a verb wants one, if there is any.
    async fn newest_snapshot(&mut self, args: &[&str]) -> Result<String> {
        if !args.contains(&SNAPSHOT) {
            return Ok(String::new());
        }
        // In some scenes it answers with an error.
        let listed = self.kalit.run(&["snapshots", "list", "--json"]).await?.json()?;
        let newest = listed["snapshots"][0]["id"].as_str().map(str::to_owned);
        self.snapshots += usize::from(newest.is_some());
        Ok(newest.unwrap_or_else(|| "none".to_owned()))
    }

    /// `kalit watch`, which renews and seals, until it is interrupted.
    async fn watch(&mut self, printed: &mut Searched) -> Result<()> {
        let kalit = self.kalit.clone().traced_starts()?;
        let mut watch = kalit.start(WATCH)?;
        let view = |line: &str| line.contains("\"started\"").then_some(());
        // In some scenes it gives up before.
        self.watched += usize::from(watch.line("its start", SOON, view).await.is_ok());
        // Its first look is taken then.
        tokio::time::sleep(Duration::from_millis(300)).await;
        signal(&watch, rustix::process::Signal::INT)?;
        watch.end(SOON).await?;
        let searcher = self.searcher()?;
        printed.add(searcher.bytes("watch", watch.output().as_bytes()));
        for trace in kalit.traces().await? {
            printed.add(searcher.bytes("a program's start", trace.as_bytes()));
        }
        printed.ensure_none("watch")
    }

    /// `kalit login`, with a wrong paste before the right one; the exchange is answered as all else.
    /// Whether it came to that.
    async fn sign_in(&mut self, printed: &mut Searched) -> Result<bool> {
        let code = self.secret("code");
        let kalit = self.kalit.clone().traced_starts()?;
        let mut login = kalit.start(LOGIN)?;
        let mut stdin = login.take_stdin().context("no stdin")?;
        let address = |line: &str| {
            line.starts_with("http://")
                .then(|| Url::parse(line).ok())
                .flatten()
        };
        let mut reached = false;
        // In some scenes it gives up before.
        if let Ok(url) = login.line("the address", SOON, address).await {
            let named = |name: &str| {
                let found = url.query_pairs().find(|(key, _)| key == name);
                found
                    .map(|(_, value)| value.into_owned())
                    .context(name.to_owned())
            };
            writeln!(stdin, "https://elsewhere.example/?code={code}&state={code}")?;
            login
                .line("the refusal", SOON, |line| line.contains("[login.").then_some(()))
                .await?;
            writeln!(
                stdin,
                "{}?code={code}&state={}",
                named("redirect_uri")?,
                named("state")?
            )?;
            reached = true;
        }
        login.end(SOON).await?;
        let searcher = self.searcher()?;
        printed.add(searcher.bytes("login", login.output().as_bytes()));
        for trace in kalit.traces().await? {
            printed.add(searcher.bytes("a program's start", trace.as_bytes()));
        }
        printed.ensure_none("login")?;
        Ok(reached)
    }

    fn journal(&self) -> Option<PathBuf> {
        let installations = fs::read_dir(self.home.path().join("kalit/data/installations")).ok()?;
        installations
            .flatten()
            .next()
            .map(|entry| entry.path().join("journal"))
    }

    fn has_journal(&self) -> bool {
        let entries = self.journal().and_then(|dir| fs::read_dir(dir).ok());
        let mut entries = entries.into_iter().flatten().flatten();
        entries.any(|entry| entry.path().extension().is_some_and(|kind| kind == "json"))
    }

    /// All files of the home that are not to hold tokens.
    fn left(&self) -> Result<Searched> {
        self.searcher()?
            .tree(self.home.path(), |path| self.may_hold(path))
    }

    fn left_but_journal(&self) -> Result<Searched> {
        let journal = self.journal().unwrap_or_default();
        self.searcher()?.tree(self.home.path(), |path| {
            self.may_hold(path) || path.starts_with(&journal)
        })
    }

    /// The store, its temporary file, the key's file, and what was planted.
    fn may_hold(&self, path: &Path) -> bool {
        if path == self.seal_key() {
            return true;
        }
        let store = self.home.profiles_path("main").display().to_string();
        path.display().to_string().starts_with(&store) || self.planted.iter().any(|planted| planted == path)
    }

    /// The control: the same search finds the secrets where they stand.
    fn ensure_found(&self) -> Result<()> {
        let all = self.searcher()?.tree(self.home.path(), |_| false)?;
        all.ensure_some("the home", "anthropic:manual/token")?;
        all.ensure_some("the home", "the seal's key")?;
        // What Kalit has done away with is not there.
        for planted in self.planted.iter().filter(|planted| planted.exists()) {
            let found = all.found.keys().any(|found| Path::new(&found.place) == planted);
            ensure!(found, "nothing found in {}", planted.display());
        }
        Ok(())
    }
}

fn signal(process: &Process, signal: rustix::process::Signal) -> Result<()> {
    let pid = i32::try_from(process.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.context("no process")?;
    let _ = rustix::process::kill_process(pid, signal);
    Ok(())
}
