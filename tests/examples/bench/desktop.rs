//! The tray's numbers, measured in a private desktop: registration, memory, idleness, and the two
//! ways between a file and the menu.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use kalit_journeys::desktop::{DesktopSession, Part};
use kalit_journeys::openclaw::{self, Version};
use kalit_journeys::process::{Process, binary};
use kalit_journeys::tray::{self, TrayItem};
use kalit_journeys::wait::{until, until_some};
use kalit_journeys::webview::WebView;

use crate::databases::Databases;
use crate::process_table::{family, pss, switches, switches_since, ticks};
use crate::store::{Many, NAMES, Store, profile_id};
use crate::table::{Limit, Table};
use crate::{Flags, middle, millis, window};

const SOON: Duration = Duration::from_secs(30);
const RUNS: usize = 10;

pub async fn measure(flags: &Flags, table: &mut Table) -> Result<()> {
    let session = DesktopSession::start(&Part::ALL).await?;
    let store = Store::create(&session.home())?;
    registration(&session, &store, table).await?;

    let kalit = session.launch(&mut tray_command(&session, store.env())?, "kalit-desktop")?;
    let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await?;
    item.menu_with("ada@example.com", SOON).await?;
    idle(flags, &kalit, table).await;
    memory(&session, &store, &kalit, table).await?;
    from_file_to_menu("file changed → menu", |id| store.put_key(id), &item, table).await?;
    from_click_to_file(&store, &item, table).await?;
    window::from_click_to_window(&session, &kalit, &item, table).await?;
    drop((kalit, item));
    fifty_entries(&session, table).await?;
    window::many_accounts(&session, table).await?;
    if flags.no_openclaw {
        return Ok(());
    }
    let release = openclaw::release(Version::V2026_9_6).await?;
    let dir = tempfile::tempdir()?;
    let databases = Databases::create(dir.path(), &release)?;
    let kalit = session.launch(&mut tray_command(&session, databases.env())?, "kalit-desktop")?;
    let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await?;
    item.menu_with("ada@example.com", SOON).await?;
    from_file_to_menu(
        "database changed → menu",
        |id| databases.put_key(id),
        &item,
        table,
    )
    .await
}

fn tray_command(session: &DesktopSession, env: &BTreeMap<String, String>) -> Result<Command> {
    let mut command = session.command(binary("KALIT_DESKTOP_BIN", "kalit-desktop")?);
    for name in ["HOME", "OPENCLAW_STATE_DIR"] {
        command.env(name, env.get(name).context("the store's variables")?);
    }
    Ok(command)
}

/// From the start of the process to the panel's word that the item is there.
async fn registration(session: &DesktopSession, store: &Store, table: &mut Table) -> Result<()> {
    let bus = session.bus().await?;
    let rule =
        "type='signal',interface='org.kde.StatusNotifierWatcher',member='StatusNotifierItemRegistered'";
    let mut signals = zbus::MessageStream::for_match_rule(rule, &bus, None).await?;
    let mut times = Vec::new();
    for run in 0..=RUNS {
        let start = Instant::now();
        let mut kalit = session.launch(&mut tray_command(session, store.env())?, "kalit-desktop")?;
        let registered = tokio::time::timeout(SOON, signals.next()).await;
        let wall = start.elapsed();
        registered.with_context(|| format!("no tray item; kalit-desktop printed:\n{}", kalit.output()))?;
        // the first start warms the file system's cache
        if run > 0 {
            times.push(wall);
        }
        kalit.stop();
        until("the item to be gone", SOON, || async {
            tray::items(&bus).await.ok()?.is_empty().then_some(())
        })
        .await?;
    }
    let wall = middle(&mut times);
    let limit = Limit::AtMost(wall.as_secs_f64() * 1000.0, 150.0);
    table.add(
        "start → tray registered",
        millis(wall),
        limit,
        &format!("median of {RUNS}"),
    );
    Ok(())
}

async fn idle(flags: &Flags, kalit: &Process, table: &mut Table) {
    // what starting up still has to do is not idleness
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (ticks_before, switches_before) = (ticks(kalit.id()), switches(kalit.id()));
    tokio::time::sleep(Duration::from_secs(flags.idle)).await;
    let spent = ticks(kalit.id()) - ticks_before;
    let woken = switches_since(&switches_before, kalit.id());
    let note = format!("{} s in the tray", flags.idle);
    table.add(
        "CPU ticks while idle",
        spent.to_string(),
        Limit::AtMost(spent as f64, 5.0),
        &note,
    );
    table.add(
        "wake-ups while idle",
        woken.to_string(),
        Limit::None,
        "voluntary context switches",
    );
}

async fn memory(session: &DesktopSession, store: &Store, kalit: &Process, table: &mut Table) -> Result<()> {
    let add = |table: &mut Table, what: &str, bytes: u64, limited: bool| {
        let megabytes = bytes as f64 / 1e6;
        let limit = if limited {
            Limit::AtMost(megabytes, 50.0)
        } else {
            Limit::None
        };
        table.add(
            what,
            format!("{megabytes:.1} MB"),
            limit,
            "PSS of the process and its children",
        );
    };
    add(table, "memory, tray alone", pss(kalit.id()), true);
    let env: Vec<(String, String)> = store
        .env()
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .filter(|(name, _)| name != "PATH")
        .collect();
    let program = binary("KALIT_WINDOW_BIN", "kalit-window")?;
    let window = WebView::open(session, &program, &["board"], &env).await?;
    window.shows("ada@example.com", SOON).await?;
    let name = program
        .file_name()
        .context("the program's name")?
        .to_string_lossy()
        .into_owned();
    let opened = window_process(&name, kalit.id()).context("the window's process")?;
    add(table, "memory, window and its WebKit", pss(opened), false);
    window.close().await?;
    until_some("the window's process to end", SOON, || {
        window_process(&name, kalit.id()).is_none().then_some(())
    })
    .await?;
    ensure!(family(kalit.id()).len() == 1, "the tray has children left");
    add(table, "memory, tray after the window", pss(kalit.id()), true);
    Ok(())
}

