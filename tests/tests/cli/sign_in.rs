//! Signing in from a terminal: the address on stdout, the redirect address on stdin.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use super::bed::{Bed, assert_no_secret, free_port};
use kalit_journeys::authserver::{AuthorizationServer, Options};
use kalit_journeys::http::fetch;
use kalit_journeys::process::Process;
use kalit_journeys::wait::until_some;
use serde_json::json;
use url::Url;

const SOON: Duration = Duration::from_secs(20);

fn parameter(url: &str, wanted: &str) -> String {
    let url = Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(name, _)| name == wanted);
    found.unwrap().1.into_owned()
}

async fn shown_url(kalit: &mut Process) -> String {
    kalit
        .line("the address", SOON, |line| {
            line.starts_with("http://127.0.0.1").then(|| line.to_owned())
        })
        .await
        .unwrap()
}

async fn says(kalit: &mut Process, text: &'static str) {
    kalit
        .line(text, SOON, |line| line.contains(text).then_some(()))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_a_browser_here_pastes_the_last_address() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let bed = Bed::new();
    bed.manifest(&server.manifest(&[free_port()]));
    let mut kalit = bed.start(&["login", "openai", "--no-browser"]);
    let mut stdin = kalit.take_stdin().unwrap();
    let url = shown_url(&mut kalit).await;
    let redirect = parameter(&url, "redirect_uri");
    let state = parameter(&url, "state");

    writeln!(stdin, "hello?").unwrap();
    says(&mut kalit, "[login.paste_unusable]").await;
    writeln!(stdin, "https://evil.example/auth/callback?code=abc&state={state}").unwrap();
    until_some("the refusal of a foreign address", SOON, || {
        let refused = kalit.output().matches("[login.paste_unusable]").count();
        (refused == 2).then_some(())
    })
    .await
    .unwrap();
    writeln!(stdin, "{redirect}?code=test-code-1&state=foreign").unwrap();
    says(&mut kalit, "[login.state_mismatch]").await;

    let last = server.consent(&url, "allow").await.unwrap();
    writeln!(stdin, "{last}").unwrap();
    assert!(kalit.end(SOON).await.unwrap().success(), "{}", kalit.output());
    assert!(
        kalit
            .output()
            .contains("Signed in as openai:ada@example.com (plus)"),
        "{}",
        kalit.output()
    );
    assert_no_secret(&kalit.output());
    let profile = bed.profiles("main")["openai:ada@example.com"].clone();
    assert_eq!(
        (&profile["type"], &profile["provider"]),
        (&json!("oauth"), &json!("openai"))
    );
    assert!(profile["refresh"].as_str().unwrap().starts_with("test-refresh-"));

    // The same person again: the same profile, a new generation.
    let mut kalit = bed.start(&["login", "openai", "--no-browser", "--json"]);
    let mut stdin = kalit.take_stdin().unwrap();
    let url = kalit
        .line("the second address", SOON, |line| {
            (line.starts_with("http://127.0.0.1") && line != url).then(|| line.to_owned())
        })
        .await
        .unwrap();
    writeln!(stdin, "{}", server.consent(&url, "allow").await.unwrap()).unwrap();
    assert!(kalit.end(SOON).await.unwrap().success(), "{}", kalit.output());
    let profiles = bed.profiles("main");
    assert_eq!(profiles.as_object().unwrap().len(), 1);
    assert_ne!(profiles["openai:ada@example.com"]["refresh"], profile["refresh"]);
    assert!(
        kalit.output().contains("\"replaced\": true"),
        "{}",
        kalit.output()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_told_with_its_holder_and_pasting_still_works() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let bed = Bed::new();
    bed.manifest(&server.manifest(&[port]));
    let mut kalit = bed.start(&["login", "openai", "--no-browser"]);
    let mut stdin = kalit.take_stdin().unwrap();
    let notice = kalit
        .line("the notice", SOON, |line| {
            line.contains("[login.port_busy]").then(|| line.to_owned())
        })
        .await
        .unwrap();
    assert!(notice.contains(&format!("port {port}")), "{notice}");
    assert!(
        notice.contains(&format!("pid {}", std::process::id())),
        "{notice}"
    );
    let url = shown_url(&mut kalit).await;
    writeln!(stdin, "{}", server.consent(&url, "allow").await.unwrap()).unwrap();
    assert!(kalit.end(SOON).await.unwrap().success(), "{}", kalit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_cannot_be_opened_is_told_and_the_callback_still_works() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let bed = Bed::new();
    bed.manifest(&server.manifest(&[free_port()]));
    let mut kalit = bed.start(&["login", "openai", "--use"]);
    let url = shown_url(&mut kalit).await;
    says(&mut kalit, "[browser.failed]").await;
    let last = server.consent(&url, "allow").await.unwrap();
    let (status, _) = fetch(&last.replace("localhost", "127.0.0.1")).await.unwrap();
    assert_eq!(status, 200);
    assert!(kalit.end(SOON).await.unwrap().success(), "{}", kalit.output());
    assert!(kalit.output().contains("Signed in as"), "{}", kalit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_the_consent_page_ends_the_sign_in() {
    let server = AuthorizationServer::start(Options::default()).await.unwrap();
    let bed = Bed::new();
    bed.manifest(&server.manifest(&[free_port()]));
    let mut kalit = bed.start(&["login", "openai", "--no-browser"]);
    let mut stdin = kalit.take_stdin().unwrap();
    let url = shown_url(&mut kalit).await;
    writeln!(stdin, "{}", server.consent(&url, "deny").await.unwrap()).unwrap();
    let status = kalit.end(SOON).await.unwrap();
    assert_eq!(status.code(), Some(69), "{}", kalit.output());
    assert!(kalit.output().contains("[login.denied]"), "{}", kalit.output());
    assert!(!bed.store("main").exists());
}
