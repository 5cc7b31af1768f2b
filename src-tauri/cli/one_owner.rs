//! `kalit one-owner`: a preview, a question, the change.

use kalit_core::Error;
use kalit_core::broker::{Broker, OneOwner, OneOwnerCopy, OneOwnerPreview};
use kalit_core::ids::ProfileId;

use crate::asking::{reading, saying};
use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::consent;

pub async fn run(broker: &Broker, profile_id: &ProfileId, yes: bool, json: bool) -> Result<u8, Error> {
    let id = profile_id.clone();
    let preview = reading(broker, move |broker: &Broker| broker.one_owner_preview(&id)).await??;
    if !json {
        tell_preview(&preview);
    }
    if let Some(code) = consent(yes, json, "Take the copies out?", &preview)? {
        return Ok(code);
    }
    let done = Interrupt::listen()?
        .finish_telling(saying("Asking OpenClaw…", broker.one_owner(profile_id)))
        .await?;
    if json {
        output::json(&done);
    } else {
        tell(&done, &preview.notes);
    }
    Ok(0)
}

fn tell_preview(preview: &OneOwnerPreview) {
    output::line(format!("{} stays in {}", preview.profile_id, preview.path));
    for copy in &preview.copies {
        output::line(format!("- {}  {}", copy.agent, copy.path));
        output::line(format!("  {}", uses(copy)));
    }
    preview.notes.iter().for_each(output::line);
}

fn uses(copy: &OneOwnerCopy) -> String {
    let name = |id: &Option<ProfileId>| id.as_ref().map_or("no account", ProfileId::as_str).to_owned();
    if copy.uses_now == copy.uses_then {
        format!("goes on using {}", name(&copy.uses_then))
    } else {
        format!(
            "uses {} instead of {}",
            name(&copy.uses_then),
            name(&copy.uses_now)
        )
    }
}

/// What was `said` before is not said again.
fn tell(done: &OneOwner, said: &[String]) {
    for copy in &done.copies {
        let own_word = match copy.resolves {
            Some(true) => "; OpenClaw itself has it there",
            Some(false) | None => "",
        };
        let uses = uses(copy);
        output::line(format!(
            "{} holds no copy any more and {uses}{own_word}",
            copy.agent
        ));
    }
    let new = done.notes.iter().filter(|note| !said.contains(note));
    new.for_each(output::line);
}
