//! Where in the window to go: the one word that the tray, a notification's button and a second
//! start pass to it. A route names accounts, never secrets.

use std::fmt;

use kalit_core::ids::{AgentId, ProfileId, ProviderId};
use url::Url;

/// The line that asks a window to close, where a route is expected.
pub const QUIT: &str = "quit";
/// What an attached window answers to a route that it shows.
pub const SHOWN: &str = "shown";
/// What it says when a person closes it.
pub const CLOSED: &str = "closed";

/// A view of the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// All accounts.
    Board,
    /// The accounts of one agent.
    Agent(AgentId),
    /// One account, and the command on the clipboard that uses it in a session of OpenClaw.
    Copy { agent: AgentId, profile: ProfileId },
    /// One account: what is known of it and what can be done.
    Account { agent: AgentId, profile: ProfileId },
    /// The choice of a provider to sign in to.
    Add,
    /// Sign in at once; with a profile: again, as the same person.
    SignIn {
        provider: ProviderId,
        agent: AgentId,
        profile: Option<ProfileId>,
    },
    /// What is known of a login that OpenClaw dropped, and the question whether to put it back.
    Restore { agent: AgentId, profile: ProfileId },
    /// What a person can choose.
    Settings,
    /// What Kalit found, to be shown to others.
    Diagnostics,
    /// Which logins several programs hold.
    Radar,
    /// The sealed copies that one can go back to.
    Snapshots,
    /// What one of them holds, and the question whether to put it back: the accounts of one agent,
    /// or one of them.
    Snapshot {
        id: String,
        agent: AgentId,
        profile: Option<ProfileId>,
    },
}

impl Route {
    /// Parses `board`, `agent/<id>`, `account/<agent>/<profile>`, `copy/<agent>/<profile>`, `add`, `settings`, `diagnostics`, `radar`, `restore/<agent>/<profile>`, `snapshots`,
    /// `snapshots/<id>?agent=<id>&profile=<id>` or `sign-in/<provider>?agent=<id>&profile=<id>`; the
    /// agent is main unless named. `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse("kalit:///").ok()?.join(text.trim()).ok()?;
        if url.scheme() != "kalit" || url.has_host() {
            return None;
        }
        let named = |name: &str| {
            url.query_pairs()
                .find(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| value.into_owned())
        };
        let agent = || named("agent").map_or_else(AgentId::main, |id| AgentId::normalize(&id));
        let profile = || named("profile").and_then(|id| ProfileId::parse(&id));
        let steps: Vec<&str> = url.path().trim_matches('/').split('/').collect();
        match steps.as_slice() {
            ["board"] => Some(Self::Board),
            ["add"] => Some(Self::Add),
            ["settings"] => Some(Self::Settings),
            ["diagnostics"] => Some(Self::Diagnostics),
            ["radar"] => Some(Self::Radar),
            ["agent", agent] if !agent.is_empty() => Some(Self::Agent(AgentId::normalize(&decoded(agent)?))),
            ["copy", agent, profile] if !agent.is_empty() => Some(Self::Copy {
                agent: AgentId::normalize(&decoded(agent)?),
                profile: ProfileId::parse(&decoded(profile)?)?,
            }),
            ["account", agent, profile] if !agent.is_empty() => Some(Self::Account {
                agent: AgentId::normalize(&decoded(agent)?),
                profile: ProfileId::parse(&decoded(profile)?)?,
            }),
            ["restore", agent, profile] if !agent.is_empty() => Some(Self::Restore {
                agent: AgentId::normalize(&decoded(agent)?),
                profile: ProfileId::parse(&decoded(profile)?)?,
            }),
            ["snapshots"] => Some(Self::Snapshots),
            ["snapshots", id] if !id.is_empty() => Some(Self::Snapshot {
                id: decoded(id)?,
                agent: agent(),
                profile: profile(),
            }),
            ["sign-in", provider] => Some(Self::SignIn {
                provider: ProviderId::parse(&decoded(provider)?)?,
                agent: agent(),
                profile: profile(),
            }),
            _ => None,
        }
    }
}

/// Undoes the percent-encoding of one path step.
fn decoded(step: &str) -> Option<String> {
    let query = format!("kalit:?={}", step.replace('+', "%2B"));
    let url = Url::parse(&query).ok()?;
    url.query_pairs().next().map(|(_, value)| value.into_owned())
}

