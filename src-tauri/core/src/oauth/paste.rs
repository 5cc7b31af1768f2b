//! Secrets that a person pastes: setup-tokens and API keys. Checked for slips of the clipboard
//! before they are stored; never sent anywhere.

use std::time::Duration;

use crate::ids::ProviderId;
use crate::secret::Secret;
use crate::{Error, ErrorCode, Result};

/// A setup-token's beginning and least length (OpenClaw 2026.2.17 and 2026.9.6 check the same).
const SETUP_TOKEN_PREFIX: &str = "sk-ant-oat01-";
const SETUP_TOKEN_LENGTH: usize = 80;

const SHORTEST_SECRET: usize = 8;

/// What a well-known secret begins with.
struct Known {
    prefix: &'static str,
    kind: Kind,
    /// The provider whose it is; `sk-` alone is used by many.
    provider: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    ApiKey,
    /// Made to be pasted, without renewal.
    SetupToken,
    /// Half of an OAuth login: useless by itself.
    RefreshToken,
}

/// Longer prefixes before shorter ones.
const KNOWN: &[Known] = &[
    Known {
        prefix: SETUP_TOKEN_PREFIX,
        kind: Kind::SetupToken,
        provider: "anthropic",
    },
    Known {
        prefix: "sk-ant-ort01-",
        kind: Kind::RefreshToken,
        provider: "anthropic",
    },
    Known {
        prefix: "sk-ant-",
        kind: Kind::ApiKey,
        provider: "anthropic",
    },
    Known {
        prefix: "sk-or-",
        kind: Kind::ApiKey,
        provider: "openrouter",
    },
    Known {
        prefix: "sk-proj-",
        kind: Kind::ApiKey,
        provider: "openai",
    },
    Known {
        prefix: "sk-svcacct-",
        kind: Kind::ApiKey,
        provider: "openai",
    },
    Known {
        prefix: "xai-",
        kind: Kind::ApiKey,
        provider: "xai",
    },
    Known {
        prefix: "gsk_",
        kind: Kind::ApiKey,
        provider: "groq",
    },
    Known {
        prefix: "AIza",
        kind: Kind::ApiKey,
        provider: "google",
    },
];

/// A token for `paste-token`. For Anthropic it must be a setup-token (`claude setup-token`).
pub fn token(provider: &ProviderId, pasted: &Secret) -> Result<Secret> {
    let text = one_piece(pasted)?;
    let known = known(text);
    match known {
        Some(Known {
            kind: Kind::RefreshToken,
            ..
        }) => return Err(refresh_token()),
        Some(Known {
            kind: Kind::ApiKey, ..
        }) => {
            return Err(
                Error::new(ErrorCode::SecretPrefix, say!("this is an API key, not a token"))
                    .with_hint(say!("Use `kalit paste-api-key` for it.")),
            );
        }
        Some(Known {
            kind: Kind::SetupToken,
            ..
        }) => {
            if provider.as_str() != "anthropic" {
                return Err(foreign(provider, "anthropic"));
            }
            if text.len() < SETUP_TOKEN_LENGTH {
                return Err(Error::new(
                    ErrorCode::SecretTooShort,
                    say!("the setup-token is not complete"),
                ));
            }
        }
        None if provider.as_str() == "anthropic" => {
            return Err(Error::new(
                ErrorCode::SecretPrefix,
                say!("a setup-token begins with {prefix}", prefix = SETUP_TOKEN_PREFIX),
            )
            .with_hint(say!(
                "Run `claude setup-token` and copy the token that it prints."
            )));
        }
        None => {}
    }
    Ok(Secret::new(text))
}

