//! What a sign-in or a paste brought, on its way into the store.

use std::path::Path;
use std::time::Duration;

use super::acting::acting;
use super::naming::{check_config, choose_id, stored_provider};
use super::survey::Survey;
use super::{About, Broker, Inner, LoginRequest, PasteKind, PasteRequest, SignedIn, blocking};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::history;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Agent, Installation};
use crate::oauth::{self, Issues, Providers, identity, paste};
use crate::refresh::{Fleet, Holder, new_tokens, seal_tokens};
use crate::routing::{self, Note};
use crate::secret::Fingerprint;
use crate::store::StoreLock;
use crate::store::credential::{NewCredential, NewSecret};
use crate::store::lock::STORE_LOCK_LIMIT;
use crate::vault::journal::{AskedSignIn, Received};
use crate::vault::{Journal, installation_dir};
use crate::view::OrderSource;

crate::keeps_raw_secret!(Checked);

impl Broker {
    /// Checks and stores a pasted token or key.
    ///
    /// # Errors
    /// `secret.*`, `agent.unknown`, `era.*`, and those of writing a store.
    pub async fn paste_secret(&self, request: PasteRequest) -> Result<SignedIn> {
        let inner = self.inner.clone();
        if inner.openclaw_writes()? {
            return acting(inner, async move |inner| inner.paste_by_openclaw(request).await).await;
        }
        blocking(move || inner.paste(request)).await
    }
}

/// Where a sign-in is to be stored, decided from what is on disk.
pub(super) struct Place {
    pub(super) installation: Installation,
    pub(super) agent: Agent,
    pub(super) fleet: Fleet,
    pub(super) profile_id: ProfileId,
    /// The generation that the sign-in takes the place of.
    replaced: Option<Fingerprint>,
    /// As the store spells it.
    provider: ProviderId,
    issues: Issues,
    /// Taken before anything was decided.
    lock: StoreLock,
}

impl Inner {
    /// Journal, store, in this order: from here on nothing may lose the answer. One that cannot be
    /// stored now is sealed: it is not thrown away.
    pub(super) fn keep_or_seal(
        &self,
        state_dir: &Path,
        request: &LoginRequest,
        signed_in: &oauth::SignIn,
    ) -> Result<SignedIn> {
        let journal = self.journal(state_dir);
        let entry = journal.record_sign_in(
            &state_dir.display().to_string(),
            AskedSignIn {
                provider: signed_in.provider.clone(),
                agent: request.agent.clone(),
                profile_id: request.profile_id.clone(),
                token_url: signed_in.token_url.clone(),
            },
            Received::from(&signed_in.tokens),
            signed_in.received_at,
        );
        // A journal that cannot be written must not keep the login from its store.
        let _turn = journal.turn();
        let kept = self
            .place(request, signed_in, STORE_LOCK_LIMIT)
            .and_then(|place| self.keep_login(place, signed_in, request.use_now));
        let safe = kept.is_ok() || self.seal_login(state_dir, signed_in).is_ok();
        if let (Ok(entry), true) = (entry, safe) {
            let _ = journal.discharge(entry);
        }
        kept
    }

    /// The journal of the installation in a canonical state directory.
    pub(super) fn journal(&self, state_dir: &Path) -> Journal {
        Journal::open(&installation_dir(&self.environment.data_dir(), state_dir))
    }

    /// Keeps a login that no store took, sealed.
    pub(super) fn seal_login(&self, state_dir: &Path, signed_in: &oauth::SignIn) -> Result<()> {
        seal_tokens(
            &self.environment.data_dir(),
            state_dir,
            self.generations(),
            &new_tokens(&signed_in.tokens, &signed_in.claims, signed_in.received_at),
            self.now(),
            "sign-in-not-stored",
        )
    }

