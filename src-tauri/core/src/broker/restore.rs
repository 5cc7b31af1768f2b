//! A login that OpenClaw dropped, put back: the failed fence in OpenClaw's databases replaced by
//! the sealed copy whose digests it shows. Only after a person's consent, at most once for each
//! generation, never while anything about it is unproven. A fence cannot tell whether the provider
//! had already renewed the login, so what is known is told first.
//!
//! Two databases cannot be changed at once: the agents' own copies come first, the store that all
//! share last, and OpenClaw refuses to renew (without dropping anything) until all are done. A
//! restore that broke off in between is finished by the next one or by the next engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{About, Broker, Inner, RestorePreview, Restored, blocking};
use crate::clock::{self, TimeZone, Timestamp};
use crate::error::{Error, ErrorCode, Result};
use crate::event::EventKind;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::install::{Agent, Era, Installation};
use crate::language;
use crate::openclaw::cli::Cli;
use crate::openclaw::renewal_log;
use crate::refresh::{Fleet, FleetStore};
use crate::store::json;
use crate::store::lock::inspect_refresh_lock;
use crate::store::sqlite::restore::{AccountsCell, Change, Place};
use crate::store::{Credential, FenceKind};
use crate::vault::logins::OpenLogin;
use crate::vault::{
    Backups, GenerationDigest, SealKey, Sealer, UnfinishedRestore, installation_dir, keychain,
};
use crate::view::RestoreView;

/// A failed renewal is logged at most this long after the fence was written.
const LOGGED_WITHIN_MS: i64 = 120_000;
/// What is told before anything is put back.
const WARNING: &str = template!(
    "If the provider had already renewed this login and only its answer was lost, it takes the next renewal for misuse and ends the login for good: then sign in again."
);

/// What a restore would do, as read from disk. Holds no secret.
#[derive(Clone, Debug)]
struct Plan {
    agent: AgentId,
    profile_id: ProfileId,
    provider: ProviderId,
    digest: GenerationDigest,
    /// Of the fence that is replaced.
    claim: String,
    /// The databases with a failed fence: agents' own first, the inherited store last.
    fenced: Vec<Place>,
    /// Those that an interrupted restore has dealt with.
    done: Vec<Place>,
    sealed_at: Timestamp,
    dropped_at: Option<Timestamp>,
    /// An interrupted restore is to be finished.
    resumes: bool,
}

impl Broker {
    /// What putting a dropped login back would do, and what is known of how it was dropped.
    /// Changes nothing, and sends nothing of the account.
    ///
    /// # Errors
    /// Why it is not put back: `restore.not_needed`, `restore.unproven`, `restore.spent`,
    /// `restore.pending`, `store.schema_unsupported`, `era.mixed`, those of the token host that
    /// does not answer (`network.*`, `provider.out_of_order`); `agent.unknown`, `profile.unknown`,
    /// and those of reading a store.
    pub async fn restore_preview(&self, agent: &AgentId, profile: &ProfileId) -> Result<RestorePreview> {
        let plan = self.restore_plan(agent, profile).await?;
        self.inner.ask_token_host(&plan.provider).await?;
        let inner = self.inner.clone();
        blocking(move || Ok(inner.preview(plan))).await
    }

    /// Puts a dropped login back, or finishes doing so. To be called when a person has read the
    /// preview and consents.
    ///
    /// # Errors
    /// Those of [`Broker::restore_preview`]; `keychain.unavailable` and `vault.unreadable` without
    /// the key of the sealed copies; `store.changed` and `store.busy` when OpenClaw wrote at the
    /// same moment; `store.unconfirmed` when OpenClaw does not see the login afterwards.
    pub async fn restore(&self, agent: &AgentId, profile: &ProfileId) -> Result<Restored> {
        let plan = self.restore_plan(agent, profile).await?;
        self.inner.ask_token_host(&plan.provider).await?;
        let key = keychain::read_key(&self.inner.environment.data_dir()).await?;
        let (inner, agent, profile) = (self.inner.clone(), agent.clone(), profile.clone());
        let (installation, mut done) = blocking(move || inner.put_back(&agent, &profile, &key)).await?;
        if done.notes.is_empty() {
            match read_back(&installation, &done).await {
                Err(error) if error.code() == ErrorCode::StoreUnconfirmed => {
                    let (inner, agent, profile) =
                        (self.inner.clone(), done.agent.clone(), done.profile_id.clone());
                    if !blocking(move || inner.is_being_renewed(&agent, &profile)).await? {
                        return Err(error);
                    }
                    done.notes.push(say!("OpenClaw is renewing it already."));
                }
                notes => done.notes.extend(notes?),
            }
        }
        Ok(done)
    }

