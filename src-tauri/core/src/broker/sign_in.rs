//! Signing in through the browser, and pasting tokens and keys: from the person to the store.

use std::sync::Arc;

use super::survey::Survey;
use super::{About, Broker, Inner, LoginRequest, PasteKind, PasteRequest, SignedIn, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::history;
use crate::ids::{ProfileId, ProviderId};
use crate::install::{Agent, Installation};
use crate::oauth::{
    self, Claims, Identity, LoginFlow, LoginOptions, Provider, Providers, Sameness, identity, paste,
};
use crate::refresh::{Fleet, Holder, new_tokens, seal_tokens};
use crate::routing::{self, Note};
use crate::secret::Fingerprint;
use crate::store::credential::{NewCredential, NewSecret};
use crate::view::OrderSource;

pub use crate::oauth::LoginHandle;

/// A sign-in under way. Dropping it before the answer came cancels it.
#[derive(Debug)]
pub struct LoginSession {
    inner: Arc<Inner>,
    request: LoginRequest,
    flow: LoginFlow,
    notice: Option<String>,
}

impl Broker {
    /// Starts a sign-in: the port is bound before the address is known, so that nobody else can
    /// catch the answer.
    ///
    /// # Errors
    /// `agent.unknown`, `era.*`, `provider.unknown`, `provider.flow_unsupported`.
    pub async fn login(&self, request: LoginRequest) -> Result<LoginSession> {
        let inner = self.inner.clone();
        let agent = request.agent.clone();
        blocking(move || inner.writable(&agent).map(|_| ())).await?;
        let providers = Providers::load(&self.inner.environment)?;
        let provider = providers.get(&request.provider).ok_or_else(|| {
            Error::new(
                ErrorCode::ProviderUnknown,
                format!("there is no provider {}", request.provider),
            )
        })?;
        if provider.authorization().is_none() {
            let how = match provider.flow() {
                oauth::Flow::Token => "kalit paste-token",
                oauth::Flow::ApiKey => "kalit paste-api-key",
                oauth::Flow::Pkce(_) | oauth::Flow::Device { .. } => "openclaw models auth login",
            };
            return Err(Error::new(
                ErrorCode::ProviderFlowUnsupported,
                format!("{} has no sign-in in the browser", provider.name()),
            )
            .with_hint(format!("Use `{how} --provider {}`.", provider.id())));
        }
        let clock = Arc::clone(&self.inner.clock);
        let flow =
            LoginFlow::start(provider, &self.inner.environment, clock, LoginOptions::default()).await?;
        let notice = flow
            .notice()
            .map(|error| format!("{}. {}", error.message(), error.hint()));
        Ok(LoginSession {
            inner: self.inner.clone(),
            request,
            flow,
            notice,
        })
    }

    /// Checks and stores a pasted token or key.
    ///
    /// # Errors
    /// `secret.*`, `agent.unknown`, `era.*`, and those of writing a store.
    pub async fn paste_secret(&self, request: PasteRequest) -> Result<SignedIn> {
        let inner = self.inner.clone();
        blocking(move || inner.paste(request)).await
    }
}

impl LoginSession {
    /// What to open in the system's browser.
    pub fn authorize_url(&self) -> &str {
        self.flow.authorize_url()
    }

    /// Who holds the port, when only pasting is left.
    pub fn port_notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// For pasting the address of the last page and for cancelling.
    pub fn handle(&self) -> LoginHandle {
        self.flow.handle()
    }

    /// Waits for the person, exchanges the code, stores the account. All of it runs in a task of
    /// its own: dropping this future does not stop it; cancel through the handle.
    pub async fn wait(self) -> Result<SignedIn> {
        let whole = tokio::spawn(async move {
            let signed_in = self.flow.run().await?;
            let (inner, request) = (self.inner, self.request);
            blocking(move || inner.keep_or_seal(&request, &signed_in)).await
        });
        whole
            .await
            .map_err(|error| Error::new(ErrorCode::Internal, "the sign-in broke off").with_source(error))?
    }
}

impl Inner {
    /// A login that cannot be stored now is sealed: it is not thrown away.
    fn keep_or_seal(&self, request: &LoginRequest, signed_in: &oauth::SignIn) -> Result<SignedIn> {
        self.keep_login(request, signed_in).inspect_err(|_| {
            if let Ok(installation) = self.installation() {
                let tokens = new_tokens(&signed_in.tokens, &signed_in.claims, signed_in.received_at);
                let _ = seal_tokens(
                    &self.environment.data_dir(),
                    &installation.state_dir.canonical(),
                    self.generations(),
                    &tokens,
                    self.now(),
                    "sign-in-not-stored",
                );
            }
        })
    }

    fn keep_login(&self, request: &LoginRequest, signed_in: &oauth::SignIn) -> Result<SignedIn> {
        let providers = Providers::load(&self.environment)?;
        let provider = providers
            .get(&signed_in.provider)
            .ok_or_else(|| Error::new(ErrorCode::ProviderUnknown, "the provider's manifest is gone"))?;
        let who = identity::require(provider, &signed_in.claims)?;
        let (installation, agent) = self.writable(&request.agent)?;
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent);
        let (profile_id, replaced) = choose_id(&installation, &survey, provider, request, signed_in, &who)?;
        let stored_provider = stored_provider(&installation, &survey, provider);
        let tokens = new_tokens(&signed_in.tokens, &signed_in.claims, signed_in.received_at);
        let expires_at = tokens.expires;
        let generation = tokens.refresh.as_ref().map(|refresh| refresh.fingerprint());
        let lifetime_ms = signed_in.claims.lifetime_ms().or_else(|| {
            signed_in
                .tokens
                .expires_in
                .map(|seconds| seconds.saturating_mul(1000))
        });
        if let Some(generation) = generation {
            let record = history::SignIn {
                provider: provider.id().clone(),
                token_url: signed_in.token_url.clone(),
                at: signed_in.received_at,
            };
            let _ = self
                .generations()
                .record_sign_in(generation, &record, lifetime_ms);
        }
        let credential = NewCredential {
            provider: stored_provider.clone(),
            secret: NewSecret::Oauth {
                tokens,
                client_id: None,
            },
            display_name: None,
        };
        let others = replaced.map(|old| fleet.holders(old).stores).unwrap_or_default();
        let notes = self.put(&installation, &agent, &profile_id, &credential, &others, replaced)?;
        let email = signed_in.claims.email.clone();
        let plan = signed_in.claims.plan.clone();
        let stored = Stored {
            installation,
            agent,
            profile_id,
            provider: stored_provider,
            generation,
            notes,
        };
        let use_now = request.use_now;
        self.told(stored, email, plan, Some(expires_at), replaced.is_some(), use_now)
    }

    fn paste(&self, request: PasteRequest) -> Result<SignedIn> {
        let (installation, agent) = self.writable(&request.agent)?;
        let profile_id = match request.profile_id {
            Some(id) => id,
            None => ProfileId::parse(&format!("{}:manual", request.provider))
                .ok_or_else(|| Error::new(ErrorCode::Usage, "the provider is empty"))?,
        };
        let expires = request.expires_in.map(|lifetime| self.now().plus(lifetime));
        let (secret, generation) = match request.kind {
            PasteKind::Token => {
                let token = paste::token(&request.provider, &request.secret)?;
                let generation = token.fingerprint();
                (
                    NewSecret::Token {
                        token,
                        expires,
                        email: None,
                    },
                    generation,
                )
            }
            PasteKind::ApiKey => {
                let key = paste::api_key(&request.provider, &request.secret)?;
                let generation = key.fingerprint();
                (NewSecret::ApiKey { key, email: None }, generation)
            }
        };
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent);
        check_config(&installation, &profile_id, &request.provider, request.kind)?;
        let existing = survey
            .seen
            .iter()
            .find(|seen| seen.id == profile_id && !seen.inherited);
        if existing.is_some_and(|seen| seen.credential.as_oauth().is_some()) {
            return Err(Error::new(
                ErrorCode::ProfileExists,
                format!("{profile_id} is a sign-in; a pasted secret would replace it"),
            ));
        }
        let replaced = existing.is_some();
        let credential = NewCredential {
            provider: request.provider.clone(),
            secret,
            display_name: None,
        };
        let notes = self.put(&installation, &agent, &profile_id, &credential, &[], None)?;
        // OpenClaw's marks of a refusal before this moment concern an older secret.
        let _ = self
            .generations()
            .record_rotation(generation, generation, self.now(), None);
        let stored = Stored {
            installation,
            agent,
            profile_id,
            provider: request.provider,
            generation: Some(generation),
            notes,
        };
        self.told(stored, None, None, expires, replaced, false)
    }

    /// Writes a credential into its agent's store, appends it to an explicit order, and writes it
    /// into every other holder of the generation it replaces.
    fn put(
        &self,
        installation: &Installation,
        agent: &Agent,
        profile_id: &ProfileId,
        credential: &NewCredential,
        others: &[Holder],
        replaced: Option<Fingerprint>,
    ) -> Result<Vec<String>> {
        let store = installation.store(&agent.agent_dir);
        store.create_dir()?;
        let lock = self.lock(&agent.agent_dir)?;
        installation.ensure_json_era()?;
        store.update(&lock, |document, _| document.put(profile_id, credential))?;
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, agent);
        let plan = survey.with_input(
            installation,
            agent,
            &credential.provider,
            credential.provider.as_str(),
            self.now(),
            |input| routing::plan_append(input, profile_id),
        );
        let mut notes = Vec::new();
        if let Some(plan) = plan {
            let ordered = store.update(&lock, |_, state| {
                state.set_order(&credential.provider, &plan.new_order);
                Ok(())
            });
            match ordered {
                Ok(_) => notes.extend(plan.notes.iter().copied().map(Note::text).map(str::to_owned)),
                // The login is stored: what failed after that is told, not an error.
                Err(error) => notes.push(format!("It is not in the order yet: {}.", error.message())),
            }
        }
        drop(lock);
        let _ = self.marks.clear_gone(&agent.agent_dir, profile_id);
        let own = fleet.store_of(&agent.agent_dir).map(|store| &store.agent_dir);
        let target = |holder: &&Holder| Some(&holder.agent_dir) == own && holder.profile_id == *profile_id;
        for holder in others.iter().filter(|holder| !target(holder)) {
            if let Err(error) = self.replace_copy(&fleet, holder, credential, replaced) {
                notes.push(format!(
                    "{} still holds the old login: {}.",
                    holder.agent_dir.display(),
                    error.message()
                ));
            }
        }
        Ok(notes)
    }

    /// Writes a new login over a copy of the one it replaces, if that is still there.
    fn replace_copy(
        &self,
        fleet: &Fleet,
        holder: &Holder,
        credential: &NewCredential,
        replaced: Option<Fingerprint>,
    ) -> Result<()> {
        let installation = fleet
            .installation(&holder.state_dir)
            .ok_or_else(|| Error::new(ErrorCode::StateDirMissing, "its installation is gone"))?;
        let lock = self.lock(&holder.agent_dir)?;
        installation.ensure_json_era()?;
        let provider = ProviderId::parse(&holder.provider).unwrap_or_else(|| credential.provider.clone());
        let credential = NewCredential {
            provider,
            ..credential.clone()
        };
        installation
            .store(&holder.agent_dir)
            .update(&lock, |document, _| {
                let held = document
                    .credential(&holder.profile_id)
                    .and_then(|credential| credential.generation());
                if held.is_some() && held == replaced {
                    document.put(&holder.profile_id, &credential)?;
                }
                Ok(())
            })?;
        Ok(())
    }

    fn told(
        &self,
        stored: Stored,
        email: Option<String>,
        plan: Option<String>,
        expires_at: Option<crate::clock::Timestamp>,
        replaced: bool,
        use_now: bool,
    ) -> Result<SignedIn> {
        let Stored {
            installation,
            agent,
            profile_id,
            provider,
            generation,
            mut notes,
        } = stored;
        self.emit(
            EventKind::SignedIn,
            About {
                installation: &installation.state_dir.canonical().display().to_string(),
                agent: Some(&agent.id),
                profile_id: Some(&profile_id),
                generation,
                cause: Some(self.program),
            },
            format!("Signed in as {} in {}", profile_id.account_name(), agent.id),
        );
        self.seal("signed-in");
        if use_now {
            match self.activate(&agent.id, &profile_id) {
                Ok(activation) => notes.extend(activation.notes),
                Err(error) => notes.push(format!("It is not used first: {}.", error.message())),
            }
        }
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent);
        let resolution = self.resolve(&survey, fleet.current(), &agent, &provider);
        let hidden = resolution
            .passed_over
            .iter()
            .any(|(id, cause)| *id == profile_id && *cause == routing::PassedOver::HiddenByConfig);
        if hidden {
            notes.push(
                "auth.profiles in openclaw.json lists other accounts only: \"use\" makes this one visible by a fixed order."
                    .to_owned(),
            );
        }
        let first = resolution.effective.as_ref() == Some(&profile_id);
        let alone = resolution.candidates.len() <= 1 && first;
        Ok(SignedIn {
            agent: agent.id,
            provider,
            profile_id,
            email,
            plan,
            expires_at,
            generation: generation.map(|generation| generation.short()),
            replaced,
            offers_use: !alone && (!first || resolution.source == OrderSource::Rotation),
            effective: resolution.effective,
            reason: resolution.reason,
            notes,
        })
    }
}

