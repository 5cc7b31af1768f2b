//! What the tray's menu says, as a pure function of the snapshot and the time. Nothing here
//! touches a desktop.

mod agents;
mod verbs;

use kalit_core::broker::Mute;
use kalit_core::clock::Timestamp;
use kalit_core::ids::{AgentId, ProfileId};
use kalit_core::view::{
    AccountState, AccountView, AgentView, EraView, OrderSource, ProviderView, RestoreView, Snapshot, Worst,
};
use kalit_core::{plural, say};

use crate::route::Route;
use crate::summary::{self, Summary};
use crate::words;

/// Accounts of one provider, providers and agents that a menu lists; the window has the rest.
const LISTED: usize = 10;

/// The whole menu, with what the icon and its tooltip say.
#[derive(Clone, Debug, PartialEq)]
pub struct MenuModel {
    pub picture: Picture,
    /// The first line of the menu and the tooltip.
    pub status: String,
    pub items: Vec<Item>,
}

/// The five states that the icon tells by its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    Healthy,
    Notice,
    /// Another program uses one of the logins.
    Risk,
    SignedOut,
    Paused,
}

/// One line of the menu. Ids are unique within a menu and the same for the same line later.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub id: String,
    /// As people read it; escaped when it is put into the menu.
    pub label: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Separator,
    /// A line to read.
    Line,
    Verb(Action),
    Check {
        checked: bool,
        action: Action,
    },
    Submenu(Vec<Item>),
}

/// What a click does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put the account first in its provider's order.
    Use {
        agent: AgentId,
        profile: ProfileId,
    },
    /// Renew one account now: for a suspected loss this is the check.
    Renew {
        agent: AgentId,
        profile: ProfileId,
    },
    /// Let OpenClaw use an account at once that it leaves alone after failures.
    ClearCooldown {
        agent: AgentId,
        profile: ProfileId,
    },
    RenewAll,
    Pause(bool),
    /// Mute notifications, or hear them again.
    Mute(Mute),
    Open(Route),
    Quit,
}

impl MenuModel {
    /// Before the first snapshot was read, or when Kalit's own files cannot be.
    pub fn without_snapshot(status: impl Into<String>) -> Self {
        Self::new(Picture::Paused, status.into(), Vec::new(), Vec::new())
    }

    fn new(picture: Picture, status: String, accounts: Vec<Item>, more: Vec<Item>) -> Self {
        let mut items = vec![line("status", &status), separator("top")];
        if !accounts.is_empty() {
            items.extend(accounts);
            items.push(separator("middle"));
        }
        items.push(verb("add", &say!("Add account…"), Action::Open(Route::Add)));
        items.extend(more);
        items.push(separator("bottom"));
        items.push(verb("open", &say!("Open Kalit"), Action::Open(Route::Board)));
        items.push(verb(
            "settings",
            &say!("Settings…"),
            Action::Open(Route::Settings),
        ));
        items.push(verb(
            "diagnostics",
            &say!("Diagnostics…"),
            Action::Open(Route::Diagnostics),
        ));
        items.push(verb("quit", &say!("Quit"), Action::Quit));
        Self {
            picture,
            status,
            items,
        }
    }

    /// Says `text` in the first line instead of the counts.
    pub fn say(&mut self, text: &str) {
        text.clone_into(&mut self.status);
        if let Some(first) = self.items.first_mut() {
            text.clone_into(&mut first.label);
        }
    }

    /// Says on the line of an account that OpenClaw is being asked to switch to it. The line stays
    /// the same one, so that an open menu stays open.
    pub fn asking(&mut self, agent: &AgentId, profile: &ProfileId) {
        let id = account_key(agent, profile);
        if let Some(item) = find_mut(&mut self.items, &id) {
            let name = item.label.split(" · ").next().unwrap_or_default();
            item.label = format!("{name} · {}", say!("asking OpenClaw…"));
        }
    }

    /// The line with this id, at any depth.
    pub fn find(&self, id: &str) -> Option<&Item> {
        find(&self.items, id)
    }

    /// Whether both have the same lines, so that only their texts need to be set anew.
    pub fn same_structure(&self, other: &Self) -> bool {
        same_structure(&self.items, &other.items)
    }
}

impl Item {
    /// What a click on this line does.
    pub fn action(&self) -> Option<&Action> {
        match &self.kind {
            Kind::Verb(action) | Kind::Check { action, .. } => Some(action),
            Kind::Separator | Kind::Line | Kind::Submenu(_) => None,
        }
    }
}

