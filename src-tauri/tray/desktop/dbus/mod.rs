//! Linux: the icon and its menu by StatusNotifier and dbusmenu, notifications by the Desktop
//! Notifications Specification, a second start by a bus name. No GUI toolkit, no display.

mod ground;
mod icon;
mod item;
mod notes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kalit_shell::menu::MenuModel;
use kalit_shell::process;
use ksni::TrayMethods;
use tokio::sync::{Mutex, mpsc};
use zbus::fdo::{RequestNameFlags, RequestNameReply};

use self::ground::Grounds;
use self::item::Item;
use self::notes::Notes;
use super::{Happened, Note};
use crate::arguments::Arguments;
use crate::shell;

const PATH: &str = "/uz/kalit/Desktop";
const INTERFACE: &str = "uz.kalit.Desktop";
/// How long another Kalit may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The session bus and what Kalit has there.
pub struct Desktop {
    events: mpsc::UnboundedSender<Happened>,
    /// `None` without a session bus: then there is neither icon nor notification.
    bus: Option<zbus::Connection>,
    item: Mutex<Option<ksni::Handle<Item>>>,
    /// A tray host shows the icon.
    hosted: Arc<AtomicBool>,
    grounds: Grounds,
    notes: Notes,
}

/// Runs the tray, or shows the window of the one that runs already.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (events, happened) = mpsc::unbounded_channel();
        let bus = zbus::Connection::session().await.ok();
        if let Some(bus) = &bus
            && let Some(name) = process::instance("tray", arguments.state_dir.as_deref())
            && !only_one(bus, &name, &events, &arguments).await?
        {
            return Ok(());
        }
        let desktop = Desktop {
            grounds: Grounds::default(),
            notes: Notes::new(events.clone()),
            item: Mutex::new(None),
            hosted: Arc::default(),
            events,
            bus,
        };
        shell::run(arguments, desktop, happened).await;
        Ok(())
    })
}

/// Takes the bus name of this Kalit; if it is taken, tells the owner instead, unless this start is to
/// stay hidden. Whether this process is the one.
async fn only_one(
    bus: &zbus::Connection,
    name: &str,
    events: &mpsc::UnboundedSender<Happened>,
    arguments: &Arguments,
) -> anyhow::Result<bool> {
    // Served before the name is taken: who finds the name can call.
    bus.object_server().at(PATH, Instance(events.clone())).await?;
    let reply = bus
        .request_name_with_flags(name, RequestNameFlags::DoNotQueue.into())
        .await;
    match reply {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(true),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => {
            if !arguments.hidden {
                let open = bus.call_method(Some(name), PATH, Some(INTERFACE), "Open", &());
                tokio::time::timeout(PATIENCE, open).await??;
            }
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a second start calls in the first.
struct Instance(mpsc::UnboundedSender<Happened>);

#[zbus::interface(name = "uz.kalit.Desktop")]
impl Instance {
    fn open(&self) {
        let _ = self.0.send(Happened::StartedAgain);
    }
}

impl Desktop {
    /// Whether a tray host shows the icon.
    pub fn has_tray(&self) -> bool {
        self.hosted.load(Ordering::SeqCst)
    }

    /// Shows `model`; puts the icon on the bus if it is not there yet. A tray host that comes later
    /// finds it there.
    pub async fn draw(&self, model: MenuModel) {
        let ground = self.grounds.ground(self.bus.as_ref()).await;
        let mut item = self.item.lock().await;
        if let Some(item) = item.as_ref()
            && item
                .update(|item| item.show(model.clone(), ground))
                .await
                .is_some()
        {
            return;
        }
        let new = Item::new(model, ground, self.events.clone(), Arc::clone(&self.hosted));
        self.hosted.store(true, Ordering::SeqCst);
        *item = new.assume_sni_available(true).spawn().await.ok();
        if item.is_none() {
            self.hosted.store(false, Ordering::SeqCst);
        }
    }

    /// Undoes the mark that some hosts set by themselves on a clicked line: only the store decides
    /// what is in use.
    pub async fn restore_mark(&self, _line: &str) {
        if let Some(item) = self.item.lock().await.as_ref() {
            item.update(Item::restore_mark).await;
        }
    }

    /// Shows a notification; its number, if the desktop has taken it.
    pub async fn notify(&self, note: Note<'_>) -> Option<u32> {
        self.notes.show(self.bus.as_ref()?, note).await.ok()
    }

    /// Takes a notification off the screen.
    pub async fn withdraw(&self, id: u32) {
        if let Some(bus) = &self.bus {
            self.notes.withdraw(bus, id).await;
        }
    }
}
