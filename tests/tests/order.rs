//! Which profile comes first: Kalit's resolution against the resolver of real OpenClaw releases,
//! on the stores of `cases/order.json`.
//!
//! In the cases `$codex` stands for the release's provider of ChatGPT logins, a text such as
//! `now+3m` for a time, and `"oauth"` for a whole login of the case's provider. `state` goes into
//! auth-state.json, or into auth-profiles.json where the release knows no other.

#[path = "order/case.rs"]
mod case;

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use kalit_journeys::openclaw::{Release, TestHome, Version, release};
use serde::Deserialize;
use serde_json::{Value, json};

use case::{Case, NOW, Rule, cases};

#[tokio::test]
async fn orders_agree_with_2026_2_17_and_show_a_missing_rule() -> Result<()> {
    compare(Version::V2026_2_17).await
}

#[tokio::test]
async fn orders_agree_with_2026_4_29_and_show_a_missing_rule() -> Result<()> {
    compare(Version::V2026_4_29).await
}

#[tokio::test]
async fn orders_agree_with_2026_6_1_and_show_a_missing_rule() -> Result<()> {
    compare(Version::V2026_6_1).await
}

#[tokio::test]
async fn orders_agree_with_2026_7_1_and_show_a_missing_rule() -> Result<()> {
    compare(Version::V2026_7_1).await
}

#[tokio::test]
async fn orders_agree_with_2026_9_6_and_show_a_missing_rule() -> Result<()> {
    compare(Version::V2026_9_6).await
}

#[tokio::test]
async fn the_cli_of_2026_2_17_lists_what_was_written() -> Result<()> {
    ask_cli(Version::V2026_2_17).await
}

#[tokio::test]
async fn the_cli_of_2026_4_29_lists_what_was_written() -> Result<()> {
    ask_cli(Version::V2026_4_29).await
}

#[tokio::test]
async fn the_cli_of_2026_6_1_lists_what_was_written() -> Result<()> {
    ask_cli(Version::V2026_6_1).await
}

type Orders = BTreeMap<String, Vec<String>>;

/// Every case, both ways: no difference. Then with one rule at a time switched off on Kalit's
/// side: there must be a difference, else the cases would not test that rule.
async fn compare(version: Version) -> Result<()> {
    let release = release(version).await?;
    let started = Instant::now();
    let cases = cases(version)?;
    ensure!(
        cases.len() >= 40,
        "only {} cases for {}",
        cases.len(),
        version.as_str()
    );

    let theirs = openclaw_orders(&release, &cases).await?;
    let ours = kalit_orders(&cases, version, None);
    assert_eq!(
        differences(&ours, &theirs),
        Vec::<String>::new(),
        "{}",
        version.as_str()
    );
    let answered = theirs.values().filter(|ids| ids.len() > 1).count();
    assert!(answered >= 40, "only {answered} cases have an order at all");

    for rule in [Rule::Cooldowns, Rule::Modes, Rule::Config] {
        let without = kalit_orders(&cases, version, Some(rule));
        let shown = differences(&without, &theirs);
        assert!(!shown.is_empty(), "{}: no case shows {rule:?}", version.as_str());
        println!("{}: {} cases show {rule:?}", version.as_str(), shown.len());
    }
    println!(
        "{}: {} stores agree, {answered} with several candidates, {:.1} s",
        version.as_str(),
        cases.len(),
        started.elapsed().as_secs_f32()
    );
    Ok(())
}

fn differences(ours: &Orders, theirs: &Orders) -> Vec<String> {
    let names = theirs
        .keys()
        .chain(ours.keys().filter(|name| !theirs.contains_key(*name)));
    names
        .filter(|name| ours.get(*name) != theirs.get(*name))
        .map(|name| {
            format!(
                "{name}: kalit {:?}, openclaw {:?}",
                ours.get(name),
                theirs.get(name)
            )
        })
        .collect()
}

