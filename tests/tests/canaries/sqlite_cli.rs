//! The verbs beside OpenClaw's databases, with OpenClaw's own sign-in in the terminal, a token that it
//! stores and, in the long form, a login that is put back. Searched are what is printed, all that Kalit
//! and the programs it starts write, with what they are started, and what is left.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result, ensure};
use kalit_journeys::canary::{Searched, Searcher};
use kalit_journeys::kalit::Kalit;
use kalit_journeys::proof::{Figures, is_long};
use kalit_journeys::token_endpoint::canary_code;
use kalit_journeys::trace::goes_to;
use rustix::process::{Pid, Signal, kill_process};
use url::Url;

use super::databases::{LAB, OPENCLAW, PORT, Place};
use super::looking::SOON;
use super::verbs::{SNAPSHOT, Verb, WATCH};

/// What Kalit answers by itself.
const OWN: &[Verb] = &[
    (&["status", "--json"], ""),
    (&["list", "--json"], ""),
    (&["refresh", LAB, "--json"], ""),
    (&["order", "get", "--provider", "anthropic", "--json"], ""),
    (&["sessions", "list", "--json"], ""),
    (&["doctor", "--json"], ""),
    (&["snapshots", "list", "--json"], ""),
    (&["snapshots", "show", SNAPSHOT], ""),
];
/// What OpenClaw stores for it.
const PASTE: Verb = (&["paste-token", "--provider", "anthropic"], "SECRET");
/// What more it asks OpenClaw: in the long form.
const ASKING: &[Verb] = &[
    (&["use", "anthropic:two"], ""),
    (
        &[
            "order",
            "set",
            "--provider",
            "anthropic",
            "anthropic:one",
            "anthropic:two",
        ],
        "",
    ),
    (&["order", "clear", "--provider", "anthropic"], ""),
    (
        &[
            "paste-api-key",
            "--provider",
            "anthropic",
            "--profile-id",
            "anthropic:key",
            "--json",
        ],
        "SECRET",
    ),
    (&["sessions", "pin", "agent:main:main", "anthropic:one"], ""),
    (&["sessions", "unpin", "agent:main:main"], ""),
    (&["agents", "add", "spare"], ""),
    (&["test-logins", "--yes"], ""),
    (&["remove", "anthropic:two", "--yes"], ""),
    (&["snapshots", "restore", SNAPSHOT, "--yes"], ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn beside_databases_no_verb_tells_a_token() -> Result<()> {
    let place = Place::new().await?;
    let mut proof = Proof::default();
    let mut watch = place.kalit.start(WATCH)?;
    let started = |line: &str| line.contains("\"started\"").then_some(());
    watch.line("its start", OPENCLAW, started).await?;
    place.sealed().await?;
    for (args, stdin) in OWN {
        proof.run(&place, args, stdin).await?;
    }
    // A token that OpenClaw takes from its standard input.
    proof.run(&place, PASTE.0, PASTE.1).await?;
    let pasted = place.profile("anthropic:manual")?;
    ensure!(pasted["token"].is_string(), "not stored: {}", pasted["type"]);
    proof.sign_in(&place).await?;
    if is_long() {
        let held = place.profile(LAB)?;
        place.fail(LAB)?;
        proof
            .run(&place, &["restore", LAB, "--yes", "--json"], "")
            .await?;
        ensure!(place.profile(LAB)? == held, "not put back");
    }
    for (args, stdin) in ASKING.iter().filter(|_| is_long()) {
        proof.run(&place, args, stdin).await?;
    }
    let pid = Pid::from_raw(i32::try_from(watch.id())?).context("no process")?;
    kill_process(pid, Signal::INT)?;
    watch.end(SOON).await?;
    let searcher = place.searcher()?;
    proof
        .printed
        .add(searcher.bytes("watch", watch.output().as_bytes()));
    let left = searcher.tree(place.home.path(), |path| place.may_hold(path))?;
    place.ensure_found()?;
    proof.tell(&left)
}

#[derive(Default)]
struct Proof {
    printed: Searched,
    /// What was written or handed to a program where no secret belongs.
    handed: Searched,
    /// Lines with a secret that went where it belongs: to OpenClaw's standard input, its terminal or
    /// its databases.
    delivered: BTreeMap<&'static str, usize>,
    ran: usize,
    children: usize,
}

impl Proof {
    async fn run(&mut self, place: &Place, args: &[&str], stdin: &str) -> Result<()> {
        let secret = place.token();
        let mut newest = String::new();
        if args.contains(&SNAPSHOT) {
            let listed = place.kalit.run(&["snapshots", "list", "--json"]).await?.json()?;
            let id = listed["snapshots"][0]["id"].as_str().context("no snapshot")?;
            id.clone_into(&mut newest);
        }
        let args: Vec<&str> = args
            .iter()
            .map(|arg| if *arg == SNAPSHOT { newest.as_str() } else { *arg })
            .collect();
        let kalit = place.kalit.clone().traced_contents()?;
        let ran = kalit.run_with(&args, &stdin.replace("SECRET", &secret)).await?;
        println!("{args:?} ended with {}", ran.code);
        let searcher = place.searcher()?;
        for text in [&ran.stdout, &ran.stderr] {
            self.printed.add(searcher.bytes(&args.join(" "), text.as_bytes()));
        }
        self.follow(place, &searcher, &kalit).await
    }

    /// OpenClaw's own sign-in, whose question is answered with the last address.
    async fn sign_in(&mut self, place: &Place) -> Result<()> {
        let _port = PORT.lock().await;
        let kalit = place.kalit.clone().traced_contents()?;
        let mut login = kalit.start(&["login", "openai", "--agent", "main", "--no-browser"])?;
        let mut stdin = login.take_stdin().context("no stdin")?;
        let shown = |line: &str| {
            let is_page = line.starts_with("https://auth.openai.com/");
            is_page.then(|| Url::parse(line).ok())?
        };
        let page = login.line("the address", OPENCLAW, shown).await?;
        let asked = |line: &str| line.starts_with("Paste the authorization code").then_some(());
        login.line("the question", OPENCLAW, asked).await?;
        let state = page.query_pairs().find(|(name, _)| name == "state");
        let (_, state) = state.context("no state")?;
        let code = canary_code("acct-ada");
        place.also("code", &code);
        writeln!(
            stdin,
            "http://localhost:1455/auth/callback?code={code}&state={state}"
        )?;
        let status = login.end(OPENCLAW).await?;
        ensure!(status.success(), "{status}: {}", login.output());
        let ada = place.profile("openai:ada@example.com")?;
        ensure!(ada["refresh"].is_string(), "not signed in: {}", login.output());
        let searcher = place.searcher()?;
        self.printed
            .add(searcher.bytes("login", login.output().as_bytes()));
        self.follow(place, &searcher, &kalit).await?;
        let typed = self
            .delivered
            .get("OpenClaw's terminal")
            .copied()
            .unwrap_or_default();
        ensure!(
            typed > 0,
            "the control: no code was seen on its way to OpenClaw's terminal"
        );
        Ok(())
    }

    /// Searches all that was written under a trace, and every program's start.
    async fn follow(&mut self, place: &Place, searcher: &Searcher, kalit: &Kalit) -> Result<()> {
        self.ran += 1;
        for trace in kalit.traces().await? {
            self.children += trace.matches(" execve(").count() - 1;
            for line in trace.lines() {
                let searched = searcher.bytes("what a program was handed or wrote", line.as_bytes());
                let belongs = match goes_to(line) {
                    Some(to) if to.starts_with("pipe:") => Some("a standard input or output"),
                    Some(to) if to.starts_with("/dev/pt") => Some("OpenClaw's terminal"),
                    Some(to) if place.may_hold(to.as_ref()) => Some("OpenClaw's databases"),
                    Some(_) | None => None,
                };
                match belongs.filter(|_| searched.hits() > 0) {
                    Some(place) => *self.delivered.entry(place).or_default() += 1,
                    None => {
                        if searched.hits() > 0 {
                            println!("{}", line.chars().take(300).collect::<String>());
                        }
                        self.handed.add(searched);
                    }
                }
            }
        }
        Ok(())
    }

    fn tell(self, left: &Searched) -> Result<()> {
        let mut figures = Figures::new("canaries-sqlite-cli");
        figures
            .row("commands run", self.ran)
            .row("programs started by them", self.children);
        for (what, searched) in [
            ("printed", &self.printed),
            ("argv, environment and writes elsewhere", &self.handed),
            ("left in the home", left),
        ] {
            figures.row(
                what,
                format!("{} hits in {} bytes", searched.hits(), searched.bytes),
            );
        }
        for (to, times) in &self.delivered {
            figures.row(format!("writes of a secret to {to}"), times);
        }
        figures.tell()?;
        for to in ["a standard input or output", "OpenClaw's databases"] {
            ensure!(
                self.delivered.contains_key(to),
                "the control: nothing went to {to}"
            );
        }
        self.printed.ensure_none("what was printed")?;
        self.handed
            .ensure_none("what was handed to a program or written")?;
        left.ensure_none("what is left")
    }
}
