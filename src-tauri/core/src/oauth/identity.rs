//! Who an account is, whether two sign-ins are the same account, and what a new profile is called.
//! Pure: no store is looked at here.

use crate::ids::{ProfileId, ProviderId};
use crate::{Error, ErrorCode, Result};

use super::claims::Claims;
use super::provider::Provider;

/// An account: provider, subject and account id together. An account id alone can be a workspace
/// that a whole team shares, and one e-mail can hold two plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    provider: ProviderId,
    issuer: Option<String>,
    subject: Option<String>,
    account: Account,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Account {
    /// The provider's manifest names no such claim: subjects are enough.
    NotUsed,
    Unknown,
    Known(String),
}

/// What comparing two identities says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// Equal in all parts: the profile may be replaced.
    Same,
    /// A part differs.
    Different,
    /// A part is unknown on one side: ask, never replace by default.
    Unsure,
}

impl Identity {
    /// What these claims say, under the provider's id in its manifest whatever alias was used.
    pub fn of(provider: &Provider, claims: &Claims) -> Self {
        let account = match &claims.account_id {
            _ if provider.claims().account_id.is_empty() => Account::NotUsed,
            Some(id) => Account::Known(id.clone()),
            None => Account::Unknown,
        };
        Self {
            provider: provider.id().clone(),
            issuer: claims.issuer.clone(),
            subject: claims.subject.clone(),
            account,
        }
    }

    /// The same, with the account id that a stored credential carries beside its tokens, unless
    /// the tokens named one.
    #[must_use]
    pub fn with_stored_account(mut self, account_id: Option<&str>) -> Self {
        if let (Account::Unknown, Some(id)) = (&self.account, account_id.filter(|id| !id.is_empty())) {
            self.account = Account::Known(id.to_owned());
        }
        self
    }

    /// The person, if known.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// The account or workspace, if known.
    pub fn account_id(&self) -> Option<&str> {
        match &self.account {
            Account::Known(id) => Some(id),
            Account::Unknown | Account::NotUsed => None,
        }
    }

    /// Compares all parts. Two issuers under one provider id (a manifest that was pointed to
    /// another server) are never the same without asking.
    pub fn compare(&self, other: &Identity) -> Sameness {
        if self.provider != other.provider {
            return Sameness::Different;
        }
        let subjects = compare_known(self.subject.as_deref(), other.subject.as_deref());
        let accounts = match (&self.account, &other.account) {
            (Account::NotUsed, Account::NotUsed) => Sameness::Same,
            _ => compare_known(self.account_id(), other.account_id()),
        };
        let issuers = match (&self.issuer, &other.issuer) {
            (Some(ours), Some(theirs)) if ours.trim_end_matches('/') != theirs.trim_end_matches('/') => {
                Sameness::Unsure
            }
            _ => Sameness::Same,
        };
        [subjects, accounts, issuers]
            .into_iter()
            .fold(Sameness::Same, Sameness::and)
    }
}

impl Sameness {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Sameness::Different, _) | (_, Sameness::Different) => Sameness::Different,
            (Sameness::Unsure, _) | (_, Sameness::Unsure) => Sameness::Unsure,
            (Sameness::Same, Sameness::Same) => Sameness::Same,
        }
    }
}

fn compare_known(ours: Option<&str>, theirs: Option<&str>) -> Sameness {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours == theirs => Sameness::Same,
        (Some(_), Some(_)) => Sameness::Different,
        (None, _) | (_, None) => Sameness::Unsure,
    }
}

/// Fails when a sign-in's tokens do not say enough to store it: nobody named, or no account id
/// where the provider's manifest expects one (OpenClaw cannot use such a profile).
pub fn require(provider: &Provider, claims: &Claims) -> Result<Identity> {
    let identity = Identity::of(provider, claims);
    let nobody = claims.subject.is_none() && claims.email.is_none() && provider.account().is_none();
    if identity.account == Account::Unknown || (nobody && identity.account_id().is_none()) {
        return Err(Error::new(
            ErrorCode::LoginIdentityMissing,
            say!(
                "{provider} did not say which account signed in",
                provider = provider.name()
            ),
        ));
    }
    Ok(identity)
}

/// A free id for a new profile: `<prefix>:<email>`; taken by another identity: with `-<plan>`,
/// then with `-2`, `-3` and so on. `prefix` is the provider id as the OpenClaw release writes it
/// (`openai-codex` up to 2026.5.28, `openai` from 2026.6.1). Without an e-mail the subject stands
/// in, as OpenClaw 2026.9.6 does with `id-…`.
pub fn new_profile_id(
    prefix: &ProviderId,
    account: Option<&str>,
    claims: &Claims,
    taken: impl Fn(&ProfileId) -> bool,
) -> Option<ProfileId> {
    let name = match (&claims.email, &claims.subject) {
        (Some(email), _) => email.clone(),
        (None, Some(subject)) => format!("id-{subject}"),
        (None, None) => account.unwrap_or("default").to_owned(),
    };
    let base = plain(&format!("{prefix}:{name}"));
    let with_plan = claims.plan.as_ref().map(|plan| format!("{base}-{}", plain(plan)));
    let numbered = (2..1000).map(|number| format!("{base}-{number}"));
    std::iter::once(base.clone())
        .chain(with_plan)
        .chain(numbered)
        .filter_map(|text| ProfileId::parse(&text))
        .find(|id| !taken(id))
}

