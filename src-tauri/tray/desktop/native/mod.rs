//! macOS and Windows: icon, menu, notifications and the second start by Tauri. The web view is a
//! part of those systems and is loaded only when one is opened, which this program never does.

mod icon;
mod tray;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kalit_core::autostart::HIDDEN;
use kalit_shell::menu::MenuModel;
use kalit_shell::{alerts, process};
use tauri::tray::{MouseButton, MouseButtonState, TrayIconEvent};
use tauri::{AppHandle, Context, RunEvent, Wry, async_runtime};
use tauri_plugin_notification::{Action, ActionType, NotificationExt};
use tokio::sync::{mpsc, oneshot};

use self::tray::Tray;
use super::{Happened, Note};
use crate::arguments::Arguments;
use crate::shell;

/// The running app and its icon.
pub struct Desktop {
    app: AppHandle,
    tray: Arc<Mutex<Option<Tray>>>,
    last_note: AtomicU32,
}

/// Runs the tray, or shows the window of the one that runs already.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut context: Context<Wry> = tauri::generate_context!("tauri.conf.json");
    let (events, happened) = mpsc::unbounded_channel();
    let mut builder = tauri::Builder::default();
    if let Some(name) = process::instance("tray", arguments.state_dir.as_deref()) {
        context.config_mut().identifier = name;
        let events = events.clone();
        builder = builder.plugin(tauri_plugin_single_instance::init(move |_, arguments, _| {
            if !arguments.iter().any(|argument| argument == HIDDEN) {
                let _ = events.send(Happened::StartedAgain);
            }
        }));
    }
    let (lines, icons, buttons) = (events.clone(), events.clone(), events);
    let app = builder
        .plugin(tauri_plugin_notification::init())
        .on_menu_event(move |_, event| {
            let _ = lines.send(Happened::LineClicked(event.id().as_ref().to_owned()));
        })
        .on_tray_icon_event(move |_, event| {
            if let TrayIconEvent::Click {
                button: MouseButton::Left,
                button_state: MouseButtonState::Up,
                ..
            } = event
            {
                let _ = icons.send(Happened::IconClicked);
            }
        })
        .setup(move |app| {
            // Its place is the menu bar, not the Dock.
            #[cfg(target_os = "macos")]
            app.set_activation_policy(tauri::ActivationPolicy::Accessory);
            let handle = app.handle().clone();
            handle.notification().on_action(move |performed| {
                let number = performed.notification().map(|notification| notification.id());
                if let Some(notification) = number.and_then(|id| u32::try_from(id).ok()) {
                    let button = performed.action_id().to_owned();
                    let _ = buttons.send(Happened::ButtonPressed { notification, button });
                }
            })?;
            let desktop = Desktop {
                app: handle.clone(),
                tray: Arc::default(),
                last_note: AtomicU32::new(0),
            };
            async_runtime::spawn(async move {
                shell::run(arguments, desktop, happened).await;
                handle.exit(0);
            });
            Ok(())
        })
        .build(context)?;
    app.run(|_, event| {
        // Without a window the program would end; with a code somebody asked for it.
        if let RunEvent::ExitRequested { code: None, api, .. } = event {
            api.prevent_exit();
        }
    });
    Ok(())
}

impl Desktop {
    /// These systems always have a place for the icon.
    pub fn has_tray(&self) -> bool {
        true
    }

    /// Shows `model`; registers the icon if there is none yet.
    pub async fn draw(&self, model: MenuModel) {
        self.on_main_thread(move |app, tray| match tray {
            Some(shown) => shown.apply(app, model),
            None => Tray::new(app, model).map(|new| *tray = Some(new)),
        })
        .await;
    }

    /// Undoes the mark that the system sets by itself on a clicked line: only the store decides
    /// what is in use.
    pub async fn restore_mark(&self, line: &str) {
        let line = line.to_owned();
        self.on_main_thread(move |_, tray| tray.as_ref().map_or(Ok(()), |tray| tray.restore_mark(&line)))
            .await;
    }

    /// Shows a notification; its number, if the system has taken it.
    pub async fn notify(&self, note: Note<'_>) -> Option<u32> {
        let id = self.last_note.fetch_add(1, Ordering::SeqCst) + 1;
        let notifications = self.app.notification();
        let mut notification = notifications
            .builder()
            .id(i32::try_from(id).ok()?)
            .title(note.title)
            .body(alerts::body_markup(note.body));
        if !note.buttons.is_empty() {
            let kind: Vec<&str> = note.buttons.iter().map(|button| button.id).collect();
            let kind = kind.join(" ");
            let buttons = note
                .buttons
                .iter()
                .map(|button| Action::builder(button.id, &button.label).build());
            let kinds = vec![ActionType::builder(&kind).actions(buttons.collect()).build()];
            notifications.register_action_types(kinds).ok()?;
            notification = notification.action_type_id(kind);
        }
        notification.show().ok().map(|()| id)
    }

    /// Takes a notification off the screen, where the system can.
    pub async fn withdraw(&self, id: u32) {
        if let Ok(id) = i32::try_from(id) {
            let _ = self.app.notification().remove_active(vec![id]);
        }
    }

    /// Menus belong to the main thread. Waits until it is done.
    async fn on_main_thread(
        &self,
        work: impl FnOnce(&AppHandle, &mut Option<Tray>) -> tauri::Result<()> + Send + 'static,
    ) {
        let (done, waiting) = oneshot::channel();
        let (app, tray) = (self.app.clone(), Arc::clone(&self.tray));
        let queued = self.app.run_on_main_thread(move || {
            let mut tray = tray.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = done.send(work(&app, &mut tray));
        });
        // What fails here is drawn anew with the next model.
        if queued.is_ok() {
            let _ = waiting.await;
        }
    }
}
