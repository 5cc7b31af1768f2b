//! The table behind [`super::classify`]: one row per signal that token endpoints, APIs and
//! networks are known to send. Rows are tried from the first to the last.
//!
//! A row may only say [`Class::Permanent`] for a listed code in a JSON answer of the token
//! endpoint.

use std::ops::RangeInclusive;

use crate::ErrorCode;
use crate::ids::ProviderId;

use super::classify::{Answer, Body, Class, Evidence, Failure, Outcome, Place};

pub(super) struct Row {
    /// Names the row, for its test and for diagnosis.
    pub(super) id: &'static str,
    /// `None`: any provider.
    provider: Option<&'static str>,
    pub(super) when: When,
    pub(super) class: Class,
    /// Told unless one of the row's codes matched.
    pub(super) code: &'static str,
    pub(super) text: &'static str,
    error: ErrorCode,
    may_have_rotated: bool,
}

/// The evidence that a row is about.
pub(super) enum When {
    Failure(Failure),
    Answer(Place, Pattern),
}

/// All parts must hold; an empty list or `None` holds always.
pub(super) struct Pattern {
    pub(super) statuses: RangeInclusive<u16>,
    pub(super) bodies: &'static [Body],
    pub(super) codes: &'static [&'static str],
    described: Option<&'static str>,
    challenge: bool,
    elsewhere: bool,
}

impl Row {
    pub(super) fn is_about(&self, provider: &ProviderId) -> bool {
        match self.provider {
            None => true,
            Some("openai") => provider.is_openai(),
            Some(name) => provider.as_str() == name,
        }
    }

    pub(super) fn codes(&self) -> &'static [&'static str] {
        match &self.when {
            When::Failure(_) => &[],
            When::Answer(_, pattern) => pattern.codes,
        }
    }

    pub(super) fn outcome(&self, evidence: &Evidence) -> Option<Outcome> {
        let code = match (&self.when, evidence) {
            (When::Failure(expected), Evidence::Failure(seen)) if expected == seen => self.code,
            (When::Answer(place, pattern), Evidence::Answer(seen, answer)) if place == seen => {
                pattern.matches(answer)?.unwrap_or(self.code)
            }
            _ => return None,
        };
        Some(Outcome {
            rule: self.id,
            class: self.class,
            code,
            text: self.text,
            error: self.error,
            may_have_rotated: self.may_have_rotated,
        })
    }
}

impl Pattern {
    /// `Some(code)` if all holds; the code is the listed one that was found.
    fn matches(&self, answer: &Answer) -> Option<Option<&'static str>> {
        let described = self.described.is_none_or(|part| {
            answer
                .description
                .as_deref()
                .is_some_and(|text| text.contains(part))
        });
        let holds = self.statuses.contains(&answer.status)
            && (self.bodies.is_empty() || self.bodies.contains(&answer.body))
            && described
            && (!self.challenge || answer.challenge)
            && (!self.elsewhere || answer.elsewhere);
        if !holds {
            return None;
        }
        if self.codes.is_empty() {
            return Some(None);
        }
        let sent = answer.code.as_deref()?;
        self.codes
            .iter()
            .find(|code| **code == sent)
            .map(|code| Some(*code))
    }
}

const ANY: Pattern = Pattern {
    statuses: 100..=599,
    bodies: &[],
    codes: &[],
    described: None,
    challenge: false,
    elsewhere: false,
};

const fn coded(statuses: RangeInclusive<u16>, codes: &'static [&'static str]) -> Pattern {
    Pattern {
        statuses,
        bodies: &[Body::Json],
        codes,
        ..ANY
    }
}

const fn status(statuses: RangeInclusive<u16>) -> Pattern {
    Pattern { statuses, ..ANY }
}

pub(super) const TRANSIENT: Class = Class::Transient { retry_after: None };

