//! The fuzzer's functions of signing in and renewing: what browsers, people, providers and
//! manifests bring.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use url::{Host, Url};

use super::callback::respond;
use super::claims::Claims;
use super::classify::Class;
use super::identity::{Identity, Sameness};
use super::manifest::{self, Manifest};
use super::page::Page;
use super::paste;
use super::pkce::State;
use super::provider::Provider;
use super::providers::Providers;
use super::redirect::{Expected, RedirectUri};
use super::settlement::{Claimed, Settlement};
use super::token_answer::{RefreshAnswer, TokenAnswer};
use super::token_endpoint::{Completeness, Failed, Headers, Received};
use crate::clock::Timestamp;
use crate::fuzzing::{assert_no_secret, told};
use crate::ids::ProviderId;
use crate::secret::Secret;

/// Stands in an input where this run's state stands: nobody can guess that.
const STATE: &str = "@STATE@";
const NOW: Timestamp = Timestamp::from_millis(1_795_435_200_000);

static BUILT_IN: LazyLock<Providers> = LazyLock::new(|| Providers::built_in().expect("they are valid"));
static EXPECTED: LazyLock<Arc<Expected>> = LazyLock::new(|| {
    let provider = openai();
    let authorization = provider.authorization().expect("it has one");
    let redirect = RedirectUri::new(authorization, 1455);
    let state = State::random().expect("there are random numbers");
    Arc::new(Expected::new(state, redirect, authorization.url.clone()))
});

/// The head of a request to the loopback listener: nothing settles a sign-in but a GET for its
/// path, to this machine, with its state.
pub(crate) fn callback(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let head = text.replace(STATE, EXPECTED.state().as_str());
    // Whatever is no UTF-8 is refused as it is.
    let head = if text.contains('\u{fffd}') {
        input
    } else {
        head.as_bytes()
    };
    let (settlement, _receiver) = Settlement::new();
    let (page, settled) = respond(head, &EXPECTED, &settlement);
    let has_settled = settled.is_some();
    assert_eq!(has_settled, matches!(page, Page::Received | Page::Refused));
    assert_eq!(has_settled, matches!(settlement.claim(), Claimed::Answered));
    let Some((_claim, settled)) = settled else {
        return;
    };
    assert!(text.contains(STATE) && text.starts_with("GET /auth/callback?"));
    let lower = text.to_ascii_lowercase();
    let hosts = ["localhost:1455", "127.0.0.1:1455", "[::1]:1455"];
    assert!(lower.contains("host:") && hosts.iter().any(|host| lower.contains(host)));
    match settled {
        Ok(code) => assert!(!code.is_empty()),
        Err(error) => tells_nothing(&told(&error)),
    }
    let (page, settled) = respond(head, &EXPECTED, &settlement);
    assert!(page == Page::Repeated && settled.is_none());
}

/// What a person pastes: an address, a code, a token, a key, a time span.
pub(crate) fn pasted(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let secret = Secret::new(text.replace(STATE, EXPECTED.state().as_str()));
    match EXPECTED.pasted(&secret) {
        Ok(code) => assert!(!code.is_empty()),
        Err(error) => tells_nothing(&told(&error)),
    }
    for provider in ["anthropic", "openai", "acme"] {
        let provider = ProviderId::parse(provider).expect("not empty");
        for taken in [
            paste::token(&provider, &secret),
            paste::api_key(&provider, &secret),
        ] {
            match taken {
                Ok(taken) => {
                    assert!(secret.expose().contains(taken.expose()) && taken.expose().len() >= 8);
                    assert!(!taken.expose().contains(char::is_whitespace));
                }
                Err(error) => tells_nothing(&told(&error)),
            }
        }
    }
    match paste::expires_in(&text) {
        Ok(span) => assert!(span.as_secs() > 0),
        Err(error) => tells_nothing(&told(&error)),
    }
}

/// A JWT, and its payload alone.
pub(crate) fn claims(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let raw = Secret::new(text);
    let made = Secret::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(input)));
    let provider = openai();
    for (access, id_token) in [(&raw, None), (&made, Some(&raw)), (&raw, Some(&made))] {
        let claims = Claims::of_tokens(provider.claims(), access, id_token);
        assert!(claims.lifetime_ms().is_none_or(|lifetime| lifetime > 0));
        for text in [&claims.subject, &claims.account_id, &claims.email, &claims.plan] {
            assert!(text.as_ref().is_none_or(|text| !text.is_empty()));
        }
        let identity = Identity::of(&provider, &claims);
        let sameness = identity.compare(&identity);
        let is_known = identity.subject().is_some() && identity.account_id().is_some();
        assert!(
            sameness
                == if is_known {
                    Sameness::Same
                } else {
                    Sameness::Unsure
                }
        );
        let answer = TokenAnswer {
            access: access.clone(),
            refresh: None,
            id_token: id_token.cloned(),
            expires_in: None,
            token_type: None,
            skew_ms: Some(i64::MIN),
        };
        answer.expires_at(NOW, &claims);
    }
}

