//! The counts behind the verdict and the tray's first line. An account that an agent merely
//! inherits from main is counted once, in main.

use kalit_core::clock::Timestamp;
use kalit_core::view::{AccountState, AccountView, Snapshot};
use serde::Serialize;

/// How the accounts of an installation are doing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub total: usize,
    /// Usable now, or renewed by itself on use.
    pub ready: usize,
    /// Come back without the person: resting, out of credit, waiting for an answer.
    pub returning: usize,
    pub needs_you: usize,
    pub next_renewal: Option<NextRenewal>,
}

/// The account that Kalit renews next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NextRenewal {
    pub name: String,
    pub at: Timestamp,
}

impl Summary {
    /// Counts what stands in `snapshot`.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut summary = Self {
            needs_you: snapshot.needs_you,
            ..Self::default()
        };
        for account in own_accounts(snapshot) {
            summary.total += 1;
            match account.state {
                state if is_ready(state) => summary.ready += 1,
                AccountState::CoolingDown | AccountState::Disabled | AccountState::Unknown => {
                    summary.returning += 1;
                }
                _ => {}
            }
        }
        if snapshot.attended && !snapshot.paused {
            summary.next_renewal = own_accounts(snapshot)
                .filter_map(|account| Some((account.due_at?, account)))
                .min_by_key(|(at, _)| *at)
                .map(|(at, account)| NextRenewal {
                    name: account.name.clone(),
                    at,
                });
        }
        summary
    }
}

/// Whether an account in this state is usable now, or renewed by itself on use.
pub fn is_ready(state: AccountState) -> bool {
    matches!(
        state,
        AccountState::Healthy
            | AccountState::Static
            | AccountState::Renewing
            | AccountState::Expired
            | AccountState::Shared
    )
}

/// Every account that its agent's own store holds.
pub fn own_accounts(snapshot: &Snapshot) -> impl Iterator<Item = &AccountView> {
    let providers = snapshot.agents.iter().flat_map(|agent| &agent.providers);
    providers
        .flat_map(|provider| &provider.accounts)
        .filter(|account| !account.inherited)
}

#[cfg(test)]
pub mod samples {
    //! Snapshots for the tests of this crate.

    use kalit_core::ids::{AgentId, ProfileId, ProviderId};
    use kalit_core::view::*;

    use super::*;

    pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    pub const HOUR: i64 = 3_600_000;

    pub fn account(id: &str, state: AccountState) -> AccountView {
        let profile_id = ProfileId::parse(id).unwrap();
        AccountView {
            name: profile_id.account_name().to_owned(),
            profile_id,
            provider: ProviderId::parse("openai").unwrap(),
            kind: CredentialKind::Oauth,
            email: None,
            plan: None,
            account_id: None,
            display_name: None,
            status: AuthStatus::Ok,
            state,
            sentence: String::new(),
            expires_at: Some(NOW.plus_millis(7 * HOUR)),
            remaining_ms: Some(7 * HOUR),
            lifetime_ms: Some(10 * HOUR),
            due_at: None,
            renewal: None,
            generation: Some("0123456789abcdef".to_owned()),
            family: None,
            effective: false,
            in_use: false,
            inherited: false,
            passed_over: None,
            cooldown: None,
            shared_with: Vec::new(),
            copies_in: Vec::new(),
            lost: None,
            restore: None,
            refreshing: None,
            last_error: None,
            renewal_fails: false,
            last_used: None,
        }
    }

    pub fn lost(id: &str, signal: LostSignal, generation: &str) -> AccountView {
        let mut account = account(id, AccountState::SignedOut);
        account.lost = Some(LostView {
            signal,
            cause: "refresh_token_reused".to_owned(),
            text: "Another program used this login.".to_owned(),
            at: NOW,
            generation: Some(generation.to_owned()),
        });
        account
    }

    /// One provider, ChatGPT; the first account is effective, and in use under an order.
    pub fn provider(source: OrderSource, mut accounts: Vec<AccountView>) -> ProviderView {
        if let Some(first) = accounts.first_mut() {
            first.effective = true;
            first.in_use = source != OrderSource::Rotation;
        }
        let ids: Vec<_> = accounts
            .iter()
            .map(|account| account.profile_id.clone())
            .collect();
        ProviderView {
            id: ProviderId::parse("openai").unwrap(),
            name: "ChatGPT".to_owned(),
            mark: "Cg".to_owned(),
            order: (source != OrderSource::Rotation).then(|| ids.clone()),
            order_source: source,
            effective: ids.first().cloned(),
            reason: Reason {
                code: "rotating".to_owned(),
                text: String::new(),
                fallback_model: None,
            },
            candidates: ids,
            accounts,
        }
    }

    pub fn agent(id: &str, providers: Vec<ProviderView>) -> AgentView {
        AgentView {
            id: AgentId::normalize(id),
            name: None,
            is_default: id == "main",
            agent_dir: String::new(),
            store_path: String::new(),
            auth_state_path: String::new(),
            store_error: None,
            unreadable_since: None,
            restore: None,
            providers,
            missing_providers: Vec::new(),
            pins: Vec::new(),
            lock: None,
        }
    }

    pub fn snapshot(agents: Vec<AgentView>) -> Snapshot {
        let accounts = agents
            .iter()
            .flat_map(|agent| &agent.providers)
            .flat_map(|p| &p.accounts);
        let needs_you = accounts.filter(|account| account.lost.is_some()).count();
        Snapshot {
            schema: SCHEMA,
            at: NOW,
            installation: InstallationView {
                state_dir: "/home/me/.openclaw".to_owned(),
                era: EraView::Json,
                openclaw_version: Some("2026.6.1".to_owned()),
                openclaw_found: true,
                state_dirs: vec!["/home/me/.openclaw".to_owned()],
            },
            agents,
            worst: if needs_you > 0 {
                Worst::SignedOut
            } else {
                Worst::Healthy
            },
            needs_you,
            paused: false,
            attended: true,
            show_names: true,
            muted_until: None,
            offline_since: None,
            notices: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kalit_core::view::{LostSignal, OrderSource};

    use super::samples::*;
    use super::*;

    #[test]
    fn every_own_account_is_counted_once() {
        let mut inherited = account("openai:work", AccountState::Healthy);
        inherited.inherited = true;
        let mut due = account("openai:work", AccountState::Healthy);
        due.due_at = Some(NOW.plus_millis(HOUR));
        let main = provider(
            OrderSource::Stored,
            vec![
                due,
                account("openai:rest", AccountState::CoolingDown),
                lost("openai:gone", LostSignal::SignedOut, "a"),
            ],
        );
        let research = provider(OrderSource::Rotation, vec![inherited]);
        let mut snapshot = snapshot(vec![agent("main", vec![main]), agent("research", vec![research])]);
        let expected = Summary {
            total: 3,
            ready: 1,
            returning: 1,
            needs_you: 1,
            next_renewal: Some(NextRenewal {
                name: "work".to_owned(),
                at: NOW.plus_millis(HOUR),
            }),
        };
        assert_eq!(Summary::of(&snapshot), expected);
        for (paused, attended) in [(true, true), (false, false)] {
            (snapshot.paused, snapshot.attended) = (paused, attended);
            assert_eq!(Summary::of(&snapshot).next_renewal, None);
        }
    }
}
