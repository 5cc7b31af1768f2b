//! What a switch writes: the order with the chosen profile first. Plans only; whoever carries one
//! out resolves again from disk and asks [`overridden_by`].

use crate::error::{Error, ErrorCode};
use crate::ids::ProfileId;
use crate::view::OrderSource;

use super::order::{Profiles, distinct, explicit_order, resolve};
use super::{Input, PassedOver, Resolution, TimeZone, Unusable};
use crate::clock::Timestamp;

/// The order to store for the provider, and what to tell the person.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub new_order: Vec<ProfileId>,
    /// The stored order is already this one: nothing is to be written.
    pub unchanged: bool,
    pub notes: Vec<Note>,
    /// What would still stand in the way with the new order, judged at `now`.
    pub overridden: Option<Override>,
}

/// Something a person should know about a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// There was no explicit order: accounts took turns until now.
    RotationBecomesFixed,
    /// `auth.profiles` in openclaw.json hid the profile; the stored order shows it.
    ShownDespiteConfig,
    /// `auth.order` in openclaw.json was in force; the stored order takes its place.
    ReplacesConfigOrder,
}

impl Note {
    /// One sentence.
    pub fn text(self) -> String {
        match self {
            Self::RotationBecomesFixed => {
                say!("Accounts no longer take turns: the order is fixed until it is cleared.")
            }
            Self::ShownDespiteConfig => {
                say!("openclaw.json lists other accounts only; the stored order makes this one visible.")
            }
            Self::ReplacesConfigOrder => {
                say!("The stored order takes the place of auth.order in openclaw.json until it is cleared.")
            }
        }
    }
}

/// Why no order can bring the profile into use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The agent's view of the store has no such profile.
    Unknown,
    /// The profile lies in main's store: OpenClaw ignores or prunes an order for it here.
    Inherited,
    /// It belongs to another provider.
    OtherProvider,
    /// The config's entry for this very id names another provider or mode: another id is needed.
    ConfigDisagrees(PassedOver),
    /// The credential itself cannot be used.
    Unusable(PassedOver),
}

impl Refusal {
    /// The refusal as an error about `id`.
    pub fn into_error(self, id: &ProfileId) -> Error {
        match self {
            Self::Unknown => Error::new(ErrorCode::ProfileUnknown, say!("there is no profile {id}", id)),
            Self::Inherited => Error::new(
                ErrorCode::ProfileInherited,
                say!("{id} lies in the store of the main agent", id),
            ),
            Self::OtherProvider => Error::new(
                ErrorCode::OrderInvalid,
                say!("{id} belongs to another provider", id),
            ),
            Self::ConfigDisagrees(cause) => {
                Error::new(ErrorCode::OrderOverridden, format!("{id}: {}", cause.text())).with_hint(say!(
                    "Sign in again under another profile id (--profile-id), or correct auth.profiles in \
                     openclaw.json."
                ))
            }
            Self::Unusable(cause) => {
                Error::new(ErrorCode::OrderOverridden, format!("{id}: {}", cause.text())).with_hint(say!(
                    "Sign in again, or paste a new token or key for this profile."
                ))
            }
        }
    }
}

/// What keeps the chosen profile from being used although the order names it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    /// A session is pinned to another profile.
    SessionPin(ProfileId),
    /// OpenClaw lets it rest.
    Resting {
        window: Unusable,
        next: Option<ProfileId>,
    },
    /// It is no candidate.
    PassedOver(PassedOver),
    /// Another profile stands before it.
    Order(Option<ProfileId>),
}

impl Override {
    /// One fragment: "studio is resting until 16:40: next is work".
    pub fn text(&self, chosen: &ProfileId, now: Timestamp, time_zone: &TimeZone) -> String {
        match self {
            Self::SessionPin(pinned) => say!(
                "a session is pinned to {account}",
                account = pinned.account_name()
            ),
            Self::Resting { window, next } => {
                let rests = window.describe(chosen, now, time_zone);
                match next {
                    Some(next) => say!("{rests}: next is {account}", rests, account = next.account_name()),
                    None => rests,
                }
            }
            Self::PassedOver(cause) => say!(
                "{account} is passed over: {cause}",
                account = chosen.account_name(),
                cause = cause.text()
            ),
            Self::Order(Some(other)) => say!("{account} comes first", account = other.account_name()),
            Self::Order(None) => say!("no account is used"),
        }
    }
}

