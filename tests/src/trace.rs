//! What a program writes to files, and what the programs it starts write: a trace of system calls
//! by `strace`, without contents. Or with what it starts other programs, or all that it writes. What
//! goes into memory that is mapped from a file (SQLite's `-shm`) is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait::until_some;

/// Where it is, whatever the traced program's `PATH` says.
pub const STRACE: &str = "/usr/bin/strace";

const CALLS: &str = "trace=execve,clone,clone3,fork,vfork,exit_group,write,pwrite64,writev,pwritev,pwritev2,\
                     ftruncate,truncate,fallocate,copy_file_range,sendfile,rename,renameat,renameat2,\
                     unlink,unlinkat,link,linkat";
const STARTS: &str = "trace=execve,clone,clone3,fork,vfork,exit_group";
const CONTENTS: &str = "trace=execve,clone,clone3,fork,vfork,exit_group,write,pwrite64,writev,pwritev,pwritev2,\
                        sendto,sendmsg,sendmmsg";

/// A directory of traces, one file for each program started through it.
#[derive(Debug)]
pub struct Trace {
    dir: tempfile::TempDir,
    started: AtomicUsize,
    /// What of each call is written down, as options of `strace`.
    options: &'static [&'static str],
}

/// A change of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// Whether the traced program did it itself, and not a program that it started.
    pub own: bool,
    pub call: String,
    pub path: String,
}

impl Trace {
    pub fn new() -> Result<Self> {
        Self::with(&["-y", "-s", "0", "-e", CALLS])
    }

    /// With what arguments and environment every program is started, in full.
    pub fn of_starts() -> Result<Self> {
        Self::with(&["-v", "-s", "1000000", "-e", STARTS])
    }

    /// With how every program is started and all that is written, in full, and where it goes.
    pub fn of_contents() -> Result<Self> {
        Self::with(&["-v", "-y", "-s", "1000000", "-e", CONTENTS])
    }

    fn with(options: &'static [&'static str]) -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            started: AtomicUsize::new(0),
            options,
        })
    }

    /// The command that starts `program` under the trace. The process started is the program
    /// itself; the tracer stands aside and ends with it.
    pub fn command(&self, program: &Path) -> (PathBuf, Vec<OsString>) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let file = self.dir.path().join(format!("{number}.trace"));
        let mut arguments: Vec<OsString> = ["-DD", "-f", "-q"].map(OsString::from).into();
        arguments.extend(self.options.iter().map(OsString::from));
        arguments.extend(["-o".into(), file.into(), program.into()]);
        (PathBuf::from(STRACE), arguments)
    }

    /// Every change of a file whose path `concerns`, by all programs that have ended. Waits for the
    /// tracers.
    pub async fn written(&self, concerns: impl Fn(&str) -> bool) -> Result<BTreeSet<Written>> {
        let traces = self.texts().await?;
        let written = traces.iter().flat_map(|text| parse(text));
        Ok(written.filter(|written| concerns(&written.path)).collect())
    }

    /// The traces of all programs, which have ended. Waits for the tracers.
    pub async fn texts(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for number in 0..self.started.load(Ordering::Relaxed) {
            let file = self.dir.path().join(format!("{number}.trace"));
            let text = until_some("the end of a trace", Duration::from_secs(10), || {
                let text = std::fs::read_to_string(&file).ok()?;
                has_ended(&text).then_some(text)
            })
            .await
            .with_context(|| file.display().to_string())?;
            ensure!(text.contains("execve("), "nothing was traced: {text}");
            all.push(text);
        }
        Ok(all)
    }
}

/// Whether the first process of a trace is gone.
fn has_ended(text: &str) -> bool {
    let Some((first, _)) = text.split_once(' ') else {
        return false;
    };
    let ends = |line: &str| {
        let mine = line.strip_prefix(first).is_some_and(|rest| rest.starts_with(' '));
        mine && (line.contains("+++ exited with") || line.contains("+++ killed by"))
    };
    text.lines().any(ends)
}

/// Where a line of a trace of contents goes: the path, or such as `pipe:[1]`. `None` for a start of a
/// program, whose arguments and environment everybody sees, and for what has no place.
pub fn goes_to(line: &str) -> Option<&str> {
    let (_, call) = line.split_once(' ')?;
    let call = call.trim_start();
    let is_start = matches!(name_of(call), "execve" | "");
    let (before, rest) = call.split_once('<')?;
    // The first argument, not what is written.
    (!is_start && !before.contains('"')).then_some(rest.split_once('>')?.0)
}

