//! Whether Kalit starts when the person logs in. The system's own entry is the only truth: nothing of
//! it is kept in Kalit's settings.
//!
//! Linux and other systems with XDG: `kalit.desktop` in `$XDG_CONFIG_HOME/autostart` (Desktop
//! Application Autostart Specification 0.5). macOS and Windows: not done yet, and said so.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::environment::Environment;
use crate::{Error, ErrorCode, Result};

/// The argument with which the tray opens no window.
pub const HIDDEN: &str = "--hidden";

/// Whether Kalit starts at login; `None` where this system is not supported.
pub fn is_on(environment: &Environment) -> Option<bool> {
    let entry = entry(environment)?;
    Some(fs::read_to_string(entry).is_ok_and(|text| starts(&text)))
}

/// Lets `program` start at login without a window, or no longer.
///
/// # Errors
/// `autostart.unavailable`, `vault.failed`.
pub fn set(environment: &Environment, on: bool, program: &Path) -> Result<()> {
    let entry = entry(environment).ok_or_else(|| unavailable(&say!("this system is not supported yet")))?;
    let failed = |error: io::Error| {
        Error::new(
            ErrorCode::VaultFailed,
            say!("{path} cannot be written", path = entry.display()),
        )
        .with_hint(say!("Check free space and permissions of that directory."))
        .with_source(error)
    };
    if !on {
        return durable::remove(&entry).map_err(failed);
    }
    if !program.is_file() {
        return Err(unavailable(&say!(
            "{program} is not there",
            program = program.display()
        )));
    }
    let quoted = program
        .to_str()
        .map(quoted)
        .ok_or_else(|| unavailable(&say!("the path of the program is not text")))?;
    durable::create_dir(durable::directory_of(&entry)).map_err(failed)?;
    durable::replace(&entry, desktop_entry(&quoted).as_bytes()).map_err(failed)
}

fn unavailable(why: &str) -> Error {
    Error::new(
        ErrorCode::AutostartUnavailable,
        say!("Kalit cannot be started at login: {why}", why),
    )
}

fn entry(environment: &Environment) -> Option<PathBuf> {
    let xdg = cfg!(all(unix, not(target_os = "macos")));
    xdg.then(|| environment.xdg_config_home().join("autostart/kalit.desktop"))
}

fn desktop_entry(program: &str) -> String {
    format!(
        "[Desktop Entry]\nType=Application\nName=Kalit\nComment=Renews OpenClaw’s logins before they end\n\
         Exec={program} {HIDDEN}\nTerminal=false\nStartupNotify=false\n"
    )
}

/// An argument of `Exec`, in double quotes. It is read twice (Desktop Entry Specification 1.5): as a
/// string, in which a backslash is doubled, and as a command line, in which four characters are escaped
/// within quotes and a percent sign is doubled.
fn quoted(argument: &str) -> String {
    let mut text = String::from("\"");
    for character in argument.chars() {
        match character {
            '\\' => text.push_str(r"\\\\"),
            '"' | '`' | '$' => {
                text.push_str(r"\\");
                text.push(character);
            }
            '%' => text.push_str("%%"),
            '\n' => text.push_str(r"\n"),
            '\t' => text.push_str(r"\t"),
            '\r' => text.push_str(r"\r"),
            _ => text.push(character),
        }
    }
    text.push('"');
    text
}

/// Whether a desktop starts this entry: a person may have switched it off in the desktop's own settings.
fn starts(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[Desktop Entry]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .peekable();
    lines.peek().is_some()
        && lines.all(|line| !matches!(line, ("Hidden", "true") | ("X-GNOME-Autostart-enabled", "false")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(dir: &Path) -> Environment {
        Environment::new([], dir, dir).with_var("XDG_CONFIG_HOME", &dir.join("own config").to_string_lossy())
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn the_entry_is_written_and_removed_and_says_whether_it_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let environment = environment(dir.path());
        let program = dir.path().join("kalit-desktop");
        assert_eq!(is_on(&environment), Some(false));
        let missing = set(&environment, true, &program).unwrap_err();
        assert_eq!(missing.code(), ErrorCode::AutostartUnavailable);
        fs::write(&program, "").unwrap();
        set(&environment, true, &program).unwrap();
        assert_eq!(is_on(&environment), Some(true));
        let entry = dir.path().join("own config/autostart/kalit.desktop");
        let text = fs::read_to_string(&entry).unwrap();
        assert!(text.contains(&format!("\nExec=\"{}\" --hidden\n", program.display())));
        fs::write(&entry, text.clone() + "Hidden=true\n").unwrap();
        assert_eq!(is_on(&environment), Some(false));
        set(&environment, true, &program).unwrap();
        assert_eq!(fs::read_to_string(&entry).unwrap(), text);
        set(&environment, false, &program).unwrap();
        assert!(!entry.exists());
        set(&environment, false, &program).unwrap();
        assert_eq!(is_on(&environment), Some(false));
        assert_eq!(fs::read_dir(entry.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_path_is_quoted_for_the_entry_and_for_the_command_line() {
        let cases = [
            ("/opt/kalit-desktop", r#""/opt/kalit-desktop""#),
            ("/a b/x", r#""/a b/x""#),
            ("/a\"b", r#""/a\\"b""#),
            ("/$HOME/`x`", r#""/\\$HOME/\\`x\\`""#),
            (r"/a\b", r#""/a\\\\b""#),
            ("/100%/x", r#""/100%%/x""#),
            ("/a\nb", r#""/a\nb""#),
        ];
        for (path, expected) in cases {
            assert_eq!(quoted(path), expected, "{path}");
        }
    }

    #[test]
    fn an_entry_that_the_desktop_does_not_start_is_off() {
        let on = desktop_entry("\"/x\"");
        assert!(starts(&on));
        assert!(starts(
            &(on.clone() + "Hidden=false\nX-GNOME-Autostart-enabled=true\n")
        ));
        // Another group's.
        assert!(starts(&(on.clone() + "[Desktop Action x]\nHidden=true\n")));
        assert!(!starts(&(on.clone() + "Hidden = true\n")));
        assert!(!starts(&(on + "X-GNOME-Autostart-enabled=false\n")));
        assert!(!starts(""));
        assert!(!starts("[Desktop Entry]\n"));
    }
}
