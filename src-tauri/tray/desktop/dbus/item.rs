//! The icon and its menu as StatusNotifier and dbusmenu want them. `ksni` compares menus: changed
//! texts are told in place, changed lines as a new layout.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kalit_shell::menu::{self, Kind, MenuModel, Picture};
use kalit_shell::words;
use ksni::menu::{CheckmarkItem, MenuItem, StandardItem, SubMenu};
use ksni::{OfflineReason, ToolTip, Tray};
use tokio::sync::mpsc::UnboundedSender;

use super::super::Happened;
use super::ground::Ground;
use super::icon;

/// As dbusmenu marks it.
const MNEMONIC: char = '_';

/// What the icon shows now.
pub struct Item {
    model: MenuModel,
    look: (Picture, Ground),
    icon: Vec<ksni::Icon>,
    /// The check line that was clicked last: its mark stands the other way until it is restored,
    /// because a host may have turned it over by itself and hears only of changes.
    turned: Option<String>,
    events: UnboundedSender<Happened>,
    hosted: Arc<AtomicBool>,
}

impl Item {
    pub fn new(
        model: MenuModel,
        ground: Ground,
        events: UnboundedSender<Happened>,
        hosted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            look: (model.picture, ground),
            icon: icon::pixmap(model.picture, ground),
            turned: None,
            model,
            events,
            hosted,
        }
    }

    /// Shows another model.
    pub fn show(&mut self, model: MenuModel, ground: Ground) {
        let look = (model.picture, ground);
        if look != self.look {
            self.icon = icon::pixmap(model.picture, ground);
            self.look = look;
        }
        self.model = model;
    }

    /// Lets every mark say again what the store says.
    pub fn restore_mark(&mut self) {
        self.turned = None;
    }

    fn lines(&self, items: &[menu::Item]) -> Vec<MenuItem<Self>> {
        items.iter().map(|item| self.line(item)).collect()
    }

    fn line(&self, item: &menu::Item) -> MenuItem<Self> {
        let label = words::menu_label(&item.label, MNEMONIC);
        let id = item.id.clone();
        match &item.kind {
            Kind::Separator => MenuItem::Separator,
            Kind::Line => StandardItem {
                label,
                enabled: false,
                ..StandardItem::default()
            }
            .into(),
            Kind::Verb(_) => StandardItem {
                label,
                activate: Box::new(move |item: &mut Self| item.clicked(&id)),
                ..StandardItem::default()
            }
            .into(),
            Kind::Check { checked, .. } => CheckmarkItem {
                label,
                checked: *checked != (self.turned.as_ref() == Some(&id)),
                activate: Box::new(move |item: &mut Self| {
                    item.turned = Some(id.clone());
                    item.clicked(&id);
                }),
                ..CheckmarkItem::default()
            }
            .into(),
            Kind::Submenu(children) => SubMenu {
                label,
                submenu: self.lines(children),
                ..SubMenu::default()
            }
            .into(),
        }
    }

    fn clicked(&self, id: &str) {
        let _ = self.events.send(Happened::LineClicked(id.to_owned()));
    }

    fn host_changed(&self, hosted: bool) {
        self.hosted.store(hosted, Ordering::SeqCst);
        let _ = self.events.send(Happened::TrayChanged);
    }
}

impl Tray for Item {
    fn id(&self) -> String {
        "kalit".to_owned()
    }

    fn title(&self) -> String {
        "Kalit".to_owned()
    }

    fn icon_pixmap(&self) -> Vec<ksni::Icon> {
        self.icon.clone()
    }

    fn tool_tip(&self) -> ToolTip {
        ToolTip {
            title: "Kalit".to_owned(),
            description: self.model.status.clone(),
            ..ToolTip::default()
        }
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        self.lines(&self.model.items)
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        let _ = self.events.send(Happened::IconClicked);
    }

    fn watcher_online(&self) {
        self.host_changed(true);
    }

    /// The icon stays on the bus: a panel that comes back, or comes late, finds it there.
    fn watcher_offline(&self, _reason: OfflineReason) -> bool {
        self.host_changed(false);
        true
    }
}

#[cfg(test)]
mod tests {
    use kalit_core::ids::{AgentId, ProfileId};
    use kalit_shell::menu::Action;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn item(items: Vec<menu::Item>) -> (Item, UnboundedReceiver<Happened>) {
        let (events, happened) = unbounded_channel();
        let model = MenuModel {
            picture: Picture::Healthy,
            status: "1 account ready".to_owned(),
            items,
        };
        (Item::new(model, Ground::Light, events, Arc::default()), happened)
    }

    fn check(checked: bool) -> menu::Item {
        let action = Action::Use {
            agent: AgentId::main(),
            profile: ProfileId::parse("openai:a_b").unwrap(),
        };
        menu::Item {
            id: "use a_b".to_owned(),
            label: "a_b\tR&D".to_owned(),
            kind: Kind::Check { checked, action },
        }
    }

    fn mark(item: &Item) -> (String, bool) {
        match item.menu().remove(0) {
            MenuItem::Checkmark(line) => (line.label, line.checked),
            _ => panic!("not a check line"),
        }
    }

    #[test]
    fn a_clicked_mark_stands_the_other_way_until_it_is_restored() {
        let (mut item, mut happened) = item(vec![check(true)]);
        assert_eq!(mark(&item), ("a__b R&D".to_owned(), true));
        match item.menu().remove(0) {
            MenuItem::Checkmark(line) => (line.activate)(&mut item),
            _ => panic!("not a check line"),
        }
        assert!(matches!(happened.try_recv(), Ok(Happened::LineClicked(id)) if id == "use a_b"));
        assert!(!mark(&item).1);
        item.restore_mark();
        assert!(mark(&item).1);
    }

    #[test]
    fn a_host_that_goes_away_is_told_and_the_icon_stays() {
        let (item, mut happened) = item(vec![]);
        item.watcher_online();
        assert!(item.hosted.load(Ordering::SeqCst));
        assert!(item.watcher_offline(OfflineReason::No));
        assert!(!item.hosted.load(Ordering::SeqCst));
        assert!(matches!(happened.try_recv(), Ok(Happened::TrayChanged)));
    }
}