/// An API key for `paste-api-key`: any provider takes one.
pub fn api_key(provider: &ProviderId, pasted: &Secret) -> Result<Secret> {
    let text = one_piece(pasted)?;
    match known(text) {
        Some(Known {
            kind: Kind::RefreshToken,
            ..
        }) => return Err(refresh_token()),
        Some(Known {
            kind: Kind::SetupToken,
            ..
        }) => {
            return Err(Error::new(
                ErrorCode::SecretPrefix,
                say!("this is a setup-token, not an API key"),
            )
            .with_hint(say!("Use `kalit paste-token --provider anthropic` for it.")));
        }
        Some(known) if is_well_known(provider) && !is_whose(known, provider) => {
            return Err(foreign(provider, known.provider));
        }
        Some(_) | None => {}
    }
    Ok(Secret::new(text))
}

/// The value of `--expires-in`: numbers with `d`, `h`, `m` or `s`, possibly several (`1d12h`).
pub fn expires_in(text: &str) -> Result<Duration> {
    let refused = || {
        Error::new(ErrorCode::Usage, say!("--expires-in is not a time span"))
            .with_hint(say!("Write for example 365d, 12h, 30m, 90s or 1d12h."))
    };
    let mut rest = text.trim();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, unit) = rest.split_at(digits);
        let seconds = match unit.chars().next() {
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            Some(_) | None => return Err(refused()),
        };
        let number: u64 = number.parse().map_err(|_| refused())?;
        total = number
            .checked_mul(seconds)
            .and_then(|span| total.checked_add(span))
            .ok_or_else(refused)?;
        // invariant: the unit just matched is one ASCII character.
        rest = &unit[1..];
    }
    let century = 100 * 366 * 86_400;
    if total == 0 || total > century {
        return Err(refused());
    }
    Ok(Duration::from_secs(total))
}

/// Without white space at the ends, and without any inside.
fn one_piece(pasted: &Secret) -> Result<&str> {
    let invisible =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}');
    let text = pasted.expose().trim_matches(invisible);
    if text.is_empty() {
        return Err(Error::new(ErrorCode::SecretEmpty, say!("nothing was pasted")));
    }
    if text.contains(invisible) {
        return Err(Error::new(
            ErrorCode::SecretWhitespace,
            say!("the secret contains a space, a line break or an invisible character"),
        ));
    }
    if text.len() < SHORTEST_SECRET {
        return Err(Error::new(
            ErrorCode::SecretTooShort,
            say!("the secret is too short"),
        ));
    }
    Ok(text)
}

fn known(text: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| text.starts_with(known.prefix))
}

/// Whether keys of this provider have a form of their own: then another's is a slip. A gateway
/// with an id of the user's choice may take anybody's keys.
fn is_well_known(provider: &ProviderId) -> bool {
    KNOWN.iter().any(|known| is_whose(known, provider))
}

fn is_whose(known: &Known, provider: &ProviderId) -> bool {
    provider.as_str() == known.provider || (provider.is_openai() && known.provider == "openai")
}

fn foreign(provider: &ProviderId, owner: &str) -> Error {
    Error::new(
        ErrorCode::SecretPrefix,
        say!(
            "this is a secret for {owner}, not for {provider}",
            owner,
            provider
        ),
    )
    .with_hint(say!(
        "Use --provider {owner}, or copy the secret of {provider}.",
        owner,
        provider
    ))
}

