//! `kalit settings`: what a person chose, and changing it.

use kalit_core::broker::{Broker, Setting, SettingView, SettingsView};
use kalit_core::clock::{Clock, SystemClock, TimeZone, Timestamp};
use kalit_core::settings::{Key, muted_until};
use kalit_core::{Error, ErrorCode};
use kalit_shell::process;
use serde_json::Value;

use crate::arguments::SettingsAction;
use crate::output;
use crate::table::table;

/// The one setting that is a time.
const MUTED: &str = Key::MutedUntil.name();

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
        let [value, default] = [&view.value, &view.default].map(|value| words(view.key, value));
        output::line(format!("{}  {value}  [default: {default}]", view.key));
    }
    Ok(())
}

/// What was typed as the JSON that it stands for; whether a setting can be that, core decides.
fn typed(key: &str, text: &str) -> Value {
    if key == MUTED
        && let Some(until) = muted_until(text, SystemClock.now(), &TimeZone::system())
    {
        return until.map_or(Value::Null, |at| Value::from(at.as_millis()));
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
    let row = |setting: &SettingView| {
        let [value, default] = [&setting.value, &setting.default].map(|value| words(setting.key, value));
        [setting.key.to_owned(), value, default]
    };
    table(
        ["SETTING", "VALUE", "DEFAULT"],
        view.settings.iter().map(row).collect(),
    );
    let openclaw = match (&view.openclaw, &view.openclaw_version) {
        (Some(program), Some(version)) => format!("OpenClaw {version} ({program})"),
        (Some(program), None) => format!("OpenClaw of an unknown version ({program})"),
        (None, _) => "no OpenClaw program found".to_owned(),
    };
    output::note(format!("In use: {}, {openclaw}", view.state_dir));
    output::note(format!("Kept in {}", view.file));
}

fn words(key: &str, value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(millis) if key == MUTED => {
            let at = Timestamp::from_millis(millis.as_i64().unwrap_or(i64::MAX));
            let over = if at <= SystemClock.now() { " (over)" } else { "" };
            format!("{}{over}", output::moment(at))
        }
        other => other.to_string(),
    }
}
