//! Every fault of a network or a server that can be provoked on loopback, between Kalit in this
//! process and a token endpoint: no login is called signed out for it, no generation is lost, and
//! once the fault is mended the engine renews by itself. Minutes pass at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kalit_core::broker::{Broker, LoginRequest, RefreshTarget};
use kalit_core::clock::{Clock, ManualClock, SystemClock, Timestamp};
use kalit_core::event::EventKind;
use kalit_core::ids::{AgentId, ProviderId};
use kalit_core::secret::Secret;
use kalit_journeys::bad_network::{BadNetwork, Fault, Part, Then};
use kalit_journeys::http::free_port;
use kalit_journeys::kalit::account;
use kalit_journeys::openclaw::{Version, read_json, write_json};
use kalit_journeys::proof::{self, Figures, not_here};
use kalit_journeys::renewal::{BUSY, Scene};
use kalit_journeys::token_endpoint::{Door, Login, TokenEndpoint, authorization_code};
use kalit_journeys::wait::until_some;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use url::Url;

mod passing;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// How long before its time nothing may have been sent yet.
const EARLY: Duration = Duration::from_secs(10);
/// What the schedule may take beyond the time that a fault asks for.
const LATE: Duration = Duration::from_secs(45);
/// Longer than Kalit waits for an answer.
const CALL: Duration = Duration::from_secs(130);
/// So much time passes at once while something is waited for, each time after a moment.
const STEP: Duration = Duration::from_secs(5);
const MOMENT: Duration = Duration::from_millis(20);
/// A bound on what is sent in an hour: after 1, 2 and 5 minutes, then every 10, and 15 for the jitter
/// of waking.
const MOST_IN_AN_HOUR: usize = 9;

/// One fault and what Kalit makes of it.
struct Row {
    name: &'static str,
    fault: Fault,
    door: Door,
    host: IpAddr,
    /// The error's code, or [`RENEWED`].
    code: &'static str,
    /// From the failure to the next request.
    wait: Duration,
}

/// Rows that are tried at the same time.
const AT_ONCE: usize = 4;
/// In spite of the fault.
const RENEWED: &str = "renewed";

/// What the proof counted.
#[derive(Default)]
struct Count {
    rows: usize,
    /// That reached the network, and the endpoint.
    connections: usize,
    requests: usize,
    reuses: usize,
    signed_out: usize,
    /// What the endpoint issued last and no store holds.
    lost: usize,
    longest_wait: Duration,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            connections: self.connections + other.connections,
            requests: self.requests + other.requests,
            reuses: self.reuses + other.reuses,
            signed_out: self.signed_out + other.signed_out,
            lost: self.lost + other.lost,
            longest_wait: self.longest_wait.max(other.longest_wait),
        }
    }
}

#[test]
fn a_fault_is_no_sign_out_loses_nothing_and_is_got_over_without_a_person() -> Result<()> {
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|part| scope.spawn(move || got_over_in(part)))
            .collect();
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(counted) => counted,
            Err(_) => bail!("a thread ended"),
        });
        joined.collect::<Result<Vec<Count>>>()
    })?;
    let count = counts.into_iter().fold(Count::default(), Count::plus);
    ensure!(
        (count.reuses, count.signed_out, count.lost) == (0, 0, 0),
        "{} reuses, {} signed out, {} lost",
        count.reuses,
        count.signed_out,
        count.lost
    );
    Figures::new("network")
        .row("faults of network and server", count.rows)
        .row("called signed out", count.signed_out)
        .row("generations lost", count.lost)
        .row("connections during the faults", count.connections)
        .row("token requests that reached the endpoint", count.requests)
        .row("reuses at the endpoint", count.reuses)
        .row(
            "longest wait after a fault, in minutes",
            count.longest_wait.as_secs() / 60,
        )
        .tell()
}