fn refresh_token() -> Error {
    Error::new(
        ErrorCode::SecretPrefix,
        say!("this is a refresh token of another program's login"),
    )
    .with_hint(say!(
        "Never copy it: both programs would be signed out. Run `claude setup-token`, or paste an API key."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&ProviderId, &Secret) -> Result<Secret>;

    fn checked(check: Check, provider: &str, text: &str) -> Result<String, (&'static str, String)> {
        match check(&ProviderId::parse(provider).unwrap(), &Secret::new(text)) {
            Ok(secret) => Ok(secret.expose().to_owned()),
            Err(error) => {
                let told = format!("{error} {}", error.hint());
                assert!(!told.contains("SECRET"), "echoed: {told}");
                Err((error.code().as_str(), told))
            }
        }
    }

    fn code(check: Check, provider: &str, text: &str) -> &'static str {
        checked(check, provider, text).map_or_else(|(code, _)| code, |_| "ok")
    }

    fn setup_token() -> String {
        format!("sk-ant-oat01-{}", "SECRET".repeat(12))
    }

    #[test]
    fn setup_tokens_are_checked_as_openclaw_does() {
        let whole = setup_token();
        assert!(whole.len() >= 80);
        assert_eq!(
            checked(token, "anthropic", &format!(" {whole}\r\n")),
            Ok(whole.clone())
        );
        assert_eq!(code(token, "anthropic", &whole[..79]), "secret.too_short");
        assert_eq!(code(token, "anthropic", &whole[..80]), "ok");
        assert_eq!(code(token, "anthropic", &"SECRET".repeat(20)), "secret.prefix");
        assert_eq!(code(token, "openai", &whole), "secret.prefix");
        let broken = format!("{}\n{}", &whole[..40], &whole[40..]);
        assert_eq!(code(token, "anthropic", &broken), "secret.whitespace");
    }

    #[test]
    fn a_key_pasted_as_a_token_and_the_other_way_round_get_the_right_hint() {
        let (_, told) = checked(token, "anthropic", "sk-ant-api03-SECRETSECRET").unwrap_err();
        assert!(told.contains("kalit paste-api-key"), "{told}");
        let (_, told) = checked(api_key, "anthropic", &setup_token()).unwrap_err();
        assert!(told.contains("kalit paste-token"), "{told}");
        for check in [token as Check, api_key] {
            let (code, told) = checked(check, "anthropic", "sk-ant-ort01-SECRETSECRET").unwrap_err();
            assert_eq!(code, "secret.prefix");
            assert!(told.contains("Never copy it"), "{told}");
        }
    }

    #[test]
    fn api_keys_of_any_provider_are_taken_in_one_piece() {
        assert_eq!(
            checked(api_key, "acme", "\tSECRET-0123456789 \n"),
            Ok("SECRET-0123456789".to_owned())
        );
        assert_eq!(code(api_key, "acme", ""), "secret.empty");
        assert_eq!(code(api_key, "acme", " \n "), "secret.empty");
        assert_eq!(code(api_key, "acme", "SECRET"), "secret.too_short");
        assert_eq!(code(api_key, "acme", "SECRET SECRET"), "secret.whitespace");
        assert_eq!(code(api_key, "acme", "SECRET\u{200b}SECRET"), "secret.whitespace");
        assert_eq!(code(api_key, "acme", "SECRET\u{0}SECRET"), "secret.whitespace");
        assert_eq!(code(token, "github-copilot", "ghu_SECRETSECRET"), "ok");
    }

    #[test]
    fn a_key_of_another_known_provider_is_refused_unless_a_gateway_may_take_it() {
        assert_eq!(code(api_key, "openai", "sk-proj-SECRET"), "ok");
        assert_eq!(code(api_key, "openai-codex", "sk-proj-SECRET"), "ok");
        assert_eq!(code(api_key, "openai", "sk-SECRETSECRET"), "ok");
        assert_eq!(code(api_key, "openai", "sk-ant-api03-SECRET"), "secret.prefix");
        assert_eq!(code(api_key, "anthropic", "sk-or-v1-SECRET"), "secret.prefix");
        assert_eq!(code(api_key, "my-gateway", "sk-or-v1-SECRET"), "ok");
    }

    #[test]
    fn time_spans_are_read_or_refused() {
        let seconds = |text: &str| expires_in(text).map(|span| span.as_secs()).ok();
        assert_eq!(seconds("365d"), Some(365 * 86_400));
        assert_eq!(seconds("12h"), Some(43_200));
        assert_eq!(seconds("30m"), Some(1_800));
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds(" 1d12h30m5s "), Some(131_405));
        for text in [
            "",
            "365",
            "d",
            "0d",
            "-1d",
            "1.5d",
            "1w",
            "1d ",
            "12 h",
            "1D",
            "1dé",
            "é",
            "99999999999999999999d",
            "99999999999999999d",
            "40000d",
        ] {
            let expected = if text == "1d " { Some(86_400) } else { None };
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
