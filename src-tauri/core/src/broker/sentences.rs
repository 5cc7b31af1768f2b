//! One sentence for each state of an account: the cause first, then what happens or what to do.
//! The words are those of tray, window and command line.

use crate::clock::Timestamp;
use crate::error::ErrorCode;
use crate::routing::TimeZone;
use crate::view::{AccountState, AccountView, RestoreView};

/// Empty for a healthy account: space is attention.
pub(super) fn sentence(view: &AccountView, now: Timestamp, time_zone: &TimeZone) -> String {
    if let Some(lost) = &view.lost {
        return match view.state {
            AccountState::SignedOut => format!("{} Sign in again.", lost.text),
            _ => lost.text.clone(),
        };
    }
    match view.state {
        AccountState::Healthy | AccountState::Static => {
            view.last_error.as_ref().map_or_else(String::new, |error| {
                if error.code == ErrorCode::RefreshSuperseded.as_str() {
                    return format!("{}. {}", capital(&error.message), error.hint);
                }
                format!(
                    "The last renewal did not work: {}. Kalit tries again.",
                    error.message
                )
            })
        }
        AccountState::Renewing => match &view.refreshing {
            Some(lock) => format!("{} is renewing it.", program(lock)),
            None if view.renewal.is_some() => "OpenClaw is refreshing it.".to_owned(),
            None => "It is being renewed.".to_owned(),
        },
        AccountState::Expired => match &view.last_error {
            Some(error) => format!("{}. {}", capital(&error.message), error.hint),
            None if view.renewal.is_some() => {
                "It has expired: OpenClaw renews it when it is next used.".to_owned()
            }
            None => "It has expired and is renewed when it is next used.".to_owned(),
        },
        AccountState::CoolingDown | AccountState::Disabled => {
            let Some(cooldown) = &view.cooldown else {
                return String::new();
            };
            let until = clock_time(cooldown.until, now, time_zone);
            match &cooldown.reason {
                Some(reason) => format!(
                    "OpenClaw leaves it alone until {until} ({}).",
                    reason.replace('_', " ")
                ),
                None => format!("OpenClaw leaves it alone until {until}."),
            }
        }
        AccountState::NeedsDoctor => {
            "OpenClaw keeps this login in a form that Kalit does not open: run `openclaw doctor --fix`."
                .to_owned()
        }
        AccountState::Missing => "It has no usable token or key: sign in again or paste one.".to_owned(),
        AccountState::Unknown => {
            "A renewal was sent and its answer never came. Kalit tries once more after a minute.".to_owned()
        }
        AccountState::Shared if view.renewal.is_some() => format!(
            "{} uses the same login: whoever renews it signs the other out. Sign in separately for OpenClaw.",
            view.shared_with.join(", ")
        ),
        AccountState::Shared => format!(
            "{} uses the same login: whoever renews it signs the other out. Kalit does not renew it. Sign in separately for OpenClaw.",
            view.shared_with.join(", ")
        ),
        AccountState::NotRenewed
        | AccountState::Vanished
        | AccountState::Suspected
        | AccountState::Refused
        | AccountState::Dropped
        | AccountState::SignedOut => String::new(),
    }
}

/// `managed`: in the sqlite era, where Kalit cannot try by itself.
pub(super) fn openclaw_refused(reason: Option<&str>, managed: bool) -> String {
    let what = match reason {
        Some("session_expired") => "OpenClaw was refused: the session has ended.",
        Some(_) => "OpenClaw was refused with this login.",
        None => "OpenClaw tried to renew this login and was refused.",
    };
    let remedy = if managed {
        "Sign in again if it stays so."
    } else {
        "Check now to be sure."
    };
    format!("{what} {remedy}")
}

/// A failed fence.
pub(super) fn dropped(restore: Option<&RestoreView>) -> String {
    let remedy = match restore {
        Some(restore) if restore.offered => restore.text.clone(),
        Some(restore) => format!("{} Sign in again.", restore.text),
        None => "Sign in again.".to_owned(),
    };
    format!("OpenClaw could not renew this login and dropped its token. {remedy}")
}

/// A revocation was sent, and nobody knows what became of it. `managed`: in the sqlite era.
pub(super) fn revoking(managed: bool) -> String {
    let remedy = match managed {
        true => "Remove it, or sign in again.",
        false => "Renew it to find out, or remove it.",
    };
    format!("Signing it out everywhere was begun and not answered: it may have ended. {remedy}")
}

/// Who renews a login of the sqlite era.
pub(super) fn renewed_by_openclaw() -> String {
    "OpenClaw renews it on use, from 5 minutes before it expires.".to_owned()
}

pub(super) fn suspected(attempts: u32) -> String {
    format!(
        "The provider has refused this login {attempts} times without saying why. Check now, or sign in again."
    )
}

pub(super) fn not_renewed(overdue_ms: i64) -> String {
    let minutes = overdue_ms / 60_000;
    let since = match (minutes / 1440, minutes / 60) {
        (0, 0) => format!("{minutes} minutes"),
        (0, 1) => "an hour".to_owned(),
        (0, hours) => format!("{hours} hours"),
        (1, _) => "a day".to_owned(),
        (days, _) => format!("{days} days"),
    };
    format!("It expired {since} ago and nobody has renewed it. Renew it now.")
}

pub(super) fn answer_lost_twice() -> String {
    "A renewal was sent twice and no answer came. Kalit does not try again: sign in again.".to_owned()
}

pub(super) fn vanished(restore: Option<&RestoreView>) -> String {
    let remedy = restore.map_or("Sign in again.", |restore| restore.text.as_str());
    format!("It is gone from the store, not by Kalit. {remedy}")
}

fn program(lock: &crate::view::LockView) -> String {
    match (&lock.program, lock.pid) {
        (Some(program), Some(pid)) => format!("{program} (process {pid})"),
        (None, Some(pid)) => format!("Process {pid}"),
        (_, None) => "Another program".to_owned(),
    }
}

pub(super) fn clock_time(at: Timestamp, now: Timestamp, time_zone: &TimeZone) -> String {
    let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_millis()) else {
        return "later".to_owned();
    };
    let format = if at.millis_since(now) < 86_400_000 {
        "%H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    instant.to_zoned(time_zone.clone()).strftime(format).to_string()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}
