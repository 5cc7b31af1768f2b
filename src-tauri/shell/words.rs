//! Words that the shells share: time left and the state of an account. Times come in
//! whole minutes, so that nothing on the screen ticks.

use kalit_core::broker::RefreshResult;
use kalit_core::clock::Timestamp;
use kalit_core::ids::AgentId;
use kalit_core::say;
use kalit_core::view::{AccountState, AccountView, AgentView, LockView, LostSignal};

use crate::route::Route;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A duration in words: `6 d 7 h`, `4 h 10 min`, `11 min`, `less than a minute`.
pub fn duration(millis: i64) -> String {
    let millis = millis.max(0);
    let (days, hours, minutes) = (millis / DAY, millis % DAY / HOUR, millis % HOUR / MINUTE);
    match (days, hours, minutes) {
        (0, 0, 0) => say!("less than a minute"),
        (0, 0, minutes) => say!("{minutes} min", minutes),
        (0, hours, 0) => say!("{hours} h", hours),
        (0, hours, minutes) => say!("{hours} h {minutes} min", hours, minutes),
        (days, 0, _) => say!("{days} d", days),
        (days, hours, _) => say!("{days} d {hours} h", days, hours),
    }
}

/// Who holds a lock, for the diagnosis and the command line: "openclaw (pid 4312) for 12 min".
pub fn holder(lock: &LockView, now: Timestamp) -> String {
    let program = lock.program.as_deref().unwrap_or("an unknown program");
    let pid = lock.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let since = lock.since.map(|since| duration(now.millis_since(since)));
    let since = since.map(|since| format!(" for {since}")).unwrap_or_default();
    format!("{program}{pid}{since}")
}

/// Milliseconds until [`duration`] of a shrinking `millis` reads differently.
pub fn until_change(millis: i64) -> i64 {
    let unit = if millis >= DAY { HOUR } else { MINUTE };
    millis.max(0) % unit + 1
}

/// The account's state as a menu item says it after the name.
pub fn state(account: &AccountView, now: Timestamp) -> String {
    let left = account.expires_at.map(|at| at.millis_since(now));
    match account.state {
        AccountState::Healthy => match left {
            Some(left) => say!("{left} left", left = duration(left)),
            None => say!("OK"),
        },
        AccountState::Static => match left {
            Some(left) => say!("{left} left, does not renew", left = duration(left)),
            None => say!("does not renew"),
        },
        AccountState::Renewing => say!("renewing…"),
        AccountState::Expired => say!("expired, renews on use"),
        AccountState::CoolingDown => resting(account, now),
        AccountState::Disabled => match reason(account) {
            Some("billing") => say!("no credit"),
            _ => say!("disabled"),
        },
        AccountState::NeedsDoctor => say!("kept in OpenClaw’s encrypted file"),
        AccountState::Missing => say!("has no secret, sign in"),
        AccountState::Unknown => say!("renewal was not answered"),
        AccountState::Shared => match account.shared_with.first() {
            Some(other) => say!("also used by {other}", other),
            None => say!("shared login"),
        },
        AccountState::NotRenewed if account.renewal.is_some() => say!("not renewed"),
        AccountState::NotRenewed => say!("not renewed, renew now"),
        AccountState::Vanished if restorable(account) => say!("disappeared, restore…"),
        AccountState::Vanished => say!("disappeared, sign in again"),
        AccountState::Suspected if account.renewal.is_some() => say!("may be signed out"),
        AccountState::Suspected => say!("may be signed out, check now"),
        AccountState::Refused if account.renewal.is_some() => say!("OpenClaw was refused"),
        AccountState::Refused => say!("OpenClaw was refused, check now"),
        AccountState::Dropped if restorable(account) => say!("dropped by OpenClaw, restore…"),
        AccountState::Dropped => say!("dropped by OpenClaw, sign in again"),
        AccountState::SignedOut => say!("signed out, sign in again"),
    }
}

/// Whether Kalit holds what is lost and can put it back.
pub fn restorable(account: &AccountView) -> bool {
    account.restore.as_ref().is_some_and(|restore| restore.offered)
}

