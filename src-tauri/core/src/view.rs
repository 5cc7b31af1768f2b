//! What may leave core: the one snapshot that tray, window and CLI render. No type here can hold
//! a secret. Times are epoch milliseconds. Within a schema fields are only added.

pub mod radar;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::error::ErrorCode;
use crate::ids::{AgentId, ProfileId, ProviderId};

/// The version of the JSON shape under `kalit`.
pub const SCHEMA: u32 = 1;

/// Everything there is to show about one installation at one moment.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub schema: u32,
    pub at: Timestamp,
    pub installation: InstallationView,
    pub agents: Vec<AgentView>,
    /// Worst state over everything: decides the tray icon and the verdict.
    pub worst: Worst,
    /// Accounts that need the person now (signed out, refused, not renewed, unreadable store).
    pub needs_you: usize,
    /// Whether renewal is switched off ("watch only", or paused from the tray).
    pub paused: bool,
    /// Whether a Kalit runs that renews: the tray or `kalit watch`.
    pub attended: bool,
    /// Whether names of accounts may be seen in tray, window and notifications.
    pub show_names: bool,
    /// No notification about trouble before this time.
    pub muted_until: Option<Timestamp>,
    /// Since when renewals fail because no provider can be reached, in whichever of Kalit's processes.
    pub offline_since: Option<Timestamp>,
    /// Things to say once about the whole installation, worst first.
    pub notices: Vec<Notice>,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct InstallationView {
    pub state_dir: String,
    pub era: EraView,
    /// Newest release known to use this state directory.
    pub openclaw_version: Option<String>,
    /// Whether an `openclaw` program was found.
    pub openclaw_found: bool,
    /// All state directories found on this machine, the current one first.
    pub state_dirs: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum EraView {
    Json,
    Sqlite,
    /// Both kinds of store lie in the installation: nothing is written.
    Mixed,
    /// No OpenClaw and no store found.
    None,
}

/// A sentence about the whole installation with its stable code.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    pub code: String,
    pub message: String,
    pub hint: String,
}

impl Notice {
    /// With the hint that belongs to the code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message: message.into(),
            hint: code.hint(),
        }
    }
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    pub id: AgentId,
    pub name: Option<String>,
    pub is_default: bool,
    /// `<agentDir>`, the directory of the store.
    pub agent_dir: String,
    pub store_path: String,
    /// Where the order is kept: auth-state.json, auth-profiles.json or the agent's database.
    pub auth_state_path: String,
    /// Set when the store exists but cannot be used; the accounts are then unknown, not absent.
    pub store_error: Option<Notice>,
    /// Since when an engine knows that the store cannot be used.
    pub unreadable_since: Option<Timestamp>,
    /// Set when the store cannot be read and its accounts can be put back.
    pub restore: Option<RestoreView>,
    /// Providers of the models that the agent is set to use, without any account.
    pub missing_providers: Vec<ProviderId>,
    pub providers: Vec<ProviderView>,
    /// Sessions with a pinned profile.
    pub pins: Vec<PinView>,
    /// Who holds the store lock right now.
    pub lock: Option<LockView>,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProviderView {
    pub id: ProviderId,
    /// For people: "ChatGPT", "Anthropic", else the id.
    pub name: String,
    /// Two letters for the provider's mark.
    pub mark: String,
    /// The explicit order in force, if any.
    pub order: Option<Vec<ProfileId>>,
    pub order_source: OrderSource,
    /// The first candidate: with an order "the" account, without one merely "next".
    pub effective: Option<ProfileId>,
    pub reason: Reason,
    /// The candidates OpenClaw would try, first to last.
    pub candidates: Vec<ProfileId>,
    /// Candidates first, in that order; then the accounts that are passed over.
    pub accounts: Vec<AccountView>,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OrderSource {
    /// The order stored for this agent (`models auth order set`).
    Stored,
    /// `auth.order` of openclaw.json.
    Config,
    /// No explicit order: candidates rotate.
    Rotation,
}

/// Why this account is used, for programs (`code`) and for people (`text`).
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// `stored-order`, `config-order`, `rotating`, `only-one`, `cooldown`, `none-usable`.
    pub code: String,
    pub text: String,
    /// When nothing of the provider is usable: the next model of `agents.defaults.model.fallbacks`.
    pub fallback_model: Option<String>,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccountView {
    pub profile_id: ProfileId,
    pub provider: ProviderId,
    /// The profile id's part after the colon.
    pub name: String,
    pub kind: CredentialKind,
    pub email: Option<String>,
    pub plan: Option<String>,
    pub account_id: Option<String>,
    pub display_name: Option<String>,
    /// OpenClaw's own word for the credential.
    pub status: AuthStatus,
    /// What to show: one state, worst first.
    pub state: AccountState,
    /// One sentence with cause and remedy; empty for a healthy account.
    pub sentence: String,
    pub expires_at: Option<Timestamp>,
    pub remaining_ms: Option<i64>,
    /// Lifetime from issue to expiry, for the expiry meter.
    pub lifetime_ms: Option<i64>,
    /// When Kalit renews it.
    pub due_at: Option<Timestamp>,
    /// Who renews it instead of Kalit, and when, in one sentence. Set in the sqlite era for logins
    /// that end; "renew now" is not offered then.
    pub renewal: Option<String>,
    /// Fingerprint (16 hex) of the secret on disk.
    pub generation: Option<String>,
    /// Fingerprint (16 hex) of the chain of generations, when known.
    pub family: Option<String>,
    /// First candidate of its provider.
    pub effective: bool,
    /// An explicit order is in force and names it first.
    pub in_use: bool,
    /// The credential lies in main's store; this agent only reads it.
    pub inherited: bool,
    /// Why it is not a candidate.
    pub passed_over: Option<String>,
    pub cooldown: Option<CooldownView>,
    /// Other programs or installations that hold the same generation.
    pub shared_with: Vec<String>,
    /// Other agents of this installation that hold the same generation.
    pub copies_in: Vec<AgentId>,
    pub lost: Option<LostView>,
    /// Set for a login that OpenClaw dropped (a failed fence), and for one that vanished if it can be
    /// put back.
    pub restore: Option<RestoreView>,
    /// Who is refreshing it right now.
    pub refreshing: Option<LockView>,
    /// The last attempt's failure that was not a loss.
    pub last_error: Option<Notice>,
    /// Not lost, but this process could not renew it twice in a row, or may not try again for an hour.
    pub renewal_fails: bool,
    pub last_used: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    Oauth,
    Token,
    ApiKey,
    /// A type this version of Kalit does not know: kept as it is.
    Unknown,
}

/// OpenClaw's status words of `models status --json`.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AuthStatus {
    Ok,
    Expiring,
    Expired,
    Missing,
    Static,
}

