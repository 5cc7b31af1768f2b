//! `kalit-window`: shows the board and signs in. It ends when it is closed; a sign-in whose code has
//! arrived is finished first, out of sight. What happens to credentials is decided in `kalit-core`.

// A release opens no console of its own.
#![cfg_attr(all(windows, not(debug_assertions)), windows_subsystem = "windows")]

mod arguments;
mod commands;
#[cfg(test)]
mod page;
#[cfg(test)]
mod parity;
mod session;
mod sign_in;
mod view;

use std::ffi::OsString;
use std::io::{BufRead, Write};
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Parser;
use kalit_shell::route::{CLOSED, QUIT, Route, SHOWN};
use kalit_shell::{memory, process};
use tauri::{
    AppHandle, Context, Emitter, Manager, RunEvent, Url, WebviewUrl, WebviewWindow, WebviewWindowBuilder,
    WindowEvent, Wry, async_runtime,
};

use crate::arguments::Arguments;
use crate::session::Session;
use crate::view::ROUTE;

const LABEL: &str = "main";

/// Runs until the window is closed and nothing is under way.
fn main() -> anyhow::Result<()> {
    memory::keep_private();
    let arguments = Arguments::parse();
    let attached = arguments.attached;
    let mut context: Context<Wry> = tauri::generate_context!("tauri.conf.json");
    // managed before anything can call back
    let mut builder = tauri::Builder::default().manage(Session::new(arguments.state_dir.clone()));
    // A second start passes its route to this window: to be registered before all other plugins.
    if let Some(name) = process::instance("window", arguments.state_dir.as_deref()) {
        let passed = tauri_plugin_single_instance::Builder::new()
            .callback(|app, arguments, _working_dir| second_start(app, arguments));
        #[cfg(target_os = "linux")]
        let passed = passed.dbus_id(name.clone());
        context.config_mut().identifier = name;
        builder = builder.plugin(passed.build());
    }
    let app = builder
        .plugin(tauri_plugin_notification::init())
        .plugin(tauri_plugin_shell::init())
        .invoke_handler(commands::handler())
        .setup(move |app| {
            open(app.handle(), &arguments.route)?;
            async_runtime::spawn(view::follow(app.handle().clone()));
            async_runtime::spawn(close_when_terminated(app.handle().clone()));
            if attached {
                let handle = app.handle().clone();
                std::thread::Builder::new()
                    .name("tray".to_owned())
                    .spawn(move || obey(&handle))?;
            }
            Ok(())
        })
        .build(context);
    #[cfg(unix)]
    if let Err(error) = &app
        && met_one_that_ended(error)
    {
        return Err(again(std::env::args_os().skip(1)).exec().into());
    }
    let app = app?;
    app.run(move |app, event| match event {
        RunEvent::WindowEvent {
            event: WindowEvent::CloseRequested { api, .. },
            ..
        } => {
            api.prevent_close();
            if attached {
                let _ = writeln!(std::io::stdout(), "{CLOSED}");
            }
            close(app);
        }
        RunEvent::ExitRequested { code: None, api, .. } => api.prevent_exit(),
        _ => {}
    });
    Ok(())
}

fn open(app: &AppHandle, route: &Route) -> tauri::Result<WebviewWindow> {
    let address = WebviewUrl::App(format!("index.html#/{route}").into());
    WebviewWindowBuilder::new(app, LABEL, address)
        .title("Kalit")
        .inner_size(760.0, 560.0)
        .min_inner_size(480.0, 400.0)
        // The tray's "Copy /model …" copies without a press in the page.
        .enable_clipboard_access()
        // Nothing but Kalit's own page is ever shown where Kalit's commands can be called.
        .on_navigation(is_own_page)
        // What the web view keeps stays in Kalit's own directory.
        .data_directory(process::environment().data_dir().join("window"))
        .build()
}

/// The embedded page under each system's spelling.
fn is_own_page(url: &Url) -> bool {
    matches!(
        (url.scheme(), url.host_str()),
        ("tauri", Some("localhost")) | ("http" | "https", Some("tauri.localhost"))
    ) && url.port().is_none()
}

