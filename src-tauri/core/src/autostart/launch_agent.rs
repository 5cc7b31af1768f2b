//! macOS: a launch agent in `~/Library/LaunchAgents` (`launchd.plist(5)`). The switch that a person finds in
//! the system's own settings is not kept in the file: macOS tells it to nobody.

use std::path::PathBuf;

use super::HIDDEN;
use crate::environment::Environment;

/// Also the name of the app's bundle, under which the system's settings show the agent.
const LABEL: &str = "uz.kalit.desktop";

/// Where the agent lies.
pub fn path(environment: &Environment) -> PathBuf {
    let agents = environment.home().join("Library/LaunchAgents");
    agents.join(format!("{LABEL}.plist"))
}

/// The agent that starts `program`, in a session with a screen.
pub fn text(program: &str) -> String {
    let program = escaped(program);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key>
	<string>{LABEL}</string>
	<key>AssociatedBundleIdentifiers</key>
	<string>{LABEL}</string>
	<key>ProgramArguments</key>
	<array>
		<string>{program}</string>
		<string>{HIDDEN}</string>
	</array>
	<key>RunAtLoad</key>
	<true/>
	<key>LimitLoadToSessionType</key>
	<string>Aqua</string>
	<key>ProcessType</key>
	<string>Interactive</string>
</dict>
</plist>
"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Whether launchd starts this agent at login.
pub fn starts(text: &str) -> bool {
    let dense: String = text.split_whitespace().collect();
    let is_set = |key: &str| dense.contains(&format!("<key>{key}</key><true/>"));
    is_set("RunAtLoad") && !is_set("Disabled")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_agent_names_the_program_and_the_argument_that_opens_no_window() {
        let read = |program: &str| -> Vec<String> {
            let agent: plist::Dictionary = plist::from_bytes(text(program).as_bytes()).unwrap();
            assert_eq!(agent["Label"].as_string(), Some("uz.kalit.desktop"));
            assert_eq!(agent["RunAtLoad"].as_boolean(), Some(true));
            let arguments = agent["ProgramArguments"].as_array().unwrap();
            arguments
                .iter()
                .map(|argument| argument.as_string().unwrap().to_owned())
                .collect()
        };
        for program in [
            "/Applications/Kalit.app/Contents/MacOS/kalit-desktop",
            "/a b/<x> & \"y\" 'z' ]]>/kalit-desktop",
            "/&amp;/ключ",
        ] {
            assert_eq!(read(program), [program, HIDDEN]);
        }
        let environment = Environment::new([], "/Users/ann", "/");
        let expected = Path::new("/Users/ann/Library/LaunchAgents/uz.kalit.desktop.plist");
        assert_eq!(path(&environment), expected);
    }

    #[test]
    fn an_agent_that_launchd_does_not_start_is_off() {
        let on = text("/x");
        assert!(starts(&on));
        assert!(!starts(&on.replace("<true/>", "<false/>")));
        assert!(!starts(
            &on.replace("</dict>", "<key>Disabled</key>\n<true/></dict>")
        ));
        assert!(!starts(""));
    }
}
