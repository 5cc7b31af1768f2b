//! Token requests against real sockets: every way in which an endpoint, a proxy or a network can
//! answer or fail to.

use super::*;
use crate::clock::ManualClock;
use crate::oauth::testing::{
    FakeServer, Reply, environment, free_port, jwt, loopback_provider, manifest, read_request, until,
};
use crate::oauth::token_host_answers;
use crate::settings::Settings;
use serde_json::json;
use std::sync::{LazyLock, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Mon, 23 Nov 2026 12:00:00 GMT
const NOW: i64 = 1_795_435_200_000;
const DEADLINE: Duration = Duration::from_secs(20);

fn endpoint_in(environment: &Environment) -> TokenEndpoint {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    TokenEndpoint::new(environment, clock).unwrap()
}

/// Shared, because reading the system's certificates takes a while without optimisation.
static PLAIN: LazyLock<TokenEndpoint> = LazyLock::new(|| endpoint_in(&environment()));

async fn refresh_at(token_url: &str, environment: &Environment, deadline: Duration) -> RefreshAnswer {
    let provider = loopback_provider(token_url, &[1455]);
    endpoint_in(environment)
        .refresh(&provider, &Secret::new("REF0"), None, deadline)
        .await
}

async fn refresh_with(reply: Reply) -> (RefreshAnswer, FakeServer) {
    let server = FakeServer::start(vec![reply]).await;
    let provider = loopback_provider(&server.token_url(), &[1455]);
    let answer = PLAIN
        .refresh(&provider, &Secret::new("REF0"), None, DEADLINE)
        .await;
    (answer, server)
}

/// One word for the kind of answer, with what decides.
fn told(answer: &RefreshAnswer) -> String {
    let text = format!("{answer:?}");
    for secret in ["REF0", "REF1", "ACC1"] {
        assert!(!text.contains(secret), "{text}");
    }
    match answer {
        RefreshAnswer::Rotated(tokens) => {
            let refresh = tokens.refresh.as_ref().map_or("-", |refresh| refresh.expose());
            format!("rotated {} {refresh}", tokens.access.expose())
        }
        RefreshAnswer::OnlyRefresh { refresh, .. } => format!("only {}", refresh.expose()),
        RefreshAnswer::Refused(refusal) => {
            format!(
                "{:?} {} {}",
                refusal.outcome.class,
                refusal.status,
                refusal.outcome.error.as_str()
            )
        }
        RefreshAnswer::NotSent(error) => format!("not sent: {}", error.code().as_str()),
        RefreshAnswer::Unknown => "unknown".to_owned(),
    }
}

fn rotated() -> Value {
    json!({"access_token": "ACC1", "refresh_token": "REF1", "expires_in": 864_000, "token_type": "Bearer"})
}

const OK: &str = "rotated ACC1 REF1";

#[tokio::test]
async fn the_request_is_byte_for_byte_openclaws() {
    let (answer, server) = refresh_with(Reply::json(200, &rotated())).await;
    assert_eq!(told(&answer), OK);
    let request = server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        "grant_type=refresh_token&refresh_token=REF0&client_id=app_EMoamEEZ73f0CkXaXp7hrann"
    );
    let head = head.to_lowercase();
    assert!(head.starts_with("post /token http/1.1\r\n"), "{head}");
    assert!(
        head.contains("\r\ncontent-type: application/x-www-form-urlencoded"),
        "{head}"
    );
    assert!(head.contains("\r\nuser-agent: kalit/"), "{head}");
    assert!(!head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn the_recorded_client_id_and_endpoint_are_used() {
    let server = FakeServer::start(vec![Reply::json(200, &rotated())]).await;
    let provider = loopback_provider("http://127.0.0.1:9/token", &[1455])
        .at_token_url(&server.token_url())
        .unwrap();
    let endpoint = &PLAIN;
    let answer = endpoint
        .refresh(&provider, &Secret::new("a+b&c"), Some("older-client"), DEADLINE)
        .await;
    assert_eq!(told(&answer), OK);
    assert_eq!(
        server.bodies(),
        ["grant_type=refresh_token&refresh_token=a%2Bb%26c&client_id=older-client"]
    );
}

#[tokio::test]
async fn a_json_provider_gets_json() {
    let server = FakeServer::start(vec![Reply::json(200, &rotated())]).await;
    let provider = manifest(&json!({
        "manifest": 1, "id": "acme", "flow": "pkce", "clientId": "c", "tokenRequest": "json",
        "authorizeUrl": "http://127.0.0.1:9/authorize", "tokenUrl": server.token_url(),
    }));
    let endpoint = &PLAIN;
    endpoint
        .refresh(&provider, &Secret::new("REF0"), None, DEADLINE)
        .await;
    assert_eq!(
        server.bodies(),
        [r#"{"grant_type":"refresh_token","refresh_token":"REF0","client_id":"c"}"#]
    );
    assert!(
        server.requests()[0]
            .to_lowercase()
            .contains("content-type: application/json")
    );
}

#[tokio::test]
async fn every_answer_is_told_as_what_it_is_and_asked_for_once() {
    let html = "<html>sign in to the Wi-Fi</html>";
    let error =
        |code: &str| json!({"error": {"message": "REF0", "type": "invalid_request_error", "code": code}});
    let cases = [
        (Reply::json(200, &rotated()), OK),
        (Reply::http(200, "text/plain", &rotated().to_string()), OK),
        (
            Reply::json(200, &json!({"access_token": "ACC1"})),
            "rotated ACC1 -",
        ),
        (
            Reply::json(200, &json!({"refresh_token": "REF1", "expires_in": 5})),
            "only REF1",
        ),
        (
            Reply::json(200, &json!({})),
            "Transient { retry_after: None } 200 provider.malformed_answer",
        ),
        (
            Reply::json(200, &json!({"error": "invalid_grant"})),
            "Transient { retry_after: None } 200 provider.malformed_answer",
        ),
        (
            Reply::http(200, "text/html", html),
            "Transient { retry_after: None } 200 network.captive",
        ),
        (
            Reply::http(200, "application/json", "{\"access_token\":"),
            "Transient { retry_after: None } 200 network.captive",
        ),
        (
            Reply::http(200, "application/json", ""),
            "Transient { retry_after: None } 200 provider.malformed_answer",
        ),
        (
            Reply::with_headers(204, "", ""),
            "Transient { retry_after: None } 204 provider.malformed_answer",
        ),
        (
            Reply::http(200, "application/json", &"x".repeat(10 << 20)),
            "Transient { retry_after: None } 200 network.captive",
        ),
        (
            Reply::json(400, &json!({"error": "invalid_grant"})),
            "Permanent 400 refresh.signed_out",
        ),
        (
            Reply::json(401, &error("refresh_token_reused")),
            "Permanent 401 refresh.signed_out",
        ),
        (
            Reply::json(401, &error("refresh_token_invalidated")),
            "Permanent 401 refresh.signed_out",
        ),
        (
            Reply::json(401, &error("unheard_of")),
            "Suspect 401 refresh.transient",
        ),
        (
            Reply::http(401, "text/html", html),
            "Suspect 401 refresh.transient",
        ),
        (
            Reply::json(401, &json!({"error": "invalid_client"})),
            "ClientFault 401 refresh.client_rejected",
        ),
        (
            Reply::json(400, &json!({"error": "invalid_request"})),
            "RequestFault 400 refresh.request_rejected",
        ),
        (
            Reply::json(403, &error("unsupported_country_region_territory")),
            "Transient { retry_after: None } 403 provider.region",
        ),
        (
            Reply::http(403, "text/html", html),
            "Transient { retry_after: None } 403 network.blocked",
        ),
        (
            Reply::with_headers(403, "cf-mitigated: challenge\r\n", "{}"),
            "Transient { retry_after: None } 403 network.blocked",
        ),
        (
            Reply::with_headers(429, "Retry-After: 7\r\n", ""),
            "Transient { retry_after: Some(7s) } 429 provider.rate_limited",
        ),
        (
            Reply::with_headers(503, "Retry-After: Mon, 23 Nov 2026 12:01:00 GMT\r\n", html),
            "Transient { retry_after: Some(60s) } 503 provider.out_of_order",
        ),
        (
            Reply::with_headers(503, "Retry-After: Mon, 23 Nov 2020 12:01:00 GMT\r\n", html),
            "Transient { retry_after: Some(0ns) } 503 provider.out_of_order",
        ),
        (
            Reply::with_headers(503, "Retry-After: soon\r\n", html),
            "Transient { retry_after: None } 503 provider.out_of_order",
        ),
        (
            Reply::with_headers(302, "Location: http://wifi.example/login\r\n", ""),
            "Transient { retry_after: None } 302 network.captive",
        ),
        (
            Reply::with_headers(307, "Location: /token2\r\n", ""),
            "Suspect 307 refresh.transient",
        ),
        (
            Reply::http(511, "text/html", html),
            "Transient { retry_after: None } 511 network.captive",
        ),
        (
            Reply::http(407, "text/html", html),
            "Transient { retry_after: None } 407 network.unreachable",
        ),
        (
            Reply::http(404, "text/html", html),
            "Suspect 404 refresh.transient",
        ),
        (Reply::Drop, "unknown"),
        (
            Reply::Octets(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
            "unknown",
        ),
        (Reply::Octets(b"not http at all\r\n\r\n".to_vec()), "unknown"),
        (
            Reply::Octets(
                b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access_token\":\"ACC1\"".to_vec(),
            ),
            "unknown",
        ),
    ];
    for (reply, expected) in cases {
        let shown: String = format!("{reply:?}").chars().take(200).collect();
        let (answer, server) = refresh_with(reply).await;
        assert_eq!(told(&answer), expected, "{shown}");
        assert_eq!(server.requests().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn tokens_that_came_whole_survive_a_cut_connection() {
    let body = rotated().to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() + 100);
    let (answer, _server) = refresh_with(Reply::Octets(format!("{head}{body}").into_bytes())).await;
    assert_eq!(told(&answer), OK);
}

#[tokio::test]
async fn a_ten_megabyte_answer_is_not_read_to_its_end() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::new(Mutex::new(0_usize));
    let count = Arc::clone(&sent);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while stream.write_all(chunk.as_bytes()).await.is_ok() {
            *count.lock().unwrap() += 0x10000;
        }
    });
    let url = format!("http://127.0.0.1:{port}/token");
    let answer = refresh_at(&url, &environment(), DEADLINE).await;
    assert_eq!(
        told(&answer),
        "Transient { retry_after: None } 200 network.captive"
    );
    assert!(*sent.lock().unwrap() < 64 << 20);
}

#[tokio::test]
async fn silence_and_dawdling_end_at_the_deadline_as_unknown() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec();
    for reply in [Reply::Hang, Reply::Slowly(head, Duration::from_millis(40))] {
        let server = FakeServer::start(vec![reply]).await;
        let begin = std::time::Instant::now();
        let answer = refresh_at(&server.token_url(), &environment(), Duration::from_millis(300)).await;
        assert_eq!(told(&answer), "unknown");
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn what_never_left_is_known_not_to_have_left() {
    let port = free_port().await;
    let refused = format!("http://127.0.0.1:{port}/token");
    let plain = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let not_tls = format!("https://127.0.0.1:{}/token", plain.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    for (url, expected) in [
        (refused.as_str(), "not sent: network.unreachable"),
        (
            "https://no-such-host.invalid/token",
            "not sent: network.unreachable",
        ),
        (not_tls.as_str(), "not sent: network.tls"),
    ] {
        let answer = refresh_at(url, &environment(), DEADLINE).await;
        assert_eq!(told(&answer), expected, "{url}");
    }
}

#[tokio::test]
async fn an_empty_refresh_token_or_a_static_provider_sends_nothing() {
    let server = FakeServer::start(vec![Reply::json(200, &rotated())]).await;
    let endpoint = &PLAIN;
    let provider = loopback_provider(&server.token_url(), &[1455]);
    let answer = endpoint
        .refresh(&provider, &Secret::new(""), None, DEADLINE)
        .await;
    assert_eq!(told(&answer), "not sent: refresh.request_rejected");
    let fixed = manifest(&json!({"manifest": 1, "id": "acme", "flow": "token"}));
    let answer = endpoint
        .refresh(&fixed, &Secret::new("REF0"), None, DEADLINE)
        .await;
    assert_eq!(told(&answer), "not sent: profile.not_refreshable");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn the_date_header_shows_a_clock_an_hour_off() {
    for (date, skew, off) in [
        ("Date: Mon, 23 Nov 2026 12:00:00 GMT\r\n", Some(0), false),
        ("Date: Mon, 23 Nov 2026 11:58:30 GMT\r\n", Some(90_000), false),
        ("Date: Mon, 23 Nov 2026 13:00:00 GMT\r\n", Some(-3_600_000), true),
        ("Date: Mon, 23 Nov 2026 11:00:00 GMT\r\n", Some(3_600_000), true),
        ("Date: tomorrow\r\n", None, false),
        ("", None, false),
    ] {
        let (answer, _server) = refresh_with(Reply::with_headers(200, date, &rotated().to_string())).await;
        let RefreshAnswer::Rotated(tokens) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((tokens.skew_ms, tokens.clock_is_off()), (skew, off), "{date}");
        let (answer, _server) = refresh_with(Reply::with_headers(503, date, "")).await;
        let RefreshAnswer::Refused(refusal) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((refusal.skew_ms, refusal.clock_is_off()), (skew, off), "{date}");
    }
}

/// An HTTP proxy that forwards absolute-form requests and CONNECT tunnels and counts both.
async fn http_proxy(reply_to_connect: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let Some(request) = read_request(&mut stream).await else {
                    return;
                };
                let line = request.lines().next().unwrap_or_default().to_owned();
                log.lock().unwrap().push(line.clone());
                let target = line.split(' ').nth(1).unwrap_or_default();
                if line.starts_with("CONNECT ") {
                    let head = format!("HTTP/1.1 {reply_to_connect}\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.unwrap();
                    if reply_to_connect.starts_with("200") {
                        let mut upstream = TcpStream::connect(target).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
                    }
                    return;
                }
                let url = Url::parse(target).unwrap();
                let mut upstream = TcpStream::connect(("127.0.0.1", url.port().unwrap()))
                    .await
                    .unwrap();
                upstream
                    .write_all(request.replace(target, url.path()).as_bytes())
                    .await
                    .unwrap();
                let mut answer = Vec::new();
                upstream.read_to_end(&mut answer).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            });
        }
    });
    (port, seen)
}

/// A SOCKS5 proxy without authentication (RFC 1928); keeps the kind of address it was asked for.
async fn socks_proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut greeting = [0; 2];
                stream.read_exact(&mut greeting).await.unwrap();
                let mut methods = vec![0; usize::from(greeting[1])];
                stream.read_exact(&mut methods).await.unwrap();
                stream.write_all(&[5, 0]).await.unwrap();
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.unwrap();
                let host = match request[3] {
                    1 => {
                        let mut address = [0; 4];
                        stream.read_exact(&mut address).await.unwrap();
                        std::net::Ipv4Addr::from(address).to_string()
                    }
                    3 => {
                        let length = stream.read_u8().await.unwrap();
                        let mut name = vec![0; usize::from(length)];
                        stream.read_exact(&mut name).await.unwrap();
                        String::from_utf8(name).unwrap()
                    }
                    other => panic!("address type {other}"),
                };
                let port = stream.read_u16().await.unwrap();
                log.lock().unwrap().push(format!("type {} {host}", request[3]));
                let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
            });
        }
    });
    (port, seen)
}

