//! A provider from its issuer: the authorization server's own metadata (RFC 8414, OpenID Connect
//! Discovery) becomes a manifest file.
//!
//! Must never write anything before a person has seen the hosts, nor believe metadata that name
//! another issuer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;

use crate::clock::Clock;
use crate::durable;
use crate::environment::Environment;
use crate::ids::ProviderId;
use crate::{Error, ErrorCode, Result};

use super::classify::{Evidence, Place, classify};
use super::login::endpoint;
use super::manifest::{self, Manifest};
use super::provider::{Flow, RedirectHost};
use super::providers::Providers;
use super::token_endpoint::{CALL_DEADLINE, Failed, TokenEndpoint};

/// What a person says of a provider.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Exactly as the provider writes it.
    pub url: String,
    /// As OpenClaw's store is to have it.
    pub id: ProviderId,
    pub name: Option<String>,
    /// The public client that is registered there.
    pub client_id: String,
    /// Empty: what is usual and offered.
    pub scopes: Vec<String>,
    /// The redirect URI that is registered there; else any port of 127.0.0.1.
    pub redirect: Option<String>,
}

/// A manifest that is not written yet.
#[derive(Debug)]
pub struct Discovered {
    id: ProviderId,
    /// `pkce` or `device`.
    flow: &'static str,
    hosts: Vec<String>,
    text: String,
    file: PathBuf,
}

/// Reads the metadata of an authorization server.
///
/// # Errors
/// `provider.manifest_invalid` for an id that is taken; `provider.discovery_failed` for metadata that
/// cannot be used; `network.*`.
pub async fn discover(
    environment: &Environment,
    clock: Arc<dyn Clock>,
    issuer: &Issuer,
) -> Result<Discovered> {
    let file = environment
        .config_dir()
        .join("providers")
        .join(format!("{}.json", issuer.id));
    if file.exists() || Providers::load(environment)?.get(&issuer.id).is_some() {
        return Err(Error::new(
            ErrorCode::ProviderManifestInvalid,
            say!(
                "the provider id {name} is already described elsewhere",
                name = issuer.id
            ),
        )
        .with_hint(say!("Choose another id, or move its file away.")));
    }
    let url = manifest::issuer_url(&issuer.url)?;
    let endpoint = endpoint(environment.clone(), clock).await?;
    let metadata = metadata(&endpoint, issuer, &url).await?;
    let text = serde_json::to_string_pretty(&describe(&metadata, issuer)?).unwrap_or_default() + "\n";
    let provider = match manifest::parse(&text, Some(file.clone()), |_| None)? {
        Manifest::New(provider) | Manifest::Override(provider) => provider,
    };
    let mut hosts: Vec<String> = provider.endpoints().into_iter().map(host_of).collect();
    hosts.sort();
    hosts.dedup();
    Ok(Discovered {
        id: issuer.id.clone(),
        flow: match provider.flow() {
            Flow::Device(_) => "device",
            Flow::Pkce(_) | Flow::Token | Flow::ApiKey => "pkce",
        },
        hosts,
        text,
        file,
    })
}

impl Discovered {
    /// The new provider.
    pub fn id(&self) -> &ProviderId {
        &self.id
    }

    /// `pkce` or `device`.
    pub fn flow(&self) -> &'static str {
        self.flow
    }

    /// Where people and tokens are sent.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The file that [`Discovered::write`] makes.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Writes the manifest, readable by this user alone.
    ///
    /// # Errors
    /// `vault.failed`.
    pub fn write(&self) -> Result<()> {
        durable::create_dir(durable::directory_of(&self.file))
            .and_then(|()| durable::replace(&self.file, self.text.as_bytes()))
            .map_err(|error| {
                let file = self.file.display();
                Error::new(ErrorCode::VaultFailed, say!("{file} could not be written", file))
                    .with_source(error)
            })
    }
}

/// RFC 8414 section 3.1 puts its well-known part before the issuer's path, OpenID Connect Discovery
/// section 4 behind it.
fn well_known(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/').to_owned();
    [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ]
    .map(|path| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    })
}

