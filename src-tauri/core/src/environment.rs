//! What the process was started with, handed in by the shell. Core never calls `std::env`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::language;

/// Environment variables, home and working directory of the process (or of a test).
#[derive(Clone, Debug)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    os_home: PathBuf,
    working_dir: PathBuf,
    speech: Option<Speech>,
}

/// The locales of a process that speaks other languages, too. Only such a program names the function,
/// and so carries their texts.
#[derive(Clone, Debug)]
struct Speech {
    locales: Vec<String>,
    speak: fn(&'static str),
}

impl Environment {
    /// `os_home` is the operating system's idea of the home directory; `HOME` in `vars` comes
    /// before it wherever OpenClaw does so.
    pub fn new(
        vars: impl IntoIterator<Item = (String, String)>,
        os_home: impl Into<PathBuf>,
        working_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            vars: vars.into_iter().collect(),
            os_home: os_home.into(),
            working_dir: working_dir.into(),
            speech: None,
        }
    }

    /// The process speaks to people in the language that they chose, else in the first of these
    /// locales of the system that Kalit knows. Without this it speaks English.
    #[must_use]
    pub fn speaking(mut self, locales: Vec<String>) -> Self {
        self.speech = Some(Speech {
            locales,
            speak: language::speak,
        });
        self
    }

    /// From now on the process speaks the language that was `chosen`, if it is one that does.
    pub(crate) fn speak(&self, chosen: Option<&str>) {
        if let Some(Speech { locales, speak }) = &self.speech {
            let known = chosen.into_iter().chain(locales.iter().map(String::as_str));
            speak(language::first_known(known));
        }
    }

    /// A variable that is set and, after trimming, not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// All variables, for environment substitution and for child processes.
    pub fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }

    /// The same environment with one variable set.
    pub fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The directories of `PATH` in which a program may be looked for: absolute ones that exist, in
    /// the order in which they stand there. An entry in which everybody can plant a program is left
    /// out like the working directory. One that a group can write is not: Debian's `/usr/local/bin`
    /// and Homebrew's are such.
    pub fn program_dirs(&self) -> Vec<PathBuf> {
        let separator = if cfg!(windows) { ';' } else { ':' };
        let path = self.var("PATH").or_else(|| self.var("Path"));
        path.unwrap_or_default()
            .split(separator)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute() && dir.components().all(|part| part != Component::ParentDir))
            .filter(|dir| is_out_of_strangers_reach(dir))
            .collect()
    }

    /// A `PATH` of [`Environment::program_dirs`] for a program that starts others, with one
    /// directory in front.
    pub fn program_path(&self, first: Option<&Path>) -> String {
        let separator = if cfg!(windows) { ";" } else { ":" };
        let dirs: Vec<String> = first
            .map(Path::to_owned)
            .into_iter()
            .chain(self.program_dirs())
            .map(|dir| dir.to_string_lossy().into_owned())
            .collect();
        dirs.join(separator)
    }

    /// `HOME`, else `USERPROFILE`, else what the operating system says.
    pub fn home(&self) -> PathBuf {
        self.var("HOME")
            .or_else(|| self.var("USERPROFILE"))
            .map_or_else(|| self.os_home.clone(), PathBuf::from)
    }

    /// The working directory, against which relative paths are resolved.
    pub fn working_dir(&self) -> &Path {
        &self.working_dir
    }

    /// Kalit's configuration directory: `KALIT_CONFIG_DIR`, else the platform's
    /// (`XDG_CONFIG_HOME`, `~/Library/Application Support`, `%APPDATA%`) with `kalit` inside.
    pub fn config_dir(&self) -> PathBuf {
        self.own_dir("KALIT_CONFIG_DIR", "XDG_CONFIG_HOME", ".config", "APPDATA")
    }

    /// Kalit's data directory: `KALIT_DATA_DIR`, else the platform's (`XDG_DATA_HOME`,
    /// `~/Library/Application Support`, `%LOCALAPPDATA%`) with `kalit` inside.
    pub fn data_dir(&self) -> PathBuf {
        self.own_dir("KALIT_DATA_DIR", "XDG_DATA_HOME", ".local/share", "LOCALAPPDATA")
    }

    fn own_dir(&self, own: &str, xdg: &str, unix: &str, windows: &str) -> PathBuf {
        if let Some(dir) = self.var(own) {
            return self.working_dir.join(dir);
        }
        let base = if cfg!(windows) {
            self.var(windows)
                .map(PathBuf::from)
                .unwrap_or_else(|| self.home().join("AppData"))
        } else if cfg!(target_os = "macos") {
            self.home().join("Library/Application Support")
        } else {
            self.xdg(xdg, unix)
        };
        base.join("kalit")
    }

    /// `XDG_CONFIG_HOME`, else `~/.config`: what the desktop reads, whatever Kalit's own directory is.
    #[cfg(any(all(unix, not(target_os = "macos")), test))]
    pub(crate) fn xdg_config_home(&self) -> PathBuf {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    fn xdg(&self, name: &str, below_home: &str) -> PathBuf {
        self.var(name)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
            .unwrap_or_else(|| self.home().join(below_home))
    }
}

/// Whether the directory exists and not everybody can put a file into it: neither is it writable for
/// all, nor can all rename one that it lies in (the sticky bit of `/tmp` prevents that).
pub(crate) fn is_out_of_strangers_reach(dir: &Path) -> bool {
    let Ok(real) = dir.canonicalize() else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        // What cannot be looked at cannot be started from either.
        let mode = |dir: &Path| dir.metadata().map_or(0, |metadata| metadata.mode());
        mode(&real) & 0o002 == 0
            && real
                .ancestors()
                .skip(1)
                .all(|above| mode(above) & 0o1002 != 0o002)
    }
    #[cfg(not(unix))]
    real.is_dir()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_not_looked_for_where_everybody_can_plant_one() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str, mode: u32| {
            let path = root.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (own, group) = (dir("own", 0o755), dir("group", 0o2775));
        let sticky = dir("sticky", 0o1777);
        let below_sticky = dir("sticky/own", 0o755);
        let open = dir("open", 0o777);
        let below_open = dir("open/own", 0o755);
        let link = root.path().join("link");
        symlink(&open, &link).unwrap();
        let missing = root.path().join("missing");
        let climbing = root.path().join("open/../own");
        let all = [
            &own,
            &open,
            &below_open,
            &link,
            &missing,
            &climbing,
            &sticky,
            &below_sticky,
            &group,
        ];
        let all: Vec<String> = all.iter().map(|dir| dir.display().to_string()).collect();
        let path = format!("::.:own:{}:", all.join(":"));
        let environment = Environment::new([("PATH".to_owned(), path)], root.path(), root.path());
        assert_eq!(
            environment.program_dirs(),
            [own.clone(), below_sticky.clone(), group.clone()]
        );
        assert_eq!(
            environment.program_path(Some(Path::new("/first"))),
            format!(
                "/first:{}:{}:{}",
                own.display(),
                below_sticky.display(),
                group.display()
            )
        );
    }
}
