//! The language in which this process speaks to people. English stands in the code, by [`say!`] and
//! [`plural!`]; every other language is one file, `lang/<code>.json`, in which the English template is
//! the key. The command line always speaks English; tray and window call [`speak`] when they start.
//!
//! [`say!`]: crate::say
//! [`plural!`]: crate::plural

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, PoisonError, RwLock};

use intl_pluralrules::{PluralCategory, PluralRuleType, PluralRules};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unic_langid::LanguageIdentifier;

type Names = &'static [(&'static str, &'static str)];

/// Code and own name of each language, by code, and their texts: a program that asks for none of the
/// texts does not carry them.
const FILES: (Names, &[&str]) = include!(concat!(env!("OUT_DIR"), "/languages.rs"));
const ENGLISH_FILE: &str = include_str!("../../../lang/en.json");

/// The language that stands in the code.
pub const ENGLISH: &str = "en";

static SPOKEN: RwLock<Option<(&str, Arc<Language>)>> = RwLock::new(None);

/// A language file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Language {
    /// What the language calls itself.
    pub name: String,
    /// The locale for dates, numbers and plurals: BCP 47.
    pub locale: String,
    /// The window's texts.
    pub window: Map<String, Value>,
    /// Everything else: the English template, and what stands for it.
    pub sentences: BTreeMap<String, Sentence>,
}

/// A translated template, or one for each plural category of the language (CLDR).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Sentence {
    Plain(String),
    Plural(BTreeMap<String, String>),
}

/// The codes of all languages, such as `uz`.
pub fn codes() -> impl Iterator<Item = &'static str> {
    FILES.0.iter().map(|(code, _)| *code)
}

/// The language with this code.
pub fn language(code: &str) -> Option<Language> {
    let at = codes().position(|known| known == code)?;
    serde_json::from_str(FILES.1[at]).ok()
}

/// English, for what speaks nothing else.
pub fn english() -> Option<Language> {
    serde_json::from_str(ENGLISH_FILE).ok()
}

/// The code of the first of these locales (BCP 47 or POSIX, such as `ru-RU`, `uz_UZ.UTF-8`) whose
/// language there is; English if there is none.
pub fn first_known<'a>(locales: impl IntoIterator<Item = &'a str>) -> &'static str {
    let known = |locale: &str| {
        let code = locale.split(['-', '_', '.', '@']).next()?.to_ascii_lowercase();
        codes().find(|known| *known == code)
    };
    locales.into_iter().find_map(known).unwrap_or(ENGLISH)
}

/// From now on this process speaks the language with this code; English if there is none.
pub fn speak(code: &'static str) {
    if spoken() == code {
        return;
    }
    let other = (code != ENGLISH).then(|| language(code)).flatten();
    let other = other.map(|language| (code, Arc::new(language)));
    *SPOKEN.write().unwrap_or_else(PoisonError::into_inner) = other;
}

/// The code of the language that this process speaks.
pub fn spoken() -> &'static str {
    let spoken = SPOKEN.read().unwrap_or_else(PoisonError::into_inner);
    spoken.as_ref().map_or(ENGLISH, |(code, _)| code)
}

/// What the window's page is written with.
#[derive(Debug, Serialize)]
pub struct WindowTexts {
    pub code: &'static str,
    pub locale: String,
    /// The texts of the language over the English ones.
    pub window: Map<String, Value>,
    /// Code and own name of every language, to choose from.
    pub languages: Vec<(&'static str, &'static str)>,
}

/// The window's texts in a language.
pub fn window_texts(code: &'static str) -> WindowTexts {
    let mut texts = WindowTexts {
        code,
        locale: ENGLISH.to_owned(),
        window: Map::new(),
        languages: FILES.0.to_vec(),
    };
    let other = (code != ENGLISH).then_some(code);
    for language in [Some(ENGLISH), other].into_iter().flatten().filter_map(language) {
        texts.window = over(std::mem::take(&mut texts.window), language.window);
        texts.locale = language.locale;
    }
    texts
}

/// `texts` over `below`, dictionary by dictionary; a plural stands as a whole.
fn over(mut below: Map<String, Value>, texts: Map<String, Value>) -> Map<String, Value> {
    for (key, text) in texts {
        let text = match (below.remove(&key), text) {
            (Some(Value::Object(below)), Value::Object(text)) if !text.contains_key("other") => {
                Value::Object(over(below, text))
            }
            (_, text) => text,
        };
        below.insert(key, text);
    }
    below
}

