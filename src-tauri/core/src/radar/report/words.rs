//! What a finding says.

use std::collections::BTreeSet;

use super::{Known, Owner, Profile, Spot};
use crate::clock::{Timestamp, moment};
use crate::language;
use crate::radar::{Place, Program};
use crate::view::radar::{FindingKind, WayAccount, WayView};

/// OpenClaw and Codex CLI renew from five minutes before the access token ends.
const LEAD_MS: i64 = 5 * 60_000;

/// The places of one generation, among those of its family.
pub(super) struct Words<'a> {
    here: &'a [&'a Spot],
    /// All places of the family in use, these included.
    used: &'a [&'a Spot],
    known: &'a Known<'a>,
}

/// What a place is called.
pub(super) fn place(spot: &Spot) -> String {
    match &spot.owner {
        Owner::Profile(profile) if profile.is_current => say!(
            "{name} in {agent}",
            name = profile.profile_id.account_name(),
            agent = profile.agent
        ),
        Owner::Profile(profile) => say!(
            "{name} in OpenClaw in {path}",
            name = profile.profile_id.account_name(),
            path = profile.state_dir.display()
        ),
        Owner::Other(place) => language::fixed(place.name()),
    }
}

impl<'a> Words<'a> {
    pub(super) const fn new(here: &'a [&'a Spot], used: &'a [&'a Spot], known: &'a Known<'a>) -> Self {
        Self { here, used, known }
    }

    pub(super) fn title(&self, kind: FindingKind) -> String {
        let names = list(self.here.iter().map(|spot| place(spot)));
        match kind {
            FindingKind::Shared => say!("One login in several hands: {names}", names),
            FindingKind::Older => say!("An older copy of a login in use: {names}", names),
            FindingKind::Copies => say!("Copies of one login: {names}", names),
            FindingKind::SameAccount => say!("Two logins of one account: {names}", names),
            FindingKind::Leftover if self.used.is_empty() => say!("Old files with a login that nobody uses"),
            FindingKind::Leftover => say!("Old files with a login in use"),
        }
    }

    pub(super) fn text(&self, kind: FindingKind) -> String {
        match kind {
            FindingKind::Shared => {
                let when = match self.expected_at(kind) {
                    Some(at) if at > self.known.now => {
                        let at = moment(at, self.known.now, self.known.time_zone);
                        say!("The next renewal is due about {at}.", at)
                    }
                    _ => say!("The next renewal can come at any moment."),
                };
                let what = say!(
                    "Whoever renews it first gets new tokens; the other is signed out, and the provider may end the login for both."
                );
                format!("{when} {what}")
            }
            FindingKind::Older => match self.successor() {
                Some(successor) => say!(
                    "{successor} has newer tokens of this login: the older copy is most likely spent. Whoever sends it is signed out, and the provider may end the newer one with it.",
                    successor
                ),
                None => say!(
                    "This login was renewed since: the copy is spent. Whoever sends it is signed out, and the provider may end the newer one with it."
                ),
            },
            FindingKind::Copies => say!(
                "This OpenClaw renews each copy by itself, and the first renewal signs the others out. Kalit renews them together while it runs."
            ),
            FindingKind::SameAccount => {
                say!("Each renews its own: that is as it should be.")
            }
            FindingKind::Leftover if self.used.is_empty() => {
                say!("Who can read these files may use the login while it lasts.")
            }
            FindingKind::Leftover => say!(
                "OpenClaw may bring such a copy back when it finds no store, and a spent copy that comes back can end the login."
            ),
        }
    }

    /// When the access token that they all have comes near its end.
    pub(super) fn expected_at(&self, kind: FindingKind) -> Option<Timestamp> {
        let ends = self.profiles().filter_map(|profile| profile.expires).min();
        match kind {
            FindingKind::Shared | FindingKind::Copies => Some(ends?.plus_millis(-LEAD_MS)),
            FindingKind::Older | FindingKind::SameAccount | FindingKind::Leftover => None,
        }
    }

    pub(super) fn sign_out(&self, kind: FindingKind) -> Option<String> {
        let program = self.here.iter().find_map(|spot| spot.program())?;
        Some(match (kind, program) {
            (FindingKind::SameAccount, Program::Codex) => {
                say!("`codex logout` and `codex login` may end the other login of this account, too.")
            }
            (FindingKind::SameAccount, _) => return None,
            (_, Program::Codex) => say!(
                "`codex logout` and `codex login` end it at the provider, and so for OpenClaw: use neither while it is shared."
            ),
            (_, other) => say!(
                "Signing out in {program} may end it for OpenClaw, too.",
                program = other.name()
            ),
        })
    }

    pub(super) fn ways(&self, kind: FindingKind) -> Vec<WayView> {
        let mut ways = Vec::new();
        match kind {
            FindingKind::Shared | FindingKind::Older => {
                ways.extend(self.own_logins());
                ways.extend(self.files_to_delete());
            }
            FindingKind::Copies => {
                ways.extend(self.profiles().next().map(|profile| WayView {
                    code: "one-owner".to_owned(),
                    text: say!("Make main the owner: the other agents read its login."),
                    command: Some(format!("kalit one-owner {}", profile.profile_id)),
                    account: Some(account(profile)),
                }));
            }
            FindingKind::Leftover => ways.push(WayView {
                code: "delete-file".to_owned(),
                text: say!("Delete the files if you do not need them."),
                command: None,
                account: None,
            }),
            FindingKind::SameAccount => {}
        }
        ways
    }

    /// A new login for each profile of the shown installation: the other program keeps this one.
    fn own_logins(&self) -> impl Iterator<Item = WayView> {
        let mut seen = BTreeSet::new();
        let here = self.profiles().filter(|profile| profile.is_current);
        here.filter(move |profile| seen.insert((&profile.agent, &profile.profile_id)))
            .map(|profile| WayView {
                code: "own-login".to_owned(),
                text: say!(
                    "Sign in again for {name} in {agent}: OpenClaw gets a login of its own, and nothing else changes.",
                    name = profile.profile_id.account_name(),
                    agent = profile.agent
                ),
                command: Some(format!(
                    "kalit login {} --agent {} --profile-id {}",
                    profile.provider, profile.agent, profile.profile_id
                )),
                account: Some(account(profile)),
            })
    }

    /// The other programs' copies: deleted, not signed out.
    fn files_to_delete(&self) -> impl Iterator<Item = WayView> {
        self.here.iter().filter_map(|spot| {
            // An item of the keychain is no file.
            let program = spot.program().filter(|_| spot.path.is_absolute())?;
            Some(WayView {
                code: "delete-file".to_owned(),
                text: say!(
                    "To leave it to OpenClaw, delete `{path}` without signing out there; {program} asks for a login of its own then.",
                    path = spot.path.display(),
                    program = program.name()
                ),
                command: None,
                account: None,
            })
        })
    }

    fn profiles(&self) -> impl Iterator<Item = &'a Profile> {
        self.here.iter().filter_map(|spot| spot.profile())
    }

    /// Who holds the newest generation of the family.
    fn successor(&self) -> Option<String> {
        let held = self.here.first()?.generation;
        let newest = self.used.iter().filter(|spot| spot.generation != held);
        let newest = newest.max_by_key(|spot| self.known.age(spot.generation))?;
        Some(match newest.owner {
            Owner::Other(Place::Program(program)) => program.name().to_owned(),
            Owner::Other(_) | Owner::Profile(_) => place(newest),
        })
    }
}

fn account(profile: &Profile) -> WayAccount {
    WayAccount {
        provider: profile.provider.clone(),
        agent: profile.agent.clone(),
        profile_id: profile.profile_id.clone(),
    }
}

fn list(names: impl Iterator<Item = String>) -> String {
    let mut seen = BTreeSet::new();
    let names: Vec<String> = names.filter(|name| seen.insert(name.clone())).collect();
    names.join(", ")
}
