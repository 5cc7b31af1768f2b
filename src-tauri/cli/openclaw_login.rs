//! OpenClaw's own sign-in in this terminal: its address, its questions, and the answers from stdin.

use kalit_core::broker::{AskKind, Broker, LoginStep, OpenClawLoginHandle, OpenClawLoginRequest};
use kalit_core::secret::Secret;
use kalit_core::{Error, ErrorCode};

use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::{Hidden, Lines};
use crate::sign_in::{not_opened, open_browser, show_url, tell_and_offer};

/// What OpenClaw asks now. What is typed is not shown while it is kept.
struct Question {
    ask: u32,
    what: AskKind,
    choices: usize,
    _hidden: Option<Hidden>,
}

/// Ctrl-C cancels; what OpenClaw stored by then stays and is told.
pub async fn login(
    broker: &Broker,
    request: OpenClawLoginRequest,
    no_browser: bool,
    json: bool,
) -> Result<u8, Error> {
    let mut interrupt = Interrupt::listen()?;
    output::note("OpenClaw signs in. This takes a few seconds to begin.");
    let mut login = broker.openclaw_login(request).await?;
    let handle = login.handle();
    let mut lines = Lines::read();
    let mut question = None;
    let mut opening = None;
    loop {
        tokio::select! {
            step = login.next() => match step {
                Some(LoginStep::Url { url }) => {
                    if no_browser {
                        output::note("Open this address in a browser:");
                    } else {
                        output::note("Opening the browser. If nothing opens, use this address:");
                        opening = Some(open_browser(url.clone()));
                    }
                    show_url(&url, json);
                }
                Some(step) => question = shown(step).or(question),
                None => break,
            },
            line = lines.next() => match question.take() {
                Some(asked) => question = answered(&handle, asked, &line),
                None if line.expose().trim().is_empty() => {}
                None => output::note("OpenClaw asks nothing now: that line was not used."),
            },
            () = interrupt.wait() => {
                question = None;
                output::note("Cancelling.");
                handle.cancel();
            }
            () = not_opened(&mut opening) => {
                output::complaint(&Error::new(ErrorCode::BrowserFailed, "no browser could be opened"));
            },
        }
    }
    drop(question);
    let signed_in = login.wait().await?;
    tell_and_offer(broker, &signed_in, &mut lines, &mut interrupt, json).await
}

/// Prints a step; a question is kept until it is answered.
fn shown(step: LoginStep) -> Option<Question> {
    match step {
        // The caller shows it.
        LoginStep::Url { .. } => {}
        LoginStep::DeviceCode { code, url: Some(url) } => {
            output::note(format!("Enter this code at {url}: {code}"));
        }
        LoginStep::DeviceCode { code, url: None } => output::note(format!("Enter this code: {code}")),
        LoginStep::Said { line } => output::note(line),
        LoginStep::Ask {
            ask,
            question,
            what,
            choices,
        } => {
            output::note(&question);
            for (number, choice) in choices.iter().enumerate() {
                output::note(format!("  {}. {choice}", number + 1));
            }
            if !choices.is_empty() {
                output::note("Type a number and press Enter.");
            }
            return Some(Question {
                ask,
                what,
                choices: choices.len(),
                _hidden: (what == AskKind::Secret).then(Hidden::typing).flatten(),
            });
        }
    }
    None
}

/// Hands an answer on; a question that was not answered is kept.
fn answered(handle: &OpenClawLoginHandle, question: Question, line: &Secret) -> Option<Question> {
    let done = match question.what {
        AskKind::Text | AskKind::Secret => handle.answer(question.ask, line),
        AskKind::Choice | AskKind::Confirm => match chosen(line.expose(), question.choices) {
            Some(choice) => handle.choose(question.ask, choice),
            None => Err(Error::new(ErrorCode::Usage, "that is not one of the numbers")
                .with_hint(format!("Type a number from 1 to {}.", question.choices))),
        },
    };
    match done {
        Ok(()) => None,
        Err(error) => {
            output::complaint(&error);
            Some(question)
        }
    }
}

/// Counted from 0.
fn chosen(text: &str, choices: usize) -> Option<usize> {
    let number: usize = text.trim().parse().ok()?;
    (1..=choices).contains(&number).then(|| number - 1)
}
