//! The language in which the gallery shows the page.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use kalit_journeys::process::workspace;
use serde_json::{Value, json};

const ENGLISH: &str = "en";

/// A language with its texts.
pub struct Language {
    code: String,
    /// Its file over the English one.
    file: Value,
}

impl Language {
    /// The one that `KALIT_GALLERY_LANGUAGE` names, or English.
    pub fn wanted() -> Result<Self> {
        Self::read(&env::var("KALIT_GALLERY_LANGUAGE").unwrap_or_else(|_| ENGLISH.to_owned()))
    }

    pub fn english() -> Result<Self> {
        Self::read(ENGLISH)
    }

    fn read(code: &str) -> Result<Self> {
        let mut file = file(ENGLISH)?;
        if code != ENGLISH {
            lay_over(&mut file, self::file(code)?);
        }
        Ok(Self {
            code: code.to_owned(),
            file,
        })
    }

    pub fn is_english(&self) -> bool {
        self.code == ENGLISH
    }

    pub fn code(&self) -> &str {
        &self.code
    }

    /// Where in `gallery` its pictures are.
    pub fn dir(&self, gallery: &Path) -> PathBuf {
        if self.is_english() {
            gallery.to_owned()
        } else {
            gallery.join(&self.code)
        }
    }

    /// What the program sets as `kalitTexts` before the page's scripts run.
    pub fn texts(&self) -> Value {
        json!({"code": self.code, "locale": self.file["locale"], "window": self.file["window"]})
    }
}

fn file(code: &str) -> Result<Value> {
    ensure!(
        code.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
        "{code:?} is no code of a language"
    );
    let path = workspace().join("lang").join(code).with_extension("json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Lays `texts` over `under`, key by key.
fn lay_over(under: &mut Value, texts: Value) {
    match (under, texts) {
        (Value::Object(under), Value::Object(texts)) => {
            for (key, text) in texts {
                lay_over(under.entry(key).or_insert(Value::Null), text);
            }
        }
        (under, text) => *under = text,
    }
}
