//! Ctrl-C and SIGTERM: what was sent is finished, what was not is left. SIGKILL: what came is kept.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::bed::{Bed, OLD, WORK, free_port, login, now};
use kalit_core::clock::Timestamp;
use kalit_journeys::authserver::manifest;
use kalit_journeys::http::{Answer, Reply, Server};
use kalit_journeys::process::{self, Process};
use kalit_journeys::token_endpoint::{Login, TokenEndpoint, access_token};
use kalit_journeys::wait::until_some;
use rustix::process::Signal;
use serde_json::json;

const SOON: Duration = Duration::from_secs(20);

fn send(process: &Process, signal: Signal) {
    process::signal(process.id(), signal).unwrap();
}

/// A token endpoint that takes its time over any code; `arrived` is set when a request has come.
async fn exchange(delay: Duration, arrived: Arc<AtomicBool>) -> Server {
    let account = Login::named("ada", "test-refresh-1");
    let answer = move |_request| {
        arrived.store(true, Ordering::SeqCst);
        let access = access_token(&account, Duration::from_secs(3600), 1);
        async move {
            tokio::time::sleep(delay).await;
            let body = json!({"access_token": access, "id_token": access, "refresh_token": "test-refresh-1", "expires_in": 3600});
            Answer::Reply(Reply::json(200, &body))
        }
    };
    Server::plain(0, answer).await.unwrap()
}

