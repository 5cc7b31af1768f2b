//! The one sign-in of this window, Kalit's own or OpenClaw's: started, fed with what a person pastes
//! or answers, cancelled, told of. It runs in core; here is only what connects it with the browser
//! and the web view.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kalit_core::broker::{
    LoginHandle, LoginRequest, LoginStep, OpenClawLogin, OpenClawLoginHandle, OpenClawLoginRequest,
};
use kalit_core::secret::Secret;
use kalit_core::{Error, ErrorCode, say};
use kalit_shell::{alerts, browser};
use tauri::{AppHandle, Emitter, Manager, async_runtime};
use tauri_plugin_notification::NotificationExt;

use crate::LABEL;
use crate::session::Session;
use crate::view::{
    Answer, CodeToEnter, LOGIN_STEP, LoginStepEvent, OpenClawSignInRequest, Problem, SIGN_IN, SignInEvent,
    SignInOutcome, SignInRequest, SignInStarted,
};

/// How long a closed window waits for its last notification to be read.
#[cfg(target_os = "linux")]
const ON_SCREEN: Duration = Duration::from_secs(20);
/// How long the system may take to keep it.
#[cfg(not(target_os = "linux"))]
const TAKEN: Duration = Duration::from_secs(2);

/// The running sign-in, if any.
#[derive(Default)]
pub struct SignIn {
    running: Mutex<Option<Running>>,
    /// The attempt that the person waits for; 0 when there is none. A start takes its time.
    wanted: AtomicU32,
}

struct Running {
    attempt: u32,
    /// The page that the person signs in on, once it is known.
    url: Option<String>,
    handle: Handle,
}

enum Handle {
    Kalit(LoginHandle),
    OpenClaw(OpenClawLoginHandle),
}

impl SignIn {
    /// Starts a sign-in and opens the browser; an earlier one is cancelled.
    pub async fn start(&self, app: &AppHandle, request: SignInRequest) -> Answer<SignInStarted> {
        let attempt = request.attempt;
        self.want(attempt);
        let session = app.state::<Session>();
        let begun = session.in_flight.begin().await;
        let login = session
            .broker()?
            .login(LoginRequest {
                provider: request.provider,
                agent: request.agent,
                profile_id: request.profile,
                use_now: request.use_now,
            })
            .await?;
        self.ensure_wanted(attempt)?;
        let started = SignInStarted {
            authorize_url: login.authorize_url().to_owned(),
            port_notice: login.port_notice().map(str::to_owned),
            code: login.code().map(|shown| CodeToEnter {
                code: shown.code.to_owned(),
                lifetime_ms: u64::try_from(shown.lifetime.as_millis()).unwrap_or(u64::MAX),
            }),
        };
        *self.running() = Some(Running {
            attempt,
            url: Some(started.authorize_url.clone()),
            handle: Handle::Kalit(login.handle()),
        });
        let handle = app.clone();
        async_runtime::spawn(async move {
            let _begun = begun;
            let what = login.wait().await.into();
            let session = handle.state::<Session>();
            session.sign_in.finish(&handle, attempt, what).await;
        });
        self.open_browser(app)?;
        Ok(started)
    }

    /// Starts OpenClaw's own sign-in; an earlier one is cancelled. Its steps come as events.
    pub async fn start_openclaw(&self, app: &AppHandle, request: OpenClawSignInRequest) -> Answer<()> {
        let attempt = request.attempt;
        self.want(attempt);
        let session = app.state::<Session>();
        let begun = session.in_flight.begin().await;
        let asked = OpenClawLoginRequest {
            provider: request.provider,
            agent: request.agent,
            profile_id: request.profile,
            method: None,
            device_code: request.device_code,
            use_now: request.use_now,
        };
        let login = session.broker()?.openclaw_login(asked).await?;
        self.ensure_wanted(attempt)?;
        *self.running() = Some(Running {
            attempt,
            url: None,
            handle: Handle::OpenClaw(login.handle()),
        });
        let handle = app.clone();
        async_runtime::spawn(async move {
            let _begun = begun;
            let session = handle.state::<Session>();
            let what = session.sign_in.follow(&handle, attempt, login).await;
            session.sign_in.finish(&handle, attempt, what).await;
        });
        Ok(())
    }

    /// Passes on what OpenClaw wants until it has ended. Its page is opened in the browser.
    async fn follow(&self, app: &AppHandle, attempt: u32, mut login: OpenClawLogin) -> SignInOutcome {
        while let Some(step) = login.next().await {
            let page = match &step {
                LoginStep::Url { url } => Some(url.clone()),
                LoginStep::DeviceCode { .. } | LoginStep::Ask { .. } | LoginStep::Said { .. } => None,
            };
            let _ = app.emit(LOGIN_STEP, LoginStepEvent { attempt, step });
            if let Some(page) = page {
                self.turn_to(attempt, page);
                // How that went is told by an event.
                let _ = self.open_browser(app);
            }
        }
        login.wait().await.into()
    }

