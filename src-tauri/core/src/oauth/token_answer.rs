//! What a token endpoint's answer is to us: tokens, a classified refusal, or the knowledge that
//! nothing is known.
//!
//! Secrets stay in [`Secret`]: whoever receives tokens journals them before anything else.

use serde_json::Value;

use crate::Error;
use crate::clock::Timestamp;
use crate::secret::Secret;

use super::claims::Claims;
use super::classify::Outcome;

crate::keeps_secret!(TokenAnswer, RefreshAnswer);
crate::keeps_raw_secret!(Parsed);

/// How far this machine's clock may be off before people are told to check it, in milliseconds.
pub const SKEW_LIMIT_MS: i64 = 2 * 60 * 1000;

/// The lifetime of an access token that does not say (also what opencode assumes).
const DEFAULT_LIFETIME_MS: i64 = 60 * 60 * 1000;

/// No lifetime is believed beyond this: a hundred years, in seconds.
const LONGEST_LIFETIME: i64 = 100 * 366 * 24 * 60 * 60;

/// The tokens of a successful exchange or refresh (RFC 6749 section 5.1).
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// The access token.
    pub access: Secret,
    /// The refresh token. Missing in the answer to a refresh: the old one stays valid.
    pub refresh: Option<Secret>,
    /// The OpenID Connect id token.
    pub id_token: Option<Secret>,
    /// The access token's lifetime in seconds, from the moment of the answer; always positive.
    pub expires_in: Option<i64>,
    /// Usually `Bearer`.
    pub token_type: Option<String>,
    /// This machine's clock minus the HTTP `Date`, in milliseconds.
    pub skew_ms: Option<i64>,
}

/// The answer to a refresh.
#[derive(Debug)]
pub enum RefreshAnswer {
    /// New tokens. Journal them before anything else.
    Rotated(TokenAnswer),
    /// A new refresh token without an access token. It must be kept: the old one may be dead.
    OnlyRefresh {
        /// The new refresh token.
        refresh: Secret,
        /// This machine's clock minus the HTTP `Date`, in milliseconds.
        skew_ms: Option<i64>,
    },
    /// A complete answer without tokens: a refusal, an outage, a page of somebody else.
    Refused(Refusal),
    /// The request provably never left this machine towards the provider: nothing can have been
    /// rotated.
    NotSent(Error),
    /// The request was sent and no complete answer came: the token may have been rotated.
    Unknown,
}

/// A complete answer without tokens.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What it means.
    pub outcome: Outcome,
    /// The HTTP status.
    pub status: u16,
    /// This machine's clock minus the HTTP `Date`, in milliseconds.
    pub skew_ms: Option<i64>,
}

