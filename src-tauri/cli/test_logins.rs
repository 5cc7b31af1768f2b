//! `test-logins`: the risk, a question, what became of each login.

use kalit_core::Error;
use kalit_core::broker::{Broker, TestResult};

use crate::asking::{asking, saying};
use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::consent;

/// Exits with 1 when a login was dropped.
pub async fn run(broker: &Broker, yes: bool, json: bool) -> Result<u8, Error> {
    let offer = saying("Asking the providers…", broker.test_logins_offer()).await;
    if offer.offered {
        if !json {
            output::line(&offer.risk);
        }
        if let Some(code) = consent(yes, json, "Test all logins?", &offer)? {
            return Ok(code);
        }
    }
    // Not offered: the answer is why.
    let work = asking(|| true, broker.test_logins());
    let tested = Interrupt::listen()?.finish_telling(work).await?;
    if json {
        output::json(&tested);
    } else {
        for login in &tested.logins {
            output::line(format!("{} ({}): {}", login.profile_id, login.agent, login.text));
        }
        tested.notes.iter().for_each(output::line);
    }
    let dropped = tested
        .logins
        .iter()
        .any(|login| login.result == TestResult::Dropped);
    Ok(u8::from(dropped))
}
