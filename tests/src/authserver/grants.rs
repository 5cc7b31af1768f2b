//! What the server remembers: open consents, codes, and families of refresh tokens. A family is
//! the chain that began with one sign-in; a spent token that comes back ends it (RFC 9700,
//! section 4.14).

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kalit_core::clock::{Clock, SystemClock};
use rand::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CLIENT_ID, Revocation};
use crate::http::{Request, value_of};

/// An invented person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub email: &'static str,
    pub plan: &'static str,
    pub account_id: &'static str,
    pub user_id: &'static str,
}

/// Everybody who can sign in; the first is chosen on the consent page.
pub const ACCOUNTS: [Account; 2] = [
    Account {
        email: "ada@example.com",
        plan: "plus",
        account_id: "acct-demo-ada",
        user_id: "user-demo-ada",
    },
    Account {
        email: "grace@example.com",
        plan: "pro",
        account_id: "acct-demo-grace",
        user_id: "user-demo-grace",
    },
];

/// An authorization request that passed its checks.
#[derive(Clone, Debug)]
pub(super) struct Consent {
    pub(super) redirect_uri: String,
    state: String,
    challenge: String,
}

impl Consent {
    /// The checks of an authorization server that nobody can be redirected through: a fault in
    /// client or redirect is told on a page, never by redirect.
    pub(super) fn parse(request: &Request) -> Result<Self, &'static str> {
        let field = |name| request.query(name).unwrap_or_default();
        if field("client_id") != CLIENT_ID {
            return Err("This client is not registered");
        }
        let redirect_uri = field("redirect_uri").to_owned();
        let loopback = url::Url::parse(&redirect_uri).is_ok_and(|url| {
            url.scheme() == "http"
                && matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
                && url.path() == "/auth/callback"
                && url.query().is_none()
        });
        if !loopback {
            return Err("This redirect address is not registered");
        }
        if field("response_type") != "code" {
            return Err("Only response_type=code is offered");
        }
        if field("code_challenge_method") != "S256" || field("code_challenge").len() != 43 {
            return Err("PKCE with S256 is required");
        }
        if field("state").is_empty() {
            return Err("A state is required");
        }
        Ok(Self {
            redirect_uri,
            state: field("state").to_owned(),
            challenge: field("code_challenge").to_owned(),
        })
    }

    fn answer(&self, pairs: &[(&str, &str)]) -> Option<String> {
        let mut url = url::Url::parse(&self.redirect_uri).ok()?;
        url.query_pairs_mut()
            .extend_pairs(pairs)
            .append_pair("state", &self.state);
        Some(url.into())
    }
}

/// The answer to a token request.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) account: Account,
    pub(super) family: usize,
    pub(super) refresh: String,
    access: String,
    lifetime: Duration,
}

impl Tokens {
    pub(super) fn body(&self) -> Value {
        json!({
            "access_token": self.access,
            "refresh_token": self.refresh,
            "id_token": self.access,
            "token_type": "Bearer",
            "expires_in": self.lifetime.as_secs(),
            "scope": "openid profile email offline_access",
        })
    }
}

/// A refused token request, told as OpenAI tells it (providers, section 1.5).
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    message: &'static str,
    pub(super) account: Option<&'static str>,
    pub(super) family: Option<usize>,
}

impl Refusal {
    pub(super) fn grant(code: &'static str, message: &'static str) -> Self {
        Self {
            status: 400,
            code,
            message,
            account: None,
            family: None,
        }
    }

    fn token(code: &'static str, message: &'static str, family: Option<(usize, &Family)>) -> Self {
        Self {
            status: 401,
            code,
            message,
            account: family.map(|(_, family)| family.account.email),
            family: family.map(|(number, _)| number),
        }
    }

    pub(super) fn body(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": "invalid_request_error",
            "param": null,
            "code": self.code,
        }})
    }
}

/// One account as the page shows it.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) account: Account,
    pub(super) live: usize,
    pub(super) ended: usize,
    pub(super) refreshes: usize,
}

#[derive(Debug)]
struct Family {
    account: Account,
    current: String,
    refreshes: usize,
    live: bool,
}

#[derive(Debug)]
enum Code {
    Open { consent: Consent, account: Account },
    Used { family: Option<usize> },
}

#[derive(Debug)]
pub(super) struct Grants {
    lifetime: Duration,
    revocation: Revocation,
    consents: HashMap<String, Consent>,
    codes: HashMap<String, Code>,
    families: Vec<Family>,
    /// Every refresh token ever issued, with the family it belongs to.
    issued: HashMap<String, usize>,
}

impl Grants {
    pub(super) fn new(lifetime: Duration, revocation: Revocation) -> Self {
        Self {
            lifetime,
            revocation,
            consents: HashMap::new(),
            codes: HashMap::new(),
            families: Vec::new(),
            issued: HashMap::new(),
        }
    }

    /// Opens a consent and returns its id.
    pub(super) fn ask(&mut self, consent: Consent) -> String {
        let id = random("consent");
        self.consents.insert(id.clone(), consent);
        id
    }

    /// The redirect with a code, if the consent is open and the account exists.
    pub(super) fn allow(&mut self, id: &str, email: &str) -> Option<String> {
        let account = *ACCOUNTS.iter().find(|account| account.email == email)?;
        let consent = self.consents.remove(id)?;
        let code = random("test-code");
        let location = consent.answer(&[("code", &code)]);
        self.codes.insert(code, Code::Open { consent, account });
        location
    }

