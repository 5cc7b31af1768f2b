//! Puts a menu model on the desktop. Texts are set in place; the menu is built anew only when its
//! lines change, because that closes an open menu on some desktops. Main thread only.

use std::collections::HashMap;

use kalit_shell::menu::{Item, Kind, MenuModel, Picture};
use kalit_shell::words;
use tauri::menu::{CheckMenuItem, IsMenuItem, Menu, MenuItem, PredefinedMenuItem, Submenu};
use tauri::tray::{TrayIcon, TrayIconBuilder};
use tauri::{AppHandle, Wry};

use super::icon::{self, Ground};

/// As `muda` marks it on every system.
const MNEMONIC: char = '&';

/// The icon on the desktop and what it shows.
pub struct Tray {
    icon: TrayIcon,
    picture: (Picture, Ground),
    shown: MenuModel,
    lines: HashMap<String, Line>,
}

/// A line whose text can be set.
enum Line {
    Item(MenuItem<Wry>),
    Check(CheckMenuItem<Wry>),
    Submenu(Submenu<Wry>),
}

impl Tray {
    /// Registers the icon. Fails where no tray host runs; may then be tried again later.
    pub fn new(app: &AppHandle, model: MenuModel) -> tauri::Result<Self> {
        let picture = (model.picture, icon::ground());
        let (menu, lines) = build(app, &model)?;
        let icon = TrayIconBuilder::with_id("kalit")
            .icon(icon::image(picture.0, picture.1))
            .icon_as_template(icon::TEMPLATE)
            .title("Kalit")
            .tooltip(&model.status)
            .menu(&menu)
            .show_menu_on_left_click(cfg!(target_os = "macos"))
            .build(app)?;
        #[cfg(target_os = "macos")]
        icon.set_title(None::<&str>)?;
        Ok(Self {
            icon,
            picture,
            shown: model,
            lines,
        })
    }

    /// Shows `model`.
    pub fn apply(&mut self, app: &AppHandle, model: MenuModel) -> tauri::Result<()> {
        if model.same_structure(&self.shown) {
            set_texts(&self.lines, &self.shown.items, &model.items)?;
        } else {
            let (menu, lines) = build(app, &model)?;
            self.icon.set_menu(Some(menu))?;
            self.lines = lines;
        }
        let picture = (model.picture, icon::ground());
        if picture != self.picture {
            let image = icon::image(picture.0, picture.1);
            self.icon.set_icon_with_as_template(Some(image), icon::TEMPLATE)?;
            self.picture = picture;
        }
        if model.status != self.shown.status {
            self.icon.set_tooltip(Some(&model.status))?;
        }
        self.shown = model;
        Ok(())
    }

    /// Undoes the mark that the desktop sets by itself on a clicked line: only the store decides
    /// what is in use.
    pub fn restore_mark(&self, id: &str) -> tauri::Result<()> {
        match (self.lines.get(id), self.shown.find(id).map(|item| &item.kind)) {
            (Some(Line::Check(line)), Some(Kind::Check { checked, .. })) => line.set_checked(*checked),
            _ => Ok(()),
        }
    }
}

fn set_texts(lines: &HashMap<String, Line>, old: &[Item], new: &[Item]) -> tauri::Result<()> {
    for (old, new) in old.iter().zip(new).filter(|(old, new)| old != new) {
        let label = words::menu_label(&new.label, MNEMONIC);
        let relabelled = old.label != new.label;
        match (lines.get(&new.id), &new.kind) {
            (Some(Line::Item(line)), _) if relabelled => line.set_text(label)?,
            (Some(Line::Check(line)), Kind::Check { checked, .. }) => {
                if relabelled {
                    line.set_text(label)?;
                }
                line.set_checked(*checked)?;
            }
            (Some(Line::Submenu(line)), Kind::Submenu(children)) => {
                if relabelled {
                    line.set_text(label)?;
                }
                if let Kind::Submenu(before) = &old.kind {
                    set_texts(lines, before, children)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn build(app: &AppHandle, model: &MenuModel) -> tauri::Result<(Menu<Wry>, HashMap<String, Line>)> {
    let mut lines = HashMap::new();
    let menu = Menu::new(app)?;
    add(app, &model.items, &mut lines, &mut |item| menu.append(item))?;
    Ok((menu, lines))
}

fn add(
    app: &AppHandle,
    items: &[Item],
    lines: &mut HashMap<String, Line>,
    append: &mut dyn FnMut(&dyn IsMenuItem<Wry>) -> tauri::Result<()>,
) -> tauri::Result<()> {
    for item in items {
        let (id, label) = (item.id.as_str(), words::menu_label(&item.label, MNEMONIC));
        let line = match &item.kind {
            Kind::Separator => {
                append(&PredefinedMenuItem::separator(app)?)?;
                continue;
            }
            Kind::Line | Kind::Verb(_) => {
                let clickable = matches!(item.kind, Kind::Verb(_));
                let line = MenuItem::with_id(app, id, label, clickable, None::<&str>)?;
                append(&line)?;
                Line::Item(line)
            }
            Kind::Check { checked, .. } => {
                let line = CheckMenuItem::with_id(app, id, label, true, *checked, None::<&str>)?;
                append(&line)?;
                Line::Check(line)
            }
            Kind::Submenu(children) => {
                let line = Submenu::with_id(app, id, label, true)?;
                add(app, children, lines, &mut |item| line.append(item))?;
                append(&line)?;
                Line::Submenu(line)
            }
        };
        lines.insert(item.id.clone(), line);
    }
    Ok(())
}