fn with_vars(vars: &[(&str, String)]) -> Environment {
    vars.iter().fold(environment(), |environment, (name, value)| {
        environment.with_var(name, value)
    })
}

#[tokio::test]
async fn all_proxy_is_used_in_every_scheme_and_spelling() {
    let server = FakeServer::start(vec![Reply::json(200, &rotated())]).await;
    let (http, http_seen) = http_proxy("200 OK").await;
    let (socks, socks_seen) = socks_proxy().await;
    for (name, value) in [
        ("ALL_PROXY", format!("http://127.0.0.1:{http}")),
        ("all_proxy", format!("http://127.0.0.1:{http}")),
        ("ALL_PROXY", format!("127.0.0.1:{http}")),
        ("ALL_PROXY", format!("socks5://127.0.0.1:{socks}")),
        ("all_proxy", format!("socks5h://127.0.0.1:{socks}")),
    ] {
        let answer = refresh_at(
            &server.token_url(),
            &with_vars(&[(name, value.clone())]),
            DEADLINE,
        )
        .await;
        assert_eq!(told(&answer), OK, "{name}={value}");
    }
    assert_eq!(http_seen.lock().unwrap().len(), 3);
    assert_eq!(
        http_seen.lock().unwrap()[0],
        format!("POST {} HTTP/1.1", server.token_url())
    );
    assert_eq!(socks_seen.lock().unwrap().len(), 2);
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn the_proxy_of_the_settings_stands_before_the_environments() {
    let server = FakeServer::start(vec![Reply::json(200, &rotated())]).await;
    let (chosen, chosen_seen) = http_proxy("200 OK").await;
    let (other, other_seen) = http_proxy("200 OK").await;
    let dir = tempfile::tempdir().unwrap();
    let environment = with_vars(&[
        ("KALIT_CONFIG_DIR", dir.path().display().to_string()),
        ("ALL_PROXY", format!("http://127.0.0.1:{other}")),
    ]);
    let url = server.token_url();
    let refreshed = || refresh_at(&url, &environment, DEADLINE);
    assert_eq!(told(&refreshed().await), OK);
    let proxy = Some(format!("http://127.0.0.1:{chosen}"));
    Settings::update(&environment, |settings| settings.proxy = proxy).unwrap();
    assert_eq!(told(&refreshed().await), OK);
    let seen = |log: &Mutex<Vec<String>>| log.lock().unwrap().len();
    assert_eq!((seen(&other_seen), seen(&chosen_seen)), (1, 1));
}

#[tokio::test]
async fn no_proxy_is_respected_in_both_spellings() {
    let server = FakeServer::start(vec![Reply::json(200, &rotated())]).await;
    let (proxy, seen) = http_proxy("200 OK").await;
    for (name, value) in [
        ("NO_PROXY", "127.0.0.1"),
        ("no_proxy", "example.com, 127.0.0.0/8"),
        ("NO_PROXY", "*"),
    ] {
        let environment = with_vars(&[
            ("ALL_PROXY", format!("http://127.0.0.1:{proxy}")),
            (name, value.to_owned()),
        ]);
        let answer = refresh_at(&server.token_url(), &environment, DEADLINE).await;
        assert_eq!(told(&answer), OK, "{name}={value}");
    }
    assert_eq!(seen.lock().unwrap().len(), 0);
    let elsewhere = with_vars(&[
        ("ALL_PROXY", format!("http://127.0.0.1:{proxy}")),
        ("NO_PROXY", "example.com".to_owned()),
    ]);
    refresh_at(&server.token_url(), &elsewhere, DEADLINE).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn https_proxy_is_for_https_only_and_its_refusal_means_not_sent() {
    let server = FakeServer::start(vec![Reply::json(200, &rotated())]).await;
    let (wants_password, seen) = http_proxy("407 Proxy Authentication Required").await;
    let environment = with_vars(&[("HTTPS_PROXY", format!("http://127.0.0.1:{wants_password}"))]);
    let plain = refresh_at(&server.token_url(), &environment, DEADLINE).await;
    assert_eq!(told(&plain), OK);
    assert_eq!(seen.lock().unwrap().len(), 0);

    let secured = refresh_at("https://token.example/token", &environment, DEADLINE).await;
    let RefreshAnswer::NotSent(error) = &secured else {
        panic!("{secured:?}")
    };
    assert_eq!(error.message(), "the proxy did not let the connection through");
    assert_eq!(*seen.lock().unwrap(), ["CONNECT token.example:443 HTTP/1.1"]);

    let gone = free_port().await;
    for scheme in ["http", "socks5h"] {
        let environment = with_vars(&[("https_proxy", format!("{scheme}://127.0.0.1:{gone}"))]);
        let answer = refresh_at("https://token.example/token", &environment, DEADLINE).await;
        assert_eq!(told(&answer), "not sent: network.unreachable", "{scheme}");
    }
}

#[tokio::test]
async fn a_proxy_variable_that_is_no_address_is_named_without_its_password() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let environment = with_vars(&[("HTTPS_PROXY", "http://me:hunter2@:nowhere:/".to_owned())]);
    let error = TokenEndpoint::new(&environment, clock).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetworkUnreachable);
    assert_eq!(error.message(), "HTTPS_PROXY is not the address of a proxy");
    assert!(!format!("{error:?}{}", error.hint()).contains("hunter2"));
}

