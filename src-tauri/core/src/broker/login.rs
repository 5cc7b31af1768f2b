//! Signing in through the browser or by a code: started, shown, waited for. What comes of it is stored
//! by [`super::sign_in`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Broker, Inner, LoginRequest, SignedIn, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::oauth::unavailable::{Unavailable, unavailable};
use crate::oauth::{self, DeviceFlow, LoginFlow, LoginOptions, Providers};

pub use crate::oauth::LoginHandle;

/// A sign-in under way. Dropping it before the answer came cancels it.
#[derive(Debug)]
pub struct LoginSession {
    inner: Arc<Inner>,
    /// Canonical: whatever becomes of the settings meanwhile, the answer has its journal.
    state_dir: PathBuf,
    request: LoginRequest,
    flow: Flow,
    notice: Option<String>,
}

#[derive(Debug)]
enum Flow {
    Browser(LoginFlow),
    Code(DeviceFlow),
}

/// A code to enter on a page of the provider's.
#[derive(Clone, Copy)]
pub struct ShownCode<'a> {
    /// Whoever else enters it signs in in this person's place.
    pub code: &'a str,
    /// Where it is entered, on any machine.
    pub page: &'a str,
    /// How long it can be entered.
    pub lifetime: Duration,
}

impl Broker {
    /// Starts a sign-in: the port is bound before the address is known, so that nobody else can
    /// catch the answer; a code is asked for.
    ///
    /// # Errors
    /// `agent.unknown`, `era.*`, `provider.unknown`, `provider.ended`, `provider.client_missing`,
    /// `provider.flow_unsupported`; where a code is
    /// asked for also `network.*` and `login.exchange_failed`.
    pub async fn login(&self, request: LoginRequest) -> Result<LoginSession> {
        let providers = Providers::load(&self.inner.environment)?;
        let provider = providers.get(&request.provider).ok_or_else(|| {
            let unknown = || {
                Error::new(
                    ErrorCode::ProviderUnknown,
                    say!("there is no provider {provider}", provider = request.provider),
                )
            };
            unavailable(&request.provider).map_or_else(unknown, Unavailable::to_error)
        })?;
        let pasted = match provider.flow() {
            oauth::Flow::Token => Some("kalit paste-token"),
            oauth::Flow::ApiKey => Some("kalit paste-api-key"),
            oauth::Flow::Pkce(_) | oauth::Flow::Device(_) => None,
        };
        if let Some(command) = pasted {
            return Err(Error::new(
                ErrorCode::ProviderFlowUnsupported,
                say!(
                    "{provider} has no sign-in in the browser",
                    provider = provider.name()
                ),
            )
            .with_hint(say!(
                "Use `{command} --provider {provider}`.",
                command,
                provider = provider.id()
            )));
        }
        let inner = self.inner.clone();
        let agent = request.agent.clone();
        let state_dir = blocking(move || {
            let (installation, _) = inner.writable(&agent)?;
            Ok(installation.state_dir.canonical())
        })
        .await?;
        let clock = Arc::clone(&self.inner.clock);
        let (environment, options) = (&self.inner.environment, LoginOptions::default());
        let (flow, notice) = if provider.device().is_some() {
            let flow = DeviceFlow::start(provider, environment, clock, options).await?;
            (Flow::Code(flow), None)
        } else {
            let flow = LoginFlow::start(provider, environment, clock, options).await?;
            let notice = flow
                .notice()
                .map(|error| format!("{}. {}", error.message(), error.hint()));
            (Flow::Browser(flow), notice)
        };
        Ok(LoginSession {
            inner: self.inner.clone(),
            state_dir,
            request,
            flow,
            notice,
        })
    }
}

impl LoginSession {
    /// What to open in the system's browser.
    pub fn authorize_url(&self) -> &str {
        match &self.flow {
            Flow::Browser(flow) => flow.authorize_url(),
            Flow::Code(flow) => flow.page_to_open(),
        }
    }

    /// The code that the person enters, where one signs in so. It is shown together with the advice
    /// to enter it only if one began this sign-in oneself (RFC 8628 section 5.4).
    pub fn code(&self) -> Option<ShownCode<'_>> {
        match &self.flow {
            Flow::Browser(_) => None,
            Flow::Code(flow) => Some(ShownCode {
                code: flow.user_code(),
                page: flow.page(),
                lifetime: flow.lifetime(),
            }),
        }
    }

    /// Who holds the port, when only pasting is left.
    pub fn port_notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// For pasting the address of the last page and for cancelling.
    pub fn handle(&self) -> LoginHandle {
        match &self.flow {
            Flow::Browser(flow) => flow.handle(),
            Flow::Code(flow) => flow.handle(),
        }
    }

    /// Waits for the person, gets the tokens, stores the account. All of it runs in a task of
    /// its own: dropping this future does not stop it; cancel through the handle.
    pub async fn wait(self) -> Result<SignedIn> {
        let whole = tokio::spawn(async move {
            let signed_in = match self.flow {
                Flow::Browser(flow) => flow.run().await?,
                Flow::Code(flow) => flow.run().await?,
            };
            let (inner, state_dir, request) = (self.inner, self.state_dir, self.request);
            blocking(move || inner.keep_or_seal(&state_dir, &request, &signed_in)).await
        });
        whole.await.map_err(|error| {
            Error::new(ErrorCode::Internal, say!("the sign-in broke off")).with_source(error)
        })?
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
