//! Every fault of a network or a server that can be provoked on loopback, between Kalit in this
//! process and a token endpoint: no login is called signed out for it, no generation is lost, and
//! once the fault is mended the engine renews by itself. Minutes pass at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use kalit_core::clock::{Clock, SystemClock};
use kalit_journeys::bad_network::{BadNetwork, Fault, Part, Then};
use kalit_journeys::proof::{Figures, not_here};
use kalit_journeys::renewal::BUSY;
use kalit_journeys::token_endpoint::{Door, Login, TokenEndpoint};
use kalit_journeys::wait::until_some;
use serde_json::json;

mod passing;

#[path = "network/bed.rs"]
mod bed;
#[path = "network/rows.rs"]
mod rows;

use bed::Bed;
use rows::{RENEWED, answer, rows};

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

/// Rows that are tried at the same time.
const AT_ONCE: usize = 4;

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
