//! The callback listener of a running `kalit login`, under everything that a web page, another user
//! or another program of this machine can send to it.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process::ChildStdin;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kalit_journeys::authserver::{AuthorizationServer, Options};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::Kalit;
use kalit_journeys::openclaw::{TestHome, Version, read_json, release};
use kalit_journeys::process::Process;
use kalit_journeys::proof;
use kalit_journeys::wait::until_some;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

use super::tally::{not_tried, refused};

const SOON: Duration = Duration::from_secs(30);
/// What no answer may repeat.
const MARK: &str = "evil";
/// What a flood may cost, in KiB.
const MEMORY: u64 = 32 * 1024;

/// A sign-in that waits for the browser.
struct SignIn {
    home: TestHome,
    server: AuthorizationServer,
    kalit: Process,
    stdin: ChildStdin,
    url: Url,
}

impl SignIn {
    async fn start(ports: &[u16]) -> Result<Self> {
        let server = AuthorizationServer::start(Options::default()).await?;
        let home = TestHome::new()?;
        let release = release(Version::V2026_6_1).await?;
        let kalit = Kalit::new(&home, &release, &server.manifest(ports))?;
        let mut kalit = kalit.start(&["login", "openai", "--no-browser"])?;
        let stdin = kalit.take_stdin().context("no stdin")?;
        let address = |line: &str| Url::parse(line).ok().filter(|url| url.scheme() == "http");
        let url = kalit.line("the address", SOON, address).await?;
        Ok(Self {
            home,
            server,
            kalit,
            stdin,
            url,
        })
    }

    fn parameter(&self, wanted: &str) -> Result<String> {
        let found = self.url.query_pairs().find(|(name, _)| name == wanted);
        Ok(found.with_context(|| format!("no {wanted}"))?.1.into_owned())
    }

    fn port(&self) -> Result<u16> {
        let redirect = Url::parse(&self.parameter("redirect_uri")?)?;
        redirect.port().context("no port")
    }

    async fn send(&self, request: &[u8]) -> Result<String> {
        send(self.port()?, request).await
    }

    fn paste(&mut self, text: &str) -> Result<()> {
        Ok(writeln!(self.stdin, "{text}")?)
    }

    async fn says(&mut self, text: &str) -> Result<()> {
        self.kalit
            .line(text, SOON, |line| line.contains(text).then_some(()))
            .await
    }

    /// The address to which the person's consent leads.
    async fn consent(&self) -> Result<Url> {
        Ok(Url::parse(
            &self.server.consent(self.url.as_str(), "allow").await?,
        )?)
    }

    /// Signed in as the person who consented, with one code exchanged.
    async fn ends_well(mut self) -> Result<()> {
        ensure!(self.kalit.end(SOON).await?.success(), "{}", self.kalit.output());
        let store = read_json(&self.home.profiles_path("main"))?;
        let profiles = store["profiles"].as_object().context("no profiles")?;
        ensure!(
            profiles.keys().eq(["openai:ada@example.com"]),
            "{:?}",
            profiles.keys()
        );
        let exchanged = self.server.entries();
        let exchanged = exchanged.iter().filter(|entry| entry.path == "/oauth/token");
        ensure!(exchanged.count() == 1, "more than one code was exchanged");
        Ok(())
    }
}

