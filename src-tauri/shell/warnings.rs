//! What may become a loss: a login that ends within the hour and cannot be renewed, and one that another
//! program holds, too. Pure functions; the rules of `alerts` hold here.

use kalit_core::say;
use kalit_core::view::{AccountState, AccountView, AgentView, ProviderView, Snapshot};

use crate::alerts::{Alert, AlertKind, name, without_addresses};
use crate::route::Route;
use crate::words;

const HOUR: i64 = 60 * 60 * 1000;

/// A login that Kalit could not renew and that ends within the hour, told once for each end.
pub fn ending(
    snapshot: &Snapshot,
    agent: &AgentView,
    provider: &ProviderView,
    account: &AccountView,
) -> Option<Alert> {
    let ends = account
        .expires_at
        .filter(|_| account.renewal_fails && !snapshot.paused)?;
    let left = ends.millis_since(snapshot.at);
    if left > HOUR {
        return None;
    }
    let name = name(snapshot, provider, account);
    // Sent twice and never answered: it is not sent again.
    let given_up = account.state == AccountState::Unknown;
    let body = match &account.last_error {
        Some(error) if !given_up => say!("{why}. Kalit keeps trying.", why = words::capital(&error.message)),
        _ => account.sentence.clone(),
    };
    Some(Alert {
        kind: AlertKind::Ending,
        keys: vec![format!("ending:{}:{}", login(account)?, ends.as_millis())],
        title: if left > 0 {
            say!("{name} ends in {left}", name, left = words::duration(left))
        } else {
            say!("{name} has expired", name)
        },
        body: without_addresses(&body, &name),
        agent: agent.id.clone(),
        profile: Some(account.profile_id.clone()),
        sign_in: given_up.then(|| sign_in(agent, account)),
        restore: None,
        renewable: !given_up,
    })
}

/// A login that another program holds, told once for each pair of holders.
pub fn shared(
    snapshot: &Snapshot,
    agent: &AgentView,
    provider: &ProviderView,
    account: &AccountView,
) -> Option<Alert> {
    if account.state != AccountState::Shared {
        return None;
    }
    let name = name(snapshot, provider, account);
    let others = account.shared_with.join(", ");
    Some(Alert {
        kind: AlertKind::Shared,
        keys: vec![format!(
            "shared:{}:{others}:{}",
            snapshot.installation.state_dir,
            login(account)?
        )],
        title: say!("{name} is also used by {others}", name, others),
        body: without_addresses(&account.sentence, &name),
        agent: agent.id.clone(),
        profile: Some(account.profile_id.clone()),
        sign_in: Some(sign_in(agent, account)),
        restore: None,
        renewable: false,
    })
}

fn sign_in(agent: &AgentView, account: &AccountView) -> Route {
    Route::SignIn {
        provider: account.provider.clone(),
        agent: agent.id.clone(),
        profile: Some(account.profile_id.clone()),
    }
}

/// The family, as far as it is known, else the generation.
fn login(account: &AccountView) -> Option<&str> {
    account.family.as_deref().or(account.generation.as_deref())
}

#[cfg(test)]
mod tests {
    use kalit_core::ErrorCode;
    use kalit_core::view::{Notice, OrderSource};

    use super::*;
    use crate::alerts::alerts;
    use crate::summary::samples::{NOW, account, agent, provider, snapshot};

    fn of(account: &AccountView) -> Snapshot {
        let group = || provider(OrderSource::Stored, vec![account.clone()]);
        snapshot(vec![agent("main", vec![group()]), agent("work", vec![group()])])
    }

    fn failing(left: i64) -> AccountView {
        let mut account = account("openai:me@example.com", AccountState::Healthy);
        account.expires_at = Some(NOW.plus_millis(left));
        account.renewal_fails = true;
        account.last_error = Some(Notice::new(
            ErrorCode::NetworkBlocked,
            "ChatGPT refuses me@example.com from here",
        ));
        account
    }

    #[test]
    fn what_cannot_be_renewed_is_told_within_its_last_hour_once_for_each_end() {
        assert_eq!(alerts(&of(&failing(HOUR + 1))), []);
        let told = alerts(&of(&failing(HOUR)));
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].kind, AlertKind::Ending);
        assert_eq!(told[0].keys, ["ending:0123456789abcdef:1800003600000"]);
        assert_eq!(told[0].title, "ChatGPT ends in 1 h");
        assert_eq!(
            told[0].body,
            "ChatGPT refuses ChatGPT from here. Kalit keeps trying. Agents: main, work."
        );
        assert!(told[0].renewable && told[0].sign_in.is_none());
        let expired = alerts(&of(&failing(-1))).remove(0);
        assert_eq!(expired.title, "ChatGPT has expired");
        assert!(!expired.is_about(&told[0]), "another end is told anew");

        let mut given_up = failing(HOUR);
        given_up.state = AccountState::Unknown;
        given_up.sentence = "Sign in again.".to_owned();
        let told = alerts(&of(&given_up)).remove(0);
        assert_eq!(told.body, "Sign in again. Agents: main, work.");
        assert!(!told.renewable && told.sign_in.is_some());

        let mut renewed = failing(HOUR);
        renewed.renewal_fails = false;
        assert_eq!(alerts(&of(&renewed)), []);
        let mut paused = of(&failing(HOUR));
        paused.paused = true;
        assert_eq!(alerts(&paused), [], "nothing is tried");
    }

    #[test]
    fn a_shared_login_is_told_once_for_each_pair_of_holders() {
        let held_by = |others: &[&str], family: &str| {
            let mut account = account("openai:work", AccountState::Shared);
            account.shared_with = others.iter().map(|other| (*other).to_owned()).collect();
            account.family = Some(family.to_owned());
            account.sentence = "Codex CLI uses the same login. `codex logout` ends it.".to_owned();
            alerts(&of(&account)).remove(0)
        };
        let told = held_by(&["Codex CLI"], "f00d");
        assert!(!told.body.contains('`'), "{}", told.body);
        assert_eq!(told.kind, AlertKind::Shared);
        assert_eq!(told.title, "work is also used by Codex CLI");
        assert_eq!(
            told.body,
            "Codex CLI uses the same login. codex logout ends it. Agents: main, work."
        );
        assert_eq!(
            told.sign_in,
            Route::parse("sign-in/openai?agent=main&profile=openai:work")
        );
        assert!(told.is_about(&held_by(&["Codex CLI"], "f00d")));
        assert!(!told.is_about(&held_by(&["Codex CLI"], "beef")));
        assert!(!told.is_about(&held_by(&["Codex CLI", "Claude Code"], "f00d")));
    }
}
