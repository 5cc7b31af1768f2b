//! Reads the prompts and lines of OpenClaw's sign-in off the page, and turns them into steps: each
//! is told once, in the order in which it appeared. The prompts are clack's, as OpenClaw 2026.6.1 to
//! 2026.9.6 draws them; what is typed into one never comes back as a step.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Serialize;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::page::Page;
use crate::openclaw::redaction::redacted;
use crate::secret::Secret;
use crate::{Error, ErrorCode, Result};

crate::keeps_raw_secret!(Prompts);

/// What a shell shows a person next.
#[derive(Clone, Debug, Serialize, PartialEq)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum LoginStep {
    /// An address to open in the browser, by the shell alone: OpenClaw opens none itself. Holds
    /// the state of this sign-in: for the person's browser, not for a log.
    Url { url: String },
    /// A code to enter at `url`, which came before as a step of its own.
    DeviceCode { code: String, url: Option<String> },
    /// A question; answered by its number.
    Ask {
        ask: u32,
        question: String,
        what: AskKind,
        /// What can be chosen; empty for a text.
        choices: Vec<String>,
    },
    /// A line that OpenClaw printed, without anything secret.
    Said { line: String },
}

/// How a question is answered.
#[derive(Clone, Copy, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum AskKind {
    Text,
    /// A text that must not be shown: a token, a code, the address of the last page.
    Secret,
    Choice,
    /// Yes or no, as two choices.
    Confirm,
}

/// The page, how far it was read, and what is asked.
#[derive(Default)]
pub(in crate::openclaw) struct Prompts {
    parser: vte::Parser,
    page: Page,
    read_to: usize,
    in_box: bool,
    active: Option<Active>,
    asks: u32,
    typed: Vec<Secret>,
    questions: BTreeSet<String>,
    urls: BTreeSet<String>,
    codes: BTreeSet<String>,
    said: BTreeSet<String>,
    last_url: Option<String>,
    /// The line before spoke of a page to open.
    leads_to_url: bool,
    last_line: Option<String>,
}

/// The question at the end of the page.
struct Active {
    ask: u32,
    row: usize,
    question: String,
    what: AskKind,
    choices: usize,
    current: usize,
    /// How many refusals were drawn when it was answered.
    answered: Option<usize>,
}

/// A prompt as it is drawn.
struct Drawn {
    row: usize,
    /// One behind its last row.
    end: usize,
    question: String,
    what: AskKind,
    choices: Vec<String>,
    current: usize,
    refusal: Option<String>,
}

/// What the last block of the page is.
enum Block {
    /// A prompt that waits for an answer.
    Prompt(Drawn),
    /// It begins at this row and is not drawn to its end.
    Unfinished(usize),
    None,
}

impl Prompts {
    /// Takes what the program wrote, in pieces of any size.
    pub fn feed(&mut self, output: &[u8]) -> Vec<LoginStep> {
        self.parser.advance(&mut self.page, output);
        if let Some(row) = self.page.take_erased() {
            self.read_to = self.read_to.min(row);
        }
        let mut steps = Vec::new();
        let block = self.last_block();
        let end = match &block {
            Block::Prompt(drawn) => drawn.row,
            Block::Unfinished(row) => *row,
            Block::None => self.page.row(),
        };
        self.read_rows(end, &mut steps);
        match block {
            Block::Prompt(drawn) => {
                let below = drawn.end;
                self.ask(drawn, &mut steps);
                // 2026.7.1 leaves a prompt behind when the browser came back by itself.
                if self.page.row() > below {
                    self.read_to = self.read_to.max(below);
                    self.read_rows(self.page.row(), &mut steps);
                }
            }
            Block::Unfinished(_) => {}
            // While it is redrawn it is not there for a moment.
            Block::None => {
                let (page, read_to) = (&self.page, self.read_to);
                self.active = self.active.take().filter(|active| {
                    active.row >= read_to || matches!(page.mark(active.row), Some('◆' | '▲'))
                });
            }
        }
        steps
    }

    /// What is left when the program has ended.
    pub fn finish(&mut self) -> Vec<LoginStep> {
        let mut steps = Vec::new();
        self.active = None;
        self.read_rows(self.page.end(), &mut steps);
        steps
    }

    /// The last line it said outside of notes: when it fails, that is why.
    pub fn last_line(&self) -> Option<&str> {
        self.last_line.as_deref()
    }

    /// The keys that answer a question with a text. From then on the text is kept out of all steps.
    ///
    /// # Errors
    /// `usage` when this is not what is asked; `secret.whitespace` for a text of several lines.
    pub fn keys_for(&mut self, ask: u32, text: &Secret) -> Result<Zeroizing<Vec<u8>>> {
        let refusals = self.page.refusals();
        let active = self.asked(ask)?;
        if !matches!(active.what, AskKind::Text | AskKind::Secret) {
            return Err(not_asked(&say!("this question is answered by a choice")));
        }
        let answer = text.expose().trim();
        if answer.chars().any(char::is_control) {
            return Err(Error::new(
                ErrorCode::SecretWhitespace,
                say!("the answer contains a line break"),
            ));
        }
        active.answered = Some(refusals);
        let mut keys = Zeroizing::new(Vec::with_capacity(answer.len() + 2));
        if !answer.is_empty() {
            // Ctrl-U: a refused answer still stands in its field.
            keys.push(0x15);
            keys.extend_from_slice(answer.as_bytes());
            self.typed.extend(secret_parts(answer));
        }
        keys.push(b'\r');
        Ok(keys)
    }