    /// The redirect with `access_denied`.
    pub(super) fn deny(&mut self, id: &str) -> Option<String> {
        let consent = self.consents.remove(id)?;
        consent.answer(&[
            ("error", "access_denied"),
            ("error_description", "The user denied the request"),
        ])
    }

    /// Redeems a code; a second attempt ends what the first one gave (RFC 6749, section 4.1.2).
    pub(super) fn exchange(&mut self, fields: &[(String, String)]) -> Result<Tokens, Refusal> {
        let field = |name| value_of(fields, name).unwrap_or_default();
        let refused = || Refusal::grant("invalid_grant", "the authorization code is not valid");
        let code = self.codes.get_mut(field("code")).ok_or_else(refused)?;
        let spent = std::mem::replace(code, Code::Used { family: None });
        let (consent, account) = match spent {
            Code::Open { consent, account } => (consent, account),
            Code::Used { family } => {
                *code = Code::Used { family };
                if let Some(family) = family.and_then(|number| self.families.get_mut(number)) {
                    family.live = false;
                }
                return Err(refused());
            }
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
        if field("client_id") != CLIENT_ID
            || field("redirect_uri") != consent.redirect_uri
            || challenge != consent.challenge
        {
            return Err(refused());
        }
        let number = self.families.len();
        *code = Code::Used { family: Some(number) };
        self.families.push(Family {
            account,
            current: String::new(),
            refreshes: 0,
            live: true,
        });
        Ok(self.issue(number))
    }

    /// Rotates a refresh token.
    pub(super) fn refresh(&mut self, client: &str, token: &str) -> Result<Tokens, Refusal> {
        if client != CLIENT_ID {
            let mut refusal = Refusal::grant("invalid_client", "client authentication failed");
            refusal.status = 401;
            return Err(refusal);
        }
        let Some(&number) = self.issued.get(token) else {
            return Err(Refusal::token(
                "invalid_refresh_token",
                "Could not validate your refresh token.",
                None,
            ));
        };
        let Some(family) = self.families.get_mut(number) else {
            return Err(Refusal::token(
                "invalid_refresh_token",
                "Could not validate your refresh token.",
                None,
            ));
        };
        if family.live && family.current != token {
            family.live = false;
            return Err(Refusal::token(
                "refresh_token_reused",
                "Your refresh token has already been used to generate a new access token. Please sign in again.",
                Some((number, family)),
            ));
        }
        if !family.live {
            return Err(Refusal::token(
                "refresh_token_invalidated",
                "Your session has been invalidated. Please sign in again.",
                Some((number, family)),
            ));
        }
        family.refreshes += 1;
        Ok(self.issue(number))
    }

    /// Ends every login of an account; returns how many were live.
    pub(super) fn revoke_account(&mut self, email: &str) -> usize {
        let live = self
            .families
            .iter_mut()
            .filter(|family| family.account.email == email && family.live);
        match self.revocation {
            Revocation::Honoured => live.map(|family| family.live = false).count(),
            Revocation::Ignored => 0,
        }
    }

    /// Ends the login a token belongs to; returns how many were live.
    pub(super) fn revoke_token(&mut self, token: &str) -> usize {
        let family = self
            .issued
            .get(token)
            .and_then(|&number| self.families.get_mut(number));
        match (family, self.revocation) {
            (Some(family), Revocation::Honoured) => usize::from(std::mem::replace(&mut family.live, false)),
            (_, Revocation::Honoured | Revocation::Ignored) => 0,
        }
    }

    pub(super) fn overview(&self) -> Vec<Standing> {
        let standing = |account: &Account| {
            let of = || self.families.iter().filter(|family| family.account == *account);
            Standing {
                account: *account,
                live: of().filter(|family| family.live).count(),
                ended: of().filter(|family| !family.live).count(),
                refreshes: of().map(|family| family.refreshes).sum(),
            }
        };
        ACCOUNTS.iter().map(standing).collect()
    }

    /// The next generation of a family. `number` is an index of `families`.
    fn issue(&mut self, number: usize) -> Tokens {
        let refresh = random("test-refresh");
        let family = &mut self.families[number];
        family.current = refresh.clone();
        let account = family.account;
        self.issued.insert(refresh.clone(), number);
        Tokens {
            account,
            family: number,
            refresh,
            access: access_token(&account, self.lifetime),
            lifetime: self.lifetime,
        }
    }
}

/// An unsigned JWT with OpenAI's claims (providers, section 1.4).
fn access_token(account: &Account, lifetime: Duration) -> String {
    let now = SystemClock.now().as_millis() / 1000;
    let claims = json!({
        "iss": "local authorization server",
        "sub": account.user_id,
        "iat": now,
        "exp": now + i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX),
        "jti": random("jwt"),
        "email": account.email,
        "https://api.openai.com/auth": {
            "chatgpt_account_id": account.account_id,
            "chatgpt_plan_type": account.plan,
            "chatgpt_user_id": account.user_id,
        },
        "https://api.openai.com/profile": {"email": account.email},
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.unsigned",
        part(&json!({"alg": "none", "typ": "JWT"})),
        part(&claims)
    )
}

fn random(kind: &str) -> String {
    let bytes: [u8; 24] = rand::rng().random();
    format!("{kind}-{}", URL_SAFE_NO_PAD.encode(bytes))
}