    /// Notes the page that an attempt is at.
    fn turn_to(&self, attempt: u32, page: String) {
        if let Some(running) = self
            .running()
            .as_mut()
            .filter(|running| running.attempt == attempt)
        {
            running.url = Some(page);
        }
    }

    /// Answers a question of OpenClaw's with a text.
    pub fn answer(&self, ask: u32, text: &Secret) -> Answer<()> {
        match &self.running().as_ref().ok_or_else(not_running)?.handle {
            Handle::OpenClaw(handle) => Ok(handle.answer(ask, text)?),
            Handle::Kalit(_) => Err(not_running()),
        }
    }

    /// Answers a question of OpenClaw's with one of its choices.
    pub fn choose(&self, ask: u32, choice: usize) -> Answer<()> {
        match &self.running().as_ref().ok_or_else(not_running)?.handle {
            Handle::OpenClaw(handle) => Ok(handle.choose(ask, choice)?),
            Handle::Kalit(_) => Err(not_running()),
        }
    }

    /// Opens the page of the running sign-in in the system's browser, told by an event: some
    /// systems take their time. No other address can be opened from the window.
    pub fn open_browser(&self, app: &AppHandle) -> Answer<()> {
        let running = self.running();
        let Running { attempt, url, .. } = running.as_ref().ok_or_else(not_running)?;
        let (app, attempt, url) = (app.clone(), *attempt, url.clone().ok_or_else(not_running)?);
        async_runtime::spawn_blocking(move || {
            let what = if browser::open(&url) {
                SignInOutcome::BrowserOpened
            } else {
                SignInOutcome::BrowserFailed
            };
            let _ = app.emit(SIGN_IN, SignInEvent { attempt, what });
        });
        Ok(())
    }

    /// Feeds what a person pasted from the browser.
    pub fn paste(&self, text: Secret) -> Answer<()> {
        match &self.running().as_ref().ok_or_else(not_running)?.handle {
            Handle::Kalit(handle) => Ok(handle.paste(&text)?),
            Handle::OpenClaw(_) => Err(not_running()),
        }
    }

    /// Makes this attempt the one that counts.
    fn want(&self, attempt: u32) {
        self.cancel();
        self.wanted.store(attempt, Ordering::SeqCst);
    }

    /// Whoever has gone elsewhere since a start was asked for wants no browser to open.
    fn ensure_wanted(&self, attempt: u32) -> Answer<()> {
        if self.wanted.load(Ordering::SeqCst) == attempt {
            Ok(())
        } else {
            Err(not_running())
        }
    }

    /// Cancels, unless the code has already arrived: what was sent is never abandoned.
    pub fn cancel(&self) {
        self.wanted.store(0, Ordering::SeqCst);
        if let Some(running) = self.running().as_ref() {
            match &running.handle {
                Handle::Kalit(handle) => {
                    handle.cancel();
                }
                Handle::OpenClaw(handle) => handle.cancel(),
            }
        }
    }

    /// Tells how it ended and shows the window: the person is in the browser.
    async fn finish(&self, app: &AppHandle, attempt: u32, what: SignInOutcome) {
        self.running().take_if(|running| running.attempt == attempt);
        if app.state::<Session>().is_leaving() {
            return notify(app, &what).await;
        }
        if let SignInOutcome::Done { .. } = what
            && let Some(window) = app.get_webview_window(LABEL)
        {
            let _ = window.set_focus();
        }
        let _ = app.emit(SIGN_IN, SignInEvent { attempt, what });
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what became of a sign-in whose window has been closed. Returns when the notification has left
/// the screen, or after a while: some desktops take it back when its sender ends.
async fn notify(app: &AppHandle, what: &SignInOutcome) {
    let (title, body) = match what {
        SignInOutcome::Done { signed_in } => {
            let name = signed_in.profile_id.account_name();
            let agent = &signed_in.agent;
            // other people see notifications
            let body = if name.contains('@') {
                say!("The account is ready in {agent}.", agent)
            } else {
                say!("{name} is ready in {agent}.", name, agent)
            };
            (say!("Signed in"), body)
        }
        SignInOutcome::Failed { problem } if problem.code == ErrorCode::LoginCancelled.as_str() => return,
        SignInOutcome::Failed { problem } => (
            say!("Not signed in"),
            format!("{}. {}", problem.message, problem.hint),
        ),
        SignInOutcome::BrowserOpened | SignInOutcome::BrowserFailed => return,
    };
    let notification = app
        .notification()
        .builder()
        .title(title)
        .body(alerts::body_markup(&body));
    #[cfg(target_os = "linux")]
    {
        let (closed, waiting) = tokio::sync::oneshot::channel();
        let notification = notification.on_close(move || {
            let _ = closed.send(());
        });
        if notification.show().is_ok() {
            let _ = tokio::time::timeout(ON_SCREEN, waiting).await;
        }
    }
    #[cfg(not(target_os = "linux"))]
    if notification.show().is_ok() {
        tokio::time::sleep(TAKEN).await;
    }
}

fn not_running() -> Problem {
    Error::new(ErrorCode::LoginCancelled, say!("no sign-in is running")).into()
}
