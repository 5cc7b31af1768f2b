//! Tokens pass through the memory of every program of Kalit's: what is kept of them, and who sees it.

use std::alloc::System;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::PanicHookInfo;

use zeroizing_alloc::ZeroAlloc;

/// Wipes what is given back: the text of a store, parsed values, answers of a server, and what SQLite
/// read. No allocation that has ended holds a token, whoever made it.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

/// Keeps the memory of this process, through which tokens go, to itself: SQLite's is wiped, too, no
/// panic tells what it was about, no core dump is written, and on Linux no other program of the same
/// person can read it. To be called before anything else; a system that refuses it is no reason not to
/// start.
pub fn keep_private() {
    let wiped = kalit_sqlite_memory::from_the_programs_allocator();
    debug_assert!(wiped, "a database was opened before");
    std::panic::set_hook(Box::new(tell_of_panic));
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

        // Programs that are started from here, such as the browser, may raise it again.
        let none = Rlimit {
            current: Some(0),
            ..getrlimit(Resource::Core)
        };
        let _ = setrlimit(Resource::Core, none);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// Says where it was. A message that was made at run time may quote what it was about, such as a text
/// that was cut within a character; only one that stands in the program is told.
fn tell_of_panic(panic: &PanicHookInfo) {
    let message = panic.payload().downcast_ref::<&'static str>();
    let message = message.unwrap_or(&"its message may hold a secret and is not shown");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "internal error at {place}: {message}");
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        let _ = writeln!(stderr, "{trace}");
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    /// Which panic the test in a process of its own is to make.
    const WHICH: &str = "KALIT_TEST_PANIC_OF";
    const SECRET: &str = "\u{e9}zQ7-canary-of-a-panic";

    fn panics(which: &str) -> Output {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", "memory::tests::a_panic", "--ignored", "--nocapture"])
            .env(WHICH, which)
            .env("RUST_BACKTRACE", "full");
        again.output().unwrap()
    }

    #[test]
    #[ignore = "started by the next test"]
    fn a_panic() {
        let which = std::env::var(WHICH).unwrap_or_default();
        let secret = SECRET.to_owned();
        if which != "cut, without a hook" {
            super::keep_private();
        }
        match which.as_str() {
            "of the program" => panic!("a sentence of the program"),
            "formatted" => panic!("not {secret}"),
            "unwrapped" => drop(serde_json::from_str::<u8>(&format!("{secret:?}")).unwrap()),
            // Within the first character.
            _ => assert_ne!(&secret[1..], ""),
        }
    }

    #[test]
    fn a_panic_tells_its_place_and_no_secret() {
        let secret = SECRET.trim_start_matches('\u{e9}');
        let control = panics("cut, without a hook");
        let told = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told(&control).contains(secret), "{control:?}");
        for which in ["formatted", "unwrapped", "cut"] {
            let output = panics(which);
            let told = told(&output);
            assert!(!output.status.success());
            assert!(
                told.contains("internal error at ") && told.contains("memory.rs:"),
                "{which}: {told}"
            );
            let everything = format!("{told}{}", String::from_utf8_lossy(&output.stdout));
            assert!(!everything.contains(secret), "{which}: {everything}");
            assert!(told.contains("a_panic"), "no backtrace: {told}");
        }
        assert!(told(&panics("of the program")).contains("a sentence of the program"));
    }
}