#[tokio::test]
async fn what_is_not_the_persons_own_answer_is_refused_and_the_sign_in_still_succeeds() -> Result<()> {
    let sign_in = SignIn::start(&[free_port()?]).await?;
    let (port, state) = (sign_in.port()?, sign_in.parameter("state")?);
    let table = table(port, &state);
    for (name, request, status) in &table {
        let answer = sign_in.send(request.as_bytes()).await.context(*name)?;
        let got = answer.split(' ').nth(1).unwrap_or_default();
        ensure!(got == *status, "{name}: {answer}");
        check_answer(&answer).context(*name)?;
    }

    // A flood of guesses.
    let before = memory_of(sign_in.kalit.id())?;
    let (begun, guesses) = (Instant::now(), proof::times(10_000, 100_000));
    let mut floods = tokio::task::JoinSet::new();
    for flood in 0..8 {
        floods.spawn(async move {
            for guess in (flood..guesses).step_by(8) {
                let query = format!("/auth/callback?code={MARK}&state=guess-{guess}");
                let answer = send(port, get(port, &query, "").as_bytes()).await?;
                ensure!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            }
            Ok(())
        });
    }
    while let Some(flood) = floods.join_next().await {
        flood??;
    }
    let (took, grown) = (
        begun.elapsed(),
        memory_of(sign_in.kalit.id())?.saturating_sub(before),
    );
    ensure!(grown < MEMORY, "{guesses} guesses took {grown} KiB");

    // Many who say a little and then nothing: more than are served at once, in either family.
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /auth/callback?code=").await?;
        slow.push(stream);
    }

    let last = sign_in.consent().await?;
    let query = format!("{}?{}", last.path(), last.query().unwrap_or_default());
    let browser = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let begun = Instant::now();
    let answer = sign_in.send(get(port, &query, browser).as_bytes()).await?;
    let waited = begun.elapsed();
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ensure!(
        waited < Duration::from_secs(4),
        "behind slow clients for {waited:?}"
    );
    // The same once more: refused, or nobody listens any more.
    if let Ok(replayed) = sign_in.send(get(port, &query, browser).as_bytes()).await {
        ensure!(
            replayed.is_empty() || replayed.starts_with("HTTP/1.1 409"),
            "{replayed}"
        );
    }
    sign_in.ends_well().await?;
    println!(
        "{guesses} guesses in {took:.1?}, {grown} KiB more; the callback took {waited:.1?} behind {} slow clients",
        slow.len()
    );
    refused("requests to the callback", table.len())?;
    refused("a flood of guesses of the state", 1)?;
    refused("many slow clients at once", 1)?;
    refused("a replay of the answer", 1)
}

#[tokio::test]
async fn an_answer_of_another_authorization_server_ends_the_sign_in() -> Result<()> {
    let mut sign_in = SignIn::start(&[free_port()?]).await?;
    let query = format!(
        "/auth/callback?code={MARK}&state={}&iss=https%3A%2F%2F{MARK}.example",
        sign_in.parameter("state")?
    );
    let answer = sign_in.send(get(sign_in.port()?, &query, "").as_bytes()).await?;
    check_answer(&answer)?;
    sign_in.says("[login.issuer_mismatch]").await?;
    ensure!(!sign_in.kalit.end(SOON).await?.success());
    ensure!(
        !sign_in.home.profiles_path("main").exists(),
        "something was stored"
    );
    refused("answers of another authorization server", 1)
}

