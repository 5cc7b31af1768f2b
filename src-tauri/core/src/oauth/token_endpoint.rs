//! The token requests: exchanging a code and refreshing (RFC 6749 sections 4.1.3 and 6).
//!
//! Credentials go only to the provider's own token endpoint: no redirect is followed, and a
//! refresh that may have been sent is never repeated here. No error says what was sent or what
//! came back.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::clock::{Clock, Timestamp};
use crate::environment::Environment;
use crate::secret::Secret;
use crate::settings::through_proxy;
use crate::{Error, ErrorCode, Result};

use super::classify::{self, Answer, Body, Class, Evidence, Failure, Outcome, Place};
use super::pkce::Verifier;
use super::provider::{Encoding, Issues, Provider, TokenRoute};
use super::token_answer::{self, Parsed, RefreshAnswer, Refusal, RevokeAnswer, TokenAnswer};

crate::keeps_raw_secret!(Received);

/// How long a whole call may take unless the caller knows better.
pub const CALL_DEADLINE: Duration = Duration::from_secs(120);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// More than this is no token endpoint's answer, in octets.
const MAX_BODY: usize = 1024 * 1024;

/// Makes token requests through the proxies and certificates of one [`Environment`].
#[derive(Clone, Debug)]
pub struct TokenEndpoint {
    client: reqwest::Client,
    clock: Arc<dyn Clock>,
}

impl TokenEndpoint {
    /// Reads the system's certificates and the proxy variables once.
    pub fn new(environment: &Environment, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self {
            client: client(environment)?,
            clock,
        })
    }

    /// Exchanges an authorization code. `redirect_uri` is the very string of the authorization
    /// request. The verifier is used up whatever happens.
    pub async fn exchange(
        &self,
        provider: &Provider,
        code: &Secret,
        verifier: Verifier,
        redirect_uri: &str,
        deadline: Duration,
    ) -> Result<TokenAnswer> {
        let route = provider.sign_in_route().ok_or_else(|| no_route(provider))?;
        let verifier = verifier.into_secret();
        let tokens = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", redirect_uri),
            ("client_id", &route.client_id),
            ("code_verifier", verifier.expose()),
        ];
        // As OpenRouter has it.
        let key = [
            ("code", code.expose()),
            ("code_verifier", verifier.expose()),
            ("code_challenge_method", "S256"),
        ];
        let fields: &[(&str, &str)] = match provider.issues() {
            Issues::Oauth | Issues::Token => &tokens,
            Issues::ApiKey => &key,
        };
        match self.call(provider, route, fields, deadline).await {
            RefreshAnswer::Rotated(answer) => Ok(answer),
            RefreshAnswer::OnlyRefresh { .. } => Err(exchange_failed(say!(
                "the provider's answer contains no access token"
            ))),
            RefreshAnswer::Refused(refusal) => Err(exchange_error(&refusal.outcome)),
            RefreshAnswer::NotSent(error) => Err(error),
            RefreshAnswer::Unknown => Err(exchange_failed(say!(
                "the provider's answer to the sign-in was lost on its way"
            ))),
        }
    }

    /// Sends a refresh token once. `client_id` is the one under which the login was made, if it is
    /// not the manifest's. Await it in a task that nobody aborts: dropping the call after it was
    /// sent throws away what the provider answers.
    pub async fn refresh(
        &self,
        provider: &Provider,
        refresh: &Secret,
        client_id: Option<&str>,
        deadline: Duration,
    ) -> RefreshAnswer {
        let route = match route_of(provider) {
            Ok(route) => route,
            Err(error) => return RefreshAnswer::NotSent(error),
        };
        if refresh.is_empty() {
            return RefreshAnswer::NotSent(Error::new(
                ErrorCode::RefreshRejected,
                say!("the profile contains no refresh token"),
            ));
        }
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.expose()),
            ("client_id", client_id.unwrap_or(&route.client_id)),
        ];
        self.call(provider, route, &fields, deadline).await
    }

    /// Ends a login at its provider, once (RFC 7009). `client_id` is the one under which it was
    /// made, if it is not the manifest's.
    pub async fn revoke(
        &self,
        provider: &Provider,
        refresh: &Secret,
        client_id: Option<&str>,
        deadline: Duration,
    ) -> RevokeAnswer {
        let Some(route) = provider.revoke_route() else {
            let text = say!(
                "Kalit knows no way to do that at {provider}",
                provider = provider.name()
            );
            return RevokeAnswer::NotSent(Error::new(ErrorCode::RevokeUnavailable, text));
        };
        let fields = [
            ("token", refresh.expose()),
            ("token_type_hint", "refresh_token"),
            ("client_id", client_id.unwrap_or(&route.client_id)),
        ];
        match tokio::time::timeout(deadline, self.post(&route, &fields)).await {
            Ok(Ok(received)) => received.into_revocation(provider),
            Ok(Err(Failed::NotSent(failure, hint))) => {
                RevokeAnswer::NotSent(not_sent(provider, failure, hint))
            }
            Ok(Err(Failed::Lost)) | Err(_) => RevokeAnswer::Unknown,
        }
    }

    async fn call(
        &self,
        provider: &Provider,
        route: &TokenRoute,
        fields: &[(&str, &str)],
        deadline: Duration,
    ) -> RefreshAnswer {
        let received = match tokio::time::timeout(deadline, self.post(route, fields)).await {
            Ok(received) => received,
            // Connecting ends sooner by itself, so the request is on its way.
            Err(_elapsed) => return RefreshAnswer::Unknown,
        };
        let received = match received {
            Ok(received) => received,
            Err(Failed::NotSent(failure, hint)) => {
                return RefreshAnswer::NotSent(not_sent(provider, failure, hint));
            }
            Err(Failed::Lost) => return RefreshAnswer::Unknown,
        };
        received.into_answer(provider)
    }

    pub(super) async fn post(&self, route: &TokenRoute, fields: &[(&str, &str)]) -> Result<Received, Failed> {
        let (content_type, body) = encode(route.encoding, fields);
        let request = self.client.post(route.url.clone());
        let request = request.header(CONTENT_TYPE, content_type).body(body);
        self.send(request, &route.url).await
    }

    /// Reads a document that has nothing to do with an account.
    pub(super) async fn get(&self, url: &Url) -> Result<Received, Failed> {
        self.send(self.client.get(url.clone()), url).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, url: &Url) -> Result<Received, Failed> {
        // GitHub answers with a form otherwise.
        let sent = request.header(ACCEPT, "application/json").send().await;
        let mut response = sent.map_err(|error| failure_of(&error))?;
        let status = response.status().as_u16();
        let headers = Headers::read(response.headers(), url, self.clock.now());
        let mut body = Vec::new();
        let complete = loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_BODY => body.extend_from_slice(&chunk),
                Ok(Some(_)) => break Completeness::TooLarge,
                Ok(None) => break Completeness::Whole,
                Err(_) => break Completeness::Cut,
            }
        };
        Received::new(status, headers, &body, complete)
    }
}

