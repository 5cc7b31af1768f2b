//! What happened to the accounts, as it was kept.

use super::{Broker, HistoryRequest, HistoryView};
use crate::error::Result;
use crate::history::About;
use crate::view::SCHEMA;

impl Broker {
    /// The newest events of the current installation, whoever caused them. Blocks.
    ///
    /// # Errors
    /// `state_dir.missing`; `vault.unreadable`, `vault.failed` when the history cannot be read.
    pub fn history(&self, request: &HistoryRequest) -> Result<HistoryView> {
        let inner = &self.inner;
        let installation = inner.installation()?.state_dir.canonical().display().to_string();
        let about = About {
            installation: &installation,
            agent: request.agent.as_ref().map(|agent| agent.as_str()),
            profile_id: request.profile_id.as_ref().map(|id| id.as_str()),
        };
        let limit = request.limit as usize;
        let mut events = inner.history.newest(about, request.limit.saturating_add(1))?;
        let has_more = events.len() > limit;
        events.truncate(limit);
        Ok(HistoryView {
            schema: SCHEMA,
            events,
            has_more,
            set_aside: inner.history.set_aside().map(|path| path.display().to_string()),
        })
    }
}
