//! JSON as OpenClaw's files have it: read as JavaScript's `JSON.parse` reads, written byte for
//! byte as `JSON.stringify(value, null, 2)` plus a newline writes.
//!
//! Two things differ from JavaScript, on purpose. Numbers keep the spelling of the file (`1.0`
//! stays `1.0`, a 20-digit number keeps its digits). Keys keep the order of the file even when
//! they look like integers, which JavaScript would move to the front.
//!
//! No message of this module repeats what the file contains: it is full of tokens.

use std::fmt;

use serde_json::{Map, Number, Value};

use crate::clock::Timestamp;
use crate::error::{Error, ErrorCode, Result};

crate::keeps_secret!(Parsed);

/// From this size on a file is refused: no credential store is that large.
pub const SIZE_LIMIT: usize = 16_000_000;

/// Deeper nesting is refused; OpenClaw's own files stay below ten.
const DEPTH_LIMIT: usize = 128;

/// Reads a document that is only looked at: of a key that stands twice the last value counts, as
/// in JavaScript, and half of a surrogate pair becomes U+FFFD. A document that is to be written
/// again is read with [`parse_for_edit`].
///
/// # Errors
///
/// `store.too_large`, or `store.unparsable` with line and column.
pub fn parse(bytes: &[u8]) -> Result<Value> {
    parse_for_edit(bytes).map(|parsed| parsed.value)
}

/// Like [`parse`], and tells whether writing the value back would lose something.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_for_edit(bytes: &[u8]) -> Result<Parsed> {
    if bytes.len() >= SIZE_LIMIT {
        return Err(too_large());
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| unparsable(say!("not UTF-8 after byte {byte}", byte = error.valid_up_to())))?;
    if text.starts_with('\u{feff}') {
        return Err(unparsable(say!(
            "it begins with a byte order mark, which OpenClaw does not read"
        )));
    }
    if text.trim_matches(WHITESPACE).is_empty() {
        return Err(unparsable(say!("it is empty")));
    }
    let mut parser = Parser {
        text,
        at: 0,
        flaw: None,
    };
    let value = parser.document()?;
    Ok(Parsed {
        value,
        flaw: parser.flaw,
    })
}

/// The bytes of `value` as OpenClaw saves a file: two spaces of indent and a newline at the end.
pub fn format(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// A finite number as epoch milliseconds, fractions cut off; anything else is `None`.
pub fn millis(value: &Value) -> Option<Timestamp> {
    let number = value.as_number()?;
    let millis = match number.as_i64() {
        Some(millis) => millis,
        // A cast from a float saturates: a date beyond the range of i64 stays far away.
        None => number.as_f64().filter(|millis| millis.is_finite())? as i64,
    };
    Some(Timestamp::from_millis(millis))
}

/// What [`parse_for_edit`] found.
pub struct Parsed {
    /// The value, as JavaScript would see it.
    pub value: Value,
    /// Why the document must not be written back, if so.
    pub flaw: Option<Flaw>,
}

impl fmt::Debug for Parsed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Parsed {{ flaw: {:?} }}", self.flaw)
    }
}

/// Something that JavaScript reads but that cannot be kept when the document is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A key stands twice in one object: the first value would be lost.
    DuplicateKey(Position),
    /// An escape for half of a surrogate pair: no UTF-8 text can hold it.
    LoneSurrogate(Position),
}

impl Flaw {
    /// The error with which writing is refused.
    pub fn error(self) -> Error {
        match self {
            Flaw::DuplicateKey(at) => Error::new(
                ErrorCode::StoreDuplicateKeys,
                say!("{at}: a key stands twice in one object", at),
            ),
            Flaw::LoneSurrogate(at) => unparsable(say!("{at}: an escape names half of a character", at))
                .with_hint(say!(
                    "Nothing was changed. Replace the \\ud800…\\udfff escape that stands alone in the file."
                )),
        }
    }
}

/// A place in the text, for people: both count from one, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&say!(
            "line {line}, column {column}",
            line = self.line,
            column = self.column
        ))
    }
}

/// The error for a file of [`SIZE_LIMIT`] bytes or more.
pub(crate) fn too_large() -> Error {
    Error::new(
        ErrorCode::StoreTooLarge,
        say!("it has {size} MB or more", size = SIZE_LIMIT / 1_000_000),
    )
}

