//! Opens an address in the system's browser.

#[cfg(unix)]
use std::process::Stdio;

/// Whether a program of the system took the address. It and what it starts are looked for where not
/// everybody can plant a program. A browser in the terminal keeps the thread busy for as long as it
/// runs.
pub fn open(url: &str) -> bool {
    #[cfg(unix)]
    {
        let path = crate::process::environment().program_path(None);
        open::commands(url).into_iter().any(|mut command| {
            let opened = command
                .env("PATH", &path)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            opened.is_ok_and(|status| status.success())
        })
    }
    #[cfg(not(unix))]
    open::that(url).is_ok()
}
