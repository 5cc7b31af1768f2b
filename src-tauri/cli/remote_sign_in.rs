//! `kalit login <provider> --host user@host`: a sign-in for a gateway on another machine. The system's
//! `ssh` carries it: Kalit there asks for the address and keeps the listener and the tokens, the
//! browser is here, and its answer goes back through the forwarded port. Nothing is stored here, and
//! no argument of a program holds a secret.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kalit_core::environment::Environment;
use kalit_core::ids::ProviderId;
use kalit_core::oauth::Providers;
use kalit_core::oauth::provider::Authorization;
use kalit_core::secret::Secret;
use kalit_core::{Error, ErrorCode};
use kalit_shell::{browser, process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use url::Url;

use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::Lines;
use crate::sign_in::show_url;

/// How ssh says that it could not connect, or lost the connection.
const NOT_CONNECTED: i32 = 255;
/// How the far side says that it has OpenClaw and no Kalit, and that it has neither; no exit codes of
/// Kalit's.
const ONLY_OPENCLAW: i32 = 91;
const NEITHER: i32 = 92;
/// The far side's first word.
const CONNECTED: &str = "kalit: connected";
/// How long what was said before the end is waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Far longer than any address or sentence.
const LONGEST_LINE: usize = 16 * 1024;

/// What a person asked for, as it was typed.
pub struct Remote {
    pub host: String,
    pub provider: ProviderId,
    pub agent: Option<String>,
    pub profile_id: Option<String>,
    pub method: Option<String>,
    pub device_code: bool,
    pub no_browser: bool,
    pub use_now: bool,
}

/// Runs the sign-in on the other machine; the answer is its exit code.
///
/// # Errors
/// `usage` for a host that is none; `login.port_busy` before anything was started; `remote.no_ssh`,
/// `remote.unreachable`, `remote.no_program`; `login.cancelled`.
pub async fn login(remote: Remote, json: bool) -> Result<u8, Error> {
    check_host(&remote.host)?;
    let environment = process::environment();
    let ssh = find_ssh(&environment)?;
    let providers = Providers::load(&environment)?;
    let authorization = providers
        .get(&remote.provider)
        .and_then(|provider| provider.authorization())
        .cloned();
    let ports = match &authorization {
        Some(authorization) if !remote.no_browser => authorization.redirect.ports.clone(),
        Some(_) | None => Vec::new(),
    };
    check_free(&ports)?;
    let start = |arguments: Vec<String>, command: String| {
        let mut ssh = Command::new(&ssh);
        // What ssh starts itself is looked for in the same directories.
        ssh.env("PATH", environment.program_path(None));
        ssh.args(arguments).arg("--").arg(&remote.host).arg(command);
        ssh
    };
    let mut interrupt = Interrupt::listen()?;
    let mut command = start(arguments(&ports, "-T"), far_kalit(&remote, json));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.kill_on_drop(true).spawn().map_err(not_started)?;
    let code = follow(child, authorization.as_ref(), &remote, json, &mut interrupt).await?;
    match code {
        NOT_CONNECTED => Err(unreachable(&remote.host)),
        NEITHER => {
            let what = format!("neither kalit nor openclaw is on the PATH of {}", remote.host);
            Err(Error::new(ErrorCode::RemoteNoProgram, what))
        }
        ONLY_OPENCLAW => {
            output::note(
                "There is no Kalit there: OpenClaw signs in itself. Open the address that it shows here.",
            );
            let mut command = start(arguments(&ports, "-t"), far_openclaw(&remote));
            let status = command.status().await.map_err(not_started)?;
            match status.code() {
                Some(NOT_CONNECTED) => Err(unreachable(&remote.host)),
                code => Ok(exit_code(code)),
            }
        }
        code => Ok(exit_code(Some(code))),
    }
}

/// Shows what the far side says, opens the address that it names, and sends it what is pasted here.
async fn follow(
    mut child: Child,
    authorization: Option<&Authorization>,
    remote: &Remote,
    json: bool,
    interrupt: &mut Interrupt,
) -> Result<i32, Error> {
    let (said, mut saying) = mpsc::unbounded_channel();
    let streams = (child.stdout.take(), child.stderr.take(), child.stdin.take());
    let (Some(stdout), Some(stderr), Some(mut stdin)) = streams else {
        return Err(Error::new(ErrorCode::Internal, "ssh was started without pipes"));
    };
    tokio::spawn(lines_of(stdout, Stream::Out, said.clone()));
    tokio::spawn(lines_of(stderr, Stream::Note, said));
    let mut shown = Shown {
        authorization,
        no_browser: remote.no_browser,
        json,
        lines: None,
        opened: false,
    };
    let status = loop {
        tokio::select! {
            Some((stream, line)) = saying.recv() => shown.show(stream, &line),
            line = next(&mut shown.lines) => {
                // A far side that ended says so itself.
                let _ = stdin.write_all(format!("{}\n", line.expose()).as_bytes()).await;
            }
            () = interrupt.wait() => {
                let _ = child.kill().await;
                return Err(Error::new(ErrorCode::LoginCancelled, "the sign-in was cancelled"));
            }
            status = child.wait() => break status.map_err(not_started)?,
        }
    };
    // A connection that ssh keeps for later may hold the pipes open.
    while let Ok(Some((stream, line))) = tokio::time::timeout(LAST_WORDS, saying.recv()).await {
        shown.show(stream, &line);
    }
    Ok(status.code().unwrap_or(NOT_CONNECTED))
}

/// What is shown of the far side.
struct Shown<'a> {
    authorization: Option<&'a Authorization>,
    no_browser: bool,
    json: bool,
    /// What is typed here; until the far side has said a word it is for ssh, which may ask for a
    /// password.
    lines: Option<Lines>,
    opened: bool,
}

