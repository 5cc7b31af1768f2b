//! Whether Kalit starts when the person logs in. The system's own entry is the only truth: nothing of
//! it is kept in Kalit's settings.

#[cfg(any(all(unix, not(target_os = "macos")), test))]
mod desktop_entry;
#[cfg(any(target_os = "macos", test))]
mod launch_agent;
#[cfg(any(windows, test))]
mod run_key;

#[cfg(not(windows))]
use std::fs;
use std::io;
use std::path::Path;

#[cfg(all(unix, not(target_os = "macos")))]
use self::desktop_entry as entry;
#[cfg(target_os = "macos")]
use self::launch_agent as entry;
#[cfg(not(windows))]
use crate::durable;
use crate::environment::Environment;
use crate::{Error, ErrorCode, Result};

/// The argument with which the tray opens no window.
pub const HIDDEN: &str = "--hidden";

/// Whether Kalit starts at login.
pub fn is_on(environment: &Environment) -> bool {
    #[cfg(windows)]
    let on = {
        let _ = environment;
        run_key::is_on()
    };
    #[cfg(not(windows))]
    let on = fs::read_to_string(entry::path(environment)).is_ok_and(|text| entry::starts(&text));
    on
}

/// Lets `program` start at login without a window, or no longer.
///
/// # Errors
/// `autostart.unavailable`, `vault.failed`.
pub fn set(environment: &Environment, on: bool, program: &Path) -> Result<()> {
    if !on {
        return write(environment, None);
    }
    let program = image(environment, program).unwrap_or(program);
    if !program.is_file() {
        return Err(unavailable(&say!(
            "{program} is not there",
            program = program.display()
        )));
    }
    let program = program.to_str();
    write(
        environment,
        Some(program.ok_or_else(|| unavailable(&say!("the path of the program is not text")))?),
    )
}

/// The AppImage that holds `program`: the directory in which its programs lie is gone when it ends. Other
/// programs' images leave the same variables to what they start.
fn image<'a>(environment: &'a Environment, program: &Path) -> Option<&'a Path> {
    let dir = environment.var("APPDIR").filter(|dir| program.starts_with(dir));
    dir.and(environment.var("APPIMAGE")).map(Path::new)
}

#[cfg(not(windows))]
fn write(environment: &Environment, program: Option<&str>) -> Result<()> {
    let path = entry::path(environment);
    let written = match program {
        None => durable::remove(&path),
        Some(program) => durable::create_dir(durable::directory_of(&path))
            .and_then(|()| durable::replace(&path, entry::text(program).as_bytes())),
    };
    written.map_err(|error| {
        not_written(
            &path.display().to_string(),
            say!("Check free space and permissions of that directory."),
            error,
        )
    })
}

#[cfg(windows)]
fn write(_: &Environment, program: Option<&str>) -> Result<()> {
    let too_long = || unavailable(&say!("the path of the program is too long"));
    let command = program
        .map(|program| run_key::command(program).ok_or_else(too_long))
        .transpose()?;
    run_key::set(command.as_deref()).map_err(|error| {
        not_written(
            &say!("the registry"),
            say!("Check the permissions of your own registry key."),
            error,
        )
    })
}

fn not_written(path: &str, hint: String, error: io::Error) -> Error {
    Error::new(ErrorCode::VaultFailed, say!("{path} cannot be written", path))
        .with_hint(hint)
        .with_source(error)
}

fn unavailable(why: &str) -> Error {
    Error::new(
        ErrorCode::AutostartUnavailable,
        say!("Kalit cannot be started at login: {why}", why),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(unix, not(target_os = "macos")))]
    fn environment(dir: &Path) -> Environment {
        Environment::new([], dir, dir).with_var("XDG_CONFIG_HOME", &dir.join("own config").to_string_lossy())
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn the_entry_is_written_and_removed_and_says_whether_it_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        let program = dir.path().join("kalit-desktop");
        assert!(!is_on(&environment));
        let missing = set(&environment, true, &program).unwrap_err();
        assert_eq!(missing.code(), ErrorCode::AutostartUnavailable);
        fs::write(&program, "").unwrap();
        set(&environment, true, &program).unwrap();
        assert!(is_on(&environment));
        let entry = dir.path().join("own config/autostart/kalit.desktop");
        let text = fs::read_to_string(&entry).unwrap();
        assert!(text.contains(&format!("\nExec=\"{}\" --hidden\n", program.display())));
        fs::write(&entry, text.clone() + "Hidden=true\n").unwrap();
        assert!(!is_on(&environment));
        set(&environment, true, &program).unwrap();
        assert_eq!(fs::read_to_string(&entry).unwrap(), text);
        set(&environment, false, &program).unwrap();
        assert!(!entry.exists());
        set(&environment, false, &program).unwrap();
        assert!(!is_on(&environment));
        assert_eq!(fs::read_dir(entry.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn an_appimage_starts_itself_and_not_what_it_holds() {
        let environment = Environment::new([], "/", "/")
            .with_var("APPDIR", "/tmp/.mount_Kalit")
            .with_var("APPIMAGE", "/home/ann/Kalit.AppImage");
        let held = Path::new("/tmp/.mount_Kalit/usr/bin/kalit-desktop");
        assert_eq!(
            image(&environment, held),
            Some(Path::new("/home/ann/Kalit.AppImage"))
        );
        assert_eq!(image(&environment, Path::new("/usr/bin/kalit-desktop")), None);
        assert_eq!(image(&Environment::new([], "/", "/"), held), None);
    }
}
