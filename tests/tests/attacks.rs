//! Local attackers, end to end: what they can try against the built programs is tried, refused and
//! counted, and what the person wanted still works afterwards.
#![cfg(unix)]

mod attacks {
    mod callback;
    mod files;
    mod manifests;
    mod programs;
    mod tally;
    #[cfg(target_os = "linux")]
    mod window;
}
