//! Why an account was signed out, or why it only looks so: the most likely cause with its evidence,
//! what it is not, and the remedy. A pure function of what is known.
//!
//! Must never call a sign-out what is not proven to be one, and says "likely" and "possible" only
//! where it is. No sentence here holds a name or an address: notifications begin with the first one.

mod harmless;
mod lost;
mod story;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::{AgentId, ProviderId};
use crate::openclaw::renewal_log;
use crate::view::{AccountState, CredentialKind, LostSignal, RestoreView};

pub(crate) use lost::{check, put_back, way_back};

/// What is known of one account.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct Evidence {
    pub now: Timestamp,
    pub agent: AgentId,
    pub provider: ProviderId,
    pub kind: CredentialKind,
    pub state: AccountState,
    pub loss: Option<Loss>,
    /// The refused request repeated one whose answer never came.
    pub answer_was_lost: bool,
    /// A newer generation is recorded than the one in the store.
    pub superseded: bool,
    /// Fingerprint (16 hex) of the generation in the store.
    pub generation: Option<String>,
    /// The code of the last failed renewal that was no loss.
    pub trouble: Option<String>,
    /// OpenClaw leaves the account alone: its word for the reason.
    pub cooldown: Option<String>,
    /// What happened to this profile, in any agent, and to its family; newest first.
    pub events: Vec<Event>,
    /// Other programs that hold the same generation now.
    pub shared_with: Vec<String>,
    /// Other agents that hold it now.
    pub copies_in: Vec<AgentId>,
    /// How many old files of OpenClaw hold it.
    pub leftovers: usize,
    /// How many other accounts of the agent disappeared within the same minute.
    pub vanished_with: usize,
    /// What OpenClaw's log says of the failed renewal.
    pub(crate) log: Option<renewal_log::Why>,
    /// Whether the login can be put back, and the sentence about it.
    pub restore: Option<WayBack>,
    /// Renewals fail for want of a network.
    pub offline: bool,
    /// The provider's clock is another than this machine's.
    pub clock_is_off: bool,
    /// Kalit does not renew ("watch only").
    pub paused: bool,
    /// A Kalit runs that renews.
    pub attended: bool,
    /// OpenClaw keeps the logins and renews them (sqlite era).
    pub managed: bool,
}

impl Evidence {
    /// The code of the loss; else that of the last failure that nothing has made good.
    pub fn code(&self) -> Option<&str> {
        match &self.loss {
            Some(loss) => Some(&loss.code),
            None => self.trouble().unwrap_or_default(),
        }
    }
}

/// The signal that a login is lost.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "camelCase"))]
pub struct Loss {
    pub signal: LostSignal,
    /// The provider's code or OpenClaw's mark.
    pub code: String,
    pub at: Timestamp,
    /// The sentence about the signal alone.
    pub text: String,
}

/// Whether what is lost can be put back.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct WayBack {
    pub offered: bool,
    pub text: String,
}

impl WayBack {
    pub(crate) fn of(restore: &RestoreView) -> Self {
        Self {
            offered: restore.offered,
            text: restore.text.clone(),
        }
    }
}

/// Why an account is as it is.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub cause: Cause,
    pub confidence: Confidence,
    /// Whether it is proven that the provider ended the login.
    pub signed_out: bool,
    /// The cause: short enough for a notification.
    pub sentence: String,
    /// What speaks for it, the strongest first.
    pub evidence: Vec<String>,
    /// What it is not.
    pub not: Vec<String>,
    /// What to do.
    pub remedy: String,
    /// All of it, to be read in one go.
    pub paragraph: String,
}

#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    Certain,
    Likely,
    Possible,
}