    /// `patience`: how long the lock of the store is waited for.
    pub(super) fn place(
        &self,
        request: &LoginRequest,
        signed_in: &oauth::SignIn,
        patience: Duration,
    ) -> Result<Place> {
        let providers = Providers::load(&self.environment)?;
        let provider = providers.get(&signed_in.provider).ok_or_else(|| {
            Error::new(
                ErrorCode::ProviderUnknown,
                say!("the provider's manifest is gone"),
            )
        })?;
        let who = identity::require(provider, &signed_in.claims)?;
        let (installation, agent, lock) = self.lock_store_of(&request.agent, patience)?;
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent, self.now());
        let (profile_id, replaced) = choose_id(&installation, &survey, provider, request, signed_in, &who)?;
        let issues = provider.issues();
        let provider = stored_provider(&installation, &survey, provider);
        Ok(Place {
            installation,
            agent,
            fleet,
            profile_id,
            replaced,
            provider,
            issues,
            lock,
        })
    }

    /// The store that is to be written, locked: what stands in it decides where a secret goes.
    fn lock_store_of(&self, agent: &AgentId, patience: Duration) -> Result<(Installation, Agent, StoreLock)> {
        let (installation, agent) = self.writable(agent)?;
        installation.store(&agent.agent_dir).create_dir()?;
        let lock = StoreLock::acquire(&agent.agent_dir, &self.locks, patience)?;
        let (installation, agent) = self.writable(&agent.id)?;
        Ok((installation, agent, lock))
    }

    pub(super) fn keep_login(
        &self,
        place: Place,
        signed_in: &oauth::SignIn,
        use_now: bool,
    ) -> Result<SignedIn> {
        let Place {
            installation,
            agent,
            fleet,
            profile_id,
            replaced,
            provider,
            issues,
            lock,
        } = place;
        let (secret, expires_at, generation) = self.new_secret(issues, signed_in);
        let credential = NewCredential {
            provider: provider.clone(),
            secret,
            display_name: None,
        };
        let others = replaced.map(|old| fleet.holders(old).stores).unwrap_or_default();
        let notes = self.put(
            lock,
            &installation,
            &agent,
            &profile_id,
            &credential,
            &others,
            replaced,
        )?;
        let email = signed_in.claims.email.clone();
        let plan = signed_in.claims.plan.clone();
        let stored = Stored {
            installation,
            agent,
            profile_id,
            provider,
            generation,
            notes,
        };
        self.told(stored, email, plan, expires_at, replaced.is_some(), use_now)
    }

    /// What is stored of a sign-in, its end, and its generation, which is recorded.
    fn new_secret(
        &self,
        issues: Issues,
        signed_in: &oauth::SignIn,
    ) -> (NewSecret, Option<Timestamp>, Option<Fingerprint>) {
        let issued = &signed_in.tokens;
        let static_generation = || {
            let generation = issued.access.fingerprint();
            // OpenClaw's marks of a refusal before this moment concern an older secret.
            let _ = self
                .generations()
                .record_rotation(generation, generation, signed_in.received_at, None);
            Some(generation)
        };
        match issues {
            Issues::Oauth => {
                let tokens = new_tokens(issued, &signed_in.claims, signed_in.received_at);
                let (expires_at, refresh) = (tokens.expires, tokens.refresh.as_ref());
                let generation = refresh.map(|refresh| refresh.fingerprint());
                let lifetime_ms = signed_in
                    .claims
                    .lifetime_ms()
                    .or_else(|| issued.expires_in.map(|seconds| seconds.saturating_mul(1000)));
                if let Some(generation) = generation {
                    let record = history::SignIn {
                        provider: signed_in.provider.clone(),
                        token_url: signed_in.token_url.clone(),
                        at: signed_in.received_at,
                    };
                    let _ = self
                        .generations()
                        .record_sign_in(generation, &record, lifetime_ms);
                }
                let secret = NewSecret::Oauth {
                    tokens,
                    client_id: None,
                };
                (secret, Some(expires_at), generation)
            }
            Issues::Token => {
                let expires = issued.expires_in.map(|_| signed_in.expires_at());
                let secret = NewSecret::Token {
                    token: issued.access.clone(),
                    expires,
                    email: signed_in.claims.email.clone(),
                };
                (secret, expires, static_generation())
            }
            Issues::ApiKey => {
                let secret = NewSecret::ApiKey {
                    key: issued.access.clone(),
                    email: signed_in.claims.email.clone(),
                };
                (secret, None, static_generation())
            }
        }
    }

    fn paste(&self, request: PasteRequest) -> Result<SignedIn> {
        let (installation, agent, lock) = self.lock_store_of(&request.agent, STORE_LOCK_LIMIT)?;
        let checked = self.check_paste(&self.fleet()?, &agent, request)?;
        let credential = NewCredential {
            provider: checked.provider.clone(),
            secret: checked.secret,
            display_name: None,
        };
        let notes = self.put(
            lock,
            &installation,
            &agent,
            &checked.profile_id,
            &credential,
            &[],
            checked.replaced_generation,
        )?;
        let generation = checked.generation;
        // OpenClaw's marks of a refusal before this moment concern an older secret.
        let _ = self
            .generations()
            .record_rotation(generation, generation, self.now(), None);
        let stored = Stored {
            installation,
            agent,
            profile_id: checked.profile_id,
            provider: checked.provider,
            generation: Some(generation),
            notes,
        };
        self.told(stored, None, None, checked.expires, checked.replaced, false)
    }

    /// A pasted secret that may be stored where it was asked for.
    pub(super) fn check_paste(&self, fleet: &Fleet, agent: &Agent, request: PasteRequest) -> Result<Checked> {
        let installation = fleet.current();
        let profile_id = match request.profile_id {
            Some(id) => id,
            None => ProfileId::parse(&format!("{}:manual", request.provider))
                .ok_or_else(|| Error::new(ErrorCode::Usage, say!("the provider is empty")))?,
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
        let survey = Survey::of(fleet, agent, self.now());
        check_config(installation, &profile_id, &request.provider, request.kind)?;
        let existing = survey
            .seen
            .iter()
            .find(|seen| seen.id == profile_id && !seen.inherited);
        if existing.is_some_and(|seen| seen.credential.as_oauth().is_some()) {
            return Err(Error::new(
                ErrorCode::ProfileExists,
                say!(
                    "{id} is a sign-in; a pasted secret would replace it",
                    id = profile_id
                ),
            ));
        }
        Ok(Checked {
            replaced: existing.is_some(),
            replaced_generation: existing.and_then(|seen| seen.credential.generation()),
            profile_id,
            provider: request.provider,
            secret,
            generation,
            expires,
            lifetime: request.expires_in,
        })
    }

    /// Writes a credential into its agent's store, appends it to an explicit order, and writes it
    /// into every other holder of the generation it replaces. `lock` was taken before it was decided
    /// what is replaced; OpenClaw 2026.2.17 writes without it.
    #[expect(clippy::too_many_arguments, reason = "what is written, where, and over what")]
    fn put(
        &self,
        lock: StoreLock,
        installation: &Installation,
        agent: &Agent,
        profile_id: &ProfileId,
        credential: &NewCredential,
        others: &[Holder],
        replaced: Option<Fingerprint>,
    ) -> Result<Vec<String>> {
        let store = installation.store(&agent.agent_dir);
        store.update(&lock, |document, _| {
            let stands = document
                .credential(profile_id)
                .and_then(|credential| credential.generation());
            if stands != replaced {
                let what = say!("{id} changed while it was looked at", id = profile_id);
                return Err(Error::new(ErrorCode::StoreChanged, what));
            }
            document.put(profile_id, credential)
        })?;
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, agent, self.now());
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
                Ok(_) => notes.extend(plan.notes.iter().copied().map(Note::text)),
                // The login is stored: what failed after that is told, not an error.
                Err(error) => notes.push(say!("It is not in the order yet: {why}.", why = error.message())),
            }
        }
        drop(lock);
        let _ = self.marks.clear_gone(&agent.agent_dir, profile_id);
        let own = fleet.store_of(&agent.agent_dir).map(|store| &store.agent_dir);
        let target = |holder: &&Holder| Some(&holder.agent_dir) == own && holder.profile_id == *profile_id;
        for holder in others.iter().filter(|holder| !target(holder)) {
            if let Err(error) = self.replace_copy(&fleet, holder, credential, replaced) {
                notes.push(say!(
                    "{path} still holds the old login: {why}.",
                    path = holder.agent_dir.display(),
                    why = error.message()
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
            .ok_or_else(|| Error::new(ErrorCode::StateDirMissing, say!("its installation is gone")))?;
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

    pub(super) fn told(
        &self,
        stored: Stored,
        email: Option<String>,
        plan: Option<String>,
        expires_at: Option<Timestamp>,
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
                ..About::default()
            },
            format!("Signed in as {} in {}", profile_id.account_name(), agent.id),
        );
        self.seal("signed-in");
        if use_now {
            match self.activate(&agent.id, &profile_id) {
                Ok(activation) => notes.extend(activation.notes),
                Err(error) => notes.push(say!("It is not used first: {why}.", why = error.message())),
            }
        }
        let fleet = self.fleet()?;
        let survey = Survey::of(&fleet, &agent, self.now());
        let resolution = self.resolve(&survey, fleet.current(), &agent, &provider);
        let hidden = resolution
            .passed_over
            .iter()
            .any(|(id, cause)| *id == profile_id && *cause == routing::PassedOver::HiddenByConfig);
        if hidden {
            notes.push(
                say!("auth.profiles in openclaw.json lists other accounts only: \"use\" makes this one visible by a fixed order."),
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

/// A pasted secret that passed every check.
pub(super) struct Checked {
    pub(super) profile_id: ProfileId,
    pub(super) provider: ProviderId,
    pub(super) secret: NewSecret,
    pub(super) generation: Fingerprint,
    pub(super) expires: Option<Timestamp>,
    pub(super) lifetime: Option<Duration>,
    pub(super) replaced: bool,
    pub(super) replaced_generation: Option<Fingerprint>,
}

/// What was written where.
pub(super) struct Stored {
    pub(super) installation: Installation,
    pub(super) agent: Agent,
    pub(super) profile_id: ProfileId,
    pub(super) provider: ProviderId,
    pub(super) generation: Option<Fingerprint>,
    pub(super) notes: Vec<String>,
}
