//! `kalit radar`: who holds which login.

use kalit_core::Error;
use kalit_core::broker::Broker;
use kalit_core::view::radar::{FindingView, RadarView, Severity};

use crate::asking::saying;
use crate::output::{self, line};
use crate::table::{columns, paragraph};

/// Exit code 1 with `check` when somebody will be signed out.
pub async fn run(broker: &Broker, keychain: bool, check: bool, json: bool) -> Result<u8, Error> {
    let work = broker.radar(keychain);
    let found = if keychain {
        saying("Waiting for the keychain…", work).await?
    } else {
        work.await?
    };
    if json {
        output::json(&found);
    } else {
        tell(&found);
    }
    Ok(u8::from(check && found.has_clash()))
}

fn tell(found: &RadarView) {
    for finding in &found.findings {
        tell_finding(finding);
        line("");
    }
    if found.findings.is_empty() {
        line("No login lies in two places.");
    }
    line(format!(
        "{} and {} looked at.",
        counted(found.logins, "login"),
        counted(found.places, "place")
    ));
    for file in &found.unreadable {
        line(format!(
            "Cannot be read: {} ({}): {}",
            file.path, file.name, file.reason
        ));
    }
    if !found.unseen.is_empty() {
        line(format!(
            "The keychain was not looked into ({}): `kalit radar --keychain` does, and it may ask you.",
            found.unseen.join(", ")
        ));
    }
}

fn tell_finding(finding: &FindingView) {
    let mark = match finding.severity {
        Severity::Clash => "!",
        Severity::Risk => "?",
        Severity::Note => "·",
    };
    paragraph(0, format!("{mark} {}", finding.title));
    paragraph(2, &finding.text);
    if let Some(sign_out) = &finding.sign_out {
        paragraph(2, sign_out);
    }
    let rows: Vec<[String; 3]> = finding
        .places
        .iter()
        .map(|place| {
            let older = if place.older { "older" } else { "" };
            [place.name.clone(), older.to_owned(), place.path.clone()]
        })
        .collect();
    columns(4, &rows, output::terminal_width()).iter().for_each(line);
    for way in &finding.ways {
        paragraph(2, format!("→ {}", way.text));
        if let Some(command) = &way.command {
            line(format!("    {command}"));
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