/// What was written where.
struct Stored {
    installation: Installation,
    agent: Agent,
    profile_id: ProfileId,
    provider: ProviderId,
    generation: Option<Fingerprint>,
    notes: Vec<String>,
}

/// The id under which a sign-in is stored, and the generation that it replaces.
fn choose_id(
    installation: &Installation,
    survey: &Survey,
    provider: &Provider,
    request: &LoginRequest,
    signed_in: &oauth::SignIn,
    who: &Identity,
) -> Result<(ProfileId, Option<Fingerprint>)> {
    let own = |id: &ProfileId| survey.seen.iter().find(|seen| seen.id == *id && !seen.inherited);
    if let Some(id) = &request.profile_id {
        check_config_mode(installation, id, provider)?;
        let Some(existing) = own(id) else {
            return Ok((id.clone(), None));
        };
        return match same(provider, &existing.credential, who) {
            Some(Sameness::Different) | None => Err(Error::new(
                ErrorCode::ProfileInUseElsewhere,
                format!("you signed in as somebody else than {id}"),
            )),
            // Named by the person: that is the answer to "is it the same account?".
            Some(Sameness::Same | Sameness::Unsure) => Ok((id.clone(), existing.credential.generation())),
        };
    }
    let known = survey
        .seen
        .iter()
        .find(|seen| !seen.inherited && same(provider, &seen.credential, who) == Some(Sameness::Same));
    if let Some(known) = known
        && check_config_mode(installation, &known.id, provider).is_ok()
    {
        return Ok((known.id.clone(), known.credential.generation()));
    }
    let prefix = stored_provider(installation, survey, provider);
    let taken = |id: &ProfileId| {
        survey.seen.iter().any(|seen| seen.id == *id)
            || check_config_mode(installation, id, provider).is_err()
    };
    identity::new_profile_id(&prefix, &signed_in.claims, taken)
        .map(|id| (id, None))
        .ok_or_else(|| Error::new(ErrorCode::ProfileExists, "no free profile id was found"))
}

