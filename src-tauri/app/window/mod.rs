//! The window role: a process of its own that shows the board and signs in. It ends when it is
//! closed; a sign-in whose code has arrived is finished first, out of sight.

mod commands;
#[cfg(test)]
mod page;
mod session;
mod sign_in;
mod view;

use std::io::BufRead;

use tauri::{
    AppHandle, Emitter, Manager, RunEvent, WebviewUrl, WebviewWindow, WebviewWindowBuilder, WindowEvent,
    async_runtime,
};

use self::session::Session;
use self::view::ROUTE;
use crate::arguments::{Arguments, Role};
use crate::route::Route;
use crate::setup;
use crate::tray::window_process::QUIT;

const LABEL: &str = "main";

/// Runs until the window is closed and nothing is under way.
pub fn run(arguments: Arguments, route: Route) -> anyhow::Result<()> {
    let context = setup::context("window", &arguments);
    // managed before anything can call back
    let mut builder = tauri::Builder::default().manage(Session::new(arguments.clone()));
    if let Some(plugin) = setup::single_instance(&context, second_start) {
        builder = builder.plugin(plugin);
    }
    let app = builder
        .invoke_handler(commands::handler())
        .setup(move |app| {
            open(app.handle(), &route)?;
            async_runtime::spawn(view::follow(app.handle().clone()));
            async_runtime::spawn(close_when_terminated(app.handle().clone()));
            if arguments.attached {
                let handle = app.handle().clone();
                std::thread::Builder::new()
                    .name("tray".to_owned())
                    .spawn(move || obey(&handle))?;
            }
            Ok(())
        })
        .build(context)?;
    app.run(|app, event| match event {
        RunEvent::WindowEvent {
            event: WindowEvent::CloseRequested { api, .. },
            ..
        } => {
            api.prevent_close();
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
        // What the web view keeps stays in Kalit's own directory.
        .data_directory(setup::environment().data_dir().join("window"))
        .build()
}

/// Goes to `route` in the open window, which may have been hidden for its end. The page fetches
/// the route: now, or once it listens.
fn go(app: &AppHandle, route: Route) {
    let session = app.state::<Session>();
    session.stay();
    session.want(route);
    if let Some(window) = app.get_webview_window(LABEL) {
        let _ = window.show();
        let _ = window.unminimize();
        let _ = window.set_focus();
    }
    let _ = app.emit(ROUTE, ());
}

/// A second start passes its route to this window.
fn second_start(app: &AppHandle, arguments: Vec<String>) {
    use clap::Parser;

    let role = Arguments::try_parse_from(arguments)
        .ok()
        .and_then(|arguments| arguments.role().ok());
    if let Some(Role::Window(route)) = role {
        go(app, route);
    }
}

/// Reads what the tray asks for: a route a line, or [`QUIT`]. A tray that is gone asks nothing.
fn obey(app: &AppHandle) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match Route::parse(&line) {
            _ if line == QUIT => close(app),
            Some(route) => go(app, route),
            None => {}
        }
    }
}

async fn close_when_terminated(app: AppHandle) {
    setup::terminated().await;
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
        if session.is_leaving() {
            app.exit(0);
        }
    });
}