    /// The keys that choose one of a question's choices, counted from 0.
    ///
    /// # Errors
    /// `usage` when this is not what is asked or there is no such choice.
    pub fn keys_to_choose(&mut self, ask: u32, choice: usize) -> Result<Vec<u8>> {
        let refusals = self.page.refusals();
        let active = self.asked(ask)?;
        if choice >= active.choices {
            return Err(not_asked(&say!("there is no such choice")));
        }
        active.answered = Some(refusals);
        let (key, steps): (&[u8], usize) = if choice >= active.current {
            (b"\x1b[B", choice - active.current)
        } else {
            (b"\x1b[A", active.current - choice)
        };
        let mut keys = key.repeat(steps);
        keys.push(b'\r');
        Ok(keys)
    }

    fn asked(&mut self, ask: u32) -> Result<&mut Active> {
        match &mut self.active {
            Some(active) if active.ask == ask && active.answered.is_none() => Ok(active),
            Some(_) | None => Err(not_asked(&say!("this question is no longer asked"))),
        }
    }

    fn ask(&mut self, drawn: Drawn, steps: &mut Vec<LoginStep>) {
        let refusals = self.page.refusals();
        if let Some(active) = &mut self.active
            && active.row == drawn.row
            && active.question == drawn.question
        {
            active.current = drawn.current;
            match active.answered {
                Some(before) if refusals > before && drawn.refusal.is_some() => {}
                Some(_) | None => return,
            }
        }
        if let Some(refusal) = &drawn.refusal {
            let line = redacted(refusal, &self.typed);
            self.last_line = Some(line.clone());
            steps.push(LoginStep::Said { line });
        }
        self.asks += 1;
        self.questions.insert(drawn.question.clone());
        self.active = Some(Active {
            ask: self.asks,
            row: drawn.row,
            question: drawn.question.clone(),
            what: drawn.what,
            choices: drawn.choices.len(),
            current: drawn.current,
            answered: None,
        });
        let redact = |text: &String| redacted(text, &self.typed);
        steps.push(LoginStep::Ask {
            ask: self.asks,
            question: redact(&drawn.question),
            what: drawn.what,
            choices: drawn.choices.iter().map(redact).collect(),
        });
    }

    /// The prompt at the end of the page, if the last block is one.
    fn last_block(&self) -> Block {
        let rows = self.page.first().max(self.read_to)..self.page.end();
        let Some(row) = rows
            .rev()
            .find(|row| self.page.mark(*row).is_some_and(|mark| "◆▲◇■".contains(mark)))
        else {
            return Block::None;
        };
        if !matches!(self.page.mark(row), Some('◆' | '▲')) {
            return Block::None;
        }
        let mut body = Vec::new();
        for below in row + 1..self.page.end() {
            match self.page.mark(below) {
                Some('│') => body.push(inside(&self.page.text(below))),
                Some('└') if below < self.page.row() => {
                    let refused = self.page.mark(row) == Some('▲');
                    let refusal = refused.then(|| inside(&self.page.text(below)));
                    let question = inside(&self.page.text(row));
                    return Block::Prompt(drawn(row..below + 1, question, &body, refusal));
                }
                Some('└') | None => return Block::Unfinished(row),
                // A line of a log has the same mark and no end.
                Some(_) => return Block::None,
            }
        }
        Block::Unfinished(row)
    }

    fn read_rows(&mut self, end: usize, steps: &mut Vec<LoginStep>) {
        for row in self.read_to.max(self.page.first())..end {
            let text = self.page.text(row);
            self.read_row(&text, steps);
        }
        self.read_to = self.read_to.max(end);
    }

    fn read_row(&mut self, text: &str, steps: &mut Vec<LoginStep>) {
        let mark = text.chars().next().unwrap_or(' ');
        match mark {
            '│' if self.in_box => self.say(&inside(text), Place::Note, steps),
            // A spacer, or the answer to a prompt.
            '│' => {}
            '├' | '╰' => self.in_box = false,
            '◇' | '◆' | '▲' | '■' | '●' | '┌' | '└' => {
                self.in_box = mark == '◇' && text.ends_with('╮');
                let line = inside(text);
                if !self.in_box && !self.questions.contains(&line) {
                    self.say(&line, Place::Line, steps);
                }
            }
            // Something is under way.
            '◒' | '◐' | '◓' | '◑' => {}
            _ => {
                self.in_box = false;
                // The banner, with a joke.
                if !text.starts_with("OpenClaw 20") {
                    self.say(text.trim(), Place::Line, steps);
                }
            }
        }
    }