/// A token endpoint with TLS: its certificate for `name` comes from a throw-away authority whose
/// certificate is returned as PEM.
fn tls_server(name: &str, expired: bool) -> (u16, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        leaf.not_before = date_time_ymd(2001, 1, 1);
        leaf.not_after = date_time_ymd(2002, 1, 1);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &issuer).unwrap().der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.ends_with(b"hrann") && !request.starts_with(b"HEAD") {
                match tls.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
            }
            if !request.is_empty() {
                let body = rotated().to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = tls.write_all(format!("{head}{body}").as_bytes());
                tls.conn.send_close_notify();
                let _ = tls.flush();
            }
        }
    });
    (port, authority_pem)
}

#[tokio::test]
async fn an_added_authority_is_trusted_and_an_unknown_one_is_interception() {
    let directory = tempfile::tempdir().unwrap();
    let (port, authority) = tls_server("localhost", false);
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let trusting = with_vars(&[("SSL_CERT_FILE", file.display().to_string())]);
    let url = format!("https://localhost:{port}/token");
    assert_eq!(told(&refresh_at(&url, &trusting, DEADLINE).await), OK);
    assert_eq!(
        told(&refresh_at(&url, &environment(), DEADLINE).await),
        "not sent: network.tls"
    );
    let wrong_name = format!("https://127.0.0.1:{port}/token");
    assert_eq!(
        told(&refresh_at(&wrong_name, &trusting, DEADLINE).await),
        "not sent: network.tls"
    );
}