/// `kalit login`, which waits for the pasted code.
async fn begin_sign_in(bed: &Bed, server: &Server) -> Process {
    let url = format!("http://127.0.0.1:{}", server.port());
    bed.manifest(&manifest(&url, &[free_port()]));
    let mut kalit = bed.start(&["login", "openai", "--no-browser"]);
    kalit
        .line("the address", SOON, |line| {
            line.starts_with("http://127.0.0.1").then_some(())
        })
        .await
        .unwrap();
    kalit
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_in_flight_is_finished_and_no_other_is_begun() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let work = Login::named("work", "fake-secret-refresh-work");
        let endpoint = TokenEndpoint::start(work, Duration::from_secs(3600))
            .await
            .unwrap();
        endpoint.add_login(Login::named("old", "fake-secret-refresh-old"));
        endpoint.set_delay(Duration::from_millis(1500));
        let bed = Bed::new();
        bed.manifest(&endpoint.manifest(&[1455]));
        bed.write_store(
            "main",
            &json!({
                WORK: login("work", "fake-secret-refresh-work", 5),
                OLD: login("old", "fake-secret-refresh-old", 5),
            }),
        );
        let mut kalit = bed.start(&["refresh"]);
        endpoint.arrived(1, SOON).await.unwrap();
        send(&kalit, signal);
        let status = kalit.end(SOON).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", kalit.output());
        assert!(
            kalit.output().contains("Finishing the renewal in flight."),
            "{}",
            kalit.output()
        );
        assert_eq!(endpoint.token_requests().len(), 1);
        let profiles = bed.profiles("main");
        assert_eq!(
            profiles[WORK]["refresh"],
            json!(endpoint.current_refresh("acct-work").unwrap())
        );
        assert_eq!(profiles[OLD]["refresh"], "fake-secret-refresh-old");
        let locks = bed
            .state()
            .into_keys()
            .filter(|path| path.extension().is_some_and(|it| it == "lock"));
        assert_eq!(locks.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_finished_once_its_code_has_come() {
    let arrived = Arc::new(AtomicBool::new(false));
    let server = exchange(Duration::from_millis(1500), Arc::clone(&arrived)).await;
    let bed = Bed::new();
    let mut kalit = begin_sign_in(&bed, &server).await;
    writeln!(
        kalit.take_stdin().unwrap(),
        "test-code-of-this-sign-in-0123456789"
    )
    .unwrap();
    until_some("the exchange", SOON, || {
        arrived.load(Ordering::SeqCst).then_some(())
    })
    .await
    .unwrap();
    send(&kalit, Signal::TERM);
    let status = kalit.end(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", kalit.output());
    assert_eq!(
        bed.profiles("main")["openai:ada@example.com"]["refresh"],
        "test-refresh-1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_killed_before_its_store_was_written_is_stored_by_the_next_watch() {
    let server = exchange(Duration::ZERO, Arc::default()).await;
    let bed = Bed::new();
    // A living program holds the store.
    let lock = bed.agent_dir("main").join("auth-profiles.json.lock");
    let created = Timestamp::from_millis(now()).to_iso8601();
    bed.write(
        &lock,
        json!({"pid": std::process::id(), "createdAt": created}).to_string(),
    );
    let mut kalit = begin_sign_in(&bed, &server).await;
    let mut stdin = kalit.take_stdin().unwrap();
    writeln!(stdin, "test-code-of-this-sign-in-0123456789").unwrap();
    let journal = || {
        let installations = bed.path("home/.local/share/kalit/installations");
        let journals = std::fs::read_dir(installations).into_iter().flatten().flatten();
        journals
            .flat_map(|dir| {
                std::fs::read_dir(dir.path().join("journal"))
                    .into_iter()
                    .flatten()
            })
            .flatten()
            .map(|file| file.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "json"))
    };
    let entry = until_some("the journal entry", SOON, journal).await.unwrap();
    let text = std::fs::read_to_string(entry).unwrap();
    assert!(text.contains("test-refresh-1"), "{text}");
    send(&kalit, Signal::KILL);
    assert_eq!(kalit.end(SOON).await.unwrap().code(), None);
    assert!(!bed.store("main").exists());

    std::fs::remove_file(&lock).unwrap();
    let mut watch = bed.start(&["watch", "--json"]);
    let told = watch
        .line("the sign-in", SOON, |line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            (event["type"] == "signed-in").then_some(event)
        })
        .await
        .unwrap();
    assert_eq!(told["profileId"], "openai:ada@example.com");
    assert_eq!(
        bed.profiles("main")["openai:ada@example.com"]["refresh"],
        "test-refresh-1"
    );
    until_some("the end of the entry", SOON, || journal().is_none().then_some(()))
        .await
        .unwrap();
    send(&watch, Signal::TERM);
    assert_eq!(watch.end(SOON).await.unwrap().code(), Some(0));
    super::bed::assert_no_secret(&watch.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_without_an_answer_is_cancelled() {
    let bed = Bed::new();
    bed.manifest(&manifest("http://127.0.0.1:9", &[free_port()]));
    let mut kalit = bed.start(&["login", "openai", "--no-browser"]);
    kalit
        .line("the address", SOON, |line| {
            line.starts_with("http://127.0.0.1").then_some(())
        })
        .await
        .unwrap();
    send(&kalit, Signal::INT);
    let status = kalit.end(SOON).await.unwrap();
    assert_eq!(status.code(), Some(69), "{}", kalit.output());
    assert!(kalit.output().contains("[login.cancelled]"), "{}", kalit.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_tells_one_event_a_line_until_it_is_ended() {
    let bed = Bed::with_accounts();
    let mut kalit = bed.start(&["watch", "--json"]);
    let event = |kind: &'static str| {
        move |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            (event["type"] == kind).then_some(event)
        }
    };
    let started = kalit.line("the start", SOON, event("started")).await.unwrap();
    assert_eq!(started["schema"], 1);
    let mut profiles = bed.profiles("main");
    profiles["google:second"] = json!({"type": "api_key", "provider": "google", "key": "fake-secret-second"});
    bed.write_store("main", &profiles);
    let added = kalit.line("the new account", SOON, event("added")).await.unwrap();
    assert_eq!(
        (&added["agent"], &added["profileId"]),
        (&json!("main"), &json!("google:second"))
    );
    send(&kalit, Signal::TERM);
    assert_eq!(kalit.end(SOON).await.unwrap().code(), Some(0));
    super::bed::assert_no_secret(&kalit.output());
}
