//! The authorization response: what the browser brings to the listener, or what a person pastes.
//! Both are judged by the same rules, `state` before anything else (RFC 6749 section 4.1.2,
//! RFC 9207).
//!
//! Nothing of what came in is ever echoed: not in a page, not in an error.

use std::fmt;

use url::{Url, form_urlencoded};

use crate::secret::Secret;
use crate::{Error, ErrorCode, Result};

use super::pkce::State;
use super::provider::{Authorization, RedirectHost};

crate::keeps_secret!(Expected, Judgement);
crate::keeps_raw_secret!(Response, Field);

/// What this sign-in waits for.
#[derive(Clone, Debug)]
pub struct Expected {
    state: State,
    redirect: RedirectUri,
    authorize_url: Url,
}

/// The exact redirect URI of one sign-in: the same string in the authorization request and in the
/// exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectUri {
    host: RedirectHost,
    port: u16,
    path: String,
}

impl RedirectUri {
    /// The redirect URI of `authorization` on `port`.
    pub fn new(authorization: &Authorization, port: u16) -> Self {
        Self {
            host: authorization.redirect.host,
            port,
            path: authorization.redirect.path.clone(),
        }
    }

    /// The port that is listened on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path that is answered.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

/// Whether a response without `state` can be this sign-in's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stateless {
    /// From the network: it cannot.
    Refused,
    /// From the person's own hands: a foreign code is useless without our verifier.
    Allowed,
}

/// What a response means for the sign-in.
#[derive(Debug)]
pub(super) enum Judgement {
    /// The authorization code.
    Code(Secret),
    /// Not of this sign-in: refuse it and keep waiting.
    WrongState,
    /// Of this sign-in, but unusable (no code, or a parameter twice): refuse it and keep waiting.
    Incomplete,
    /// The authorization server ended the sign-in.
    Ended(Error),
}

impl Expected {
    /// What a request with this `state`, redirect URI and authorization endpoint waits for.
    pub fn new(state: State, redirect: RedirectUri, authorize_url: Url) -> Self {
        Self {
            state,
            redirect,
            authorize_url,
        }
    }

    /// The redirect URI that was asked for.
    pub fn redirect(&self) -> &RedirectUri {
        &self.redirect
    }

    /// The state that was sent.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Judges the query of a response.
    pub(super) fn judge(&self, query: &str, stateless: Stateless) -> Judgement {
        let response = Response::parse(query);
        match (&response.state, stateless) {
            (Field::Once(state), _) if self.state.matches(state.expose()) => {}
            (Field::Absent, Stateless::Allowed) => {}
            _ => return Judgement::WrongState,
        }
        match &response.issuer {
            Field::Absent => {}
            Field::Once(issuer) if self.is_issuer(issuer.expose()) => {}
            _ => {
                return Judgement::Ended(Error::new(
                    ErrorCode::LoginIssuerMismatch,
                    say!("the answer names another authorization server"),
                ));
            }
        }
        match (response.error, response.code) {
            (Field::Once(error), _) => {
                Judgement::Ended(denial(error.expose(), response.description.as_str()))
            }
            (Field::Absent, Field::Once(code)) if !code.is_empty() => Judgement::Code(code),
            _ => Judgement::Incomplete,
        }
    }

    /// The code in what a person pasted: the whole redirect URL, its query, `code#state`, or the
    /// bare code.
    pub fn pasted(&self, text: &Secret) -> Result<Secret> {
        let text = text.expose().trim_matches(is_wrapping);
        if let Some(query) = self.query_of_url(text)? {
            return self.pasted_query(query);
        }
        let query = text.strip_prefix('?').unwrap_or(text);
        if ["code=", "state=", "error=", "iss="]
            .iter()
            .any(|name| query.starts_with(name))
        {
            return self.pasted_query(query);
        }
        match text.split_once('#') {
            Some((code, state)) if is_code(code) && !state.is_empty() => {
                if self.state.matches(state) {
                    Ok(Secret::new(code))
                } else {
                    Err(foreign_state())
                }
            }
            None if is_code(text) && text.len() >= SHORTEST_BARE_CODE && !text.starts_with("sk-") => {
                Ok(Secret::new(text))
            }
            _ => Err(unusable()),
        }
    }

