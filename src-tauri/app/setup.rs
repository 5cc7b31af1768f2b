//! What both roles start with: the broker's options, the single instance, the embedded window.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use kalit_core::broker::{Broker, Options};
use kalit_core::clock::SystemClock;
use kalit_core::environment::Environment;
use tauri::plugin::TauriPlugin;
use tauri::{AppHandle, Context, Wry};

use crate::arguments::Arguments;

/// Opens the broker on the state directory that the arguments or the environment name.
pub fn broker(arguments: &Arguments) -> kalit_core::Result<Broker> {
    Broker::open(Options {
        environment: environment(),
        clock: Arc::new(SystemClock),
        state_dir: arguments.state_dir.clone(),
        program: "kalit-desktop",
    })
}

/// What this process was started with.
pub fn environment() -> Environment {
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let home = std::env::home_dir().unwrap_or_default();
    Environment::new(vars, home, std::env::current_dir().unwrap_or_default())
}

/// The configuration and the files of the window, embedded at build time. Each role has an
/// identifier of its own, by which a second start finds the first.
pub fn context(role: &str, arguments: &Arguments) -> Context<Wry> {
    let mut context: Context<Wry> = tauri::generate_context!("tauri.conf.json");
    let identifier = &mut context.config_mut().identifier;
    *identifier = format!("{identifier}.{role}{}", installation(arguments));
    context
}

/// Tells two state directories apart that are both named deliberately: each has a Kalit of its
/// own. Empty for the default one.
fn installation(arguments: &Arguments) -> String {
    let from_flag = arguments.state_dir.clone().map(PathBuf::into_os_string);
    let named = from_flag.or_else(|| std::env::var_os("OPENCLAW_STATE_DIR"));
    named.map_or_else(String::new, |dir| {
        let mut hasher = DefaultHasher::new();
        dir.hash(&mut hasher);
        format!(".s{:016x}", hasher.finish())
    })
}

/// Hands the arguments of a second start to `passed` in the first; the second ends. `None` when
/// `KALIT_TEST_NO_SINGLE_INSTANCE=1` turns it off. To be registered before all other plugins.
pub fn single_instance(
    context: &Context<Wry>,
    passed: impl Fn(&AppHandle, Vec<String>) + Send + Sync + 'static,
) -> Option<TauriPlugin<Wry>> {
    if std::env::var_os("KALIT_TEST_NO_SINGLE_INSTANCE").is_some_and(|value| value == "1") {
        return None;
    }
    let builder = tauri_plugin_single_instance::Builder::new()
        .callback(move |app, arguments, _working_dir| passed(app, arguments));
    #[cfg(target_os = "linux")]
    let builder = builder.dbus_id(context.config().identifier.clone());
    #[cfg(not(target_os = "linux"))]
    let _ = context;
    Some(builder.build())
}

/// Ends when the session asks the process to end (SIGTERM, SIGINT, Ctrl+C).
pub async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};

        if let Ok(mut term) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = term.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