fn find<'a>(items: &'a [Item], id: &str) -> Option<&'a Item> {
    items.iter().find_map(|item| match &item.kind {
        _ if item.id == id => Some(item),
        Kind::Submenu(children) => find(children, id),
        _ => None,
    })
}

fn find_mut<'a>(items: &'a mut [Item], id: &str) -> Option<&'a mut Item> {
    for item in items {
        if item.id == id {
            return Some(item);
        }
        if let Kind::Submenu(children) = &mut item.kind
            && let Some(found) = find_mut(children, id)
        {
            return Some(found);
        }
    }
    None
}

fn same_structure(left: &[Item], right: &[Item]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| {
            left.id == right.id
                && match (&left.kind, &right.kind) {
                    (Kind::Submenu(left), Kind::Submenu(right)) => same_structure(left, right),
                    (left, right) => std::mem::discriminant(left) == std::mem::discriminant(right),
                }
        })
}

/// The menu for one moment.
pub fn menu(snapshot: &Snapshot, now: Timestamp) -> MenuModel {
    let mut accounts: Vec<Item> = snapshot.agents.iter().filter_map(unreadable).collect();
    accounts.extend(groups(snapshot, now));
    accounts.extend(agents::submenu(snapshot));
    let mut more = Vec::new();
    if can_restore(snapshot) {
        more.push(verb(
            "snapshots",
            &say!("Restore…"),
            Action::Open(Route::Snapshots),
        ));
    }
    if is_shared(snapshot) {
        more.push(verb("radar", &say!("Shared logins…"), Action::Open(Route::Radar)));
    }
    more.extend(match snapshot.installation.era {
        EraView::Sqlite => vec![line("renewal", &say!("OpenClaw renews these logins on use"))],
        EraView::None => Vec::new(),
        EraView::Json | EraView::Mixed => vec![
            verb("renew", &say!("Renew all now"), Action::RenewAll),
            Item {
                id: "pause".to_owned(),
                label: say!("Pause renewal"),
                kind: Kind::Check {
                    checked: snapshot.paused,
                    action: Action::Pause(!snapshot.paused),
                },
            },
        ],
    });
    more.push(mute(snapshot, now));
    MenuModel::new(picture(snapshot), status(snapshot), accounts, more)
}

fn mute(snapshot: &Snapshot, now: Timestamp) -> Item {
    if snapshot.muted_until.is_some_and(|until| until > now) {
        return verb("unmute", &say!("Unmute notifications"), Action::Mute(Mute::Off));
    }
    let times = vec![
        verb("mute-hour", &say!("For an hour"), Action::Mute(Mute::Hour)),
        verb(
            "mute-tomorrow",
            &say!("Until tomorrow"),
            Action::Mute(Mute::Tomorrow),
        ),
    ];
    Item {
        id: "mute".to_owned(),
        label: say!("Mute notifications"),
        kind: Kind::Submenu(times),
    }
}

/// Whether a snapshot holds something that is lost.
fn can_restore(snapshot: &Snapshot) -> bool {
    let in_snapshot = |restore: &RestoreView| restore.offered && restore.snapshot.is_some();
    snapshot.agents.iter().any(|agent| {
        let accounts = agent.providers.iter().flat_map(|provider| &provider.accounts);
        let mut offers = accounts.map(|account| &account.restore).chain([&agent.restore]);
        offers.any(|restore| restore.as_ref().is_some_and(in_snapshot))
    })
}

/// Whether Kalit changes accounts in this installation, by itself or through OpenClaw.
fn changeable(snapshot: &Snapshot) -> bool {
    match snapshot.installation.era {
        EraView::Json | EraView::Sqlite => true,
        EraView::Mixed | EraView::None => false,
    }
}

/// When the menu of `snapshot` reads differently though nothing happened: milliseconds from now.
pub fn until_change(snapshot: &Snapshot, now: Timestamp) -> Option<i64> {
    let left = ends(snapshot)
        .map(|at| at.millis_since(now))
        .filter(|left| *left > 0);
    left.map(words::until_change).min()
}

/// Whether an end has been reached since `snapshot` was taken, so that states may have changed.
pub fn outdated(snapshot: &Snapshot, now: Timestamp) -> bool {
    ends(snapshot).any(|at| snapshot.at < at && at <= now)
}

