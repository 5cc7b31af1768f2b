//! What looks like a sign-out and is none.

use super::{Cause, Confidence, Evidence, Told};
use crate::error::ErrorCode;
use crate::oauth::classify;
use crate::view::AccountState;
use Confidence::{Certain, Likely, Possible};

/// The words under which a failed renewal is kept (the provider's codes, those of the table of refusals,
/// and error codes), its cause, the code whose sentence tells it, and the error whose hint helps.
type Row = (&'static [&'static str], Cause, &'static str, ErrorCode);

const ROWS: &[Row] = &[
    (&["dns"], Cause::Network, "dns", ErrorCode::NetworkUnreachable),
    (
        &["unreachable", "network.unreachable"],
        Cause::Network,
        "unreachable",
        ErrorCode::NetworkUnreachable,
    ),
    (&["proxy"], Cause::Proxy, "proxy", ErrorCode::NetworkUnreachable),
    (&["tls", "network.tls"], Cause::Tls, "tls", ErrorCode::NetworkTls),
    (
        &["captive_portal", "network.captive"],
        Cause::CaptivePortal,
        "captive_portal",
        ErrorCode::NetworkCaptive,
    ),
    (
        &["not_json"],
        Cause::CaptivePortal,
        "not_json",
        ErrorCode::NetworkCaptive,
    ),
    (
        &["challenge"],
        Cause::Blocked,
        "challenge",
        ErrorCode::NetworkBlocked,
    ),
    (
        &["blocked", "network.blocked"],
        Cause::Blocked,
        "blocked",
        ErrorCode::NetworkBlocked,
    ),
    (
        &["unsupported_country_region_territory", "provider.region"],
        Cause::Region,
        "unsupported_country_region_territory",
        ErrorCode::ProviderRegion,
    ),
    (
        &[
            "usage_limit",
            "usage_limit_reached",
            "usage_limit_exceeded",
            "insufficient_quota",
        ],
        Cause::Quota,
        "usage_limit",
        ErrorCode::ProviderRateLimited,
    ),
    (
        &["rate_limited", "provider.rate_limited"],
        Cause::RateLimit,
        "rate_limited",
        ErrorCode::ProviderRateLimited,
    ),
    (
        &["out_of_order", "provider.out_of_order"],
        Cause::Outage,
        "out_of_order",
        ErrorCode::ProviderOutOfOrder,
    ),
    (
        &["malformed", "provider.malformed_answer"],
        Cause::Outage,
        "malformed",
        ErrorCode::ProviderAnswerMalformed,
    ),
    (
        &["no_answer", "refresh.unknown"],
        Cause::NoAnswer,
        "no_answer",
        ErrorCode::RefreshUnknown,
    ),
    (
        &[
            "invalid_client",
            "unauthorized_client",
            "unsupported_grant_type",
            "invalid_scope",
            "refresh.client_rejected",
        ],
        Cause::ClientRejected,
        "invalid_client",
        ErrorCode::RefreshClient,
    ),
    (
        &["invalid_request", "refresh.request_rejected"],
        Cause::RequestRejected,
        "invalid_request",
        ErrorCode::RefreshRejected,
    ),
    (
        &["missing_codex_entitlement"],
        Cause::SignInUnfinished,
        "missing_codex_entitlement",
        ErrorCode::LoginEntitlement,
    ),
    (
        &["access_denied"],
        Cause::SignInUnfinished,
        "access_denied",
        ErrorCode::LoginDenied,
    ),
    (
        &["authorization_pending", "slow_down"],
        Cause::SignInUnfinished,
        "authorization_pending",
        ErrorCode::LoginTimeout,
    ),
    (
        &["incorrect_client_credentials", "device_flow_disabled"],
        Cause::ClientRejected,
        "incorrect_client_credentials",
        ErrorCode::RefreshClient,
    ),
    (
        &["no_seat"],
        Cause::RequestRejected,
        "no_seat",
        ErrorCode::LoginDenied,
    ),
    (
        &["expired_token"],
        Cause::SignInUnfinished,
        "expired_token",
        ErrorCode::LoginTimeout,
    ),
];

/// Refusals that decide nothing yet.
const UNDECIDED: &[Row] = &[
    (
        &["token_revoked", "token_invalidated"],
        Cause::ApiRefused,
        "token_revoked",
        ErrorCode::RefreshTransient,
    ),
    (
        &["access_refused"],
        Cause::ApiRefused,
        "access_refused",
        ErrorCode::RefreshTransient,
    ),
    (
        &["authentication_error"],
        Cause::SetupTokenRefused,
        "authentication_error",
        ErrorCode::RefreshTransient,
    ),
    (
        &["bad_credentials"],
        Cause::TokenRefused,
        "bad_credentials",
        ErrorCode::RefreshTransient,
    ),
    (
        &["key_refused"],
        Cause::TokenRefused,
        "key_refused",
        ErrorCode::RefreshTransient,
    ),
    // MiniMax gives no code.
    (
        &["refused"],
        Cause::Suspected,
        "refused",
        ErrorCode::RefreshTransient,
    ),
    (
        &["unrecognised", "refresh.transient"],
        Cause::Suspected,
        "unrecognised",
        ErrorCode::RefreshTransient,
    ),
];