/// How much of a body came.
#[derive(Clone, Copy)]
pub(super) enum Completeness {
    Whole,
    Cut,
    TooLarge,
}

/// A complete answer.
pub(super) struct Received {
    status: u16,
    form: Body,
    json: Option<Value>,
    headers: Headers,
}

impl Received {
    /// # Errors
    /// [`Failed::Lost`] for a cut body that says nothing.
    pub(super) fn new(
        status: u16,
        headers: Headers,
        body: &[u8],
        complete: Completeness,
    ) -> Result<Self, Failed> {
        let json = match complete {
            Completeness::TooLarge => None,
            // A cut connection loses nothing if all that was meant had come.
            Completeness::Whole | Completeness::Cut => serde_json::from_slice::<Value>(body)
                .ok()
                .filter(Value::is_object),
        };
        let form = match (&json, complete) {
            (Some(_), _) => Body::Json,
            (None, Completeness::Cut) => return Err(Failed::Lost),
            (None, Completeness::Whole) if body.is_empty() => Body::Empty,
            (None, Completeness::Whole | Completeness::TooLarge) => Body::Other,
        };
        Ok(Self {
            status,
            form,
            json,
            headers,
        })
    }

    /// Tokens of any kind in a successful answer, else what the refusal means.
    pub(super) fn into_answer(self, provider: &Provider) -> RefreshAnswer {
        let skew_ms = self.headers.skew_ms;
        if let Some(body) = self.success() {
            match token_answer::parse(body, skew_ms, self.headers.read_at) {
                Parsed::Tokens(answer) => return RefreshAnswer::Rotated(answer),
                Parsed::OnlyRefresh(refresh) => return RefreshAnswer::OnlyRefresh { refresh, skew_ms },
                Parsed::Nothing => {}
            }
            if provider.issues() == Issues::ApiKey
                && let Some(key) = token_answer::parse_key(body, skew_ms)
            {
                return RefreshAnswer::Rotated(key);
            }
        }
        let status = self.status;
        let evidence = Evidence::Answer(Place::Token, self.into_evidence());
        RefreshAnswer::Refused(Refusal {
            outcome: classify::classify(provider.id(), &evidence),
            status,
            skew_ms,
        })
    }

    /// The JSON object of an answer that says "yes".
    pub(super) fn success(&self) -> Option<&Value> {
        self.json.as_ref().filter(|_| (200..300).contains(&self.status))
    }

