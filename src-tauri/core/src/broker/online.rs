//! Whether OpenClaw could renew logins now: asked before anything that makes it renew them, because
//! 2026.9.6 drops what it cannot renew.

use std::collections::BTreeSet;

use super::Inner;
use crate::error::Result;
use crate::ids::ProviderId;
use crate::oauth::{Providers, token_host_answers};

impl Inner {
    /// Asks the token host of each provider whether it answers; nothing of an account is sent.
    /// Answers with those of which Kalit does not know where they renew.
    ///
    /// # Errors
    /// `network.*`, `provider.out_of_order` of the first that does not answer.
    pub(super) async fn online(&self, ids: &BTreeSet<ProviderId>) -> Result<Vec<ProviderId>> {
        let providers = Providers::load(&self.environment)?;
        let mut unknown = Vec::new();
        for id in ids {
            let known = providers.get(id);
            match known.filter(|provider| provider.token_route().is_some()) {
                Some(provider) => token_host_answers(provider, &self.environment).await?,
                None => unknown.push(id.clone()),
            }
        }
        Ok(unknown)
    }
}