impl Language {
    /// The translation of an English template, with its values; of a plural the one for `count`.
    pub fn said(
        &self,
        english: &str,
        count: Option<u64>,
        values: &[(&str, &dyn fmt::Display)],
    ) -> Option<String> {
        let template = match (self.sentences.get(english)?, count) {
            (Sentence::Plain(template), None) => template,
            (Sentence::Plural(forms), Some(count)) => {
                let category = self.category(count)?;
                forms.get(category).or_else(|| forms.get("other"))?
            }
            _ => return None,
        };
        Some(filled(template, values))
    }

    /// CLDR's plural category of a count, such as `few`.
    pub fn category(&self, count: u64) -> Option<&'static str> {
        let locale: LanguageIdentifier = self.locale.parse().ok()?;
        // The rules are those of the language alone.
        let language = LanguageIdentifier::from_parts(locale.language, None, None, &[]);
        let rules = PluralRules::create(language, PluralRuleType::CARDINAL).ok()?;
        Some(match rules.select(count).ok()? {
            PluralCategory::ZERO => "zero",
            PluralCategory::ONE => "one",
            PluralCategory::TWO => "two",
            PluralCategory::FEW => "few",
            PluralCategory::MANY => "many",
            PluralCategory::OTHER => "other",
        })
    }
}

/// What this process says for an English template; `None` where it speaks English, or the language
/// has nothing for it.
#[doc(hidden)]
pub fn translated(english: &str, count: Option<u64>, values: &[(&str, &dyn fmt::Display)]) -> Option<String> {
    let spoken = SPOKEN.read().unwrap_or_else(PoisonError::into_inner).clone();
    spoken?.1.said(english, count, values)
}

/// A template with its values: `{name}` is replaced, `{{` and `}}` are braces.
#[doc(hidden)]
pub fn filled(template: &str, values: &[(&str, &dyn fmt::Display)]) -> String {
    let mut text = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let brace = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            text.push_str(brace);
            rest = after;
        } else if let Some((name, after)) = rest.split_once('}').filter(|_| brace == "{") {
            match values.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => {
                    let _ = write!(text, "{value}");
                }
                None => text.push('…'),
            }
            rest = after;
        }
    }
    text + rest
}

/// A sentence for people in the language of the process. As `format!`, but with every value named:
/// `say!("{program} is writing", program)`, `say!("{left} left", left = duration(millis))`.
#[macro_export]
macro_rules! say {
    (@value $name:ident) => { $name };
    (@value $name:ident = $value:expr) => { $value };
    ($template:literal $(,)?) => {
        $crate::language::translated($template, None, &[]).unwrap_or_else(|| ::std::format!(concat!($template)))
    };
    ($template:literal $(, $name:ident $(= $value:expr)?)+ $(,)?) => {
        match ($(&$crate::say!(@value $name $(= $value)?),)+) {
            ($($name,)+) => {
                $crate::language::translated(
                    $template,
                    None,
                    &[$((stringify!($name), $name as &dyn ::std::fmt::Display)),+],
                )
                // a name that is missing or too many does not compile
                .unwrap_or_else(|| ::std::format!(concat!($template) $(, $name = $name)+))
            }
        }
    };
}

/// A sentence with a number `n` in it: `plural!(count, "{n} account", "{n} accounts")`. The second
/// template is its key in the language files.
#[macro_export]
macro_rules! plural {
    ($n:expr, $one:literal, $other:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {{
        let n: u64 = ::std::convert::TryFrom::try_from($n).unwrap_or(u64::MAX);
        let values: &[(&str, &dyn ::std::fmt::Display)] =
            &[("n", &n), $((stringify!($name), &$crate::say!(@value $name $(= $value)?))),*];
        $crate::language::translated($other, Some(n), values)
            .unwrap_or_else(|| $crate::language::filled(if n == 1 { $one } else { $other }, values))
    }};
}

/// A template without values that stands in a table, said later by [`language::fixed`](fixed).
#[macro_export]
macro_rules! template {
    ($template:literal) => {
        $template
    };
}

/// Says a `template!`; other texts come back as they are.
pub fn fixed(template: &str) -> String {
    translated(template, None, &[]).unwrap_or_else(|| template.to_owned())
}

#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod texts;