/// A process with the program's name that is not the tray.
fn window_process(name: &str, tray: u32) -> Option<u32> {
    // the kernel keeps 15 characters of a name
    let short = &name[..name.len().min(15)];
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let is_ours = std::fs::read_to_string(entry.path().join("comm")).ok()?.trim() == short;
        let alive = std::fs::read_link(entry.path().join("exe")).is_ok();
        (is_ours && alive && pid != tray).then_some(pid)
    })
}

/// Another program changes the store; the menu says so.
async fn from_file_to_menu(
    what: &str,
    put_key: impl Fn(&str) -> Result<()>,
    item: &TrayItem,
    table: &mut Table,
) -> Result<()> {
    let mut times = Vec::new();
    for run in 0..RUNS {
        let name = format!("added-{run}");
        put_key(&format!("openai:{name}"))?;
        let start = Instant::now();
        until(&format!("{name} in the menu"), SOON, || async {
            item.menu().await.ok()?.contains(&name).then_some(())
        })
        .await?;
        times.push(start.elapsed());
    }
    let wall = middle(&mut times);
    let limit = Limit::AtMost(wall.as_secs_f64() * 1000.0, 500.0);
    table.add(what, millis(wall), limit, "asked every 10 ms");
    Ok(())
}

/// Five agents with ten accounts each, all of which say another thing afterwards; every entry stays the
/// one that it was, so that a panel keeps an open menu.
async fn fifty_entries(session: &DesktopSession, table: &mut Table) -> Result<()> {
    let home = tempfile::tempdir()?;
    let many = Many {
        agents: 5,
        accounts: 10,
    };
    let store = Store::many(home.path(), many)?;
    let kalit = session.launch(&mut tray_command(session, store.env())?, "kalit-desktop")?;
    let item = tray::registered(&session.bus().await?, Some(kalit.id()), SOON).await?;
    item.menu_with("person-49@", SOON).await?;
    let before = entries(&item.menu().await?);
    ensure!(before.len() >= 50, "{} entries", before.len());
    let mut times = Vec::new();
    for days in 1..=5 {
        store.expire_in(Duration::from_secs(days * 86_400 + 43_200))?;
        let start = Instant::now();
        let said = format!("{days} d ");
        until(&format!("{said:?} fifty times in the menu"), SOON, || async {
            let now = entries(&item.menu().await.ok()?);
            let changed = now.iter().filter(|(_, label)| label.contains(&said)).count();
            (changed == 50).then_some(())
        })
        .await?;
        times.push(start.elapsed());
        let now = entries(&item.menu().await?);
        let ids = |entries: &[(i32, String)]| entries.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        ensure!(ids(&now) == ids(&before), "entries were replaced");
    }
    table.add(
        "50 accounts changed → 50 entries updated",
        millis(middle(&mut times)),
        Limit::None,
        "median of 5; each in place, by its id",
    );
    Ok(())
}

/// Id and label of every line that names an account.
fn entries(menu: &tray::MenuItem) -> Vec<(i32, String)> {
    let own = menu
        .label
        .contains("person-")
        .then(|| (menu.id, menu.label.clone()));
    own.into_iter()
        .chain(menu.children.iter().flat_map(entries))
        .collect()
}

/// A person clicks an account; the order is in the file.
async fn from_click_to_file(store: &Store, item: &TrayItem, table: &mut Table) -> Result<()> {
    let mut times = Vec::new();
    for name in NAMES.iter().rev().chain(NAMES.iter()).copied().take(RUNS) {
        let wanted = profile_id(name);
        if store.order().first() == Some(&wanted) {
            continue;
        }
        let menu = item.menu().await?;
        let path = path_to(&menu, &format!("{name}@example.com"), &mut Vec::new())
            .with_context(|| format!("no line for {name} in the menu:\n{menu}"))?;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let start = Instant::now();
        item.click(&path).await?;
        until_some("the order in the file", SOON, || {
            (store.order().first() == Some(&wanted)).then_some(())
        })
        .await?;
        times.push(start.elapsed());
    }
    let wall = middle(&mut times);
    table.add(
        "switch clicked → order in the file",
        millis(wall),
        Limit::None,
        "asked every 10 ms",
    );
    Ok(())
}

/// The labels that lead to the first line that contains `text` and can be clicked.
fn path_to(menu: &tray::MenuItem, text: &str, above: &mut Vec<String>) -> Option<Vec<String>> {
    for child in &menu.children {
        above.push(child.label.clone());
        if child.children.is_empty() && child.label.contains(text) && child.enabled {
            return Some(above.clone());
        }
        if let Some(found) = path_to(child, text, above) {
            return Some(found);
        }
        above.pop();
    }
    None
}
