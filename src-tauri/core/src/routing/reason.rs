//! The words for what the resolution found. Fragments: lower case, without a full stop, with
//! account names only (the profile id's part after the colon).

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::ids::ProfileId;
use crate::view::{OrderSource, Reason};

use super::{ConfigMode, Input, TimeZone, Unusable};

/// Why a profile of the provider is not a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassedOver {
    /// Named in an order or in the config, but not in the store.
    NotInStore,
    /// An entry of a type that OpenClaw does not know.
    UnknownType,
    /// The store says that it belongs to another provider.
    OtherProvider,
    /// The config's entry for it names another provider.
    ConfigProvider { provider: String },
    /// The config's entry for it names another mode.
    ConfigMode { mode: ConfigMode },
    /// Neither a secret nor a reference.
    NoSecret,
    /// A reference, and the release reads none.
    ReferenceUnread,
    /// The login is in an encrypted side file.
    SideFile,
    /// OpenClaw renews it at this moment.
    Renewing,
    /// OpenClaw could not renew it and dropped its tokens.
    Dropped,
    /// The unfinished replacement of another credential.
    Unfinished,
    /// `expires` of a static token is no point in time.
    ExpiryInvalid,
    /// A static token has ended.
    TokenExpired { at: Timestamp },
    /// Usable, but not in the stored order.
    NotInStoredOrder,
    /// Usable, but not in `auth.order` of the config.
    NotInConfigOrder,
    /// Usable, but the config lists other profiles of this provider and not this one.
    HiddenByConfig,
}

impl PassedOver {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotInStore => "not-in-store",
            Self::UnknownType => "unknown-type",
            Self::OtherProvider => "other-provider",
            Self::ConfigProvider { .. } => "config-provider",
            Self::ConfigMode { .. } => "config-mode",
            Self::NoSecret => "no-secret",
            Self::ReferenceUnread => "reference-unread",
            Self::SideFile => "side-file",
            Self::Renewing => "renewing",
            Self::Dropped => "dropped",
            Self::Unfinished => "unfinished",
            Self::ExpiryInvalid => "expiry-invalid",
            Self::TokenExpired { .. } => "token-expired",
            Self::NotInStoredOrder => "not-in-stored-order",
            Self::NotInConfigOrder => "not-in-config-order",
            Self::HiddenByConfig => "hidden-by-config",
        }
    }

    /// The cause in words, to stand behind "passed over: ".
    pub fn text(&self) -> String {
        match self {
            Self::NotInStore => "not in the store".to_owned(),
            Self::UnknownType => "its type is unknown to OpenClaw".to_owned(),
            Self::OtherProvider => "it belongs to another provider".to_owned(),
            Self::ConfigProvider { provider } => {
                format!("auth.profiles in openclaw.json names the provider {provider} for it")
            }
            Self::ConfigMode { mode } => {
                format!(
                    "auth.profiles in openclaw.json names the mode {} for it",
                    mode.as_str()
                )
            }
            Self::NoSecret => "it has no token or key".to_owned(),
            Self::ReferenceUnread => "this OpenClaw does not read references to secrets".to_owned(),
            Self::SideFile => "its login is in OpenClaw's encrypted side file".to_owned(),
            Self::Renewing => "OpenClaw is refreshing it".to_owned(),
            Self::Dropped => "OpenClaw could not renew it and dropped the token".to_owned(),
            Self::Unfinished => "its sign-in is not finished".to_owned(),
            Self::ExpiryInvalid => "its end date is not a date".to_owned(),
            Self::TokenExpired { .. } => "its token has ended".to_owned(),
            Self::NotInStoredOrder => "not in the stored order".to_owned(),
            Self::NotInConfigOrder => "not in auth.order of openclaw.json".to_owned(),
            Self::HiddenByConfig => "auth.profiles in openclaw.json lists other accounts only".to_owned(),
        }
    }
}

/// What the resolution found, for [`explain`].
pub(super) struct Found<'f> {
    pub candidates: &'f [ProfileId],
    pub effective: Option<&'f ProfileId>,
    pub pinned: bool,
    pub source: OrderSource,
    pub explicit: &'f [ProfileId],
    pub passed_over: &'f [(ProfileId, PassedOver)],
    pub unusable: &'f BTreeMap<ProfileId, Unusable>,
}

pub(super) fn explain(input: &Input<'_>, found: &Found<'_>) -> Reason {
    let Some(effective) = found.effective else {
        return none_usable(input, found);
    };
    let (code, text) = if found.pinned {
        ("session-pin", "pinned for this session".to_owned())
    } else {
        match found.source {
            OrderSource::Stored | OrderSource::Config => by_order(input, found, effective),
            OrderSource::Rotation => by_rotation(input, found, effective),
        }
    };
    Reason {
        code: code.to_owned(),
        text,
        fallback_model: None,
    }
}

