//! What [`super::Broker::why`] answers.

use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::view::AccountState;
use crate::why::Explanation;

/// Why an account is as it is. Holds no secret.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WhyView {
    pub schema: u32,
    pub agent: AgentId,
    pub profile_id: ProfileId,
    pub provider: ProviderId,
    pub state: AccountState,
    /// The provider's code or OpenClaw's mark; of a login that is not lost that of the last failure.
    pub code: Option<String>,
    /// When the loss was seen.
    pub at: Option<Timestamp>,
    #[serde(flatten)]
    pub explanation: Explanation,
}