/// The one window that cannot be closed: the server has rotated and its answer is lost. It is told
/// as that, and never as anything else; the checker of the other rows would have found it.
#[tokio::test]
async fn only_an_answer_that_is_lost_after_the_rotation_costs_the_login() -> Result<()> {
    for part in [Part::Nothing, Part::HalfTheHead, Part::HalfTheBody] {
        let mut bed = Bed::new(Door::Plain, V4).await?;
        bed.network.set(Fault::Lost(part)).await?;
        ensure!(bed.first_attempt().await? == "refresh.unknown", "{part:?}");
        ensure!(bed.account()?["state"] == "unknown", "{part:?}");
        bed.network.set(Fault::Mended).await?;
        let engine = bed.broker.engine().await?;
        bed.asked_again(MINUTE + LATE).await?;
        let told = until_some("the sign-out", BUSY, || bed.called_signed_out().ok()?).await?;
        engine.stop().await;
        ensure!(bed.scene.endpoint.reuses() == 1, "{part:?}");
        ensure!(told.contains("was lost on its way"), "{part:?}: {told}");
    }
    // All of an answer had come before the connection broke: nothing is lost.
    let mut bed = Bed::new(Door::Plain, V4).await?;
    bed.network.set(Fault::Lost(Part::WholeBody)).await?;
    ensure!(bed.first_attempt().await? == RENEWED);
    bed.scene.settled()
}

#[tokio::test]
async fn a_real_refusal_is_called_signed_out() -> Result<()> {
    let mut bed = Bed::new(Door::Plain, V4).await?;
    ensure!(bed.called_signed_out()?.is_none(), "before anything was asked");
    let refusal = json!({"error": "invalid_grant", "error_description": "Invalid refresh token"});
    let refusal = answer("400 Bad Request", "application/json", &refusal.to_string());
    bed.network.set(Fault::Answer(refusal, Then::Close)).await?;
    ensure!(bed.first_attempt().await? == "refresh.signed_out");
    ensure!(bed.called_signed_out()?.is_some(), "{}", bed.account()?);
    Ok(())
}

/// Two requests without an answer: nobody knows, and nothing is sent any more. The login is not
/// called signed out, and what the store holds stays.
#[tokio::test]
async fn a_request_that_is_lost_twice_stays_in_doubt() -> Result<()> {
    let mut bed = Bed::new(Door::Plain, V4).await?;
    let before = bed.store()?;
    bed.network.set(Fault::Answer(Vec::new(), Then::Close)).await?;
    ensure!(bed.first_attempt().await? == "refresh.unknown");
    let engine = bed.broker.engine().await?;
    bed.asked_again(MINUTE + LATE).await?;
    bed.network.set(Fault::Mended).await?;
    for _ in 0..60 {
        bed.pass(MINUTE).await?;
    }
    engine.stop().await;
    ensure!(bed.network.seen() == 2, "sent again");
    ensure!(bed.called_signed_out()?.is_none(), "{}", bed.account()?);
    ensure!(bed.store()? == before, "the store changed");
    Ok(())
}

/// An hour of a server that answers every request with another 5xx.
#[tokio::test]
async fn a_storm_of_errors_is_met_with_few_requests() -> Result<()> {
    let mut bed = Bed::new(Door::Plain, V4).await?;
    let storm = [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
    ];
    let engine = bed.broker.engine().await?;
    for half_minute in 0..120 {
        let status = storm[half_minute % storm.len()];
        let page = answer(status, "text/html", "<h1>out of order</h1>");
        bed.network.set(Fault::Answer(page, Then::Close)).await?;
        bed.pass(MINUTE / 2).await?;
        ensure!(bed.called_signed_out()?.is_none(), "{}", bed.account()?);
    }
    let sent = bed.network.seen();
    ensure!(
        (4..=MOST_IN_AN_HOUR).contains(&sent),
        "{sent} requests in an hour"
    );
    bed.network.set(Fault::Mended).await?;
    bed.renewed(10 * MINUTE + LATE).await?;
    engine.stop().await;
    bed.scene.settled()?;
    println!("storm: {sent} requests in an hour of 5xx");
    Ok(())
}

