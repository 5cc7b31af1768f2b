//! The listener against real sockets.

use super::*;
use crate::oauth::pkce::State;
use crate::oauth::provider::Provider;
use crate::oauth::redirect::RedirectUri;
use crate::oauth::testing::{free_port, has_v6, loopback_provider, until};
use crate::secret::Secret;
use tokio::sync::oneshot;

struct Site {
    port: u16,
    state: String,
    settlement: Settlement,
    settled: oneshot::Receiver<Settled>,
    _serving: Serving,
}

fn provider(ports: &[u16]) -> Provider {
    loopback_provider("http://127.0.0.1:9/token", ports)
}

fn redirect(ports: &[u16]) -> Redirect {
    provider(ports).authorization().unwrap().redirect.clone()
}

async fn site() -> Site {
    let provider = provider(&[free_port().await]);
    let authorization = provider.authorization().unwrap();
    let listener = CallbackListener::bind(&authorization.redirect).await.unwrap();
    let port = listener.port();
    let state = State::random().unwrap();
    let expected = Expected::new(
        state.clone(),
        RedirectUri::new(authorization, port),
        authorization.url.clone(),
    );
    let (settlement, settled) = Settlement::new();
    Site {
        port,
        state: state.as_str().to_owned(),
        settlement: settlement.clone(),
        settled,
        _serving: listener.serve(Arc::new(expected), settlement),
    }
}

impl Site {
    fn get(&self, target: &str, headers: &str) -> String {
        format!(
            "GET {target} HTTP/1.1\r\nHost: localhost:{}\r\n{headers}\r\n",
            self.port
        )
    }

    fn callback(&self, query: &str) -> String {
        self.get(&format!("/auth/callback?{query}"), "")
    }

    fn success(&self) -> String {
        format!("code=the-code&state={}", self.state)
    }

    async fn send(&self, request: &str) -> String {
        exchange(("127.0.0.1", self.port), request.as_bytes()).await
    }

    async fn status(&self, request: &str) -> u16 {
        let answer = self.send(request).await;
        answer.split(' ').nth(1).expect(&answer).parse().unwrap()
    }