    /// Finishes a restore that broke off, as far as that is possible without a person. Until then
    /// OpenClaw refuses to renew the login and nothing is lost.
    pub(super) async fn finish_restore(&self) {
        let inner = self.inner.clone();
        let unfinished = blocking(move || Ok(UnfinishedRestore::load_all(&inner.own_dir()?))).await;
        for unfinished in unfinished.unwrap_or_default() {
            self.finish(unfinished).await;
        }
    }

    async fn finish(&self, unfinished: UnfinishedRestore) {
        let (agent, profile) = (&unfinished.agent, &unfinished.profile_id);
        let Ok(plan) = self.restore_plan(agent, profile).await else {
            let inner = self.inner.clone();
            let _ = blocking(move || inner.drop_if_replaced(&unfinished)).await;
            return;
        };
        if plan.digest != unfinished.digest || self.inner.ask_token_host(&plan.provider).await.is_err() {
            return;
        }
        let (inner, agent, profile) = (self.inner.clone(), agent.clone(), profile.clone());
        let _ = blocking(move || {
            // The keychain is asked only when a person wants something.
            match SealKey::from_file(&inner.environment.data_dir())? {
                Some(key) => inner.put_back(&agent, &profile, &key).map(|_| ()),
                None => Ok(()),
            }
        })
        .await;
    }

    async fn restore_plan(&self, agent: &AgentId, profile: &ProfileId) -> Result<Plan> {
        let (inner, agent, profile) = (self.inner.clone(), agent.clone(), profile.clone());
        blocking(move || {
            let fleet = inner.fleet()?;
            inner.plan_restore(&fleet, &agent, &profile)
        })
        .await
    }
}

impl Inner {
    /// Whether a login that OpenClaw dropped can be put back, from what is on disk.
    pub(super) fn restore_view(&self, fleet: &Fleet, agent: &Agent, id: &ProfileId) -> RestoreView {
        match self.plan_restore(fleet, &agent.id, id) {
            Ok(plan) => RestoreView {
                offered: true,
                text: if plan.resumes {
                    say!("Putting it back was interrupted: Restore finishes it.")
                } else {
                    say!("Kalit holds a copy of the dropped login: Restore puts it back.")
                },
                sealed_at: Some(plan.sealed_at),
                snapshot: None,
            },
            Err(error) => RestoreView {
                offered: false,
                text: say!("It cannot be put back: {why}.", why = error.message()),
                sealed_at: None,
                snapshot: None,
            },
        }
    }

    /// Forgets an interrupted restore when nothing is left to be put back: no store of the
    /// installation has the fence any more. Somebody signed in anew, or it was as good as finished.
    fn drop_if_replaced(&self, unfinished: &UnfinishedRestore) -> Result<()> {
        let fleet = self.fleet()?;
        if !matches!(fleet.current().era, Era::Sqlite { .. }) {
            return Ok(());
        }
        for store in fleet.own() {
            let credential = readable(store)?.document.credential(&unfinished.profile_id);
            let fence = credential.as_ref().and_then(Credential::fence);
            if fence.is_some_and(|fence| fence.refresh == unfinished.digest.refresh) {
                return Ok(());
            }
        }
        unfinished.remove(&self.own_dir_of(fleet.current()))
    }

