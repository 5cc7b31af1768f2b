use serde_json::json;

use super::*;
use crate::broker::{About, RefreshTarget};
use crate::event::EventKind;
use crate::oauth::testing::Reply;
use crate::testbed::{ANN, Machine, login};
use crate::view::AccountState;
use crate::why::{Cause, Confidence};

fn ann() -> ProfileId {
    ProfileId::parse(ANN).unwrap()
}

fn main_account(broker: &Broker) -> AccountView {
    let snapshot = broker.snapshot();
    let mut accounts = snapshot
        .agents
        .into_iter()
        .flat_map(|agent| agent.providers)
        .flat_map(|provider| provider.accounts);
    accounts.find(|account| account.profile_id == ann()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_board_and_why_name_the_program_that_used_the_login() {
    let machine = Machine::new();
    let store = machine.agent_dir(".openclaw", "main");
    machine.write_store(&store, &login("REF0", -60_000));
    let broker = machine.broker();
    let before = broker.why(&AgentId::main(), &ann()).unwrap();
    assert_eq!(
        (
            before.explanation.cause,
            before.explanation.signed_out,
            before.code
        ),
        (Cause::Expired, false, None)
    );

    let state_dir = broker
        .inner
        .installation()
        .unwrap()
        .state_dir
        .canonical()
        .display()
        .to_string();
    let fleet = machine.fleet();
    let document = &fleet.own().next().unwrap().content.as_ref().unwrap().document;
    let generation = document.credential(&ann()).unwrap().generation();
    broker.inner.emit(
        EventKind::RenewedElsewhere,
        About {
            installation: &state_dir,
            agent: Some(&AgentId::main()),
            profile_id: Some(&ann()),
            generation,
            cause: Some("codex-cli"),
            ..About::default()
        },
        "Codex CLI renewed it",
    );
    machine.clock.advance_millis(3 * 60_000);
    let refusal = json!({"error": {"code": "refresh_token_reused", "message": "canary"}});
    let _server = machine.serve(vec![Reply::json(401, &refusal)]).await;
    broker.refresh(RefreshTarget::All).await;

    let sentence = "Codex CLI used the same login 3 minutes earlier.";
    let account = main_account(&broker);
    assert_eq!(account.state, AccountState::SignedOut);
    assert_eq!(account.lost.unwrap().text, sentence);
    assert_eq!(account.sentence, format!("{sentence} Sign in again."));

    let why = broker.why(&AgentId::main(), &ann()).unwrap();
    assert_eq!(
        (
            why.explanation.cause,
            why.explanation.confidence,
            why.explanation.signed_out
        ),
        (Cause::OtherProgram, Confidence::Certain, true)
    );
    assert_eq!(why.explanation.sentence, sentence);
    assert_eq!(why.code.as_deref(), Some("refresh_token_reused"));
    let text = serde_json::to_string(&why).unwrap();
    assert!(!text.contains("canary") && !text.contains("REF0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_is_down_is_explained_as_that_in_every_process() {
    let machine = Machine::new();
    machine.write_store(&machine.agent_dir(".openclaw", "main"), &login("REF0", -60_000));
    // A port where nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    machine.lead_to(&format!("http://{address}/token"));
    let broker = machine.broker();
    broker.refresh(RefreshTarget::All).await;
    for broker in [broker, machine.broker()] {
        let why = broker.why(&AgentId::main(), &ann()).unwrap().explanation;
        assert_eq!((why.cause, why.signed_out), (Cause::Network, false), "{why:?}");
    }
}

#[test]
fn an_account_that_is_not_there_has_no_explanation() {
    let machine = Machine::new();
    machine.write_store(&machine.agent_dir(".openclaw", "main"), &login("REF0", 3_600_000));
    let broker = machine.broker();
    let why = broker.why(&AgentId::main(), &ann()).unwrap();
    assert_eq!(why.explanation.cause, Cause::NotLost);
    let other = ProfileId::parse("openai:other").unwrap();
    let error = broker.why(&AgentId::main(), &other).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ProfileUnknown);
}