#[tokio::test]
async fn what_an_attacker_gives_to_paste_is_refused() -> Result<()> {
    let mut sign_in = SignIn::start(&[free_port()?]).await?;
    let (port, state) = (sign_in.port()?, sign_in.parameter("state")?);
    let unusable = [
        format!("https://evil.example/auth/callback?code=test-code-1&state={state}"),
        format!("http://localhost.evil.example:{port}/auth/callback?code=test-code-1&state={state}"),
        format!("http://localhost:{port}/elsewhere?code=test-code-1&state={state}"),
        format!("http://localhost:1/auth/callback?code=test-code-1&state={state}"),
        "javascript://localhost/auth/callback?code=test-code-1".to_owned(),
    ];
    let foreign = [
        format!("http://localhost:{port}/auth/callback?code=test-code-1&state=foreign"),
        "test-code-of-somebody-else#foreign-state".to_owned(),
        "?code=test-code-1&state=foreign".to_owned(),
    ];
    for (texts, code) in [
        (&unusable[..], "[login.paste_unusable]"),
        (&foreign[..], "[login.state_mismatch]"),
    ] {
        for (number, text) in texts.iter().enumerate() {
            sign_in.paste(text)?;
            until_some(&format!("the refusal of {text}"), SOON, || {
                (sign_in.kalit.output().matches(code).count() == number + 1).then_some(())
            })
            .await?;
        }
    }
    // A code of the attacker's own sign-in, bare: it fits no verifier but the attacker's.
    let mut attackers = sign_in.url.clone();
    let pairs: Vec<(String, String)> = sign_in.url.query_pairs().into_owned().collect();
    attackers
        .query_pairs_mut()
        .clear()
        .extend_pairs(pairs.iter().map(|(name, value)| match name.as_str() {
            "code_challenge" => (name, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            _ => (name, value.as_str()),
        }));
    let page = sign_in.server.consent(attackers.as_str(), "allow").await?;
    let page = Url::parse(&page)?;
    let code = page.query_pairs().find(|(name, _)| name == "code");
    let code = code.context("no code")?.1.into_owned();
    sign_in.paste(&format!("{code:*<20}"))?;
    sign_in.says("[login.exchange_failed]").await?;
    ensure!(!sign_in.kalit.end(SOON).await?.success());
    ensure!(
        !sign_in.home.profiles_path("main").exists(),
        "something was stored"
    );
    refused("pasted answers of others", unusable.len() + foreign.len() + 1)
}

#[tokio::test]
async fn a_port_that_somebody_else_holds_in_one_family_is_not_used() -> Result<()> {
    let mut squatted = 0;
    let addresses: [SocketAddr; 4] = [
        (Ipv4Addr::LOCALHOST, 0).into(),
        (Ipv6Addr::LOCALHOST, 0).into(),
        (Ipv4Addr::UNSPECIFIED, 0).into(),
        (Ipv6Addr::UNSPECIFIED, 0).into(),
    ];
    for address in addresses {
        let Ok(holder) = TcpListener::bind(address) else {
            not_tried("an address that cannot be bound", 2)?;
            continue;
        };
        let port = holder.local_addr()?.port();
        // With a second port the sign-in goes there; with none only pasting is left, and why is told.
        let second = free_port()?;
        let sign_in = SignIn::start(&[port, second]).await?;
        ensure!(sign_in.port()? == second, "{address}: port {}", sign_in.port()?);
        drop(sign_in);
        let mut sign_in = SignIn::start(&[port]).await?;
        sign_in.says("[login.port_busy]").await?;
        sign_in.says(&format!("pid {}", std::process::id())).await?;
        let last = sign_in.consent().await?;
        sign_in.paste(last.as_str())?;
        sign_in.ends_well().await.with_context(|| address.to_string())?;
        holder.set_nonblocking(true)?;
        ensure!(
            holder.accept().is_err(),
            "{address}: something came to the squatter"
        );
        squatted += 2;
    }
    refused("squatted ports", squatted)
}

/// What is sent, and the status of its answer.
fn table(port: u16, state: &str) -> Vec<(&'static str, String, &'static str)> {
    let right = format!("/auth/callback?code={MARK}-code&state={state}");
    let with = |headers: &str| get(port, &right, headers);
    let query = |query: &str| get(port, &format!("/auth/callback?{query}"), "");
    let path = |path: &str| get(port, &format!("{path}?code={MARK}&state={state}"), "");
    let host = |host: &str| format!("GET {right} HTTP/1.1\r\n{host}\r\n");
    let method = |method: &str, rest: &str| {
        format!("{method} {right} HTTP/1.1\r\nHost: localhost:{port}\r\n{rest}\r\n")
    };
    let fetch = |site: &str, mode: &str, dest: &str| {
        with(&format!(
            "Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n"
        ))
    };
    let long = "a".repeat(9 * 1024);
    vec![
        // Injected codes and errors.
        ("no query", get(port, "/auth/callback", ""), "400"),
        ("a code without a state", query(&format!("code={MARK}")), "400"),
        ("an empty state", query(&format!("code={MARK}&state=")), "400"),
        (
            "a wrong state",
            query(&format!("code={MARK}&state={MARK}")),
            "400",
        ),
        (
            "the beginning of the state",
            query(&format!("code={MARK}&state={}", &state[..state.len() - 1])),
            "400",
        ),
        (
            "more than the state",
            query(&format!("code={MARK}&state={state}A")),
            "400",
        ),
        (
            "two states",
            query(&format!("code={MARK}&state={state}&state={MARK}")),
            "400",
        ),
        (
            "two states, the right one last",
            query(&format!("code={MARK}&state={MARK}&state={state}")),
            "400",
        ),
        ("an error without a state", query("error=access_denied"), "400"),
        (
            "an error with a wrong state",
            query(&format!("error=access_denied&state={MARK}")),
            "400",
        ),
        (
            "a script in an error",
            query(&format!(
                "error=%3Cscript%3E{MARK}%3C/script%3E&error_description={MARK}"
            )),
            "400",
        ),
        (
            "two codes",
            query(&format!("code={MARK}&code={MARK}2&state={state}")),
            "400",
        ),
        ("an empty code", query(&format!("code=&state={state}")), "400"),
        ("nothing but the state", query(&format!("state={state}")), "400"),
        // DNS rebinding.
        (
            "a foreign host",
            host(&format!("Host: {MARK}.example\r\n")),
            "403",
        ),
        (
            "a foreign host with our port",
            host(&format!("Host: {MARK}.example:{port}\r\n")),
            "403",
        ),
        (
            "a host below a foreign one",
            host(&format!("Host: localhost.{MARK}.example:{port}\r\n")),
            "403",
        ),
        ("no port", host("Host: 127.0.0.1\r\n"), "403"),
        ("another port", host("Host: 127.0.0.1:1\r\n"), "403"),
        ("every address", host(&format!("Host: 0.0.0.0:{port}\r\n")), "403"),
        (
            "another loopback address",
            host(&format!("Host: 127.0.0.2:{port}\r\n")),
            "403",
        ),
        (
            "a user before the host",
            host(&format!("Host: {MARK}@localhost:{port}\r\n")),
            "403",
        ),
        ("no host", host(""), "403"),
        (
            "two hosts",
            host(&format!("Host: localhost:{port}\r\nHost: {MARK}.example\r\n")),
            "403",
        ),
        // Other sites' scripts, images and frames.
        (
            "a foreign origin",
            with(&format!("Origin: https://{MARK}.example\r\n")),
            "403",
        ),
        ("an opaque origin", with("Origin: null\r\n"), "403"),
        ("an image", fetch("cross-site", "no-cors", "image"), "403"),
        ("a script", fetch("cross-site", "no-cors", "script"), "403"),
        ("a fetch", fetch("cross-site", "cors", "empty"), "403"),
        (
            "a fetch of the same site",
            fetch("same-site", "cors", "empty"),
            "403",
        ),
        ("a frame", fetch("cross-site", "navigate", "iframe"), "403"),
        ("an object", fetch("cross-site", "navigate", "object"), "403"),
        (
            "a websocket",
            fetch("cross-site", "websocket", "websocket"),
            "403",
        ),
        // Methods.
        ("HEAD", method("HEAD", ""), "405"),
        ("POST", method("POST", "Content-Length: 0\r\n"), "405"),
        (
            "OPTIONS",
            method("OPTIONS", "Access-Control-Request-Method: GET\r\n"),
            "405",
        ),
        ("PUT", method("PUT", ""), "405"),
        ("a method in small letters", method("get", ""), "405"),
        // Paths.
        ("/cancel", path("/cancel"), "404"),
        ("/success", path("/success"), "404"),
        ("the root", path("/"), "404"),
        ("a slash more", path("/auth/callback/"), "404"),
        ("two slashes", path("//auth/callback"), "404"),
        ("a dot segment", path("/auth/./callback"), "404"),
        ("an escaped letter", path("/auth/%63allback"), "404"),
        ("capitals", path("/AUTH/CALLBACK"), "404"),
        // Not quite HTTP.
        (
            "an absolute target",
            get(port, &format!("http://localhost:{port}{right}"), ""),
            "400",
        ),
        (
            "an authority as target",
            format!("CONNECT {MARK}.example:443 HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"),
            "400",
        ),
        (
            "a word too many",
            format!("GET {right} {MARK} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"),
            "400",
        ),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "400"),
        ("no version", format!("GET {right}\r\n\r\n"), "400"),
        ("a folded header", with(&format!("X-A: b\r\n {MARK}\r\n")), "400"),
        (
            "a space before the colon",
            with(&format!("Origin : https://{MARK}.example\r\n")),
            "400",
        ),
        ("a header without a name", with(": x\r\n"), "400"),
        (
            "a second request behind a refused one",
            format!("{}{}", path("/cancel"), with("")),
            "404",
        ),
        (
            "a request in a body",
            format!(
                "POST /x HTTP/1.1\r\nHost: localhost:{port}\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{}",
                with("")
            ),
            "405",
        ),
        ("a long header", with(&format!("X-Filler: {long}\r\n")), "431"),
        (
            "a long target",
            query(&format!("code={long}&state={state}")),
            "431",
        ),
    ]
}

fn get(port: u16, target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}\r\n")
}

async fn send(port: u16, request: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(request).await?;
        stream.read_to_end(&mut answer).await
    };
    // A reset after the answer is as good as its end.
    let _ = tokio::time::timeout(SOON, exchange).await?;
    Ok(String::from_utf8(answer)?)
}

/// The headers that keep a page from being used against the person, and nothing of what was sent.
fn check_answer(answer: &str) -> Result<()> {
    let lower = answer.to_lowercase();
    for wanted in [
        "x-content-type-options: nosniff",
        "content-security-policy: default-src 'none'",
        "cache-control: no-store",
        "referrer-policy: no-referrer",
    ] {
        ensure!(lower.contains(wanted), "no {wanted}: {answer}");
    }
    for unwanted in ["\r\nlocation:", "access-control-", "<script", MARK] {
        ensure!(!lower.contains(unwanted), "{unwanted}: {answer}");
    }
    Ok(())
}

/// What a process has in memory, in KiB.
fn memory_of(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = line.and_then(|line| line.split_whitespace().next());
    Ok(size.context("no VmRSS")?.parse()?)
}