/// A host of both families whose IPv6 address never answers.
#[tokio::test]
async fn a_host_is_reached_by_ipv4_when_its_ipv6_address_is_a_black_hole() -> Result<()> {
    let both: Vec<_> = tokio::net::lookup_host(("localhost", 1)).await?.collect();
    if !both.iter().any(|address| address.is_ipv6()) || !both.iter().any(|address| address.is_ipv4()) {
        not_here(format!(
            "localhost has one family ({both:?}): no way round a dead IPv6 address"
        ));
        return Ok(());
    }
    let mut bed = Bed::new(Door::Tls, V6).await?;
    let port = bed.network.address().port();
    let reachable = BadNetwork::start((V4, port).into(), bed.scene.endpoint.tls_port()).await?;
    bed.network.set(Fault::BlackHole).await?;
    let url = format!("https://localhost:{port}/oauth/token");
    bed.lead_to(&url)?;
    let environment = bed.scene.kalit.environment();
    kalit_core::oauth::trust(&environment, &bed.manifest_path())?.give()?;
    ensure!(bed.first_attempt().await? == RENEWED);
    ensure!(reachable.seen() == 1);
    bed.scene.settled()
}

#[tokio::test]
async fn a_fault_of_the_exchange_is_told_and_the_next_sign_in_works() -> Result<()> {
    let foreign = foreign().await?;
    let page = |status, body: &str| Fault::Answer(answer(status, "text/html", body), Then::Close);
    let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"access_";
    let cases = [
        (Door::Tls, Fault::BlackHole, "network.unreachable"),
        (Door::Tls, Fault::Deaf, "network.unreachable"),
        (Door::Tls, Fault::Elsewhere(foreign.tls_port()), "network.tls"),
        (Door::Plain, Fault::Reset, "login.exchange_failed"),
        (Door::Plain, Fault::Deaf, "login.exchange_failed"),
        (
            Door::Plain,
            Fault::Answer(half.to_vec(), Then::Silence),
            "login.exchange_failed",
        ),
        (
            Door::Plain,
            Fault::Answer(half.to_vec(), Then::Close),
            "login.exchange_failed",
        ),
        (Door::Plain, Fault::Lost(Part::Nothing), "login.exchange_failed"),
        (
            Door::Plain,
            Fault::Lost(Part::HalfTheBody),
            "login.exchange_failed",
        ),
        (
            Door::Plain,
            page("503 Service Unavailable", "later"),
            "provider.out_of_order",
        ),
        (
            Door::Plain,
            page("200 OK", "<h1>Welcome to our Wi-Fi</h1>"),
            "network.captive",
        ),
        (
            Door::Plain,
            page("511 Network Authentication Required", ""),
            "network.captive",
        ),
        (
            Door::Plain,
            page("429 Too Many Requests", ""),
            "provider.rate_limited",
        ),
    ];
    let rows = cases.len();
    for (door, fault, code) in cases {
        let told = format!("{door:?} {fault:?}");
        let mut bed = Bed::new(door, V4).await?;
        let before = bed.store()?;
        bed.network.set(fault).await?;
        let error = bed.sign_in().await?.err().context(told.clone())?;
        ensure!(error == code, "{told}: {error}");
        ensure!(bed.store()? == before, "{told}: the store changed");
        ensure!(
            bed.scene.journal()?.is_empty(),
            "{told}: something is in the journal"
        );
        bed.network.set(Fault::Mended).await?;
        let signed_in = bed.sign_in().await?;
        ensure!(signed_in.is_ok(), "{told}: {signed_in:?}");
        bed.scene.settled().context(told)?;
    }
    println!("faults of an exchange: {rows}, each told, each followed by a sign-in that worked");
    Ok(())
}