    fn is_waiting(&mut self) -> bool {
        matches!(self.settled.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }
}

async fn exchange(address: (&str, u16), request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_wrong_state_is_refused_and_the_right_one_still_succeeds() {
    let mut site = site().await;
    let state = site.state.clone();
    for query in [
        "code=c&state=wrong".to_owned(),
        "code=c".to_owned(),
        "code=c&state=".to_owned(),
        "error=access_denied&state=wrong".to_owned(),
        "error=access_denied".to_owned(),
        format!("code=c&state={}", &state[..42]),
        format!("code=c&state={state}&state={state}"),
        format!("code=c&state={state}&state=wrong"),
        format!("state={state}"),
        format!("code=&state={state}"),
        format!("code=a&code=b&state={state}"),
        String::new(),
    ] {
        assert_eq!(site.status(&site.callback(&query)).await, 400, "{query}");
        assert!(site.is_waiting(), "{query}");
    }
    assert_eq!(site.status(&site.callback(&site.success())).await, 200);
    assert_eq!(site.settled.await.unwrap().unwrap().expose(), "the-code");
}

#[tokio::test]
async fn a_refusal_with_the_right_state_ends_the_sign_in_and_is_not_echoed() {
    for (query, code) in [
        (
            "error=access_denied&error_description=%3Cscript%3Eevil",
            ErrorCode::LoginDenied,
        ),
        ("error=%3Cscript%3E", ErrorCode::LoginDenied),
        (
            "error=access_denied&error_description=missing_codex_entitlement%3A+x",
            ErrorCode::LoginEntitlement,
        ),
        (
            "code=c&iss=https%3A%2F%2Fevil.example",
            ErrorCode::LoginIssuerMismatch,
        ),
        (
            "error=access_denied&iss=https%3A%2F%2Fevil.example",
            ErrorCode::LoginIssuerMismatch,
        ),
    ] {
        let site = site().await;
        let answer = site
            .send(&site.callback(&format!("{query}&state={}", site.state)))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            !answer.contains("evil") && !answer.contains("<script"),
            "{answer}"
        );
        let error = site.settled.await.unwrap().unwrap_err();
        assert_eq!(error.code(), code, "{query}");
        assert!(!format!("{error}{}", error.hint()).contains("evil"));
    }
}

#[tokio::test]
async fn the_issuer_of_the_authorization_endpoint_is_accepted() {
    let site = site().await;
    let query = format!("{}&iss=http%3A%2F%2F127.0.0.1%3A9", site.success());
    assert_eq!(site.status(&site.callback(&query)).await, 200);
    assert_eq!(site.settled.await.unwrap().unwrap().expose(), "the-code");
}

#[tokio::test]
async fn a_replayed_code_is_a_conflict_and_changes_nothing() {
    let site = site().await;
    let first = site.callback(&site.success());
    assert_eq!(site.status(&first).await, 200);
    assert_eq!(site.status(&first).await, 409);
    let other = site.callback(&format!("code=other&state={}", site.state));
    assert_eq!(site.status(&other).await, 409);
    let denied = site.callback(&format!("error=access_denied&state={}", site.state));
    assert_eq!(site.status(&denied).await, 409);
    assert_eq!(site.status(&site.callback("code=c&state=wrong")).await, 400);
    assert_eq!(site.settled.await.unwrap().unwrap().expose(), "the-code");
}

#[tokio::test]
async fn a_cancelled_sign_in_takes_no_code() {
    let site = site().await;
    assert!(site.settlement.cancel());
    assert_eq!(site.status(&site.callback(&site.success())).await, 409);
    assert!(site.settled.await.is_err());
}

#[tokio::test]
async fn only_loopback_hosts_with_our_port_are_answered() {
    let mut site = site().await;
    let port = site.port;
    let target = format!("/auth/callback?{}", site.success());
    let with = |host: &str| format!("GET {target} HTTP/1.1\r\n{host}\r\n");
    for host in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        format!("Host: localhost.evil.example:{port}\r\n"),
        "Host: localhost\r\n".to_owned(),
        format!("Host: localhost:{}\r\n", port ^ 1),
        format!("Host: 127.0.0.2:{port}\r\n"),
        format!("Host: localhost:{port}\r\nHost: evil.example\r\n"),
        String::new(),
    ] {
        assert_eq!(site.status(&with(&host)).await, 403, "{host}");
        assert!(site.is_waiting(), "{host}");
    }
    for host in ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"] {
        let request = format!("GET /other HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        assert_eq!(site.status(&request).await, 404, "{host}");
    }
}

#[tokio::test]
async fn other_sites_scripts_images_and_frames_are_refused_but_navigation_is_not() {
    let mut site = site().await;
    let target = format!("/auth/callback?{}", site.success());
    for headers in [
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nOrigin: https://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n",
        "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
    ] {
        assert_eq!(site.status(&site.get(&target, headers)).await, 403, "{headers}");
        assert!(site.is_waiting(), "{headers}");
    }
    let navigation = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-User: ?1\r\n";
    assert_eq!(site.status(&site.get(&target, navigation)).await, 200);
    assert_eq!(site.settled.await.unwrap().unwrap().expose(), "the-code");
}

#[tokio::test]
async fn only_get_and_only_the_exact_path() {
    let mut site = site().await;
    let success = site.success();
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "get"] {
        let request = format!(
            "{method} /auth/callback?{success} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Length: 2\r\n\r\nhi",
            site.port
        );
        let answer = site.send(&request).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
        assert!(answer.contains("\r\nAllow: GET\r\n"));
    }
    for path in [
        "/cancel",
        "/success",
        "/",
        "/auth/callback/",
        "/auth/callback/x",
        "/Auth/callback",
        "//auth/callback",
        "/auth/%63allback",
        "/favicon.ico",
    ] {
        let request = site.get(&format!("{path}?{success}"), "");
        assert_eq!(site.status(&request).await, 404, "{path}");
    }
    assert!(site.is_waiting());
}

