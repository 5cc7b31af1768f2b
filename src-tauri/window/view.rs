//! Everything that crosses to the web view: views, requests and problems. No type here can hold a
//! secret on its way out.

use std::sync::Arc;
use std::time::Duration;

use kalit_core::broker::{LoginStep, SignedIn, SnapshotChoice};
use kalit_core::ids::{AgentId, ProfileId, ProviderId};
use kalit_core::view::Snapshot;
use kalit_core::{Error, ErrorCode, say};
use serde::{Deserialize, Serialize};
use tauri::{AppHandle, Emitter, Manager};

use crate::session::Session;
use kalit_shell::names::Cover;
use kalit_shell::summary::Summary;

/// The event that carries a new [`View`].
pub const VIEW: &str = "view";
/// The event that tells the page to ask where to go.
pub const ROUTE: &str = "route";
/// The event that carries a [`SignInEvent`].
pub const SIGN_IN: &str = "sign-in";

/// The event that carries a [`LoginStepEvent`].
pub const LOGIN_STEP: &str = "login-step";

/// What a command answers.
pub type Answer<T> = Result<T, Problem>;

/// The snapshot and what is counted in it.
#[derive(Clone, Serialize)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub summary: Summary,
}

impl From<Arc<Snapshot>> for View {
    fn from(snapshot: Arc<Snapshot>) -> Self {
        let snapshot = Cover::of(&snapshot).over(&snapshot);
        Self {
            summary: Summary::of(&snapshot),
            snapshot,
        }
    }
}

/// A failure as people see it.
#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub code: &'static str,
    pub message: String,
    pub hint: String,
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self {
            code: error.code().as_str(),
            message: error.message().to_owned(),
            hint: error.hint(),
        }
    }
}

impl From<tauri::Error> for Problem {
    fn from(error: tauri::Error) -> Self {
        Error::new(ErrorCode::Internal, say!("a task ended early"))
            .with_source(error)
            .into()
    }
}

/// Which account to sign in to, and as which attempt its events are told.
#[derive(Deserialize)]
pub struct SignInRequest {
    pub attempt: u32,
    pub provider: ProviderId,
    pub agent: AgentId,
    pub profile: Option<ProfileId>,
    #[serde(rename = "useNow")]
    pub use_now: bool,
}

/// A sign-in that waits for the browser.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignInStarted {
    pub authorize_url: String,
    pub port_notice: Option<String>,
    /// Where one signs in by a code.
    pub code: Option<CodeToEnter>,
}

/// A code that is entered on the provider's page.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CodeToEnter {
    pub code: String,
    /// How long it can be entered, in milliseconds.
    pub lifetime_ms: u64,
}

/// What became of the sign-in with this attempt's number.
#[derive(Clone, Serialize)]
pub struct SignInEvent {
    pub attempt: u32,
    #[serde(flatten)]
    pub what: SignInOutcome,
}

#[derive(Clone, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SignInOutcome {
    BrowserOpened,
    BrowserFailed,
    Done { signed_in: Box<SignedIn> },
    Failed { problem: Problem },
}

impl From<kalit_core::Result<SignedIn>> for SignInOutcome {
    fn from(ended: kalit_core::Result<SignedIn>) -> Self {
        match ended {
            Ok(signed_in) => Self::Done {
                signed_in: Box::new(signed_in),
            },
            Err(error) => Self::Failed {
                problem: error.into(),
            },
        }
    }
}

/// Which account OpenClaw is to sign in to, and as which attempt its steps are told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenClawSignInRequest {
    pub attempt: u32,
    pub provider: ProviderId,
    pub agent: AgentId,
    pub profile: Option<ProfileId>,
    /// With a code on another device instead of this one's browser.
    pub device_code: bool,
    pub use_now: bool,
}

/// What OpenClaw's own sign-in with this attempt's number wants, asks or says.
#[derive(Clone, Serialize)]
pub struct LoginStepEvent {
    pub attempt: u32,
    pub step: LoginStep,
}

/// What is to be put back of which snapshot: all of it, unless an agent or a profile is named.
#[derive(Deserialize)]
pub struct Chosen {
    pub id: String,
    pub agent: Option<AgentId>,
    pub profile: Option<ProfileId>,
}

impl From<Chosen> for SnapshotChoice {
    fn from(chosen: Chosen) -> Self {
        Self {
            id: chosen.id,
            agent: chosen.agent,
            profile_id: chosen.profile,
        }
    }
}

/// A pasted token or key, without the secret itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasteTarget {
    pub agent: AgentId,
    pub provider: ProviderId,
    pub profile: Option<ProfileId>,
    pub kind: Pasted,
    /// After how many days it ends, if the person said so.
    pub expires_in_days: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pasted {
    Token,
    ApiKey,
}

/// Pushes every new snapshot to the window. Without a watcher the window still shows what it asks
/// for itself.
pub async fn follow(app: AppHandle) {
    let session = app.state::<Session>();
    loop {
        if let Ok(broker) = session.broker()
            && let Ok(watch) = broker.watch().await
        {
            let mut changes = watch.changes();
            while changes.changed().await.is_ok() {
                let snapshot = Arc::clone(&changes.borrow_and_update());
                let _ = app.emit(VIEW, View::from(snapshot));
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
