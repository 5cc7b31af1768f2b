//! The faults of a renewal, and what Kalit makes of each.

use std::net::IpAddr;
use std::time::Duration;

use kalit_core::clock::Timestamp;
use kalit_journeys::bad_network::{Fault, Part, Then};
use kalit_journeys::proof::not_here;
use kalit_journeys::token_endpoint::Door;
use serde_json::{Value, json};

use crate::{DAY, MINUTE, V4, V6};

/// One fault and what Kalit makes of it.
pub struct Row {
    pub name: &'static str,
    pub fault: Fault,
    pub door: Door,
    pub host: IpAddr,
    /// The error's code, or [`RENEWED`].
    pub code: &'static str,
    /// From the failure to the next request.
    pub wait: Duration,
}

/// In spite of the fault.
pub const RENEWED: &str = "renewed";

pub fn rows(now: Timestamp, foreign_tls: u16) -> Vec<Row> {
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

pub fn answer(status: &str, kind: &str, body: &str) -> Vec<u8> {
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
