//! What shells ask of the broker and what it answers: plain data, no secret leaves in an answer.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::secret::Secret;
use crate::view::{CredentialKind, Notice, OrderSource, Reason};

crate::keeps_secret!(PasteRequest);

/// A provider one can sign in to.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProviderInfo {
    pub id: ProviderId,
    pub name: String,
    /// Two letters for the provider's mark.
    pub mark: String,
    /// `pkce`, `device`, `token` or `api-key`; `ended`: nobody signs in there any more; `none`: see
    /// `note` or `error`.
    pub flow: String,
    /// `built-in` or the manifest's path.
    pub source: String,
    /// Host of the token endpoint, if the flow has one.
    pub token_host: Option<String>,
    /// Why Kalit cannot sign in there although it knows the provider, and what to do instead.
    pub note: Option<String>,
    /// Set when the manifest cannot be used, with the reason.
    pub error: Option<Notice>,
}

/// Start a sign-in.
#[derive(Clone, Debug)]
pub struct LoginRequest {
    pub provider: ProviderId,
    pub agent: AgentId,
    /// Set to sign in again for an existing profile, or to choose the id of a new one.
    pub profile_id: Option<ProfileId>,
    /// Switch to the account once it is signed in.
    pub use_now: bool,
}

/// The result of a sign-in or of a pasted secret.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SignedIn {
    pub agent: AgentId,
    pub provider: ProviderId,
    pub profile_id: ProfileId,
    pub email: Option<String>,
    pub plan: Option<String>,
    pub expires_at: Option<Timestamp>,
    /// Fingerprint (16 hex) of the new generation.
    pub generation: Option<String>,
    /// An existing profile of the same identity was replaced.
    pub replaced: bool,
    /// Another account is first in the order: offer "use it now".
    pub offers_use: bool,
    /// The account that is used, or next, after the sign-in.
    pub effective: Option<ProfileId>,
    pub reason: Reason,
    pub notes: Vec<String>,
}

/// A secret that a person pasted.
#[derive(Debug)]
pub struct PasteRequest {
    pub agent: AgentId,
    pub provider: ProviderId,
    /// Default `<provider>:manual`.
    pub profile_id: Option<ProfileId>,
    pub kind: PasteKind,
    pub secret: Secret,
    /// Lifetime from now, for tokens.
    pub expires_in: Option<Duration>,
}

/// Which credential type a pasted secret becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasteKind {
    Token,
    ApiKey,
}

/// The result of a switch or an order change.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Activation {
    pub agent: AgentId,
    pub provider: ProviderId,
    pub effective: Option<ProfileId>,
    pub reason: Reason,
    pub order: Option<Vec<ProfileId>>,
    /// What the person should know, such as "rotation becomes a fixed order".
    pub notes: Vec<String>,
}

/// What is used once a profile no longer rests.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClearedCooldown {
    pub agent: AgentId,
    pub provider: ProviderId,
    pub profile_id: ProfileId,
    pub effective: Option<ProfileId>,
    pub reason: Reason,
}

/// What an order for all agents would change.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GlobalOrderPreview {
    pub provider: ProviderId,
    /// `auth.order` of the provider afterwards; null takes it out.
    pub ids: Option<Vec<ProfileId>>,
    /// Agents whose stored order would win over it and is therefore cleared.
    pub clears: Vec<AgentId>,
    pub gateway_running: bool,
    /// A running gateway restarts, or may, to apply it.
    pub restarts_gateway: bool,
    pub notes: Vec<String>,
}

/// Whether "Test logins" can be done now, and what it risks.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TestLoginsOffer {
    pub offered: bool,
    /// To be read before it is started.
    pub risk: String,
    pub why_not: Option<String>,
}

/// What became of the logins when OpenClaw used each once.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TestedLogins {
    pub logins: Vec<TestedLogin>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TestedLogin {
    pub agent: AgentId,
    pub profile_id: ProfileId,
    pub result: TestResult,
    /// One sentence.
    pub text: String,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum TestResult {
    /// OpenClaw holds new tokens.
    Renewed,
    /// The same tokens as before.
    Unchanged,
    /// OpenClaw could not renew it and dropped the token.
    Dropped,
}

/// The order of one provider in one agent, in OpenClaw's own words.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    pub agent_id: AgentId,
    pub agent_dir: String,
    pub provider: ProviderId,
    pub auth_state_path: String,
    /// The stored order; null when none is stored.
    pub order: Option<Vec<ProfileId>>,
    pub kalit: OrderMore,
}

