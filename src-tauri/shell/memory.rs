//! Tokens pass through the memory of every program of Kalit's: what is kept of them, and who sees it.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Wipes what is given back: the text of a store, parsed values, answers of a server. No allocation
/// that has ended holds a token, whoever made it.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

/// Keeps the memory of this process, through which tokens go, to itself: no core dump is written, and
/// on Linux no other program of the same person can read it. To be called before anything else; a
/// system that refuses it is no reason not to start.
pub fn keep_private() {
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
