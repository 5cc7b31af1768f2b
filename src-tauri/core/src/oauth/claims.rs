//! What the provider's JWTs say about an account: for showing, for identity and for lifetimes.
//!
//! Signatures are not verified: the tokens came over TLS from the token endpoint (OpenID Connect
//! Core section 3.1.3.7), or they lie in the user's own store. Nothing here may be used to let
//! somebody in, and a token that is not a JWT is no error.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::secret::Secret;

use super::provider::{ClaimNames, ClaimPath};

/// The largest token that is looked into, in octets.
const MAX_TOKEN: usize = 64 * 1024;

/// The parts of an account's tokens that Kalit uses; each may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// `iss`
    pub issuer: Option<String>,
    /// The person.
    pub subject: Option<String>,
    /// The workspace or account.
    pub account_id: Option<String>,
    /// For people, and for new profile ids.
    pub email: Option<String>,
    /// For people, and for new profile ids: any text.
    pub plan: Option<String>,
    /// When the access token was issued.
    pub issued_at: Option<Timestamp>,
    /// When the access token ends.
    pub expires_at: Option<Timestamp>,
}

impl Claims {
    /// From the access token, and from the id token what the former does not say (OpenClaw takes
    /// the account id from the access token). Times come from the access token alone.
    pub fn of_tokens(names: &ClaimNames, access: &Secret, id_token: Option<&Secret>) -> Self {
        let access = payload(access.expose());
        let id_token = id_token.and_then(|token| payload(token.expose()));
        let payloads: Vec<&Value> = access.iter().chain(&id_token).collect();
        let text = |paths: &[ClaimPath]| -> Option<String> {
            payloads
                .iter()
                .find_map(|payload| paths.iter().find_map(|path| path.find(payload)))
                .map(str::to_owned)
        };
        let time = |name: &str| access.as_ref().and_then(|payload| seconds(payload.get(name)?));
        Self {
            issuer: payloads
                .iter()
                .find_map(|payload| payload.get("iss")?.as_str())
                .map(str::to_owned),
            subject: text(&names.subject),
            account_id: text(&names.account_id),
            email: text(&names.email),
            plan: text(&names.plan),
            issued_at: time("iat"),
            expires_at: time("exp"),
        }
    }

    /// From issue to end of the access token, in milliseconds, if the token says both.
    pub fn lifetime_ms(&self) -> Option<i64> {
        let lifetime = self.expires_at?.millis_since(self.issued_at?);
        (lifetime > 0).then_some(lifetime)
    }
}

/// The payload of a JWS in compact serialization (RFC 7515 section 3.1): base64url without
/// padding.
fn payload(token: &str) -> Option<Value> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Value>(&json)
        .ok()
        .filter(Value::is_object)
}

/// A NumericDate (RFC 7519 section 2): seconds, possibly with a fraction.
fn seconds(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite())?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float saturates when it is cast to an integer"
    )]
    let millis = (seconds * 1000.0) as i64;
    Some(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::testing::{jwt, openai};
    use serde_json::json;

    fn of(access: Value, id_token: Option<Value>) -> Claims {
        let provider = openai();
        let id_token = id_token.map(|payload| Secret::new(jwt(&payload)));
        Claims::of_tokens(provider.claims(), &Secret::new(jwt(&access)), id_token.as_ref())
    }

    #[test]
    fn an_openai_access_token_says_everything() {
        let claims = of(
            json!({
                "iss": "https://auth.openai.com", "sub": "auth0|1", "iat": 1_700_000_000, "exp": 1_700_864_000,
                "https://api.openai.com/profile": {"email": "me@example.com"},
                "https://api.openai.com/auth": {
                    "chatgpt_account_id": "acc-1", "chatgpt_plan_type": "plus",
                    "chatgpt_user_id": "user-1", "user_id": "user-old",
                },
            }),
            None,
        );
        assert_eq!(
            claims,
            Claims {
                issuer: Some("https://auth.openai.com".to_owned()),
                subject: Some("user-1".to_owned()),
                account_id: Some("acc-1".to_owned()),
                email: Some("me@example.com".to_owned()),
                plan: Some("plus".to_owned()),
                issued_at: Some(Timestamp::from_millis(1_700_000_000_000)),
                expires_at: Some(Timestamp::from_millis(1_700_864_000_000)),
            }
        );
        assert_eq!(claims.lifetime_ms(), Some(864_000_000));
    }

    #[test]
    fn subject_falls_back_to_user_id_and_then_sub() {
        let auth = |auth: Value| json!({"sub": "s", "https://api.openai.com/auth": auth});
        assert_eq!(
            of(auth(json!({"user_id": "u"})), None).subject.as_deref(),
            Some("u")
        );
        assert_eq!(
            of(auth(json!({"chatgpt_user_id": ""})), None).subject.as_deref(),
            Some("s")
        );
        assert_eq!(of(json!({}), None).subject, None);
    }

    #[test]
    fn the_id_token_fills_what_the_access_token_leaves_out_except_times() {
        let claims = of(
            json!({"exp": 10}),
            Some(json!({
                "email": "me@example.com", "exp": 99, "iat": 98,
                "https://api.openai.com/auth": {"chatgpt_account_id": "acc-1"},
            })),
        );
        assert_eq!(claims.email.as_deref(), Some("me@example.com"));
        assert_eq!(claims.account_id.as_deref(), Some("acc-1"));
        assert_eq!(claims.expires_at, Some(Timestamp::from_millis(10_000)));
        assert_eq!(claims.issued_at, None);
        assert_eq!(claims.lifetime_ms(), None);
    }

    #[test]
    fn the_access_tokens_account_comes_first() {
        let auth = |id: &str| json!({"https://api.openai.com/auth": {"chatgpt_account_id": id}});
        assert_eq!(of(auth("a"), Some(auth("b"))).account_id.as_deref(), Some("a"));
    }

    #[test]
    fn what_is_no_jwt_says_nothing() {
        let provider = openai();
        let array = format!("h.{}.s", URL_SAFE_NO_PAD.encode("[1]"));
        let four = format!("{}.x", jwt(&json!({"sub": "s"})));
        let huge = jwt(&json!({"sub": "s", "pad": "x".repeat(MAX_TOKEN)}));
        for token in ["", "opaque", "a.b", "a.!.c", "a.e30", &array, &four, &huge] {
            let claims = Claims::of_tokens(provider.claims(), &Secret::new(token), None);
            assert_eq!(claims, Claims::default());
        }
    }

    #[test]
    fn base64url_is_decoded_with_and_without_padding() {
        let provider = openai();
        let json = "{\"sub\":\"\u{fb}\u{ff}?>~\"}";
        let bare = URL_SAFE_NO_PAD.encode(json);
        for body in [bare.clone(), format!("{bare}=="), format!("{bare}=")] {
            let token = Secret::new(format!("h.{body}.s"));
            let claims = Claims::of_tokens(provider.claims(), &token, None);
            assert_eq!(claims.subject.as_deref(), Some("\u{fb}\u{ff}?>~"));
        }
    }

    #[test]
    fn odd_times_do_no_harm() {
        for (exp, expected) in [
            (json!(1.5), Some(1500)),
            (json!(-5), Some(-5000)),
            (json!(1e300), Some(i64::MAX)),
            (json!("10"), None),
            (json!(null), None),
        ] {
            let claims = of(json!({"exp": exp}), None);
            assert_eq!(claims.expires_at.map(Timestamp::as_millis), expected);
        }
        assert_eq!(of(json!({"exp": 5, "iat": 9}), None).lifetime_ms(), None);
    }
}
