//! A StatusNotifier client: what a panel does with a tray item, over the session bus. It lists the
//! registered items, reads their properties and menus (com.canonical.dbusmenu), and clicks.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use zbus::Connection;
use zbus::zvariant::{OwnedValue, Structure, Value};

use crate::wait::until;

const WATCHER: &str = "org.kde.StatusNotifierWatcher";
const ITEM: &str = "org.kde.StatusNotifierItem";
const MENU: &str = "com.canonical.dbusmenu";

/// A menu line as dbusmenu sends it: id, properties, children.
type Node = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);

/// One item in the tray.
#[derive(Clone, Debug)]
pub struct TrayItem {
    bus: Connection,
    /// The unique or well-known bus name of its owner.
    pub owner: String,
    path: String,
}

/// One line of a menu. Labels come without the mnemonic underscores.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MenuItem {
    pub id: i32,
    pub label: String,
    pub enabled: bool,
    pub visible: bool,
    /// `None` when the item is no check box or radio button.
    pub checked: Option<bool>,
    pub separator: bool,
    pub children: Vec<MenuItem>,
}

/// Every registered tray item.
pub async fn items(bus: &Connection) -> Result<Vec<TrayItem>> {
    let registered = property(
        bus,
        WATCHER,
        "/StatusNotifierWatcher",
        WATCHER,
        "RegisteredStatusNotifierItems",
    )
    .await?;
    let names = Vec::<String>::try_from(registered).context("RegisteredStatusNotifierItems")?;
    Ok(names
        .into_iter()
        .map(|name| {
            // "NAME/path", or a bare name whose item has the default path
            let (owner, path) = match name.split_once('/') {
                Some((owner, path)) => (owner.to_owned(), format!("/{path}")),
                None => (name, "/StatusNotifierItem".to_owned()),
            };
            TrayItem {
                bus: bus.clone(),
                owner,
                path,
            }
        })
        .collect())
}

/// Waits for an item whose owner is the process `pid` (any process when `None`).
pub async fn registered(bus: &Connection, pid: Option<u32>, limit: Duration) -> Result<TrayItem> {
    until("a tray item to be registered", limit, || async {
        for item in items(bus).await.ok()? {
            if pid.is_none() || item.pid().await.ok() == pid {
                return Some(item);
            }
        }
        None
    })
    .await
}

impl TrayItem {
    /// The process that owns the item.
    pub async fn pid(&self) -> Result<u32> {
        let bus = zbus::fdo::DBusProxy::new(&self.bus).await?;
        Ok(bus
            .get_connection_unix_process_id(self.owner.as_str().try_into()?)
            .await?)
    }

    /// All properties.
    pub async fn properties(&self) -> Result<HashMap<String, OwnedValue>> {
        let reply = self
            .bus
            .call_method(
                Some(self.owner.as_str()),
                self.path.as_str(),
                Some("org.freedesktop.DBus.Properties"),
                "GetAll",
                &ITEM,
            )
            .await?;
        Ok(reply.body().deserialize()?)
    }

    /// A text property such as `Title`, `Status` or `IconName`.
    pub async fn text(&self, name: &str) -> Result<String> {
        let value = property(&self.bus, &self.owner, &self.path, ITEM, name).await?;
        String::try_from(value).with_context(|| name.to_owned())
    }

    /// Title and text of the tooltip.
    pub async fn tooltip(&self) -> Result<(String, String)> {
        let value = property(&self.bus, &self.owner, &self.path, ITEM, "ToolTip").await?;
        let parts = Structure::try_from(value).context("ToolTip")?.into_fields();
        let text = |index: usize| match parts.get(index) {
            Some(Value::Str(text)) => text.as_str().to_owned(),
            _ => String::new(),
        };
        Ok((text(2), text(3)))
    }

    /// What a left click does.
    pub async fn activate(&self) -> Result<()> {
        self.bus
            .call_method(
                Some(self.owner.as_str()),
                self.path.as_str(),
                Some(ITEM),
                "Activate",
                &(10_i32, 10_i32),
            )
            .await?;
        Ok(())
    }

