//! One sign-in from the bound port to the tokens. The shell opens the returned URL; the browser's
//! answer and a pasted address race, and whichever comes first is exchanged.
//!
//! Must never open a browser, write a store, or give up once a code has arrived: the exchange runs
//! in a task of its own and ends by itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use url::Url;

use crate::clock::{Clock, Timestamp};
use crate::environment::Environment;
use crate::ids::ProviderId;
use crate::secret::Secret;
use crate::{Error, ErrorCode, Result};

use super::callback::{CallbackListener, Serving};
use super::claims::Claims;
use super::pkce::{State, Verifier};
use super::provider::{Authorization, Issues, Provider};
use super::redirect::{Expected, RedirectUri};
use super::settlement::{Claimed, Settled, Settlement};
use super::token_answer::TokenAnswer;
use super::token_endpoint::{CALL_DEADLINE, TokenEndpoint};

crate::keeps_secret!(LoginFlow, LoginHandle, SignIn);

/// The time limits of a sign-in.
#[derive(Clone, Copy, Debug)]
pub struct LoginOptions {
    /// How long the browser's answer is waited for.
    pub wait: Duration,
    /// How long the exchange may take after that.
    pub exchange: Duration,
    /// Between two questions whether a code was entered there is no less.
    pub shortest_poll: Duration,
    /// By how much each `slow_down` lengthens that (RFC 8628 section 3.5).
    pub slow_down: Duration,
}

impl Default for LoginOptions {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(5 * 60),
            exchange: CALL_DEADLINE,
            shortest_poll: Duration::from_secs(1),
            slow_down: Duration::from_secs(5),
        }
    }
}

/// A sign-in that waits for the person. Dropping it ends it and frees the port.
pub struct LoginFlow {
    provider: Provider,
    endpoint: TokenEndpoint,
    clock: Arc<dyn Clock>,
    options: LoginOptions,
    expected: Arc<Expected>,
    verifier: Verifier,
    authorize_url: Url,
    settlement: Settlement,
    settled: oneshot::Receiver<Settled>,
    serving: Option<Serving>,
    notice: Option<Error>,
}

/// Reaches a running sign-in from elsewhere.
#[derive(Clone, Debug)]
pub struct LoginHandle {
    /// `None`: nothing comes back from the browser.
    pub(super) expected: Option<Arc<Expected>>,
    pub(super) settlement: Settlement,
}

/// A finished sign-in, before anything is stored.
#[derive(Debug)]
pub struct SignIn {
    /// The tokens. Journal them first.
    pub tokens: TokenAnswer,
    /// What they say.
    pub claims: Claims,
    /// When they came, by the clock that was passed in.
    pub received_at: Timestamp,
    /// The provider, by the id of its manifest.
    pub provider: ProviderId,
    /// The endpoint that issued the tokens: they may only ever be sent there again.
    pub token_url: String,
}

impl SignIn {
    pub(super) fn new(provider: &Provider, tokens: TokenAnswer, received_at: Timestamp) -> Self {
        let claims = Claims::of_tokens(provider.claims(), &tokens.access, tokens.id_token.as_ref());
        let route = provider.sign_in_route();
        Self {
            claims,
            received_at,
            provider: provider.id().clone(),
            token_url: route.map(|route| route.url.to_string()).unwrap_or_default(),
            tokens,
        }
    }

    /// When the access token ends.
    pub fn expires_at(&self) -> Timestamp {
        self.tokens.expires_at(self.received_at, &self.claims)
    }
}

impl LoginFlow {
    /// Binds the port, then makes the request's secrets. If all ports are taken, only pasting is
    /// left and [`LoginFlow::notice`] names the holder.
    pub async fn start(
        provider: &Provider,
        environment: &Environment,
        clock: Arc<dyn Clock>,
        options: LoginOptions,
    ) -> Result<Self> {
        let (Some(authorization), Some(route)) = (provider.authorization(), provider.sign_in_route()) else {
            return Err(no_flow(provider));
        };
        let endpoint = endpoint(environment.clone(), Arc::clone(&clock)).await?;
        let (listener, port, notice) = match CallbackListener::bind(&authorization.redirect).await {
            Ok(listener) => {
                let port = listener.port();
                (Some(listener), port, None)
            }
            Err(busy) => {
                let first = authorization.redirect.ports.first();
                let port = *first.ok_or_else(|| busy.to_error())?;
                (None, port, Some(busy.to_error()))
            }
        };
        let (verifier, state) = (Verifier::random()?, State::random()?);
        let redirect = RedirectUri::new(authorization, port);
        let authorize_url = match provider.issues() {
            Issues::Oauth | Issues::Token => {
                authorize_url(authorization, &route.client_id, &redirect, &verifier, &state)
            }
            Issues::ApiKey => key_url(authorization, &redirect, &verifier, &state),
        };
        let expected = Arc::new(Expected::new(state, redirect, authorization.url.clone()));
        let (settlement, settled) = Settlement::new();
        let serving = listener.map(|listener| listener.serve(Arc::clone(&expected), settlement.clone()));
        Ok(Self {
            provider: provider.clone(),
            endpoint,
            clock,
            options,
            expected,
            verifier,
            authorize_url,
            settlement,
            settled,
            serving,
            notice,
        })
    }

    /// The address to open in the system's browser. It contains the state: show it to the person,
    /// keep it out of logs.
    pub fn authorize_url(&self) -> &str {
        self.authorize_url.as_str()
    }

