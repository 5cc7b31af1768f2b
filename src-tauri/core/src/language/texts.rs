//! Finds the sentences that stand in the sources: the templates of `say!`, `plural!` and `template!`. The test of
//! the language files uses it, and so does `xtask`, which includes this file by path.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A template as it stands in the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// What a language file names it by.
    pub english: String,
    /// What English says for 1, where the sentence depends on a number.
    pub one: Option<String>,
}

/// What a source consists of, without its comments and spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Counted from 1.
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name, a keyword, a number.
    Word(String),
    /// A string literal, as the program has it.
    Literal(String),
    Sign(char),
}

/// The sources below a directory that are no tests, in the order of their paths.
///
/// # Errors
/// When a directory cannot be listed.
pub fn sources(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    let mut found = Vec::new();
    for path in entries {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let is_test = matches!(name, "tests" | "testing" | "testbed" | "fuzzing") || name.ends_with("_tests");
        if is_test {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The templates in a source, in its order.
///
/// # Errors
/// The line of a `say!` or `plural!` whose template is no literal.
pub fn texts(tokens: &[Token]) -> Result<Vec<Text>, String> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let rest = &tokens[at + 1..];
        let (is_plural, inner) = match (&token.kind, rest) {
            (Kind::Word(name), [bang, open, inner @ ..])
                if bang.kind == Kind::Sign('!') && open.kind == Kind::Sign('(') =>
            {
                match name.as_str() {
                    "say" | "template" => (false, inner),
                    "plural" => (true, inner),
                    _ => continue,
                }
            }
            _ => continue,
        };
        // The macros themselves.
        if let Some(Kind::Sign('$' | '@')) = inner.first().map(|token| &token.kind) {
            continue;
        }
        let no_template = || format!("line {}: the template is no literal", token.line);
        if is_plural {
            let templates = &inner[argument_length(inner)..];
            match templates.get(1..4).unwrap_or_default() {
                [one, _, other] => found.push(Text {
                    english: literal(other).ok_or_else(no_template)?,
                    one: Some(literal(one).ok_or_else(no_template)?),
                }),
                _ => return Err(no_template()),
            }
        } else {
            found.push(Text {
                english: inner.first().and_then(literal).ok_or_else(no_template)?,
                one: None,
            });
        }
    }
    Ok(found)
}

fn literal(token: &Token) -> Option<String> {
    match &token.kind {
        Kind::Literal(text) => Some(text.clone()),
        Kind::Word(_) | Kind::Sign(_) => None,
    }
}

/// How many tokens stand before the comma, or the end, of the first argument.
pub fn argument_length(tokens: &[Token]) -> usize {
    let mut depth = 0;
    let is_end = |token: &Token| {
        match token.kind {
            Kind::Sign('(' | '[' | '{') => depth += 1,
            Kind::Sign(')' | ']' | '}') => depth -= 1,
            Kind::Sign(',') if depth == 0 => return true,
            Kind::Word(_) | Kind::Literal(_) | Kind::Sign(_) => {}
        }
        depth < 0
    };
    tokens.iter().position(is_end).unwrap_or(tokens.len())
}

/// The tokens of a source, without what is compiled for tests alone.
pub fn tokens(source: &str) -> Vec<Token> {
    let all = Lexer {
        rest: source,
        line: 1,
    }
    .all();
    let mut kept = Vec::new();
    let mut at = 0;
    while at < all.len() {
        let attribute = test_attribute(&all[at..]);
        if let Some(length) = attribute {
            at += length;
            at += item_length(&all[at..]);
        } else {
            kept.push(all[at].clone());
            at += 1;
        }
    }
    kept
}

/// How many tokens the attribute has by which what follows is compiled for tests alone, if it is one.
fn test_attribute(tokens: &[Token]) -> Option<usize> {
    let is = |token: &Token, word: &str| matches!(&token.kind, Kind::Word(found) if found == word);
    let [hash, open, name, _, rest @ ..] = tokens else {
        return None;
    };
    let begins = hash.kind == Kind::Sign('#') && open.kind == Kind::Sign('[') && is(name, "cfg");
    let condition = &rest[..rest.iter().position(|token| token.kind == Kind::Sign(']'))?];
    let has = |word: &str| condition.iter().any(|token| is(token, word));
    (begins && has("test") && !has("not")).then_some(condition.len() + 5)
}

/// How many tokens an item has: up to its semicolon or the end of its braces.
fn item_length(tokens: &[Token]) -> usize {
    let mut depth = 0;
    let ends = |token: &Token| {
        match token.kind {
            Kind::Sign('(' | '[' | '{') => depth += 1,
            Kind::Sign(')' | ']' | '}') => depth -= 1,
            Kind::Word(_) | Kind::Literal(_) | Kind::Sign(_) => {}
        }
        depth == 0 && matches!(token.kind, Kind::Sign(';' | '}'))
    };
    tokens
        .iter()
        .position(ends)
        .map_or(tokens.len(), |position| position + 1)
}

struct Lexer<'s> {
    rest: &'s str,
    line: usize,
}