/// Whether a stored credential belongs to this person; `None` when it is no login of the provider.
fn same(provider: &Provider, credential: &crate::store::Credential, who: &Identity) -> Option<Sameness> {
    let oauth = credential.as_oauth()?;
    if !provider.answers_to(&oauth.common.provider) {
        return None;
    }
    let access = oauth
        .access
        .clone()
        .unwrap_or_else(|| crate::secret::Secret::new(""));
    let claims = Claims::of_tokens(provider.claims(), &access, oauth.id_token.as_ref());
    let stored = Identity::of(provider, &claims).with_stored_account(oauth.account_id.as_deref());
    Some(who.compare(&stored))
}

/// The provider id as this installation's release writes it.
fn stored_provider(installation: &Installation, survey: &Survey, provider: &Provider) -> ProviderId {
    if !provider.id().is_openai() {
        return provider.id().clone();
    }
    let stored: Vec<ProviderId> = survey
        .seen
        .iter()
        .filter_map(|seen| seen.credential.provider().cloned())
        .collect();
    installation
        .rules()
        .openai_provider_id(&stored)
        .unwrap_or_else(|| provider.id().clone())
}

/// A config entry for the id that names another provider or mode hides the profile from OpenClaw.
fn check_config_mode(installation: &Installation, id: &ProfileId, provider: &Provider) -> Result<()> {
    use crate::install::config::ConfigMode;
    match installation.config.auth.profile(id) {
        Some(entry) if !provider.answers_to(&entry.provider) || entry.mode != ConfigMode::Oauth => {
            Err(config_disagrees(id))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_config(
    installation: &Installation,
    id: &ProfileId,
    provider: &ProviderId,
    kind: PasteKind,
) -> Result<()> {
    use crate::install::config::ConfigMode;
    let Some(entry) = installation.config.auth.profile(id) else {
        return Ok(());
    };
    let mode_fits = match kind {
        PasteKind::Token => matches!(entry.mode, ConfigMode::Token | ConfigMode::Oauth),
        PasteKind::ApiKey => entry.mode == ConfigMode::ApiKey,
    };
    if mode_fits && entry.provider == *provider {
        Ok(())
    } else {
        Err(config_disagrees(id))
    }
}

fn config_disagrees(id: &ProfileId) -> Error {
    Error::new(
        ErrorCode::ProfileExists,
        format!("openclaw.json has an entry for {id} with another provider or mode"),
    )
}