    fn pasted_query(&self, query: &str) -> Result<Secret> {
        match self.judge(query, Stateless::Allowed) {
            Judgement::Code(code) => Ok(code),
            Judgement::WrongState => Err(foreign_state()),
            Judgement::Incomplete => Err(unusable()),
            Judgement::Ended(error) => Err(error),
        }
    }

    /// The query, if `text` is this sign-in's redirect URL; `None` if it is no URL at all. Address
    /// bars hide `http://`, and some browsers turn it into `https://`.
    fn query_of_url<'a>(&self, text: &'a str) -> Result<Option<&'a str>> {
        let rest = match text.split_once("://") {
            Some(("http" | "https", rest)) => rest,
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphabetic()) => {
                return Err(unusable());
            }
            _ => text,
        };
        let bare = rest.len() == text.len();
        let end_of_host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end_of_host);
        let ours = ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .any(|host| authority == format!("{host}:{}", self.redirect.port));
        if bare && !ours {
            return Ok(None);
        }
        let authorize_host = self.authorize_url.host_str().unwrap_or_default();
        let before_fragment = target.split('#').next().unwrap_or_default();
        match before_fragment.split_once('?') {
            Some((path, query)) if ours && path == self.redirect.path => Ok(Some(query)),
            _ if !bare && authority == authorize_host => Err(unusable().with_hint(
                say!("That is the provider's own page: finish signing in there, then paste the address of the last page."),
            )),
            _ => Err(unusable()),
        }
    }

    /// The issuer (RFC 9207) must stand on the authorization endpoint's origin and above its path:
    /// the manifest names no issuer of its own.
    fn is_issuer(&self, text: &str) -> bool {
        let Ok(issuer) = Url::parse(text) else {
            return false;
        };
        let path = issuer.path().trim_end_matches('/');
        let below = self.authorize_url.path().strip_prefix(path);
        issuer.origin() == self.authorize_url.origin()
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            && issuer.query().is_none()
            && issuer.fragment().is_none()
    }
}

/// The provider's codes are long random words; anything shorter is a slip of the clipboard.
const SHORTEST_BARE_CODE: usize = 20;
const LONGEST_CODE: usize = 4096;

fn is_code(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= LONGEST_CODE
        && text.chars().all(|c| {
            c.is_ascii_alphanumeric()
                || matches!(c, '-' | '_' | '.' | '~' | '/' | '+' | '=' | '|' | '*' | '!')
        })
}

fn is_wrapping(c: char) -> bool {
    c.is_whitespace()
        || matches!(
            c,
            '"' | '\'' | '`' | '<' | '>' | '\u{feff}' | '\u{200b}' | '“' | '”'
        )
}

/// The parameters of a response; each may stand once (RFC 6749 section 3.1).
struct Response {
    state: Field,
    code: Field,
    issuer: Field,
    error: Field,
    description: Field,
}

enum Field {
    Absent,
    Once(Secret),
    Repeated,
}

impl Response {
    fn parse(query: &str) -> Self {
        let mut response = Response {
            state: Field::Absent,
            code: Field::Absent,
            issuer: Field::Absent,
            error: Field::Absent,
            description: Field::Absent,
        };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match name.as_ref() {
                "state" => &mut response.state,
                "code" => &mut response.code,
                "iss" => &mut response.issuer,
                "error" => &mut response.error,
                "error_description" => &mut response.description,
                _ => continue,
            };
            *field = match field {
                Field::Absent => Field::Once(Secret::new(value)),
                Field::Once(_) | Field::Repeated => Field::Repeated,
            };
        }
        response
    }
}