    /// The menu as it is now; the returned item is the root, whose children are the lines.
    pub async fn menu(&self) -> Result<MenuItem> {
        let path = self.menu_path().await?;
        let owner = Some(self.owner.as_str());
        // panels announce that they are about to show; some menus are filled only then
        let _ = self
            .bus
            .call_method(owner, path.as_str(), Some(MENU), "AboutToShow", &0_i32)
            .await;
        let reply = self
            .bus
            .call_method(
                owner,
                path.as_str(),
                Some(MENU),
                "GetLayout",
                &(0_i32, -1_i32, Vec::<String>::new()),
            )
            .await?;
        let (_, root): (u32, Node) = reply.body().deserialize()?;
        MenuItem::parse(root)
    }

    /// The number of the menu's layout: another one whenever lines come or go. Texts and marks that change
    /// in place leave it.
    pub async fn layout(&self) -> Result<u32> {
        let path = self.menu_path().await?;
        let reply = self
            .bus
            .call_method(
                Some(self.owner.as_str()),
                path.as_str(),
                Some(MENU),
                "GetLayout",
                &(0_i32, 0_i32, Vec::<String>::new()),
            )
            .await?;
        let (revision, _): (u32, Node) = reply.body().deserialize()?;
        Ok(revision)
    }

    /// Waits until the menu has a line that contains `label` and returns the menu.
    pub async fn menu_with(&self, label: &str, limit: Duration) -> Result<MenuItem> {
        let found = until(&format!("{label:?} in the tray's menu"), limit, || async {
            let menu = self.menu().await.ok()?;
            menu.contains(label).then_some(menu)
        })
        .await;
        match found {
            Ok(menu) => Ok(menu),
            Err(error) => Err(error.context(format!("the menu is:\n{}", self.menu().await?))),
        }
    }

    /// Clicks the line at `labels`, a path through submenus. Ids change whenever the menu is built
    /// anew, so the line is looked up each time.
    pub async fn click(&self, labels: &[&str]) -> Result<()> {
        let menu = self.menu().await?;
        let item = menu
            .at(labels)
            .with_context(|| format!("no line {labels:?} in the menu:\n{menu}"))?;
        if !item.enabled || !item.visible {
            bail!("the line {labels:?} cannot be clicked:\n{menu}");
        }
        let path = self.menu_path().await?;
        let event = (item.id, "clicked", Value::from(0_i32), 0_u32);
        self.bus
            .call_method(
                Some(self.owner.as_str()),
                path.as_str(),
                Some(MENU),
                "Event",
                &event,
            )
            .await?;
        Ok(())
    }

    async fn menu_path(&self) -> Result<String> {
        let value = property(&self.bus, &self.owner, &self.path, ITEM, "Menu").await?;
        Ok(zbus::zvariant::OwnedObjectPath::try_from(value)
            .context("Menu")?
            .to_string())
    }
}

impl MenuItem {
    /// Every label below this item, without separators and hidden lines.
    pub fn labels(&self) -> Vec<&str> {
        let shown = self
            .children
            .iter()
            .filter(|item| item.visible && !item.separator);
        shown
            .flat_map(|item| std::iter::once(item.label.as_str()).chain(item.labels()))
            .collect()
    }

    /// Whether any visible label contains `text`.
    pub fn contains(&self, text: &str) -> bool {
        self.labels().iter().any(|label| label.contains(text))
    }

    /// The line at a path of labels. A label matches when it is equal, else when it is the only
    /// one of its menu that begins so.
    pub fn at(&self, labels: &[&str]) -> Option<&MenuItem> {
        let Some((first, rest)) = labels.split_first() else {
            return Some(self);
        };
        let exact = self.children.iter().find(|item| item.label == *first);
        let item = exact.or_else(|| {
            let mut begun = self.children.iter().filter(|item| item.label.starts_with(first));
            begun.next().filter(|_| begun.next().is_none())
        })?;
        item.at(rest)
    }

