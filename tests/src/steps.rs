//! The steps by which a program changes files or speaks to the network, seen and stopped from outside
//! the unmodified program: `harness/steps.c`, compiled once and preloaded. What the program starts is
//! left alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{build_dir, harness, run};

/// The compiled library.
#[derive(Clone, Debug)]
pub struct Steps {
    library: PathBuf,
}

/// What is done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing: its steps are counted.
    Count,
    /// SIGKILL before the step of this number; 1 is the first.
    KillBefore(usize),
    /// SIGKILL when that step is done.
    KillAfter(usize),
    /// That step fails with this error number.
    Fail(usize, Errno),
    /// That step and every later one.
    FailFrom(usize, Errno),
    /// Every fsync takes so long.
    SlowSync(Duration),
}

/// How a disk refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    Full,
    Broken,
    ReadOnly,
    OverQuota,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub number: usize,
    /// Microseconds of a clock that does not jump.
    pub at: u64,
    pub call: String,
    /// Relative to the root; `socket` for the network.
    pub path: String,
}

impl Errno {
    pub const ALL: [Self; 4] = [Self::Full, Self::Broken, Self::ReadOnly, Self::OverQuota];

    /// Linux's number.
    pub fn number(self) -> i32 {
        let errno = match self {
            Self::Full => rustix::io::Errno::NOSPC,
            Self::Broken => rustix::io::Errno::IO,
            Self::ReadOnly => rustix::io::Errno::ROFS,
            Self::OverQuota => rustix::io::Errno::DQUOT,
        };
        errno.raw_os_error()
    }
}

impl Step {
    pub fn is_network(&self) -> bool {
        self.path == "socket"
    }

    /// Whether a disk can refuse it.
    pub fn is_write(&self) -> bool {
        !self.is_network() && self.call != "flock"
    }
}

impl Steps {
    /// Compiles the library unless it is there already.
    pub fn build() -> Result<Self> {
        let source = harness("steps.c");
        let dir = build_dir()?;
        let library = dir.join("libkalit_steps.so");
        let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        if changed(&library) < changed(&source) {
            // Tests that run beside each other see the old library or the new one.
            let draft = tempfile::Builder::new().suffix(".so").tempfile_in(&dir)?;
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
            run(compiler.arg(draft.path()).arg(&source).arg("-ldl"))?;
            draft.persist(&library)?;
        }
        Ok(Self { library })
    }

    /// The variables under which a program's changes below `root`, and what it does on the network,
    /// are steps, written to `log`.
    pub fn variables(&self, root: &Path, log: &Path, plan: Plan) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut variables = vec![
            ("LD_PRELOAD", text(&self.library)),
            ("STEPS_ROOT", text(root)),
            ("STEPS_LOG", text(log)),
        ];
        match plan {
            Plan::Count => {}
            Plan::KillBefore(number) => variables.push(("STEPS_KILL", format!("{number}:before"))),
            Plan::KillAfter(number) => variables.push(("STEPS_KILL", format!("{number}:after"))),
            Plan::Fail(number, errno) => {
                variables.push(("STEPS_FAIL", format!("{number}:{}", errno.number())));
            }
            Plan::FailFrom(number, errno) => {
                variables.push(("STEPS_FAIL", format!("{number}:{}+", errno.number())));
            }
            Plan::SlowSync(pause) => variables.push(("STEPS_SLOW", pause.as_millis().to_string())),
        }
        variables
    }
}

/// The steps of a run. A run that was killed may have left its last line unfinished.
pub fn read_steps(log: &Path) -> Result<Vec<Step>> {
    let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole
        .lines()
        .map(|line| {
            let mut parts = line.splitn(4, ' ');
            let mut next = || parts.next().with_context(|| format!("a step: {line}"));
            Ok(Step {
                number: next()?.parse()?,
                at: next()?.parse()?,
                call: next()?.to_owned(),
                path: next()?.to_owned(),
            })
        })
        .collect()
}