/// The rows of docs/providers.md, "What a refusal means", in the order in which they are tried.
pub(super) const ROWS: &[Row] = &[
    // OpenAI: the refresh token is named by a code of its own (seen in reports of 2026).
    Row {
        id: "openai.reused",
        provider: Some("openai"),
        when: When::Answer(Place::Token, coded(400..=403, &["refresh_token_reused"])),
        class: Class::Permanent,
        code: "refresh_token_reused",
        text: template!(
            "another program (Codex CLI, a second gateway, a copied profile) used the same ChatGPT login"
        ),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    Row {
        id: "openai.ended",
        provider: Some("openai"),
        when: When::Answer(
            Place::Token,
            coded(
                400..=403,
                &["refresh_token_invalidated", "app_session_terminated"],
            ),
        ),
        class: Class::Permanent,
        code: "refresh_token_invalidated",
        text: template!(
            "OpenAI ended this session (signing out on another device or `codex login` and `codex logout` can do that)"
        ),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    Row {
        id: "openai.expired",
        provider: Some("openai"),
        when: When::Answer(Place::Token, coded(400..=403, &["refresh_token_expired"])),
        class: Class::Permanent,
        code: "refresh_token_expired",
        text: template!("the login expired: it was not used for too long"),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    Row {
        id: "openai.rejected",
        provider: Some("openai"),
        when: When::Answer(
            Place::Token,
            coded(400..=401, &["invalid_grant", "invalid_refresh_token"]),
        ),
        class: Class::Permanent,
        code: "invalid_grant",
        text: template!("OpenAI rejected the refresh token"),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    Row {
        id: "openai.entitlement",
        provider: Some("openai"),
        when: When::Answer(
            Place::Callback,
            Pattern {
                codes: &["access_denied"],
                described: Some("missing_codex_entitlement"),
                ..ANY
            },
        ),
        class: Class::RequestFault,
        code: "missing_codex_entitlement",
        text: template!("Codex is not enabled for this workspace"),
        error: ErrorCode::LoginEntitlement,
        may_have_rotated: false,
    },
    // A revoked access token at the API: told like an ended session, but the token endpoint has
    // the last word.
    Row {
        id: "openai.api_ended",
        provider: Some("openai"),
        when: When::Answer(
            Place::Api,
            coded(401..=401, &["token_revoked", "token_invalidated"]),
        ),
        class: Class::Suspect,
        code: "token_revoked",
        text: template!(
            "OpenAI ended this session (signing out on another device or `codex login` and `codex logout` can do that)"
        ),
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
    Row {
        id: "openai.quota",
        provider: Some("openai"),
        when: When::Answer(
            Place::Api,
            coded(
                402..=429,
                &[
                    "usage_limit",
                    "usage_limit_reached",
                    "usage_limit_exceeded",
                    "insufficient_quota",
                ],
            ),
        ),
        class: TRANSIENT,
        code: "usage_limit",
        text: template!("the plan's usage limit is reached"),
        error: ErrorCode::ProviderRateLimited,
        may_have_rotated: false,
    },
    // Anthropic.
    Row {
        id: "anthropic.rejected",
        provider: Some("anthropic"),
        when: When::Answer(Place::Token, coded(400..=401, &["invalid_grant"])),
        class: Class::Permanent,
        code: "invalid_grant",
        text: template!("Anthropic rejected the refresh token: run `claude auth login`"),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    Row {
        id: "anthropic.client",
        provider: Some("anthropic"),
        when: When::Answer(
            Place::Token,
            coded(
                400..=401,
                &["invalid_client", "invalid_scope", "unauthorized_client"],
            ),
        ),
        class: Class::ClientFault,
        code: "invalid_client",
        text: template!("Anthropic no longer accepts this client or its scopes"),
        error: ErrorCode::RefreshClient,
        may_have_rotated: false,
    },
    // Also reported as a glitch with a valid token: permanent for a person only after a second
    // refusal at least five minutes later.
    Row {
        id: "anthropic.setup_token",
        provider: Some("anthropic"),
        when: When::Answer(Place::Api, coded(401..=401, &["authentication_error"])),
        class: Class::Suspect,
        code: "authentication_error",
        text: template!(
            "Anthropic refused the setup-token: if it stays so, create a new one with `claude setup-token`"
        ),
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
    // MiniMax says how it stands in the body, with 200.
    Row {
        id: "minimax.pending",
        provider: Some("minimax-portal"),
        when: When::Answer(Place::Device, coded(200..=299, &["pending"])),
        class: Class::Pending,
        code: "authorization_pending",
        text: template!("the sign-in is not finished yet"),
        error: ErrorCode::LoginTimeout,
        may_have_rotated: false,
    },
    Row {
        id: "minimax.over",
        provider: Some("minimax-portal"),
        when: When::Answer(Place::Device, coded(200..=499, &["error"])),
        class: Class::RequestFault,
        code: "access_denied",
        text: template!("MiniMax refused the sign-in"),
        error: ErrorCode::LoginDenied,
        may_have_rotated: false,
    },
    Row {
        id: "minimax.rejected",
        provider: Some("minimax-portal"),
        when: When::Answer(Place::Token, coded(200..=499, &["error"])),
        class: Class::Suspect,
        code: "refused",
        text: template!("MiniMax refused the renewal: if it stays so, sign in again"),
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
    // GitHub answers the device flow with 200 whatever it says.
    Row {
        id: "github.client",
        provider: Some("github-copilot"),
        when: When::Answer(
            Place::Device,
            coded(
                200..=499,
                &["incorrect_client_credentials", "device_flow_disabled"],
            ),
        ),
        class: Class::ClientFault,
        code: "incorrect_client_credentials",
        text: template!("the provider no longer accepts this client"),
        error: ErrorCode::RefreshClient,
        may_have_rotated: false,
    },
    Row {
        id: "github.api_refused",
        provider: Some("github-copilot"),
        when: When::Answer(Place::Api, status(401..=401)),
        class: Class::Suspect,
        code: "bad_credentials",
        text: template!("GitHub refused the token: if it stays so, sign in again"),
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
    Row {
        id: "github.no_seat",
        provider: Some("github-copilot"),
        when: When::Answer(Place::Api, status(403..=404)),
        class: Class::RequestFault,
        code: "no_seat",
        text: template!("this GitHub account has no Copilot subscription, or may not use it here"),
        error: ErrorCode::RefreshRejected,
        may_have_rotated: false,
    },
    Row {
        id: "openrouter.key_refused",
        provider: Some("openrouter"),
        when: When::Answer(Place::Api, status(401..=401)),
        class: Class::Suspect,
        code: "key_refused",
        text: template!("OpenRouter refused the key: if it stays so, sign in for a new one"),
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
    // Networks and proxies that answer in the provider's place.
    Row {
        id: "blocked.challenge",
        provider: None,
        when: When::Answer(
            Place::Token,
            Pattern {
                challenge: true,
                ..ANY
            },
        ),
        class: TRANSIENT,
        code: "challenge",
        text: template!("the provider's bot protection stopped the request"),
        error: ErrorCode::NetworkBlocked,
        may_have_rotated: false,
    },
    Row {
        id: "captive.redirect",
        provider: None,
        when: When::Answer(
            Place::Token,
            Pattern {
                statuses: 300..=399,
                elsewhere: true,
                ..ANY
            },
        ),
        class: TRANSIENT,
        code: "captive_portal",
        text: template!("the network redirected the request to another host"),
        error: ErrorCode::NetworkCaptive,
        may_have_rotated: false,
    },
    Row {
        id: "captive.status",
        provider: None,
        when: When::Answer(Place::Token, status(511..=511)),
        class: TRANSIENT,
        code: "captive_portal",
        text: template!("the network wants a sign-in of its own"),
        error: ErrorCode::NetworkCaptive,
        may_have_rotated: false,
    },
    Row {
        id: "captive.page",
        provider: None,
        when: When::Answer(
            Place::Token,
            Pattern {
                statuses: 200..=299,
                bodies: &[Body::Other],
                ..ANY
            },
        ),
        class: TRANSIENT,
        code: "not_json",
        text: template!("something other than the provider's token endpoint answered"),
        error: ErrorCode::NetworkCaptive,
        may_have_rotated: true,
    },
    Row {
        id: "proxy.status",
        provider: None,
        when: When::Answer(Place::Token, status(407..=407)),
        class: TRANSIENT,
        code: "proxy",
        text: template!("the proxy wants a password"),
        error: ErrorCode::NetworkUnreachable,
        may_have_rotated: false,
    },
    // RFC 6749 section 5.2.
    Row {
        id: "invalid_grant",
        provider: None,
        when: When::Answer(Place::Token, coded(400..=401, &["invalid_grant"])),
        class: Class::Permanent,
        code: "invalid_grant",
        text: template!("the provider rejected the refresh token"),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    // OpenAI's codes say what they mean at any other provider as well.
    Row {
        id: "refresh_token",
        provider: None,
        when: When::Answer(
            Place::Token,
            coded(
                400..=403,
                &[
                    "refresh_token_reused",
                    "refresh_token_invalidated",
                    "refresh_token_expired",
                    "invalid_refresh_token",
                ],
            ),
        ),
        class: Class::Permanent,
        code: "invalid_grant",
        text: template!("the provider rejected the refresh token"),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    Row {
        id: "client",
        provider: None,
        when: When::Answer(
            Place::Token,
            coded(
                400..=401,
                &["invalid_client", "unauthorized_client", "unsupported_grant_type"],
            ),
        ),
        class: Class::ClientFault,
        code: "invalid_client",
        text: template!("the provider no longer accepts this client"),
        error: ErrorCode::RefreshClient,
        may_have_rotated: false,
    },
    Row {
        id: "invalid_request",
        provider: None,
        when: When::Answer(Place::Token, coded(400..=400, &["invalid_request"])),
        class: Class::RequestFault,
        code: "invalid_request",
        text: template!("the provider refused the request itself"),
        error: ErrorCode::RefreshRejected,
        may_have_rotated: false,
    },
    Row {
        id: "invalid_scope",
        provider: None,
        when: When::Answer(Place::Token, coded(400..=400, &["invalid_scope"])),
        class: Class::Permanent,
        code: "invalid_scope",
        text: template!("the login lost permissions that it needs"),
        error: ErrorCode::RefreshSignedOut,
        may_have_rotated: false,
    },
    // Sign-in attempts.
    Row {
        id: "denied.callback",
        provider: None,
        when: When::Answer(
            Place::Callback,
            Pattern {
                codes: &["access_denied"],
                ..ANY
            },
        ),
        class: Class::RequestFault,
        code: "access_denied",
        text: template!("the sign-in was refused, by you or by an administrator"),
        error: ErrorCode::LoginDenied,
        may_have_rotated: false,
    },
    Row {
        id: "denied.device",
        provider: None,
        when: When::Answer(
            Place::Device,
            coded(200..=403, &["access_denied", "authorization_denied"]),
        ),
        class: Class::RequestFault,
        code: "access_denied",
        text: template!("the sign-in was refused, by you or by an administrator"),
        error: ErrorCode::LoginDenied,
        may_have_rotated: false,
    },
    Row {
        id: "device.pending",
        provider: None,
        when: When::Answer(
            Place::Device,
            // GitHub says it with 200.
            coded(200..=429, &["authorization_pending", "slow_down"]),
        ),
        class: Class::Pending,
        code: "authorization_pending",
        text: template!("the sign-in is not finished yet"),
        error: ErrorCode::LoginTimeout,
        may_have_rotated: false,
    },
    Row {
        id: "device.over",
        provider: None,
        when: When::Answer(Place::Device, coded(200..=403, &["expired_token"])),
        class: Class::RequestFault,
        code: "expired_token",
        text: template!("the sign-in took too long"),
        error: ErrorCode::LoginTimeout,
        may_have_rotated: false,
    },
    // Limits, outages, blocks.
    Row {
        id: "region",
        provider: None,
        when: When::Answer(
            Place::Token,
            coded(403..=403, &["unsupported_country_region_territory"]),
        ),
        class: TRANSIENT,
        code: "unsupported_country_region_territory",
        text: template!("the provider does not serve the region that this connection comes from"),
        error: ErrorCode::ProviderRegion,
        may_have_rotated: false,
    },
    Row {
        id: "blocked.page",
        provider: None,
        when: When::Answer(
            Place::Token,
            Pattern {
                statuses: 403..=403,
                bodies: &[Body::Other, Body::Empty],
                ..ANY
            },
        ),
        class: TRANSIENT,
        code: "blocked",
        text: template!("the provider or a proxy blocks this network"),
        error: ErrorCode::NetworkBlocked,
        may_have_rotated: false,
    },
    Row {
        id: "rate_limit",
        provider: None,
        when: When::Answer(Place::Token, status(429..=429)),
        class: TRANSIENT,
        code: "rate_limited",
        text: template!("the provider received too many requests"),
        error: ErrorCode::ProviderRateLimited,
        may_have_rotated: false,
    },
    Row {
        id: "outage.timeout",
        provider: None,
        when: When::Answer(Place::Token, status(408..=408)),
        class: TRANSIENT,
        code: "out_of_order",
        text: template!("the provider is out of order"),
        error: ErrorCode::ProviderOutOfOrder,
        may_have_rotated: true,
    },
    Row {
        id: "outage",
        provider: None,
        when: When::Answer(Place::Token, status(500..=599)),
        class: TRANSIENT,
        code: "out_of_order",
        text: template!("the provider is out of order"),
        error: ErrorCode::ProviderOutOfOrder,
        may_have_rotated: true,
    },
    Row {
        id: "malformed",
        provider: None,
        when: When::Answer(Place::Token, status(200..=299)),
        class: TRANSIENT,
        code: "malformed",
        text: template!("the provider's answer contains no access token"),
        error: ErrorCode::ProviderAnswerMalformed,
        may_have_rotated: true,
    },
    // The connection.
    Row {
        id: "network.dns",
        provider: None,
        when: When::Failure(Failure::Dns),
        class: TRANSIENT,
        code: "dns",
        text: template!("the provider's address could not be found"),
        error: ErrorCode::NetworkUnreachable,
        may_have_rotated: false,
    },
    Row {
        id: "network.unreachable",
        provider: None,
        when: When::Failure(Failure::Unreachable),
        class: TRANSIENT,
        code: "unreachable",
        text: template!("the provider could not be reached"),
        error: ErrorCode::NetworkUnreachable,
        may_have_rotated: false,
    },
    Row {
        id: "network.tls",
        provider: None,
        when: When::Failure(Failure::Tls),
        class: TRANSIENT,
        code: "tls",
        text: template!("no trusted connection to the provider could be made"),
        error: ErrorCode::NetworkTls,
        may_have_rotated: false,
    },
    Row {
        id: "network.proxy",
        provider: None,
        when: When::Failure(Failure::Proxy),
        class: TRANSIENT,
        code: "proxy",
        text: template!("the proxy did not let the connection through"),
        error: ErrorCode::NetworkUnreachable,
        may_have_rotated: false,
    },
    Row {
        id: "network.no_answer",
        provider: None,
        when: When::Failure(Failure::NoAnswer),
        class: Class::Unknown,
        code: "no_answer",
        text: template!("the request was sent, but its answer was lost"),
        error: ErrorCode::RefreshUnknown,
        may_have_rotated: true,
    },
    // Refusals without a verdict.
    Row {
        id: "api.access_refused",
        provider: None,
        when: When::Answer(Place::Api, status(401..=401)),
        class: Class::Suspect,
        code: "access_refused",
        text: template!("the access token was refused: it is renewed first"),
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
    // codex 0.169.0 takes any 401 for a sign-out. A code that nobody knows is not enough here.
    Row {
        id: "openai.other_401",
        provider: Some("openai"),
        when: When::Answer(
            Place::Token,
            Pattern {
                statuses: 401..=401,
                bodies: &[Body::Json],
                ..ANY
            },
        ),
        class: Class::Suspect,
        code: "unrecognised",
        text: template!("OpenAI refused the renewal for a reason that Kalit does not know"),
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
    Row {
        id: "suspect.401",
        provider: None,
        when: When::Answer(Place::Token, status(401..=401)),
        class: Class::Suspect,
        code: "unrecognised",
        text: UNRECOGNISED.text,
        error: ErrorCode::RefreshTransient,
        may_have_rotated: false,
    },
];

/// Everything that no row knows: tried again before anybody is told.
pub(super) const UNRECOGNISED: Outcome = Outcome {
    rule: "unrecognised",
    class: Class::Suspect,
    code: "unrecognised",
    text: template!("the provider refused the renewal in a way that Kalit does not know"),
    error: ErrorCode::RefreshTransient,
    may_have_rotated: false,
};
