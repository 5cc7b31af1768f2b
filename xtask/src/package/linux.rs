//! What the packages of Linux hold besides the programs, and on what they depend.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::notices;
use crate::cargo::{run, workspace};
use crate::man;

/// Where a package puts a file, and the file.
type Placed = (String, PathBuf);

/// Writes what Tauri's configuration cannot say for good: the files made from the programs in `dir`, and the
/// libraries that these need.
pub fn config(dir: &Path, debug: bool) -> Result<PathBuf> {
    let share = dir.join("share");
    if share.exists() {
        fs::remove_dir_all(&share)?;
    }
    fs::create_dir_all(&share)?;
    let common = common(dir, &share)?;
    let license = workspace().join("LICENSE");
    let changelog = compressed(&workspace().join("CHANGELOG.md"), &share.join("changelog"))?;
    let zsh = completion(dir, &share, "zsh")?;
    let mut deb = common.clone();
    deb.push(("/usr/share/zsh/vendor-completions/_kalit".into(), zsh.clone()));
    deb.push(("/usr/share/doc/kalit/copyright".into(), license.clone()));
    deb.push(("/usr/share/doc/kalit/changelog.gz".into(), changelog.clone()));
    let mut rpm = common;
    rpm.push(("/usr/share/zsh/site-functions/_kalit".into(), zsh));
    rpm.push(("/usr/share/licenses/kalit/LICENSE".into(), license));
    rpm.push(("/usr/share/doc/kalit/changelog.gz".into(), changelog));

    // Debug programs are large: their .rpm is not compressed, which takes no time.
    let compression = if debug {
        r#"{ "type": "none" }"#
    } else {
        r#"{ "type": "zstd", "level": 19 }"#
    };
    let text = format!(
        r#"{{ "bundle": {{ "linux": {{
  "deb": {{ "depends": {}, "files": {} }},
  "rpm": {{ "depends": {}, "files": {}, "compression": {compression} }}
}} }} }}
"#,
        list(&libraries(dir)?),
        map(&deb)?,
        list(&requirements(dir)?),
        map(&rpm)?,
    );
    let path = dir.join("tauri.json");
    fs::write(&path, text)?;
    Ok(path)
}

fn common(dir: &Path, share: &Path) -> Result<Vec<Placed>> {
    let icons = workspace().join("icons");
    let hicolor = "/usr/share/icons/hicolor";
    let mut files = vec![
        (
            format!("{hicolor}/256x256/apps/kalit-desktop.png"),
            icons.join("128x128@2x.png"),
        ),
        (
            format!("{hicolor}/scalable/apps/kalit-desktop.svg"),
            icons.join("app.svg"),
        ),
        (
            "/usr/share/bash-completion/completions/kalit".into(),
            completion(dir, share, "bash")?,
        ),
        (
            "/usr/share/fish/vendor_completions.d/kalit.fish".into(),
            completion(dir, share, "fish")?,
        ),
    ];
    let licences = share.join("third-party-licences.txt");
    fs::write(&licences, notices::text()?)?;
    files.push((
        "/usr/share/doc/kalit/third-party-licences.txt.gz".into(),
        compressed(&licences, &licences)?,
    ));
    let pages = share.join("man1");
    man::write(&pages)?;
    for page in fs::read_dir(&pages)? {
        let page = page?.path();
        let packed = compressed(&page, &page)?;
        fs::remove_file(&page)?;
        let name = packed.file_name().context("a page without a name")?;
        let place = format!("/usr/share/man/man1/{}", name.to_string_lossy());
        files.push((place, packed));
    }
    Ok(files)
}

/// The script that the program in `dir` prints for `shell`.
fn completion(dir: &Path, share: &Path, shell: &str) -> Result<PathBuf> {
    let path = share.join(shell);
    let script = said(Command::new(dir.join("kalit")).args(["completions", shell]))?;
    fs::write(&path, script)?;
    Ok(path)
}

/// Packs a file as `<to>.gz`, the same bytes every time.
fn compressed(from: &Path, to: &Path) -> Result<PathBuf> {
    let packed = to.with_added_extension("gz");
    let out = fs::File::create(&packed)?;
    run(Command::new("gzip").args(["-9nc"]).arg(from).stdout(out))?;
    Ok(packed)
}

/// The Debian packages whose libraries the programs need, with the oldest version of each.
fn libraries(dir: &Path) -> Result<Vec<String>> {
    // It wants a source package around it.
    let around = dir.join("shlibdeps");
    fs::create_dir_all(around.join("debian"))?;
    fs::write(
        around.join("debian/control"),
        "Source: kalit\n\nPackage: kalit\nArchitecture: any\n",
    )?;
    let mut find = Command::new("dpkg-shlibdeps");
    find.arg("-O").current_dir(&around);
    for program in super::PROGRAMS {
        find.arg(format!("-e{}", dir.join(program).display()));
    }
    let found = said(&mut find)?;
    let depends = found.trim().strip_prefix("shlibs:Depends=");
    let depends = depends.context("dpkg-shlibdeps names no packages")?;
    Ok(depends.split(", ").map(str::to_owned).collect())
}

/// The libraries that the programs need and their versions, as RPM names them: `name(version)(64bit)`.
fn requirements(dir: &Path) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for program in super::PROGRAMS {
        let told = said(Command::new("objdump").arg("-p").arg(dir.join(program)))?;
        found.extend(required(&told));
    }
    ensure!(!found.is_empty(), "objdump names no libraries");
    Ok(found.into_iter().collect())
}

/// From what `objdump -p` tells of one program.
fn required(told: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut library = "";
    for line in told.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["NEEDED", name] => found.push(format!("{name}()(64bit)")),
            ["required", "from", name] => library = name.trim_end_matches(':'),
            // Hash, flags, number, name.
            [_, flags, _, version] if flags.starts_with("0x") && !library.is_empty() => {
                found.push(format!("{library}({version})(64bit)"));
            }
            _ => {}
        }
    }
    found
}

/// What a program prints when it ends well.
pub(super) fn said(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {complaint}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(", "))
}

fn map(files: &[Placed]) -> Result<String> {
    let lines = files.iter().map(|(place, file)| {
        let file = file.to_str().context("a path that is not text")?;
        Ok(format!("{place:?}: {file:?}"))
    });
    Ok(format!("{{ {} }}", lines.collect::<Result<Vec<_>>>()?.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read_as_rpm_finds_them() {
        let told = "Dynamic Section:\n  NEEDED               libc.so.6\n  INIT                 0x1000\n\
            Version References:\n  required from libc.so.6:\n    0x069691b4 0x00 05 GLIBC_2.34\n    \
            0x0d696914 0x02 04 GLIBC_2.4\n  required from libm.so.6:\n    0x069691b5 0x00 03 GLIBC_2.35\n";
        assert_eq!(
            required(told),
            [
                "libc.so.6()(64bit)",
                "libc.so.6(GLIBC_2.34)(64bit)",
                "libc.so.6(GLIBC_2.4)(64bit)",
                "libm.so.6(GLIBC_2.35)(64bit)"
            ]
        );
    }
}
