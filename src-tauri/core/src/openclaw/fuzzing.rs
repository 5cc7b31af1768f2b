//! The fuzzer's functions of what OpenClaw prints and logs.

use super::renewal_log::last_in;
use super::terminal::prompts::{AskKind, LoginStep, Prompts};
use crate::clock::Timestamp;
use crate::fuzzing::{CANARY, assert_no_secret};
use crate::ids::ProfileId;
use crate::secret::Secret;

/// What a sign-in draws on its terminal, the first byte being the size of the pieces: what was
/// typed is never told again.
pub(crate) fn terminal(input: &[u8]) {
    let Some((size, output)) = input.split_first() else {
        return;
    };
    // The whole of it: its beginning may well stand in what OpenClaw draws.
    let answer = format!("{CANARY}-0123456789");
    let tells_nothing = |text: &str| assert!(!text.contains(&answer), "an answer is told: {text}");
    let mut prompts = Prompts::default();
    let mut typed = false;
    let mut check = |steps: Vec<LoginStep>, prompts: &mut Prompts| {
        // These steps were told before an answer to one of them is typed.
        let typed_before = typed;
        for step in steps {
            match step {
                LoginStep::Ask {
                    ask,
                    what,
                    choices,
                    question,
                } => {
                    if typed_before {
                        tells_nothing(&format!("{question} {choices:?}"));
                    }
                    match what {
                        AskKind::Text | AskKind::Secret => {
                            typed |= prompts.keys_for(ask, &Secret::new(answer.clone())).is_ok();
                        }
                        AskKind::Choice | AskKind::Confirm => {
                            let last = choices.len().saturating_sub(1);
                            let keys = prompts.keys_to_choose(ask, last);
                            assert!(keys.is_err() || choices.len() > last);
                        }
                    }
                }
                LoginStep::Said { line } if typed_before => tells_nothing(&line),
                // An address is for the person's browser alone.
                LoginStep::Said { .. } | LoginStep::Url { .. } | LoginStep::DeviceCode { .. } => {}
            }
        }
    };
    for piece in output.chunks(usize::from(*size).max(1)) {
        let steps = prompts.feed(piece);
        check(steps, &mut prompts);
    }
    let steps = prompts.finish();
    check(steps, &mut prompts);
}

/// OpenClaw's log: only words of Kalit's own and a code leave it.
pub(crate) fn renewal_log(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let id = ProfileId::parse("openai:me@example.com").expect("not empty");
    let ever = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
    if let Some((_, why)) = last_in(&text, &id, ever.0, ever.1) {
        assert!(text.contains(id.as_str()));
        assert_no_secret(&why.sentence());
        assert!(why.sentence().len() < 400);
    }
}
