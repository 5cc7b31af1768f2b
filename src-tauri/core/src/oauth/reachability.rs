//! Whether a provider's token host can be reached at this moment, asked before OpenClaw is told to
//! do anything that makes it renew a login: it drops one whose renewal fails, for lack of a network
//! too (2026.9.6).
//!
//! Nothing of an account is sent: a request for the headers of the host's first page, through the
//! proxies and certificates of a token request.

use std::time::Duration;

use tokio::net::TcpStream;

use super::classify::Failure;
use super::provider::Provider;
use super::token_endpoint::{Failed, client, failure_of, not_sent, route_of};
use crate::environment::Environment;
use crate::{Error, ErrorCode, Result};

const DEADLINE: Duration = Duration::from_secs(15);

/// Whether the token host of a provider answers over valid TLS and is not out of order. Of a host
/// without TLS, which a manifest may name on loopback only, it is enough that it accepts a
/// connection.
///
/// # Errors
/// `network.*`; `provider.out_of_order` when it answers with a status of 500 or more;
/// `profile.not_refreshable` for a provider without a token endpoint.
pub async fn token_host_answers(provider: &Provider, environment: &Environment) -> Result<()> {
    let route = route_of(provider)?;
    let asked = async {
        if route.url.scheme() == "http" {
            return connects(provider, &route.url).await;
        }
        let mut front = route.url.clone();
        front.set_path("/");
        front.set_query(None);
        let answer = client(environment)?.head(front).send().await;
        match answer.map_err(|error| failure_of(&error)) {
            Ok(answer) if answer.status().is_server_error() => Err(Error::new(
                ErrorCode::ProviderOutOfOrder,
                say!(
                    "{provider} is out of order at the moment",
                    provider = provider.name()
                ),
            )),
            Ok(_) => Ok(()),
            Err(Failed::NotSent(failure, hint)) => Err(not_sent(provider, failure, hint)),
            Err(Failed::Lost) => Err(not_sent(provider, Failure::Unreachable, None)),
        }
    };
    tokio::time::timeout(DEADLINE, asked)
        .await
        .unwrap_or_else(|_elapsed| Err(not_sent(provider, Failure::Unreachable, None)))
}

async fn connects(provider: &Provider, url: &url::Url) -> Result<()> {
    let unreachable = || not_sent(provider, Failure::Unreachable, None);
    let host = url.host_str().ok_or_else(unreachable)?;
    let port = url.port_or_known_default().ok_or_else(unreachable)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match TcpStream::connect((host, port)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(unreachable().with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::testing::{FakeServer, Reply, environment, free_port, loopback_provider, manifest};

    #[tokio::test]
    async fn a_loopback_host_without_tls_is_connected_to_and_told_nothing() {
        let server = FakeServer::start(vec![Reply::Drop]).await;
        let provider = loopback_provider(&server.token_url(), &[1455]);
        token_host_answers(&provider, &environment()).await.unwrap();
        assert_eq!(server.requests(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_host_that_is_not_there_is_told() {
        let nobody = format!("http://127.0.0.1:{}/token", free_port().await);
        let provider = loopback_provider(&nobody, &[1455]);
        let error = token_host_answers(&provider, &environment()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NetworkUnreachable);
    }

    #[tokio::test]
    async fn a_provider_without_a_token_endpoint_has_no_host_to_ask() {
        let provider = manifest(&json!({"manifest": 1, "id": "acme", "flow": "api-key"}));
        let error = token_host_answers(&provider, &environment()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ProfileNotRefreshable);
    }
}
