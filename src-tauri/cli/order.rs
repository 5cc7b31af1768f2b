//! `order get`, `set` and `clear`: whose order is meant, and what follows from it.

use kalit_core::Error;
use kalit_core::broker::{Broker, NamedProvider};
use kalit_core::ids::{AgentId, ProviderId};

use crate::arguments::OrderAction;
use crate::asking::asking;
use crate::commands::{chosen_agent, parse_profile, provider_id, tell_activation};
use crate::interrupt::Interrupt;
use crate::{global_order, output};

/// Runs one command; the answer is the exit code.
pub async fn run(broker: &Broker, action: OrderAction, json: bool) -> Result<u8, Error> {
    match action {
        OrderAction::Get { provider, agent } => {
            let agent = chosen_agent(broker, &agent)?;
            let provider = named_provider(broker, Some(&agent), &provider)?;
            let view = broker.order(&agent, &provider)?;
            if json {
                output::json(&view);
            } else {
                match &view.order {
                    Some(order) => order.iter().for_each(|id| output::line(id.as_str())),
                    None => output::note("No order is stored."),
                }
                let first = view.kalit.candidates.first();
                output::note(output::in_use(&view.agent_id, first, &view.kalit.reason));
            }
        }
        OrderAction::Set {
            provider,
            agent,
            global,
            profile_ids,
        } => {
            let ids = profile_ids
                .iter()
                .map(|id| parse_profile(id))
                .collect::<Result<Vec<_>, Error>>()?;
            if global.global {
                let provider = named_provider(broker, None, &provider)?;
                return global_order::run(broker, &provider, Some(ids), global.yes, json).await;
            }
            let agent = chosen_agent(broker, &agent)?;
            let provider = named_provider(broker, Some(&agent), &provider)?;
            let work = asking(
                || broker.asks_openclaw(),
                broker.set_order(&agent, &provider, ids),
            );
            tell_activation(&Interrupt::listen()?.finish_telling(work).await?, json);
        }
        OrderAction::Clear {
            provider,
            agent,
            global,
        } => {
            if global.global {
                let provider = named_provider(broker, None, &provider)?;
                return global_order::run(broker, &provider, None, global.yes, json).await;
            }
            let agent = chosen_agent(broker, &agent)?;
            let provider = named_provider(broker, Some(&agent), &provider)?;
            let work = asking(|| broker.asks_openclaw(), broker.clear_order(&agent, &provider));
            tell_activation(&Interrupt::listen()?.finish_telling(work).await?, json);
        }
    }
    Ok(0)
}

/// The provider whose order is meant. Says so where another id than the one that was typed has the
/// accounts, and where two ids have the same name.
fn named_provider(broker: &Broker, agent: Option<&AgentId>, typed: &str) -> Result<ProviderId, Error> {
    let NamedProvider { id, name, alike } = broker.named_provider(agent, typed)?;
    if id != provider_id(typed)? {
        output::note(format!("The accounts of {name} are those of {id} here."));
    }
    for other in alike {
        output::note(format!("{other} is shown as {name}, too: this is about {id}."));
    }
    Ok(id)
}