impl Field {
    fn as_str(&self) -> &str {
        match self {
            Field::Once(text) => text.expose(),
            Field::Absent | Field::Repeated => "",
        }
    }
}

/// The authorization server's refusal (RFC 6749 section 4.1.2.1) in words of our own.
fn denial(error: &str, description: &str) -> Error {
    if error == "access_denied" && description.contains("missing_codex_entitlement") {
        return Error::new(
            ErrorCode::LoginEntitlement,
            say!("Codex is not enabled for this workspace"),
        );
    }
    let message = match error {
        "access_denied" => say!("the sign-in was refused, by you or by an administrator"),
        "server_error" | "temporarily_unavailable" => {
            say!("the provider is out of order and could not finish the sign-in")
        }
        "invalid_request"
        | "unauthorized_client"
        | "unsupported_response_type"
        | "invalid_scope"
        | "invalid_target" => say!("the provider does not accept this kind of sign-in request"),
        "login_required" | "interaction_required" | "consent_required" | "account_selection_required" => {
            say!("the provider wanted something that was not answered in the browser")
        }
        _ => say!("the provider refused the sign-in"),
    };
    Error::new(ErrorCode::LoginDenied, message)
}

fn foreign_state() -> Error {
    Error::new(
        ErrorCode::LoginStateMismatch,
        say!("what was pasted belongs to another sign-in"),
    )
}