/// A token endpoint's answer: two bytes of status, one of what came, `Retry-After`, `Date`,
/// `Location` and `cf-mitigated` as lines, then the body.
pub(crate) fn token_answer(input: &[u8]) {
    let Some(([high, low, how], rest)) = input.split_first_chunk::<3>() else {
        return;
    };
    let status = 100 + u16::from_be_bytes([*high, *low]) % 500;
    let complete = match how % 4 {
        0 => Completeness::Cut,
        1 => Completeness::TooLarge,
        _ => Completeness::Whole,
    };
    let mut lines = rest.splitn(5, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for name in [
        RETRY_AFTER,
        DATE,
        LOCATION,
        HeaderName::from_static("cf-mitigated"),
    ] {
        let value = lines.next().and_then(|line| HeaderValue::from_bytes(line).ok());
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
    let body = lines.next().unwrap_or_default();
    let provider = openai();
    let url = &provider.token_route().expect("it has one").url;
    let headers = Headers::read(&headers, url, NOW);
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).ok();
    let object = object.filter(|_| !matches!(complete, Completeness::TooLarge));
    let token = |name: &str| {
        object
            .as_ref()?
            .get(name)?
            .as_str()
            .filter(|text| !text.is_empty())
    };
    let succeeded = (200..300).contains(&status);
    let answer = match Received::new(status, headers, body, complete) {
        Ok(received) => received.into_answer(&provider),
        Err(Failed::Lost) => return assert!(matches!(complete, Completeness::Cut) && object.is_none()),
        Err(Failed::NotSent(..)) => panic!("it was sent"),
    };
    assert_no_secret(&format!("{answer:?}"));
    match answer {
        RefreshAnswer::Rotated(tokens) => {
            assert_eq!(Some(tokens.access.expose()), token("access_token"));
            assert_eq!(
                tokens.refresh.as_ref().map(Secret::expose),
                token("refresh_token")
            );
            assert!(succeeded && tokens.expires_in.is_none_or(|seconds| seconds > 0));
            tokens.expires_at(NOW, &Claims::default());
        }
        RefreshAnswer::OnlyRefresh { refresh, .. } => {
            assert!(succeeded && Some(refresh.expose()) == token("refresh_token"));
        }
        RefreshAnswer::Refused(refusal) => {
            assert!(!succeeded || (token("access_token").is_none() && token("refresh_token").is_none()));
            assert_no_secret(&format!(
                "{} {}",
                told(&refusal.outcome.to_error()),
                refusal.outcome.sentence(true)
            ));
            // "Signed out" needs a code in JSON.
            if refusal.outcome.class == Class::Permanent {
                assert!((400..500).contains(&status) && object.is_some());
            }
            refusal.clock_is_off();
        }
        RefreshAnswer::NotSent(_) | RefreshAnswer::Unknown => panic!("an answer came"),
    }
}

/// A provider manifest: whatever is accepted sends tokens over TLS, or to this machine itself.
pub(crate) fn manifest(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(parsed) = manifest::parse(text, Some("fuzz.json".into()), |id| BUILT_IN.get(id)) else {
        return;
    };
    let provider = match parsed {
        Manifest::New(provider) | Manifest::Override(provider) => provider,
    };
    let urls = [
        provider.authorization().map(|authorization| &authorization.url),
        provider.token_route().map(|route| &route.url),
        provider.revoke_url(),
    ];
    for url in urls.into_iter().flatten() {
        assert!(
            url.scheme() == "https" || (url.scheme() == "http" && is_here(url)),
            "{url}"
        );
        assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    }
    if let Some(authorization) = provider.authorization() {
        assert!(authorization.redirect.path.starts_with('/') && !authorization.redirect.ports.contains(&0));
        assert!(
            authorization
                .params
                .iter()
                .all(|(name, _)| name != "state" && name != "redirect_uri")
        );
    }
    let nowhere = provider.at_token_url("http://provider.example/token");
    assert!(nowhere.is_err());
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

fn tells_nothing(text: &str) {
    assert_no_secret(text);
    assert!(
        !text.contains(EXPECTED.state().as_str()),
        "the state is told: {text}"
    );
}

fn openai() -> Provider {
    let id = ProviderId::parse("openai").expect("not empty");
    BUILT_IN.get(&id).expect("it is built in").clone()
}