    fn plan_restore(&self, fleet: &Fleet, agent: &AgentId, id: &ProfileId) -> Result<Plan> {
        let installation = fleet.current();
        let agent = installation.agent(agent)?;
        match &installation.era {
            Era::Sqlite { .. } => {}
            Era::Mixed { .. } => return Err(installation.mixed()),
            Era::Json | Era::Empty => return Err(not_needed(&say!("this OpenClaw drops no logins"))),
        }
        let store = holding(fleet, agent, id)?;
        let content = readable(store)?;
        let unfinished = UnfinishedRestore::load_all(&self.own_dir_of(installation));
        let credential = content.document.credential(id);
        let Some(common) = credential.as_ref().and_then(Credential::common) else {
            return Err(not_needed(&say!("{id} is no login that OpenClaw dropped", id)));
        };
        let begun = |digest: &GenerationDigest| {
            let mut begun = unfinished.iter();
            begun.find(|begun| begun.profile_id == *id && begun.digest == *digest)
        };
        let (digest, claim, resumes) = match credential.as_ref().and_then(Credential::fence) {
            Some(fence) if fence.kind == FenceKind::Failed => {
                let digest = GenerationDigest::of_fence(fence);
                // A fence with another claim is of a later attempt.
                let resumes = begun(&digest).is_some_and(|begun| begun.claim == fence.claim);
                (digest, fence.claim.clone(), resumes)
            }
            Some(_) => return Err(pending(id)),
            None => {
                let held = credential
                    .as_ref()
                    .and_then(|credential| GenerationDigest::of(id, credential));
                let begun = held.as_ref().and_then(begun);
                let begun = begun.ok_or_else(|| not_needed(&say!("{id} was not dropped by OpenClaw", id)))?;
                (begun.digest, begun.claim.clone(), true)
            }
        };
        if !resumes && self.marks.restored(digest.refresh)?.is_some() {
            return Err(spent());
        }
        let sealed_at = {
            let sealed = self.sealed_logins(fleet)?;
            match sealed.logins.find(&digest) {
                Some(entry) => entry.at,
                None if sealed.logins.knows_refresh(digest.refresh) => {
                    return Err(unproven(&say!(
                        "the copy that Kalit holds has another access token"
                    )));
                }
                None => return Err(unproven(&say!("Kalit holds no copy of it"))),
            }
        };
        let mut plan = Plan {
            agent: agent.id.clone(),
            profile_id: id.clone(),
            provider: common.provider.clone(),
            digest,
            claim,
            fenced: Vec::new(),
            done: Vec::new(),
            sealed_at,
            dropped_at: content.written_at,
            resumes,
        };
        let inherited = fleet.inherited(installation);
        let mut last = Vec::new();
        for store in fleet.own() {
            let Some(found) = self.look_for(fleet, store, &plan)? else {
                continue;
            };
            let shares = inherited.is_some_and(|inherited| inherited.agent_dir == store.agent_dir);
            match found {
                Found::Fenced(place) if shares => last.push(place),
                Found::Fenced(place) => plan.fenced.push(place),
                Found::Held(place) => plan.done.push(place),
            }
        }
        plan.fenced.append(&mut last);
        let lock = inspect_refresh_lock(&installation.state_dir.path, &common.provider_text, id);
        if lock.is_some_and(|lock| lock.alive) {
            return Err(pending(id));
        }
        Ok(plan)
    }

    /// What one store has of the generation.
    fn look_for(&self, fleet: &Fleet, store: &FleetStore, plan: &Plan) -> Result<Option<Found>> {
        let content = readable(store)?;
        let Some(credential) = content.document.credential(&plan.profile_id) else {
            return Ok(None);
        };
        let place = if fleet.is_shared_database(store) {
            Place::Shared(store.state_dir.clone())
        } else {
            Place::Agent(store.agent_dir.clone())
        };
        let Some(fence) = credential.fence() else {
            let held = GenerationDigest::of(&plan.profile_id, &credential);
            return Ok((held == Some(plan.digest)).then_some(Found::Held(place)));
        };
        if fence.refresh != plan.digest.refresh {
            return Ok(None);
        }
        if fence.kind == FenceKind::Pending {
            return Err(pending(&plan.profile_id));
        }
        if plan.resumes && fence.claim != plan.claim {
            return Err(spent());
        }
        if fence.access != plan.digest.access {
            return Err(unproven(&say!(
                "two agents have dropped it with different access tokens"
            )));
        }
        if !store.schema.is_some_and(|schema| place.knows(schema)) {
            let what = say!(
                "the schema of {database} is none that Kalit writes",
                database = place.database().display()
            );
            return Err(Error::new(ErrorCode::StoreSchemaUnsupported, what));
        }
        Ok(Some(Found::Fenced(place)))
    }

    fn preview(&self, plan: Plan) -> RestorePreview {
        let (now, time_zone) = (self.now(), TimeZone::system());
        let clock = |at| clock::moment(at, now, &time_zone);
        let mut known = Vec::new();
        if let Some(at) = plan.dropped_at {
            known.push(say!("OpenClaw wrote the store last at {at}.", at = clock(at)));
        }
        // The store may have been written for another account after that.
        let until = plan.dropped_at.unwrap_or(now).plus_millis(LOGGED_WITHIN_MS);
        let since = plan.sealed_at;
        match renewal_log::last_failure(&self.environment, &plan.profile_id, since, until) {
            Some((at, why)) => {
                known.push(say!("At {at}: {what}", at = clock(at), what = why.sentence()));
                known.push(say!("OpenClaw keeps one log for all its installations."));
            }
            None => known.push(say!("OpenClaw's log does not say why the renewal failed.")),
        }
        known.push(say!("The provider's token host answers now."));
        if plan.resumes {
            known.push(say!("Putting it back had begun and was interrupted."));
        }
        RestorePreview {
            agent: plan.agent,
            profile_id: plan.profile_id,
            provider: plan.provider,
            sealed_at: plan.sealed_at,
            dropped_at: plan.dropped_at,
            stores: paths(&plan.fenced),
            known,
            warning: language::fixed(WARNING),
        }
    }

