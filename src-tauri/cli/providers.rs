//! `providers list`: what Kalit signs in to, and what OpenClaw and its plugins sign in to themselves.

use kalit_core::Error;
use kalit_core::broker::{Broker, OpenClawLoginChoice, ProviderInfo};
use serde::Serialize;

use crate::asking::reading;
use crate::output;
use crate::table::table;

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
    let errors = rows.iter().filter_map(|row| row.provider.error.as_ref());
    errors
        .map(output::error_of)
        .for_each(|error| output::complaint(&error));
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
            error: None,
        },
        openclaw_methods: choice.methods,
    }));
    rows
}