/// Every so-many-th row, on a clock of its own: minutes pass apart from those of the other parts.
fn got_over_in(part: usize) -> Result<Count> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let foreign = foreign().await?;
        let mut count = Count::default();
        let rows = rows(SystemClock.now(), foreign.tls_port());
        for row in rows.into_iter().skip(part).step_by(AT_ONCE) {
            let bed = Bed::new(row.door, row.host).await?;
            bed.got_over(&row, &mut count).await.context(row.name)?;
            count.rows += 1;
        }
        Ok(count)
    })
}

/// Whose authority Kalit does not know.
async fn foreign() -> Result<TokenEndpoint> {
    TokenEndpoint::start(Login::named("eve", "test-refresh-eve"), DAY).await
}

fn rows(now: Timestamp, foreign_tls: u16) -> Vec<Row> {
    let row = |name, fault, code| Row {
        name,
        fault,
        door: Door::Plain,
        host: V4,
        code,
        wait: MINUTE,
    };
    let tls = |name, fault, code| Row {
        door: Door::Tls,
        ..row(name, fault, code)
    };
    let close = |octets: &[u8]| Fault::Answer(octets.to_vec(), Then::Close);
    let silence = |octets: &[u8]| Fault::Answer(octets.to_vec(), Then::Silence);
    let flood = |octets: &[u8]| Fault::Answer(octets.to_vec(), Then::Flood);
    let page = |status, body: &str| close(&answer(status, "text/html; charset=utf-8", body));
    let json = |status, body: Value| close(&answer(status, "application/json", &body.to_string()));
    let with = |status, header: &str| {
        close(format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: 0\r\n\r\n").as_bytes())
    };
    let limited = |after: &str| with("429 Too Many Requests", &format!("retry-after: {after}"));
    let off = |by: i64| {
        let date = http_date(now.plus_millis(by));
        with("503 Service Unavailable", &format!("date: {date}"))
    };
    let half_head = b"HTTP/1.1 200 OK\r\ncontent-ty";
    let half_body = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"access_token\":\"abc";
    let endless = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000000000\r\n\r\n{\"filler\":\"";
    let endless_head = b"HTTP/1.1 200 OK\r\nx-filler: ";
    let login = "<html><form action='/login'>Sign in to our Wi-Fi</form></html>";
    let mut rows = vec![
        // Deadlines.
        tls("no connection", Fault::BlackHole, "network.unreachable"),
        tls("no TLS handshake", Fault::Deaf, "network.unreachable"),
        row("no head", Fault::Deaf, "refresh.unknown"),
        row("half a head, then nothing", silence(half_head), "refresh.unknown"),
        row("half a body, then nothing", silence(half_body), "refresh.unknown"),
        // Connections that break.
        row("reset at once", Fault::Reset, "refresh.unknown"),
        tls("reset in the TLS handshake", Fault::Reset, "network.unreachable"),
        row("closed before the answer", close(b""), "refresh.unknown"),
        row("closed in the head", close(half_head), "refresh.unknown"),
        row("closed in the body", close(half_body), "refresh.unknown"),
        row("closed after the answer", Fault::Lost(Part::WholeBody), RENEWED),
        // Bodies.
        row("a body without an end", flood(endless), "network.captive"),
        row("a head without an end", flood(endless_head), "refresh.unknown"),
        row(
            "no HTTP at all",
            close(b"SSH-2.0-OpenSSH_9.9\r\n"),
            "refresh.unknown",
        ),
        row(
            "JSON that is cut, with its length right",
            json_cut(),
            "network.captive",
        ),
        row("no body", with("200 OK", "x: y"), "provider.malformed_answer"),
        row(
            "no content",
            with("204 No Content", "x: y"),
            "provider.malformed_answer",
        ),
        row(
            "JSON without tokens",
            json("200 OK", json!({"ok": true})),
            "provider.malformed_answer",
        ),
        row(
            "an empty token",
            json("200 OK", json!({"access_token": "", "refresh_token": ""})),
            "provider.malformed_answer",
        ),
        row("a JSON list", json("200 OK", json!([1, 2])), "network.captive"),
        row(
            "plain text",
            close(&answer("200 OK", "text/plain", "OK")),
            "network.captive",
        ),
        // Networks that answer in the provider's place.
        row("a page", page("200 OK", login), "network.captive"),
        row(
            "a redirect to a page of the network",
            with("302 Found", "location: http://127.0.0.9/login"),
            "network.captive",
        ),
        row(
            "a redirect to the same host",
            with("307 Temporary Redirect", "location: /login"),
            "refresh.transient",
        ),
        row(
            "511",
            page("511 Network Authentication Required", login),
            "network.captive",
        ),
        row(
            "401 with a page",
            page("401 Unauthorized", login),
            "refresh.transient",
        ),
        row("403 with a page", page("403 Forbidden", login), "network.blocked"),
        row(
            "400 with a page that says invalid_grant",
            page("400 Bad Request", "invalid_grant"),
            "refresh.transient",
        ),
        row(
            "401 with an unknown code",
            json("401 Unauthorized", json!({"error": "server_moved"})),
            "refresh.transient",
        ),
        row(
            "407",
            with("407 Proxy Authentication Required", "x: y"),
            "network.unreachable",
        ),
        tls("TLS interception", Fault::Elsewhere(foreign_tls), "network.tls"),
        // Limits and outages.
        row(
            "429",
            with("429 Too Many Requests", "x: y"),
            "provider.rate_limited",
        ),
        Row {
            wait: 5 * MINUTE,
            ..row("429, in 300 s", limited("300"), "provider.rate_limited")
        },
        Row {
            wait: 10 * MINUTE,
            ..row(
                "429, at a date",
                limited(&http_date(now.plus_millis(600_000))),
                "provider.rate_limited",
            )
        },
        Row {
            wait: DAY,
            ..row("429, in 30 years", limited("999999999"), "provider.rate_limited")
        },
        Row {
            wait: DAY,
            ..row(
                "429, at the end of time",
                limited("Fri, 31 Dec 9999 23:59:59 GMT"),
                "provider.rate_limited",
            )
        },
        row(
            "429, in more than a number holds",
            limited("99999999999999999999999"),
            "provider.rate_limited",
        ),
        row(
            "429, in the past",
            limited("Thu, 01 Jan 1970 00:00:00 GMT"),
            "provider.rate_limited",
        ),
        row(
            "500",
            page("500 Internal Server Error", ""),
            "provider.out_of_order",
        ),
        row(
            "503 in JSON that says invalid_grant",
            json("503 Service Unavailable", json!({"error": "invalid_grant"})),
            "provider.out_of_order",
        ),
        // Clocks.
        row("an outage, a day ahead", off(86_400_000), "clock.skew"),
        row("an outage, a day behind", off(-86_400_000), "clock.skew"),
    ];
    let v6 = [
        ("IPv6: no connection", Fault::BlackHole, "network.unreachable"),
        ("IPv6: no TLS handshake", Fault::Deaf, "network.unreachable"),
    ];
    if std::net::TcpListener::bind((V6, 0)).is_ok() {
        rows.extend(v6.map(|(name, fault, code)| Row {
            host: V6,
            ..tls(name, fault, code)
        }));
    } else {
        not_here("no IPv6");
    }
    rows
}

fn json_cut() -> Fault {
    let body = "{\"access_token\":\"abc\",\"refresh_to";
    Fault::Answer(answer("200 OK", "application/json", body), Then::Close)
}

fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// As servers write it (RFC 9110, section 5.6.7).
fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A login that is due, with Kalit in this process and the network between it and the endpoint.
struct Bed {
    scene: Scene,
    network: BadNetwork,
    broker: Broker,
    clock: Arc<ManualClock>,
}

impl Bed {
    async fn new(door: Door, host: IpAddr) -> Result<Self> {
        let scene = Scene::new(Version::V2026_6_1).await?;
        let (scheme, port) = match door {
            Door::Plain => ("http", scene.endpoint.port()),
            Door::Tls => ("https", scene.endpoint.tls_port()),
        };
        let network = BadNetwork::start((host, 0).into(), port).await?;
        let authority = scene.endpoint.ca_file();
        let kalit = scene
            .kalit
            .clone()
            .with_var("SSL_CERT_FILE", authority.to_string_lossy());
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let broker = kalit.broker(clock.clone())?;
        let bed = Self {
            scene,
            network,
            broker,
            clock,
        };
        bed.lead_to(&format!("{scheme}://{}/oauth/token", bed.network.address()))?;
        Ok(bed)
    }

    fn manifest_path(&self) -> std::path::PathBuf {
        self.scene.home.path().join("kalit/providers/openai.json")
    }

    /// Lets the manifest name this token endpoint.
    fn lead_to(&self, url: &str) -> Result<()> {
        let mut manifest = self.scene.endpoint.manifest(&[free_port()?]);
        manifest["tokenUrl"] = json!(url);
        write_json(&self.manifest_path(), &manifest)
    }

    /// One row, from the fault to a renewal that nobody asked for.
    async fn got_over(mut self, row: &Row, count: &mut Count) -> Result<()> {
        let before = self.store()?;
        self.network.set(row.fault.clone()).await?;
        let code = self.first_attempt().await?;
        ensure!(code == row.code, "{code}: {}", self.account()?);
        count.signed_out += usize::from(self.called_signed_out()?.is_some());
        if code != RENEWED {
            ensure!(self.store()? == before, "the store changed");
            ensure!(self.scene.journal()?.is_empty(), "something is in the journal");
        }
        let engine = self.broker.engine().await?;
        let mut events = engine.events();
        if proof::is_long() && row.code != RENEWED && row.code != "refresh.unknown" {
            self.lasts_an_hour(row).await?;
        }
        count.connections += self.network.seen();
        self.network.set(Fault::Mended).await?;
        if code != RENEWED {
            let mended = self.clock.now();
            let asked = self.scene.doors().len();
            if proof::is_long() {
                // An hour of a day is over.
                self.pass(row.wait.saturating_sub(HOUR + EARLY)).await?;
                self.renewed(10 * MINUTE + EARLY + LATE).await?;
            } else {
                self.pass(row.wait - EARLY).await?;
                ensure!(self.scene.doors().len() == asked, "sent before its time");
                self.renewed(EARLY + LATE).await?;
            }
            let waited = self.clock.now().millis_since(mended);
            let waited = Duration::from_millis(u64::try_from(waited)?);
            count.longest_wait = count.longest_wait.max(waited);
        }
        engine.stop().await;
        while let Ok(event) = events.try_recv() {
            count.signed_out += usize::from(event.kind == EventKind::SignedOut);
        }
        ensure!(self.account()?["state"] == "healthy", "{}", self.account()?);
        count.requests += self.scene.doors().len();
        count.reuses += self.scene.endpoint.reuses();
        let issued = self.scene.endpoint.current_refresh("acct-ada");
        let stored = &self.store()?["profiles"][&self.scene.profile]["refresh"];
        count.lost += usize::from(*stored != json!(issued));
        self.scene.settled()
    }

    /// Few requests while a fault goes on, and no other word for it.
    async fn lasts_an_hour(&self, row: &Row) -> Result<()> {
        for _ in 0..120 {
            self.pass(MINUTE / 2).await?;
            ensure!(self.called_signed_out()?.is_none(), "{}", self.account()?);
        }
        let sent = self.network.seen();
        ensure!(
            sent <= MOST_IN_AN_HOUR,
            "{}: {sent} requests in an hour",
            row.name
        );
        Ok(())
    }

    /// What the schedule sends now: the error's code, or [`RENEWED`].
    async fn first_attempt(&self) -> Result<String> {
        let broker = self.broker.clone();
        let attempt = tokio::spawn(async move { broker.refresh(RefreshTarget::Due).await });
        let outcomes = self.ended(attempt).await?;
        let outcome = outcomes.first().context("nothing was due")?;
        Ok(match &outcome.error {
            Some(error) => error.code.clone(),
            None => RENEWED.to_owned(),
        })
    }

    /// A sign-in whose answer is pasted: the error's code.
    async fn sign_in(&self) -> Result<Result<(), String>> {
        let openai = ProviderId::parse("openai").context("no provider")?;
        let session = self
            .broker
            .login(LoginRequest {
                provider: openai,
                agent: AgentId::main(),
                profile_id: Some(self.scene.profile_id()?),
                use_now: false,
            })
            .await?;
        let asked = Url::parse(session.authorize_url())?;
        let parameter = |name: &str| {
            let found = asked.query_pairs().find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let mut last = Url::parse(&parameter("redirect_uri"))?;
        last.query_pairs_mut()
            .append_pair("code", &authorization_code("acct-ada"))
            .append_pair("state", &parameter("state"));
        session.handle().paste(&Secret::new(last.as_str()))?;
        let ended = self.ended(tokio::spawn(session.wait())).await?;
        Ok(ended.map(drop).map_err(|error| error.code().as_str().to_owned()))
    }

    /// Waits for a call of Kalit's; time passes only where nothing else ends it.
    async fn ended<T: Send + 'static>(&self, call: JoinHandle<T>) -> Result<T> {
        for _ in 0..CALL.as_secs() / STEP.as_secs() {
            let moment = if self.network.hangs() { MOMENT } else { BUSY };
            if until_some("its end", moment, || call.is_finished().then_some(()))
                .await
                .is_ok()
            {
                break;
            }
            passing::pass(&self.clock, STEP).await;
        }
        Ok(tokio::time::timeout(BUSY, call).await??)
    }

    /// The engine renews the login within this time.
    async fn renewed(&self, limit: Duration) -> Result<()> {
        self.asked_again(limit).await?;
        until_some("the renewal", BUSY, || {
            (self.account().ok()?["state"] == "healthy").then_some(())
        })
        .await
    }

    /// The engine sends something within this time.
    async fn asked_again(&self, limit: Duration) -> Result<()> {
        let (seen, begun) = (self.network.seen(), self.clock.now());
        let asked = || (self.network.seen() > seen).then_some(());
        while self.clock.now().millis_since(begun) < i64::try_from(limit.as_millis())? {
            if until_some("a request", MOMENT, asked).await.is_ok() {
                return Ok(());
            }
            passing::pass(&self.clock, STEP).await;
        }
        until_some("a request", BUSY, asked).await
    }

    /// Lets time pass and what it begins come to its end.
    async fn pass(&self, time: Duration) -> Result<()> {
        passing::pass(&self.clock, time).await;
        tokio::time::sleep(MOMENT).await;
        until_some("the end of a connection", BUSY, || {
            (self.network.hangs() || self.network.open() == 0).then_some(())
        })
        .await
    }

    fn store(&self) -> Result<Value> {
        read_json(&self.scene.home.profiles_path("main"))
    }

    fn account(&self) -> Result<Value> {
        let snapshot = serde_json::to_value(self.broker.snapshot())?;
        account(&snapshot, "main", &self.scene.profile)
    }

    /// The sentence with which a login is called signed out.
    fn called_signed_out(&self) -> Result<Option<String>> {
        let account = self.account()?;
        let called = account["state"] == "signed-out" || account["status"] == "signed-out";
        Ok(called.then(|| account["sentence"].as_str().unwrap_or_default().to_owned()))
    }
}
