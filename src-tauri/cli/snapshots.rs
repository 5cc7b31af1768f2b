//! `kalit snapshots`: what there is to go back to, what going back would do, and doing it.

use kalit_core::Error;
use kalit_core::broker::{
    Broker, PutBackVerdict, SnapshotChoice, SnapshotInfo, SnapshotPreview, SnapshotProfile, SnapshotRestored,
};
use kalit_core::ids::AgentId;
use kalit_core::view::SCHEMA;
use serde_json::json;

use crate::arguments::{AnyAgentArgument, SnapshotsAction};
use crate::asking::{asking, reading, saying};
use crate::commands::parse_profile;
use crate::interrupt::Interrupt;
use crate::output;
use crate::prompt::consent;
use crate::table::{columns, table};

const OPENING: &str = "Opening the sealed copies…";

pub async fn run(broker: &Broker, action: SnapshotsAction, json: bool) -> Result<u8, Error> {
    match action {
        SnapshotsAction::List => {
            let snapshots = reading(broker, Broker::snapshots).await??;
            if json {
                output::json(&json!({"schema": SCHEMA, "snapshots": snapshots}));
            } else if snapshots.is_empty() {
                output::line("Nothing was sealed yet: the tray and `kalit watch` seal what they see.");
            } else {
                table(
                    ["SNAPSHOT", "WHEN", "PROFILES", "MISSING NOW", "WHY"],
                    snapshots.iter().map(row).collect(),
                );
            }
            Ok(0)
        }
        SnapshotsAction::Show { id, agent } => {
            let work = broker.snapshot_preview(choice(id, &agent, None)?);
            let preview = saying(OPENING, work).await?;
            if json {
                output::json(&preview);
            } else {
                tell_preview(&preview);
            }
            Ok(0)
        }
        SnapshotsAction::Restore {
            id,
            agent,
            profile_id,
            yes,
        } => restore(broker, choice(id, &agent, profile_id.as_deref())?, yes, json).await,
    }
}

async fn restore(broker: &Broker, choice: SnapshotChoice, yes: bool, json: bool) -> Result<u8, Error> {
    let preview = saying(OPENING, broker.snapshot_preview(choice.clone())).await?;
    if !json {
        tell_preview(&preview);
    }
    // Without anything to put back there is nothing to consent to: the broker says why.
    if preview.offered
        && let Some(code) = consent(yes, json, "Put it back?", &preview)?
    {
        return Ok(code);
    }
    let work = asking(|| broker.asks_openclaw(), broker.restore_snapshot(choice));
    let done = Interrupt::listen()?.finish_telling(work).await?;
    if json {
        output::json(&done);
    } else {
        tell(&done);
    }
    Ok(0)
}

fn choice(id: String, agent: &AnyAgentArgument, profile_id: Option<&str>) -> Result<SnapshotChoice, Error> {
    Ok(SnapshotChoice {
        id,
        agent: agent.agent.as_deref().map(AgentId::normalize),
        profile_id: profile_id.map(parse_profile).transpose()?,
    })
}

fn row(info: &SnapshotInfo) -> [String; 5] {
    let count = |count: usize| {
        if count == 0 {
            String::new()
        } else {
            count.to_string()
        }
    };
    [
        info.id.clone(),
        info.at.map_or_else(String::new, output::moment),
        count(info.profiles),
        count(info.missing),
        match &info.reason {
            Some(code) => output::words_for("snapshotReasons", code),
            None => "its entry in the index is lost".to_owned(),
        },
    ]
}

fn tell_preview(preview: &SnapshotPreview) {
    output::line(format!(
        "Snapshot of {} ({})",
        output::moment(preview.at),
        output::words_for("snapshotReasons", &preview.reason)
    ));
    for store in &preview.stores {
        output::line(format!("{}  {}", store.agent, store.path));
        if let Some(problem) = &store.problem {
            output::line(format!("  {} [{}]", problem.message, problem.code));
        }
        let row = |profile: &SnapshotProfile| {
            let mark = match profile.verdict {
                PutBackVerdict::PutBack | PutBackVerdict::NewestInstead => "+",
                PutBackVerdict::Kept => "=",
                PutBackVerdict::Refused => "!",
            };
            let text = if profile.text.is_empty() {
                "is put back"
            } else {
                &profile.text
            };
            [format!("{mark} {}", profile.profile_id), text.to_owned()]
        };
        let rows: Vec<_> = store.profiles.iter().map(row).collect();
        columns(2, &rows, output::terminal_width())
            .iter()
            .for_each(output::line);
        for provider in &store.orders {
            output::line(format!("  + the order of {provider}"));
        }
    }
    preview.notes.iter().for_each(output::line);
}

fn tell(done: &SnapshotRestored) {
    for restored in &done.restored {
        output::line(format!("{} is back in {}", restored.profile_id, restored.agent));
    }
    done.notes.iter().for_each(output::line);
}