/// Where a lost account is put back, if it can be.
pub fn way_back(agent: &AgentId, account: &AccountView) -> Option<Route> {
    let restore = account.restore.as_ref().filter(|restore| restore.offered)?;
    let (agent, profile) = (agent.clone(), account.profile_id.clone());
    Some(match &restore.snapshot {
        Some(id) => Route::Snapshot {
            id: id.clone(),
            agent,
            profile: Some(profile),
        },
        None => Route::Restore { agent, profile },
    })
}

/// Where the accounts of a store that cannot be read are put back, if they can be.
pub fn way_back_of_store(agent: &AgentView) -> Option<Route> {
    let restore = agent.restore.as_ref().filter(|restore| restore.offered)?;
    Some(Route::Snapshot {
        id: restore.snapshot.clone()?,
        agent: agent.id.clone(),
        profile: None,
    })
}

fn resting(account: &AccountView, now: Timestamp) -> String {
    let cause = match reason(account) {
        Some("rate_limit") => Some(say!("rate limit")),
        Some("overloaded") => Some(say!("overloaded")),
        Some("timeout") => Some(say!("timeout")),
        _ => None,
    };
    let left = account
        .cooldown
        .as_ref()
        .map(|cooldown| duration(cooldown.until.millis_since(now)));
    match (left, cause) {
        (Some(left), Some(cause)) => say!("resting {left} ({cause})", left, cause),
        (Some(left), None) => say!("resting {left}", left),
        (None, Some(cause)) => say!("resting ({cause})", cause),
        (None, None) => say!("resting"),
    }
}

fn reason(account: &AccountView) -> Option<&str> {
    account.cooldown.as_ref()?.reason.as_deref()
}

/// What became of one renewal that did not fail.
pub fn renewed(result: RefreshResult) -> String {
    match result {
        RefreshResult::Refreshed => say!("Renewed"),
        RefreshResult::Adopted => say!("Already renewed by another program"),
        RefreshResult::Fresh => say!("Fresh, nothing was sent"),
        RefreshResult::Healed => say!("Replaced by a newer login of the same account"),
        RefreshResult::Failed => say!("Not renewed"),
    }
}

/// What happened to the lost account `name` of `agent`: the title of a notification.
pub fn lost(signal: LostSignal, name: &str, agent: &AgentId) -> String {
    match signal {
        LostSignal::SignedOut => say!("{name} is signed out", name),
        LostSignal::Suspected => say!("{name} may be signed out", name),
        LostSignal::OpenclawRefused => say!("OpenClaw was refused: {name}", name),
        LostSignal::Dropped => say!("OpenClaw dropped {name}", name),
        LostSignal::NotRenewed => say!("{name} is not renewed", name),
        LostSignal::Vanished => say!("{name} disappeared from {agent}", name, agent),
    }
}

/// A sentence begins with a capital.
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Doubles the character that menus take for the mark of a mnemonic, and flattens line breaks.
pub fn menu_label(text: &str, mnemonic: char) -> String {
    text.replace(mnemonic, &String::from_iter([mnemonic; 2]))
        .replace(['\n', '\r', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_at_most_two_units() {
        let cases = [
            (-5, "less than a minute"),
            (59_999, "less than a minute"),
            (11 * MINUTE + 59_999, "11 min"),
            (2 * HOUR, "2 h"),
            (4 * HOUR + 10 * MINUTE, "4 h 10 min"),
            (DAY, "1 d"),
            (DAY + 59 * MINUTE, "1 d"),
            (6 * DAY + 7 * HOUR + 59 * MINUTE, "6 d 7 h"),
        ];
        for (millis, words) in cases {
            assert_eq!(duration(millis), words);
        }
    }

    #[test]
    fn a_text_changes_exactly_when_it_is_said_to() {
        for millis in [
            0,
            1,
            59_999,
            MINUTE,
            90_000,
            HOUR,
            DAY - 1,
            DAY,
            DAY + 1,
            6 * DAY + 7 * HOUR + 123,
        ] {
            let wait = until_change(millis);
            assert_eq!(duration(millis - wait + 1), duration(millis), "{millis} too late");
            if millis >= MINUTE {
                assert_ne!(duration(millis - wait), duration(millis), "{millis} too early");
            }
        }
    }

    #[test]
    fn a_label_shows_every_ampersand_and_stays_on_one_line() {
        assert_eq!(menu_label("R&D\nteam", '&'), "R&&D team");
    }
}
