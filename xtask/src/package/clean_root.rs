//! `cargo xtask package --prove`: the .deb in a Debian that has nothing of Kalit. It is made in memory, of the
//! release of this system; root alone can make it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cargo::{run, target_dir, workspace};

/// What a person's session consists of, beside Kalit and what it depends on.
const SESSION: &str = "dbus-bin dbus-daemon xvfb openbox xdotool xfce4-panel xfconf libglib2.0-bin \
    adwaita-icon-theme fonts-dejavu-core procps";
/// Kalit, as a person of the root starts it: from the terminal, then in the tray, then its window.
const START: &str = r#"
    kalit --version
    kalit doctor || echo "kalit doctor ended with $?"
    coproc session (bash /opt/desktop-session.sh /tmp/session panel 2> /dev/null)
    for _ in $(seq 1200); do [ -s /tmp/session/env ] && break; sleep 0.1; done
    while IFS= read -r -d '' line; do
        case $line in DISPLAY=*|DBUS_SESSION_BUS_ADDRESS=*|XDG_RUNTIME_DIR=*) export "${line?}";; esac
    done < /tmp/session/env
    kalit-desktop --hidden > /tmp/session/log/kalit 2>&1 &
    items() {
        gdbus call --session -d org.kde.StatusNotifierWatcher -o /StatusNotifierWatcher \
            -m org.freedesktop.DBus.Properties.Get org.kde.StatusNotifierWatcher RegisteredStatusNotifierItems
    }
    for _ in $(seq 600); do items | grep -q StatusNotifierItem && break; sleep 0.1; done
    items | grep StatusNotifierItem || { cat /tmp/session/log/*; exit 1; }
    kalit-desktop
    xdotool search --sync --onlyvisible --name '^Kalit$' getwindowname || { cat /tmp/session/log/*; exit 1; }
    kill %2
    wait %2 || true
    exec {session[1]}>&-
    wait
    rm -r /tmp/session
    ps -e -o comm= | grep -i kalit && exit 1
    find "$HOME" -mindepth 1 -printf 'in the home: %P\n' | sort
"#;

/// Path → kind, mode, owner, size or target.
type Listing = BTreeMap<String, String>;

/// Installs the .deb there, starts Kalit, removes it, and compares the files of before and after; then again
/// with `purge`, although there is no configuration.
pub fn prove(packages: &[PathBuf]) -> Result<()> {
    let deb = packages
        .iter()
        .find(|path| path.extension().is_some_and(|kind| kind == "deb"))
        .context("no .deb was made")?;
    let begun = Instant::now();
    let root = Root::make()?;
    println!("a clean {}: {:.0} s", root.release, begun.elapsed().as_secs_f64());
    fs::copy(deb, root.dir.join("opt/kalit.deb"))?;
    let session = workspace().join("tests/harness/desktop-session.sh");
    fs::copy(session, root.dir.join("opt/desktop-session.sh"))?;

    let plan = root.run(
        "root",
        "apt-get update -qq && apt-get install --simulate /opt/kalit.deb",
    )?;
    let named = plan.lines().filter(|line| line.starts_with("Inst ")).count();
    ensure!(named > 1, "apt finds no way to install it:\n{plan}");
    println!("apt resolves it: {named} packages with all that it depends on and recommends");
    let depends =
        "apt-get satisfy --yes --no-install-recommends \"$(dpkg-deb --field /opt/kalit.deb Depends)\"";
    root.run("root", depends)?;
    root.run(
        "root",
        &format!(
            "apt-get install --yes --no-install-recommends {SESSION} && useradd --create-home ann \
         && mkdir --mode 1777 /tmp/.X11-unix"
        ),
    )?;

    let before = root.listing()?;
    for verb in ["remove", "purge"] {
        root.run(
            "root",
            "apt-get install --yes --no-install-recommends /opt/kalit.deb",
        )?;
        let installed = root.listing()?;
        let added = installed
            .keys()
            .filter(|path| !before.contains_key(*path))
            .count();
        println!("installed: {added} new files and directories");
        print!("{}", root.run("ann", START)?);
        root.run(
            "root",
            &format!("apt-get {verb} --yes kalit && ! dpkg-query --status kalit"),
        )?;
        let left = differences(&before, &root.listing()?);
        ensure!(left.is_empty(), "after {verb} is left:\n{}", left.join("\n"));
        println!("{verb}: nothing is left outside the home");
    }
    Ok(())
}

/// A Debian in memory; gone when it is dropped.
struct Root {
    dir: PathBuf,
    release: String,
}

impl Root {
    fn make() -> Result<Self> {
        let identity = Command::new("id").arg("-u").output()?;
        ensure!(identity.stdout.trim_ascii() == b"0", "--prove needs root");
        let system = fs::read_to_string("/etc/os-release")?;
        let release = system
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let release = release
            .context("this system has no release of Debian")?
            .to_owned();
        let dir = target_dir().join("packages/root");
        fs::create_dir_all(&dir)?;
        let size = ["-t", "tmpfs", "-o", "size=4g,mode=755", "kalit-root"];
        run(Command::new("mount").args(size).arg(&dir))?;
        let root = Self { dir, release };
        let made = Command::new("debootstrap")
            .args(["--variant=minbase", &root.release])
            .arg(&root.dir)
            .stdout(Stdio::null())
            .status()
            .context("starting debootstrap (apt-get install debootstrap)")?;
        ensure!(made.success(), "debootstrap ended with {made}");
        Ok(root)
    }

    /// Runs a script in the root, in namespaces of its own: what it started ends with it. What it prints.
    fn run(&self, user: &str, script: &str) -> Result<String> {
        let inside = r#"
            mount -t proc proc "$0/proc"
            mount -t tmpfs tmpfs "$0/dev/shm"
            exec chroot --userspec="$1" "$0" /usr/bin/env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 \
                HOME="$(awk -F: -v user="$1" '$1 == user { print $6 }' "$0/etc/passwd")" USER="$1" \
                DEBIAN_FRONTEND=noninteractive /bin/bash -euc "cd; $2" 2>&1"#;
        let output = Command::new("unshare")
            .args(["--mount", "--pid", "--ipc", "--fork", "--kill-child"])
            .args(["bash", "-euc", inside])
            .arg(&self.dir)
            .args([user, script])
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("in the clean root: {}\n{said}\n{complaint}", output.status);
        }
        Ok(said)
    }

    /// Every file but those of people. What the package tools note in `/var` may change, not what is there.
    fn listing(&self) -> Result<Listing> {
        let found = Command::new("find")
            .arg(&self.dir)
            .args(["-xdev", "-path", "*/home/*", "-prune", "-o"])
            .args(["-printf", "/%P\t%y %m %u:%g %s %l\n"])
            .output()?;
        ensure!(found.status.success(), "find ended with {}", found.status);
        let lines = String::from_utf8(found.stdout)?;
        let listing = lines.lines().filter_map(|line| line.split_once('\t'));
        Ok(listing
            .map(|(path, what)| (path.to_owned(), comparable(path, what)))
            .collect())
    }
}

/// The size of a directory depends on its past.
fn comparable(path: &str, what: &str) -> String {
    let mut words: Vec<&str> = what.split(' ').collect();
    if path.starts_with("/var/") || words[0] == "d" {
        words[3] = "";
    }
    words.join(" ")
}

fn differences(before: &Listing, after: &Listing) -> Vec<String> {
    let mut found = Vec::new();
    for (path, what) in after {
        match before.get(path) {
            None => found.push(format!("new: {path}")),
            Some(old) if old != what => found.push(format!("changed: {path}: {old} → {what}")),
            Some(_) => {}
        }
    }
    found.extend(
        before
            .keys()
            .filter(|path| !after.contains_key(*path))
            .map(|path| format!("gone: {path}")),
    );
    found
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
        let _ = fs::remove_dir(Path::new(&self.dir));
    }
}
