//! The system packages that building and testing need on Debian 12, Ubuntu 22.04 and 24.04: only
//! names that all three have. Missing ones are named first and then installed. macOS and Windows
//! need none.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::run;

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Building the app and its Rust tests.
    Build,
    /// Also the headless desktop with its browser, and what looks into packages.
    Everything,
    /// Building for Windows.
    Windows,
}

/// How to tell that a package's content is there, however it was installed.
enum Sign {
    Program(&'static str),
    Library(&'static str),
    /// A file below one of the places where distributions put such files.
    File(&'static [&'static str]),
}

const BUILD: [(&str, Sign); 4] = [
    ("build-essential", Sign::Program("c++")),
    (
        "ca-certificates",
        Sign::File(&["/etc/ssl/certs/ca-certificates.crt"]),
    ),
    ("pkg-config", Sign::Program("pkg-config")),
    ("libwebkit2gtk-4.1-dev", Sign::Library("webkit2gtk-4.1")),
];

const DESKTOP: [(&str, Sign); 23] = [
    ("xvfb", Sign::Program("Xvfb")),
    ("dbus", Sign::Program("dbus-run-session")),
    ("openbox", Sign::Program("openbox")),
    ("xfce4-panel", Sign::Program("xfce4-panel")),
    ("xfconf", Sign::Program("xfconf-query")),
    (
        "xfce4-notifyd",
        Sign::File(&[
            "/usr/lib/x86_64-linux-gnu/xfce4/notifyd/xfce4-notifyd",
            "/usr/lib/aarch64-linux-gnu/xfce4/notifyd/xfce4-notifyd",
            "/usr/libexec/xfce4-notifyd",
        ]),
    ),
    ("gnome-keyring", Sign::Program("gnome-keyring-daemon")),
    ("gcr", Sign::Program("gcr-viewer")),
    ("libsecret-tools", Sign::Program("secret-tool")),
    ("webkit2gtk-driver", Sign::Program("WebKitWebDriver")),
    ("xdotool", Sign::Program("xdotool")),
    ("xclip", Sign::Program("xclip")),
    ("imagemagick", Sign::Program("identify")),
    ("adwaita-icon-theme", Sign::File(&["/usr/share/icons/Adwaita"])),
    (
        "fonts-dejavu-core",
        Sign::File(&["/usr/share/fonts/truetype/dejavu"]),
    ),
    ("libglib2.0-bin", Sign::Program("gdbus")),
    ("procps", Sign::Program("ps")),
    ("strace", Sign::Program("strace")),
    ("openssh-client", Sign::Program("ssh")),
    ("openssh-server", Sign::File(&["/usr/sbin/sshd"])),
    ("xdg-utils", Sign::Program("xdg-open")),
    ("rpm", Sign::Program("rpm")),
    ("desktop-file-utils", Sign::Program("desktop-file-validate")),
];

const WINDOWS: [(&str, Sign); 2] = [
    ("gcc-mingw-w64-x86-64", Sign::Program("x86_64-w64-mingw32-gcc")),
    ("g++-mingw-w64-x86-64", Sign::Program("x86_64-w64-mingw32-g++")),
];

/// Makes sure that everything needed is there; installs what is missing when that is allowed.
pub fn ensure(needs: Needs) -> Result<()> {
    if needs == Needs::Everything {
        ensure_node()?;
    }
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    println!("missing system packages: {}", missing.join(" "));
    let mut apt = apt_get().with_context(|| {
        format!(
            "install them, then start this again: apt-get install --no-install-recommends {}",
            missing.join(" ")
        )
    })?;
    println!("installing them with apt-get");
    run(apt().arg("update"))?;
    run(apt()
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing))?;
    let still = self::missing(needs);
    if !still.is_empty() {
        bail!("installed, and still not found: {}", still.join(" "));
    }
    Ok(())
}

fn missing(needs: Needs) -> Vec<&'static str> {
    let more = match needs {
        Needs::Build => &[][..],
        Needs::Everything => &DESKTOP[..],
        Needs::Windows => &WINDOWS[..],
    };
    let absent = BUILD.iter().chain(more).filter(|(_, sign)| !sign.is_there());
    absent.map(|(package, _)| *package).collect()
}

impl Sign {
    fn is_there(&self) -> bool {
        match self {
            Sign::Program(name) => has_program(name),
            Sign::Library(name) => Command::new("pkg-config")
                .args(["--exists", name])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success()),
            Sign::File(paths) => paths.iter().any(|path| Path::new(path).exists()),
        }
    }
}

fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// `apt-get` as it may be called here: by root, or through sudo, which may ask for a password.
fn apt_get() -> Result<impl FnMut() -> Command> {
    if !has_program("apt-get") {
        bail!("this system has no apt-get");
    }
    let identity = Command::new("id").arg("-u").output()?;
    let is_root = identity.stdout.trim_ascii() == b"0";
    if !is_root && !has_program("sudo") {
        bail!("only root can install packages");
    }
    Ok(move || {
        let mut command = Command::new(if is_root { "apt-get" } else { "sudo" });
        if !is_root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    })
}

/// Real OpenClaw and the certified authorization server run on Node; npm brings them.
fn ensure_node() -> Result<()> {
    const OLDEST: u32 = 20;
    let node = Command::new("node").arg("--version").output().ok();
    let version = node
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST) {
        bail!(
            "Node {OLDEST} or later is needed (found: {:?}): install it from your system or nodejs.org",
            version.trim()
        );
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    if !has_program(npm) {
        bail!("npm is needed beside Node");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_package_is_listed_twice_and_building_needs_no_desktop() {
        let mut names: Vec<_> = BUILD
            .iter()
            .chain(&DESKTOP)
            .chain(&WINDOWS)
            .map(|(package, _)| *package)
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(missing(Needs::Build).len() <= BUILD.len());
    }
}
