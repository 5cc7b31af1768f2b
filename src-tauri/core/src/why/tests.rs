use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::event::EventKind;
use crate::ids::ProfileId;
use crate::oauth::classify;
use renewal_log::Why;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const GENERATION: &str = "0123456789abcdef";

/// What was recorded of one account, and what is to be made of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    /// The rows of the table of refusals that it stands for.
    #[serde(default)]
    rows: Vec<String>,
    #[serde(default = "openai")]
    provider: ProviderId,
    #[serde(default = "oauth")]
    kind: CredentialKind,
    #[serde(default = "healthy")]
    state: AccountState,
    loss: Option<CaseLoss>,
    trouble: Option<String>,
    #[serde(default)]
    events: Vec<CaseEvent>,
    #[serde(default)]
    answer_was_lost: bool,
    #[serde(default)]
    superseded: bool,
    cooldown: Option<String>,
    #[serde(default)]
    shared_with: Vec<String>,
    #[serde(default)]
    copies_in: Vec<AgentId>,
    #[serde(default)]
    vanished_with: usize,
    log: Option<Why>,
    restore: Option<WayBack>,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    clock_is_off: bool,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    managed: bool,
    expected: Value,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseLoss {
    signal: LostSignal,
    code: String,
    #[serde(default)]
    text: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEvent {
    /// Minutes before now; the loss is now.
    minutes: i64,
    #[serde(rename = "type")]
    kind: EventKind,
    #[serde(default)]
    agent: Option<AgentId>,
    #[serde(default)]
    cause: Option<String>,
    #[serde(default)]
    generation: Option<String>,
}

fn openai() -> ProviderId {
    ProviderId::parse("openai").unwrap()
}

fn oauth() -> CredentialKind {
    CredentialKind::Oauth
}

fn healthy() -> AccountState {
    AccountState::Healthy
}

impl Case {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("cases.json")).unwrap()
    }

    /// The code that the account was refused with last.
    fn code(&self) -> Option<&str> {
        let failed = self
            .events
            .iter()
            .find(|event| event.kind == EventKind::RefreshFailed);
        let lost = self.loss.as_ref().map(|loss| loss.code.as_str());
        lost.or(self.trouble.as_deref())
            .or(failed.and_then(|event| event.cause.as_deref()))
    }

    fn evidence(&self) -> Evidence {
        let event = |event: &CaseEvent| Event {
            schema: 1,
            kind: event.kind,
            at: NOW.plus_millis(-event.minutes * 60_000),
            installation: "/a".to_owned(),
            agent: Some(event.agent.clone().unwrap_or(AgentId::main())),
            profile_id: ProfileId::parse("openai:me@example.com"),
            generation: event.generation.clone().or(Some(GENERATION.to_owned())),
            family: None,
            snapshot: None,
            order: None,
            cause: event.cause.clone(),
            source: "unknown".to_owned(),
            text: "me@example.com: something happened".to_owned(),
        };
        Evidence {
            now: NOW,
            agent: AgentId::main(),
            provider: self.provider.clone(),
            kind: self.kind,
            state: self.state,
            loss: self.loss.as_ref().map(|loss| Loss {
                signal: loss.signal,
                code: loss.code.clone(),
                at: NOW,
                text: loss.text.clone(),
            }),
            answer_was_lost: self.answer_was_lost,
            superseded: self.superseded,
            generation: Some(GENERATION.to_owned()),
            trouble: self.trouble.clone(),
            cooldown: self.cooldown.clone(),
            events: self.events.iter().map(event).collect(),
            shared_with: self.shared_with.clone(),
            copies_in: self.copies_in.clone(),
            leftovers: 0,
            vanished_with: self.vanished_with,
            log: self.log.clone(),
            restore: self.restore.clone(),
            offline: self.offline,
            clock_is_off: self.clock_is_off,
            paused: self.paused,
            attended: true,
            managed: self.managed,
        }
    }
}

#[test]
fn every_recorded_scenario_is_explained() {
    let mut wrong = Vec::new();
    for case in Case::all() {
        let explanation = explain(&case.evidence());
        let told = serde_json::to_value(&explanation).unwrap();
        let expected = case.expected.as_object().unwrap();
        for (key, value) in expected {
            if told[key] != *value {
                wrong.push(format!("{}: {key}: {} instead of {value}", case.name, told[key]));
            }
        }
        for key in ["cause", "confidence", "signedOut", "sentence", "remedy"] {
            if !expected.contains_key(key) {
                wrong.push(format!("{}: says nothing of {key}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_of_the_table_of_refusals_has_a_scenario() {
    let cases = Case::all();
    let mut told = BTreeSet::new();
    for case in &cases {
        let possible = case
            .code()
            .map(|code| classify::rows_of(&case.provider, code))
            .unwrap_or_default();
        for row in &case.rows {
            if row == "unrecognised" {
                assert_eq!(case.code(), Some("unrecognised"), "{}", case.name);
            } else {
                let ends = possible.iter().find(|(name, _)| name == row);
                let Some((_, ends)) = ends else {
                    panic!("{}: its code is none of {row}", case.name)
                };
                let lost = case.loss.as_ref().map(|loss| loss.signal);
                assert_eq!(*ends, lost == Some(LostSignal::SignedOut), "{}", case.name);
            }
            told.insert(row.as_str());
        }
    }
    let rows: BTreeSet<_> = classify::row_names().collect();
    assert_eq!(told, rows);
}

#[test]
fn a_sign_out_is_called_one_only_when_it_is_proven() {
    for case in Case::all() {
        let explanation = explain(&case.evidence());
        let proven = case.loss.as_ref().map(|loss| loss.signal) == Some(LostSignal::SignedOut);
        assert_eq!(explanation.signed_out, proven, "{}", case.name);
        if !proven {
            let not = explanation.not.join(" ");
            assert!(
                not.contains("not a sign-out") || not.contains("not proven"),
                "{}: {not}",
                case.name
            );
        }
        let parts = [&explanation.sentence, &explanation.remedy];
        for text in parts
            .into_iter()
            .chain(&explanation.evidence)
            .chain(&explanation.not)
        {
            assert!(explanation.paragraph.contains(text.as_str()), "{}", case.name);
            assert!(
                text.ends_with('.') && !text.contains('@'),
                "{}: {text}",
                case.name
            );
        }
        assert!(explanation.paragraph.starts_with(&explanation.sentence));
        assert!(
            explanation.sentence.chars().count() <= 120,
            "{}: {}",
            case.name,
            explanation.sentence
        );
    }
}

#[test]
fn every_cause_has_a_scenario_and_a_row_in_the_docs() {
    let docs = include_str!("../../../../docs/signed-out.md");
    let told: BTreeSet<_> = Case::all()
        .iter()
        .map(|case| explain(&case.evidence()).cause)
        .collect();
    for cause in Cause::ALL {
        assert!(told.contains(&cause), "no scenario: {cause:?}");
        let word = serde_json::to_value(cause).unwrap();
        let row = format!("| `{}` |", word.as_str().unwrap());
        assert!(docs.contains(&row), "not in docs/signed-out.md: {row}");
    }
}
