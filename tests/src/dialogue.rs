//! A process that is spoken with line by line: it says when it is ready, and waits for its word.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The longest pause between two answers.
const LIMIT: Duration = Duration::from_secs(120);

/// The running process, ended when this is dropped.
#[derive(Debug)]
pub struct Dialogue {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Dialogue {
    /// Starts `command` with pipes.
    pub fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Node")?;
        let output = child.stdout.take().context("no stdout")?;
        Ok(Self {
            input: child.stdin.take().context("no stdin")?,
            output: BufReader::new(output).lines(),
            child,
        })
    }

    /// The process id, as long as it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends one line.
    pub async fn say(&mut self, line: &str) -> Result<()> {
        self.input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(self.input.flush().await?)
    }

    /// The next line that is a JSON object; OpenClaw's own log lines are passed over.
    pub async fn answer(&mut self) -> Result<Value> {
        let next = async {
            while let Some(line) = self.output.next_line().await? {
                if let Ok(Value::Object(object)) = serde_json::from_str(&line) {
                    return Ok(Value::Object(object));
                }
            }
            bail!("the process ended without an answer")
        };
        tokio::time::timeout(LIMIT, next).await?
    }

    /// Closes its stdin and waits for its end.
    pub async fn end(mut self) -> Result<ExitStatus> {
        drop(self.input);
        Ok(tokio::time::timeout(LIMIT, self.child.wait()).await??)
    }
}
