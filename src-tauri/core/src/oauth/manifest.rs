//! One provider manifest: JSON in, a checked [`Provider`] out. The built-in providers are written
//! in the same format as a user's (`docs/providers.md` describes every field).
//!
//! Must never accept an endpoint that is neither https nor a literal loopback address, nor a
//! field it does not know: a misspelt field would silently be a default.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

use crate::ids::ProviderId;
use crate::{Error, ErrorCode, Result};

use super::provider::{
    Authorization, ClaimNames, ClaimPath, Device, DeviceGrant, Encoding, Flow, Issues, Origin, Provider,
    Redirect, RedirectHost, TokenRoute,
};

/// A manifest file's fields as written; everything is checked in [`parse`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Raw {
    manifest: u32,
    id: String,
    overrides: Option<String>,
    aliases: Option<Vec<String>>,
    name: Option<String>,
    flow: Option<RawFlow>,
    issues: Option<Issues>,
    account: Option<String>,
    verification_hosts: Option<Vec<String>>,
    authorize_url: Option<String>,
    token_url: Option<String>,
    revoke_url: Option<String>,
    revoke_request: Option<Encoding>,
    client_id: Option<String>,
    scopes: Option<Vec<String>>,
    redirect: Option<RawRedirect>,
    token_request: Option<Encoding>,
    authorize_params: Option<serde_json::Map<String, Value>>,
    claims: Option<RawClaims>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawFlow {
    Pkce,
    Device,
    UserCode,
    Token,
    ApiKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRedirect {
    host: Option<String>,
    ports: Option<Vec<u16>>,
    path: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawClaims {
    account_id: Option<OneOrMany>,
    subject: Option<OneOrMany>,
    email: Option<OneOrMany>,
    plan: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// What a manifest text describes, before it is known whether it may be used.
#[derive(Debug)]
pub(super) enum Manifest {
    /// A provider of its own.
    New(Provider),
    /// A built-in provider with fields replaced.
    Override(Provider),
}

/// Parses a manifest. `builtin` finds the built-in that an override inherits from.
pub(super) fn parse<'a>(
    text: &str,
    origin: Option<PathBuf>,
    builtin: impl Fn(&ProviderId) -> Option<&'a Provider>,
) -> Result<Manifest> {
    let raw: Raw = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    if raw.manifest != 1 {
        return Err(invalid(&say!("\"manifest\" must be 1")));
    }
    let id = parse_id(&raw.id).map_err(|problem| invalid(&problem))?;
    let base = match &raw.overrides {
        Some(overridden) if *overridden != raw.id => {
            return Err(invalid(&say!("\"overrides\" must repeat \"id\"")));
        }
        Some(_) => match builtin(&id) {
            Some(base) if base.id == id => Some(base),
            _ => return Err(invalid(&say!("\"overrides\" must name a built-in provider"))),
        },
        None => None,
    };
    let origin = match (origin, base) {
        (None, _) => Origin::BuiltIn,
        (Some(file), None) => Origin::File(file),
        (Some(file), Some(_)) => Origin::Override(file),
    };
    let provider = build(raw, id, base, origin).map_err(|problem| invalid(&problem))?;
    Ok(match base {
        None => Manifest::New(provider),
        Some(_) => Manifest::Override(provider),
    })
}

type Checked<T> = Result<T, String>;

fn build(raw: Raw, id: ProviderId, base: Option<&Provider>, origin: Origin) -> Checked<Provider> {
    let flow = match (raw.flow, base) {
        (Some(flow), _) => flow,
        (None, Some(base)) => kind_of(&base.flow),
        (None, None) => return Err(say!("\"flow\" is missing")),
    };
    let given_url = |field, text: &Option<String>| text.as_deref().map(|t| endpoint(field, t)).transpose();
    let inherited_authorize = base.and_then(|base| match &base.flow {
        Flow::Pkce(authorization) => Some(authorization.url.clone()),
        Flow::Device(device) => Some(device.url.clone()),
        Flow::Token | Flow::ApiKey => None,
    });
    let inherited_token = base.and_then(|base| base.token.as_ref());
    let authorize_url = given_url("authorizeUrl", &raw.authorize_url)?.or(inherited_authorize);
    let token_url = given_url("tokenUrl", &raw.token_url)?;
    let revoke_url = match (given_url("revokeUrl", &raw.revoke_url)?, &token_url) {
        (Some(url), _) => Some(url),
        // Tokens of another server must never reach the built-in's revocation endpoint.
        (None, Some(_)) => None,
        (None, None) => base.and_then(|base| base.revoke_url.clone()),
    };
    let token_url = token_url.or_else(|| inherited_token.map(|route| route.url.clone()));
    let client_id = match raw.client_id {
        Some(text) if text.is_empty() || !text.chars().all(|c| c.is_ascii_graphic()) => {
            return Err(say!("\"clientId\" must be printable and without spaces"));
        }
        Some(text) => Some(text),
        None => inherited_token.map(|route| route.client_id.clone()),
    };
    let encoding = raw
        .token_request
        .or_else(|| inherited_token.map(|route| route.encoding))
        .unwrap_or(Encoding::Form);
    let revoke_request = raw
        .revoke_request
        .or_else(|| base.map(|base| base.revoke_request))
        .unwrap_or(Encoding::Form);
    let inherited_authorization = base.and_then(Provider::authorization);
    let inherited_device = base.and_then(Provider::device);
    let scopes = match raw.scopes {
        Some(scopes) => check_scopes(scopes)?,
        None => inherited_authorization
            .map(|a| &a.scopes)
            .or(inherited_device.map(|device| &device.scopes))
            .cloned()
            .unwrap_or_default(),
    };
    let verification_hosts = match raw.verification_hosts {
        Some(hosts) => check_hosts(hosts)?,
        None => inherited_device
            .map(|device| device.verification_hosts.clone())
            .unwrap_or_default(),
    };
    let issues = raw.issues.or(base.map(Provider::issues)).unwrap_or(Issues::Oauth);
    match (flow, issues) {
        (RawFlow::Pkce, _) | (_, Issues::Oauth) | (RawFlow::Device | RawFlow::UserCode, Issues::Token) => {}
        _ => return Err(say!("\"issues\" does not go with this flow")),
    }
    let account = match raw.account {
        Some(name) if !is_account(&name) => {
            return Err(say!(
                "\"account\" must consist of letters, digits, '-', '_', '.' and '@'"
            ));
        }
        Some(name) => Some(name),
        None => base.and_then(|base| base.account.clone()),
    };
    let params = match raw.authorize_params {
        Some(params) => check_params(params)?,
        None => inherited_authorization
            .map(|a| a.params.clone())
            .unwrap_or_default(),
    };
    let redirect = check_redirect(raw.redirect, inherited_authorization.map(|a| &a.redirect))?;

    let required = |field: &str| say!("\"{field}\" is missing: this flow needs it", field);
    let token_route = || -> Checked<TokenRoute> {
        Ok(TokenRoute {
            url: token_url.clone().ok_or_else(|| required("tokenUrl"))?,
            // An API key is made for whoever signs in, not for a client.
            client_id: match &client_id {
                None if issues == Issues::ApiKey => String::new(),
                id => id.clone().ok_or_else(|| required("clientId"))?,
            },
            encoding,
        })
    };
    let (flow, token) = match flow {
        RawFlow::Pkce => {
            let url = authorize_url.ok_or_else(|| required("authorizeUrl"))?;
            let authorization = Authorization {
                url,
                scopes,
                redirect,
                params,
            };
            (Flow::Pkce(authorization), Some(token_route()?))
        }
        RawFlow::Device | RawFlow::UserCode => {
            let device = Device {
                url: authorize_url.ok_or_else(|| required("authorizeUrl"))?,
                scopes,
                grant: match flow {
                    RawFlow::UserCode => DeviceGrant::UserCode,
                    _ => DeviceGrant::DeviceCode,
                },
                verification_hosts,
            };
            (Flow::Device(device), Some(token_route()?))
        }
        RawFlow::Token => (Flow::Token, None),
        RawFlow::ApiKey => (Flow::ApiKey, None),
    };
    let aliases = match raw.aliases {
        Some(aliases) => aliases
            .iter()
            .map(|alias| parse_id(alias))
            .collect::<Checked<Vec<_>>>()?,
        None => base.map(|base| base.aliases.clone()).unwrap_or_default(),
    };
    let name = match raw.name {
        Some(name) if name.trim().is_empty() || name.chars().any(char::is_control) => {
            return Err(say!("\"name\" must be a line of text"));
        }
        Some(name) => name.trim().to_owned(),
        None => base.map_or_else(|| id.to_string(), |base| base.name.clone()),
    };
    Ok(Provider {
        id,
        aliases,
        name,
        flow,
        issues,
        account,
        token,
        revoke_url,
        revoke_request,
        claims: check_claims(raw.claims, base.map(|base| &base.claims))?,
        origin,
    })
}

fn kind_of(flow: &Flow) -> RawFlow {
    match flow {
        Flow::Pkce(_) => RawFlow::Pkce,
        Flow::Device(device) => match device.grant {
            DeviceGrant::DeviceCode => RawFlow::Device,
            DeviceGrant::UserCode => RawFlow::UserCode,
        },
        Flow::Token => RawFlow::Token,
        Flow::ApiKey => RawFlow::ApiKey,
    }
}

fn parse_id(text: &str) -> Checked<ProviderId> {
    ProviderId::parse(text)
        .filter(|id| id.as_str() == text)
        .filter(|_| {
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        })
        .ok_or_else(|| say!("a provider id consists of lower-case letters, digits, '-', '_' and '.'"))
}

/// An endpoint: https, or http to a literal loopback address; no user, no fragment.
fn endpoint(field: &str, text: &str) -> Checked<Url> {
    let url = Url::parse(text).map_err(|_| say!("\"{field}\" is not a URL", field))?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && is_literal_loopback(&url));
    if !safe || url.host().is_none() {
        return Err(say!(
            "\"{field}\" must begin with https:// (http:// is for literal loopback addresses only)",
            field
        ));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(say!("\"{field}\" must not contain a user or a fragment", field));
    }
    Ok(url)
}

/// Whether the URL's host is written as an address of the loopback interface (not as a name).
pub(super) fn is_literal_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// An issuer (RFC 8414 section 2), under the manifest's rules for addresses.
pub(super) fn issuer_url(text: &str) -> Result<Url> {
    let url = endpoint("issuer", text).map_err(|problem| invalid(&problem))?;
    match url.query() {
        None => Ok(url),
        Some(_) => Err(invalid(&say!("an issuer has no query"))),
    }
}

/// A token endpoint that was recorded with a login, under the manifest's rules.
pub(super) fn token_url(text: &str) -> Result<Url> {
    endpoint("tokenUrl", text).map_err(|problem| invalid(&problem))
}

fn check_scopes(scopes: Vec<String>) -> Checked<Vec<String>> {
    let fine = |scope: &String| !scope.is_empty() && scope.chars().all(|c| c.is_ascii_graphic());
    if scopes.iter().all(fine) {
        Ok(scopes)
    } else {
        Err(say!("\"scopes\" must be words without spaces"))
    }
}

/// Names alone, in the form in which [`Url`] has them.
fn check_hosts(hosts: Vec<String>) -> Checked<Vec<String>> {
    let fine = |host: &String| {
        let url = Url::parse(&format!("https://{host}/"));
        host.contains('.')
            && url.is_ok_and(|url| matches!(url.host(), Some(Host::Domain(name)) if name == host))
    };
    if hosts.iter().all(fine) {
        Ok(hosts)
    } else {
        Err(say!("\"verificationHosts\" must be names of hosts"))
    }
}

fn is_account(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@'))
}

/// The parameters that the flow itself sets (RFC 6749 section 4.1.1, RFC 7636 section 4.3;
/// `callback_url` is OpenRouter's).
const OWN_PARAMS: [&str; 8] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "callback_url",
    "code_challenge",
    "code_challenge_method",
    "state",
    "scope",
];

