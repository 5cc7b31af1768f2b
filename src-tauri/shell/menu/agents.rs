//! The submenu of agents: how each one is doing, and the way to it.

use kalit_core::view::{AgentView, Snapshot};
use kalit_core::{plural, say};

use super::{Action, Item, Kind, LISTED, key, verb};
use crate::route::Route;
use crate::summary;

/// `None` for a single agent: all of the menu is about it.
pub fn submenu(snapshot: &Snapshot) -> Option<Item> {
    if snapshot.agents.len() < 2 {
        return None;
    }
    let mut items: Vec<Item> = snapshot.agents.iter().take(LISTED).map(line).collect();
    if snapshot.agents.len() > LISTED {
        items.push(verb("more agents", &say!("More…"), Action::Open(Route::Board)));
    }
    Some(Item {
        id: "agents".to_owned(),
        label: say!("Agents"),
        kind: Kind::Submenu(items),
    })
}

fn line(agent: &AgentView) -> Item {
    verb(
        &key(&["agent", agent.id.as_str()]),
        &format!("{} · {}", agent.id, state(agent)),
        Action::Open(Route::Agent(agent.id.clone())),
    )
}

fn state(agent: &AgentView) -> String {
    if agent.store_error.is_some() {
        return say!("cannot be read");
    }
    let accounts = || agent.providers.iter().flat_map(|provider| &provider.accounts);
    let lost = accounts().filter(|account| account.lost.is_some()).count();
    match (accounts().count(), lost) {
        (0, _) => say!("no accounts"),
        (_, 0) if accounts().all(|account| summary::is_ready(account.state)) => say!("OK"),
        (_, 0) => {
            let ready = accounts().filter(|account| summary::is_ready(account.state));
            plural!(ready.count(), "{n} ready", "{n} ready")
        }
        (_, many) => plural!(many, "{n} needs you", "{n} need you"),
    }
}