fn kalit_orders(cases: &[Case], version: Version, without: Option<Rule>) -> Orders {
    let order = |case: &Case| {
        case.resolve(version, without)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    cases
        .iter()
        .map(|case| (case.name.clone(), order(case)))
        .collect()
}

/// One Node process that writes nothing but what the release's loader writes.
async fn openclaw_orders(release: &Release, cases: &[Case]) -> Result<Orders> {
    let main_home = TestHome::new()?;
    let mut homes = Vec::new();
    let mut questions = Vec::new();
    for case in cases {
        let home = TestHome::new()?;
        case.write(&home, release.version)?;
        let agent_dir = (case.agent != "main").then(|| home.agent_dir(&case.agent));
        questions.push(json!({
            "name": case.name,
            "stateDir": home.state_dir(),
            "agentDir": agent_dir,
            "config": case.config,
            "provider": case.provider,
            "preferred": case.preferred,
            "cells": case.cells(release.version),
        }));
        homes.push(home);
    }
    let input = serde_json::to_vec(&json!({"now": NOW, "cases": without_nulls(questions)}))?;
    let output = release
        .node_script(&main_home, "resolve-order.mjs", &[], Some(&input))
        .await?;
    ensure!(
        output.status.success(),
        "resolve-order.mjs: {}\n{}",
        output.stdout,
        output.stderr
    );
    #[derive(Deserialize)]
    struct Answer {
        from: BTreeMap<String, String>,
        orders: Orders,
    }
    let last = output.stdout.lines().rfind(|line| !line.trim().is_empty());
    let answer: Answer = serde_json::from_str(last.context("no answer")?)?;
    println!("{}: resolved by {:?}", release.version.as_str(), answer.from);
    Ok(answer.orders)
}

/// JavaScript tells `undefined` from `null`.
fn without_nulls(questions: Vec<Value>) -> Vec<Value> {
    let clean = |question: Value| match question {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    };
    questions.into_iter().map(clean).collect()
}

/// The order and the profiles of six stores, as the release's own commands tell them.
async fn ask_cli(version: Version) -> Result<()> {
    let release = release(version).await?;
    let started = Instant::now();
    let cases: Vec<Case> = cases(version)?.into_iter().filter(|case| case.cli).collect();
    assert_eq!(cases.len(), 6);
    // One home for all: the first command in a new one takes several times as long.
    let home = TestHome::new()?;
    for case in &cases {
        home.write_config(&Value::Object(case.config.clone()))?;
        case.write(&home, version)?;
        let files = case.files(version);
        let (profiles, state) = files.get("main").context("no store")?;
        let order = state.as_ref().unwrap_or(profiles)["order"].get(&case.provider);
        let stored = profiles["profiles"].as_object().context("no profiles")?;
        let mut stored: Vec<&str> = stored.keys().map(String::as_str).collect();

        let args = [
            "models",
            "auth",
            "order",
            "get",
            "--provider",
            &case.provider,
            "--json",
        ];
        let told = release.run(&home, &args, None).await?.json()?;
        assert_eq!(
            told["order"],
            order.cloned().unwrap_or(Value::Null),
            "{}",
            case.name
        );

        let told = release
            .run(&home, &["models", "status", "--json"], None)
            .await?
            .json()?;
        let listed = texts(&told["auth"]["providers"][0]["profiles"]["labels"], "");
        // A label is "<id>=<part of the secret>".
        let listed: Vec<&str> = listed
            .iter()
            .filter_map(|label| label.split('=').next())
            .collect();
        assert_eq!(listed, stored, "{}", case.name);
        stored.sort_unstable();
        let listed = texts(&told["auth"]["oauth"]["profiles"], "/profileId");
        assert_eq!(listed, stored, "{}", case.name);

        fs::remove_dir_all(home.agent_dir("main"))?;
    }
    println!(
        "{}: {} stores through the CLI, {:.1} s",
        version.as_str(),
        cases.len(),
        started.elapsed().as_secs_f32()
    );
    Ok(())
}

/// The texts at `pointer` in each item of a list.
fn texts<'a>(list: &'a Value, pointer: &str) -> Vec<&'a str> {
    let items = list.as_array().into_iter().flatten();
    items.filter_map(|item| item.pointer(pointer)?.as_str()).collect()
}
