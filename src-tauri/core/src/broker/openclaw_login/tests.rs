use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::event::EventKind;
use crate::testbed::{ANN, Machine, login};

const COPILOT: &str = "github-copilot:ann";

/// Ann is signed in to ChatGPT; a shell script stands in for an `openclaw` that signs her in to
/// Copilot when it is answered with `good`.
fn machine(with_openclaw: bool) -> (Machine, Broker) {
    let machine = Machine::new();
    let main = machine.agent_dir(".openclaw", "main");
    machine.write_store(&main, &login("REF0", 3_600_000));
    let copilot = json!({"type": "oauth", "provider": "github-copilot", "access": "ACC", "refresh": "REF",
        "expires": 1_900_000_000_000_i64, "email": "ann@example.com"});
    let after = json!({"version": 1, "profiles": {ANN: login("REF0", 3_600_000), COPILOT: copilot}});
    fs::write(machine.path("after.json"), after.to_string()).unwrap();
    let bin = machine.path("bin");
    fs::create_dir_all(&bin).unwrap();
    if with_openclaw {
        let script = format!(
            "#!/bin/sh\necho \"$@\" >'{args}'\n\
             printf 'Open this page:\\r\\nhttps://example.com/login/device\\r\\n◆  Domain\\r\\n│  _\\r\\n└\\r\\n'\n\
             read -r line\nprintf '\\033[3A\\033[J◇  Domain\\r\\n│  %s\\r\\n' \"$line\"\n\
             if [ \"$line\" = good ]; then cp '{after}' '{store}'; else echo 'Error: no such domain.'; fi\n",
            args = machine.path("args").display(),
            after = machine.path("after.json").display(),
            store = main.join("auth-profiles.json").display(),
        );
        fs::write(bin.join("draft"), script).unwrap();
        fs::set_permissions(bin.join("draft"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(bin.join("draft"), bin.join("openclaw")).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let broker = machine.broker_in(machine.environment().with_var("PATH", &path));
    (machine, broker)
}

fn request() -> OpenClawLoginRequest {
    OpenClawLoginRequest {
        provider: ProviderId::parse("github-copilot").unwrap(),
        agent: AgentId::main(),
        profile_id: ProfileId::parse(COPILOT),
        method: None,
        device_code: true,
        use_now: false,
    }
}

/// Up to the question, which is the first.
async fn asked(login: &mut OpenClawLogin) -> Vec<LoginStep> {
    let mut steps = Vec::new();
    while let Some(step) = login.next().await {
        let is_question = matches!(step, LoginStep::Ask { .. });
        steps.push(step);
        if is_question {
            return steps;
        }
    }
    panic!("nothing was asked: {steps:?}");
}

#[tokio::test]
async fn the_login_that_openclaw_stored_is_the_result() {
    let (machine, broker) = machine(true);
    let mut events = broker.subscribe();
    let mut login = broker.openclaw_login(request()).await.unwrap();
    let steps = asked(&mut login).await;
    let url = LoginStep::Url {
        url: "https://example.com/login/device".to_owned(),
    };
    assert!(steps.contains(&url), "{steps:?}");
    login.handle().answer(1, &Secret::new("good")).unwrap();
    let signed_in = login.wait().await.unwrap();
    assert_eq!(signed_in.profile_id.as_str(), COPILOT);
    assert_eq!(signed_in.email.as_deref(), Some("ann@example.com"));
    assert_eq!(
        signed_in.expires_at,
        Some(Timestamp::from_millis(1_900_000_000_000))
    );
    assert!(!signed_in.replaced);
    let arguments = fs::read_to_string(machine.path("args")).unwrap();
    let expected = "models auth --agent main login --provider github-copilot --profile-id github-copilot:ann --device-code";
    assert_eq!(arguments.trim(), expected);
    assert_eq!(events.recv().await.unwrap().kind, EventKind::SignedIn);
}

#[tokio::test]
async fn openclaws_own_words_tell_why_nothing_was_stored() {
    let (machine, broker) = machine(true);
    let mut login = broker.openclaw_login(request()).await.unwrap();
    asked(&mut login).await;
    login.handle().answer(1, &Secret::new("bad")).unwrap();
    let error = login.wait().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LoginExchangeFailed);
    assert_eq!(
        error.message(),
        "OpenClaw stored no login; it said: Error: no such domain"
    );
    let store = machine.read_store(&machine.agent_dir(".openclaw", "main"));
    assert_eq!(store["profiles"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_cancelled_sign_in_is_told_as_that() {
    let (_machine, broker) = machine(true);
    let mut login = broker.openclaw_login(request()).await.unwrap();
    asked(&mut login).await;
    login.handle().cancel();
    assert_eq!(login.wait().await.unwrap_err().code(), ErrorCode::LoginCancelled);
}

#[test]
fn who_signs_in_depends_on_the_provider_and_on_openclaw() {
    let route = |broker: &Broker, id: &str| broker.login_route(&ProviderId::parse(id).unwrap());
    let (_machine, broker) = machine(true);
    assert_eq!(route(&broker, "openai"), LoginRoute::Kalit);
    assert_eq!(route(&broker, "anthropic"), LoginRoute::Paste);
    assert_eq!(route(&broker, "github-copilot"), LoginRoute::Kalit);
    assert_eq!(route(&broker, "acme"), LoginRoute::OpenClaw);
    let (_machine, without) = machine(false);
    assert_eq!(route(&without, "openai"), LoginRoute::Kalit);
    assert_eq!(route(&without, "acme"), LoginRoute::None);
    assert_eq!(without.openclaw_logins(), []);
}
