//! What is documented is true: `docs/errors.md` is the table of `kalit_core::ErrorCode`
//! (`KALIT_WRITE_DOCS=1` writes it anew), and `docs/json.md` knows every field that is printed.

use std::collections::BTreeSet;
use std::fmt::Write;

use kalit_core::ErrorCode;
use kalit_journeys::process::workspace;
use serde_json::Value;

use super::bed::{Bed, OLD, WORK, now};

const HEAD: &str = "# Error codes

A failure has a stable code, a sentence about this case and a sentence that says what to do next. With
`--json` it is `{\"error\":{\"code\",\"message\",\"hint\"}}` on stdout, without it code and hint are on
stderr. Codes are never reused for something else. The exit codes:

| exit code | meaning |
|---|---|
| 0 | done |
| 1, 2 | `status --check`: 1, an account is expired, without a usable secret, or signed out; 2, one expires within 24 hours; 1 wins. `test-logins`: 1, OpenClaw dropped a login |
| 64 | usage: an unknown flag, agent, profile, provider or setting, or a confirmation that is missing |
| 65 | input that cannot be used, or a store or configuration that does not parse |
| 69 | the network, the provider, or another part that is not available |
| 70 | a mistake in Kalit or in its own files |
| 73 | cannot write |
| 75 | busy: try again |
| 77 | not permitted, also for a login that another program shares |

What happened stands in the message; the last column is the general hint, which a case may replace by
a closer one.

| code | exit code | what to do next |
|---|---|---|
";

#[test]
fn the_table_of_error_codes_is_the_one_in_the_program() {
    let mut expected = HEAD.to_owned();
    for code in ErrorCode::ALL {
        let hint = code.hint().replace('|', "\\|").replace('<', "\\<");
        writeln!(
            expected,
            "| `{}` | {} | {hint} |",
            code.as_str(),
            code.exit_code()
        )
        .unwrap();
    }
    let path = workspace().join("docs/errors.md");
    if std::env::var_os("KALIT_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "run the test with KALIT_WRITE_DOCS=1 to write docs/errors.md anew"
    );
}

#[test]
fn every_field_that_is_printed_is_described() {
    let bed = Bed::with_accounts();
    let lock = bed.agent_dir("main").join("auth-profiles.json.lock");
    bed.write(
        &lock,
        format!("{{\"pid\":{},\"createdAt\":\"\"}}", std::process::id()),
    );
    let mut fields = BTreeSet::new();
    let mut collect = |args: &[&str], stdin: &str| {
        let ran = bed.run_with(&[args, &["--json"]].concat(), stdin);
        fields_of(&ran.json(), &mut fields);
    };
    collect(&["status"], "");
    collect(&["doctor"], "");
    std::fs::remove_file(lock).unwrap();
    collect(&["list"], "");
    collect(&["order", "get", "--provider", "openai-codex"], "");
    collect(&["use", OLD], "");
    collect(&["refresh", "google:default"], "");
    let usage = format!(
        r#"{{"usageStats":{{"{WORK}":{{"cooldownUntil":{}}}}}}}"#,
        now() + 60_000
    );
    bed.write(&bed.agent_dir("main").join("auth-state.json"), usage);
    collect(&["clear-cooldown", WORK], "");
    collect(
        &["paste-api-key", "--provider", "mistral"],
        "fake-secret-mistral\n",
    );
    collect(&["remove", WORK, "--yes"], "");
    collect(&["history"], "");
    collect(&["agents", "list"], "");
    collect(&["providers", "list"], "");
    collect(&["import"], "");
    collect(&["settings"], "");
    collect(&["settings", "set", "watchOnly", "true"], "");
    let text = std::fs::read_to_string(workspace().join("docs/json.md")).unwrap();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let unknown: Vec<&String> = fields
        .iter()
        .filter(|field| !words.contains(field.as_str()))
        .collect();
    assert!(unknown.is_empty(), "docs/json.md does not describe {unknown:?}");
    assert!(fields.len() > 60, "{fields:?}");
}

fn fields_of(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (field, value) in object {
                fields.insert(field.clone());
                fields_of(value, fields);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| fields_of(value, fields)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
