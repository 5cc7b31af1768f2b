//! One sign-in by a code that the person enters on a page of the provider's, on any machine (RFC
//! 8628): asked for, shown, polled for until it is entered, refused or over.
//!
//! Must never open a browser or write a store, nor show a page that the manifest does not vouch for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::clock::Clock;
use crate::environment::Environment;
use crate::secret::Secret;
use crate::{Error, Result};

use super::classify::{self, Class, Evidence, Place};
use super::login::{LoginHandle, LoginOptions, SignIn, cancelled, endpoint, no_flow, timed_out};
use super::pkce::{State, Verifier};
use super::provider::{Device, DeviceGrant, Provider, TokenRoute};
use super::settlement::{Claimed, Settled, Settlement};
use super::token_answer::{self, TokenAnswer};
use super::token_endpoint::{Failed, Received, TokenEndpoint, exchange_error, exchange_failed, not_sent};

crate::keeps_secret!(DeviceFlow);
crate::keeps_raw_secret!(Begun, Redeem, Polled);

/// RFC 8628 section 3.2: polled this often where the answer does not say.
const INTERVAL: Duration = Duration::from_secs(5);
/// However often it does not answer, it is asked at least this often.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// The life of a code that does not say (also what OpenClaw assumes), and of one that says more.
const LIFETIME: Duration = Duration::from_secs(5 * 60);
const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// One question. Nothing is sent in it that could be spent.
const POLL_DEADLINE: Duration = Duration::from_secs(30);
const LONGEST_CODE: usize = 64;

/// A sign-in whose code waits to be entered. Dropping it ends it.
pub struct DeviceFlow {
    provider: Provider,
    endpoint: TokenEndpoint,
    clock: Arc<dyn Clock>,
    options: LoginOptions,
    begun: Begun,
    settlement: Settlement,
    settled: oneshot::Receiver<Settled>,
}

/// The answer to the device authorization request (RFC 8628 section 3.2).
struct Begun {
    user_code: String,
    page: Url,
    page_with_code: Option<Url>,
    lifetime: Duration,
    interval: Duration,
    redeem: Redeem,
}

/// What is polled with.
enum Redeem {
    DeviceCode(Secret),
    /// The user code itself, with the verifier of the request.
    UserCode(Secret),
}

/// What an answer to a poll means.
enum Polled {
    Tokens(TokenAnswer),
    /// Asked again after the interval, or after this if it is longer.
    NotYet(Option<Duration>),
    SlowDown,
    Over(Error),
}

impl DeviceFlow {
    /// Asks for a code.
    ///
    /// # Errors
    /// `provider.flow_unsupported`, `network.*`, `login.exchange_failed` for an answer that cannot be
    /// used.
    pub async fn start(
        provider: &Provider,
        environment: &Environment,
        clock: Arc<dyn Clock>,
        options: LoginOptions,
    ) -> Result<Self> {
        let (Some(device), Some(route)) = (provider.device(), provider.sign_in_route()) else {
            return Err(no_flow(provider));
        };
        let endpoint = endpoint(environment.clone(), Arc::clone(&clock)).await?;
        let scope = device.scopes.join(" ");
        let (verifier, state) = (Verifier::random()?, State::random()?);
        let challenge = verifier.challenge();
        let mut fields = vec![("client_id", route.client_id.as_str())];
        if !scope.is_empty() {
            fields.push(("scope", &scope));
        }
        if device.grant == DeviceGrant::UserCode {
            fields.extend([
                ("response_type", "code"),
                ("code_challenge", challenge.as_str()),
                ("code_challenge_method", "S256"),
                ("state", state.as_str()),
            ]);
        }
        let asked = TokenRoute {
            url: device.url.clone(),
            ..route.clone()
        };
        let received = match timeout(options.exchange, endpoint.post(&asked, &fields)).await {
            Ok(Ok(received)) => received,
            Ok(Err(Failed::NotSent(failure, hint))) => return Err(not_sent(provider, failure, hint)),
            Ok(Err(Failed::Lost)) | Err(_) => {
                return Err(exchange_failed(say!(
                    "the provider's answer to the sign-in was lost on its way"
                )));
            }
        };
        let begun = match received.success() {
            Some(body) => Begun::read(body, device, verifier, &state, &*clock)?,
            None => {
                let evidence = Evidence::Answer(Place::Token, received.into_evidence());
                return Err(exchange_error(&classify::classify(provider.id(), &evidence)));
            }
        };
        let (settlement, settled) = Settlement::new();
        Ok(Self {
            provider: provider.clone(),
            endpoint,
            clock,
            options,
            begun,
            settlement,
            settled,
        })
    }

    /// What the person enters. Others must not get to know it: keep it out of logs.
    pub fn user_code(&self) -> &str {
        &self.begun.user_code
    }

    /// Where it is entered.
    pub fn page(&self) -> &str {
        self.begun.page.as_str()
    }

    /// The page to open in this machine's browser: with the code filled in, if there is such a one.
    pub fn page_to_open(&self) -> &str {
        self.begun
            .page_with_code
            .as_ref()
            .unwrap_or(&self.begun.page)
            .as_str()
    }

    /// How long the code lives from its beginning.
    pub fn lifetime(&self) -> Duration {
        self.begun.lifetime
    }

    /// For cancelling while [`DeviceFlow::run`] waits.
    pub fn handle(&self) -> LoginHandle {
        LoginHandle {
            expected: None,
            settlement: self.settlement.clone(),
        }
    }

