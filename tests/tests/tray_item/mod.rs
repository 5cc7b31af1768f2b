//! The least StatusNotifier item with a menu: it writes down what is done to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use kalit_journeys::desktop::DesktopSession;
use zbus::zvariant::{ObjectPath, OwnedValue, Value};

type Node = (i32, HashMap<String, OwnedValue>, Vec<OwnedValue>);
type Pixmaps = Vec<(i32, i32, Vec<u8>)>;
type Events = Arc<Mutex<Vec<String>>>;

pub struct Shown {
    events: Events,
    _bus: zbus::Connection,
}

impl Shown {
    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }
}

/// Registers the item with the session's panel.
pub async fn show(session: &DesktopSession) -> Result<Shown> {
    let events = Events::default();
    let bus = zbus::connection::Builder::address(session.bus_address()?)?
        .serve_at("/StatusNotifierItem", Item(Arc::clone(&events)))?
        .serve_at("/MenuBar", Menu(Arc::clone(&events)))?
        .name("org.kde.StatusNotifierItem-test-1")?
        .build()
        .await?;
    bus.call_method(
        Some("org.kde.StatusNotifierWatcher"),
        "/StatusNotifierWatcher",
        Some("org.kde.StatusNotifierWatcher"),
        "RegisterStatusNotifierItem",
        &"org.kde.StatusNotifierItem-test-1",
    )
    .await?;
    Ok(Shown { events, _bus: bus })
}

struct Item(Events);

#[zbus::interface(name = "org.kde.StatusNotifierItem")]
impl Item {
    fn activate(&self, _x: i32, _y: i32) {
        self.0.lock().unwrap().push("activate".to_owned());
    }

    #[zbus(property)]
    fn title(&self) -> &str {
        "Test item"
    }

    #[zbus(property)]
    fn id(&self) -> &str {
        "test-item"
    }

    #[zbus(property)]
    fn category(&self) -> &str {
        "ApplicationStatus"
    }

    #[zbus(property)]
    fn status(&self) -> &str {
        "Active"
    }

    #[zbus(property)]
    fn icon_name(&self) -> &str {
        "dialog-warning"
    }

    #[zbus(property)]
    fn tool_tip(&self) -> (String, Pixmaps, String, String) {
        (
            String::new(),
            Vec::new(),
            "All accounts fine".to_owned(),
            "2 accounts".to_owned(),
        )
    }

    #[zbus(property)]
    fn menu(&self) -> ObjectPath<'static> {
        ObjectPath::from_static_str_unchecked("/MenuBar")
    }
}

struct Menu(Events);

#[zbus::interface(name = "com.canonical.dbusmenu")]
impl Menu {
    fn about_to_show(&self, _id: i32) -> bool {
        false
    }

    fn event(&self, id: i32, event: &str, _data: Value<'_>, _time: u32) {
        self.0.lock().unwrap().push(format!("{event} {id}"));
    }

    fn get_layout(&self, _parent: i32, _depth: i32, _names: Vec<String>) -> (u32, Node) {
        let text = |name: &str, text: &'static str| (name.to_owned(), Value::from(text));
        let check = |label, state: i32| {
            [
                text("label", label),
                text("toggle-type", "checkmark"),
                ("toggle-state".to_owned(), state.into()),
            ]
        };
        let accounts = vec![
            line(3, check("ada__l", 1), vec![]),
            line(4, check("grace", 0), vec![]),
        ];
        let lines = vec![
            line(
                1,
                [
                    text("label", "All accounts fine"),
                    ("enabled".to_owned(), false.into()),
                ],
                vec![],
            ),
            line(6, [text("type", "separator")], vec![]),
            line(
                2,
                [text("label", "_OpenAI"), text("children-display", "submenu")],
                accounts,
            ),
            line(5, [text("label", "Sign in…")], vec![]),
        ];
        (1, (0, HashMap::new(), lines))
    }

    #[zbus(property)]
    fn version(&self) -> u32 {
        3
    }

    #[zbus(property)]
    fn status(&self) -> &str {
        "normal"
    }
}

fn line<const N: usize>(
    id: i32,
    properties: [(String, Value<'static>); N],
    children: Vec<OwnedValue>,
) -> OwnedValue {
    let properties: HashMap<String, OwnedValue> = properties
        .into_iter()
        .map(|(name, value)| (name, value.try_into().unwrap()))
        .collect();
    Value::from((id, properties, children)).try_into().unwrap()
}