/// The answer to a revocation.
#[derive(Debug)]
pub enum RevokeAnswer {
    /// The provider ended the login, or never knew it: RFC 7009 has one answer for both.
    Ended,
    /// The provider had ended it before, with its code.
    EndedBefore { code: &'static str },
    /// A complete answer, and no end.
    Refused {
        error: Error,
        /// The login may have ended all the same: an outage, a page of somebody else.
        is_doubtful: bool,
    },
    /// The request never left this machine towards the provider.
    NotSent(Error),
    /// It was sent and no complete answer came.
    Unknown,
}

/// What a JSON object from a token endpoint contains.
pub(super) enum Parsed {
    Tokens(TokenAnswer),
    OnlyRefresh(Secret),
    Nothing,
}

/// Reads a successful answer. Fields of a wrong type count as missing: an answer is never thrown
/// away for an ornament.
pub(super) fn parse(body: &Value, skew_ms: Option<i64>, now: Timestamp) -> Parsed {
    let text = |name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let refresh = text("refresh_token").map(Secret::new);
    match (text("access_token"), refresh) {
        (Some(access), refresh) => Parsed::Tokens(TokenAnswer {
            access: Secret::new(access),
            refresh,
            id_token: text("id_token").map(Secret::new),
            expires_in: body
                .get("expires_in")
                .and_then(lifetime)
                .or_else(|| body.get("expired_in").and_then(|value| until(value, now))),
            token_type: text("token_type").map(str::to_owned),
            skew_ms,
        }),
        (None, Some(refresh)) => Parsed::OnlyRefresh(refresh),
        (None, None) => Parsed::Nothing,
    }
}

/// Reads an API key that a sign-in made: it takes the place of the access token.
pub(super) fn parse_key(body: &Value, skew_ms: Option<i64>) -> Option<TokenAnswer> {
    let key = body.get("key")?.as_str().filter(|key| !key.is_empty())?;
    Some(TokenAnswer {
        access: Secret::new(key),
        refresh: None,
        id_token: None,
        expires_in: None,
        token_type: None,
        skew_ms,
    })
}

/// MiniMax's `expired_in` as a lifetime in seconds: a moment in milliseconds or seconds since 1970,
/// or seconds from now, told apart by their size as OpenClaw 2026.6.1 does.
pub(super) fn until(value: &Value, now: Timestamp) -> Option<i64> {
    let number = positive(value)?;
    let seconds = match number {
        1_000_000_000_000.. => Timestamp::from_millis(number).millis_since(now) / 1000,
        1_000_000_000.. => Timestamp::from_millis(number * 1000).millis_since(now) / 1000,
        seconds => seconds,
    };
    (seconds > 0).then(|| seconds.min(LONGEST_LIFETIME))
}

/// A positive number of seconds; some servers send it as text or with a fraction.
pub(super) fn lifetime(value: &Value) -> Option<i64> {
    positive(value).map(|seconds| seconds.min(LONGEST_LIFETIME))
}

fn positive(value: &Value) -> Option<i64> {
    let number = match value {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        other => other.as_f64()?,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float saturates when it is cast to an integer"
    )]
    let whole = number as i64;
    (whole > 0).then_some(whole)
}

impl TokenAnswer {
    /// When the access token ends by this machine's clock: `expires_in` from `received_at` as
    /// OpenClaw counts (no margin), else the token's own `exp`, which the provider's clock told,
    /// else an hour.
    pub fn expires_at(&self, received_at: Timestamp, claims: &Claims) -> Timestamp {
        match (self.expires_in, claims.expires_at) {
            (Some(seconds), _) => received_at.plus_millis(seconds.saturating_mul(1000)),
            (None, Some(at)) if self.clock_is_off() => at.plus_millis(self.skew_ms.unwrap_or(0)),
            (None, Some(at)) => at,
            (None, None) => received_at.plus_millis(DEFAULT_LIFETIME_MS),
        }
    }

    /// Whether the provider's clock and ours differ by more than [`SKEW_LIMIT_MS`].
    pub fn clock_is_off(&self) -> bool {
        clock_is_off(self.skew_ms)
    }
}

impl Refusal {
    /// Whether the provider's clock and ours differ by more than [`SKEW_LIMIT_MS`].
    pub fn clock_is_off(&self) -> bool {
        clock_is_off(self.skew_ms)
    }
}

