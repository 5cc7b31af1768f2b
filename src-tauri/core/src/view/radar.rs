//! What the radar found, for shells.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::{AgentId, ProfileId, ProviderId};

/// Who holds which login on this machine, as `kalit radar --json` prints it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RadarView {
    pub schema: u32,
    pub at: Timestamp,
    /// The worst first.
    pub findings: Vec<FindingView>,
    /// How many files and databases with logins were read.
    pub places: usize,
    /// How many different refresh tokens are in them.
    pub logins: usize,
    /// What exists and could not be understood: it may hold a login, too.
    pub unreadable: Vec<UnreadableView>,
    /// Programs that may keep their login in the keychain, which was not looked into.
    pub unseen: Vec<String>,
}

impl RadarView {
    /// Whether somebody will be signed out if nothing is done.
    pub fn has_clash(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.severity == Severity::Clash)
    }
}

/// One login that lies in several places, or where nobody uses it.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    pub kind: FindingKind,
    pub severity: Severity,
    /// Fingerprint (16 hex) of the refresh token.
    pub generation: String,
    /// Fingerprint (16 hex) of the chain of generations, when known.
    pub family: Option<String>,
    pub places: Vec<PlaceView>,
    /// What it is, without a full stop.
    pub title: String,
    /// What will happen, one or two sentences.
    pub text: String,
    /// When the next renewal is due, which is when it clashes; `None` where nobody renews it.
    pub expected_at: Option<Timestamp>,
    /// What signing out in the other program would do, if that program has a part in it.
    pub sign_out: Option<String>,
    /// The ways out, the best first.
    pub ways: Vec<WayView>,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Two programs, or two installations of OpenClaw, hold one generation.
    Shared,
    /// An older generation of a login lies where somebody will use it.
    Older,
    /// Agents of one installation hold one generation.
    Copies,
    /// Two separate logins of one account: no clash.
    SameAccount,
    /// A cache, backup or archive holds a login.
    Leftover,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Somebody will be signed out.
    Clash,
    /// It can go wrong.
    Risk,
    /// Good to know.
    Note,
}

/// A file or database with the login.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PlaceView {
    /// `openclaw`, `leftover`, or the program's word, such as `codex-cli`.
    pub what: String,
    /// For people: "Codex CLI", "agent main".
    pub name: String,
    pub path: String,
    /// Set for a profile of OpenClaw's.
    pub agent: Option<AgentId>,
    pub profile_id: Option<ProfileId>,
    /// It holds an older generation than the others.
    pub older: bool,
    pub changed_at: Option<Timestamp>,
}

/// One way out.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WayView {
    /// `own-login`, `one-owner`, `delete-file`.
    pub code: String,
    pub text: String,
    /// What to run, where a command does it.
    pub command: Option<String>,
    /// The account that it is about.
    pub account: Option<WayAccount>,
}

/// The account of a way out.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WayAccount {
    pub provider: ProviderId,
    pub agent: AgentId,
    pub profile_id: ProfileId,
}

/// A file or database that exists and could not be understood.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UnreadableView {
    pub name: String,
    pub path: String,
    /// Lower case, without a full stop, without content.
    pub reason: String,
}