    /// Where the browser comes back to.
    pub fn redirect_uri(&self) -> String {
        self.expected.redirect().to_string()
    }

    /// `login.port_busy` if nobody listens and the last page's address must be pasted.
    pub fn notice(&self) -> Option<&Error> {
        self.notice.as_ref()
    }

    /// For pasting and cancelling while [`LoginFlow::run`] waits.
    pub fn handle(&self) -> LoginHandle {
        LoginHandle {
            expected: Some(Arc::clone(&self.expected)),
            settlement: self.settlement.clone(),
        }
    }

    /// Waits for the answer and exchanges its code. Run it in a task that nobody aborts: dropping
    /// it before the answer cancels the sign-in, dropping it later throws the tokens away.
    pub async fn run(self) -> Result<SignIn> {
        let Self {
            provider,
            endpoint,
            clock,
            options,
            expected,
            verifier,
            settlement,
            settled,
            serving,
            ..
        } = self;
        let code = wait(settled, &settlement, options.wait).await?;
        let exchanging = tokio::spawn(async move {
            let redirect_uri = expected.redirect().to_string();
            let answer = endpoint
                .exchange(&provider, &code, verifier, &redirect_uri, options.exchange)
                .await;
            let received_at = clock.now();
            Ok(SignIn::new(&provider, answer?, received_at))
        });
        let signed_in = exchanging.await.map_err(|error| {
            Error::new(ErrorCode::Internal, say!("the sign-in broke off")).with_source(error)
        })?;
        // Until here a repeated callback was told that the sign-in has its answer.
        drop(serving);
        signed_in
    }
}

impl LoginHandle {
    /// Takes what a person pasted. An error does not end the sign-in: the person may try again.
    pub fn paste(&self, text: &Secret) -> Result<()> {
        let expected = self.expected.as_ref().ok_or_else(|| {
            Error::new(
                ErrorCode::LoginPasteUnusable,
                say!("nothing is pasted in this sign-in"),
            )
            .with_hint(say!("Enter the code on the provider's page."))
        })?;
        let code = expected.pasted(text)?;
        match self.settlement.claim() {
            Claimed::First(claim) => {
                claim.resolve(Ok(code));
                Ok(())
            }
            // The browser was faster with the same answer.
            Claimed::Answered => Ok(()),
            Claimed::Cancelled => Err(cancelled()),
        }
    }

    /// Gives up. Returns false if the answer has come already: then the sign-in is finished.
    pub fn cancel(&self) -> bool {
        self.settlement.cancel()
    }
}

impl fmt::Debug for LoginFlow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoginFlow")
            .field("provider", self.provider.id())
            .field("redirect_uri", &self.redirect_uri())
            .field("notice", &self.notice)
            .finish_non_exhaustive()
    }
}

async fn wait(
    mut settled: oneshot::Receiver<Settled>,
    settlement: &Settlement,
    limit: Duration,
) -> Result<Secret> {
    let answer = match tokio::time::timeout(limit, &mut settled).await {
        Ok(answer) => answer,
        Err(_elapsed) if settlement.cancel() => return Err(timed_out()),
        // The answer came at the last moment and is on its way here.
        Err(_elapsed) => settled.await,
    };
    answer.unwrap_or_else(|_closed| Err(cancelled()))
}

pub(super) fn no_flow(provider: &Provider) -> Error {
    Error::new(
        ErrorCode::ProviderFlowUnsupported,
        say!(
            "{provider} has no sign-in in the browser",
            provider = provider.name()
        ),
    )
}

pub(super) fn timed_out() -> Error {
    Error::new(
        ErrorCode::LoginTimeout,
        say!("nobody finished the sign-in in time"),
    )
}

pub(super) fn cancelled() -> Error {
    Error::new(ErrorCode::LoginCancelled, say!("the sign-in was cancelled"))
}

/// Reading the system's certificates blocks for a moment.
pub(super) async fn endpoint(environment: Environment, clock: Arc<dyn Clock>) -> Result<TokenEndpoint> {
    tokio::task::spawn_blocking(move || TokenEndpoint::new(&environment, clock))
        .await
        .map_err(|error| {
            Error::new(ErrorCode::Internal, say!("the sign-in could not begin")).with_source(error)
        })?
}

/// RFC 6749 section 4.1.1 with RFC 7636 section 4.3, in the order in which codex 0.169.0 sends
/// its parameters.
fn authorize_url(
    authorization: &Authorization,
    client_id: &str,
    redirect: &RedirectUri,
    verifier: &Verifier,
    state: &State,
) -> Url {
    let mut url = authorization.url.clone();
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", client_id)
        .append_pair("redirect_uri", &redirect.to_string())
        .append_pair("code_challenge", &verifier.challenge())
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", state.as_str());
    if !authorization.scopes.is_empty() {
        url.query_pairs_mut()
            .append_pair("scope", &authorization.scopes.join(" "));
    }
    url.query_pairs_mut().extend_pairs(&authorization.params);
    url
}

/// OpenRouter's request for an API key (its own documentation of "OAuth PKCE"): without a client, and
/// the state comes back as a part of the address that is called.
fn key_url(authorization: &Authorization, redirect: &RedirectUri, verifier: &Verifier, state: &State) -> Url {
    let mut url = authorization.url.clone();
    url.query_pairs_mut()
        .append_pair("callback_url", &format!("{redirect}?state={}", state.as_str()))
        .append_pair("code_challenge", &verifier.challenge())
        .append_pair("code_challenge_method", "S256")
        .extend_pairs(&authorization.params);
    url
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
