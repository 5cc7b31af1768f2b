//! What it means that logins lie where they lie: a pure function of the places and of what is known of
//! each generation.

mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use self::words::Words;
use super::{Place, Program};
use crate::clock::{TimeZone, Timestamp};
use crate::history::Generation;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::secret::Fingerprint;
use crate::view::radar::{FindingKind, FindingView, PlaceView, Severity};

/// A generation in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    pub owner: Owner,
    pub path: PathBuf,
    pub generation: Fingerprint,
    pub account_id: Option<String>,
    /// When the file was written last.
    pub changed_at: Option<Timestamp>,
}

/// Whose place it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    Profile(Profile),
    Other(Place),
}

/// A profile in one of OpenClaw's stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub state_dir: PathBuf,
    /// Of the installation that is shown.
    pub is_current: bool,
    /// Written by OpenClaw alone.
    pub managed: bool,
    /// The release copies main's store into every new agent.
    pub copies_main: bool,
    pub agent: AgentId,
    pub profile_id: ProfileId,
    pub provider: ProviderId,
    /// When its access token ends.
    pub expires: Option<Timestamp>,
}

/// What is known besides the places.
#[derive(Debug)]
pub struct Known<'a> {
    pub generations: &'a HashMap<Fingerprint, Generation>,
    pub now: Timestamp,
    pub time_zone: &'a TimeZone,
}

impl Known<'_> {
    fn family(&self, generation: Fingerprint) -> Fingerprint {
        let known = self.generations.get(&generation);
        known.map_or(generation, |known| known.family.fingerprint())
    }

    fn is_spent(&self, generation: Fingerprint) -> bool {
        let known = self.generations.get(&generation);
        known.is_some_and(|known| known.superseded_by.is_some_and(|by| by != generation))
    }

    /// The order in which the generations of a family came, as far as it was recorded.
    fn age(&self, generation: Fingerprint) -> (bool, i64) {
        let sequence = self
            .generations
            .get(&generation)
            .map_or(0, |known| known.sequence);
        (!self.is_spent(generation), sequence)
    }
}

impl Spot {
    fn profile(&self) -> Option<&Profile> {
        match &self.owner {
            Owner::Profile(profile) => Some(profile),
            Owner::Other(_) => None,
        }
    }

    fn program(&self) -> Option<Program> {
        match self.owner {
            Owner::Other(Place::Program(program)) => Some(program),
            Owner::Other(Place::Unmoved | Place::Leftover) | Owner::Profile(_) => None,
        }
    }

    fn is_leftover(&self) -> bool {
        self.owner == Owner::Other(Place::Leftover)
    }