#[tokio::test]
async fn nonsense_is_a_bad_request() {
    let mut site = site().await;
    for head in [
        "hello\r\n\r\n",
        "GET\r\n\r\n",
        "GET /auth/callback\r\n\r\n",
        "GET /auth/callback HTTP/2.0\r\n\r\n",
        "GET http://localhost/auth/callback HTTP/1.1\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
    ] {
        assert_eq!(site.status(head).await, 400, "{head:?}");
    }
    let answer = exchange(("127.0.0.1", site.port), b"GET /\xff HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"));
    assert!(site.is_waiting());
}

#[tokio::test]
async fn a_long_head_is_cut_off() {
    let site = site().await;
    let long = site.get("/auth/callback", &format!("X: {}\r\n", "x".repeat(9000)));
    assert_eq!(site.status(&long).await, 431);
    let endless = format!("GET /{} ", "x".repeat(20_000));
    assert_eq!(site.status(&endless).await, 431);
    let fits = site.get("/auth/callback", &format!("X: {}\r\n", "x".repeat(8000)));
    assert_eq!(site.status(&fits).await, 400);
}

#[tokio::test]
async fn every_page_carries_the_security_headers() {
    let site = site().await;
    for request in [
        site.callback("code=c&state=wrong"),
        site.get("/cancel", ""),
        site.callback(&site.success()),
    ] {
        let answer = site.send(&request).await;
        for header in [
            "Content-Type: text/html; charset=utf-8",
            "Content-Security-Policy: default-src 'none'; style-src 'sha256-",
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Referrer-Policy: no-referrer",
            "Cache-Control: no-store",
            "Connection: close",
        ] {
            assert!(answer.contains(&format!("\r\n{header}")), "{header}: {answer}");
        }
        assert!(!answer.contains("Access-Control"), "{answer}");
        assert!(!answer.contains("Location:"), "{answer}");
        assert!(
            !answer.contains("the-code") && !answer.contains(&site.state),
            "{answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    }
}

#[tokio::test]
async fn the_browser_is_answered_before_the_sign_in_goes_on() {
    let mut site = site().await;
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    stream
        .write_all(site.callback(&site.success()).as_bytes())
        .await
        .unwrap();
    let code = (&mut site.settled).await.unwrap().unwrap();
    assert_eq!(code.expose(), "the-code");
    let mut answer = vec![0; 64 * 1024];
    // Does not wait: the answer lies in the socket already.
    let count = std::io::Read::read(&mut stream.into_std().unwrap(), &mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer[..count]);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn a_client_that_hangs_up_after_its_code_still_settles() {
    let mut site = site().await;
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    stream
        .write_all(site.callback(&site.success()).as_bytes())
        .await
        .unwrap();
    drop(stream);
    assert_eq!((&mut site.settled).await.unwrap().unwrap().expose(), "the-code");
}

#[tokio::test]
async fn a_slow_client_is_turned_away_after_five_seconds() {
    let site = site().await;
    let mut stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    stream.write_all(b"GET /auth/callback").await.unwrap();
    let begin = tokio::time::Instant::now();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let waited = begin.elapsed();
    assert!(
        waited >= Duration::from_secs(4) && waited < Duration::from_secs(8),
        "{waited:?}"
    );
}

#[tokio::test]
async fn the_oldest_of_many_idle_clients_make_way_for_the_callback() {
    let site = site().await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
        stream.write_all(b"GET /auth/callback").await.unwrap();
        idle.push(stream);
    }
    let begin = tokio::time::Instant::now();
    assert_eq!(site.status(&site.callback(&site.success())).await, 200);
    let waited = begin.elapsed();
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    let mut answer = [0; 1];
    let left = timeout(Duration::from_secs(3), idle[0].read(&mut answer)).await;
    assert!(!matches!(left.unwrap(), Ok(1)), "an answer without a request");
}

#[tokio::test]
async fn both_families_answer_and_nothing_else_does() {
    let site = site().await;
    let request = site.get("/", "");
    for address in ["127.0.0.1", "::1"] {
        if address == "::1" && !has_v6().await {
            continue;
        }
        let answer = exchange((address, site.port), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{address}: {answer}");
    }
    let elsewhere = TcpStream::connect(("127.0.0.2", site.port)).await;
    assert!(elsewhere.is_err(), "bound beyond 127.0.0.1");
}

#[tokio::test]
async fn dropping_the_listener_frees_the_port() {
    let site = site().await;
    let port = site.port;
    drop(site);
    for _ in 0..200 {
        if CallbackListener::bind(&redirect(&[port])).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still bound");
}

#[tokio::test]
async fn the_next_port_is_taken_when_one_family_of_the_first_is_taken() {
    // Elsewhere a socket on one address may stand beside one on all addresses, and gets the browser.
    let wildcards: &[&str] = if cfg!(target_os = "linux") {
        &["0.0.0.0", "::"]
    } else {
        &[]
    };
    for address in ["127.0.0.1", "::1"].iter().chain(wildcards) {
        if address.contains(':') && !has_v6().await {
            continue;
        }
        let (first, second) = (free_port().await, free_port().await);
        let _squatter = TcpListener::bind((*address, first)).await.unwrap();
        let listener = CallbackListener::bind(&redirect(&[first, second])).await.unwrap();
        assert_eq!(listener.port(), second, "{address}");
    }
}

#[tokio::test]
async fn busy_ports_are_named_with_their_holder() {
    let (first, second) = (free_port().await, free_port().await);
    let _one = TcpListener::bind(("127.0.0.1", first)).await.unwrap();
    let _other = TcpListener::bind(("127.0.0.1", second)).await.unwrap();
    let busy = CallbackListener::bind(&redirect(&[first, second]))
        .await
        .unwrap_err();
    let ports: Vec<u16> = busy.0.iter().map(|busy| busy.port).collect();
    assert_eq!(ports, [first, second]);
    let error = busy.to_error();
    assert_eq!(error.code(), ErrorCode::LoginPortBusy);
    let pid = std::process::id();
    let holder = busy.0[0].holder.clone().expect("this process holds it");
    assert_eq!(holder.pid, pid);
    assert_eq!(
        error.message(),
        format!(
            "port {first} is held by {0} (pid {pid}), port {second} is held by {0} (pid {pid})",
            holder.name
        )
    );
}

#[tokio::test]
async fn any_free_port_is_the_same_in_both_families() {
    let listener = CallbackListener::bind(&redirect(&[])).await.unwrap();
    let ports: Vec<u16> = listener
        .sockets
        .iter()
        .map(|socket| socket.local_addr().unwrap().port())
        .collect();
    assert!(ports.iter().all(|port| *port == listener.port()), "{ports:?}");
    assert_eq!(ports.len(), if has_v6().await { 2 } else { 1 });
}

#[tokio::test]
async fn a_paste_and_a_callback_settle_once() {
    let site = site().await;
    let Claimed::First(claim) = site.settlement.claim() else {
        panic!("not the first")
    };
    assert_eq!(site.status(&site.callback(&site.success())).await, 409);
    claim.resolve(Ok(Secret::new("pasted")));
    let mut settled = Some(site.settled);
    until("settled", || {
        settled.as_mut().is_some_and(|receiver| {
            receiver
                .try_recv()
                .is_ok_and(|code| code.unwrap().expose() == "pasted")
        })
    })
    .await;
}
