//! Many Kalits and OpenClaws renew one login at once, and the edges of their locks: nobody sends a
//! spent token, nothing is lost, whoever stands still is not run over.
#![cfg(unix)]

mod contention {
    mod storm;
    mod storms;
    mod verdict;
}