    /// The first line anywhere below whose label contains `text`.
    pub fn find(&self, text: &str) -> Option<&MenuItem> {
        self.children.iter().find_map(|item| {
            if item.label.contains(text) {
                Some(item)
            } else {
                item.find(text)
            }
        })
    }

    fn parse((id, properties, children): Node) -> Result<Self> {
        let text = |name: &str| match properties.get(name).map(|value| &**value) {
            Some(Value::Str(text)) => text.as_str(),
            _ => "",
        };
        let flag = |name: &str| {
            !matches!(
                properties.get(name).map(|value| &**value),
                Some(Value::Bool(false))
            )
        };
        let on = matches!(
            properties.get("toggle-state").map(|value| &**value),
            Some(Value::I32(1))
        );
        Ok(MenuItem {
            id,
            label: without_mnemonics(text("label")),
            enabled: flag("enabled"),
            visible: flag("visible"),
            checked: (!text("toggle-type").is_empty()).then_some(on),
            separator: text("type") == "separator",
            children: children
                .into_iter()
                .map(|child| MenuItem::parse(Node::try_from(child).context("a menu line")?))
                .collect::<Result<_>>()?,
        })
    }
}

/// The lines as a tree, two spaces a level.
impl fmt::Display for MenuItem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn lines(items: &[MenuItem], depth: usize, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            for item in items.iter().filter(|item| item.visible) {
                let mark = match item.checked {
                    Some(true) => "[x] ",
                    Some(false) => "[ ] ",
                    None => "",
                };
                let label = if item.separator { "---" } else { &item.label };
                let note = if item.enabled { "" } else { " (disabled)" };
                writeln!(formatter, "{:indent$}{mark}{label}{note}", "", indent = 2 * depth)?;
                lines(&item.children, depth + 1, formatter)?;
            }
            Ok(())
        }
        lines(&self.children, 0, formatter)
    }
}

/// dbusmenu marks a mnemonic by `_` and writes a real underscore twice.
fn without_mnemonics(label: &str) -> String {
    label
        .split("__")
        .map(|part| part.replace('_', ""))
        .collect::<Vec<_>>()
        .join("_")
}

async fn property(
    bus: &Connection,
    owner: &str,
    path: &str,
    interface: &str,
    name: &str,
) -> Result<OwnedValue> {
    let reply = bus
        .call_method(
            Some(owner),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(interface, name),
        )
        .await
        .with_context(|| format!("{name} of {owner}"))?;
    Ok(reply.body().deserialize()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, children: Vec<MenuItem>) -> MenuItem {
        MenuItem {
            label: label.to_owned(),
            enabled: true,
            visible: true,
            children,
            ..MenuItem::default()
        }
    }

    #[test]
    fn lines_are_found_by_path_and_by_an_unambiguous_beginning() {
        let menu = line(
            "",
            vec![
                line(
                    "Sign in…",
                    vec![line("OpenAI (ChatGPT)", vec![]), line("Anthropic", vec![])],
                ),
                line("Quit", vec![]),
                line("Quiet", vec![]),
            ],
        );
        assert_eq!(menu.at(&["Sign in", "OpenAI"]).unwrap().label, "OpenAI (ChatGPT)");
        assert_eq!(menu.at(&["Quit"]).unwrap().label, "Quit");
        assert_eq!(menu.at(&["Qui"]), None);
        assert_eq!(
            menu.labels(),
            ["Sign in…", "OpenAI (ChatGPT)", "Anthropic", "Quit", "Quiet"]
        );
        assert_eq!(
            menu.to_string(),
            "Sign in…\n  OpenAI (ChatGPT)\n  Anthropic\nQuit\nQuiet\n"
        );
    }

    #[test]
    fn mnemonics_are_taken_out_of_labels() {
        assert_eq!(without_mnemonics("_Open Kalit"), "Open Kalit");
        assert_eq!(without_mnemonics("a__b_c"), "a_bc");
    }
}