    /// The tokens of an answer that has an access token.
    pub(super) fn tokens(&self) -> Option<TokenAnswer> {
        match token_answer::parse(self.success()?, self.headers.skew_ms, self.headers.read_at) {
            Parsed::Tokens(answer) => Some(answer),
            Parsed::OnlyRefresh(_) | Parsed::Nothing => None,
        }
    }

    /// What an answer of the revocation endpoint says (RFC 7009 section 2.2). A page of somebody else
    /// is no success.
    fn into_revocation(self, provider: &Provider) -> RevokeAnswer {
        let status = self.status;
        if (200..300).contains(&status) && self.form != Body::Other {
            return RevokeAnswer::Ended;
        }
        let evidence = Evidence::Answer(Place::Token, self.into_evidence());
        let outcome = classify::classify(provider.id(), &evidence);
        match outcome.class {
            Class::Permanent => RevokeAnswer::EndedBefore { code: outcome.code },
            Class::Transient { .. } => RevokeAnswer::Refused {
                error: outcome.to_error(),
                // A 503 says that nothing was done (section 2.2.1).
                is_doubtful: outcome.may_have_rotated && status != 503,
            },
            Class::ClientFault | Class::RequestFault | Class::Suspect | Class::Unknown | Class::Pending => {
                let text = say!(
                    "{provider} refused to end it (HTTP {status})",
                    provider = provider.name(),
                    status
                );
                RevokeAnswer::Refused {
                    error: Error::new(ErrorCode::RevokeRefused, text),
                    is_doubtful: false,
                }
            }
        }
    }

    pub(super) fn into_evidence(self) -> Answer {
        let (code, description) = self.json.as_ref().map(classify::error_of).unwrap_or_default();
        Answer {
            status: self.status,
            body: self.form,
            code,
            description,
            challenge: self.headers.challenge,
            elsewhere: self.headers.elsewhere,
            retry_after: self.headers.retry_after,
        }
    }
}

/// No complete answer.
pub(super) enum Failed {
    /// The request never left, with a hint if there is a better one than the code's.
    NotSent(Failure, Option<String>),
    /// The request was sent, perhaps in part.
    Lost,
}

/// What of an answer's headers is looked at.
pub(super) struct Headers {
    challenge: bool,
    elsewhere: bool,
    retry_after: Option<Duration>,
    skew_ms: Option<i64>,
    read_at: Timestamp,
}

impl Headers {
    pub(super) fn read(headers: &HeaderMap, url: &Url, now: Timestamp) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let elsewhere = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|location| url.join(location).map_or(true, |to| to.origin() != url.origin()));
        let retry_after = text(RETRY_AFTER).and_then(|value| match value.trim().parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => {
                let millis = http_date(value)?.millis_since(now);
                Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
            }
        });
        Self {
            challenge: headers
                .get("cf-mitigated")
                .is_some_and(|value| value == "challenge"),
            elsewhere,
            retry_after,
            skew_ms: text(DATE).and_then(http_date).map(|date| now.millis_since(date)),
            read_at: now,
        }
    }
}

/// An HTTP date (RFC 9110 section 5.6.7) in the form that servers send.
fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text.trim())
        .ok()
        .map(|at| Timestamp::from_millis(at.as_millisecond()))
}

pub(super) fn route_of(provider: &Provider) -> Result<&TokenRoute> {
    provider.token_route().ok_or_else(|| no_route(provider))
}

fn no_route(provider: &Provider) -> Error {
    Error::new(
        ErrorCode::ProfileNotRefreshable,
        say!("logins of {provider} are not renewed", provider = provider.name()),
    )
}

/// Form fields stay in the order in which OpenClaw sends them.
fn encode(encoding: Encoding, fields: &[(&str, &str)]) -> (&'static str, String) {
    match encoding {
        Encoding::Form => (
            "application/x-www-form-urlencoded",
            form_urlencoded::Serializer::new(String::new())
                .extend_pairs(fields)
                .finish(),
        ),
        Encoding::Json => {
            let object: serde_json::Map<String, Value> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
                .collect();
            ("application/json", Value::Object(object).to_string())
        }
    }
}

pub(super) fn exchange_error(outcome: &Outcome) -> Error {
    match outcome.class {
        Class::Transient { .. } | Class::ClientFault => outcome.to_error(),
        Class::Permanent | Class::RequestFault | Class::Suspect | Class::Unknown | Class::Pending => {
            exchange_failed(say!("the provider did not accept the code of this sign-in"))
        }
    }
}

pub(super) fn exchange_failed(message: String) -> Error {
    Error::new(ErrorCode::LoginExchangeFailed, message)
}

