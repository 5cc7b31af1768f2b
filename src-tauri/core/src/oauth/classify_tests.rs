//! One case a signal for the table of refusals.

use super::super::verdicts::{TRANSIENT, When};
use super::*;
use serde_json::json;
use std::collections::BTreeSet;

fn provider(text: &str) -> ProviderId {
    ProviderId::parse(text).unwrap()
}

fn answer(status: u16, body: &str) -> Answer {
    let parsed = serde_json::from_str::<Value>(body).ok().filter(Value::is_object);
    let (code, description) = parsed.as_ref().map(error_of).unwrap_or_default();
    Answer {
        status,
        body: match (&parsed, body) {
            (Some(_), _) => Body::Json,
            (None, "") => Body::Empty,
            (None, _) => Body::Other,
        },
        code,
        description,
        challenge: false,
        elsewhere: false,
        retry_after: None,
    }
}

fn token(status: u16, body: &str) -> Evidence {
    Evidence::Answer(Place::Token, answer(status, body))
}

fn at(place: Place, status: u16, body: &str) -> Evidence {
    Evidence::Answer(place, answer(status, body))
}

fn openai_body(code: &str) -> String {
    json!({"error": {"message": "m", "type": "invalid_request_error", "param": null, "code": code}})
        .to_string()
}

fn rfc_body(code: &str) -> String {
    json!({"error": code, "error_description": "d"}).to_string()
}

const HTML: &str = "<html><body>Sign in to the Wi-Fi</body></html>";

struct Case(
    &'static str,
    &'static str,
    Evidence,
    Class,
    &'static str,
    ErrorCode,
);

