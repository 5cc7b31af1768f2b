//! The steps by which a program changes files or speaks to the network, seen and stopped from outside
//! the unmodified program: `harness/steps.c`, compiled once and preloaded. What the program starts is
//! left alone.

use std::ffi::OsString;
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
    /// From the first of these steps to the last.
    FailBetween(usize, usize, Errno),
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
        let library = preloaded("steps")?;
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
                variables.push(("STEPS_FAIL", format!("{number}:{}-{}", errno.number(), i32::MAX)));
            }
            Plan::FailBetween(first, last, errno) => {
                variables.push(("STEPS_FAIL", format!("{first}:{}-{last}", errno.number())));
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

/// Every call by which a program changes a file or speaks to the network, as `strace` names it.
pub const CALLS: &str = "open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,\
    fallocate,fsync,fdatasync,sync_file_range,msync,rename,renameat,renameat2,unlink,unlinkat,link,linkat,\
    mkdir,mkdirat,mknod,mknodat,chmod,fchmod,fchmodat,?fchmodat2,chown,fchown,lchown,fchownat,utimensat,\
    setxattr,fsetxattr,symlink,symlinkat,rmdir,flock,copy_file_range,sendfile,splice,io_uring_setup,\
    connect,sendto,sendmsg,sendmmsg,recvfrom,recvmsg,recvmmsg,read,readv,shutdown";

/// One call as `strace` saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Traced {
    /// By the name that a [`Step`] has.
    pub call: String,
    pub path: String,
    /// A file without a name.
    pub is_nameless: bool,
}

/// The arguments with which `strace -f` writes what [`read_trace`] reads.
pub fn strace(trace: &Path, variables: &[(&'static str, String)]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["-DD", "-f", "-yy", "-q", "-s", "0", "-e"].map(Into::into).into();
    arguments.push(format!("trace={CALLS}").into());
    arguments.extend(["-o".into(), trace.into()]);
    for (name, value) in variables {
        arguments.extend(["-E".into(), format!("{name}={value}").into()]);
    }
    arguments
}

/// What changed files below `root` or spoke to the network, in the order of its beginning.
pub fn read_trace(trace: &Path, root: &Path) -> Result<Vec<Traced>> {
    let text = std::fs::read_to_string(trace).with_context(|| trace.display().to_string())?;
    let root = format!("{}/", root.display());
    Ok(text.lines().filter_map(|line| traced(line, &root)).collect())
}

fn traced(line: &str, root: &str) -> Option<Traced> {
    let (_, line) = line.split_once(' ')?;
    let (call, arguments) = line.trim_start().split_once('(')?;
    if call.starts_with('<') || call.starts_with('+') || call.starts_with('-') {
        return None;
    }
    let quoted = || arguments.split('"').skip(1).step_by(2);
    let of_file = || arguments.split_once('<')?.1.split_once('>').map(|(path, _)| path);
    let is_network =
        arguments.split(',').next()?.contains("<TCP") || arguments.split(',').next()?.contains("<UDP");
    let (call, path) = match call {
        "open" | "openat" | "openat2" | "creat" => {
            let makes = ["O_CREAT", "O_TRUNC", "O_TMPFILE"]
                .iter()
                .any(|flag| arguments.contains(flag));
            ("open", makes.then(|| quoted().next())??)
        }
        "rename" | "renameat" | "renameat2" => ("rename", quoted().last()?),
        "link" | "linkat" => ("link", quoted().last()?),
        "unlink" | "unlinkat" => ("unlink", quoted().next()?),
        "mkdir" | "mkdirat" => ("mkdir", quoted().next()?),
        "chmod" | "fchmodat" | "fchmodat2" => ("chmod", quoted().next()?),
        "rmdir" | "truncate" | "mknod" | "mknodat" | "setxattr" | "chown" | "lchown" => {
            (call, quoted().next()?)
        }
        "symlink" | "symlinkat" | "utimensat" | "fchownat" => (call, quoted().last()?),
        "pwrite64" | "pwritev" | "pwritev2" => ("pwrite", of_file()?),
        "sendto" | "sendmsg" | "sendmmsg" if is_network => ("send", "socket"),
        "recvfrom" | "recvmsg" | "recvmmsg" | "read" | "readv" if is_network => ("recv", "socket"),
        "connect" if is_network => ("connect", "socket"),
        "writev" | "write" | "shutdown" if is_network => (call, "socket"),
        "sendto" | "sendmsg" | "sendmmsg" | "recvfrom" | "recvmsg" | "recvmmsg" | "read" | "readv"
        | "connect" | "shutdown" => return None,
        other => (other, of_file()?),
    };
    let path = match path {
        "socket" => path,
        path => path.strip_prefix(root)?,
    };
    Some(Traced {
        is_nameless: arguments.contains("O_TMPFILE"),
        call: call.to_owned(),
        path: path.trim_end_matches(" (deleted)").to_owned(),
    })
}

/// The library made of `harness/NAME.c`, compiled unless it is there already, to be preloaded.
pub fn preloaded(name: &str) -> Result<PathBuf> {
    let source = harness(&format!("{name}.c"));
    let dir = build_dir()?;
    let library = dir.join(format!("libkalit_{name}.so"));
    let changed = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    if changed(&library) < changed(&source) {
        // Tests that run beside each other see the old library or the new one.
        let draft = tempfile::Builder::new().suffix(".so").tempfile_in(&dir)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        run(compiler.arg(draft.path()).arg(&source).arg("-ldl"))?;
        draft.persist(&library)?;
    }
    Ok(library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traces_lines_become_steps() {
        let lines = [
            "7 openat(AT_FDCWD</h>, \"/h/a\", O_RDONLY|O_CLOEXEC) = 3</h/a>",
            "7 openat(AT_FDCWD</h>, \"/h\", O_WRONLY|O_CLOEXEC|O_TMPFILE, 0666) = 4",
            "7 openat(AT_FDCWD</h>, \"/h/d\", O_WRONLY|O_TMPFILE, 0666 <unfinished ...>",
            "7 <... openat resumed>) = 4",
            "8 pwrite64(9</h/a.sqlite-wal>, \"\"..., 32, 0) = 32",
            "8 write(1</x/out>, \"\"..., 32) = 32",
            "8 linkat(AT_FDCWD</h>, \"/proc/self/fd/4\", AT_FDCWD</h>, \"/h/d/x.lock\", AT_SYMLINK_FOLLOW) = 0",
            "8 recvfrom(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"\"..., 8192, 0, NULL, NULL) = 5",
            "8 read(5<pipe:[3]>, \"\"..., 1) = 1",
            "7 +++ exited with 0 +++",
        ];
        let of = |call: &str, path: &str, is_nameless| Traced {
            call: call.to_owned(),
            path: path.to_owned(),
            is_nameless,
        };
        let seen: Vec<Traced> = lines.iter().filter_map(|line| traced(line, "/h/")).collect();
        assert_eq!(
            seen,
            [
                of("open", "d", true),
                of("pwrite", "a.sqlite-wal", false),
                of("link", "d/x.lock", false),
                of("recv", "socket", false),
            ]
        );
    }
}