#[tokio::test]
async fn a_token_host_answers_over_trusted_tls_only() {
    let directory = tempfile::tempdir().unwrap();
    let (port, authority) = tls_server("localhost", false);
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let trusting = with_vars(&[("SSL_CERT_FILE", file.display().to_string())]);
    let provider = loopback_provider(&format!("https://localhost:{port}/token"), &[1455]);
    token_host_answers(&provider, &trusting).await.unwrap();
    let error = token_host_answers(&provider, &environment()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetworkTls);
}

#[tokio::test]
async fn a_certificate_out_of_its_time_points_to_the_clock() {
    let directory = tempfile::tempdir().unwrap();
    let (port, authority) = tls_server("localhost", true);
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let trusting = with_vars(&[("SSL_CERT_FILE", file.display().to_string())]);
    let answer = refresh_at(&format!("https://localhost:{port}/token"), &trusting, DEADLINE).await;
    let RefreshAnswer::NotSent(error) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(error.code(), ErrorCode::NetworkTls);
    assert!(error.hint().contains("clock"), "{}", error.hint());
}

#[tokio::test]
async fn tls_goes_through_a_connect_tunnel() {
    let directory = tempfile::tempdir().unwrap();
    let (port, authority) = tls_server("localhost", false);
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, authority).unwrap();
    let (proxy, seen) = http_proxy("200 OK").await;
    let environment = with_vars(&[
        ("SSL_CERT_FILE", file.display().to_string()),
        ("HTTPS_PROXY", format!("http://127.0.0.1:{proxy}")),
    ]);
    let answer = refresh_at(&format!("https://localhost:{port}/token"), &environment, DEADLINE).await;
    assert_eq!(told(&answer), OK);
    assert_eq!(
        *seen.lock().unwrap(),
        [format!("CONNECT localhost:{port} HTTP/1.1")]
    );
}

#[tokio::test]
async fn an_unreadable_certificate_file_is_named() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
    let environment = with_vars(&[("SSL_CERT_FILE", "/nonexistent/ca.pem".to_owned())]);
    let error = TokenEndpoint::new(&environment, clock).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetworkTls);
    assert!(error.message().contains("SSL_CERT_FILE"), "{error}");
}

#[tokio::test]
async fn concurrent_calls_share_no_connection() {
    let server = FakeServer::start(vec![Reply::json(200, &json!({"access_token": jwt(&json!({}))}))]).await;
    let provider = loopback_provider(&server.token_url(), &[1455]);
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let (endpoint, provider) = (PLAIN.clone(), provider.clone());
            tokio::spawn(async move {
                endpoint
                    .refresh(&provider, &Secret::new("REF0"), None, DEADLINE)
                    .await
            })
        })
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap(), RefreshAnswer::Rotated(_)));
    }
    until("five requests", || server.requests().len() == 5).await;
}