/// The stable word of a cause; `docs/signed-out.md` has a row for each.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    // The login ended.
    OtherProgram,
    OtherAgent,
    EndedByOtherProgram,
    SpentElsewhere,
    OldCopy,
    AnswerLost,
    SignedOutByYou,
    EndedByProvider,
    Unused,
    ServiceEnded,
    ScopeLost,
    Rejected,
    // OpenClaw's store lost it.
    DroppedOffline,
    DroppedByOutage,
    DroppedByWebPage,
    DroppedWithoutAnswer,
    DroppedRefused,
    Dropped,
    Vanished,
    StoreEmptied,
    // Not proven.
    OpenclawRefused,
    SetupTokenRefused,
    TokenRefused,
    Suspected,
    ApiRefused,
    // No sign-out.
    NotRenewed,
    Paused,
    Network,
    Proxy,
    Tls,
    CaptivePortal,
    Blocked,
    Region,
    Quota,
    RateLimit,
    Outage,
    NoAnswer,
    ClientRejected,
    RequestRejected,
    SignInUnfinished,
    Clock,
    Shared,
    Cooldown,
    Expired,
    RenewedMeanwhile,
    NotLost,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 46] = [
        Self::OtherProgram,
        Self::OtherAgent,
        Self::EndedByOtherProgram,
        Self::SpentElsewhere,
        Self::OldCopy,
        Self::AnswerLost,
        Self::SignedOutByYou,
        Self::EndedByProvider,
        Self::Unused,
        Self::ServiceEnded,
        Self::ScopeLost,
        Self::Rejected,
        Self::DroppedOffline,
        Self::DroppedByOutage,
        Self::DroppedByWebPage,
        Self::DroppedWithoutAnswer,
        Self::DroppedRefused,
        Self::Dropped,
        Self::Vanished,
        Self::StoreEmptied,
        Self::OpenclawRefused,
        Self::SetupTokenRefused,
        Self::TokenRefused,
        Self::Suspected,
        Self::ApiRefused,
        Self::NotRenewed,
        Self::Paused,
        Self::Network,
        Self::Proxy,
        Self::Tls,
        Self::CaptivePortal,
        Self::Blocked,
        Self::Region,
        Self::Quota,
        Self::RateLimit,
        Self::Outage,
        Self::NoAnswer,
        Self::ClientRejected,
        Self::RequestRejected,
        Self::SignInUnfinished,
        Self::Clock,
        Self::Shared,
        Self::Cooldown,
        Self::Expired,
        Self::RenewedMeanwhile,
        Self::NotLost,
    ];
}

/// Explains it; for an account that is well it says so.
pub fn explain(evidence: &Evidence) -> Explanation {
    let told = match &evidence.loss {
        Some(loss) => lost::told(evidence, loss),
        None => harmless::told(evidence),
    };
    told.finish()
}

/// An explanation in the making.
#[derive(Debug)]
struct Told {
    cause: Cause,
    confidence: Confidence,
    signed_out: bool,
    sentence: String,
    evidence: Vec<String>,
    not: Vec<String>,
    remedy: String,
}

impl Told {
    fn new(cause: Cause, confidence: Confidence, sentence: String, remedy: String) -> Self {
        Self {
            cause,
            confidence,
            signed_out: false,
            sentence,
            evidence: Vec::new(),
            not: Vec::new(),
            remedy,
        }
    }

    fn because(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    fn not(mut self, not: impl IntoIterator<Item = String>) -> Self {
        self.not.extend(not);
        self
    }

    fn finish(self) -> Explanation {
        let Self {
            cause,
            confidence,
            signed_out,
            sentence,
            evidence,
            not,
            remedy,
        } = self;
        let all = [&sentence]
            .into_iter()
            .chain(&evidence)
            .chain(&not)
            .chain([&remedy]);
        let paragraph = all.map(String::as_str).collect::<Vec<_>>().join(" ");
        Explanation {
            cause,
            confidence,
            signed_out,
            paragraph: paragraph.trim_end().to_owned(),
            sentence,
            evidence,
            not,
            remedy,
        }
    }
}

impl Explanation {
    /// What is told of a lost login beside its buttons: the cause and, where a button alone does not
    /// say it, the remedy.
    pub(crate) fn short(&self) -> String {
        match self.signed_out {
            true => self.sentence.clone(),
            false => format!("{} {}", self.sentence, self.remedy).trim_end().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