fn by_order(input: &Input<'_>, found: &Found<'_>, effective: &ProfileId) -> (&'static str, String) {
    let before: Vec<&ProfileId> = found.explicit.iter().take_while(|id| *id != effective).collect();
    if let Some(resting) = before.iter().find_map(|id| resting(input, found, id)) {
        return (
            "cooldown",
            format!("{resting}: next is {}", effective.account_name()),
        );
    }
    let (code, mut text) = match found.source {
        OrderSource::Config => ("config-order", "auth.order in openclaw.json".to_owned()),
        OrderSource::Stored | OrderSource::Rotation => ("stored-order", "stored order".to_owned()),
    };
    let passed = found.passed_over.iter().find(|(id, _)| before.contains(&id));
    if let Some((id, cause)) = passed {
        text.push_str(&format!(
            "; {} is passed over: {}",
            id.account_name(),
            cause.text()
        ));
    }
    (code, text)
}

fn by_rotation(input: &Input<'_>, found: &Found<'_>, effective: &ProfileId) -> (&'static str, String) {
    let rests = found.candidates.iter().find_map(|id| resting(input, found, id));
    let ready = found
        .candidates
        .iter()
        .filter(|id| !found.unusable.contains_key(id))
        .count();
    let (code, text) = match (ready, rests) {
        (1, Some(rests)) => (
            "cooldown",
            format!("{rests}: next is {}", effective.account_name()),
        ),
        (1, None) => ("only-one", "only account".to_owned()),
        (ready, Some(rests)) => ("rotating", format!("rotating over {ready}; {rests}")),
        (ready, None) => ("rotating", format!("rotating over {ready}")),
    };
    // An order that names nobody who exists does not count any more.
    if found.explicit.is_empty() {
        (code, text)
    } else {
        (code, format!("{text}; the order names no account that exists"))
    }
}

fn none_usable(input: &Input<'_>, found: &Found<'_>) -> Reason {
    let fallback_model = input.fallback_models.first().cloned();
    let soonest = found.candidates.first().and_then(|id| found.unusable.get(id));
    let mut text = format!("no account is ready for {}", input.provider_name);
    match soonest {
        Some(window) => {
            let until = until(window.until, input.now, input.time_zone);
            text.push_str(&format!(" until {until}"));
        }
        None => match found.passed_over.first() {
            Some((id, cause)) => {
                text.push_str(&format!(" ({}: {})", id.account_name(), cause.text()));
            }
            None if found.source == OrderSource::Config => {
                text.push_str(" (auth.order in openclaw.json is empty)");
            }
            None => {}
        },
    }
    if let Some(model) = &fallback_model {
        text.push_str(&format!(": next is the model {model}"));
    }
    Reason {
        code: "none-usable".to_owned(),
        text,
        fallback_model,
    }
}

/// "studio is resting until 16:40 (rate limit)", if it is.
fn resting(input: &Input<'_>, found: &Found<'_>, id: &ProfileId) -> Option<String> {
    let window = found.unusable.get(id).filter(|_| found.candidates.contains(id))?;
    Some(window.describe(id, input.now, input.time_zone))
}

impl Unusable {
    /// "studio is resting until 16:40 (rate limit)".
    pub fn describe(&self, id: &ProfileId, now: Timestamp, time_zone: &TimeZone) -> String {
        let name = id.account_name();
        let until = until(self.until, now, time_zone);
        match self.reason.as_deref() {
            Some("billing") => format!("{name} has no credit, tried again at {until}"),
            Some(reason) => format!("{name} is resting until {until} ({})", cause(reason)),
            None => format!("{name} is resting until {until}"),
        }
    }
}

/// OpenClaw's reason words, for people.
fn cause(reason: &str) -> String {
    match reason {
        "rate_limit" => "rate limit".to_owned(),
        "subscription_limit" => "limit of the plan".to_owned(),
        "overloaded" => "provider overloaded".to_owned(),
        "timeout" => "no answer in time".to_owned(),
        "auth" | "auth_permanent" => "sign-in refused".to_owned(),
        "session_expired" => "session expired".to_owned(),
        "model_not_found" => "model not found".to_owned(),
        "format" | "empty_response" => "unusable answer".to_owned(),
        _ => "unknown cause".to_owned(),
    }
}

/// The clock time, with the day if it is another one.
fn until(at: Timestamp, now: Timestamp, time_zone: &TimeZone) -> String {
    let local = |at: Timestamp| {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
        Some(instant.to_zoned(time_zone.clone()))
    };
    match (local(at), local(now)) {
        (Some(at), Some(now)) if at.date() == now.date() => at.strftime("%H:%M").to_string(),
        (Some(at), Some(now)) if at.year() == now.year() => at.strftime("%-d %b %H:%M").to_string(),
        (Some(at), _) => at.strftime("%-d %b %Y").to_string(),
        (None, _) => "the far future".to_owned(),
    }
}
