//! Whether the process that a lock names still lives, and what it is called. "Gone" is said only
//! when it is certain; a process of another user, or one that cannot be looked at, lives.
//!
//! Linux answers by signal 0 and `/proc`, which also shows the processes of the containers on this
//! machine, by their numbers in there; what runs outside of a container cannot be seen from inside.
//! Other Unix systems answer by signal 0 alone (no zombies,
//! no start times; OpenClaw writes no start time there either). On Windows no safe question exists
//! among the libraries in use, so every owner lives, and a lock left by a crash is removed by
//! OpenClaw's own rules or by hand.

/// What is known about a lock's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Alive, or not certainly gone.
    Lives,
    /// No such process, not in a container below either, a zombie, or the process id now belongs to
    /// another process.
    Gone,
}

/// Looks the owner up. `starttime` is the one in the lock, if any.
pub(super) fn look_up(pid: u32, starttime: Option<u64>) -> Owner {
    let stat = Stat::of(pid);
    let reused = stat
        .zip(starttime)
        .is_some_and(|(stat, starttime)| stat.starttime != starttime);
    let absent = reused || stat.is_some_and(|stat| stat.zombie) || !signalable(pid);
    if absent && !lives_below(pid, starttime) {
        Owner::Gone
    } else {
        Owner::Lives
    }
}

/// Whether a process of this number lives that is an OpenClaw, as far as its name can be read.
pub(crate) fn openclaw_lives(pid: u32) -> bool {
    look_up(pid, None) == Owner::Lives
        && program_of(pid, None).is_none_or(|name| name.starts_with("openclaw"))
}

/// This process's start in clock ticks since boot; `None` where it cannot be known for certain: a
/// wrong one would make this process look dead.
pub(super) fn own_starttime() -> Option<u64> {
    Stat::of(std::process::id()).map(|stat| stat.starttime)
}

/// Whether a process of a pid namespace below this one, such as a container's, goes by this number
/// in there and started at that time.
fn lives_below(pid: u32, starttime: Option<u64>) -> bool {
    if !procfs_is_ours() {
        return false;
    }
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|here| {
            let status = std::fs::read_to_string(format!("/proc/{here}/status"));
            number_below(&status.unwrap_or_default()) == Some(pid)
        })
        .filter_map(Stat::of)
        .any(|stat| !stat.zombie && starttime.is_none_or(|starttime| stat.starttime == starttime))
}

/// The number of a process in the innermost pid namespace, if that is not the one of the reader.
fn number_below(status: &str) -> Option<u32> {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().skip(1).last()?.parse().ok()
}

/// The program's name for people: "openclaw", "node", "kalit". Arguments are never told, they may
/// hold a secret. `None` when the process of this number did not start at that time.
pub(super) fn program_of(pid: u32, starttime: Option<u64>) -> Option<String> {
    let other = |stat: Stat| starttime.is_some_and(|starttime| stat.starttime != starttime);
    if Stat::of(pid).is_none_or(other) {
        return None;
    }
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    program_name(&name, &command_line)
}

/// Runtimes call their main thread by their own name; the script behind it says more.
fn program_name(name: &[u8], command_line: &[u8]) -> Option<String> {
    let name = printable(name);
    let is_runtime = matches!(name.as_str(), "node" | "MainThread" | "bun" | "deno");
    let mut script = command_line.split(|byte| *byte == 0).take(2);
    let runs_openclaw = script.any(|argument| {
        let mut parts = argument.split(|byte| matches!(byte, b'/' | b'\\'));
        parts.any(|part| part.starts_with(b"openclaw"))
    });
    if is_runtime && runs_openclaw {
        return Some("openclaw".to_owned());
    }
    Some(name).filter(|name| !name.is_empty())
}

fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect()
}

/// The two fields of `/proc/<pid>/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    zombie: bool,
    /// Field 22, in clock ticks since boot.
    starttime: u64,
}

impl Stat {
    /// `None` when there is no such process, or no `/proc` of this process's pid namespace.
    fn of(pid: u32) -> Option<Self> {
        if !procfs_is_ours() {
            return None;
        }
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// The program's name stands in parentheses and may itself contain any character, so fields
    /// are counted from the last closing one.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next()?;
        Some(Self {
            zombie: matches!(state, "Z" | "X"),
            starttime: fields.nth(18)?.parse().ok()?,
        })
    }
}

