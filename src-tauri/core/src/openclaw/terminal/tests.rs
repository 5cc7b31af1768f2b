use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

const SOON: Duration = Duration::from_secs(20);

/// A shell script that stands in for the real program.
fn script(dir: &Path, text: &str) -> Command {
    let path = dir.join("openclaw");
    // A file that this process has open for writing cannot be started.
    let draft = dir.join("draft");
    fs::write(&draft, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&draft, &path).unwrap();
    let mut command = Command::new(path);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir(dir);
    command
}

async fn next(terminal: &mut Terminal) -> LoginStep {
    let step = tokio::time::timeout(SOON, terminal.steps.recv()).await;
    step.expect("a step in time").expect("a step")
}

async fn end(terminal: Terminal) -> Ended {
    let ended = tokio::time::timeout(SOON, terminal.ended).await;
    ended.expect("its end in time").expect("its end")
}

/// The process of the script, and whether it still runs.
fn runs(dir: &Path) -> bool {
    let pid = fs::read_to_string(dir.join("pid")).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn gone(dir: &Path) {
    until("its end", || !runs(dir)).await;
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let late = std::time::Instant::now() + SOON;
    while !is_so() {
        assert!(std::time::Instant::now() < late, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_question_is_answered_and_what_was_typed_is_in_no_step() {
    let dir = tempfile::tempdir().unwrap();
    let command = script(
        dir.path(),
        "printf '◆  Paste the token\\r\\n│  _\\r\\n└\\r\\n'; read -r line; printf '%s' \"$line\" >typed\n\
         printf '\\033[3A\\033[J◇  Paste the token\\r\\n│  %s\\r\\n' \"$line\"; echo \"got $line\"; env >env",
    );
    let mut terminal = Terminal::start(&command).unwrap();
    let asked = next(&mut terminal).await;
    let expected = LoginStep::Ask {
        ask: 1,
        question: "Paste the token".to_owned(),
        what: AskKind::Secret,
        choices: Vec::new(),
    };
    assert_eq!(asked, expected);
    terminal.handle.answer(1, &Secret::new("tok-en-one-two")).unwrap();
    let said = next(&mut terminal).await;
    assert_eq!(
        said,
        LoginStep::Said {
            line: "got …".to_owned()
        }
    );
    let ended = end(terminal).await;
    assert_eq!(
        (ended.end, ended.last_line.as_deref()),
        (End::ByItself, Some("got …"))
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("typed")).unwrap(),
        "tok-en-one-two"
    );
    let variables = fs::read_to_string(dir.path().join("env")).unwrap();
    for line in ["TERM=xterm-256color", "COLUMNS=1000"] {
        assert!(variables.lines().any(|it| it == line), "{variables}");
    }
    // Nothing of this process's environment.
    assert!(!variables.contains("CARGO"), "{variables}");
}

#[tokio::test]
async fn a_cancelled_sign_in_ends_by_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let command = script(
        dir.path(),
        "echo $$ >pid; trap 'echo bye-bye; exit 1' INT; echo ready-now; while :; do sleep 0.1; done",
    );
    let mut terminal = Terminal::start(&command).unwrap();
    assert_eq!(
        next(&mut terminal).await,
        LoginStep::Said {
            line: "ready-now".to_owned()
        }
    );
    terminal.handle.cancel();
    let ended = end(terminal).await;
    assert_eq!(ended.end, End::Cancelled);
    assert!(
        ended.lines.iter().any(|line| line.contains("bye-bye")),
        "{ended:?}"
    );
    gone(dir.path()).await;
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let command = script(
        dir.path(),
        "trap '' INT HUP TERM; sh -c 'echo $$ >pid; while :; do sleep 0.1; done' & echo ready-now; wait; wait",
    );
    let mut terminal = Terminal::start(&command).unwrap();
    next(&mut terminal).await;
    let pid = dir.path().join("pid");
    until("its child", || {
        fs::read_to_string(&pid).is_ok_and(|pid| !pid.is_empty())
    })
    .await;
    terminal.handle.cancel();
    assert_eq!(end(terminal).await.end, End::Cancelled);
    gone(dir.path()).await;
}

#[tokio::test]
async fn one_that_takes_too_long_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let command = script(dir.path(), "echo $$ >pid; exec sleep 600");
    let terminal = Terminal::start_within(&command, Duration::from_millis(300)).unwrap();
    assert_eq!(end(terminal).await.end, End::TimedOut);
    gone(dir.path()).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() {
    let mut command = Command::new("/nonexistent/openclaw");
    command.env_clear();
    let error = Terminal::start(&command).err().unwrap();
    assert_eq!(error.code(), ErrorCode::OpenClawFailed);
}

#[tokio::test]
async fn one_that_has_stored_a_login_and_waits_at_its_question_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let command = script(
        dir.path(),
        "echo $$ >pid; printf '◆  Paste the token\\r\\n│  _\\r\\n└\\r\\nAuth profile: a:b (a/oauth)\\r\\n'; exec sleep 600",
    );
    let mut terminal = Terminal::start(&command).unwrap();
    assert!(matches!(next(&mut terminal).await, LoginStep::Ask { ask: 1, .. }));
    let stored = "Auth profile: a:b (a/oauth)".to_owned();
    assert_eq!(
        next(&mut terminal).await,
        LoginStep::Said { line: stored.clone() }
    );
    let ended = end(terminal).await;
    assert_eq!((ended.end, ended.lines), (End::ByItself, vec![stored]));
    gone(dir.path()).await;
}
