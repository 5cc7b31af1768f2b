//! The command line against a throw-away home: arguments and stdin in; status, stdout and stderr
//! out. After every run it is checked that no secret was printed and that no `auth.json` changed.
#![cfg(unix)]

mod cli {
    mod answers;
    mod bad_config;
    mod bad_store;
    mod bed;
    mod busy_lock;
    mod completions;
    mod documents;
    mod endpoint;
    mod era;
    #[cfg(target_os = "linux")]
    mod progress;
    mod settings;
    mod sign_in;
    mod signals;
    mod verbs;
}
