//! `providers list`: what Kalit signs in to, and what OpenClaw and its plugins sign in to themselves;
//! `providers discover`: one more, by its issuer.

use kalit_core::Error;
use kalit_core::broker::{Broker, OpenClawLoginChoice, ProviderInfo};
use kalit_core::oauth::discovery::Issuer;
use serde::Serialize;
use serde_json::json;

use crate::arguments::DiscoverArguments;
use crate::asking::{reading, saying};
use crate::commands::provider_id;
use crate::output;
use crate::prompt::confirm;
use crate::table::{paragraph, table};

/// A provider of Kalit's, and how OpenClaw signs in to it, if it does.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    provider: ProviderInfo,
    openclaw_methods: Vec<String>,
}

pub async fn list(broker: &Broker, json: bool) -> Result<(), Error> {
    let (providers, choices) =
        reading(broker, |broker| (broker.providers(), broker.openclaw_logins())).await?;
    let rows = rows(providers, choices);
    if json {
        output::json(&rows);
        return Ok(());
    }
    let cells = |row: &Row| {
        let provider = &row.provider;
        let sign_in = match provider.flow.as_str() {
            "pkce" => "browser",
            "device" => "device code",
            "api-key" => "API key",
            "openclaw" => "OpenClaw",
            "ended" => "ended, see below",
            "none" if provider.note.is_some() => "see below",
            other => other,
        };
        let source = if provider.flow == "openclaw" {
            ""
        } else {
            &provider.source
        };
        [
            provider.id.to_string(),
            sign_in.to_owned(),
            provider.token_host.clone().unwrap_or_default(),
            source.to_owned(),
            row.openclaw_methods.join(", "),
        ]
    };
    table(
        ["PROVIDER", "SIGN-IN", "HOST", "FROM", "OPENCLAW'S METHODS"],
        rows.iter().map(cells).collect(),
    );
    for row in &rows {
        if let Some(note) = &row.provider.note {
            paragraph(0, format!("{}: {note}", row.provider.id));
        }
    }
    let errors = rows.iter().filter_map(|row| row.provider.error.as_ref());
    errors
        .map(output::error_of)
        .for_each(|error| output::complaint(&error));
    Ok(())
}

/// Adds a provider by its issuer, after its hosts were shown.
pub async fn discover(broker: &Broker, asked: DiscoverArguments, json: bool) -> Result<(), Error> {
    let issuer = Issuer {
        id: provider_id(&asked.id)?,
        url: asked.issuer,
        name: asked.name,
        client_id: asked.client_id,
        scopes: asked.scope,
        redirect: asked.redirect,
    };
    let found = saying(
        "Reading what the server says of itself…",
        broker.discover_provider(&issuer),
    )
    .await?;
    let sign_in = if found.flow() == "device" {
        "a code"
    } else {
        "the browser"
    };
    if !json {
        output::line(format!(
            "{} signs in with {sign_in}. People and tokens are sent to {}.",
            found.id(),
            found.hosts().join(", ")
        ));
    }
    confirm(
        asked.yes,
        json,
        "Add this provider?",
        "Look at the hosts without --json, then add --yes.",
    )?;
    found.write()?;
    let file = found.file().display().to_string();
    if json {
        output::json(&json!({
            "provider": found.id(), "flow": found.flow(), "hosts": found.hosts(), "file": file,
        }));
    } else {
        output::line(format!(
            "Written to {file}. `kalit login {}` signs in.",
            found.id()
        ));
    }
    Ok(())
}

/// Kalit's own first, then those that only OpenClaw signs in to.
fn rows(providers: Vec<ProviderInfo>, mut choices: Vec<OpenClawLoginChoice>) -> Vec<Row> {
    let mut rows = Vec::new();
    for provider in providers {
        let of_provider = choices.extract_if(.., |choice| choice.provider == provider.id);
        let openclaw_methods = of_provider.flat_map(|choice| choice.methods).collect();
        rows.push(Row {
            provider,
            openclaw_methods,
        });
    }
    rows.extend(choices.into_iter().map(|choice| Row {
        provider: ProviderInfo {
            id: choice.provider,
            name: choice.name,
            mark: choice.mark,
            flow: "openclaw".to_owned(),
            source: "OpenClaw".to_owned(),
            token_host: None,
            note: None,
            error: None,
        },
        openclaw_methods: choice.methods,
    }));
    rows
}