impl Shown<'_> {
    fn show(&mut self, stream: Stream, line: &str) {
        let url = self
            .authorization
            .and_then(|authorization| address_in(line, authorization));
        match (url, stream) {
            (Some(url), _) if !self.opened => {
                self.opened = true;
                show_url(url.as_str(), self.json);
                if !self.no_browser {
                    open(url);
                }
            }
            (_, Stream::Out) if line == CONNECTED => self.lines = Some(Lines::read()),
            (_, Stream::Out) => output::line(line),
            (_, Stream::Note) => output::note(line),
        }
    }
}

async fn next(lines: &mut Option<Lines>) -> Secret {
    match lines {
        Some(lines) => lines.next().await,
        None => std::future::pending().await,
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Note,
}

/// Each line without what would move a terminal's cursor. What is too long to be a line is left out.
async fn lines_of(
    stream: impl AsyncRead + Unpin,
    which: Stream,
    said: mpsc::UnboundedSender<(Stream, String)>,
) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(count) = reader.read_until(b'\n', &mut bytes).await {
        if count == 0 {
            return;
        }
        if bytes.len() <= LONGEST_LINE {
            let text = String::from_utf8_lossy(&bytes);
            let line: String = text.chars().filter(|letter| !letter.is_control()).collect();
            if said.send((which, line)).is_err() {
                return;
            }
        }
        bytes.clear();
    }
}

/// The address of a sign-in: the whole line, at the authorization endpoint of the provider's manifest
/// here, with an answer that goes to a loopback address, and nothing else.
fn address_in(line: &str, authorization: &Authorization) -> Option<Url> {
    let url = Url::parse(line).ok()?;
    let known = &authorization.url;
    let same = url.origin() == known.origin() && url.path() == known.path();
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    // The manifest's own endpoint is https, but for one on loopback.
    let redirect = url.query_pairs().find(|(name, _)| name == "redirect_uri")?.1;
    let redirect = Url::parse(&redirect).ok()?;
    let host = redirect.host_str()?;
    let returns = redirect.scheme() == "http" && matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    (same && plain && returns && url.as_str() == line).then_some(url)
}

fn open(url: Url) {
    output::note(
        "Opening the browser. If nothing opens, use the address above, or paste the address of the last page here.",
    );
    // A browser in the terminal keeps the thread busy for as long as it runs.
    std::thread::spawn(move || {
        if !browser::open(url.as_str()) {
            output::complaint(&Error::new(
                ErrorCode::BrowserFailed,
                "no browser could be opened",
            ));
        }
    });
}

/// A destination of ssh: no option, nothing that a shell or a terminal would understand.
fn check_host(host: &str) -> Result<(), Error> {
    let name = host.rsplit('@').next().unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-@:/%[]".contains(letter);
    if host.starts_with('-') || name.is_empty() || name.starts_with('-') || !host.chars().all(plain) {
        let what = "--host takes user@host, a name of your ssh configuration, or ssh://user@host:port";
        return Err(Error::new(ErrorCode::Usage, what));
    }
    Ok(())
}

/// The browser's answer comes to these ports.
fn check_free(ports: &[u16]) -> Result<(), Error> {
    for port in ports {
        if TcpListener::bind(("127.0.0.1", *port)).is_err() {
            let what = format!("port {port} of this machine is in use, and the browser's answer comes there");
            return Err(Error::new(ErrorCode::LoginPortBusy, what).with_hint(
                "Close the program that holds the port, or add --no-browser and paste the address of the last page.",
            ));
        }
    }
    Ok(())
}

fn find_ssh(environment: &Environment) -> Result<PathBuf, Error> {
    let name = if cfg!(windows) { "ssh.exe" } else { "ssh" };
    let mut dirs = environment.program_dirs().into_iter();
    dirs.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()))
        .ok_or_else(|| Error::new(ErrorCode::RemoteNoSsh, "there is no ssh on this machine's PATH"))
}