fn clock_is_off(skew_ms: Option<i64>) -> bool {
    skew_ms.is_some_and(|skew| skew.saturating_abs() > SKEW_LIMIT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tokens(body: Value) -> TokenAnswer {
        match parse(&body, None, Timestamp::from_millis(0)) {
            Parsed::Tokens(answer) => answer,
            Parsed::OnlyRefresh(_) | Parsed::Nothing => panic!("no tokens in {body}"),
        }
    }

    #[test]
    fn a_new_refresh_token_alone_is_not_lost() {
        let parsed = |body| match parse(&body, None, Timestamp::from_millis(0)) {
            Parsed::Tokens(_) => "tokens".to_owned(),
            Parsed::OnlyRefresh(refresh) => refresh.expose().to_owned(),
            Parsed::Nothing => "nothing".to_owned(),
        };
        assert_eq!(parsed(json!({"refresh_token": "R"})), "R");
        assert_eq!(parsed(json!({"refresh_token": "R", "access_token": 5})), "R");
        assert_eq!(parsed(json!({"refresh_token": "R", "access_token": ""})), "R");
        assert_eq!(parsed(json!({"refresh_token": ""})), "nothing");
        assert_eq!(parsed(json!({})), "nothing");
        assert_eq!(
            parsed(json!({"access_token": "A", "refresh_token": null})),
            "tokens"
        );
    }

    #[test]
    fn lifetimes_in_every_spelling() {
        for (value, expected) in [
            (json!(3600), Some(3600)),
            (json!("3600"), Some(3600)),
            (json!(3599.9), Some(3599)),
            (json!(0), None),
            (json!(-5), None),
            (json!("soon"), None),
            (json!("NaN"), None),
            (json!(null), None),
            (json!(1e300), Some(LONGEST_LIFETIME)),
        ] {
            let answer = tokens(json!({"access_token": "A", "expires_in": value}));
            assert_eq!(answer.expires_in, expected, "{value}");
        }
    }

    #[test]
    fn expired_in_is_a_moment_or_a_lifetime_by_its_size() {
        let now = Timestamp::from_millis(1_763_900_000_000);
        for (value, expected) in [
            (json!(3600), Some(3600)),
            (json!(1_763_900_600_i64), Some(600)),
            (json!(1_763_900_600_000_i64), Some(600)),
            (json!(1_763_899_000_000_i64), None),
            (json!(0), None),
        ] {
            assert_eq!(until(&value, now), expected, "{value}");
        }
        let body = json!({"access_token": "A", "expired_in": 1_763_900_600_000_i64});
        let Parsed::Tokens(answer) = parse(&body, None, now) else {
            panic!("tokens")
        };
        assert_eq!(answer.expires_in, Some(600));
    }

    #[test]
    fn expiry_comes_from_expires_in_then_exp_then_an_hour() {
        let now = Timestamp::from_millis(1_000_000);
        let claims = Claims {
            expires_at: Some(Timestamp::from_millis(5_000_000)),
            ..Claims::default()
        };
        let with = tokens(json!({"access_token": "A", "expires_in": 10}));
        let without = tokens(json!({"access_token": "A"}));
        assert_eq!(with.expires_at(now, &claims), Timestamp::from_millis(1_010_000));
        assert_eq!(
            without.expires_at(now, &claims),
            Timestamp::from_millis(5_000_000)
        );
        assert_eq!(
            without.expires_at(now, &Claims::default()),
            Timestamp::from_millis(4_600_000)
        );
    }

    #[test]
    fn an_exp_of_a_clock_an_hour_off_is_told_by_ours() {
        let hour = 3_600_000;
        let now = Timestamp::from_millis(1_795_435_200_000);
        for (skew_ms, expected) in [
            (hour, now.plus_millis(2 * hour)),
            (-hour, now),
            // within what an answer may take on its way
            (90_000, now.plus_millis(hour)),
        ] {
            let mut answer = tokens(json!({"access_token": "A"}));
            answer.skew_ms = Some(skew_ms);
            let claims = Claims {
                expires_at: Some(now.plus_millis(hour)),
                ..Claims::default()
            };
            assert_eq!(answer.expires_at(now, &claims), expected, "{skew_ms}");
            answer.expires_in = Some(60);
            assert_eq!(
                answer.expires_at(now, &claims),
                now.plus_millis(60_000),
                "{skew_ms}"
            );
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let answer = tokens(json!({"access_token": "AAA", "refresh_token": "RRR", "id_token": "III"}));
        let told = format!("{answer:?} {:?}", RefreshAnswer::Rotated(answer.clone()));
        for secret in ["AAA", "RRR", "III"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
