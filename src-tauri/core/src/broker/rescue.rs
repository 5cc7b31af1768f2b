//! Sign-ins that a crash left in the journal: stored like fresh ones, or sealed and told. Must
//! never put a login over a newer one, nor touch a sign-in that is being stored right now.

use std::path::Path;
use std::time::Duration;

use super::sign_in::Place;
use super::{About, Inner, LoginRequest};
use crate::error::{ErrorCode, Result};
use crate::event::EventKind;
use crate::oauth::{Claims, Providers, SignIn, TokenAnswer};
use crate::vault::journal::{AskedSignIn, Entry, Question};

/// A look must not stand still as long as a person would wait for a busy store.
const PATIENCE: Duration = Duration::from_secs(1);

impl Inner {
    /// Finishes what the journal of the current installation holds; what is busy is left for the
    /// next look.
    pub(super) fn rescue_sign_ins(&self) -> Result<()> {
        let state_dir = self.installation()?.state_dir.canonical();
        let journal = self.journal(&state_dir);
        let is_sign_in = |entry: &Entry| matches!(entry.question, Question::SignIn(_));
        if !journal.entries()?.entries.iter().any(is_sign_in) {
            return Ok(());
        }
        let Some(_turn) = journal.try_turn()? else {
            return Ok(());
        };
        // Read again: whoever had the turn may have finished what was seen.
        for entry in journal.entries()?.entries {
            if let Question::SignIn(asked) = &entry.question
                && matches!(self.rescue(&state_dir, asked, &entry), Ok(true))
            {
                journal.discharge(entry)?;
            }
        }
        Ok(())
    }

    /// Whether the entry is done with: stored, superseded, or sealed.
    fn rescue(&self, state_dir: &Path, asked: &AskedSignIn, entry: &Entry) -> Result<bool> {
        let generation = entry.received.generation();
        let known = self.generations().find(generation)?;
        let outdated = known.is_some_and(|known| known.superseded_by.is_some() || known.refusal.is_some());
        let stored = !self.fleet()?.holders(generation).stores.is_empty();
        if outdated || stored {
            return Ok(true);
        }
        let tokens = TokenAnswer::from(&entry.received);
        let providers = Providers::load(&self.environment)?;
        let claims = providers
            .get(&asked.provider)
            .map(|provider| Claims::of_tokens(provider.claims(), &tokens.access, tokens.id_token.as_ref()));
        let signed_in = SignIn {
            claims: claims.unwrap_or_default(),
            received_at: entry.at,
            provider: asked.provider.clone(),
            token_url: asked.token_url.clone(),
            tokens,
        };
        let request = LoginRequest {
            provider: asked.provider.clone(),
            agent: asked.agent.clone(),
            profile_id: asked.profile_id.clone(),
            use_now: false,
        };
        let place = self.place(&request, &signed_in, PATIENCE);
        if place.as_ref().is_ok_and(|place| holds_newer(place, &signed_in)) {
            // Signed in or renewed after the crash: what is on disk stays.
            self.seal_login(state_dir, &signed_in)?;
            return Ok(true);
        }
        let error = match place.and_then(|place| self.keep_login(place, &signed_in, false)) {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        if matches!(error.code(), ErrorCode::LockBusy | ErrorCode::StoreChanged) {
            return Ok(false);
        }
        self.seal_login(state_dir, &signed_in)?;
        self.emit(
            EventKind::SignInSealed,
            About {
                installation: &state_dir.display().to_string(),
                agent: Some(&asked.agent),
                profile_id: asked.profile_id.as_ref(),
                generation: Some(generation),
                cause: Some(error.code().as_str()),
                ..About::default()
            },
            format!(
                "a sign-in that was interrupted could not be stored, a sealed copy is kept: {}",
                error.message()
            ),
        );
        Ok(true)
    }
}

/// Whether the profile that the sign-in would replace lasts longer than it: of two logins of one
/// account the later one does.
fn holds_newer(place: &Place, signed_in: &SignIn) -> bool {
    let store = place.fleet.store_of(&place.agent.agent_dir);
    let credential = store
        .and_then(|store| store.content.as_ref().ok())
        .and_then(|content| content.document.credential(&place.profile_id));
    let expires = credential.and_then(|credential| credential.as_oauth()?.expires.at());
    expires.is_some_and(|expires| expires > signed_in.expires_at())
}

#[cfg(test)]
mod tests;