/// Every row of the table, by id, with each signal that the contract names for it.
fn cases() -> Vec<Case> {
    use Class::{ClientFault, Pending, Permanent, RequestFault, Suspect, Unknown};
    let openai = |code| token(401, &openai_body(code));
    let anthropic = |description: &str| {
        let body = json!({"error": "invalid_grant", "error_description": description});
        token(400, &body.to_string())
    };
    let anthropic_api = |message: &str| {
        let body = json!({"type": "error", "error": {"type": "authentication_error", "message": message}});
        at(Place::Api, 401, &body.to_string())
    };
    let entitlement =
        json!({"error": "access_denied", "error_description": "x missing_codex_entitlement y"}).to_string();
    let challenge = Evidence::Answer(
        Place::Token,
        Answer {
            challenge: true,
            ..answer(403, HTML)
        },
    );
    let elsewhere = Evidence::Answer(
        Place::Token,
        Answer {
            elsewhere: true,
            ..answer(302, "")
        },
    );
    let signed_out = ErrorCode::RefreshSignedOut;
    let wait = ErrorCode::RefreshTransient;
    let denied = ErrorCode::LoginDenied;
    let outage = ErrorCode::ProviderOutOfOrder;
    let captive = ErrorCode::NetworkCaptive;
    let unreachable = ErrorCode::NetworkUnreachable;
    let blocked = ErrorCode::NetworkBlocked;
    let quota = ErrorCode::ProviderRateLimited;
    let malformed = ErrorCode::ProviderAnswerMalformed;
    let client = ErrorCode::RefreshClient;
    let failure = Evidence::Failure;
    vec![
        Case(
            "openai.reused",
            "openai",
            openai("refresh_token_reused"),
            Permanent,
            "refresh_token_reused",
            signed_out,
        ),
        Case(
            "openai.reused",
            "openai-codex",
            token(400, &openai_body("Refresh_Token_Reused")),
            Permanent,
            "refresh_token_reused",
            signed_out,
        ),
        Case(
            "openai.reused",
            "openai",
            token(401, r#"{"code":"refresh_token_reused"}"#),
            Permanent,
            "refresh_token_reused",
            signed_out,
        ),
        Case(
            "openai.ended",
            "openai",
            openai("refresh_token_invalidated"),
            Permanent,
            "refresh_token_invalidated",
            signed_out,
        ),
        Case(
            "openai.ended",
            "openai",
            openai("app_session_terminated"),
            Permanent,
            "app_session_terminated",
            signed_out,
        ),
        Case(
            "openai.expired",
            "openai",
            openai("refresh_token_expired"),
            Permanent,
            "refresh_token_expired",
            signed_out,
        ),
        Case(
            "openai.rejected",
            "openai",
            token(400, &rfc_body("invalid_grant")),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "openai.rejected",
            "openai",
            openai("invalid_grant"),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "openai.rejected",
            "openai",
            openai("invalid_refresh_token"),
            Permanent,
            "invalid_refresh_token",
            signed_out,
        ),
        Case(
            "openai.entitlement",
            "openai",
            at(Place::Callback, 400, &entitlement),
            RequestFault,
            "access_denied",
            ErrorCode::LoginEntitlement,
        ),
        Case(
            "openai.api_ended",
            "openai",
            at(Place::Api, 401, &openai_body("token_revoked")),
            Suspect,
            "token_revoked",
            wait,
        ),
        Case(
            "openai.api_ended",
            "openai",
            at(Place::Api, 401, &openai_body("token_invalidated")),
            Suspect,
            "token_invalidated",
            wait,
        ),
        Case(
            "openai.quota",
            "openai",
            at(Place::Api, 429, &openai_body("usage_limit_reached")),
            TRANSIENT,
            "usage_limit_reached",
            quota,
        ),
        Case(
            "openai.quota",
            "openai",
            at(Place::Api, 403, &openai_body("usage_limit")),
            TRANSIENT,
            "usage_limit",
            quota,
        ),
        Case(
            "openai.quota",
            "openai",
            at(Place::Api, 402, &openai_body("insufficient_quota")),
            TRANSIENT,
            "insufficient_quota",
            quota,
        ),
        Case(
            "openai.other_401",
            "openai",
            openai("token_expired"),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "openai.other_401",
            "openai",
            token(401, r#"{"detail":"no"}"#),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "anthropic.rejected",
            "anthropic",
            anthropic("Refresh token expired"),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "anthropic.rejected",
            "anthropic",
            anthropic("Refresh token not found or invalid"),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "anthropic.rejected",
            "anthropic",
            anthropic("No organization associated with this token"),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "anthropic.rejected",
            "anthropic",
            anthropic("No account associated with this token"),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "anthropic.client",
            "anthropic",
            token(401, &rfc_body("invalid_client")),
            ClientFault,
            "invalid_client",
            client,
        ),
        Case(
            "anthropic.client",
            "anthropic",
            token(400, &rfc_body("invalid_scope")),
            ClientFault,
            "invalid_scope",
            client,
        ),
        Case(
            "anthropic.client",
            "anthropic",
            token(400, &rfc_body("unauthorized_client")),
            ClientFault,
            "unauthorized_client",
            client,
        ),
        Case(
            "anthropic.setup_token",
            "anthropic",
            anthropic_api("OAuth token has expired"),
            Suspect,
            "authentication_error",
            wait,
        ),
        Case(
            "anthropic.setup_token",
            "anthropic",
            anthropic_api("Invalid authentication credentials"),
            Suspect,
            "authentication_error",
            wait,
        ),
        Case(
            "minimax.pending",
            "minimax-portal",
            at(Place::Device, 200, r#"{"status": "pending"}"#),
            Pending,
            "pending",
            ErrorCode::LoginTimeout,
        ),
        Case(
            "minimax.over",
            "minimax-portal",
            at(Place::Device, 200, r#"{"status": "error"}"#),
            RequestFault,
            "error",
            ErrorCode::LoginDenied,
        ),
        Case(
            "minimax.rejected",
            "minimax-portal",
            token(
                200,
                r#"{"status": "error", "base_resp": {"status_code": 1000, "status_msg": "m"}}"#,
            ),
            Suspect,
            "error",
            wait,
        ),
        Case(
            "github.client",
            "github-copilot",
            at(Place::Device, 200, &rfc_body("device_flow_disabled")),
            ClientFault,
            "device_flow_disabled",
            client,
        ),
        Case(
            "github.client",
            "github-copilot",
            at(Place::Device, 200, &rfc_body("incorrect_client_credentials")),
            ClientFault,
            "incorrect_client_credentials",
            client,
        ),
        Case(
            "github.api_refused",
            "github-copilot",
            at(Place::Api, 401, r#"{"message": "Bad credentials"}"#),
            Suspect,
            "bad_credentials",
            wait,
        ),
        Case(
            "github.no_seat",
            "github-copilot",
            at(Place::Api, 403, r#"{"message": "m"}"#),
            RequestFault,
            "no_seat",
            ErrorCode::RefreshRejected,
        ),
        Case(
            "openrouter.key_refused",
            "openrouter",
            at(Place::Api, 401, r#"{"error": {"code": 401, "message": "m"}}"#),
            Suspect,
            "key_refused",
            wait,
        ),
        Case(
            "denied.device",
            "xai",
            at(Place::Device, 400, &rfc_body("authorization_denied")),
            RequestFault,
            "authorization_denied",
            ErrorCode::LoginDenied,
        ),
        Case(
            "device.pending",
            "github-copilot",
            at(Place::Device, 200, &rfc_body("slow_down")),
            Pending,
            "slow_down",
            ErrorCode::LoginTimeout,
        ),
        Case(
            "blocked.challenge",
            "openai",
            challenge,
            TRANSIENT,
            "challenge",
            blocked,
        ),
        Case(
            "captive.redirect",
            "openai",
            elsewhere,
            TRANSIENT,
            "captive_portal",
            captive,
        ),
        Case(
            "captive.status",
            "openai",
            token(511, HTML),
            TRANSIENT,
            "captive_portal",
            captive,
        ),
        Case(
            "captive.page",
            "openai",
            token(200, HTML),
            TRANSIENT,
            "not_json",
            captive,
        ),
        Case(
            "captive.page",
            "acme",
            token(200, "[]"),
            TRANSIENT,
            "not_json",
            captive,
        ),
        Case(
            "proxy.status",
            "openai",
            token(407, HTML),
            TRANSIENT,
            "proxy",
            unreachable,
        ),
        Case(
            "invalid_grant",
            "acme",
            token(400, &rfc_body("invalid_grant")),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "invalid_grant",
            "acme",
            token(401, &rfc_body("invalid_grant")),
            Permanent,
            "invalid_grant",
            signed_out,
        ),
        Case(
            "client",
            "acme",
            token(401, &rfc_body("invalid_client")),
            ClientFault,
            "invalid_client",
            client,
        ),
        Case(
            "client",
            "openai",
            token(400, &rfc_body("invalid_client")),
            ClientFault,
            "invalid_client",
            client,
        ),
        Case(
            "client",
            "openai",
            token(400, &rfc_body("unauthorized_client")),
            ClientFault,
            "unauthorized_client",
            client,
        ),
        Case(
            "client",
            "openai",
            token(400, &rfc_body("unsupported_grant_type")),
            ClientFault,
            "unsupported_grant_type",
            client,
        ),
        Case(
            "invalid_request",
            "openai",
            token(400, &rfc_body("invalid_request")),
            RequestFault,
            "invalid_request",
            ErrorCode::RefreshRejected,
        ),
        Case(
            "invalid_scope",
            "openai",
            token(400, &rfc_body("invalid_scope")),
            Permanent,
            "invalid_scope",
            signed_out,
        ),
        Case(
            "denied.callback",
            "openai",
            at(Place::Callback, 400, &rfc_body("access_denied")),
            RequestFault,
            "access_denied",
            denied,
        ),
        Case(
            "denied.device",
            "acme",
            at(Place::Device, 400, &rfc_body("access_denied")),
            RequestFault,
            "access_denied",
            denied,
        ),
        Case(
            "device.pending",
            "acme",
            at(Place::Device, 400, &rfc_body("authorization_pending")),
            Pending,
            "authorization_pending",
            ErrorCode::LoginTimeout,
        ),
        Case(
            "device.pending",
            "acme",
            at(Place::Device, 400, &rfc_body("slow_down")),
            Pending,
            "slow_down",
            ErrorCode::LoginTimeout,
        ),
        Case(
            "device.over",
            "acme",
            at(Place::Device, 400, &rfc_body("expired_token")),
            RequestFault,
            "expired_token",
            ErrorCode::LoginTimeout,
        ),
        Case(
            "region",
            "openai",
            token(403, &openai_body("unsupported_country_region_territory")),
            TRANSIENT,
            "unsupported_country_region_territory",
            ErrorCode::ProviderRegion,
        ),
        Case(
            "blocked.page",
            "openai",
            token(403, HTML),
            TRANSIENT,
            "blocked",
            blocked,
        ),
        Case(
            "blocked.page",
            "openai",
            token(403, ""),
            TRANSIENT,
            "blocked",
            blocked,
        ),
        Case(
            "rate_limit",
            "openai",
            token(429, &openai_body("rate_limit_exceeded")),
            TRANSIENT,
            "rate_limited",
            quota,
        ),
        Case(
            "rate_limit",
            "openai",
            token(429, HTML),
            TRANSIENT,
            "rate_limited",
            quota,
        ),
        Case(
            "outage.timeout",
            "openai",
            token(408, ""),
            TRANSIENT,
            "out_of_order",
            outage,
        ),
        Case(
            "outage",
            "openai",
            token(500, ""),
            TRANSIENT,
            "out_of_order",
            outage,
        ),
        Case(
            "outage",
            "openai",
            token(502, HTML),
            TRANSIENT,
            "out_of_order",
            outage,
        ),
        Case(
            "outage",
            "openai",
            token(503, HTML),
            TRANSIENT,
            "out_of_order",
            outage,
        ),
        Case(
            "outage",
            "openai",
            token(500, &rfc_body("invalid_grant")),
            TRANSIENT,
            "out_of_order",
            outage,
        ),
        Case(
            "malformed",
            "openai",
            token(200, "{}"),
            TRANSIENT,
            "malformed",
            malformed,
        ),
        Case(
            "malformed",
            "openai",
            token(204, ""),
            TRANSIENT,
            "malformed",
            malformed,
        ),
        Case(
            "malformed",
            "acme",
            token(200, &rfc_body("invalid_grant")),
            TRANSIENT,
            "malformed",
            malformed,
        ),
        Case(
            "network.dns",
            "openai",
            failure(Failure::Dns),
            TRANSIENT,
            "dns",
            unreachable,
        ),
        Case(
            "network.unreachable",
            "openai",
            failure(Failure::Unreachable),
            TRANSIENT,
            "unreachable",
            unreachable,
        ),
        Case(
            "network.tls",
            "openai",
            failure(Failure::Tls),
            TRANSIENT,
            "tls",
            ErrorCode::NetworkTls,
        ),
        Case(
            "network.proxy",
            "openai",
            failure(Failure::Proxy),
            TRANSIENT,
            "proxy",
            unreachable,
        ),
        Case(
            "network.no_answer",
            "openai",
            failure(Failure::NoAnswer),
            Unknown,
            "no_answer",
            ErrorCode::RefreshUnknown,
        ),
        Case(
            "api.access_refused",
            "openai",
            at(Place::Api, 401, HTML),
            Suspect,
            "access_refused",
            wait,
        ),
        Case(
            "suspect.401",
            "openai",
            token(401, HTML),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "suspect.401",
            "openai",
            token(401, ""),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "suspect.401",
            "acme",
            token(401, &rfc_body("token_expired")),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "unrecognised",
            "openai",
            token(404, HTML),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "unrecognised",
            "openai",
            token(400, &rfc_body("surprise")),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "unrecognised",
            "openai",
            token(403, &rfc_body("surprise")),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "unrecognised",
            "openai",
            token(308, ""),
            Suspect,
            "unrecognised",
            wait,
        ),
        Case(
            "refresh_token",
            "anthropic",
            openai("refresh_token_reused"),
            Permanent,
            "refresh_token_reused",
            signed_out,
        ),
        Case(
            "refresh_token",
            "acme",
            openai("refresh_token_invalidated"),
            Permanent,
            "refresh_token_invalidated",
            signed_out,
        ),
        Case(
            "refresh_token",
            "acme",
            openai("refresh_token_expired"),
            Permanent,
            "refresh_token_expired",
            signed_out,
        ),
        Case(
            "refresh_token",
            "acme",
            openai("invalid_refresh_token"),
            Permanent,
            "invalid_refresh_token",
            signed_out,
        ),
    ]
}

#[test]
fn every_signal_of_the_table_is_classified_by_its_row() {
    for (index, Case(row, name, evidence, class, code, error)) in cases().into_iter().enumerate() {
        let outcome = classify(&provider(name), &evidence);
        let context = format!("case {index}: {evidence:?}");
        assert_eq!(
            (outcome.rule, outcome.class, outcome.code, outcome.error),
            (row, class, code, error),
            "{context}"
        );
    }
}

#[test]
fn every_row_has_a_case() {
    let rows: Vec<&str> = ROWS.iter().map(|row| row.id).collect();
    let distinct: BTreeSet<&str> = rows.iter().copied().collect();
    assert_eq!(distinct.len(), rows.len(), "an id stands twice");
    let tested: BTreeSet<&str> = cases()
        .iter()
        .map(|case| case.0)
        .filter(|id| *id != UNRECOGNISED.rule)
        .collect();
    assert_eq!(tested, distinct);
}

#[test]
fn signed_out_takes_a_recognised_code_in_json_from_the_token_endpoint() {
    for row in ROWS.iter().filter(|row| row.class == Class::Permanent) {
        match &row.when {
            When::Answer(Place::Token, pattern) => {
                assert_eq!(pattern.bodies, [Body::Json], "{}", row.id);
                assert!(!pattern.codes.is_empty(), "{}", row.id);
                assert!(
                    *pattern.statuses.start() >= 400 && *pattern.statuses.end() <= 403,
                    "{}",
                    row.id
                );
            }
            When::Answer(..) | When::Failure(_) => panic!("{}", row.id),
        }
    }
}

#[test]
fn retry_after_is_honoured_up_to_a_day() {
    let with = |retry_after| {
        let answer = Answer {
            retry_after: Some(Duration::from_secs(retry_after)),
            ..answer(429, "")
        };
        classify(&provider("openai"), &Evidence::Answer(Place::Token, answer)).class
    };
    let waits = |seconds| Class::Transient {
        retry_after: Some(Duration::from_secs(seconds)),
    };
    assert_eq!(with(7), waits(7));
    assert_eq!(with(10_000_000), waits(86_400));
}

#[test]
fn a_refusal_after_a_lost_answer_blames_nobody() {
    let id = provider("openai-codex");
    let reused = classify(&id, &token(401, &openai_body("refresh_token_reused")));
    assert!(reused.sentence(false).starts_with("Another program"));
    let lost =
        "The answer to the last renewal was lost on its way, so the token that is left no longer works.";
    assert_eq!(reused.sentence(true), lost);
    assert_eq!(text_for(&id, "refresh_token_reused", true), lost);
    assert_eq!(
        text_for(&id, "refresh_token_reused", false),
        reused.sentence(false)
    );
    assert_eq!(
        text_for(&id, "invalid_grant", false),
        "OpenAI rejected the refresh token."
    );
    assert_eq!(
        text_for(&provider("acme"), "invalid_grant", false),
        "The provider rejected the refresh token."
    );
    assert_eq!(
        text_for(&id, "refresh_token_expired", true),
        "The login expired: it was not used for too long."
    );
    assert_eq!(text_for(&id, "nonsense", false), "The provider refused.");
}

#[test]
fn an_outage_or_a_lost_answer_may_have_rotated_the_token() {
    let may = |evidence| classify(&provider("openai"), &evidence).may_have_rotated;
    assert!(may(Evidence::Failure(Failure::NoAnswer)));
    assert!(may(token(502, HTML)));
    assert!(may(token(200, HTML)));
    assert!(may(token(200, "{}")));
    assert!(!may(Evidence::Failure(Failure::Dns)));
    assert!(!may(token(429, "")));
    assert!(!may(token(401, HTML)));
    assert!(!may(token(400, &rfc_body("invalid_grant"))));
}

#[test]
fn error_codes_are_found_in_every_place() {
    let code = |body: Value| error_of(&body).0;
    assert_eq!(
        code(json!({"error": {"code": "A"}, "code": "b"})).as_deref(),
        Some("a")
    );
    assert_eq!(code(json!({"error": "B"})).as_deref(), Some("b"));
    assert_eq!(code(json!({"code": "C"})).as_deref(), Some("c"));
    assert_eq!(
        code(json!({"error": {"code": null, "type": "t"}})).as_deref(),
        Some("t")
    );
    assert_eq!(code(json!({"error": 5})), None);
    assert_eq!(code(json!({"error": "x".repeat(101)})), None);
    assert_eq!(
        error_of(&json!({"error": {"message": "m"}})).1.as_deref(),
        Some("m")
    );
}

#[test]
fn nothing_that_a_server_sent_is_passed_on() {
    let body = json!({"error": "evil <b>", "error_description": "secret-token"}).to_string();
    let outcome = classify(&provider("openai"), &token(400, &body));
    let told = format!("{outcome:?} {:?} {}", outcome.to_error(), outcome.sentence(false));
    assert!(!told.contains("evil") && !told.contains("secret"), "{told}");
}

#[test]
fn the_documentation_lists_every_row_in_the_tables_order() {
    let page = include_str!("../../../../docs/providers.md");
    let table = page.split_once("## What a refusal means").expect("the chapter").1;
    let documented: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .flat_map(|line| line.split(" | ").next().unwrap_or_default().split(", "))
        .map(|rule| rule.trim_matches('`'))
        .collect();
    let rules: Vec<&str> = ROWS.iter().map(|row| row.id).chain([UNRECOGNISED.rule]).collect();
    assert_eq!(documented, rules);
}