fn unusable() -> Error {
    Error::new(
        ErrorCode::LoginPasteUnusable,
        say!("what was pasted is not the address of the last page"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::testing::openai;

    const CODE: &str = "ac_0123456789abcdefXYZ-_.~";

    fn expected() -> Expected {
        let provider = openai();
        let authorization = provider.authorization().unwrap();
        let redirect = RedirectUri::new(authorization, 1455);
        Expected::new(State::random().unwrap(), redirect, authorization.url.clone())
    }

    fn outcome(expected: &Expected, text: &str) -> Result<String, &'static str> {
        match expected.pasted(&Secret::new(text)) {
            Ok(code) => Ok(code.expose().to_owned()),
            Err(error) => {
                let told = format!("{error} {error:?} {}", error.hint());
                assert!(
                    !told.contains(CODE) && !told.contains("garbage"),
                    "echoed: {told}"
                );
                Err(error.code().as_str())
            }
        }
    }

    #[test]
    fn every_pasted_form_gives_the_code() {
        let expected = expected();
        let state = expected.state().as_str().to_owned();
        let url = format!("http://localhost:1455/auth/callback?code={CODE}&state={state}");
        let forms = [
            url.clone(),
            format!("  {url}\n"),
            format!("\"{url}\""),
            format!("<{url}>"),
            format!("'<{url}> '"),
            format!("{url}&scope=openid+email&iss=https%3A%2F%2Fauth.openai.com"),
            format!("{url}#"),
            url.replace("localhost", "127.0.0.1"),
            url.replace("localhost", "[::1]"),
            url.replace("http://", ""),
            url.replace("http://", "https://"),
            format!("http://localhost:1455/auth/callback?code={CODE}"),
            format!("code={CODE}&state={state}"),
            format!("?state={state}&code={CODE}"),
            format!("code={CODE}"),
            format!("{CODE}#{state}"),
            CODE.to_owned(),
            format!("`{CODE}`"),
        ];
        for form in forms {
            assert_eq!(outcome(&expected, &form), Ok(CODE.to_owned()), "{form}");
        }
        let encoded = format!("http://localhost:1455/auth/callback?code=4%2F0Ab%2Bc&state={state}");
        assert_eq!(outcome(&expected, &encoded), Ok("4/0Ab+c".to_owned()));
    }

    #[test]
    fn garbage_and_foreign_addresses_are_refused_without_echo() {
        let expected = expected();
        let state = expected.state().as_str().to_owned();
        let query = format!("code={CODE}&state={state}");
        let unusable = [
            String::new(),
            "  \"\" ".to_owned(),
            "garbage".to_owned(),
            "garbage with several words in it".to_owned(),
            format!("https://evil.example/auth/callback?{query}"),
            format!("http://localhost.evil.example:1455/auth/callback?{query}"),
            format!("http://localhost:1455@evil.example/auth/callback?{query}"),
            format!("http://localhost:1457/auth/callback?{query}"),
            format!("http://localhost/auth/callback?{query}"),
            format!("http://localhost:1455/other?{query}"),
            format!("http://localhost:1455/auth/callback/?{query}"),
            "http://localhost:1455/auth/callback".to_owned(),
            "http://localhost:1455/auth/callback?".to_owned() + &format!("state={state}"),
            format!("http://localhost:1455/auth/callback?code=&state={state}"),
            format!("http://localhost:1455/auth/callback?code={CODE}&code=other&state={state}"),
            format!("file:///auth/callback?{query}"),
            format!("javascript://localhost:1455/auth/callback?{query}"),
            format!("https://auth.openai.com/oauth/authorize?client_id=x&state={state}"),
            format!("{CODE}#"),
            format!("#{state}"),
            "sk-ant-oat01-0123456789012345678901234567890123456789".to_owned(),
            "é".repeat(40),
            "a".repeat(5000),
        ];
        for text in unusable {
            assert_eq!(outcome(&expected, &text), Err("login.paste_unusable"), "{text}");
        }
    }

    #[test]
    fn a_state_that_is_there_must_match() {
        let expected = expected();
        let foreign = [
            format!("http://localhost:1455/auth/callback?code={CODE}&state=other"),
            format!("http://localhost:1455/auth/callback?code={CODE}&state="),
            format!("code={CODE}&state={0}&state={0}", expected.state().as_str()),
            format!("{CODE}#other"),
            "http://localhost:1455/auth/callback?error=access_denied&state=other".to_owned(),
        ];
        for text in foreign {
            assert_eq!(outcome(&expected, &text), Err("login.state_mismatch"), "{text}");
        }
    }

    #[test]
    fn a_pasted_refusal_is_told_as_one() {
        let expected = expected();
        let state = expected.state().as_str().to_owned();
        let url = |rest: &str| format!("http://localhost:1455/auth/callback?state={state}&{rest}");
        for (rest, code) in [
            ("error=access_denied", "login.denied"),
            ("error=garbage&error_description=garbage", "login.denied"),
            (
                "error=access_denied&error_description=x+missing_codex_entitlement",
                "login.entitlement",
            ),
            ("code=c&iss=https%3A%2F%2Fevil.example", "login.issuer_mismatch"),
        ] {
            assert_eq!(outcome(&expected, &url(rest)), Err(code), "{rest}");
        }
    }

    #[test]
    fn the_authorize_url_gets_a_hint_of_its_own() {
        let text = Secret::new("https://auth.openai.com/oauth/authorize?client_id=x");
        let error = expected().pasted(&text).unwrap_err();
        assert!(
            error.hint().contains("finish signing in there"),
            "{}",
            error.hint()
        );
    }

    #[test]
    fn the_issuer_stands_on_the_authorization_endpoint() {
        let mut expected = expected();
        let mut check = |authorize: &str, issuer: &str| {
            expected.authorize_url = Url::parse(authorize).unwrap();
            expected.is_issuer(issuer)
        };
        let keycloak = "https://id.example/realms/x/protocol/openid-connect/auth";
        assert!(check("https://id.example/authorize", "https://id.example"));
        assert!(check("https://id.example/authorize", "https://id.example/"));
        assert!(check(keycloak, "https://id.example/realms/x"));
        assert!(!check(keycloak, "https://id.example/realms/y"));
        assert!(!check(keycloak, "https://id.example/realms/x/prot"));
        assert!(!check("https://id.example/authorize", "http://id.example"));
        assert!(!check("https://id.example/authorize", "https://id.example:444"));
        assert!(!check("https://id.example/authorize", "id.example"));
        assert!(!check("https://id.example/authorize", ""));
    }
}
