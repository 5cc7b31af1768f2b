//! Windows: a value of the person's own `Run` key. The switch in the system's settings and its task manager
//! is a value of the same name in `StartupApproved`; the installer's uninstaller removes the first.

#[cfg(windows)]
use std::io;

use super::HIDDEN;

/// The longest command line that Windows takes from a `Run` key.
const LONGEST: usize = 260;

#[cfg(windows)]
const RUN: &str = r"Software\Microsoft\Windows\CurrentVersion\Run";
#[cfg(windows)]
const APPROVED: &str = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run";
/// The product's name, as the uninstaller knows it.
#[cfg(windows)]
const NAME: &str = "Kalit";

/// Whether Windows starts Kalit at login.
#[cfg(windows)]
pub fn is_on() -> bool {
    let value = |key| opened(key).and_then(|key| key.get_raw_value(NAME));
    value(RUN).is_ok() && value(APPROVED).map_or(true, |switch| is_approved(&switch.bytes))
}

/// Starts `command` at login from now on; `None`: nothing.
#[cfg(windows)]
pub fn set(command: Option<&str>) -> io::Result<()> {
    // A switch from before would stand against it.
    delete(APPROVED)?;
    match command {
        None => delete(RUN),
        Some(command) => {
            let (key, _) = user().create_subkey(RUN)?;
            key.set_value(NAME, &command)
        }
    }
}

#[cfg(windows)]
fn user() -> winreg::RegKey {
    winreg::RegKey::predef(winreg::enums::HKEY_CURRENT_USER)
}

#[cfg(windows)]
fn opened(key: &str) -> io::Result<winreg::RegKey> {
    use winreg::enums::{KEY_QUERY_VALUE, KEY_SET_VALUE};
    user().open_subkey_with_flags(key, KEY_QUERY_VALUE | KEY_SET_VALUE)
}

/// Deletes the value; one that is not there is fine.
#[cfg(windows)]
fn delete(key: &str) -> io::Result<()> {
    match opened(key).and_then(|key| key.delete_value(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The command line that starts `program`; `None` where Windows would not take it. No path of Windows holds
/// a quotation mark.
pub fn command(program: &str) -> Option<String> {
    let command = format!("\"{program}\" {HIDDEN}");
    (command.encode_utf16().count() <= LONGEST).then_some(command)
}

/// Whether a switch stands on: its first byte is odd when a person turned it off.
fn is_approved(switch: &[u8]) -> bool {
    switch.first().is_none_or(|first| first % 2 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_quoted_and_a_line_that_windows_would_not_take_refused() {
        assert_eq!(
            command(r"C:\Program Files\Kalit\kalit-desktop.exe").as_deref(),
            Some(r#""C:\Program Files\Kalit\kalit-desktop.exe" --hidden"#)
        );
        let room = LONGEST - "\"\" --hidden".len();
        assert!(command(&"ü".repeat(room)).is_some());
        assert!(command(&"ü".repeat(room + 1)).is_none());
    }

    #[test]
    fn a_person_may_have_switched_it_off_in_the_systems_settings() {
        assert!(is_approved(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert!(is_approved(&[6, 0, 0, 0]));
        assert!(is_approved(&[]));
        assert!(!is_approved(&[3, 0, 0, 0, 12, 34, 56, 78, 90, 12, 34, 56]));
    }
}
