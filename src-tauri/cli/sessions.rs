//! `sessions list`, `pin` and `unpin`.

use kalit_core::Error;
use kalit_core::broker::Broker;
use kalit_core::view::SessionView;

use crate::arguments::{AgentArgument, SessionsAction};
use crate::asking::asking;
use crate::commands::{chosen_agent, parse_profile};
use crate::interrupt::Interrupt;
use crate::output;
use crate::table::table;

pub async fn run(broker: &Broker, action: SessionsAction, json: bool) -> Result<u8, Error> {
    match action {
        SessionsAction::List { agent } => list(broker, &agent, json),
        SessionsAction::Pin {
            session,
            profile_id,
            agent,
        } => {
            let profile_id = parse_profile(&profile_id)?;
            let agent = chosen_agent(broker, &agent)?;
            let work = asking(
                || broker.asks_openclaw(),
                broker.pin_session(&agent, &session, Some(profile_id)),
            );
            tell(&Interrupt::listen()?.finish_telling(work).await?, json);
            Ok(0)
        }
        SessionsAction::Unpin { session, agent } => {
            let agent = chosen_agent(broker, &agent)?;
            let work = asking(
                || broker.asks_openclaw(),
                broker.pin_session(&agent, &session, None),
            );
            tell(&Interrupt::listen()?.finish_telling(work).await?, json);
            Ok(0)
        }
    }
}

fn list(broker: &Broker, agent: &AgentArgument, json: bool) -> Result<u8, Error> {
    let view = broker.sessions(&chosen_agent(broker, agent)?)?;
    if json {
        output::json(&view);
        return Ok(0);
    }
    if view.sessions.is_empty() {
        output::note("This agent has no session yet.");
    } else {
        table(
            ["SESSION", "MODEL", "PINNED TO"],
            view.sessions.iter().map(row).collect(),
        );
    }
    if let Some(why) = &view.why_not {
        output::note(format!(
            "Kalit cannot pin now: {why}. In the session itself it always works:"
        ));
        output::note("/model <provider>/<model>@<profile>");
    }
    Ok(0)
}

fn row(session: &SessionView) -> [String; 3] {
    let model = match (&session.provider, &session.model) {
        (Some(provider), Some(model)) if !model.starts_with(&format!("{provider}/")) => {
            format!("{provider}/{model}")
        }
        (_, Some(model)) => model.clone(),
        (_, None) => String::new(),
    };
    let pin = match (&session.profile_id, session.source.as_deref()) {
        (Some(id), Some("auto")) => format!("{id} by OpenClaw"),
        (Some(id), _) => id.to_string(),
        (None, _) => "follows the order".to_owned(),
    };
    [session.session.clone(), model, pin]
}

/// What a session uses after a pin was set or taken off.
fn tell(session: &SessionView, json: bool) {
    if json {
        return output::json(session);
    }
    let name = &session.session;
    output::line(match &session.profile_id {
        Some(id) => format!("{name} is pinned to {id}"),
        None => format!("{name} follows the order again"),
    });
}