/// Percent-encodes one path step or value.
fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Board => formatter.write_str("board"),
            Self::Add => formatter.write_str("add"),
            Self::Settings => formatter.write_str("settings"),
            Self::Diagnostics => formatter.write_str("diagnostics"),
            Self::Radar => formatter.write_str("radar"),
            Self::SignIn {
                provider,
                agent,
                profile,
            } => {
                write!(formatter, "sign-in/{}", encode(provider.as_str()))?;
                write_place(formatter, agent, profile.as_ref())
            }
            Self::Snapshots => formatter.write_str("snapshots"),
            Self::Snapshot { id, agent, profile } => {
                write!(formatter, "snapshots/{}", encode(id))?;
                write_place(formatter, agent, profile.as_ref())
            }
            Self::Agent(agent) => write!(formatter, "agent/{}", encode(agent.as_str())),
            Self::Copy { agent, profile } => write_account(formatter, "copy", agent, profile),
            Self::Account { agent, profile } => write_account(formatter, "account", agent, profile),
            Self::Restore { agent, profile } => write_account(formatter, "restore", agent, profile),
        }
    }
}

fn write_account(
    formatter: &mut fmt::Formatter<'_>,
    view: &str,
    agent: &AgentId,
    profile: &ProfileId,
) -> fmt::Result {
    write!(
        formatter,
        "{view}/{}/{}",
        encode(agent.as_str()),
        encode(profile.as_str())
    )
}

fn write_place(
    formatter: &mut fmt::Formatter<'_>,
    agent: &AgentId,
    profile: Option<&ProfileId>,
) -> fmt::Result {
    write!(formatter, "?agent={}", encode(agent.as_str()))?;
    match profile {
        Some(profile) => write!(formatter, "&profile={}", encode(profile.as_str())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(provider: &str, agent: &str, profile: Option<&str>) -> Route {
        Route::SignIn {
            provider: ProviderId::parse(provider).unwrap(),
            agent: AgentId::normalize(agent),
            profile: profile.and_then(ProfileId::parse),
        }
    }

    fn restore(agent: &str, profile: &str) -> Route {
        Route::Restore {
            agent: AgentId::normalize(agent),
            profile: ProfileId::parse(profile).unwrap(),
        }
    }

    fn snapshot(id: &str, agent: &str, profile: Option<&str>) -> Route {
        Route::Snapshot {
            id: id.to_owned(),
            agent: AgentId::normalize(agent),
            profile: profile.and_then(ProfileId::parse),
        }
    }

    #[test]
    fn every_route_survives_the_way_through_text() {
        for route in [
            Route::Board,
            Route::Add,
            Route::Settings,
            Route::Diagnostics,
            sign_in("openai", "main", None),
            sign_in("openai-codex", "work", Some("openai-codex:me+x@example.com")),
            sign_in("a/b c+d", "main", Some("a b&c=d#e?f/..")),
            Route::Agent(AgentId::normalize("work")),
            Route::Copy {
                agent: AgentId::main(),
                profile: ProfileId::parse("openai:me+x@example.com").unwrap(),
            },
            Route::Account {
                agent: AgentId::main(),
                profile: ProfileId::parse("a b&c=d#e?f/%2F").unwrap(),
            },
            restore("main", "openai:me+x@example.com"),
            restore("work", "a b&c=d#e?f/%2F"),
            Route::Snapshots,
            snapshot("01763900000000-5f0c1b2a", "work", Some("openai:me+x@example.com")),
            snapshot("a/b?c", "main", None),
        ] {
            assert_eq!(Route::parse(&route.to_string()), Some(route));
        }
    }

    #[test]
    fn the_agent_is_main_unless_named() {
        assert_eq!(
            Route::parse("sign-in/openai?agent=&profile="),
            Some(sign_in("openai", "main", None))
        );
    }

    #[test]
    fn what_is_not_a_route_leads_nowhere() {
        for text in [
            "",
            "boards",
            "sign-in",
            "sign-in/",
            "agent/",
            "account/main",
            "restore/main",
            "restore/main/",
            "restore//openai:a",
            "https://example.com/board",
            "//host/board",
        ] {
            assert_eq!(Route::parse(text), None, "{text}");
        }
    }
}
