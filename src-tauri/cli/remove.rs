//! `kalit remove`: an account forgotten here and, if asked for, its login ended at the provider.

use kalit_core::broker::{Broker, RemovalPreview, SignedOut};
use kalit_core::{Error, ErrorCode};

use crate::arguments::AgentArgument;
use crate::asking::asking;
use crate::commands::{chosen_agent, parse_profile};
use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::confirm;

/// Removes an account, after a question.
pub async fn run(
    broker: &Broker,
    id: &str,
    agent: &AgentArgument,
    everywhere: bool,
    yes: bool,
    json: bool,
) -> Result<u8, Error> {
    let agent = chosen_agent(broker, agent)?;
    let id = parse_profile(id)?;
    // What cannot be removed is no question.
    let preview = (everywhere || !yes)
        .then(|| broker.removal_preview(&agent, &id))
        .transpose()?;
    let question = match preview.filter(|_| everywhere) {
        Some(preview) => {
            if let Some(why) = preview.why_not.as_ref().filter(|_| !preview.has_ended) {
                let text = format!("{id} cannot be signed out everywhere: {why}");
                return Err(Error::new(ErrorCode::RevokeUnavailable, text));
            }
            if !json {
                tell_preview(&preview);
            }
            format!("Sign {id} out everywhere and forget it in agent {agent}?")
        }
        None => format!("Forget {id} in agent {agent}? The login stays valid at the provider."),
    };
    confirm(yes, json, &question, &ErrorCode::ConfirmationNeeded.hint())?;
    let work = asking(|| broker.asks_openclaw(), broker.remove(&agent, &id, everywhere));
    let removal = Interrupt::listen()?.finish_telling(work).await?;
    if json {
        output::json(&removal);
        return Ok(0);
    }
    output::line(format!("Forgot {} in {}", removal.profile_id, removal.agent));
    match removal.signed_out {
        Some(SignedOut::Ended) => output::line("The provider has ended its login"),
        Some(SignedOut::EndedBefore) => output::line("The provider had ended its login before"),
        None => {}
    }
    removal.notes.iter().for_each(output::line);
    Ok(0)
}

fn tell_preview(preview: &RemovalPreview) {
    if preview.has_ended {
        return output::line(format!("{} has ended this login already.", preview.provider));
    }
    output::line(format!(
        "{} ends the login itself. It may sign you out on other computers and in the browser, too.",
        preview.provider
    ));
    if !preview.also_used_by.is_empty() {
        output::line(format!("It ends for {}, too.", preview.also_used_by.join(", ")));
    }
}
