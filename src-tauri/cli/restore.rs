//! `kalit restore`: what is known first, then the question, then the login put back.

use kalit_core::Error;
use kalit_core::broker::{Broker, RestorePreview, Restored};
use kalit_core::ids::{AgentId, ProfileId};

use crate::asking::{asking, saying};
use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::consent;

/// Puts a login back that OpenClaw dropped, after a preview.
pub async fn run(
    broker: &Broker,
    agent: &AgentId,
    profile_id: &ProfileId,
    yes: bool,
    json: bool,
) -> Result<u8, Error> {
    let preview = saying(
        "Looking at what is known…",
        broker.restore_preview(agent, profile_id),
    )
    .await?;
    if !json {
        tell_preview(&preview);
    }
    if let Some(code) = consent(yes, json, "Put it back?", &preview)? {
        return Ok(code);
    }
    let work = asking(|| true, broker.restore(agent, profile_id));
    let done = Interrupt::listen()?.finish_telling(work).await?;
    if json {
        output::json(&done);
    } else {
        tell(&done);
    }
    Ok(0)
}

fn tell_preview(preview: &RestorePreview) {
    output::line(format!(
        "OpenClaw dropped {} of agent {}. Kalit's copy is of {}.",
        preview.profile_id,
        preview.agent,
        output::moment(preview.sealed_at)
    ));
    preview.known.iter().for_each(output::line);
    output::line(&preview.warning);
    output::line("It is put back into:");
    for store in &preview.stores {
        output::line(format!("  {store}"));
    }
}

fn tell(done: &Restored) {
    let again = if done.resumed {
        ", which had been interrupted"
    } else {
        ""
    };
    output::line(format!(
        "{} is back{again}: OpenClaw renews it when it is next used.",
        done.profile_id
    ));
    done.notes.iter().for_each(output::line);
}