/// The error of a request that never left.
pub(super) fn not_sent(provider: &Provider, failure: Failure, hint: Option<String>) -> Error {
    let error = classify::classify(provider.id(), &Evidence::Failure(failure)).to_error();
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The library's own account of what happened before or after the request left.
pub(super) fn failure_of(error: &reqwest::Error) -> Failed {
    if error.is_builder() {
        return Failed::NotSent(Failure::Unreachable, None);
    }
    if !error.is_connect() {
        return Failed::Lost;
    }
    if let Some(tls) = tls_error(error) {
        return Failed::NotSent(Failure::Tls, clock_hint(tls));
    }
    if error.is_dns() {
        return Failed::NotSent(Failure::Dns, None);
    }
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let proxy = causes.any(|cause| {
        let text = cause.to_string().to_lowercase();
        ["tunnel", "socks", "proxy"]
            .iter()
            .any(|word| text.contains(word))
    });
    let failure = if proxy {
        Failure::Proxy
    } else {
        Failure::Unreachable
    };
    Failed::NotSent(failure, None)
}

/// The TLS error among the causes. I/O errors carry it inside, sometimes one in another, and
/// leave it out of their chain of sources.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let inside = |cause: &'a (dyn std::error::Error + 'static)| match cause
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
        None => cause.source(),
    };
    std::iter::successors(Some(error), |cause| inside(*cause))
        .find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

fn clock_hint(error: &rustls::Error) -> Option<String> {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        ) => Some(say!(
            "Check this machine's clock first: the server's certificate is not valid at this time."
        )),
        _ => None,
    }
}

pub(super) fn client(environment: &Environment) -> Result<reqwest::Client> {
    // An error means that somebody installed a provider already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("kalit/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        // A kept connection may die between two calls, and then nobody knows what was sent.
        .pool_max_idle_per_host(0)
        .http1_only()
        .no_proxy()
        .tls_certs_merge(extra_roots(environment)?);
    for proxy in proxies(&through_proxy(environment))? {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|_| {
        Error::new(
            ErrorCode::NetworkTls,
            say!("this system offers no certificates to trust"),
        )
    })
}

type ProxyFrom = fn(&str) -> reqwest::Result<reqwest::Proxy>;

/// `HTTPS_PROXY`, then `ALL_PROXY` (http, https, socks5, socks5h), except for `NO_PROXY`; like
/// curl, the lower-case spelling first.
fn proxies(environment: &Environment) -> Result<Vec<reqwest::Proxy>> {
    let either = |lower: &'static str, upper: &'static str| {
        let name = if environment.var(lower).is_some() {
            lower
        } else {
            upper
        };
        environment.var(name).map(|value| (name, value))
    };
    let exceptions = either("no_proxy", "NO_PROXY").map_or("", |(_, value)| value);
    if exceptions.split(',').any(|entry| entry.trim() == "*") {
        return Ok(Vec::new());
    }
    let exceptions = reqwest::NoProxy::from_string(exceptions);
    let https: ProxyFrom = |url| reqwest::Proxy::https(url);
    let all: ProxyFrom = |url| reqwest::Proxy::all(url);
    [
        (either("https_proxy", "HTTPS_PROXY"), https),
        (either("all_proxy", "ALL_PROXY"), all),
    ]
    .into_iter()
    .filter_map(|(variable, make)| variable.map(|(name, value)| (name, make(value))))
    .map(|(name, proxy)| match proxy {
        Ok(proxy) => Ok(proxy.no_proxy(exceptions.clone())),
        // The value may contain a password.
        Err(_) => Err(Error::new(
            ErrorCode::NetworkUnreachable,
            say!("{name} is not the address of a proxy", name),
        )),
    })
    .collect()
}

/// The certificates of `SSL_CERT_FILE`, besides the system's.
fn extra_roots(environment: &Environment) -> Result<Vec<reqwest::Certificate>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let Some(path) = environment.var("SSL_CERT_FILE") else {
        return Ok(Vec::new());
    };
    let pem = std::fs::read(environment.working_dir().join(path)).map_err(|error| {
        Error::new(
            ErrorCode::NetworkTls,
            say!(
                "the file in SSL_CERT_FILE cannot be read ({kind})",
                kind = error.kind()
            ),
        )
    })?;
    let usable = |certificate: &CertificateDer<'_>| {
        rustls::RootCertStore::empty()
            .add(certificate.clone().into_owned())
            .is_ok()
    };
    Ok(CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .filter(usable)
        .filter_map(|certificate| reqwest::Certificate::from_der(&certificate).ok())
        .collect())
}

#[cfg(test)]
#[path = "token_endpoint_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "revocation_tests.rs"]
mod revocation_tests;
