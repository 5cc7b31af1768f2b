//! A token endpoint that misbehaves: what is told, and that the store stays as it was.

use std::time::Duration;

use super::bed::{Bed, OLD, WORK, login, now};
use kalit_journeys::token_endpoint::{Login, Mode, TokenEndpoint};
use serde_json::json;

const REFRESH: &str = "fake-secret-refresh-work";
/// In milliseconds.
const HOUR: i64 = 3_600_000;

async fn endpoint(bed: &Bed) -> TokenEndpoint {
    let endpoint = TokenEndpoint::start(Login::named("work", REFRESH), Duration::from_secs(3600));
    let endpoint = endpoint.await.unwrap();
    bed.manifest(&endpoint.manifest(&[1455]));
    bed.write_store("main", &json!({WORK: login("work", REFRESH, 5)}));
    endpoint
}

/// Runs `kalit` while the servers of this test go on answering.
async fn run(bed: Bed, args: &'static [&'static str]) -> (Bed, super::bed::Ran) {
    tokio::task::spawn_blocking(move || {
        let ran = bed.run(args);
        (bed, ran)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_tokens_changes_nothing_in_the_store() {
    let cases = [
        (Mode::Html, "network.captive", 69),
        (Mode::NoContent, "provider.malformed_answer", 69),
        (Mode::Huge, "network.captive", 69),
        (Mode::Unavailable, "provider.out_of_order", 69),
        (Mode::DropBefore, "refresh.unknown", 69),
        (Mode::DropAfter, "refresh.unknown", 69),
        (Mode::Reused, "refresh.signed_out", 69),
        (Mode::InvalidGrant, "refresh.signed_out", 69),
    ];
    for (mode, code, status) in cases {
        let bed = Bed::new();
        let endpoint = endpoint(&bed).await;
        endpoint.set_mode(mode);
        let before = bed.state();
        let (bed, ran) = run(bed, &["refresh", WORK, "--json"]).await;
        assert_eq!(
            (ran.status, ran.code().as_str()),
            (status, code),
            "{mode:?}: {ran:?}"
        );
        assert_eq!(bed.state(), before, "{mode:?}");
        assert_eq!(endpoint.token_requests().len(), 1, "{mode:?}");
        // What is on record is told by the next process too.
        let (bed, shown) = run(bed, &["status", "--json"]).await;
        let state = shown.json()["kalit"]["agents"][0]["providers"][0]["accounts"][0]["state"].clone();
        match code {
            "refresh.unknown" => assert_eq!(state, "unknown", "{mode:?}: {shown:?}"),
            "refresh.signed_out" => assert_eq!(state, "signed-out", "{mode:?}: {shown:?}"),
            _ => {}
        }
        // Nothing is sent again at once when it may have been spent, or was refused.
        if code.starts_with("refresh.") {
            let (_, again) = run(bed, &["refresh", WORK, "--json"]).await;
            assert_eq!(
                (again.status, again.code().as_str()),
                (status, code),
                "{mode:?}: {again:?}"
            );
            assert_eq!(endpoint.token_requests().len(), 1, "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_off_is_told_and_no_login_is_called_lost_for_it() {
    let cases = [
        (Mode::Unavailable, "clock.skew"),
        (Mode::NoContent, "clock.skew"),
        // What the provider says of the login itself does not hang on a clock.
        (Mode::Invalidated, "refresh.signed_out"),
    ];
    for ahead in [HOUR, -HOUR] {
        for (mode, code) in cases {
            let bed = Bed::new();
            let endpoint = endpoint(&bed).await;
            endpoint.set_clock_ahead(ahead);
            endpoint.set_mode(mode);
            let before = bed.state();
            let (bed, ran) = run(bed, &["refresh", WORK, "--json"]).await;
            assert_eq!((ran.status, ran.code().as_str()), (69, code), "{mode:?}: {ran:?}");
            assert_eq!(bed.state(), before, "{mode:?}");
            let (_, shown) = run(bed, &["status", "--json"]).await;
            let account = &shown.json()["kalit"]["agents"][0]["providers"][0]["accounts"][0];
            let state = if code == "clock.skew" {
                "healthy"
            } else {
                "signed-out"
            };
            assert_eq!(account["state"], state, "{mode:?}: {account}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_clock_an_hour_off_a_new_token_ends_by_this_machines_clock() {
    for ahead in [HOUR, -HOUR] {
        let bed = Bed::new();
        let endpoint = endpoint(&bed).await;
        endpoint.set_clock_ahead(ahead);
        let earliest = now() + HOUR;
        let (bed, ran) = run(bed, &["refresh", WORK, "--json"]).await;
        assert_eq!(ran.status, 0, "{ran:?}");
        assert_eq!(ran.json()["outcomes"][0]["result"], "refreshed");
        let expires = bed.profiles("main")[WORK]["expires"].as_i64().unwrap();
        assert!(
            (earliest..=now() + HOUR).contains(&expires),
            "{}",
            expires - earliest
        );

        let (bed, shown) = run(bed, &["status", "--json", "--check"]).await;
        assert_eq!(
            shown.status, 2,
            "it ends within a day, and that is all: {shown:?}"
        );
        let account = &shown.json()["kalit"]["agents"][0]["providers"][0]["accounts"][0];
        assert_eq!(
            (&account["state"], &account["lost"], &account["lifetimeMs"]),
            (&json!("healthy"), &json!(null), &json!(HOUR)),
            "{account}"
        );
        // The token's own times, by the provider's clock, do not make it due.
        let (_, due) = run(bed, &["refresh", "--due"]).await;
        assert_eq!((due.status, due.stdout.as_str()), (0, "Nothing to renew\n"));
        assert_eq!(endpoint.token_requests().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_rewrites_only_what_changed() {
    let bed = Bed::new();
    let endpoint = endpoint(&bed).await;
    let mut profiles = bed.profiles("main");
    profiles[WORK]["unknown"] = json!({"kept": [1, 2]});
    profiles[OLD] = login("old", "fake-secret-refresh-old", 4000);
    bed.write_store("main", &profiles);
    let (bed, ran) = run(bed, &["refresh", "--due", "--json"]).await;
    assert_eq!(ran.status, 0, "{ran:?}");
    let answer = ran.json();
    assert_eq!(answer["outcomes"].as_array().unwrap().len(), 1, "{ran:?}");
    assert_eq!(answer["outcomes"][0]["result"], "refreshed");
    let after = bed.profiles("main");
    assert_eq!(
        after[WORK]["refresh"],
        json!(endpoint.current_refresh("acct-work").unwrap())
    );
    assert_eq!(after[WORK]["unknown"], profiles[WORK]["unknown"]);
    assert_eq!(after[OLD], profiles[OLD]);
    let (_, nothing) = run(bed, &["refresh", "--due"]).await;
    assert_eq!(
        (nothing.status, nothing.stdout.as_str()),
        (0, "Nothing to renew\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_codex_holds_too_is_not_renewed() {
    let bed = Bed::new();
    let endpoint = endpoint(&bed).await;
    let codex = json!({"tokens": {"id_token": "x", "access_token": "y", "refresh_token": REFRESH, "account_id": "z"}});
    bed.write(&bed.path("home/.codex/auth.json"), codex.to_string());
    let (bed, ran) = run(bed, &["refresh", WORK]).await;
    assert_eq!(ran.status, 77, "{ran:?}");
    assert!(
        ran.stderr.contains("[refresh.shared]") && ran.stderr.contains("Codex"),
        "{ran:?}"
    );
    assert_eq!(endpoint.token_requests().len(), 0);
    let (_, shown) = run(bed, &["status"]).await;
    assert!(
        shown.stdout.contains("shared login") && shown.stdout.contains("Codex"),
        "{shown:?}"
    );
}
