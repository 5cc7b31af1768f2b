//! What a token endpoint's answer is to us: tokens, a classified refusal, or the knowledge that
//! nothing is known.
//!
//! Secrets stay in [`Secret`]; the one way out is [`TokenAnswer::to_journal`], for the rescue
//! journal that is written before anything else happens with an answer.

use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::secret::Secret;
use crate::{Error, ErrorCode, Result};

use super::claims::Claims;
use super::classify::Outcome;

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

/// What a JSON object from a token endpoint contains.
pub(super) enum Parsed {
    Tokens(TokenAnswer),
    OnlyRefresh(Secret),
    Nothing,
}

/// Reads a successful answer. Fields of a wrong type count as missing: an answer is never thrown
/// away for an ornament.
pub(super) fn parse(body: &Value, skew_ms: Option<i64>) -> Parsed {
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
            expires_in: body.get("expires_in").and_then(lifetime),
            token_type: text("token_type").map(str::to_owned),
            skew_ms,
        }),
        (None, Some(refresh)) => Parsed::OnlyRefresh(refresh),
        (None, None) => Parsed::Nothing,
    }
}

/// A positive number of seconds; some servers send it as text or with a fraction.
fn lifetime(value: &Value) -> Option<i64> {
    let seconds = match value {
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        other => other.as_f64()?,
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float saturates when it is cast to an integer"
    )]
    let whole = seconds as i64;
    (whole > 0).then(|| whole.min(LONGEST_LIFETIME))
}

impl TokenAnswer {
    /// When the access token ends by this machine's clock: `expires_in` from `received_at` as
    /// OpenClaw counts (no margin), else the token's own `exp`, else an hour.
    pub fn expires_at(&self, received_at: Timestamp, claims: &Claims) -> Timestamp {
        match (self.expires_in, claims.expires_at) {
            (Some(seconds), _) => received_at.plus_millis(seconds.saturating_mul(1000)),
            (None, Some(at)) => at,
            (None, None) => received_at.plus_millis(DEFAULT_LIFETIME_MS),
        }
    }

    /// Whether the provider's clock and ours differ by more than [`SKEW_LIMIT_MS`].
    pub fn clock_is_off(&self) -> bool {
        clock_is_off(self.skew_ms)
    }

    /// For the rescue journal's `received`, in plain text; never for a log or a view.
    pub fn to_journal(&self) -> Value {
        let mut journal = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                journal.insert(name.to_owned(), value);
            }
        };
        let secret = |secret: &Secret| Value::from(secret.expose());
        put("access", Some(secret(&self.access)));
        put("refresh", self.refresh.as_ref().map(secret));
        put("idToken", self.id_token.as_ref().map(secret));
        put("expiresIn", self.expires_in.map(Value::from));
        put("tokenType", self.token_type.clone().map(Value::from));
        put("skewMs", self.skew_ms.map(Value::from));
        Value::Object(journal)
    }

    /// Reads what [`TokenAnswer::to_journal`] wrote.
    pub fn from_journal(journal: &Value) -> Result<Self> {
        let text = |name: &str| {
            journal
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let number = |name: &str| journal.get(name).and_then(Value::as_i64);
        let access = text("access").ok_or_else(|| {
            Error::new(
                ErrorCode::VaultUnreadable,
                "a journal entry contains no access token",
            )
        })?;
        Ok(Self {
            access: Secret::new(access),
            refresh: text("refresh").map(Secret::new),
            id_token: text("idToken").map(Secret::new),
            expires_in: number("expiresIn").filter(|seconds| *seconds > 0),
            token_type: text("tokenType").map(str::to_owned),
            skew_ms: number("skewMs"),
        })
    }
}

impl RefreshAnswer {
    /// What must be journalled before anything else happens: `None` if nothing was received. Read
    /// it back with [`RefreshAnswer::from_journal`].
    pub fn to_journal(&self) -> Option<Value> {
        match self {
            RefreshAnswer::Rotated(answer) => Some(answer.to_journal()),
            RefreshAnswer::OnlyRefresh { refresh, .. } => {
                let refresh = Value::from(refresh.expose());
                Some(Value::Object(Map::from_iter([("refresh".to_owned(), refresh)])))
            }
            RefreshAnswer::Refused(_) | RefreshAnswer::NotSent(_) | RefreshAnswer::Unknown => None,
        }
    }

    /// [`RefreshAnswer::Rotated`] or [`RefreshAnswer::OnlyRefresh`], whichever was journalled.
    pub fn from_journal(journal: &Value) -> Result<Self> {
        let refresh = journal
            .get("refresh")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        match (journal.get("access"), refresh) {
            (None, Some(refresh)) => Ok(RefreshAnswer::OnlyRefresh {
                refresh: Secret::new(refresh),
                skew_ms: None,
            }),
            _ => TokenAnswer::from_journal(journal).map(RefreshAnswer::Rotated),
        }
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
        match parse(&body, None) {
            Parsed::Tokens(answer) => answer,
            Parsed::OnlyRefresh(_) | Parsed::Nothing => panic!("no tokens in {body}"),
        }
    }

    #[test]
    fn a_whole_answer_survives_the_journal() {
        let answer = TokenAnswer {
            skew_ms: Some(-1500),
            ..tokens(json!({"access_token": "A", "refresh_token": "R", "id_token": "I",
                "expires_in": 864_000, "token_type": "Bearer", "scope": "openid"}))
        };
        let journal = answer.to_journal();
        let expected = json!({"access": "A", "refresh": "R", "idToken": "I", "expiresIn": 864_000,
            "tokenType": "Bearer", "skewMs": -1500});
        assert_eq!(journal, expected);
        let text = journal.to_string();
        let read = TokenAnswer::from_journal(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(read.to_journal(), expected);

        let bare = tokens(json!({"access_token": "A"}));
        assert_eq!(bare.to_journal(), json!({"access": "A"}));
        assert!(TokenAnswer::from_journal(&json!({"refresh": "R"})).is_err());
        assert!(TokenAnswer::from_journal(&json!(null)).is_err());
    }

    #[test]
    fn a_new_refresh_token_alone_is_not_lost() {
        let parsed = |body| match parse(&body, None) {
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
    fn both_kinds_of_rotation_survive_the_journal() {
        let only = RefreshAnswer::OnlyRefresh {
            refresh: Secret::new("R"),
            skew_ms: Some(5),
        };
        let journal = only.to_journal().unwrap();
        assert_eq!(journal, json!({"refresh": "R"}));
        match RefreshAnswer::from_journal(&journal).unwrap() {
            RefreshAnswer::OnlyRefresh { refresh, .. } => assert_eq!(refresh.expose(), "R"),
            other => panic!("{other:?}"),
        }
        let whole = RefreshAnswer::Rotated(tokens(json!({"access_token": "A", "refresh_token": "R"})));
        let journal = whole.to_journal().unwrap();
        let read = RefreshAnswer::from_journal(&journal).unwrap();
        assert_eq!(read.to_journal(), Some(journal));
        assert!(RefreshAnswer::Unknown.to_journal().is_none());
        assert!(RefreshAnswer::from_journal(&json!({})).is_err());
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
    fn debug_shows_no_token() {
        let answer = tokens(json!({"access_token": "AAA", "refresh_token": "RRR", "id_token": "III"}));
        let told = format!("{answer:?} {:?}", RefreshAnswer::Rotated(answer.clone()));
        for secret in ["AAA", "RRR", "III"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
