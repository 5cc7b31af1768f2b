//! The radar over two hundred stores of both eras, beside a plain script that reads the same files.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use kalit_journeys::process::{binary, harness};
use serde_json::{Value, json};

use crate::databases::Databases;
use crate::store::{Many, Store, write};
use crate::table::{Limit, Table};
use crate::{median, millis, timed};

/// Agents of each era, and accounts of each agent.
const AGENTS: usize = 100;
const ACCOUNTS: usize = 4;

pub fn measure(table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let store = scene(dir.path())?;
    let kalit = binary("KALIT_BIN", "kalit")?;
    let script = harness("radar_peer.py");
    let peer = |args: &[&str]| {
        let mut command = store.command(Path::new("python3"));
        command.arg(&script).args(args);
        command
    };
    let home = dir.path().to_string_lossy().into_owned();
    let radar = |command: &mut Command| command.args(["radar", "--json"]).output();

    // Both see the same, and neither prints a token.
    let found = radar(&mut store.command(&kalit))?;
    let theirs = peer(&["scan", &home]).output()?;
    let (found, theirs) = (
        String::from_utf8(found.stdout)?,
        String::from_utf8(theirs.stdout)?,
    );
    ensure!(
        !found.contains("test-refresh") && !theirs.contains("test-refresh"),
        "a token was printed"
    );
    let (found, theirs): (Value, Value) = (serde_json::from_str(&found)?, serde_json::from_str(&theirs)?);
    ensure!(
        found["logins"] == theirs["logins"],
        "{} logins, {theirs}",
        found["logins"]
    );
    let several = |finding: &&Value| {
        finding["places"]
            .as_array()
            .is_some_and(|places| places.len() > 1)
    };
    let findings = found["findings"].as_array().context("no findings")?;
    let shared = findings.iter().filter(several).count();

    let own = median(10, || timed(store.command(&kalit).args(["radar", "--json"])))?;
    let others = median(5, || timed(&mut peer(&["scan", &home])))?;
    let ratio = others.as_secs_f64() / own.as_secs_f64();
    table.add(
        "`kalit radar --json`, 200 stores",
        millis(own),
        Limit::None,
        &format!(
            "median of 10; {} different logins in {} places, {shared} in several",
            found["logins"], found["places"]
        ),
    );
    table.add(
        "the same read by a plain Python script",
        millis(others),
        Limit::None,
        &format!("median of 5; {ratio:.1} times as long"),
    );
    let peak = |command: &[&str]| -> Result<f64> {
        let output = peer(&[&["measure"], command].concat()).output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let kibibytes: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    };
    let program = kalit.to_string_lossy();
    let own = peak(&[&program, "radar", "--json"])?;
    let others = peak(&["python3", &script.to_string_lossy(), "scan", &home])?;
    table.add(
        "memory of `kalit radar`, 200 stores",
        format!("{own:.1} MB"),
        Limit::None,
        &format!(
            "at its peak; the script {others:.1} MB, {:.1} times as much",
            others / own
        ),
    );
    Ok(())
}

/// A hundred JSON stores with a backup each, a hundred databases in another state directory, and the
/// files of the other programs, one of which shares a login.
fn scene(home: &Path) -> Result<Store> {
    let lab = tempfile::tempdir_in(home)?;
    Databases::large(lab.path(), AGENTS, ACCOUNTS)?;
    fs::rename(lab.path().join(".openclaw"), home.join(".openclaw-lab"))?;
    let many = Many {
        agents: AGENTS,
        accounts: ACCOUNTS,
    };
    let store = Store::many(home, many)?;
    let mut first = None;
    for agent in fs::read_dir(home.join(".openclaw/agents"))? {
        let file = agent?.path().join("agent/auth-profiles.json");
        fs::copy(&file, file.with_extension("json.bak"))?;
        first.get_or_insert(file);
    }
    let first: Value = serde_json::from_slice(&fs::read(first.context("no store")?)?)?;
    let profiles = first["profiles"].as_object().context("no profiles")?;
    let login = profiles.values().next().context("no profile")?;
    for (dir, name) in [
        (".codex", "auth.json"),
        (".qwen", "oauth_creds.json"),
        (".gemini", "oauth_creds.json"),
    ] {
        fs::create_dir_all(home.join(dir))?;
        let token = match dir {
            ".codex" => login["refresh"].clone(),
            dir => json!(format!("test-refresh-of{dir}")),
        };
        write(
            &home.join(dir).join(name),
            &json!({"tokens": {"refresh_token": token}}),
        )?;
    }
    Ok(store)
}