    /// Polls until the person has decided. Run it in a task that nobody aborts: dropping it cancels
    /// the sign-in.
    ///
    /// # Errors
    /// `login.cancelled`, `login.timeout`, `login.denied`, `login.exchange_failed`,
    /// `refresh.client_rejected`.
    pub async fn run(self) -> Result<SignIn> {
        let Self {
            provider,
            endpoint,
            clock,
            options,
            begun,
            settlement,
            mut settled,
        } = self;
        let polling = timeout(begun.lifetime, poll(&provider, &endpoint, &begun, options));
        let polled = tokio::select! {
            biased;
            // Nobody resolves it: it ends when the sign-in is given up.
            _ = &mut settled => return Err(cancelled()),
            polled = polling => polled,
        };
        let received_at = clock.now();
        match (settlement.claim(), polled) {
            (Claimed::Cancelled, _) => Err(cancelled()),
            (_, Err(_elapsed)) => Err(timed_out()),
            (_, Ok(tokens)) => Ok(SignIn::new(&provider, tokens?, received_at)),
        }
    }
}

impl Begun {
    fn read(
        body: &Value,
        device: &Device,
        verifier: Verifier,
        state: &State,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let text = |name: &str| {
            body.get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let unusable = || exchange_failed(say!("the provider's answer contains no code that can be shown"));
        let user_code = text("user_code")
            .filter(|code| {
                code.len() <= LONGEST_CODE && code.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            })
            .ok_or_else(unusable)?;
        let page = |name: &str| text(name).and_then(|text| Url::parse(text).ok());
        let foreign = || {
            exchange_failed(say!(
                "the provider's answer leads to a page that is not known to be the provider's"
            ))
        };
        let first = page("verification_uri").filter(|page| device.trusts(page));
        let seconds = |value: i64| Duration::from_secs(value.unsigned_abs());
        let (lifetime, interval, redeem) = match device.grant {
            DeviceGrant::DeviceCode => (
                body.get("expires_in").and_then(token_answer::lifetime),
                body.get("interval").and_then(interval),
                Redeem::DeviceCode(Secret::new(text("device_code").ok_or_else(unusable)?)),
            ),
            DeviceGrant::UserCode => {
                if !text("state").is_some_and(|sent| state.matches(sent)) {
                    return Err(exchange_failed(say!("the answer belongs to another sign-in")));
                }
                (
                    body.get("expired_in")
                        .and_then(|value| token_answer::until(value, clock.now())),
                    body.get("interval")
                        .and_then(Value::as_u64)
                        .map(Duration::from_millis),
                    Redeem::UserCode(verifier.into_secret()),
                )
            }
        };
        Ok(Self {
            user_code: user_code.to_owned(),
            page: first.ok_or_else(foreign)?,
            page_with_code: page("verification_uri_complete").filter(|page| device.trusts(page)),
            lifetime: lifetime.map_or(LIFETIME, seconds).min(LONGEST_LIFETIME),
            interval: interval.unwrap_or(INTERVAL),
            redeem,
        })
    }
}

/// Some servers send it as text or with a fraction.
fn interval(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::String(text) => text.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    let interval = Duration::try_from_secs_f64(seconds).ok()?;
    (!interval.is_zero()).then(|| interval.min(LONGEST_INTERVAL))
}

async fn poll(
    provider: &Provider,
    endpoint: &TokenEndpoint,
    begun: &Begun,
    options: LoginOptions,
) -> Result<TokenAnswer> {
    let route = provider.sign_in_route().ok_or_else(|| no_flow(provider))?;
    let mut fields = vec![("client_id", route.client_id.as_str())];
    fields.extend(match &begun.redeem {
        Redeem::DeviceCode(code) => [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("device_code", code.expose()),
        ]
        .to_vec(),
        Redeem::UserCode(verifier) => [
            ("grant_type", "urn:ietf:params:oauth:grant-type:user_code"),
            ("user_code", begun.user_code.as_str()),
            ("code_verifier", verifier.expose()),
        ]
        .to_vec(),
    });
    let mut interval = begun.interval.max(options.shortest_poll);
    let mut pause = interval;
    loop {
        sleep(pause).await;
        let polled = match timeout(POLL_DEADLINE, endpoint.post(route, &fields)).await {
            Ok(Ok(received)) => read_poll(provider, received),
            // Section 3.5: asked less often where nobody answers.
            Ok(Err(Failed::NotSent(..) | Failed::Lost)) | Err(_) => {
                interval = (interval * 2).min(LONGEST_INTERVAL).max(interval);
                Polled::NotYet(None)
            }
        };
        pause = match polled {
            Polled::Tokens(tokens) => return Ok(tokens),
            Polled::Over(error) => return Err(error),
            Polled::NotYet(wait) => wait.unwrap_or_default().max(interval),
            Polled::SlowDown => {
                interval += options.slow_down;
                interval
            }
        };
    }
}

fn read_poll(provider: &Provider, received: Received) -> Polled {
    let evidence = match received.tokens() {
        Some(tokens) => return Polled::Tokens(tokens),
        None => received.into_evidence(),
    };
    let at = |place| classify::classify(provider.id(), &Evidence::Answer(place, evidence.clone()));
    let decided = at(Place::Device);
    match decided.class {
        Class::Pending if decided.code == "slow_down" => Polled::SlowDown,
        Class::Pending => Polled::NotYet(None),
        Class::RequestFault | Class::ClientFault => Polled::Over(decided.to_error()),
        Class::Permanent | Class::Transient { .. } | Class::Suspect | Class::Unknown => {
            let outcome = at(Place::Token);
            match outcome.class {
                Class::Transient { retry_after } => Polled::NotYet(retry_after),
                _ => Polled::Over(exchange_error(&outcome)),
            }
        }
    }
}

impl fmt::Debug for DeviceFlow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DeviceFlow")
            .field("provider", self.provider.id())
            .field("lifetime", &self.begun.lifetime)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