fn arguments(ports: &[u16], terminal: &str) -> Vec<String> {
    let mut arguments = vec![
        terminal.to_owned(),
        "-o".to_owned(),
        "ExitOnForwardFailure=yes".to_owned(),
    ];
    for port in ports {
        arguments.extend(["-L".to_owned(), format!("127.0.0.1:{port}:127.0.0.1:{port}")]);
    }
    arguments
}

/// What the shell of the far side runs.
fn far_kalit(remote: &Remote, json: bool) -> String {
    let mut words = vec!["kalit", "login", remote.provider.as_str(), "--no-browser"];
    for (option, value) in [
        ("--agent", &remote.agent),
        ("--profile-id", &remote.profile_id),
        ("--method", &remote.method),
    ] {
        if let Some(value) = value {
            words.extend([option, value]);
        }
    }
    for (flag, wanted) in [
        ("--device-code", remote.device_code),
        ("--use", remote.use_now),
        ("--json", json),
    ] {
        if wanted {
            words.push(flag);
        }
    }
    in_shell(&format!(
        "echo {CONNECTED:?}; command -v kalit >/dev/null 2>&1 && exec {}; \
         command -v openclaw >/dev/null 2>&1 && exit {ONLY_OPENCLAW}; exit {NEITHER}",
        quoted_all(&words)
    ))
}

fn far_openclaw(remote: &Remote) -> String {
    let mut words = vec!["openclaw", "models", "auth"];
    if let Some(agent) = &remote.agent {
        words.extend(["--agent", agent]);
    }
    words.extend(["login", "--provider", remote.provider.as_str()]);
    if let Some(method) = &remote.method {
        words.extend(["--method", method]);
    }
    in_shell(&format!("exec {}", quoted_all(&words)))
}

/// Whatever the person's shell there is. Programs that are installed for one person alone lie in
/// `~/.local/bin`, which a shell without a terminal often does not look into.
fn in_shell(script: &str) -> String {
    let script = format!("PATH=\"$PATH:$HOME/.local/bin\"; export PATH; {script}");
    format!("sh -c {}", quoted(&script))
}

fn quoted_all(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| quoted(word))
        .collect::<Vec<_>>()
        .join(" ")
}

/// One word of a POSIX shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn exit_code(code: Option<i32>) -> u8 {
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(ErrorCode::Internal.exit_code())
}

fn unreachable(host: &str) -> Error {
    Error::new(
        ErrorCode::RemoteUnreachable,
        format!("ssh could not connect to {host}, or lost the connection"),
    )
}

fn not_started(error: std::io::Error) -> Error {
    Error::new(ErrorCode::RemoteNoSsh, "ssh could not be run").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_of_the_providers_own_endpoint_is_opened() {
        let providers = Providers::load(&Environment::new([], "/nowhere", "/nowhere")).unwrap();
        let openai = providers.get(&ProviderId::parse("openai").unwrap()).unwrap();
        let authorization = openai.authorization().unwrap();
        let query = "?response_type=code&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback";
        let good = format!("{}{query}", authorization.url);
        assert!(address_in(&good, authorization).is_some());
        for bad in [
            format!(" {good}"),
            format!("{good} and more"),
            good.replace("https://", "http://"),
            good.replace("https://", "https://user@"),
            good.replace("https://", "https://auth.example.com/https://"),
            good.replace("/oauth/authorize", "/oauth/other"),
            good.replace("localhost", "example.com"),
            authorization.url.to_string(),
            format!("{good}#more"),
        ] {
            assert!(address_in(&bad, authorization).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_no_option_and_no_command() {
        for good in ["gate", "ann@gate.example.com", "ssh://ann@gate:2222", "ann@[::1]"] {
            check_host(good).unwrap();
        }
        for bad in [
            "",
            "ann@",
            "-oProxyCommand=x",
            "ann@-x",
            "gate;x",
            "gate x",
            "gate\n",
            "$(x)",
            "gate\u{1b}",
        ] {
            assert_eq!(check_host(bad).unwrap_err().code(), ErrorCode::Usage, "{bad:?}");
        }
    }

    #[test]
    fn what_a_person_typed_is_one_word_each_for_the_far_shell() {
        let remote = Remote {
            host: "gate".to_owned(),
            provider: ProviderId::parse("openai").unwrap(),
            agent: Some("it's; me".to_owned()),
            profile_id: None,
            method: None,
            device_code: false,
            no_browser: false,
            use_now: false,
        };
        // The far shell is asked what it would run.
        let script = far_kalit(&remote, true).replace("exec ", "printf \"<%s>\" ");
        let script = script.replace("command -v kalit", "command -v sh");
        let script = script.replace(&format!("exit {NEITHER}"), "exit 0");
        let ran = std::process::Command::new("sh").arg("-c").arg(script).output();
        #[cfg(unix)]
        {
            let said = String::from_utf8(ran.unwrap().stdout).unwrap();
            assert_eq!(
                said,
                "kalit: connected\n<kalit><login><openai><--no-browser><--agent><it's; me><--json>"
            );
        }
        #[cfg(not(unix))]
        drop(ran);
    }
}