    fn say(&mut self, text: &str, place: Place, steps: &mut Vec<LoginStep>) {
        if text.is_empty() {
            return;
        }
        let leads = self.leads_to_url || speaks_of_a_page(text);
        let mut rest = Vec::new();
        let mut found_url = false;
        for word in text.split_whitespace() {
            match address(word).filter(|url| opens(url, leads)) {
                Some(url) => {
                    found_url = true;
                    self.last_url = Some(url.to_string());
                    if self.urls.insert(url.to_string()) {
                        steps.push(LoginStep::Url { url: url.to_string() });
                    }
                }
                None => rest.push(word),
            }
        }
        self.leads_to_url = !found_url && speaks_of_a_page(text);
        if let Some(code) = device_code(text) {
            if self.codes.insert(code.clone()) {
                steps.push(LoginStep::DeviceCode {
                    code,
                    url: self.last_url.clone(),
                });
            }
            return;
        }
        let line = redacted(&rest.join(" "), &self.typed);
        let words = line.chars().filter(|c| c.is_alphanumeric()).count();
        if words < 2 || (found_url && rest.len() < 2) {
            return;
        }
        match place {
            Place::Line => self.last_line = Some(line.clone()),
            Place::Note => {}
        }
        if self.said.insert(line.clone()) {
            steps.push(LoginStep::Said { line });
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Line,
    Note,
}

fn drawn(rows: Range<usize>, question: String, body: &[String], refusal: Option<String>) -> Drawn {
    let option = |line: &&String| line.starts_with(['●', '○']);
    let lines: Vec<&String> = body.iter().filter(option).collect();
    let (what, options): (AskKind, Vec<&str>) = match lines[..] {
        // ● Yes / ○ No
        [line] if line.contains('●') && line.contains('○') => {
            (AskKind::Confirm, line.split(" / ").collect())
        }
        [] if asks_for_a_secret(&question) => (AskKind::Secret, Vec::new()),
        [] => (AskKind::Text, Vec::new()),
        _ => (AskKind::Choice, lines.iter().map(|line| line.as_str()).collect()),
    };
    Drawn {
        row: rows.start,
        end: rows.end,
        question,
        what,
        current: options
            .iter()
            .position(|option| option.starts_with('●'))
            .unwrap_or(0),
        choices: options
            .iter()
            .map(|option| option.trim_start_matches(['●', '○']).trim().to_owned())
            .collect(),
        refusal,
    }
}

/// The text of a row without its mark and frame.
fn inside(text: &str) -> String {
    let mut chars = text.chars();
    chars.next();
    chars.as_str().trim().trim_end_matches('│').trim_end().to_owned()
}

/// Of a pasted address the values of its query, of anything else all of it.
fn secret_parts(text: &str) -> Vec<Secret> {
    let url = Url::parse(text).ok();
    let pairs = url.iter().flat_map(|url| url.query_pairs());
    let values: Vec<Secret> = pairs
        .filter(|(_, value)| !value.is_empty())
        .map(|(_, value)| Secret::new(value))
        .collect();
    if values.is_empty() {
        vec![Secret::new(text)]
    } else {
        values
    }
}

fn asks_for_a_secret(question: &str) -> bool {
    let question = question.to_lowercase();
    let words = ["paste", "token", "key", "secret", "password", "code", "redirect"];
    words.iter().any(|word| question.contains(word))
}

fn speaks_of_a_page(text: &str) -> bool {
    let text = text.to_lowercase();
    ["open ", "open:", "visit", "browser", "go to"]
        .iter()
        .any(|word| text.contains(word))
}

/// The address in a word, without brackets and punctuation.
fn address(word: &str) -> Option<Url> {
    let start = word.find("http://").or_else(|| word.find("https://"))?;
    let address = word[start..].trim_end_matches(['>', ')', ']', '.', ',', '"', '\'', '`']);
    Url::parse(address).ok()
}

/// Whether an address is one of a sign-in: of a provider over TLS, or on this machine.
fn opens(url: &Url, leads: bool) -> bool {
    let signs_in = ["authorize", "oauth", "device", "login", "activate", "verify"]
        .iter()
        .any(|word| url.path().to_lowercase().contains(word));
    match (url.scheme(), url.host()) {
        ("https", Some(Host::Domain(host))) => {
            let help = host == "openclaw.ai" || host.ends_with(".openclaw.ai");
            !help && (signs_in || leads)
        }
        ("http", Some(Host::Domain("localhost"))) => signs_in,
        ("http", Some(Host::Ipv4(host))) => host.is_loopback() && signs_in,
        ("http", Some(Host::Ipv6(host))) => host.is_loopback() && signs_in,
        _ => false,
    }
}

/// `ABCD-EFGH` in "Code: ABCD-EFGH" or "enter the code ABCD-EFGH.".
fn device_code(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    words.find(|word| {
        let word = word.trim_end_matches(':').to_lowercase();
        word == "code" || word == "user_code"
    })?;
    let code = words.next()?.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let letters = code
        .chars()
        .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-');
    (letters && (4..=24).contains(&code.len())).then(|| code.to_owned())
}

fn not_asked(why: &str) -> Error {
    Error::new(ErrorCode::Usage, why).with_hint(say!("Answer the question that is shown now."))
}

#[cfg(test)]
mod tests;
