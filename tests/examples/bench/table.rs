//! The table that is printed: Markdown, so that it can go into the README as it is.

use std::fmt;

/// What a figure must keep to.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    None,
    /// Measured, and the greatest allowed.
    AtMost(f64, f64),
    /// Measured, and the least allowed.
    AtLeast(f64, f64),
}

#[derive(Debug, Default)]
pub struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: String,
    measured: String,
    limit: Limit,
    note: String,
}

impl Table {
    pub fn add(&mut self, what: &str, measured: impl Into<String>, limit: Limit, note: &str) {
        let row = Row {
            what: what.to_owned(),
            measured: measured.into(),
            limit,
            note: note.to_owned(),
        };
        eprintln!("{}: {}", row.what.trim(), row.measured);
        self.0.push(row);
    }

    pub fn is_within_limits(&self) -> bool {
        self.0.iter().all(|row| row.limit.is_kept())
    }
}

impl Limit {
    fn is_kept(self) -> bool {
        match self {
            Limit::None => true,
            Limit::AtMost(measured, most) => measured <= most,
            Limit::AtLeast(measured, least) => measured >= least,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, limit, ratio) = match self {
            Limit::None => return formatter.write_str(" | "),
            Limit::AtMost(measured, most) => ("at most", most, measured / most),
            Limit::AtLeast(measured, least) => ("at least", least, measured / least),
        };
        let verdict = if self.is_kept() { "" } else { " **missed**" };
        write!(formatter, "{word} {limit} | {ratio:.2}{verdict}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| what | measured | limit | measured ÷ limit | note |")?;
        writeln!(formatter, "|---|---:|---|---:|---|")?;
        for Row {
            what,
            measured,
            limit,
            note,
        } in &self.0
        {
            writeln!(formatter, "| {what} | {measured} | {limit} | {note} |")?;
        }
        Ok(())
    }
}
