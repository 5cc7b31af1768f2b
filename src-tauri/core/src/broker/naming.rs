//! Under which id a new login or secret is stored, so that OpenClaw sees it and nobody's login is
//! replaced by somebody else's. Decides only; nothing here writes.

use super::survey::Survey;
use super::{LoginRequest, PasteKind};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{ProfileId, ProviderId};
use crate::install::Installation;
use crate::install::config::ConfigMode;
use crate::oauth::{self, Claims, Identity, Issues, Provider, Sameness, identity};
use crate::secret::{Fingerprint, Secret};
use crate::store::Credential;

/// The id under which a sign-in is stored, and the generation that it replaces.
pub(super) fn choose_id(
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
                say!("you signed in as somebody else than {id}", id),
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
    identity::new_profile_id(&prefix, provider.account(), &signed_in.claims, taken)
        .map(|id| (id, None))
        .ok_or_else(|| Error::new(ErrorCode::ProfileExists, say!("no free profile id was found")))
}

/// Whether a stored credential belongs to this person; `None` when it is no login of the provider.
fn same(provider: &Provider, credential: &Credential, who: &Identity) -> Option<Sameness> {
    if !provider.answers_to(credential.provider()?) {
        return None;
    }
    let oauth = match (credential, provider.issues()) {
        (Credential::Oauth(oauth), Issues::Oauth) => oauth,
        // They do not say whose they are.
        (Credential::Token(_), Issues::Token) | (Credential::ApiKey(_), Issues::ApiKey) => {
            return Some(Sameness::Unsure);
        }
        _ => return None,
    };
    let access = oauth.access.clone().unwrap_or_else(|| Secret::new(""));
    let claims = Claims::of_tokens(provider.claims(), &access, oauth.id_token.as_ref());
    let stored = Identity::of(provider, &claims).with_stored_account(oauth.account_id.as_deref());
    Some(who.compare(&stored))
}

/// The provider id as this installation's release writes it.
pub(super) fn stored_provider(
    installation: &Installation,
    survey: &Survey,
    provider: &Provider,
) -> ProviderId {
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
    let fits = |mode: &ConfigMode| match provider.issues() {
        Issues::Oauth => *mode == ConfigMode::Oauth,
        Issues::Token => matches!(mode, ConfigMode::Token | ConfigMode::Oauth),
        Issues::ApiKey => *mode == ConfigMode::ApiKey,
    };
    match installation.config.auth.profile(id) {
        Some(entry) if !provider.answers_to(&entry.provider) || !fits(&entry.mode) => {
            Err(config_disagrees(id))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_config(
    installation: &Installation,
    id: &ProfileId,
    provider: &ProviderId,
    kind: PasteKind,
) -> Result<()> {
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
        say!(
            "openclaw.json has an entry for {id} with another provider or mode",
            id
        ),
    )
}