/// The one state of an account that is shown; later ones are worse.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "kebab-case")]
pub enum AccountState {
    Healthy,
    /// Static token or key.
    Static,
    Renewing,
    /// Expired, renews on use or when Kalit next may.
    Expired,
    CoolingDown,
    Disabled,
    /// Kept by OpenClaw's encrypted side file or an unknown type.
    NeedsDoctor,
    /// No usable secret in the entry.
    Missing,
    /// A renewal was sent and its answer never came.
    Unknown,
    Shared,
    /// Expired for 30 minutes, in use, renewed by nobody.
    NotRenewed,
    /// Vanished from the store without Kalit's doing.
    Vanished,
    /// The provider has refused several times without a recognised code.
    Suspected,
    /// OpenClaw's marks say its refresh was refused.
    Refused,
    /// OpenClaw could not renew it and dropped the token from its store.
    Dropped,
    SignedOut,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Worst {
    Healthy,
    Paused,
    Notice,
    SignedOut,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CooldownView {
    pub until: Timestamp,
    /// OpenClaw's reason word, such as `rate_limit`.
    pub reason: Option<String>,
    /// Disabled (billing, permanent auth) rather than cooling down.
    pub disabled: bool,
}

/// Why an account is lost or suspected to be.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LostView {
    pub signal: LostSignal,
    /// The provider's code or OpenClaw's mark, such as `refresh_token_reused`.
    pub cause: String,
    /// Cause in plain words, one sentence.
    pub text: String,
    pub at: Timestamp,
    /// Fingerprint (16 hex) of the generation that was lost; with `dropped` the first 16 digits of
    /// OpenClaw's own digest of it.
    pub generation: Option<String>,
}

/// Whether what is lost can be put back: a login that OpenClaw dropped, a profile that vanished, the
/// accounts of a store that cannot be read.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreView {
    /// Kalit holds exactly what was lost and may put it back.
    pub offered: bool,
    /// One sentence: what putting back does, or why it is not offered.
    pub text: String,
    /// When Kalit sealed what is offered.
    pub sealed_at: Option<Timestamp>,
    /// The snapshot that holds it; `None` for a login that OpenClaw dropped, which has a copy of its
    /// own.
    pub snapshot: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(test, derive(serde::Deserialize))]
#[serde(rename_all = "kebab-case")]
pub enum LostSignal {
    SignedOut,
    /// Refused at least four times over 15 minutes, each time without a recognised code.
    Suspected,
    OpenclawRefused,
    /// A failed fence: OpenClaw could not renew it and dropped the token.
    Dropped,
    NotRenewed,
    Vanished,
}

#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PinView {
    pub session: String,
    pub profile_id: ProfileId,
    /// `user` or `auto`.
    pub source: Option<String>,
    pub model: Option<String>,
}

/// A session of an agent, as `sessions` lists it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Session key, such as `agent:main:main`.
    pub session: String,
    /// What people call it.
    pub label: Option<String>,
    /// The profile it is pinned to.
    pub profile_id: Option<ProfileId>,
    /// Who pinned it: `user` or `auto`.
    pub source: Option<String>,
    /// The provider of its model, where one is known.
    pub provider: Option<String>,
    pub model: Option<String>,
    pub updated_at: Option<Timestamp>,
}

/// The sessions of an agent, the newest first.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SessionsView {
    pub agent: AgentId,
    pub sessions: Vec<SessionView>,
    /// Whether pinning and unpinning is possible now.
    pub can_pin: bool,
    /// Why not, in one sentence; `/model …@<profile>` sent in the session always works.
    pub why_not: Option<String>,
}

/// A lock as people want to hear of it: "openclaw (pid 4312) for 12 s".
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LockView {
    pub path: String,
    pub pid: Option<u32>,
    pub program: Option<String>,
    pub since: Option<Timestamp>,
}
