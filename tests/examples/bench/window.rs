//! The window's numbers: from the click to its first picture, and a thousand accounts in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kalit_journeys::desktop::DesktopSession;
use kalit_journeys::process::{Process, binary};
use kalit_journeys::tray::TrayItem;
use kalit_journeys::wait::{until, until_some};
use kalit_journeys::webview::WebView;
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{ConnectionExt, ImageFormat, MapState, Window};
use x11rb::rust_connection::RustConnection;

use crate::process_table::family;
use crate::store::{Many, Store};
use crate::table::{Limit, Table};
use crate::{middle, millis};

const SOON: Duration = Duration::from_secs(30);
const RUNS: usize = 10;
const MANY: usize = 1_000;

/// From the click on the icon to a window with more in it than one colour.
pub async fn from_click_to_window(
    session: &DesktopSession,
    kalit: &Process,
    item: &TrayItem,
    table: &mut Table,
) -> Result<()> {
    let display = session.env().get("DISPLAY").context("no display")?;
    let screen = Screen::connect(display)?;
    let (mut mapped, mut painted) = (Vec::new(), Vec::new());
    for number in 0..=RUNS {
        let start = Instant::now();
        item.activate().await?;
        let window = until_some("Kalit's window", SOON, || screen.shown().ok()?).await?;
        let first = start.elapsed();
        until_some("something in the window", SOON, || {
            screen.colours(window).ok().filter(|colours| *colours > 8)
        })
        .await?;
        // the first start warms the file system's cache
        if number > 0 {
            mapped.push(first);
            painted.push(start.elapsed());
        }
        session.close_window(|| family(kalit.id()).len() == 1).await?;
    }
    let wall = middle(&mut mapped);
    table.add(
        "icon clicked → window visible",
        millis(wall),
        Limit::AtMost(wall.as_secs_f64() * 1000.0, 350.0),
        &format!("median of {RUNS}, asked every 10 ms; the window's process starts with the click"),
    );
    table.add(
        "icon clicked → accounts painted",
        millis(middle(&mut painted)),
        Limit::None,
        &format!("median of {RUNS}"),
    );
    Ok(())
}

struct Screen {
    display: RustConnection,
    root: Window,
}

impl Screen {
    fn connect(name: &str) -> Result<Self> {
        let (display, screen) = x11rb::connect(Some(name))?;
        let root = display.setup().roots.get(screen).context("no screen")?.root;
        Ok(Self { display, root })
    }

    /// Kalit's window, if it is on the screen.
    fn shown(&self) -> Result<Option<Window>> {
        let name = self.display.intern_atom(false, b"WM_NAME")?.reply()?.atom;
        let mut left = vec![self.root];
        while let Some(window) = left.pop() {
            // what is gone meanwhile is no answer
            let Ok(tree) = self.display.query_tree(window)?.reply() else {
                continue;
            };
            left.extend(tree.children);
            let title = self.display.get_property(false, window, name, 0_u32, 0, 16)?;
            let attributes = self.display.get_window_attributes(window)?;
            let (Ok(title), Ok(attributes)) = (title.reply(), attributes.reply()) else {
                continue;
            };
            if title.value == b"Kalit" && attributes.map_state == MapState::VIEWABLE {
                return Ok(Some(window));
            }
        }
        Ok(None)
    }

    /// How many colours a window shows, up to some.
    fn colours(&self, window: Window) -> Result<usize> {
        let size = self.display.get_geometry(window)?.reply()?;
        let (width, height) = (size.width, size.height.min(200));
        let image = self
            .display
            .get_image(ImageFormat::Z_PIXMAP, window, 0, 0, width, height, u32::MAX)?
            .reply()?;
        let mut colours: Vec<&[u8]> = image.data.chunks_exact(4).collect();
        colours.sort_unstable();
        colours.dedup();
        Ok(colours.len())
    }
}

/// A thousand accounts in ten agents: how they scroll, and how fast they are searched.
pub async fn many_accounts(session: &DesktopSession, table: &mut Table) -> Result<()> {
    let home = tempfile::tempdir()?;
    let store = Store::many(
        home.path(),
        Many {
            agents: 10,
            accounts: MANY / 10,
        },
    )?;
    let env: BTreeMap<String, String> = store.env().clone();
    let env: Vec<_> = env.into_iter().filter(|(name, _)| name != "PATH").collect();
    let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
    let window = WebView::open(session, &program, &["board"], &env).await?;
    until("all accounts", SOON, || async {
        let rows = window
            .client()
            .execute("return document.querySelectorAll('.acct').length", vec![]);
        (rows.await.ok()? == MANY).then_some(())
    })
    .await?;
    let scrolled = numbers(&window, SCROLL).await?;
    let searched = numbers(&window, SEARCH).await?;
    window.close().await?;
    for (what, times, note) in [
        (
            "scrolled, 1,000 accounts",
            scrolled,
            "longest of 100 frames but five; 16.7 ms is the screen's own pace",
        ),
        (
            "searched, 1,000 accounts",
            searched,
            "longest of 10 letters: from the key to the next frame",
        ),
    ] {
        let worst = times.last().copied().context("no frames")?;
        table.add(what, format!("{worst:.1} ms"), Limit::AtMost(worst, 100.0), note);
    }
    Ok(())
}

/// The times of frames while the page moves by a screen each, without the five longest.
const SCROLL: &str = "
    const done = arguments[0], times = [], scroller = document.scrollingElement;
    const sheet = [document.querySelector('main'), scroller].find(one => one.scrollHeight > one.clientHeight);
    let last = performance.now(), frames = 0;
    const step = now => {
        times.push(now - last);
        last = now;
        sheet.scrollTop += sheet.clientHeight;
        if (++frames < 100) requestAnimationFrame(step);
        else done(times.sort((a, b) => a - b).slice(0, -5));
    };
    requestAnimationFrame(step);";

/// From each letter of a search to the frame after it.
const SEARCH: &str = "
    const done = arguments[0], times = [], field = document.querySelector('#search');
    const letters = [...'person-777'];
    const type = () => {
        if (!letters.length) return done(times.sort((a, b) => a - b));
        const begun = performance.now();
        field.value += letters.shift();
        field.dispatchEvent(new Event('input', { bubbles: true }));
        requestAnimationFrame(() => setTimeout(() => {
            times.push(performance.now() - begun);
            type();
        }));
    };
    type();";

async fn numbers(window: &WebView, script: &str) -> Result<Vec<f64>> {
    let times = window.client().execute_async(script, Vec::new()).await?;
    Ok(serde_json::from_value(times)?)
}
