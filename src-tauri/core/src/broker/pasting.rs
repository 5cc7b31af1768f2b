//! Pasted tokens and keys in the sqlite era: checked by Kalit, stored by OpenClaw, read back.

use std::sync::Arc;

use super::accounts::note_texts;
use super::acting::{Touches, places_of};
use super::sign_in::Stored;
use super::survey::{Seen, Survey};
use super::{Inner, PasteRequest, SignedIn, blocking};
use crate::error::{Error, ErrorCode, Result};
use crate::ids::{ProfileId, ProviderId};
use crate::install::Agent;
use crate::openclaw::actions;
use crate::refresh::Fleet;
use crate::routing;
use crate::secret::Fingerprint;
use crate::store::credential::NewSecret;

impl Inner {
    pub(super) async fn paste_by_openclaw(self: Arc<Self>, request: PasteRequest) -> Result<SignedIn> {
        let inner = self.clone();
        let (agent, checked) = blocking(move || {
            let (fleet, agent) = inner.managed(&request.agent)?;
            let checked = inner.check_paste(&fleet, &agent, request)?;
            Ok((agent, checked))
        })
        .await?;
        let prepared = self.prepare(Touches::Gateway).await?;
        let (cli, id, provider) = (prepared.cli()?, &checked.profile_id, &checked.provider);
        let claimed = match &checked.secret {
            NewSecret::Token { token, .. } => {
                actions::paste_token(cli, &agent.id, provider, id, token, checked.lifetime).await
            }
            NewSecret::ApiKey { key, .. } => actions::paste_api_key(cli, &agent.id, provider, id, key).await,
            NewSecret::Oauth { .. } => Err(Error::new(ErrorCode::Internal, say!("a login cannot be pasted"))),
        };
        let (inner, place) = (self.clone(), agent.clone());
        let (wanted, generation) = (id.clone(), checked.generation);
        let append = blocking(move || {
            let fleet = inner.confirm_paste(&place, &wanted, generation, claimed)?;
            Ok(inner.plan_append(&fleet, &place, &wanted))
        })
        .await?;
        let mut notes = prepared.notes;
        if let Some((provider, order, told)) = append {
            match self.write_order(&agent, &provider, Some(&order)).await {
                Ok(more) => notes.extend(told.into_iter().chain(more)),
                // It is stored: what failed after that is told, not an error.
                Err(error) => notes.push(say!("It is not in the order yet: {why}.", why = error.message())),
            }
        }
        let stored = Stored {
            installation: prepared.installation,
            agent,
            profile_id: checked.profile_id,
            provider: checked.provider,
            generation: Some(checked.generation),
            notes,
        };
        blocking(move || self.told(stored, None, None, checked.expires, checked.replaced, false)).await
    }

    fn confirm_paste(
        &self,
        agent: &Agent,
        id: &ProfileId,
        generation: Fingerprint,
        claimed: Result<()>,
    ) -> Result<Fleet> {
        let (fleet, agent) = self.managed(&agent.id)?;
        let survey = Survey::of(&fleet, &agent, self.now());
        let holds = |seen: &Seen| {
            seen.id == *id && !seen.inherited && seen.credential.generation() == Some(generation)
        };
        if !survey.seen.iter().any(holds) {
            claimed?;
            return Err(Error::new(
                ErrorCode::OpenClawUnconfirmed,
                say!("{id} does not hold what was pasted", id),
            ));
        }
        for dir in places_of(&fleet, &agent, id) {
            let _ = self.marks.clear_gone(&dir, id);
        }
        // OpenClaw's marks of a refusal before this moment concern an older secret.
        let _ = self
            .generations()
            .record_rotation(generation, generation, self.now(), None);
        Ok(fleet)
    }

    /// An explicit order gets a new profile at its end.
    fn plan_append(
        &self,
        fleet: &Fleet,
        agent: &Agent,
        id: &ProfileId,
    ) -> Option<(ProviderId, Vec<ProfileId>, Vec<String>)> {
        let installation = fleet.current();
        let survey = Survey::of(fleet, agent, self.now());
        let provider = self
            .provider_of_profile(fleet, &survey, installation, id, &agent.id)
            .ok()?;
        let plan = survey.with_input(
            installation,
            agent,
            &provider,
            provider.as_str(),
            self.now(),
            |input| routing::plan_append(input, id),
        )?;
        Some((provider, plan.new_order, note_texts(&plan.notes)))
    }
}
