//! The endpoint's logins: one chain of refresh tokens each.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kalit_core::clock::{Clock, SystemClock, Timestamp};
use serde_json::{Map, Value, json};

use crate::canary::{canary, canary_token};

/// A login as it stands when the endpoint starts.
#[derive(Clone, Debug)]
pub struct Login {
    pub account_id: String,
    pub user_id: String,
    pub email: String,
    pub plan: String,
    /// The refresh token that is accepted first.
    pub refresh: String,
}

impl Login {
    /// An invented login that differs from others by its name.
    pub fn named(name: &str, refresh: &str) -> Self {
        Self {
            account_id: format!("acct-{name}"),
            user_id: format!("user-{name}"),
            email: format!("{name}@example.com"),
            plan: "pro".to_owned(),
            refresh: refresh.to_owned(),
        }
    }
}

/// An unsigned access token with OpenAI's claims; `number` tells it from others of the login.
pub fn access_token(login: &Login, lifetime: Duration, number: usize) -> String {
    access_token_at(SystemClock.now(), login, lifetime, number)
}

fn access_token_at(now: Timestamp, login: &Login, lifetime: Duration, number: usize) -> String {
    let now = now.as_millis() / 1000;
    let claims = json!({
        "sub": login.user_id,
        "iat": now,
        "exp": now + i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
        "jti": format!("test-access-{number}"),
        "https://api.openai.com/auth": {
            "chatgpt_account_id": login.account_id,
            "chatgpt_plan_type": login.plan,
            "chatgpt_user_id": login.user_id,
        },
        "https://api.openai.com/profile": {"email": login.email},
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.unsigned", part(&json!({"alg": "none"})), part(&claims))
}

/// The code with which a person comes back from the consent page.
pub fn authorization_code(account_id: &str) -> String {
    format!("test-code-{account_id}")
}

/// The same, such as nothing else on the machine contains.
pub fn canary_code(account_id: &str) -> String {
    format!("{}-{}", authorization_code(account_id), canary("code"))
}

/// Why a refresh token is refused.
#[derive(Debug)]
pub(super) enum Refused {
    Unknown,
    Reuse,
    Ended,
}

#[derive(Debug)]
struct Family {
    login: Login,
    current: String,
    spent: HashSet<String>,
    access: Option<String>,
    live: bool,
}

#[derive(Debug)]
pub(super) struct Families {
    lifetime: Duration,
    families: Vec<Family>,
    issued: usize,
    reuses: usize,
    /// How far the provider's clock is ahead of this machine's, in milliseconds.
    pub(super) ahead_ms: i64,
    /// Whether what is issued is to be looked for.
    pub(super) canaries: bool,
}

impl Families {
    pub(super) fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            families: Vec::new(),
            issued: 0,
            reuses: 0,
            ahead_ms: 0,
            canaries: false,
        }
    }

    /// The provider's time.
    pub(super) fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.ahead_ms)
    }

    pub(super) fn add(&mut self, login: Login) {
        let current = login.refresh.clone();
        self.families.push(Family {
            login,
            current,
            spent: HashSet::new(),
            access: None,
            live: true,
        });
    }

    pub(super) fn revoke(&mut self, account_id: &str) {
        if let Some(family) = self
            .families
            .iter_mut()
            .find(|family| family.login.account_id == account_id)
        {
            family.live = false;
        }
    }

    /// Ends the family whose current token this is.
    pub(super) fn end(&mut self, token: &str) -> bool {
        let mut families = self.families.iter_mut();
        let family = families.find(|family| family.current == token && family.live);
        family.map(|family| family.live = false).is_some()
    }

    /// A new generation for the current token; a spent one ends the family.
    pub(super) fn rotate(&mut self, token: &str) -> Result<Map<String, Value>, Refused> {
        let next = if self.canaries {
            canary("issued")
        } else {
            format!("test-refresh-{}", self.issued + 1)
        };
        self.accept(token, next)
    }

    /// A new access token for the current refresh token, which stays.
    pub(super) fn renew(&mut self, token: &str) -> Result<Map<String, Value>, Refused> {
        self.accept(token, token.to_owned())
    }

    pub(super) fn issued(&self) -> usize {
        self.issued
    }

    pub(super) fn is_live(&self, account_id: &str) -> bool {
        self.newest(account_id).is_some_and(|family| family.live)
    }

    pub(super) fn reuses(&self) -> usize {
        self.reuses
    }

    pub(super) fn current_refresh(&self, account_id: &str) -> Option<String> {
        Some(self.newest(account_id)?.current.clone())
    }

    /// What an authorization code is worth: it signs in again to the login it names.
    pub(super) fn refresh_for(&self, code: &str) -> Option<String> {
        let of_code = |family: &&Family| {
            let rest = code.strip_prefix(&authorization_code(&family.login.account_id));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        Some(self.families.iter().rfind(of_code)?.current.clone())
    }

    pub(super) fn current_access(&self, account_id: &str) -> Option<String> {
        self.newest(account_id)?.access.clone()
    }

    pub(super) fn is_current_access(&self, token: &str) -> bool {
        self.families
            .iter()
            .any(|family| family.access.as_deref() == Some(token))
    }

    /// The account's login that was added last.
    fn newest(&self, account_id: &str) -> Option<&Family> {
        let mut families = self.families.iter().rev();
        families.find(|family| family.login.account_id == account_id)
    }

    fn accept(&mut self, token: &str, next: String) -> Result<Map<String, Value>, Refused> {
        let now = self.now();
        let known = |family: &&mut Family| family.current == token || family.spent.contains(token);
        let family = self.families.iter_mut().find(known).ok_or(Refused::Unknown)?;
        if family.spent.contains(token) {
            self.reuses += 1;
            family.live = false;
            return Err(Refused::Reuse);
        }
        if !family.live {
            return Err(Refused::Ended);
        }
        self.issued += 1;
        let access = match family.login.email.split_once('@') {
            Some((name, _)) if self.canaries => {
                let lifetime = i64::try_from(self.lifetime.as_secs()).unwrap_or(i64::MAX);
                canary_token(name, now.as_millis(), lifetime)
            }
            _ => access_token_at(now, &family.login, self.lifetime, self.issued),
        };
        family.access = Some(access.clone());
        if next != family.current {
            family
                .spent
                .insert(std::mem::replace(&mut family.current, next.clone()));
        }
        let body = json!({
            "access_token": access,
            "refresh_token": next,
            "id_token": access,
            "token_type": "Bearer",
            "expires_in": self.lifetime.as_secs(),
        });
        match body {
            Value::Object(body) => Ok(body),
            _ => Err(Refused::Unknown),
        }
    }
}