impl<'s> Lexer<'s> {
    fn all(mut self) -> Vec<Token> {
        let mut tokens = Vec::new();
        while let Some(next) = self.rest.chars().next() {
            let line = self.line;
            let kind = if next.is_whitespace() {
                self.take(next.len_utf8());
                None
            } else if self.rest.starts_with("//") {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
                None
            } else if self.rest.starts_with("/*") {
                self.take(self.rest.find("*/").map_or(self.rest.len(), |end| end + 2));
                None
            } else if next == '\'' {
                self.take(quoted_length(self.rest));
                None
            } else if next == '"' {
                Some(Kind::Literal(self.string()))
            } else if next.is_alphanumeric() || next == '_' {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let length = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
                let word = self.take(length);
                Some(match (word, self.rest.chars().next()) {
                    ("r" | "br", Some('"' | '#')) => self.raw(),
                    // A string of bytes is as good as one.
                    ("b", Some('"')) => Kind::Literal(self.string()),
                    _ => Kind::Word(word.to_owned()),
                })
            } else {
                self.take(next.len_utf8());
                Some(Kind::Sign(next))
            };
            tokens.extend(kind.map(|kind| Token { line, kind }));
        }
        tokens
    }

    fn take(&mut self, length: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// What stands between two quotes, without its escapes.
    fn string(&mut self) -> String {
        self.take(1);
        let mut text = String::new();
        while let Some(next) = self.rest.chars().next() {
            self.take(next.len_utf8());
            match next {
                '"' => break,
                '\\' => text.extend(self.escaped()),
                _ => text.push(next),
            }
        }
        text
    }

    /// What stands behind a backslash; nothing for the end of a line, whose indentation goes with it.
    fn escaped(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.take(next.len_utf8());
        match next {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            '0' => Some('\0'),
            'u' => {
                let code = self.take(self.rest.find('}')? + 1);
                let code = code.trim_matches(['{', '}']).replace('_', "");
                char::from_u32(u32::from_str_radix(&code, 16).ok()?)
            }
            '\n' => {
                self.take(self.rest.len() - self.rest.trim_start().len());
                None
            }
            _ => Some(next),
        }
    }

    /// What stands behind the `r` of a raw string or of a raw name.
    fn raw(&mut self) -> Kind {
        let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        if !self.rest[hashes..].starts_with('"') {
            self.take(hashes);
            return Kind::Sign('#');
        }
        self.take(hashes + 1);
        let length = self.rest.find(&end).unwrap_or(self.rest.len());
        let text = self.take(length).to_owned();
        self.take(end.len().min(self.rest.len()));
        Kind::Literal(text)
    }
}

/// The length of a character in quotes; 1 for the quote of a lifetime.
fn quoted_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => chars
            .find(|(_, c)| *c == '\'')
            .map_or(text.len(), |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
