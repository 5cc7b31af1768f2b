//! The words for what the resolution found. Fragments: lower case, without a full stop, with
//! account names only (the profile id's part after the colon).

use std::collections::BTreeMap;

use crate::clock::{TimeZone, Timestamp, moment};
use crate::ids::ProfileId;
use crate::view::{OrderSource, Reason};

use super::{ConfigMode, Input, Unusable};

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
            Self::NotInStore => say!("not in the store"),
            Self::UnknownType => say!("its type is unknown to OpenClaw"),
            Self::OtherProvider => say!("it belongs to another provider"),
            Self::ConfigProvider { provider } => {
                say!(
                    "auth.profiles in openclaw.json names the provider {provider} for it",
                    provider
                )
            }
            Self::ConfigMode { mode } => {
                say!(
                    "auth.profiles in openclaw.json names the mode {mode} for it",
                    mode = mode.as_str()
                )
            }
            Self::NoSecret => say!("it has no token or key"),
            Self::ReferenceUnread => say!("this OpenClaw does not read references to secrets"),
            Self::SideFile => say!("its login is in OpenClaw's encrypted side file"),
            Self::Renewing => say!("OpenClaw is refreshing it"),
            Self::Dropped => say!("OpenClaw could not renew it and dropped the token"),
            Self::Unfinished => say!("its sign-in is not finished"),
            Self::ExpiryInvalid => say!("its end date is not a date"),
            Self::TokenExpired { .. } => say!("its token has ended"),
            Self::NotInStoredOrder => say!("not in the stored order"),
            Self::NotInConfigOrder => say!("not in auth.order of openclaw.json"),
            Self::HiddenByConfig => say!("auth.profiles in openclaw.json lists other accounts only"),
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
        ("session-pin", say!("pinned for this session"))
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
            say!(
                "{rests}: next is {account}",
                rests = resting,
                account = effective.account_name()
            ),
        );
    }
    let (code, mut text) = match found.source {
        OrderSource::Config => ("config-order", say!("auth.order in openclaw.json")),
        OrderSource::Stored | OrderSource::Rotation => ("stored-order", say!("stored order")),
    };
    let passed = found.passed_over.iter().find(|(id, _)| before.contains(&id));
    if let Some((id, cause)) = passed {
        text = say!(
            "{text}; {account} is passed over: {cause}",
            text,
            account = id.account_name(),
            cause = cause.text()
        );
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
    let rotating = || plural!(ready, "rotating over {n}", "rotating over {n}");
    let (code, text) = match (ready, rests) {
        (1, Some(rests)) => (
            "cooldown",
            say!(
                "{rests}: next is {account}",
                rests,
                account = effective.account_name()
            ),
        ),
        (1, None) => ("only-one", say!("only account")),
        (_, Some(rests)) => ("rotating", format!("{}; {rests}", rotating())),
        (_, None) => ("rotating", rotating()),
    };
    // An order that names nobody who exists does not count any more.
    if found.explicit.is_empty() {
        (code, text)
    } else {
        (code, say!("{text}; the order names no account that exists", text))
    }
}

fn none_usable(input: &Input<'_>, found: &Found<'_>) -> Reason {
    let fallback_model = input.fallback_models.first().cloned();
    let soonest = found.candidates.first().and_then(|id| found.unusable.get(id));
    let provider = input.provider_name;
    let mut text = match (soonest, found.passed_over.first()) {
        (Some(window), _) => {
            let until = moment(window.until, input.now, input.time_zone);
            say!(
                "no account is ready for {provider} until {until}",
                provider,
                until
            )
        }
        (None, Some((id, cause))) => say!(
            "no account is ready for {provider} ({account}: {cause})",
            provider,
            account = id.account_name(),
            cause = cause.text()
        ),
        (None, None) if found.source == OrderSource::Config => say!(
            "no account is ready for {provider} (auth.order in openclaw.json is empty)",
            provider
        ),
        (None, None) => say!("no account is ready for {provider}", provider),
    };
    if let Some(model) = &fallback_model {
        text = say!("{text}: next is the model {model}", text, model);
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
        let until = moment(self.until, now, time_zone);
        match self.reason.as_deref() {
            Some("billing") => say!("{name} has no credit, tried again at {until}", name, until),
            Some(reason) => say!(
                "{name} is resting until {until} ({reason})",
                name,
                until,
                reason = cause(reason)
            ),
            None => say!("{name} is resting until {until}", name, until),
        }
    }
}

/// OpenClaw's reason words, for people.
fn cause(reason: &str) -> String {
    match reason {
        "rate_limit" => say!("rate limit"),
        "subscription_limit" => say!("limit of the plan"),
        "overloaded" => say!("provider overloaded"),
        "timeout" => say!("no answer in time"),
        "auth" | "auth_permanent" => say!("sign-in refused"),
        "session_expired" => say!("session expired"),
        "model_not_found" => say!("model not found"),
        "format" | "empty_response" => say!("unusable answer"),
        _ => say!("unknown cause"),
    }
}
