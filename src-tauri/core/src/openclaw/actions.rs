//! What OpenClaw of the sqlite era is told to change, one function per command. Each names its
//! agent, as 2026.9.6 demands once there are two; secrets go to standard input. None of them says
//! whether it worked: whoever calls reads the store again (2026.6.11 to 2026.9.6, observed).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::cli::{Cli, TIMEOUT};
use super::gateway;
use crate::Result;
use crate::ids::{AgentId, ProfileId, ProviderId};
use crate::secret::Secret;

/// `status --usage` waits up to 30 s for each login whose provider does not answer (2026.9.6).
const USAGE_LIMIT: Duration = Duration::from_secs(300);

/// Stores an order, or clears the stored one.
pub(crate) async fn order(
    cli: Cli<'_>,
    agent: &AgentId,
    provider: &ProviderId,
    ids: Option<&[ProfileId]>,
) -> Result<()> {
    let verb = if ids.is_some() { "set" } else { "clear" };
    let mut arguments = vec!["order", verb, "--provider", provider.as_str()];
    arguments.extend(ids.unwrap_or_default().iter().map(ProfileId::as_str));
    auth(cli, agent, &arguments, None).await
}

/// The same through the running gateway, which takes every profile of the provider or none.
pub(crate) async fn order_through_gateway(
    cli: Cli<'_>,
    agent: &AgentId,
    provider: &ProviderId,
    ids: Option<&[ProfileId]>,
) -> Result<()> {
    let mut params = json!({"provider": provider, "agentId": agent});
    if let Some(ids) = ids {
        params["profileIds"] = json!(ids);
    }
    gateway::call(cli, "models.authOrderSet", &params).await.map(drop)
}

/// Stores a static token.
pub(crate) async fn paste_token(
    cli: Cli<'_>,
    agent: &AgentId,
    provider: &ProviderId,
    id: &ProfileId,
    token: &Secret,
    lifetime: Option<Duration>,
) -> Result<()> {
    // OpenClaw's smallest unit that says it exactly enough.
    let lifetime = lifetime.map(|lifetime| format!("{}s", lifetime.as_secs()));
    let mut arguments = vec![
        "paste-token",
        "--provider",
        provider.as_str(),
        "--profile-id",
        id.as_str(),
    ];
    if let Some(lifetime) = &lifetime {
        arguments.extend(["--expires-in", lifetime]);
    }
    auth(cli, agent, &arguments, Some(token)).await
}

/// Stores an API key.
pub(crate) async fn paste_api_key(
    cli: Cli<'_>,
    agent: &AgentId,
    provider: &ProviderId,
    id: &ProfileId,
    key: &Secret,
) -> Result<()> {
    let arguments = [
        "paste-api-key",
        "--provider",
        provider.as_str(),
        "--profile-id",
        id.as_str(),
    ];
    auth(cli, agent, &arguments, Some(key)).await
}

/// Forgets a profile. The command exists in 2026.9.6, not in 2026.7.1.
pub(crate) async fn log_out(cli: Cli<'_>, agent: &AgentId, id: &ProfileId) -> Result<()> {
    auth(cli, agent, &["logout", id.as_str(), "--yes"], None).await
}

/// Writes `auth.order` of the configuration as a whole.
pub(crate) async fn config_order(cli: Cli<'_>, order: &[(String, Vec<ProfileId>)]) -> Result<()> {
    let order: Map<String, Value> = order
        .iter()
        .map(|(provider, ids)| (provider.clone(), json!(ids)))
        .collect();
    let value = Value::Object(order).to_string();
    let arguments = ["config", "set", "auth.order", &value, "--strict-json"];
    cli.run(&arguments, None, TIMEOUT).await?.succeeded().map(drop)
}

/// Pins a session to the profile that the model names, or changes its model.
pub(crate) async fn patch_session(cli: Cli<'_>, session: &str, model: Option<&str>) -> Result<Value> {
    let params = json!({"key": session, "model": model});
    gateway::call(cli, "sessions.patch", &params).await
}

/// Lets OpenClaw ask every provider for its usage with an agent's logins, without an agent with
/// those of the default one. Ends well whatever became of them. 2026.9.6 wants an agent as soon as
/// there are several; 2026.7.1 does not know the flag.
pub(crate) async fn use_every_login(cli: Cli<'_>, agent: Option<&AgentId>) -> Result<()> {
    let mut arguments = vec!["status", "--usage", "--json"];
    if let Some(agent) = agent {
        arguments.extend(["--agent", agent.as_str()]);
    }
    cli.run(&arguments, None, USAGE_LIMIT)
        .await?
        .succeeded()
        .map(drop)
}

async fn auth(cli: Cli<'_>, agent: &AgentId, arguments: &[&str], secret: Option<&Secret>) -> Result<()> {
    let all = [&["models", "auth", "--agent", agent.as_str()], arguments].concat();
    cli.run(&all, secret, TIMEOUT).await?.succeeded().map(drop)
}