    /// Whether OpenClaw could renew the login now: one that is put back without a network is
    /// dropped again at the next use.
    async fn ask_token_host(&self, provider: &ProviderId) -> Result<()> {
        let unknown = self.online(&BTreeSet::from([provider.clone()])).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        Err(unproven(&say!(
            "Kalit does not know where {provider} renews its logins, so nobody can tell whether that works now",
            provider
        )))
    }

    /// The writes: everything is read again, under a lock among Kalit's own processes.
    fn put_back(&self, agent: &AgentId, id: &ProfileId, key: &SealKey) -> Result<(Installation, Restored)> {
        let data_dir = self.environment.data_dir();
        let own = self.own_dir()?;
        let backups = Backups::open(&own);
        let _turn = backups.take_turn()?;
        let fleet = self.fleet()?;
        let plan = self.plan_restore(&fleet, agent, id)?;
        let login = self.sealed_logins(&fleet)?.logins.open_login(&plan.digest, key)?;
        self.refuse_dead(&login)?;
        // What is put back is renewed soon, perhaps at once by a gateway.
        self.ensure_sealed(&fleet)?;
        let changes = plan
            .fenced
            .iter()
            .map(|place| prepared(place, &plan, &login))
            .collect::<Result<Vec<Change>>>()?;

        let (sealer, at) = (Sealer::open(&data_dir)?, self.now());
        for (place, number) in plan.fenced.iter().zip(1..) {
            backups.add(&sealer, at, &format!("{number}"), &place.image()?)?;
        }
        backups.drop_old()?;
        let unfinished = UnfinishedRestore {
            agent: agent.clone(),
            profile_id: id.clone(),
            digest: plan.digest,
            claim: plan.claim.clone(),
            at,
        };
        unfinished.store(&own)?;
        self.marks.record_restored(plan.digest.refresh, at)?;
        for (position, change) in changes.iter().enumerate() {
            if let Err(error) = change.carry_out(self.now()) {
                if position == 0 && !plan.resumes {
                    // Nothing was written.
                    self.marks.forget_restored(plan.digest.refresh)?;
                    unfinished.remove(&own)?;
                }
                return Err(error);
            }
        }
        let mut notes = Vec::new();
        for place in &plan.fenced {
            let cell = AccountsCell::read(place)?;
            if cell.holds(id, &login.credential) {
                continue;
            }
            if has_fence_of(&cell, &plan) {
                let what = say!(
                    "{path} does not hold what was written",
                    path = place.database().display()
                );
                return Err(Error::new(ErrorCode::StoreUnconfirmed, what));
            }
            // A gateway may have seen it at once.
            notes = vec![say!("OpenClaw renews it already.")];
        }
        unfinished.remove(&own)?;
        let installation = fleet.current().clone();
        self.emit(
            EventKind::Restored,
            About {
                installation: &installation.state_dir.canonical().display().to_string(),
                agent: Some(agent),
                profile_id: Some(id),
                cause: Some("restore"),
                ..About::default()
            },
            format!(
                "{}: the login that OpenClaw had dropped was put back",
                id.account_name()
            ),
        );
        let done = Restored {
            agent: agent.clone(),
            profile_id: id.clone(),
            stores: paths(plan.fenced.iter().chain(&plan.done)),
            resumed: plan.resumes,
            notes,
        };
        Ok((installation, done))
    }

    /// Whether a gateway has begun to renew what was put back.
    fn is_being_renewed(&self, agent: &AgentId, id: &ProfileId) -> Result<bool> {
        let fleet = self.fleet()?;
        let agent = fleet.current().agent(agent)?;
        let credential = readable(holding(&fleet, agent, id)?)?.document.credential(id);
        let fence = credential.as_ref().and_then(Credential::fence);
        Ok(fence.is_some_and(|fence| fence.kind == FenceKind::Pending))
    }

    /// A generation that is known to be spent or refused is not sent a second time.
    fn refuse_dead(&self, login: &OpenLogin) -> Result<()> {
        let credential = Credential::read(&json::parse(login.credential.as_bytes())?);
        let known = match credential.generation() {
            Some(generation) => self.generations().find(generation)?,
            None => None,
        };
        let dead = known.is_some_and(|known| known.superseded_by.is_some() || known.refusal.is_some());
        if dead {
            let what = say!("the provider has renewed or refused this very login before");
            return Err(Error::new(ErrorCode::RestoreSpent, what));
        }
        Ok(())
    }

