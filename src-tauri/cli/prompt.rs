//! What a person types: answers, redirect addresses and secrets. One thread reads stdin, so that
//! no line goes to the wrong question.

use std::io::{BufRead, IsTerminal, Read, Write};

use kalit_core::secret::Secret;
use kalit_core::{Error, ErrorCode};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::output;

/// The lines of stdin as they come.
pub struct Lines(mpsc::UnboundedReceiver<Secret>);

impl Lines {
    /// Starts the reading thread, which ends with the process.
    pub fn read() -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if sender.send(Secret::new(line)).is_err() {
                    break;
                }
            }
        });
        Self(lines)
    }

    /// The next line; never comes back after the last one.
    pub async fn next(&mut self) -> Secret {
        match self.0.recv().await {
            Some(line) => line,
            None => std::future::pending().await,
        }
    }

    /// Asks a question that is answered with yes or no.
    pub async fn asked(&mut self, question: &str) -> bool {
        show(question);
        self.0.recv().await.is_some_and(|answer| is_yes(answer.expose()))
    }
}

/// While this is kept, a terminal does not show what is typed.
pub struct Hidden {
    #[cfg(unix)]
    before: rustix::termios::Termios,
}

impl Hidden {
    /// `None` when stdin is no terminal, or cannot hide anything.
    pub fn typing() -> Option<Self> {
        #[cfg(unix)]
        {
            use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
            let before = tcgetattr(std::io::stdin()).ok()?;
            let mut hiding = before.clone();
            hiding.local_modes.remove(LocalModes::ECHO);
            tcsetattr(std::io::stdin(), OptionalActions::Now, &hiding).ok()?;
            Some(Self { before })
        }
        #[cfg(not(unix))]
        None
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        #[cfg(unix)]
        {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(std::io::stdin(), now, &self.before);
        }
    }
}

/// Asks before something happens. Without a terminal only `--yes` answers; `hint` says so.
pub fn confirm(yes: bool, json: bool, question: &str, hint: &str) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    if json || !std::io::stdin().is_terminal() {
        let error = Error::new(ErrorCode::ConfirmationNeeded, "this needs a confirmation");
        return Err(error.with_hint(hint));
    }
    show(question);
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && is_yes(&answer) {
        Ok(())
    } else {
        Err(Error::new(ErrorCode::ConfirmationNeeded, "nothing was changed").with_hint("Answer y to go on."))
    }
}

/// [`confirm`] after a preview. With `json` a refusal is printed with the preview beside it, and the
/// exit code to end with is answered.
pub fn consent(yes: bool, json: bool, question: &str, preview: &impl Serialize) -> Result<Option<u8>, Error> {
    match confirm(yes, json, question, "Read the preview, then add --yes.") {
        Ok(()) => Ok(None),
        Err(error) if json => {
            let preview = serde_json::json!({"preview": preview});
            output::json(&output::with_error(preview, Some(&error)));
            Ok(Some(error.code().exit_code()))
        }
        Err(error) => Err(error),
    }
}

/// One line from a person; from a pipe everything up to 64 KiB, so that a secret with a line
/// break is refused with the right words.
pub fn secret() -> Result<Secret, Error> {
    let mut text = String::new();
    let stdin = std::io::stdin().lock();
    let read = if std::io::stdin().is_terminal() {
        stdin.take(65_536).read_line(&mut text)
    } else {
        stdin.take(65_536).read_to_string(&mut text)
    };
    read.map_err(|error| Error::new(ErrorCode::SecretEmpty, "the secret cannot be read").with_source(error))?;
    Ok(Secret::new(text))
}

fn show(question: &str) {
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let _ = std::io::stderr().flush();
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