/// What Kalit adds to [`OrderView`].
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OrderMore {
    pub schema: u32,
    pub source: OrderSource,
    pub candidates: Vec<ProfileId>,
    pub reason: Reason,
}

/// Which logins to renew.
#[derive(Clone, Debug, PartialEq)]
pub enum RefreshTarget {
    /// One profile, whether it is due or not.
    Profile(AgentId, ProfileId),
    /// What the schedule says is due now.
    Due,
    /// Every login that can be renewed.
    All,
}

/// What became of one renewal.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RefreshOutcome {
    pub agent: AgentId,
    pub profile_id: ProfileId,
    pub result: RefreshResult,
    /// Every store that now holds the new generation: `(agent directory, profile id)`.
    pub holders: Vec<String>,
    pub error: Option<Notice>,
    /// The exit code that the error asks for; 0 without one.
    #[serde(skip)]
    pub exit_code: u8,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshResult {
    /// Kalit sent a request and stored the answer.
    Refreshed,
    /// Another program had rotated it: its answer is used, nothing was sent.
    Adopted,
    /// Not due yet: nothing was sent.
    Fresh,
    /// The provider refused it, and a newer generation that lay elsewhere on this machine took its
    /// place.
    Healed,
    /// See `error`; the login is as it was unless the error says otherwise.
    Failed,
}

/// Which part of the history is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryRequest {
    pub agent: Option<AgentId>,
    pub profile_id: Option<ProfileId>,
    /// Words that stand in the sentence, the ids, the cause or the source, in whatever case.
    pub search: Option<String>,
    /// Only these kinds; all if there are none.
    pub kinds: Vec<EventKind>,
    pub since: Option<Timestamp>,
    /// The beginning of the fingerprint of a family.
    pub family: Option<String>,
    /// The beginning of the fingerprint of a generation.
    pub generation: Option<String>,
    /// How many events at most.
    pub limit: u32,
}

/// A file with events that was written.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryExport {
    pub schema: u32,
    pub path: String,
    /// How many events it holds.
    pub count: usize,
}

/// What happened to the accounts of the current installation.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HistoryView {
    pub schema: u32,
    /// Newest first.
    pub events: Vec<Event>,
    /// There are older ones.
    pub has_more: bool,
    /// Where an earlier history lies that could not be read.
    pub set_aside: Option<String>,
}

/// What removing an account would do, before a person consents.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemovalPreview {
    pub agent: AgentId,
    pub profile_id: ProfileId,
    /// The provider's name, for people.
    pub provider: String,
    /// Whether the login can be ended at the provider as well.
    pub can_sign_out: bool,
    /// It has ended there: nothing needs to be sent.
    pub has_ended: bool,
    /// Why it cannot be ended: a clause.
    pub why_not: Option<String>,
    /// Agents and programs on this machine that use the same login: it would end for them, too.
    pub also_used_by: Vec<String>,
}

/// How a login ended at its provider.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum SignedOut {
    /// The provider ended it as asked.
    Ended,
    /// It had ended before.
    EndedBefore,
}

/// The result of removing an account from a store.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    pub agent: AgentId,
    pub profile_id: ProfileId,
    /// Null when the provider was not told.
    pub signed_out: Option<SignedOut>,
    /// Other places on this machine that still hold the same login.
    pub also_in: Vec<String>,
    pub notes: Vec<String>,
}

/// What putting back a login that OpenClaw dropped would do, before a person consents.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestorePreview {
    pub agent: AgentId,
    pub profile_id: ProfileId,
    pub provider: ProviderId,
    /// When Kalit sealed the generation.
    pub sealed_at: Timestamp,
    /// When OpenClaw wrote its store last: not before it dropped the login.
    pub dropped_at: Option<Timestamp>,
    /// The databases that would be changed, in this order.
    pub stores: Vec<String>,
    /// What is known of the failed renewal, one sentence each.
    pub known: Vec<String>,
    /// What may go wrong.
    pub warning: String,
}

/// A login that was put back.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    pub agent: AgentId,
    pub profile_id: ProfileId,
    /// The databases that hold it now.
    pub stores: Vec<String>,
    /// An earlier restore had been interrupted and was finished.
    pub resumed: bool,
    pub notes: Vec<String>,
}

/// A sealed copy of the stores, as far as it is known without the key.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    pub id: String,
    pub at: Option<Timestamp>,
    /// What had changed, such as `refreshed` or `changed-outside`; `None` where the index is lost.
    pub reason: Option<String>,
    /// The agents whose profiles it holds.
    pub agents: Vec<AgentId>,
    pub profiles: usize,
    /// How many of its secrets no store holds now, without those that are spent or refused.
    pub missing: usize,
}