    /// Kalit's directory for the current installation.
    fn own_dir(&self) -> Result<PathBuf> {
        Ok(self.own_dir_of(&self.installation()?))
    }

    fn own_dir_of(&self, installation: &Installation) -> PathBuf {
        installation_dir(&self.environment.data_dir(), &installation.state_dir.canonical())
    }
}

/// What a store has of the generation that is put back.
enum Found {
    /// Its failed fence.
    Fenced(Place),
    /// The generation itself.
    Held(Place),
}

/// The accounts of one database with the login put back, if it still has the very fence.
fn prepared(place: &Place, plan: &Plan, login: &OpenLogin) -> Result<Change> {
    let cell = AccountsCell::read(place)?;
    if !has_fence_of(&cell, plan) {
        let what = say!(
            "{path} changed in the meantime",
            path = place.database().display()
        );
        return Err(Error::new(ErrorCode::StoreChanged, what));
    }
    cell.with_login(&plan.profile_id, &login.credential)
}

/// Whether the failed fence of the generation stands there.
fn has_fence_of(cell: &AccountsCell, plan: &Plan) -> bool {
    let credential = cell.credential(&plan.profile_id);
    let fence = credential.as_ref().and_then(Credential::fence);
    fence.is_some_and(|fence| {
        fence.kind == FenceKind::Failed && GenerationDigest::of_fence(fence) == plan.digest
    })
}

/// What OpenClaw itself says of the login: it must see it, with the date that was put back. Asking
/// renews nothing (`models status --json`, 2026.9.6, observed).
async fn read_back(installation: &Installation, done: &Restored) -> Result<Vec<String>> {
    let cli = match Cli::of(installation) {
        Ok(cli) => cli,
        Err(_) => {
            return Ok(vec![say!(
                "OpenClaw was not found here: read back from its database only."
            )]);
        }
    };
    let status = ["models", "status", "--json", "--agent", done.agent.as_str()];
    let answer = match cli.json(&status, None).await {
        Ok(answer) => answer,
        Err(error) => {
            return Ok(vec![say!(
                "OpenClaw could not be asked ({why}): read back from its database only.",
                why = error.message()
            )]);
        }
    };
    if sees(&answer, &done.profile_id) {
        return Ok(Vec::new());
    }
    let what = say!(
        "OpenClaw does not see {id} as it was put back",
        id = done.profile_id
    );
    Err(Error::new(ErrorCode::StoreUnconfirmed, what))
}

/// A fenced login has no `expiresAt` there.
fn sees(answer: &Value, id: &ProfileId) -> bool {
    let profiles = answer["auth"]["oauth"]["profiles"].as_array();
    profiles.into_iter().flatten().any(|profile| {
        profile["profileId"] == id.as_str()
            && profile["status"] != "missing"
            && profile.get("expiresAt").is_some()
    })
}

/// The store from which an agent has a profile.
fn holding<'f>(fleet: &'f Fleet, agent: &Agent, id: &ProfileId) -> Result<&'f FleetStore> {
    let stores = [fleet.store_of(&agent.agent_dir), fleet.inherited(fleet.current())];
    for store in stores.into_iter().flatten() {
        if readable(store)?.document.contains(id) {
            return Ok(store);
        }
    }
    let what = say!("agent {agent} has no profile {id}", agent = agent.id, id);
    Err(Error::new(ErrorCode::ProfileUnknown, what))
}

/// A store that cannot be read may hold a copy of the login.
fn readable(store: &FleetStore) -> Result<&crate::store::StoreContent> {
    let content = store.content.as_ref();
    content.map_err(|error| Error::new(error.code(), error.message()).with_hint(error.hint()))
}

fn paths<'p>(places: impl IntoIterator<Item = &'p Place>) -> Vec<String> {
    let places = places.into_iter();
    places.map(|place| text(&place.database())).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn not_needed(what: &str) -> Error {
    Error::new(ErrorCode::RestoreNotNeeded, what)
}

fn unproven(what: &str) -> Error {
    Error::new(ErrorCode::RestoreUnproven, what)
}

fn spent() -> Error {
    Error::new(
        ErrorCode::RestoreSpent,
        say!("it was put back once and refused again"),
    )
}

fn pending(id: &ProfileId) -> Error {
    Error::new(
        ErrorCode::RestorePending,
        say!("OpenClaw has begun to renew {id} and has not ended it", id),
    )
}

#[cfg(all(test, unix))]
mod tests;