/// Goes to `route` in the open window, which may have been hidden for its end. The page fetches
/// the route: now, or once it listens. Whether there is a window still.
fn go(app: &AppHandle, route: Route) -> bool {
    let session = app.state::<Session>();
    if !session.stay() {
        return false;
    }
    session.want(route);
    if let Some(window) = app.get_webview_window(LABEL) {
        let _ = window.show();
        let _ = window.unminimize();
        let _ = window.set_focus();
    }
    let _ = app.emit(ROUTE, ());
    true
}

/// A second start passes its route to this window, or to a new one if this one ends right now.
fn second_start(app: &AppHandle, arguments: Vec<String>) {
    if let Ok(parsed) = Arguments::try_parse_from(&arguments)
        && !go(app, parsed.route)
    {
        let _ = again(arguments.into_iter().skip(1).map(OsString::from)).spawn();
    }
}

/// This program with these arguments.
fn again(arguments: impl Iterator<Item = OsString>) -> Command {
    let program = std::env::current_exe().unwrap_or_else(|_| "kalit-window".into());
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Whether another window held the name and ended before it took the route: nobody shows it now.
#[cfg(unix)]
fn met_one_that_ended(error: &tauri::Error) -> bool {
    const NOBODY: [&str; 3] = ["Error.ServiceUnknown", "Error.NameHasNoOwner", "Error.NoReply"];
    matches!(error, tauri::Error::PluginInitialization(plugin, why)
        if plugin == "single-instance" && NOBODY.iter().any(|name| why.contains(name)))
}

/// Reads what the tray asks for: a route a line, answered with [`SHOWN`], or [`QUIT`]. A tray that is
/// gone asks nothing.
fn obey(app: &AppHandle) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match Route::parse(&line) {
            _ if line == QUIT => close(app),
            Some(route) => show(app, route),
            None => {}
        }
    }
}

/// Goes to `route` and says so; an end of the tray needs no answer.
fn show(app: &AppHandle, route: Route) {
    if go(app, route) {
        let _ = writeln!(std::io::stdout(), "{SHOWN}");
    }
}

async fn close_when_terminated(app: AppHandle) {
    process::terminated().await;
    close(&app);
}

/// Hides the window at once, cancels a sign-in that still waits for its code, and ends the process
/// when the rest is done, unless the window is asked for again until then.
fn close(app: &AppHandle) {
    if let Some(window) = app.get_webview_window(LABEL) {
        let _ = window.hide();
    }
    let session = app.state::<Session>();
    session.leave();
    session.sign_in.cancel();
    let app = app.clone();
    async_runtime::spawn(async move {
        let session = app.state::<Session>();
        session.in_flight.ended().await;
        if session.end() {
            app.exit(0);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn only_a_window_that_ended_meanwhile_makes_a_start_begin_again() {
        let failed = |plugin: &str, why: &str| {
            met_one_that_ended(&tauri::Error::PluginInitialization(
                plugin.to_owned(),
                format!("failed to forward arguments to the running instance: org.freedesktop.DBus.{why}: x"),
            ))
        };
        assert!(failed("single-instance", "Error.ServiceUnknown"));
        assert!(failed("single-instance", "Error.NoReply"));
        assert!(!failed("single-instance", "Error.AccessDenied"));
        assert!(!failed("shell", "Error.ServiceUnknown"));
    }

    #[test]
    fn no_page_but_the_embedded_one_is_shown() {
        let own = |text: &str| is_own_page(&Url::parse(text).unwrap());
        for page in [
            "tauri://localhost/index.html#/board",
            "http://tauri.localhost/",
            "https://tauri.localhost/",
        ] {
            assert!(own(page), "{page}");
        }
        for page in [
            "https://example.com/",
            "http://localhost/",
            "http://127.0.0.1:8080/index.html",
            "http://tauri.localhost:8080/",
            "http://tauri.localhost.example.com/",
            "tauri://example.com/",
            "file:///etc/passwd",
            "data:text/html,x",
            "about:blank",
        ] {
            assert!(!own(page), "{page}");
        }
    }
}