fn check_params(params: serde_json::Map<String, Value>) -> Checked<Vec<(String, String)>> {
    params
        .into_iter()
        .map(|(name, value)| match value {
            _ if OWN_PARAMS.contains(&name.as_str()) => {
                Err(say!("\"authorizeParams\" must not set {name}", name))
            }
            Value::String(text) => Ok((name, text)),
            _ => Err(say!("\"authorizeParams\" must be texts")),
        })
        .collect()
}

fn check_redirect(raw: Option<RawRedirect>, base: Option<&Redirect>) -> Checked<Redirect> {
    let mut redirect = base.cloned().unwrap_or(Redirect {
        host: RedirectHost::Localhost,
        ports: Vec::new(),
        path: "/auth/callback".to_owned(),
    });
    let Some(raw) = raw else { return Ok(redirect) };
    if let Some(host) = raw.host {
        redirect.host = RedirectHost::parse(&host)
            .ok_or_else(|| say!("\"redirect.host\" must be localhost, 127.0.0.1 or ::1"))?;
    }
    if let Some(ports) = raw.ports {
        if ports.contains(&0) || ports.len() > 16 {
            return Err(say!(
                "\"redirect.ports\" must be at most 16 ports from 1 to 65535"
            ));
        }
        redirect.ports = ports;
    }
    if let Some(path) = raw.path {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
        if !path.starts_with('/')
            || !path.chars().all(plain)
            || path.split('/').any(|s| s == "." || s == "..")
        {
            return Err(say!(
                "\"redirect.path\" must begin with / and consist of plain characters"
            ));
        }
        redirect.path = path;
    }
    Ok(redirect)
}