async fn metadata(endpoint: &TokenEndpoint, issuer: &Issuer, url: &Url) -> Result<Value> {
    let mut last = failed(say!("the server describes itself nowhere"));
    for place in well_known(url) {
        let received = match timeout(CALL_DEADLINE, endpoint.get(&place)).await {
            Ok(Ok(received)) => received,
            Ok(Err(Failed::NotSent(failure, hint))) => {
                let error = classify(&issuer.id, &Evidence::Failure(failure)).to_error();
                return Err(match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                });
            }
            Ok(Err(Failed::Lost)) | Err(_) => {
                last = failed(say!("the server's answer was lost on its way"));
                continue;
            }
        };
        if let Some(metadata) = received.success() {
            // Section 3.3: identical, or it is somebody else's.
            if metadata.get("issuer").and_then(Value::as_str) != Some(issuer.url.as_str()) {
                return Err(
                    failed(say!("the server's description is of another issuer")).with_hint(say!(
                        "Write the issuer exactly as the provider does, with or without the last /."
                    )),
                );
            }
            return Ok(metadata.clone());
        }
        let evidence = received.into_evidence();
        if evidence.status != 404 {
            let outcome = classify(&issuer.id, &Evidence::Answer(Place::Token, evidence));
            if matches!(outcome.class, super::Class::Transient { .. }) {
                last = outcome.to_error();
            }
        }
    }
    Err(last)
}

/// The manifest of a server: the browser where it has PKCE with S256, else a code.
fn describe(metadata: &Value, issuer: &Issuer) -> Result<Value> {
    let text = |name: &str| metadata.get(name).and_then(Value::as_str);
    let list = |name: &str| metadata.get(name).and_then(Value::as_array);
    let lists = |name: &str, value: &str| list(name).is_some_and(|list| list.iter().any(|one| one == value));
    // Left out, it has neither PKCE nor the refusal of it that RFC 8414 section 2 would allow to read.
    let has_pkce =
        text("authorization_endpoint").is_some() && lists("code_challenge_methods_supported", "S256");
    let scopes = if issuer.scopes.is_empty() {
        let usual = ["openid", "profile", "email", "offline_access"];
        usual
            .into_iter()
            .filter(|scope| lists("scopes_supported", scope))
            .map(str::to_owned)
            .collect()
    } else {
        issuer.scopes.clone()
    };
    let mut manifest = json!({
        "manifest": 1,
        "id": issuer.id.as_str(),
        "name": issuer.name.clone().unwrap_or_else(|| issuer.id.to_string()),
        "tokenUrl": text("token_endpoint"),
        "clientId": issuer.client_id,
        "scopes": scopes,
    });
    if let Some(revoke) = text("revocation_endpoint") {
        manifest["revokeUrl"] = revoke.into();
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        // No id token will say who signs in.
        manifest["account"] = "default".into();
    }
    if has_pkce {
        manifest["flow"] = "pkce".into();
        manifest["authorizeUrl"] = text("authorization_endpoint").into();
        manifest["redirect"] = redirect(issuer.redirect.as_deref())?;
        if scopes.iter().any(|scope| scope == "offline_access") {
            // OpenID Connect Core section 11: no refresh token without it.
            manifest["authorizeParams"] = json!({"prompt": "consent"});
        }
    } else if let Some(device) = text("device_authorization_endpoint") {
        manifest["flow"] = "device".into();
        manifest["authorizeUrl"] = device.into();
        let host = Url::parse(&issuer.url)
            .ok()
            .and_then(|url| url.domain().map(str::to_owned));
        if let Some(host) = host.filter(|host| host.contains('.')) {
            manifest["verificationHosts"] = json!([host]);
        }
    } else {
        return Err(failed(say!(
            "the server offers neither PKCE with S256 nor a sign-in by a code"
        )));
    }
    Ok(manifest)
}

fn redirect(given: Option<&str>) -> Result<Value> {
    let Some(text) = given else {
        return Ok(json!({"host": "127.0.0.1"}));
    };
    let unusable = || {
        Error::new(
            ErrorCode::Usage,
            say!("the redirect address must be http:// on localhost, 127.0.0.1 or [::1]"),
        )
    };
    let url = Url::parse(text).map_err(|_| unusable())?;
    let host = url
        .host_str()
        .and_then(RedirectHost::parse)
        .ok_or_else(unusable)?;
    if url.scheme() != "http" || url.query().is_some() || url.fragment().is_some() {
        return Err(unusable());
    }
    let ports: Vec<u16> = url.port().into_iter().collect();
    Ok(json!({"host": host.as_str(), "ports": ports, "path": url.path()}))
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn failed(message: String) -> Error {
    Error::new(ErrorCode::ProviderDiscoveryFailed, message)
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