/// A `/proc` mounted from another pid namespace would answer about other processes.
fn procfs_is_ours() -> bool {
    cfg!(target_os = "linux")
        && std::fs::read_link("/proc/self")
            .is_ok_and(|pid| pid.as_os_str() == std::process::id().to_string().as_str())
}

#[cfg(unix)]
fn signalable(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(not(unix))]
fn signalable(_pid: u32) -> bool {
    true
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Child, Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep")
            .arg("600")
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait_for(what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(10), "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    fn stat_is_parsed_behind_the_last_parenthesis() {
        let line = "42 (a) Z (b) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 2";
        assert_eq!(
            Stat::parse(line),
            Some(Stat {
                zombie: false,
                starttime: 987_654
            })
        );
        assert_eq!(Stat::parse("42 (a) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }

    #[test]
    fn a_running_child_lives_until_it_is_a_zombie_and_is_gone_when_reaped() {
        let mut child = sleeper();
        let pid = child.id();
        let starttime = Stat::of(pid).unwrap().starttime;
        assert_eq!(look_up(pid, None), Owner::Lives);
        assert_eq!(look_up(pid, Some(starttime)), Owner::Lives);
        assert_eq!(look_up(pid, Some(starttime + 1)), Owner::Gone);

        child.kill().unwrap();
        wait_for("the killed child becomes a zombie", || {
            Stat::of(pid).is_some_and(|stat| stat.zombie)
        });
        assert_eq!(look_up(pid, Some(starttime)), Owner::Gone);
        assert_eq!(look_up(pid, None), Owner::Gone);

        child.wait().unwrap();
        assert_eq!(look_up(pid, None), Owner::Gone);
    }

    #[test]
    fn a_process_that_may_not_be_signalled_lives() {
        // Process 1 belongs to root everywhere; for root itself it is merely alive.
        assert_eq!(look_up(1, None), Owner::Lives);
    }

    #[test]
    fn the_number_in_a_container_is_the_innermost() {
        assert_eq!(
            number_below("Name:\tnode\nNSpid:\t4026\t17\t3\nNSpgid:\t4026\n"),
            Some(3)
        );
        assert_eq!(number_below("NSpid:\t4026\n"), None);
        assert_eq!(number_below(""), None);
    }

    #[test]
    fn this_process_knows_its_own_start() {
        let starttime = own_starttime();
        assert!(starttime.is_some_and(|ticks| ticks > 0));
        assert_eq!(look_up(std::process::id(), starttime), Owner::Lives);
    }

    #[test]
    fn programs_are_named_without_their_arguments() {
        let mut child = sleeper();
        wait_for("the child runs sleep", || {
            program_of(child.id(), None).as_deref() == Some("sleep")
        });
        let other_start = Stat::of(child.id()).map(|stat| stat.starttime + 1);
        assert_eq!(program_of(child.id(), other_start), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(program_of(child.id(), None), None);
    }

    #[test]
    fn openclaw_is_named_behind_its_runtime() {
        let script = b"/usr/bin/node\0/usr/lib/node_modules/openclaw/openclaw.mjs\0--token\0FAKE\0";
        let cases: [(&[u8], &[u8], Option<&str>); 6] = [
            (b"node\n", script, Some("openclaw")),
            (b"MainThread\n", script, Some("openclaw")),
            (
                b"openclaw-gatewa\n",
                b"openclaw-gateway\0",
                Some("openclaw-gatewa"),
            ),
            (b"node\n", b"node\0/home/u/.openclaw/plugin.js\0", Some("node")),
            (b"vim\n", b"vim\0openclaw.json\0", Some("vim")),
            (b"\n", b"", None),
        ];
        for (name, command_line, expected) in cases {
            assert_eq!(program_name(name, command_line).as_deref(), expected);
        }
    }

    #[test]
    fn control_characters_do_not_reach_a_message() {
        assert_eq!(printable(b"a\x1b[31mb\n"), "a[31mb");
    }
}
