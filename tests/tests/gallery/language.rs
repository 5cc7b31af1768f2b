//! The language in which the gallery shows the page.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kalit_core::language::{ENGLISH, codes, window_texts};
use serde_json::Value;

/// A language by its code.
pub struct Language(&'static str);

impl Language {
    /// The one that `KALIT_GALLERY_LANGUAGE` names, or English.
    pub fn wanted() -> Result<Self> {
        let Ok(wanted) = env::var("KALIT_GALLERY_LANGUAGE") else {
            return Ok(Self::english());
        };
        let known = codes().find(|code| *code == wanted);
        known
            .map(Self)
            .with_context(|| format!("there is no language {wanted:?}"))
    }

    pub fn english() -> Self {
        Self(ENGLISH)
    }

    /// All but English.
    pub fn others() -> impl Iterator<Item = Self> {
        codes().filter(|code| *code != ENGLISH).map(Self)
    }

    pub fn is_english(&self) -> bool {
        self.0 == ENGLISH
    }

    pub fn code(&self) -> &str {
        self.0
    }

    /// Where in `gallery` its pictures are.
    pub fn dir(&self, gallery: &Path) -> PathBuf {
        if self.is_english() {
            gallery.to_owned()
        } else {
            gallery.join(self.0)
        }
    }

    /// What the program answers to the page's `texts`.
    pub fn texts(&self) -> Result<Value> {
        Ok(serde_json::to_value(window_texts(self.0))?)
    }
}
