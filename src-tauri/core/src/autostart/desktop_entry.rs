//! Linux and other systems with XDG: `kalit.desktop` in `$XDG_CONFIG_HOME/autostart` (Desktop Application
//! Autostart Specification 0.5).

use std::path::PathBuf;

use super::HIDDEN;
use crate::environment::Environment;

/// Where the entry lies.
pub fn path(environment: &Environment) -> PathBuf {
    environment.xdg_config_home().join("autostart/kalit.desktop")
}

/// The entry that starts `program`.
pub fn text(program: &str) -> String {
    let program = quoted(program);
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
pub fn starts(text: &str) -> bool {
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
    fn the_entry_lies_where_the_desktop_looks() {
        let environment = Environment::new([], "/home/ann", "/");
        let expected = PathBuf::from("/home/ann/.config/autostart/kalit.desktop");
        assert_eq!(path(&environment), expected);
    }

    #[test]
    fn an_entry_that_the_desktop_does_not_start_is_off() {
        let on = text("/x");
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
