//! No token leaks: recognisable tokens go through every verb and every failure, and through a whole
//! session of the desktop; then everything that came out is searched for them in every form
//! (`kalit_journeys::canary`). What may hold them: the store, its temporary file while it lives, and a
//! journal until the next start has merged it.
#![cfg(target_os = "linux")]

mod canaries {
    mod cli;
    mod databases;
    mod desktop;
    mod dumps;
    mod looking;
    mod sqlite_cli;
    mod sqlite_window;
    mod verbs;

    /// Everything that anybody may turn on to see more.
    const LOUD: [(&str, &str); 5] = [
        ("RUST_LOG", "trace"),
        ("RUST_BACKTRACE", "full"),
        ("G_MESSAGES_DEBUG", "all"),
        ("WEBKIT_DEBUG", "all"),
        ("SOUP_DEBUG", "all"),
    ];
}
