//! One sentence for each state of an account: the cause first, then what happens or what to do.
//! The words are those of tray, window and command line.

use crate::clock::{TimeZone, Timestamp, moment};
use crate::error::ErrorCode;
use crate::radar::Program;
use crate::view::{AccountState, AccountView, RestoreView};
use crate::why::{self, WayBack};

/// Empty for a healthy account: space is attention.
pub(super) fn sentence(view: &AccountView, now: Timestamp, time_zone: &TimeZone) -> String {
    if let Some(lost) = &view.lost {
        return match view.state {
            AccountState::SignedOut => format!("{} {}", lost.text, say!("Sign in again.")),
            _ => lost.text.clone(),
        };
    }
    match view.state {
        AccountState::Healthy | AccountState::Static => {
            if is_superseded(view) {
                return last_error(view);
            }
            view.last_error.as_ref().map_or_else(String::new, |error| {
                say!(
                    "The last renewal did not work: {why}. Kalit tries again.",
                    why = error.message
                )
            })
        }
        AccountState::Renewing => match &view.refreshing {
            Some(lock) => say!("{program} is renewing it.", program = program(lock)),
            None if view.renewal.is_some() => say!("OpenClaw is refreshing it."),
            None => say!("It is being renewed."),
        },
        AccountState::Expired => match &view.last_error {
            Some(_) => last_error(view),
            None if view.renewal.is_some() => {
                say!("It has expired: OpenClaw renews it when it is next used.")
            }
            None => say!("It has expired and is renewed when it is next used."),
        },
        AccountState::CoolingDown | AccountState::Disabled => {
            let Some(cooldown) = &view.cooldown else {
                return String::new();
            };
            let until = moment(cooldown.until, now, time_zone);
            match &cooldown.reason {
                Some(reason) => say!(
                    "OpenClaw leaves it alone until {until} ({cause}).",
                    until,
                    cause = cause(reason)
                ),
                None => say!("OpenClaw leaves it alone until {until}.", until),
            }
        }
        AccountState::NeedsDoctor => {
            say!("OpenClaw keeps this login in a form that Kalit does not open: run `openclaw doctor --fix`.")
        }
        AccountState::Missing => say!("It has no usable token or key: sign in again or paste one."),
        AccountState::Unknown => {
            say!("A renewal was sent and its answer never came. Kalit tries once more after a minute.")
        }
        AccountState::Shared if is_superseded(view) => last_error(view),
        AccountState::Shared if view.shared_with.iter().any(|name| name == Program::Codex.name()) => format!(
            "{} {}",
            shared(view),
            say!("`codex logout` and `codex login` end it here, too.")
        ),
        AccountState::Shared => shared(view),
        AccountState::NotRenewed
        | AccountState::Vanished
        | AccountState::Suspected
        | AccountState::Refused
        | AccountState::Dropped
        | AccountState::SignedOut => String::new(),
    }
}

fn is_superseded(view: &AccountView) -> bool {
    let code = ErrorCode::RefreshSuperseded.as_str();
    view.last_error.as_ref().is_some_and(|error| error.code == code)
}

/// What went wrong last, and what to do.
fn last_error(view: &AccountView) -> String {
    let error = view.last_error.as_ref();
    error.map_or_else(String::new, |error| {
        format!("{}. {}", capital(&error.message), error.hint)
    })
}

fn shared(view: &AccountView) -> String {
    let programs = view.shared_with.join(", ");
    if view.renewal.is_some() {
        return say!(
            "{programs} uses the same login: whoever renews it signs the other out. Sign in separately for OpenClaw.",
            programs
        );
    }
    say!(
        "{programs} uses the same login: whoever renews it signs the other out. Kalit does not renew it. Sign in separately for OpenClaw.",
        programs
    )
}

/// A mark of OpenClaw's. `reason`: its own word, where it left one.
pub(super) fn refused(reason: Option<&str>) -> String {
    match reason {
        Some("session_expired") => say!("OpenClaw was refused: the session has ended."),
        Some(_) => say!("OpenClaw was refused with this login."),
        None => say!("OpenClaw tried to renew this login and was refused."),
    }
}

/// With what to do. `managed`: in the sqlite era, where Kalit cannot try by itself.
pub(super) fn openclaw_refused(reason: Option<&str>, managed: bool) -> String {
    format!("{} {}", refused(reason), why::check(managed))
}

/// A failed fence.
pub(super) fn fenced() -> String {
    say!("OpenClaw could not renew this login and dropped its token.")
}

/// With what to do.
pub(super) fn dropped(restore: Option<&RestoreView>) -> String {
    format!(
        "{} {}",
        fenced(),
        why::way_back(restore.map(WayBack::of).as_ref())
    )
}

/// A revocation was sent, and nobody knows what became of it. `managed`: in the sqlite era.
pub(super) fn revoking(managed: bool) -> String {
    match managed {
        true => say!(
            "Signing it out everywhere was begun and not answered: it may have ended. Remove it, or sign in again."
        ),
        false => say!(
            "Signing it out everywhere was begun and not answered: it may have ended. Renew it to find out, or remove it."
        ),
    }
}

/// Who renews a login of the sqlite era.
pub(super) fn renewed_by_openclaw() -> String {
    say!("OpenClaw renews it on use, from 5 minutes before it expires.")
}

pub(super) fn suspected(attempts: u32) -> String {
    plural!(
        attempts,
        "The provider has refused this login {n} time without saying why.",
        "The provider has refused this login {n} times without saying why."
    )
}

pub(super) fn not_renewed(overdue_ms: i64) -> String {
    let minutes = overdue_ms / 60_000;
    match (minutes / 1440, minutes / 60) {
        (0, 0) => plural!(
            minutes,
            "It expired {n} minute ago and nobody has renewed it.",
            "It expired {n} minutes ago and nobody has renewed it."
        ),
        (0, hours) => plural!(
            hours,
            "It expired an hour ago and nobody has renewed it.",
            "It expired {n} hours ago and nobody has renewed it."
        ),
        (days, _) => plural!(
            days,
            "It expired a day ago and nobody has renewed it.",
            "It expired {n} days ago and nobody has renewed it."
        ),
    }
}

pub(super) fn answer_lost_twice() -> String {
    format!(
        "{} {}",
        sent_twice(),
        say!("Kalit does not try again: sign in again.")
    )
}

pub(super) fn sent_twice() -> String {
    say!("A renewal was sent twice and no answer came.")
}

pub(super) fn gone() -> String {
    say!("It is gone from the store, not by Kalit.")
}

/// With what to do.
pub(super) fn vanished(restore: Option<&RestoreView>) -> String {
    format!("{} {}", gone(), why::put_back(restore.map(WayBack::of).as_ref()))
}

/// OpenClaw's word for why it leaves an account alone, for people.
fn cause(reason: &str) -> String {
    match reason {
        "rate_limit" => say!("rate limit"),
        "subscription_limit" => say!("subscription limit"),
        "overloaded" => say!("overloaded"),
        "timeout" => say!("timeout"),
        "billing" => say!("billing"),
        "session_expired" => say!("session expired"),
        "model_not_found" => say!("model not found"),
        _ => reason.replace('_', " "),
    }
}

fn program(lock: &crate::view::LockView) -> String {
    match (&lock.program, lock.pid) {
        (Some(program), Some(pid)) => say!("{program} (process {pid})", program, pid),
        (None, Some(pid)) => say!("Process {pid}", pid),
        (_, None) => say!("Another program"),
    }
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