/// What is to be put back of a snapshot: everything, unless an agent or a profile is named.
#[derive(Clone, Debug)]
pub struct SnapshotChoice {
    /// The snapshot's id.
    pub id: String,
    pub agent: Option<AgentId>,
    pub profile_id: Option<ProfileId>,
}

/// What a snapshot holds and what putting it back would do now.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPreview {
    pub id: String,
    pub at: Timestamp,
    pub reason: String,
    pub stores: Vec<SnapshotStore>,
    /// Whether there is something to put back.
    pub offered: bool,
    /// What the person should know before, one sentence each.
    pub notes: Vec<String>,
}

/// One agent's store in a snapshot.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStore {
    pub agent: AgentId,
    /// The file that would be written.
    pub path: String,
    /// Why the store cannot be read now: then its file is replaced.
    pub problem: Option<Notice>,
    pub profiles: Vec<SnapshotProfile>,
    /// The providers whose order comes back with the profiles.
    pub orders: Vec<ProviderId>,
}

/// One profile in a snapshot.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotProfile {
    pub profile_id: ProfileId,
    pub provider: Option<ProviderId>,
    pub kind: CredentialKind,
    /// Fingerprint (16 hex) of the secret in the snapshot.
    pub generation: Option<String>,
    pub expires_at: Option<Timestamp>,
    pub verdict: PutBackVerdict,
    /// What else there is to say of it; empty when the verdict says it all.
    pub text: String,
}

/// What becomes of a profile when its snapshot is put back.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PutBackVerdict {
    PutBack,
    /// The login in the snapshot is spent; the newest one of its family is put back instead.
    NewestInstead,
    /// What stands there now stays.
    Kept,
    Refused,
}

/// What was put back of a snapshot.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRestored {
    pub id: String,
    pub restored: Vec<SnapshotRestoredProfile>,
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRestoredProfile {
    pub agent: AgentId,
    pub profile_id: ProfileId,
}

/// What making main the one owner of a login would do.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OneOwnerPreview {
    pub profile_id: ProfileId,
    pub owner: AgentId,
    /// The file that keeps the login.
    pub path: String,
    /// The oldest known release of OpenClaw in use.
    pub release: Option<String>,
    pub copies: Vec<OneOwnerCopy>,
    pub notes: Vec<String>,
}

/// An agent's copy of main's login.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OneOwnerCopy {
    pub agent: AgentId,
    /// The file that it is taken out of.
    pub path: String,
    /// What the agent uses of this provider with the copy.
    pub uses_now: Option<ProfileId>,
    /// ... and without it.
    pub uses_then: Option<ProfileId>,
    /// Whether OpenClaw itself has the account for the agent without the copy; `None` where it was not
    /// asked or gave no answer.
    pub resolves: Option<bool>,
}

/// Main is the one owner of a login.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OneOwner {
    pub profile_id: ProfileId,
    pub owner: AgentId,
    /// Each with what it uses of this provider now.
    pub copies: Vec<OneOwnerCopy>,
    /// The snapshot that `kalit snapshots restore` puts back.
    pub snapshot: Option<String>,
    pub notes: Vec<String>,
}

/// One legacy credential and what an import would do with it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ImportItem {
    pub source: String,
    pub provider: ProviderId,
    pub profile_id: ProfileId,
    pub kind: String,
    pub expires_at: Option<Timestamp>,
    /// `importable`, `already-present` or `stale`.
    pub verdict: String,
    pub text: String,
}

/// What `doctor` tells: facts with their evidence, no secret.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    pub schema: u32,
    pub at: Timestamp,
    pub state_dir: String,
    pub era: String,
    /// Each source of a version and what it said.
    pub evidence: Vec<String>,
    pub rules: Vec<String>,
    pub locks: Vec<crate::view::LockView>,
    pub snapshots: Vec<String>,
    pub journal: Vec<String>,
    pub leftovers: Vec<String>,
    pub key: String,
    /// What an upgrade from JSON to SQLite left in OpenClaw's way.
    pub migration: Option<MigrationView>,
    pub notices: Vec<Notice>,
}

/// A move from JSON to SQLite that `openclaw doctor --fix` has to finish.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MigrationView {
    /// OpenClaw refuses to work until it is finished (2026.8 and later); 2026.6.5 to 2026.7 go on
    /// without what the files hold.
    pub blocks: bool,
    /// Each file with what it holds.
    pub files: Vec<String>,
    /// Whether every login of the installation is in a sealed copy of Kalit's.
    pub sealed: bool,
    /// What to mind before the command is run.
    pub warnings: Vec<String>,
    /// What to run.
    pub command: String,
}
