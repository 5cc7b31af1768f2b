//! `kalit settings`: what a person chose, and changing it.

use kalit_core::broker::{Broker, Mute, Setting, SettingView, SettingsView, muted_until};
use kalit_core::clock::{Clock, SystemClock};
use kalit_core::oauth::paste;
use kalit_core::{Error, ErrorCode};
use kalit_shell::process;
use serde_json::Value;

use crate::arguments::SettingsAction;
use crate::output;

/// Runs one command; the answer is the exit code.
pub fn run(broker: &Broker, action: Option<SettingsAction>, json: bool) -> Result<u8, Error> {
    match action {
        None => show(&broker.settings()?, json),
        Some(SettingsAction::Set { key, value }) => change(broker, &key, &typed(&key, &value), json)?,
        Some(SettingsAction::Unset { key }) => change(broker, &key, &Value::Null, json)?,
    }
    Ok(0)
}

fn change(broker: &Broker, key: &str, value: &Value, json: bool) -> Result<(), Error> {
    let tray = process::beside("kalit-desktop").map_err(|error| {
        Error::new(ErrorCode::Internal, "the system does not say where kalit lies").with_source(error)
    })?;
    let view = broker.set_setting(Setting::parse(key)?, value, &tray)?;
    if json {
        output::json(&view);
    } else {
        output::line(line(&view, view.key.len()));
    }
    Ok(())
}

/// What was typed as the JSON that it stands for; whether a setting can be that, core decides.
fn typed(key: &str, text: &str) -> Value {
    // A time span from now, or until tomorrow, as the window offers it.
    if key == "mutedUntil" {
        let now = SystemClock.now();
        let until = match text {
            "tomorrow" => muted_until(Mute::Tomorrow, now),
            _ => paste::expires_in(text).ok().map(|span| now.plus(span)),
        };
        if let Some(until) = until {
            return Value::from(until.as_millis());
        }
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text
            .parse::<i64>()
            .map_or_else(|_| Value::from(text), Value::from),
    }
}

fn show(view: &SettingsView, json: bool) {
    if json {
        return output::json(view);
    }
    let width = view.settings.iter().map(|setting| setting.key.len()).max();
    for setting in &view.settings {
        output::line(line(setting, width.unwrap_or(0)));
    }
    let openclaw = match (&view.openclaw, &view.openclaw_version) {
        (Some(program), Some(version)) => format!("OpenClaw {version} ({program})"),
        (Some(program), None) => format!("OpenClaw of an unknown version ({program})"),
        (None, _) => "no OpenClaw program found".to_owned(),
    };
    output::note(format!("In use: {}, {openclaw}", view.state_dir));
    output::note(format!("Kept in {}", view.file));
}

fn line(setting: &SettingView, width: usize) -> String {
    let (value, default) = (words(&setting.value), words(&setting.default));
    format!("{:<width$}  {value}  [default: {default}]", setting.key)
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
