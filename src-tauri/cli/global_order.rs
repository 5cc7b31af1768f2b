//! `order set --global` and `order clear --global`: a preview, a question, the change.

use kalit_core::Error;
use kalit_core::broker::{Broker, GlobalOrderPreview};
use kalit_core::ids::{ProfileId, ProviderId};
use serde_json::json;

use crate::asking::asking;
use crate::commands::tell_activation;
use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::consent;

pub async fn run(
    broker: &Broker,
    provider: &ProviderId,
    ids: Option<Vec<ProfileId>>,
    yes: bool,
    json: bool,
) -> Result<u8, Error> {
    let preview = broker.order_globally_preview(provider, ids.clone())?;
    if !json {
        tell(&preview);
    }
    if let Some(code) = consent(yes, json, "Change it for all agents?", &preview)? {
        return Ok(code);
    }
    let work = asking(|| true, broker.order_globally(provider, ids));
    let done = Interrupt::listen()?.finish_telling(work).await?;
    if json {
        output::json(&json!({"preview": preview, "agents": done}));
    } else {
        done.iter().for_each(|done| tell_activation(done, false));
    }
    Ok(0)
}

fn tell(preview: &GlobalOrderPreview) {
    let provider = &preview.provider;
    match &preview.ids {
        Some(ids) => {
            let ids: Vec<&str> = ids.iter().map(ProfileId::as_str).collect();
            output::line(format!(
                "auth.order of {provider} in openclaw.json becomes {}",
                ids.join(", ")
            ));
        }
        None => output::line(format!("auth.order of {provider} is taken out of openclaw.json")),
    }
    for agent in &preview.clears {
        output::line(format!("The stored order of agent {agent} is cleared"));
    }
    preview.notes.iter().for_each(output::line);
}