/// Plans a switch: the chosen profile first, then those in force in their order, then the other
/// usable ones. Profiles that the order names but that cannot be used now keep their place.
pub fn plan_activation(input: &Input<'_>, chosen: &ProfileId) -> Result<Plan, Refusal> {
    let profiles = Profiles::new(input);
    if let Err(cause) = profiles.judge(chosen) {
        return Err(match cause {
            PassedOver::NotInStore => Refusal::Unknown,
            PassedOver::OtherProvider => Refusal::OtherProvider,
            PassedOver::ConfigProvider { .. } | PassedOver::ConfigMode { .. } => {
                Refusal::ConfigDisagrees(cause)
            }
            other => Refusal::Unusable(other),
        });
    }
    if profiles.find(chosen).is_some_and(|profile| profile.inherited) {
        return Err(Refusal::Inherited);
    }

    let before = resolve(&Input {
        preferred: None,
        ..input.clone()
    });
    let in_force: Vec<&ProfileId> = match explicit_order(input) {
        Some((order, _)) if before.source != OrderSource::Rotation => {
            order.iter().filter(|id| profiles.may_be_ordered(id)).collect()
        }
        Some(_) | None => before.candidates.iter().collect(),
    };
    let others = profiles
        .stored()
        .filter(|id| profiles.judge(id).is_ok())
        .collect();
    let others = profiles.sorted(others, false);
    let order = [chosen].into_iter().chain(in_force).chain(others);
    let new_order: Vec<ProfileId> = distinct(order).into_iter().cloned().collect();

    let mut notes = Vec::new();
    match before.source {
        OrderSource::Rotation => notes.push(Note::RotationBecomesFixed),
        OrderSource::Config => notes.push(Note::ReplacesConfigOrder),
        OrderSource::Stored => {}
    }
    let hidden = before.passed_over.iter().find(|(id, _)| id == chosen);
    if hidden.is_some_and(|(_, cause)| *cause == PassedOver::HiddenByConfig) {
        notes.push(Note::ShownDespiteConfig);
    }
    let after = resolve(&Input {
        stored_order: Some(&new_order),
        ..input.clone()
    });
    Ok(Plan {
        unchanged: input.stored_order == Some(&new_order),
        overridden: overridden_by(&after, chosen),
        notes,
        new_order,
    })
}

/// Plans what a sign-in writes: an explicit order gets the new profile at its end. `None` when
/// there is no explicit order, or when it names the profile already.
pub fn plan_append(input: &Input<'_>, new_id: &ProfileId) -> Option<Plan> {
    let (order, source) = explicit_order(input)?;
    if order.contains(new_id) {
        return None;
    }
    let mut new_order = order.to_vec();
    let mut notes = Vec::new();
    if source == OrderSource::Config {
        let profiles = Profiles::new(input);
        new_order.retain(|id| profiles.may_be_ordered(id));
        notes.push(Note::ReplacesConfigOrder);
    }
    new_order.push(new_id.clone());
    Some(Plan {
        new_order,
        unchanged: false,
        notes,
        overridden: None,
    })
}

/// What keeps `chosen` from being the effective profile; `None` when it is. Choosing what is
/// already in force is success.
pub fn overridden_by(resolution: &Resolution, chosen: &ProfileId) -> Option<Override> {
    if resolution.effective.as_ref() == Some(chosen) {
        return None;
    }
    if let Some((_, cause)) = resolution.passed_over.iter().find(|(id, _)| id == chosen) {
        return Some(Override::PassedOver(cause.clone()));
    }
    if resolution.reason.code == "session-pin"
        && let Some(pinned) = resolution.candidates.first()
    {
        return Some(Override::SessionPin(pinned.clone()));
    }
    let next = resolution.effective.clone();
    match resolution.unusable.get(chosen) {
        Some(window) => Some(Override::Resting {
            window: window.clone(),
            next,
        }),
        None => Some(Override::Order(next)),
    }
}

impl Profiles<'_, '_> {
    /// Whether an order may name the profile: OpenClaw prunes ids that do not exist.
    fn may_be_ordered(&self, id: &ProfileId) -> bool {
        !matches!(
            self.judge(id),
            Err(PassedOver::NotInStore | PassedOver::UnknownType | PassedOver::OtherProvider)
        )
    }
}
