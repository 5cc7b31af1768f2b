//! `sessions list`, `pin` and `unpin`.

use kalit_core::Error;
use kalit_core::broker::Broker;
use kalit_core::view::SessionView;

use crate::arguments::{AgentArgument, SessionsAction};
use crate::asking::asking;
use crate::commands::{chosen_agent, parse_profile};
use crate::interrupt::Interrupt;
use crate::output;

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
    view.sessions.iter().for_each(|session| tell(session, false));
    if view.sessions.is_empty() {
        output::note("There are no sessions.");
    }
    if let Some(why) = &view.why_not {
        output::note(format!(
            "Kalit cannot pin now: {why}. In the session itself it always works:"
        ));
        output::note("/model <provider>/<model>@<profile>");
    }
    Ok(0)
}

/// One line: the session, its model as one would send it, and who pinned it.
fn tell(session: &SessionView, json: bool) {
    if json {
        return output::json(session);
    }
    let model = match (&session.provider, &session.model) {
        (Some(provider), Some(model)) => format!("{provider}/{model}"),
        (None, Some(model)) => model.clone(),
        (Some(_) | None, None) => "<model>".to_owned(),
    };
    let pin = match &session.profile_id {
        Some(id) => format!("/model {model}@{id}"),
        None => "-".to_owned(),
    };
    let source = session.source.as_ref().filter(|_| session.profile_id.is_some());
    let source = source.map_or_else(String::new, |source| format!("\t({source})"));
    output::line(format!("{}\t{pin}{source}", session.session));
}