fn parse(text: &str) -> Vec<Written> {
    let lines: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let (pid, rest) = line.split_once(' ')?;
            Some((pid, rest.trim_start()))
        })
        .collect();
    let mut parents: BTreeMap<&str, &str> = BTreeMap::new();
    let mut replaced: BTreeSet<&str> = BTreeSet::new();
    let mut seen_first = false;
    for (pid, call) in &lines {
        let name = name_of(call);
        if matches!(name, "clone" | "clone3" | "fork" | "vfork")
            && let Some((_, child)) = call.rsplit_once("= ")
            && child.trim().bytes().all(|byte| byte.is_ascii_digit())
        {
            parents.insert(child.trim(), pid);
        }
        if name == "execve" && std::mem::replace(&mut seen_first, true) {
            replaced.insert(pid);
        }
    }
    let is_own = |pid: &str| {
        let mut at = pid;
        // A process tree is not deep.
        for _ in 0..64 {
            if replaced.contains(at) {
                return false;
            }
            match parents.get(at) {
                Some(parent) => at = parent,
                None => return true,
            }
        }
        true
    };
    let mut written = Vec::new();
    for (pid, call) in &lines {
        let name = name_of(call);
        let paths: Vec<&str> = match name {
            "execve" | "clone" | "clone3" | "fork" | "vfork" | "exit_group" | "" => continue,
            _ if call.starts_with("<...") => continue,
            name if name.starts_with("rename") || name.starts_with("link") || name.starts_with("unlink") => {
                call.split('"').skip(1).step_by(2).collect()
            }
            "truncate" => call.split('"').skip(1).step_by(2).collect(),
            _ => call
                .split_once('<')
                .and_then(|(_, rest)| Some(rest.split_once('>')?.0))
                .into_iter()
                .collect(),
        };
        written.extend(paths.into_iter().map(|path| Written {
            own: is_own(pid),
            call: name.to_owned(),
            path: path.to_owned(),
        }));
    }
    written
}

/// The system call of a line, whether it begins or ends there.
fn name_of(call: &str) -> &str {
    match call.strip_prefix("<... ") {
        Some(rest) => rest.split(' ').next().unwrap_or_default(),
        None => call.split_once('(').map_or("", |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_goes_to_a_file_a_pipe_or_a_terminal() {
        for (line, place) in [
            ("10 write(5<pipe:[77]>, \"x\\n\", 2) = 2", Some("pipe:[77]")),
            (
                "10 write(5</dev/ptmx<char 5:2>>, \"x\", 1) = 1",
                Some("/dev/ptmx<char 5:2"),
            ),
            (
                "11 pwrite64(7</s/a.sqlite-wal>, \"<b>\", 3, 0 <unfinished ...>",
                Some("/s/a.sqlite-wal"),
            ),
            ("10 execve(\"/bin/node\", [\"<x>\"], [\"A=b\"]) = 0", None),
            ("10 write(5, \"<x>\", 3) = 3", None),
        ] {
            assert_eq!(goes_to(line), place, "{line}");
        }
    }

    #[test]
    fn a_threads_writes_are_the_programs_own_and_a_started_programs_are_not() {
        let text = "10 execve(\"/bin/kalit\", [\"kalit\"], 0x7 /* 3 vars */) = 0\n\
            10 clone3({flags=CLONE_VM}, 88 <unfinished ...>\n\
            11 pwrite64(7</s/a.sqlite-wal>, \"\"..., 32, 0 <unfinished ...>\n\
            10 <... clone3 resumed> => {parent_tid=[0]}, 88) = 11\n\
            11 <... pwrite64 resumed>) = 32\n\
            11 vfork() = 12\n\
            12 execve(\"/bin/node\", [\"node\"], 0x7 /* 3 vars */) = 0\n\
            12 clone3({flags=CLONE_VM}, 88) = 13\n\
            13 ftruncate(9</s/b.sqlite>, 0) = 0\n\
            10 rename(\"/s/x.tmp\", \"/s/x\") = 0\n\
            10 +++ exited with 0 +++\n";
        assert!(has_ended(text));
        let written = |own, call: &str, path: &str| Written {
            own,
            call: call.to_owned(),
            path: path.to_owned(),
        };
        assert_eq!(
            parse(text),
            [
                written(true, "pwrite64", "/s/a.sqlite-wal"),
                written(false, "ftruncate", "/s/b.sqlite"),
                written(true, "rename", "/s/x.tmp"),
                written(true, "rename", "/s/x"),
            ]
        );
    }
}
