//! A provider as the rest of Kalit sees it: checked, complete, immutable. Only
//! [`super::manifest`] makes one.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::ids::ProviderId;
use crate::{Error, ErrorCode, Result};

use super::manifest;

/// A provider: who it is, how one signs in there and where its tokens are renewed.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    pub(super) id: ProviderId,
    pub(super) aliases: Vec<ProviderId>,
    pub(super) name: String,
    pub(super) flow: Flow,
    pub(super) issues: Issues,
    pub(super) account: Option<String>,
    pub(super) token: Option<TokenRoute>,
    pub(super) revoke_url: Option<Url>,
    pub(super) revoke_request: Encoding,
    pub(super) claims: ClaimNames,
    pub(super) origin: Origin,
}

/// How one signs in. Every provider accepts API keys besides.
#[derive(Clone, Debug, PartialEq)]
pub enum Flow {
    /// Authorization code with PKCE in the system browser (RFC 8252).
    Pkce(Authorization),
    /// A code to enter on a page of the provider's, on any machine.
    Device(Device),
    /// A token made elsewhere is pasted.
    Token,
    /// An API key is pasted.
    ApiKey,
}

/// The authorization request of a [`Flow::Pkce`] provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Authorization {
    /// The authorization endpoint.
    pub url: Url,
    /// Scopes, in the order they are asked for.
    pub scopes: Vec<String>,
    /// Where the browser comes back to.
    pub redirect: Redirect,
    /// Further parameters, in order.
    pub params: Vec<(String, String)>,
}

/// The device authorization request of a [`Flow::Device`] provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// The device authorization endpoint.
    pub url: Url,
    /// Scopes, in the order they are asked for.
    pub scopes: Vec<String>,
    /// Which protocol it speaks.
    pub grant: DeviceGrant,
    /// Further hosts of the page on which the code is entered; their subdomains count as well.
    pub verification_hosts: Vec<String>,
}

/// The protocols of a [`Flow::Device`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceGrant {
    /// RFC 8628.
    DeviceCode,
    /// MiniMax's own: PKCE and state besides, the user code itself is redeemed, how it stands is
    /// in the body, times are in milliseconds.
    UserCode,
}

/// What a sign-in yields, and as what it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Issues {
    /// Tokens that are renewed.
    Oauth,
    /// A token that is used until it is refused.
    Token,
    /// An API key.
    ApiKey,
}

/// The registered loopback redirect URI.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// As it stands in the redirect URI; it is always the loopback interface that is bound.
    pub host: RedirectHost,
    /// Tried in this order; empty: any free port (RFC 8252 section 7.3).
    pub ports: Vec<u16>,
    /// Absolute path, compared exactly.
    pub path: String,
}

/// The spellings of the loopback interface that a redirect URI may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectHost {
    /// `localhost`
    Localhost,
    /// `127.0.0.1`
    V4,
    /// `[::1]`
    V6,
}

/// Where codes and refresh tokens are sent, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRoute {
    /// The token endpoint.
    pub url: Url,
    /// The public client id; there is no client secret.
    pub client_id: String,
    /// Form (RFC 6749 section 4.1.3) or JSON.
    pub encoding: Encoding,
}

/// The body of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`
    Json,
}

/// Where the parts of an identity stand in the provider's JWTs; several places are tried in order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ClaimNames {
    /// The workspace or account; none: the provider has no such notion.
    pub account_id: Vec<ClaimPath>,
    /// The person.
    pub subject: Vec<ClaimPath>,
    /// For people, and for new profile ids.
    pub email: Vec<ClaimPath>,
    /// For people, and for new profile ids.
    pub plan: Vec<ClaimPath>,
}

/// The way to one claim: names from the top of the payload downwards.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimPath(pub(super) Vec<String>);

/// Where a provider was described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In this program.
    BuiltIn,
    /// In a file of the user.
    File(PathBuf),
    /// Built in, with fields replaced by a file that the user consented to.
    Override(PathBuf),
}

impl Provider {
    /// The id under which profiles of this provider are known.
    pub fn id(&self) -> &ProviderId {
        &self.id
    }

    /// Other ids for the same provider.
    pub fn aliases(&self) -> &[ProviderId] {
        &self.aliases
    }