    /// Who renews what lies here: two of them clash. A store that its installation has not moved yet is
    /// that one's own.
    fn renewer<'a>(&'a self, all: &[&'a Spot]) -> Renewer<'a> {
        match &self.owner {
            Owner::Profile(profile) => Renewer::OpenClaw(&profile.state_dir),
            Owner::Other(Place::Unmoved) => {
                let mut profiles = all.iter().filter_map(|spot| spot.profile());
                let own = profiles.find(|profile| self.path.starts_with(&profile.state_dir));
                own.map_or(Renewer::Other(Place::Unmoved), |own| {
                    Renewer::OpenClaw(&own.state_dir)
                })
            }
            Owner::Other(place) => Renewer::Other(*place),
        }
    }

    fn view(&self, older: bool) -> PlaceView {
        let profile = self.profile();
        PlaceView {
            what: match &self.owner {
                Owner::Profile(_) | Owner::Other(Place::Unmoved) => "openclaw".to_owned(),
                Owner::Other(Place::Program(program)) => program.word().to_owned(),
                Owner::Other(Place::Leftover) => "leftover".to_owned(),
            },
            name: words::place(self),
            path: self.path.display().to_string(),
            agent: profile.map(|profile| profile.agent.clone()),
            profile_id: profile.map(|profile| profile.profile_id.clone()),
            older,
            changed_at: self.changed_at,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Renewer<'a> {
    OpenClaw(&'a Path),
    Other(Place),
}

/// Every finding, the worst first.
pub fn report(spots: &[Spot], known: &Known<'_>) -> Vec<FindingView> {
    let mut families: BTreeMap<Fingerprint, Vec<&Spot>> = BTreeMap::new();
    for spot in spots {
        families
            .entry(known.family(spot.generation))
            .or_default()
            .push(spot);
    }
    let mut findings = Vec::new();
    for (family, spots) in &families {
        let (leftovers, used): (Vec<&Spot>, Vec<&Spot>) = spots.iter().partition(|spot| spot.is_leftover());
        findings.extend(of_used(*family, &used, known));
        findings.extend(of_leftovers(*family, &leftovers, &used, known));
    }
    findings.extend(same_account(spots, known));
    findings.sort_by(|left, right| {
        (left.severity, left.kind, &left.title).cmp(&(right.severity, right.kind, &right.title))
    });
    findings
}

/// Generations that several hold, and those that are older than another one in use.
fn of_used(family: Fingerprint, used: &[&Spot], known: &Known<'_>) -> Vec<FindingView> {
    let mut generations: Vec<Fingerprint> = used.iter().map(|spot| spot.generation).collect();
    generations.sort_by_key(|generation| std::cmp::Reverse(known.age(*generation)));
    generations.dedup();
    let mut findings = Vec::new();
    let refused = |generation: &Fingerprint| {
        let known = known.generations.get(generation);
        known.is_some_and(|known| known.refusal.is_some())
    };
    for generation in generations.into_iter().filter(|generation| !refused(generation)) {
        let here: Vec<&Spot> = used
            .iter()
            .copied()
            .filter(|spot| spot.generation == generation)
            .collect();
        let words = Words::new(&here, used, known);
        let (kind, severity) = if known.is_spent(generation) {
            (FindingKind::Older, Severity::Clash)
        } else {
            let renewers: BTreeSet<Renewer<'_>> = here.iter().map(|spot| spot.renewer(used)).collect();
            match (renewers.len(), here.len()) {
                (2.., _) => (FindingKind::Shared, Severity::Clash),
                (_, 2..) if here.iter().any(|spot| copied(spot)) => (FindingKind::Copies, Severity::Risk),
                // From 2026.4.29 on OpenClaw renews in the owner's store and mirrors it.
                (_, _) => continue,
            }
        };
        let others: Vec<&Spot> = match kind {
            FindingKind::Older => used
                .iter()
                .copied()
                .filter(|spot| spot.generation != generation)
                .collect(),
            _ => Vec::new(),
        };
        let places = here.iter().map(|spot| spot.view(kind == FindingKind::Older));
        findings.push(FindingView {
            kind,
            severity,
            generation: generation.short(),
            family: known
                .generations
                .contains_key(&generation)
                .then(|| family.short()),
            places: places.chain(others.iter().map(|spot| spot.view(false))).collect(),
            title: words.title(kind),
            text: words.text(kind),
            expected_at: words.expected_at(kind),
            sign_out: words.sign_out(kind),
            ways: words.ways(kind),
        });
    }
    findings
}

/// In an installation whose release renews each copy by itself.
fn copied(spot: &Spot) -> bool {
    spot.profile()
        .is_some_and(|profile| profile.copies_main && !profile.managed)
}

/// Files that nobody renews: one finding for each family and whether it is in use.
fn of_leftovers(
    family: Fingerprint,
    leftovers: &[&Spot],
    used: &[&Spot],
    known: &Known<'_>,
) -> Option<FindingView> {
    let first = leftovers.first()?;
    let words = Words::new(leftovers, used, known);
    Some(FindingView {
        kind: FindingKind::Leftover,
        severity: Severity::Note,
        generation: first.generation.short(),
        family: known
            .generations
            .contains_key(&first.generation)
            .then(|| family.short()),
        places: leftovers
            .iter()
            .map(|spot| spot.view(known.is_spent(spot.generation)))
            .collect(),
        title: words.title(FindingKind::Leftover),
        text: words.text(FindingKind::Leftover),
        expected_at: None,
        sign_out: None,
        ways: words.ways(FindingKind::Leftover),
    })
}

/// A program and OpenClaw with logins of their own to one account.
fn same_account(spots: &[Spot], known: &Known<'_>) -> Vec<FindingView> {
    let mut findings = Vec::new();
    for program in spots.iter().filter(|spot| spot.program().is_some()) {
        let Some(account) = &program.account_id else {
            continue;
        };
        let related: Vec<&Spot> = spots
            .iter()
            .filter(|spot| spot.profile().is_some() && spot.account_id.as_ref() == Some(account))
            .collect();
        let family = known.family(program.generation);
        if related.is_empty() || related.iter().any(|spot| known.family(spot.generation) == family) {
            continue;
        }
        let here = [&[program], &related[..]].concat();
        let words = Words::new(&here, &[], known);
        findings.push(FindingView {
            kind: FindingKind::SameAccount,
            severity: Severity::Note,
            generation: program.generation.short(),
            family: None,
            places: here.iter().map(|spot| spot.view(false)).collect(),
            title: words.title(FindingKind::SameAccount),
            text: words.text(FindingKind::SameAccount),
            expected_at: None,
            sign_out: words.sign_out(FindingKind::SameAccount),
            ways: Vec::new(),
        });
    }
    findings
}

#[cfg(test)]
mod tests;