fn check_claims(raw: Option<RawClaims>, base: Option<&ClaimNames>) -> Checked<ClaimNames> {
    let raw = raw.unwrap_or_default();
    let fallback = base.cloned().unwrap_or_else(|| ClaimNames {
        account_id: Vec::new(),
        subject: vec![ClaimPath(vec!["sub".to_owned()])],
        email: vec![ClaimPath(vec!["email".to_owned()])],
        plan: Vec::new(),
    });
    let paths = |given: Option<OneOrMany>, inherited: Vec<ClaimPath>| -> Checked<Vec<ClaimPath>> {
        let texts = match given {
            None => return Ok(inherited),
            Some(OneOrMany::One(text)) => vec![text],
            Some(OneOrMany::Many(texts)) => texts,
        };
        texts
            .iter()
            .map(|text| ClaimPath::parse(text).ok_or_else(|| say!("a claim name is empty")))
            .collect()
    };
    Ok(ClaimNames {
        account_id: paths(raw.account_id, fallback.account_id)?,
        subject: paths(raw.subject, fallback.subject)?,
        email: paths(raw.email, fallback.email)?,
        plan: paths(raw.plan, fallback.plan)?,
    })
}

fn invalid(problem: &str) -> Error {
    Error::new(
        ErrorCode::ProviderManifestInvalid,
        say!("the manifest cannot be used: {problem}", problem),
    )
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
