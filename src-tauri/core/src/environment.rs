//! What the process was started with, handed in by the shell. Core never calls `std::env`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Environment variables, home and working directory of the process (or of a test).
#[derive(Clone, Debug)]
pub struct Environment {
    vars: BTreeMap<String, String>,
    os_home: PathBuf,
    working_dir: PathBuf,
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
            self.var(xdg)
                .map(PathBuf::from)
                .filter(|dir| dir.is_absolute())
                .unwrap_or_else(|| self.home().join(unix))
        };
        base.join("kalit")
    }
}
