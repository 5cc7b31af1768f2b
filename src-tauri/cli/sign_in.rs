//! Signing in through the browser or by a code, and pasting tokens and keys.

use std::io::IsTerminal;
use std::time::Duration;

use kalit_core::broker::{
    Broker, LoginRequest, LoginRoute, OpenClawLoginRequest, PasteKind, PasteRequest, SignedIn,
};
use kalit_core::oauth::paste;
use kalit_core::{Error, ErrorCode};
use kalit_shell::browser;
use tokio::sync::oneshot;

use crate::arguments::PasteArguments;
use crate::asking::{asking, saying};
use crate::commands::{chosen_agent, parse_profile, provider_id, tell_activation};
use crate::interrupt::Interrupt;
use crate::prompt::{self, Lines};
use crate::{openclaw_login, output};

/// Kalit's own sign-in where it has one for this installation, else OpenClaw's; a method or a device
/// code is always OpenClaw's.
pub async fn routed(
    broker: &Broker,
    request: OpenClawLoginRequest,
    no_browser: bool,
    json: bool,
) -> Result<u8, Error> {
    let by_openclaw = request.method.is_some() || request.device_code;
    match broker.login_route(&request.provider) {
        LoginRoute::Kalit | LoginRoute::Paste | LoginRoute::None if !by_openclaw => {
            let request = LoginRequest {
                provider: request.provider,
                agent: request.agent,
                profile_id: request.profile_id,
                use_now: request.use_now,
            };
            login(broker, request, no_browser, json).await
        }
        LoginRoute::Kalit | LoginRoute::OpenClaw | LoginRoute::Paste | LoginRoute::None => {
            openclaw_login::login(broker, request, no_browser, json).await
        }
    }
}

/// The browser's answer and a pasted address race. Ctrl-C cancels as long as no answer has come;
/// after that the sign-in is finished.
async fn login(broker: &Broker, request: LoginRequest, no_browser: bool, json: bool) -> Result<u8, Error> {
    let mut interrupt = Interrupt::listen()?;
    let session = saying("Preparing the sign-in…", broker.login(request)).await?;
    if let Some(notice) = session.port_notice() {
        output::note(format!("{notice} [{}]", ErrorCode::LoginPortBusy.as_str()));
    }
    let by_code = session.code().is_some();
    match session.code() {
        Some(shown) => {
            let minutes = shown.lifetime.as_secs().div_ceil(60);
            output::note("Open this page in a browser, here or elsewhere, and enter the code:");
            show_url(shown.page, json);
            show_url(shown.code, json);
            output::note(
                "Only if you started this sign-in yourself: whoever sent you the code signs in as you.",
            );
            output::note(format!("Waiting, {minutes} min at most."));
        }
        None if no_browser => {
            output::note(
                "Open this address in a browser, sign in, and paste the address of the last page here:",
            );
            show_url(session.authorize_url(), json);
        }
        None => {
            output::note("Opening the browser. If nothing opens, use this address:");
            show_url(session.authorize_url(), json);
            output::note("Waiting. You can also paste the address of the last page here.");
        }
    }
    let mut opening = (!no_browser).then(|| open_browser(session.authorize_url().to_owned()));
    let mut lines = Lines::read();
    let handle = session.handle();
    let waiting = session.wait();
    tokio::pin!(waiting);
    let signed_in = loop {
        tokio::select! {
            done = &mut waiting => break done?,
            () = interrupt.wait() => if !handle.cancel() {
                output::note("The answer has come: finishing the sign-in.");
            },
            line = lines.next() => if !by_code && !line.expose().trim().is_empty() && let Err(error) = handle.paste(&line) {
                if ended_by_the_provider(&error) {
                    handle.cancel();
                    return Err(error);
                }
                output::complaint(&error);
            },
            () = not_opened(&mut opening) => {
                output::complaint(&Error::new(ErrorCode::BrowserFailed, "no browser could be opened"));
            },
        }
    };
    tell_and_offer(broker, &signed_in, &mut lines, &mut interrupt, json).await
}

/// Tells who is signed in, and offers to use the account when another one is first.
pub async fn tell_and_offer(
    broker: &Broker,
    signed_in: &SignedIn,
    lines: &mut Lines,
    interrupt: &mut Interrupt,
    json: bool,
) -> Result<u8, Error> {
    tell_signed_in("Signed in as", signed_in, json);
    if signed_in.offers_use && !json && std::io::stdin().is_terminal() {
        let yes = tokio::select! {
            yes = lines.asked("Use it now?") => yes,
            () = interrupt.wait() => false,
        };
        if yes {
            let work = broker.activate(&signed_in.agent, &signed_in.profile_id);
            let done = asking(|| broker.asks_openclaw(), work).await?;
            tell_activation(&done, false);
        }
    }
    Ok(0)
}

/// Stores a token or a key that is read from stdin.
pub async fn paste_secret(
    broker: &Broker,
    paste: PasteArguments,
    kind: PasteKind,
    expires_in: Option<Duration>,
    json: bool,
) -> Result<u8, Error> {
    let agent = chosen_agent(broker, &paste.agent)?;
    if std::io::stdin().is_terminal() {
        output::note("Paste the secret and press Enter:");
    }
    let request = PasteRequest {
        agent,
        provider: provider_id(&paste.provider)?,
        profile_id: paste.profile_id.as_deref().map(parse_profile).transpose()?,
        kind,
        secret: prompt::secret()?,
        expires_in,
    };
    let work = asking(|| broker.asks_openclaw(), broker.paste_secret(request));
    let stored = Interrupt::listen()?.finish_telling(work).await?;
    tell_signed_in("Stored", &stored, json);
    Ok(0)
}

/// The value of `--expires-in`.
pub fn lifetime(text: Option<&str>) -> Result<Option<Duration>, Error> {
    text.map(paste::expires_in).transpose()
}

/// What is used elsewhere, an address or a code: on standard output, unless that is for JSON.
pub fn show_url(url: &str, json: bool) {
    if json {
        output::note(url);
    } else {
        output::line(url);
    }
}

/// A pasted address that says "no" ends the sign-in; any other that does not fit may be followed
/// by the right one.
fn ended_by_the_provider(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::LoginDenied | ErrorCode::LoginEntitlement)
}

/// Answers whether a browser was opened. A browser in the terminal keeps the thread busy for as
/// long as it runs.
pub fn open_browser(url: String) -> oneshot::Receiver<bool> {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || tell.send(browser::open(&url)));
    told
}

/// Comes back only when it is known that no browser opened.
pub async fn not_opened(opening: &mut Option<oneshot::Receiver<bool>>) {
    if let Some(told) = opening {
        let opened = matches!(told.await, Ok(true));
        *opening = None;
        if !opened {
            return;
        }
    }
    std::future::pending().await
}

fn tell_signed_in(verb: &str, signed_in: &SignedIn, json: bool) {
    if json {
        return output::json(signed_in);
    }
    let plan = signed_in.plan.as_ref();
    let plan = plan.map_or_else(String::new, |plan| format!(" ({plan})"));
    output::line(format!("{verb} {}{plan}", signed_in.profile_id));
    output::line(output::in_use(
        &signed_in.agent,
        signed_in.effective.as_ref(),
        &signed_in.reason,
    ));
    signed_in.notes.iter().for_each(output::line);
}
