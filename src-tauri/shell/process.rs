//! What the programs start with, and how a session ends them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kalit_core::broker::{Broker, Options};
use kalit_core::clock::SystemClock;
use kalit_core::environment::Environment;

/// Opens the broker of a program that speaks the person's language, on the state directory that `--state-dir` or the environment names.
///
/// # Errors
/// `settings.unparsable`, `vault.unreadable`.
pub fn broker(state_dir: Option<&Path>) -> kalit_core::Result<Broker> {
    Broker::open(Options {
        environment: speaking(),
        clock: Arc::new(SystemClock),
        state_dir: state_dir.map(Path::to_owned),
        program: "kalit-desktop",
    })
}

/// Speaks the person's language from now on.
pub fn speak() {
    kalit_core::broker::speak(&speaking());
}

fn speaking() -> Environment {
    environment().speaking(sys_locale::get_locales().collect())
}

/// What this process was started with.
pub fn environment() -> Environment {
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let home = std::env::home_dir().unwrap_or_default();
    Environment::new(vars, home, std::env::current_dir().unwrap_or_default())
}

/// The name by which a second start of `program` finds the first; `None` when
/// `KALIT_TEST_NO_SINGLE_INSTANCE=1` turns that off. Two state directories that are both named
/// deliberately have a Kalit of their own each.
pub fn instance(program: &str, state_dir: Option<&Path>) -> Option<String> {
    if std::env::var_os("KALIT_TEST_NO_SINGLE_INSTANCE").is_some_and(|value| value == "1") {
        return None;
    }
    let from_flag = state_dir.map(|dir| dir.as_os_str().to_owned());
    let named = from_flag.or_else(|| std::env::var_os("OPENCLAW_STATE_DIR"));
    let installation = named.map_or_else(String::new, |dir| {
        let mut hasher = DefaultHasher::new();
        dir.hash(&mut hasher);
        format!(".s{:016x}", hasher.finish())
    });
    Some(format!("uz.kalit.desktop.{program}{installation}"))
}

/// A program in the directory of this one.
///
/// # Errors
/// When the system does not say where this program lies.
pub fn beside(name: &str) -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own
        .with_file_name(name)
        .with_extension(std::env::consts::EXE_EXTENSION))
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