fn unparsable(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::StoreUnparsable, message)
}

const WHITESPACE: [char; 4] = [' ', '\t', '\n', '\r'];

struct Parser<'a> {
    text: &'a str,
    /// Always on a character boundary.
    at: usize,
    flaw: Option<Flaw>,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Value> {
        let value = self.value(DEPTH_LIMIT)?;
        match self.skip_whitespace() {
            None => Ok(value),
            Some(_) => Err(self.error(&say!("there is text after the end"))),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        match self.skip_whitespace() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.error(&say!("a value is missing"))),
            None => Err(self.error(&say!("the text ends too early"))),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value> {
        let depth = self.deeper(depth)?;
        let mut map = Map::new();
        if self.skip_whitespace() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(map));
        }
        loop {
            if self.skip_whitespace() != Some(b'"') {
                return Err(self.error(&say!("a key in double quotes is missing")));
            }
            let key_at = self.at;
            let key = self.string()?;
            if self.skip_whitespace() != Some(b':') {
                return Err(self.error(&say!("a colon is missing")));
            }
            self.at += 1;
            let value = self.value(depth)?;
            if map.insert(key, value).is_some() {
                self.note(key_at, Flaw::DuplicateKey);
            }
            match self.skip_whitespace() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(map));
                }
                Some(_) => return Err(self.error(&say!("a comma or a closing brace is missing"))),
                None => return Err(self.error(&say!("the text ends too early"))),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value> {
        let depth = self.deeper(depth)?;
        let mut items = Vec::new();
        if self.skip_whitespace() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            match self.skip_whitespace() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                Some(_) => return Err(self.error(&say!("a comma or a closing bracket is missing"))),
                None => return Err(self.error(&say!("the text ends too early"))),
            }
        }
    }

    /// Steps over the opening brace or bracket.
    fn deeper(&mut self, depth: usize) -> Result<usize> {
        match depth.checked_sub(1) {
            Some(depth) => {
                self.at += 1;
                Ok(depth)
            }
            None => Err(self.error(&say!("it is nested too deeply"))),
        }
    }

    /// Reads a string, the opening quote being next.
    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let start = self.at;
            // Quotes, backslashes and control characters are ASCII: scanning bytes cannot stop
            // inside a character.
            while self.peek().is_some_and(|b| b != b'"' && b != b'\\' && b >= 0x20) {
                self.at += 1;
            }
            string.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return Err(self.error(&say!("a control character stands in a string"))),
                None => return Err(self.error(&say!("the text ends too early"))),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        let escape_at = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b @ (b'"' | b'\\' | b'/')) => char::from(b),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape(escape_at);
            }
            Some(_) => return Err(self.error(&say!("an escape in a string is unknown"))),
            None => return Err(self.error(&say!("the text ends too early"))),
        };
        self.at += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self, escape_at: usize) -> Result<char> {
        let first = self.four_digits()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        let after_first = self.at;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(code)
                    .ok_or_else(|| self.error(&say!("an escape in a string is unknown")));
            }
            self.at = after_first;
        }
        self.note(escape_at, Flaw::LoneSurrogate);
        Ok(char::REPLACEMENT_CHARACTER)
    }

    /// Keeps the first flaw. Finding its line takes a look at everything before it.
    fn note(&mut self, at: usize, flaw: fn(Position) -> Flaw) {
        if self.flaw.is_none() {
            self.flaw = Some(flaw(self.position(at)));
        }
    }

    fn four_digits(&mut self) -> Result<u32> {
        let digits = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match digits {
            Some(code) => {
                self.at += 4;
                Ok(code)
            }
            None => Err(self.error(&say!("an escape in a string is unknown"))),
        }
    }

    fn number(&mut self) -> Result<Number> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // Parsing a `Number` from text would respell exponents (`1E5` as `1e+5`); what stands here
        // has just been checked against the grammar, digit by digit.
        Ok(Number::from_string_unchecked(
            self.text[start..self.at].to_owned(),
        ))
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error(&say!("a number is malformed")));
        }
        Ok(())
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error(&say!("a value is missing")))
        }
    }

    fn skip_whitespace(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.peek()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, what: &str) -> Error {
        unparsable(format!("{}: {what}", self.position(self.at)))
    }

    fn position(&self, at: usize) -> Position {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests;