/// When credentials, cooldowns and the muting end.
fn ends(snapshot: &Snapshot) -> impl Iterator<Item = Timestamp> {
    let accounts = snapshot
        .agents
        .iter()
        .flat_map(|agent| &agent.providers)
        .flat_map(|p| &p.accounts);
    let ends = |account: &AccountView| [account.expires_at, account.cooldown.as_ref().map(|c| c.until)];
    accounts.flat_map(ends).chain([snapshot.muted_until]).flatten()
}

fn picture(snapshot: &Snapshot) -> Picture {
    match (snapshot.worst, snapshot.installation.era) {
        (Worst::SignedOut, _) => Picture::SignedOut,
        (Worst::Notice, _) if is_shared(snapshot) => Picture::Risk,
        (Worst::Notice, _) => Picture::Notice,
        (Worst::Paused, _) | (Worst::Healthy, EraView::None) => Picture::Paused,
        (Worst::Healthy, _) => Picture::Healthy,
    }
}

fn is_shared(snapshot: &Snapshot) -> bool {
    summary::own_accounts(snapshot).any(|account| account.state == AccountState::Shared)
}

fn status(snapshot: &Snapshot) -> String {
    let summary = Summary::of(snapshot);
    let mut parts = vec![match (snapshot.installation.era, summary.total) {
        (EraView::None, 0) => say!("OpenClaw was not found"),
        (_, 0) if summary.needs_you == 0 => say!("OpenClaw: no accounts yet"),
        _ => plural!(summary.ready, "OpenClaw: {n} ready", "OpenClaw: {n} ready"),
    }];
    if summary.needs_you > 0 {
        parts.push(plural!(summary.needs_you, "{n} needs you", "{n} need you"));
    }
    if can_restore(snapshot) {
        parts.push(say!("can be restored"));
    }
    if snapshot.paused {
        parts.push(say!("renewal paused"));
    }
    parts.join(", ")
}

/// The line of an agent whose accounts are unknown.
fn unreadable(agent: &AgentView) -> Option<Item> {
    agent.store_error.as_ref()?;
    let back = words::way_back_of_store(agent);
    let label = if back.is_some() {
        say!(
            "{agent}: the account file cannot be read, restore…",
            agent = agent.id
        )
    } else {
        say!("{agent}: the account file cannot be read", agent = agent.id)
    };
    Some(verb(
        &key(&["store", agent.id.as_str()]),
        &label,
        Action::Open(back.unwrap_or(Route::Board)),
    ))
}

/// The providers of all agents; of very many those in which something is lost come before the others.
fn groups(snapshot: &Snapshot, now: Timestamp) -> Vec<Item> {
    let of_agent = |agent| move |provider| (agent, provider);
    let all: Vec<(&AgentView, &ProviderView)> = snapshot
        .agents
        .iter()
        .flat_map(|agent| agent.providers.iter().map(of_agent(agent)))
        .collect();
    let has_loss = |provider: &ProviderView| provider.accounts.iter().any(|account| account.lost.is_some());
    let losses = all.iter().filter(|(_, provider)| has_loss(provider)).count();
    let mut others = LISTED.saturating_sub(losses);
    let mut losses = LISTED;
    let chosen = all.iter().filter(|(_, provider)| {
        let left = if has_loss(provider) {
            &mut losses
        } else {
            &mut others
        };
        let chosen = *left > 0;
        *left = left.saturating_sub(1);
        chosen
    });
    let mut items: Vec<Item> = chosen
        .map(|(agent, provider)| group(snapshot, agent, provider, now))
        .collect();
    if all.len() > LISTED {
        items.push(verb("more", &say!("More…"), Action::Open(Route::Board)));
    }
    items
}

/// A provider's accounts in one agent, as a submenu.
fn group(snapshot: &Snapshot, agent: &AgentView, provider: &ProviderView, now: Timestamp) -> Item {
    let ids = [agent.id.as_str(), provider.id.as_str()];
    let mut items: Vec<Item> = provider
        .accounts
        .iter()
        .take(LISTED)
        .map(|account| row(snapshot, agent, provider, account, now))
        .collect();
    if provider.accounts.len() > LISTED {
        items.push(verb(
            &key(&["more", ids[0], ids[1]]),
            &say!("More…"),
            Action::Open(Route::Agent(agent.id.clone())),
        ));
    }
    if changeable(snapshot) {
        let route = Route::SignIn {
            provider: provider.id.clone(),
            agent: agent.id.clone(),
            profile: None,
        };
        items.push(separator(&key(&["line", ids[0], ids[1]])));
        items.push(verb(
            &key(&["add", ids[0], ids[1]]),
            &say!("Add {provider} account…", provider = provider.name),
            Action::Open(route),
        ));
        items.extend(verbs::of_group(snapshot, agent, provider));
    }
    Item {
        id: key(&["group", ids[0], ids[1]]),
        label: format!("{} ({})", provider.name, agent.id),
        kind: Kind::Submenu(items),
    }
}