    /// Whether `id` is this provider's id or one of its aliases.
    pub fn answers_to(&self, id: &ProviderId) -> bool {
        self.id == *id || self.aliases.contains(id)
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How one signs in.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The authorization request, if one signs in with the browser.
    pub fn authorization(&self) -> Option<&Authorization> {
        match &self.flow {
            Flow::Pkce(authorization) => Some(authorization),
            Flow::Device(_) | Flow::Token | Flow::ApiKey => None,
        }
    }

    /// The device authorization request, if one signs in with a code.
    pub fn device(&self) -> Option<&Device> {
        match &self.flow {
            Flow::Device(device) => Some(device),
            Flow::Pkce(_) | Flow::Token | Flow::ApiKey => None,
        }
    }

    /// What a sign-in yields.
    pub fn issues(&self) -> Issues {
        self.issues
    }

    /// What a new account is called where the provider does not say who signed in. `None`: such a
    /// sign-in is refused.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Where tokens are renewed; `None`: this provider's credentials do not renew.
    pub fn token_route(&self) -> Option<&TokenRoute> {
        self.token.as_ref().filter(|_| self.issues == Issues::Oauth)
    }

    /// Where a sign-in gets what it came for.
    pub fn sign_in_route(&self) -> Option<&TokenRoute> {
        self.token.as_ref()
    }

    /// The revocation endpoint (RFC 7009), asked only when a person wants to be signed out
    /// everywhere: with some providers that ends their other sessions as well.
    pub fn revoke_url(&self) -> Option<&Url> {
        self.revoke_url.as_ref()
    }

    /// Where and how a token is revoked; `None` without a revocation endpoint.
    pub(super) fn revoke_route(&self) -> Option<TokenRoute> {
        Some(TokenRoute {
            url: self.revoke_url.clone()?,
            client_id: self.token.as_ref()?.client_id.clone(),
            encoding: self.revoke_request,
        })
    }

    /// Where identity stands in the provider's JWTs.
    pub fn claims(&self) -> &ClaimNames {
        &self.claims
    }

    /// Where this provider was described.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The same provider with the token endpoint under which a login was made: a credential is
    /// only ever sent there.
    pub fn at_token_url(&self, url: &str) -> Result<Provider> {
        let route = self.token_route().ok_or_else(|| {
            Error::new(
                ErrorCode::ProfileNotRefreshable,
                say!("logins of {provider} are not renewed", provider = self.id),
            )
        })?;
        let mut moved = self.clone();
        moved.token = Some(TokenRoute {
            url: manifest::token_url(url)?,
            ..route.clone()
        });
        Ok(moved)
    }

    /// The hosts to which this provider sends people and tokens: sign-in first.
    pub(super) fn endpoints(&self) -> Vec<&Url> {
        let authorize = match &self.flow {
            Flow::Pkce(authorization) => Some(&authorization.url),
            Flow::Device(device) => Some(&device.url),
            Flow::Token | Flow::ApiKey => None,
        };
        authorize
            .into_iter()
            .chain(self.token.as_ref().map(|route| &route.url))
            .chain(&self.revoke_url)
            .collect()
    }
}

impl Device {
    /// Whether a page of a device authorization answer may be shown: on the origin of the endpoint,
    /// or https on one of the hosts that the manifest names.
    pub(super) fn trusts(&self, page: &Url) -> bool {
        let named = |host: &str| {
            self.verification_hosts.iter().any(|known| {
                host == known
                    || host
                        .strip_suffix(known.as_str())
                        .is_some_and(|sub| sub.ends_with('.'))
            })
        };
        let is_named =
            page.scheme() == "https" && page.port().is_none() && page.host_str().is_some_and(named);
        (is_named || page.origin() == self.url.origin())
            && page.username().is_empty()
            && page.password().is_none()
    }
}

impl RedirectHost {
    /// As it stands in a URI: IPv6 in brackets.
    pub fn as_str(self) -> &'static str {
        match self {
            RedirectHost::Localhost => "localhost",
            RedirectHost::V4 => "127.0.0.1",
            RedirectHost::V6 => "[::1]",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "localhost" => Some(RedirectHost::Localhost),
            "127.0.0.1" => Some(RedirectHost::V4),
            "::1" | "[::1]" => Some(RedirectHost::V6),
            _ => None,
        }
    }
}

impl ClaimPath {
    /// A JSON Pointer (RFC 6901) when it begins with `/`, else one top-level claim.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let steps: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer
                .split('/')
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
            None => vec![text.to_owned()],
        };
        steps.iter().all(|step| !step.is_empty()).then_some(Self(steps))
    }

    /// The text at this place, if there is a non-empty one.
    pub fn find<'a>(&self, payload: &'a Value) -> Option<&'a str> {
        self.0
            .iter()
            .try_fold(payload, |value, step| value.get(step))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }
}

impl fmt::Display for RedirectHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
