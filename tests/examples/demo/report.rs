//! What the demo claims, and by which evidence: one line on the terminal and one entry in
//! `report.json` for each, read from outside Kalit.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use kalit_core::clock::{Clock, SystemClock};
use serde_json::{Value, json};

/// The demo's directory with what has been shown so far.
pub struct Report {
    dir: PathBuf,
    start: Instant,
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    seconds: f64,
    evidence: Vec<Value>,
    screenshots: Vec<String>,
}

impl Report {
    /// Starts anew in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        if dir.exists() {
            std::fs::remove_dir_all(dir).with_context(|| format!("emptying {}", dir.display()))?;
        }
        std::fs::create_dir_all(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            start: Instant::now(),
            steps: Vec::new(),
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins the next step.
    pub fn step(&mut self, name: &'static str) {
        println!("\n{}  {name}", self.steps.len() + 1);
        let seconds = self.start.elapsed().as_secs_f64();
        self.steps.push(Step {
            name,
            seconds,
            evidence: Vec::new(),
            screenshots: Vec::new(),
        });
    }

    /// A piece of evidence for the step that began last, with where it was read.
    pub fn says(&mut self, source: &str, what: &str, value: impl Into<Value>) {
        let value = value.into();
        let shown = match &value {
            Value::String(text) if text.contains('\n') => {
                format!(
                    "\n{}",
                    text.lines()
                        .map(|line| format!("{:38}| {line}", ""))
                        .collect::<Vec<_>>()
                        .join("\n")
                )
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        println!("   {source:<16} {what:<19} {shown}");
        if let Some(step) = self.steps.last_mut() {
            step.evidence
                .push(json!({"source": source, "what": what, "value": value}));
        }
    }

    /// Where the next screenshot goes.
    pub fn screenshot(&mut self, name: &str) -> PathBuf {
        let before: usize = self.steps.iter().map(|step| step.screenshots.len()).sum();
        let file = format!("{:02}-{name}.png", before + 1);
        println!("   {:<16} {:<19} {file}", "screen", "screenshot");
        let path = self.dir.join(&file);
        if let Some(step) = self.steps.last_mut() {
            step.screenshots.push(file);
        }
        path
    }

    /// Writes `report.json` and says how it ended.
    pub fn finish(self, outcome: &Result<()>) -> Result<()> {
        let failed = self.steps.last().filter(|_| outcome.is_err());
        let steps: Vec<Value> = self
            .steps
            .iter()
            .zip(1..)
            .map(|(step, number)| {
                json!({
                    "step": number,
                    "name": step.name,
                    "startedAfterSeconds": (step.seconds * 10.0).round() / 10.0,
                    "evidence": step.evidence,
                    "screenshots": step.screenshots,
                })
            })
            .collect();
        let report = json!({
            "report": 1,
            "at": SystemClock.now().to_iso8601(),
            "ok": outcome.is_ok(),
            "seconds": self.start.elapsed().as_secs(),
            "failedStep": failed.map(|step| step.name),
            "error": outcome.as_ref().err().map(|error| format!("{error:#}")),
            "steps": steps,
        });
        let path = self.dir.join("report.json");
        std::fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")?;
        match outcome {
            Ok(()) => println!(
                "\ndemo: every step happened ({} s)",
                self.start.elapsed().as_secs()
            ),
            Err(error) => {
                let step = failed.map_or("start", |step| step.name);
                println!("\ndemo: FAILED at step {} ({step}): {error:#}", self.steps.len());
            }
        }
        println!("report: {}", path.display());
        Ok(())
    }
}