/// Characters that `/model …@<id>` does not accept become `-`.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '@' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::testing::{manifest, openai};
    use serde_json::json;

    fn claims(subject: Option<&str>, account: Option<&str>) -> Claims {
        Claims {
            subject: subject.map(str::to_owned),
            account_id: account.map(str::to_owned),
            ..Claims::default()
        }
    }

    #[test]
    fn identities_are_compared_part_by_part() {
        use Sameness::{Different, Same, Unsure};
        let full = (Some("u"), Some("a"));
        let cases = [
            (full, full, Same),
            (full, (Some("v"), Some("a")), Different),
            (full, (Some("u"), Some("b")), Different),
            (full, (None, Some("a")), Unsure),
            (full, (Some("u"), None), Unsure),
            (full, (None, None), Unsure),
            (full, (Some("v"), None), Different),
            (full, (None, Some("b")), Different),
            ((None, None), (None, None), Unsure),
        ];
        let provider = openai();
        for (ours, theirs, expected) in cases {
            let ours = Identity::of(&provider, &claims(ours.0, ours.1));
            let theirs = Identity::of(&provider, &claims(theirs.0, theirs.1));
            assert_eq!(ours.compare(&theirs), expected, "{ours:?} {theirs:?}");
            assert_eq!(theirs.compare(&ours), expected, "{theirs:?} {ours:?}");
        }
    }

    #[test]
    fn a_provider_without_account_ids_is_compared_by_subject() {
        let provider = manifest(&json!({"manifest": 1, "id": "acme", "flow": "api-key"}));
        let one = Identity::of(&provider, &claims(Some("u"), Some("ignored")));
        let same = Identity::of(&provider, &claims(Some("u"), None));
        assert_eq!(one.compare(&same), Sameness::Same);
        let unknown = Identity::of(&provider, &claims(None, None));
        assert_eq!(one.compare(&unknown), Sameness::Unsure);
        let elsewhere = Identity::of(&openai(), &claims(Some("u"), None));
        assert_eq!(one.compare(&elsewhere), Sameness::Different);
    }

    #[test]
    fn another_issuer_is_never_silently_the_same() {
        let provider = openai();
        let at = |issuer: &str| {
            let claims = Claims {
                issuer: Some(issuer.to_owned()),
                ..claims(Some("u"), Some("a"))
            };
            Identity::of(&provider, &claims)
        };
        let real = at("https://auth.openai.com");
        assert_eq!(real.compare(&at("https://auth.openai.com/")), Sameness::Same);
        assert_eq!(real.compare(&at("http://127.0.0.1:9")), Sameness::Unsure);
    }

    #[test]
    fn the_stored_account_id_fills_a_gap_but_wins_nothing() {
        let provider = openai();
        let full = Identity::of(&provider, &claims(Some("u"), Some("a")));
        let gap = || Identity::of(&provider, &claims(Some("u"), None));
        assert_eq!(
            gap().with_stored_account(Some("a")).compare(&full),
            Sameness::Same
        );
        assert_eq!(
            gap().with_stored_account(Some("")).compare(&full),
            Sameness::Unsure
        );
        assert_eq!(
            full.clone().with_stored_account(Some("b")).compare(&full),
            Sameness::Same
        );
    }

    #[test]
    fn tokens_that_name_nobody_are_refused() {
        let provider = openai();
        assert!(require(&provider, &claims(Some("u"), Some("a"))).is_ok());
        for (subject, account) in [(Some("u"), None), (None, None)] {
            let error = require(&provider, &claims(subject, account)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::LoginIdentityMissing);
        }
        let acme = manifest(&json!({"manifest": 1, "id": "acme", "flow": "api-key"}));
        assert!(require(&acme, &claims(Some("u"), None)).is_ok());
        assert!(require(&acme, &claims(None, None)).is_err());
        let silent = json!({"manifest": 1, "id": "acme", "flow": "api-key", "account": "github"});
        assert!(require(&manifest(&silent), &claims(None, None)).is_ok());
    }

    #[test]
    fn new_profile_ids_follow_email_plan_and_number() {
        let prefix = ProviderId::parse("openai-codex").unwrap();
        let claims = Claims {
            email: Some("me+kalit@example.com".to_owned()),
            plan: Some("Team Plus".to_owned()),
            subject: Some("auth0|1".to_owned()),
            ..Claims::default()
        };
        let id = |claims: &Claims, taken: &[&str]| {
            new_profile_id(&prefix, None, claims, |id| taken.contains(&id.as_str()))
                .unwrap()
                .to_string()
        };
        let base = "openai-codex:me-kalit@example.com";
        let plan = "openai-codex:me-kalit@example.com-Team-Plus";
        let second = "openai-codex:me-kalit@example.com-2";
        let third = "openai-codex:me-kalit@example.com-3";
        assert_eq!(id(&claims, &[]), base);
        assert_eq!(id(&claims, &[base]), plan);
        assert_eq!(id(&claims, &[base, plan]), second);
        assert_eq!(id(&claims, &[base, plan, second]), third);

        let planless = Claims {
            plan: None,
            ..claims.clone()
        };
        assert_eq!(id(&planless, &[base]), second);
        let mailless = Claims {
            email: None,
            ..claims.clone()
        };
        assert_eq!(id(&mailless, &[]), "openai-codex:id-auth0-1");
        assert_eq!(id(&Claims::default(), &[]), "openai-codex:default");
        let named = |taken: bool| {
            let is_taken = |id: &ProfileId| taken && id.account_name() == "github";
            new_profile_id(&prefix, Some("github"), &Claims::default(), is_taken)
                .unwrap()
                .to_string()
        };
        assert_eq!(
            (named(false), named(true)),
            (
                "openai-codex:github".to_owned(),
                "openai-codex:github-2".to_owned()
            )
        );
    }

    #[test]
    fn a_thousand_taken_ids_end_the_search() {
        let prefix = ProviderId::parse("openai").unwrap();
        assert_eq!(new_profile_id(&prefix, None, &Claims::default(), |_| true), None);
    }
}