pub(super) fn told(evidence: &Evidence) -> Told {
    let told = told_of(evidence);
    let not = match told.confidence {
        Possible => unproven(),
        Certain | Likely => no_sign_out(),
    };
    told.not([not])
}

fn told_of(evidence: &Evidence) -> Told {
    if evidence.clock_is_off {
        return clock();
    }
    let wait = || say!("Nothing needs to be done.");
    let code = match evidence.trouble() {
        Ok(code) => code,
        Err(at) => {
            let then = super::story::span(evidence.now.millis_since(at));
            return Told::new(
                Cause::RenewedMeanwhile,
                Certain,
                say!("A renewal failed, and it has been renewed since."),
                wait(),
            )
            .because(then.map(|span| say!("It was renewed {span} ago.", span)));
        }
    };
    if let Some(code) = code
        && let Some(told) = failed(evidence, code)
    {
        return told;
    }
    if evidence.cooldown.is_some()
        || matches!(evidence.state, AccountState::CoolingDown | AccountState::Disabled)
    {
        return cooldown(evidence);
    }
    match evidence.state {
        AccountState::Unknown => Told::new(
            Cause::NoAnswer,
            Certain,
            classify::text_for(&evidence.provider, "no_answer", false),
            ErrorCode::RefreshUnknown.hint(),
        ),
        AccountState::Shared => Told::new(
            Cause::Shared,
            Certain,
            say!(
                "{programs} uses the same login: whoever renews it signs the other out.",
                programs = evidence.shared_with.join(", ")
            ),
            ErrorCode::RefreshShared.hint(),
        ),
        _ if evidence.offline => network(evidence),
        AccountState::Expired if evidence.paused && !evidence.managed => Told::new(
            Cause::Paused,
            Certain,
            say!("It has expired, and renewal by Kalit is switched off."),
            say!("Switch renewal on, or renew it now."),
        ),
        AccountState::Expired => Told::new(
            Cause::Expired,
            Certain,
            say!("The access token has ended, the login has not."),
            say!("Nothing needs to be done: it is renewed when it is next used."),
        ),
        _ => Told::new(
            Cause::NotLost,
            Certain,
            say!("This login was not lost, as far as Kalit knows."),
            wait(),
        ),
    }
}

/// A renewal failed with this code.
fn failed(evidence: &Evidence, code: &str) -> Option<Told> {
    let found = |rows: &'static [Row]| rows.iter().find(|(words, ..)| words.contains(&code));
    let (row, confidence) = match found(ROWS) {
        Some(row) => (row, Certain),
        None => (found(UNDECIDED)?, Possible),
    };
    let (_, cause, text, error) = *row;
    let known = say!("The last renewal failed: {code}.", code);
    let text = match cause {
        // One word for a proxy that wants a password and for one that does not answer.
        Cause::Proxy => say!("The proxy did not let the renewal through."),
        _ => classify::text_for(&evidence.provider, text, false),
    };
    Some(
        Told::new(cause, confidence, text, error.hint())
            .because([known])
            .because(
                evidence
                    .offline
                    .then(|| say!("Other renewals fail for want of a network, too.")),
            ),
    )
}

fn network(evidence: &Evidence) -> Told {
    Told::new(
        Cause::Network,
        Certain,
        classify::text_for(&evidence.provider, "unreachable", false),
        ErrorCode::NetworkUnreachable.hint(),
    )
}

/// OpenClaw leaves it alone for a while.
fn cooldown(evidence: &Evidence) -> Told {
    let reason = evidence.cooldown.as_deref().unwrap_or_default();
    let by_itself = say!("It is used again by itself when the time is over.");
    let cause = match reason {
        "rate_limit" | "subscription_limit" | "billing" => Cause::Quota,
        _ => Cause::Cooldown,
    };
    let text = match cause {
        Cause::Quota => {
            say!("A limit of the plan is reached: OpenClaw leaves the account alone for a while.")
        }
        _ => say!("OpenClaw leaves the account alone for a while after a failure."),
    };
    let noted = say!("OpenClaw noted the reason {code}.", code = reason);
    Told::new(cause, Certain, text, by_itself).because((!reason.is_empty()).then_some(noted))
}

pub(super) fn clock() -> Told {
    Told::new(
        Cause::Clock,
        Likely,
        say!("This computer's clock differs from the provider's."),
        ErrorCode::ClockSkew.hint(),
    )
}

pub(super) fn no_sign_out() -> String {
    say!("It is not a sign-out: nothing shows that the provider ended the login.")
}

pub(super) fn unproven() -> String {
    say!("It is not proven that the provider ended the login.")
}
