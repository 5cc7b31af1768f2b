//! Many Kalits and OpenClaws renew one login at once, and the edges of their locks: nobody sends a
//! spent token, nothing is lost, whoever stands still is not run over.
#![cfg(unix)]

mod contention {
    mod clock;
    #[cfg(target_os = "linux")]
    mod namespaces;
    #[cfg(target_os = "linux")]
    mod stopped;
    mod storm;
    mod storms;
    mod verdict;
}
