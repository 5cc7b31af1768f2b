//! What can be done, from the menu of a provider, with its account in use or next, and with those that
//! rest. Their lines keep their ids when another account comes into use: only the texts change.

use kalit_core::say;
use kalit_core::view::{
    AccountState, AccountView, AgentView, CredentialKind, EraView, ProviderView, Snapshot,
};

use super::{Action, Item, is_gone, key, verb};
use crate::route::Route;

pub fn of_group(snapshot: &Snapshot, agent: &AgentView, provider: &ProviderView) -> Vec<Item> {
    // The line of one that is gone leads to what helps.
    let mut accounts = provider.accounts.iter();
    let current = accounts.find(|account| account.effective && !is_gone(account));
    let mut items = current.map_or_else(Vec::new, |current| of_account(snapshot, agent, provider, current));
    if snapshot.installation.era == EraView::Json {
        let resting = provider.accounts.iter().filter(|account| rests(account));
        items.extend(resting.map(|account| clear(agent, account)));
    }
    items
}

fn of_account(
    snapshot: &Snapshot,
    agent: &AgentView,
    provider: &ProviderView,
    account: &AccountView,
) -> Vec<Item> {
    let (name, profile) = (&account.name, account.profile_id.clone());
    let id = |what: &str| key(&[what, agent.id.as_str(), provider.id.as_str()]);
    let mut items = Vec::new();
    if account.kind == CredentialKind::Oauth {
        let route = Route::SignIn {
            provider: account.provider.clone(),
            agent: agent.id.clone(),
            profile: Some(profile.clone()),
        };
        let label = say!("Sign in to {name} again…", name);
        items.push(verb(&id("again"), &label, Action::Open(route)));
        if snapshot.installation.era == EraView::Json && account.state != AccountState::Shared {
            let renew = Action::Renew {
                agent: agent.id.clone(),
                profile: profile.clone(),
            };
            items.push(verb(&id("renew"), &say!("Renew {name} now", name), renew));
        }
    }
    let shown = if snapshot.show_names {
        profile.as_str()
    } else {
        name
    };
    let route = Route::Copy {
        agent: agent.id.clone(),
        profile: profile.clone(),
    };
    let label = say!("Copy /model …@{profile}", profile = shown);
    items.push(verb(&id("copy"), &label, Action::Open(route)));
    items
}

fn rests(account: &AccountView) -> bool {
    let rests = matches!(account.state, AccountState::CoolingDown | AccountState::Disabled);
    rests && !account.inherited
}

fn clear(agent: &AgentView, account: &AccountView) -> Item {
    let action = Action::ClearCooldown {
        agent: agent.id.clone(),
        profile: account.profile_id.clone(),
    };
    verb(
        &key(&["clear", agent.id.as_str(), account.profile_id.as_str()]),
        &say!("Clear cooldown: {name}", name = account.name),
        action,
    )
}