fn row(
    snapshot: &Snapshot,
    agent: &AgentView,
    provider: &ProviderView,
    account: &AccountView,
    now: Timestamp,
) -> Item {
    let rotating = provider.order_source == OrderSource::Rotation;
    let mut parts = vec![account.name.clone(), words::state(account, now)];
    if account.inherited {
        parts.push(say!("from main"));
    }
    // OpenClaw may still try a login that is gone; nobody is helped by hearing that it is next.
    if rotating && account.effective && !is_gone(account) {
        parts.push(say!("next"));
    }
    let kind = match click(snapshot, agent, account) {
        None => Kind::Line,
        Some(action @ Action::Use { .. }) if !rotating => Kind::Check {
            checked: account.in_use,
            action,
        },
        Some(action) => Kind::Verb(action),
    };
    Item {
        id: account_key(&agent.id, &account.profile_id),
        label: parts.join(" · "),
        kind,
    }
}

/// Whether only a sign-in makes the account usable again.
fn is_gone(account: &AccountView) -> bool {
    matches!(
        account.state,
        AccountState::SignedOut | AccountState::Dropped | AccountState::Vanished | AccountState::Missing
    )
}

/// What a click on an account does: use it if it can be used, else what would make it usable.
fn click(snapshot: &Snapshot, agent: &AgentView, account: &AccountView) -> Option<Action> {
    if !changeable(snapshot) {
        return None;
    }
    let kept = snapshot.installation.era == EraView::Sqlite;
    let (agent, profile) = (agent.id.clone(), account.profile_id.clone());
    match account.state {
        AccountState::NeedsDoctor => None,
        AccountState::Dropped | AccountState::Vanished if words::restorable(account) => {
            words::way_back(&agent, account).map(Action::Open)
        }
        AccountState::SignedOut | AccountState::Dropped | AccountState::Vanished | AccountState::Missing => {
            Some(sign_in_again(account, agent))
        }
        // What OpenClaw renews itself cannot be tried by Kalit.
        AccountState::Suspected | AccountState::Refused | AccountState::NotRenewed if kept => {
            Some(sign_in_again(account, agent))
        }
        AccountState::Suspected | AccountState::Refused | AccountState::NotRenewed => {
            Some(Action::Renew { agent, profile })
        }
        // Switching main switches every agent that inherits from it: the window names them first.
        _ if account.inherited => Some(Action::Open(Route::Board)),
        AccountState::Healthy
        | AccountState::Static
        | AccountState::Renewing
        | AccountState::Expired
        | AccountState::CoolingDown
        | AccountState::Disabled
        | AccountState::Unknown
        | AccountState::Shared => Some(Action::Use { agent, profile }),
    }
}

fn sign_in_again(account: &AccountView, agent: AgentId) -> Action {
    Action::Open(Route::SignIn {
        provider: account.provider.clone(),
        agent,
        profile: Some(account.profile_id.clone()),
    })
}

/// The id of an account's line.
fn account_key(agent: &AgentId, profile: &ProfileId) -> String {
    key(&["use", agent.as_str(), profile.as_str()])
}

/// An id out of parts; a profile id may hold any character but hardly the unit separator.
fn key(parts: &[&str]) -> String {
    parts.join("\u{1f}")
}

fn line(id: &str, label: &str) -> Item {
    Item {
        id: id.to_owned(),
        label: label.to_owned(),
        kind: Kind::Line,
    }
}

fn verb(id: &str, label: &str, action: Action) -> Item {
    Item {
        id: id.to_owned(),
        label: label.to_owned(),
        kind: Kind::Verb(action),
    }
}

fn separator(id: &str) -> Item {
    Item {
        id: key(&["separator", id]),
        label: String::new(),
        kind: Kind::Separator,
    }
}

#[cfg(test)]
mod tests;
