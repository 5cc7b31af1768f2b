//! What stands on a terminal, as an endless page: rows are never scrolled away and never wrapped,
//! so that an address stays in one piece. Knows the cursor movements and erasures that the prompts
//! of OpenClaw (2026.6.1 to 2026.9.6) use; colours and modes say nothing about the text.
//!
//! A terminal echoes what is typed: rows may hold secrets, are wiped when dropped, and leave this
//! module only through the reader of prompts.

use vte::{Params, Perform};
use zeroize::Zeroizing;

crate::keeps_raw_secret!(Page);

/// Far more than a sign-in says; beyond it the oldest half is forgotten.
const MAX_ROWS: usize = 4000;
/// Addresses of a sign-in stay below half of it. A page of full rows takes 64 MB.
const MAX_COLUMNS: usize = 4 * 1024;
/// The mark of an answer that was not accepted.
const REFUSED: char = '▲';

/// The page and its cursor.
#[derive(Default)]
pub(super) struct Page {
    rows: Vec<Zeroizing<Vec<char>>>,
    /// How many rows were forgotten: rows are numbered from the first there ever was.
    forgotten: usize,
    row: usize,
    column: usize,
    refusals: usize,
    erased: Option<usize>,
}

impl Page {
    /// The row of the cursor.
    pub fn row(&self) -> usize {
        self.forgotten + self.row
    }

    /// The first row that is still known.
    pub fn first(&self) -> usize {
        self.forgotten
    }

    /// One behind the last row.
    pub fn end(&self) -> usize {
        self.forgotten + self.rows.len()
    }

    /// The first row that was erased with all below it since this was asked last: what stands
    /// there now is new.
    pub fn take_erased(&mut self) -> Option<usize> {
        self.erased.take()
    }

    /// How often a prompt was drawn as refused.
    pub fn refusals(&self) -> usize {
        self.refusals
    }

    /// The text of a row without the spaces at its end.
    pub fn text(&self, row: usize) -> Zeroizing<String> {
        let cells = row
            .checked_sub(self.forgotten)
            .and_then(|index| self.rows.get(index));
        let text: String = cells.into_iter().flat_map(|cells| cells.iter()).collect();
        Zeroizing::new(text.trim_end().to_owned())
    }

    /// The first character of a row.
    pub fn mark(&self, row: usize) -> Option<char> {
        let cells = self.rows.get(row.checked_sub(self.forgotten)?)?;
        cells.first().copied()
    }

    fn cells(&mut self) -> &mut Zeroizing<Vec<char>> {
        if self.row >= MAX_ROWS {
            let half = MAX_ROWS / 2;
            self.rows.drain(..half.min(self.rows.len()));
            self.forgotten += half;
            self.row -= half;
        }
        while self.rows.len() <= self.row {
            self.rows.push(Zeroizing::default());
        }
        &mut self.rows[self.row]
    }

    fn down(&mut self, rows: usize) {
        self.row = (self.row + rows).min(MAX_ROWS);
        self.cells();
    }

    /// The cursor alone makes no new rows.
    fn down_to_known(&mut self, rows: usize) {
        let last = self.rows.len().saturating_sub(1);
        self.row = (self.row + rows).min(last.max(self.row));
    }

    fn erase_in_row(&mut self, what: u16) {
        let column = self.column;
        let cells = self.cells();
        match what {
            0 => cells.truncate(column),
            1 => {
                let end = cells.len().min(column + 1);
                cells[..end].fill(' ');
            }
            _ => cells.clear(),
        }
    }

    fn erase_below(&mut self, what: u16) {
        match what {
            0 => {
                self.erase_in_row(0);
                self.rows.truncate(self.row + 1);
                let row = self.row();
                self.erased = Some(self.erased.map_or(row, |erased| erased.min(row)));
            }
            1 => {
                self.erase_in_row(1);
                for cells in &mut self.rows[..self.row] {
                    cells.clear();
                }
            }
            // What stood on a cleared screen is not taken back: it was shown.
            _ => {
                self.row = self.rows.len();
                self.column = 0;
                self.cells();
            }
        }
    }
}

impl Perform for Page {
    fn print(&mut self, c: char) {
        let column = self.column;
        if column >= MAX_COLUMNS {
            return;
        }
        if column == 0 && c == REFUSED {
            self.refusals += 1;
        }
        let cells = self.cells();
        while cells.len() <= column {
            cells.push(' ');
        }
        cells[column] = c;
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.down(1),
            b'\r' => self.column = 0,
            0x08 => self.column = self.column.saturating_sub(1),
            b'\t' => self.column = (self.column / 8 + 1) * 8,
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _ignore: bool, action: char) {
        if !intermediates.is_empty() {
            return;
        }
        let first = params.iter().next().and_then(|param| param.first()).copied();
        let count = usize::from(first.unwrap_or(1).max(1));
        match action {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => self.down_to_known(count),
            'C' => self.column = (self.column + count).min(MAX_COLUMNS),
            'D' => self.column = self.column.saturating_sub(count),
            'E' => {
                self.down_to_known(count);
                self.column = 0;
            }
            'F' => {
                self.row = self.row.saturating_sub(count);
                self.column = 0;
            }
            'G' => self.column = (count - 1).min(MAX_COLUMNS),
            'J' => self.erase_below(first.unwrap_or(0)),
            'K' => self.erase_in_row(first.unwrap_or(0)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(output: &str) -> Page {
        let mut page = Page::default();
        vte::Parser::new().advance(&mut page, output.as_bytes());
        page
    }

    fn rows(page: &Page) -> Vec<String> {
        (page.first()..page.end())
            .map(|row| page.text(row).to_string())
            .collect()
    }

    #[test]
    fn a_prompt_is_redrawn_in_its_place() {
        let asked =
            page("│\r\n◆  Name\r\n│  _\r\n└\r\n\x1b[999D\x1b[4A\x1b[1B\x1b[J◇  Name\r\n│  Ada\r\ndone");
        assert_eq!(rows(&asked), ["│", "◇  Name", "│  Ada", "done"]);
        let erased = page("\x1b[32mone\x1b[0m\r\x1b[2Ktwo\x1b[1D!\r\nthree\x1b[2D\x1b[K");
        assert_eq!(rows(&erased), ["tw!", "thr"]);
    }

    #[test]
    fn a_page_without_end_forgets_its_beginning_and_keeps_its_numbers() {
        let lines: String = (0..5000).map(|line| format!("{line}\r\n")).collect();
        let page = page(&lines);
        assert_eq!(page.row(), 5000);
        assert_eq!(*page.text(4999), "4999");
        assert_eq!(*page.text(10), "");
        assert!(page.end() - page.first() <= MAX_ROWS + 1);
    }

    #[test]
    fn whatever_is_drawn_takes_little_memory() {
        let page = page(&format!("\x1b[{MAX_COLUMNS}Gx\r\n").repeat(MAX_ROWS));
        let cells: usize = page.rows.iter().map(|cells| cells.capacity()).sum();
        let bytes = cells * size_of::<char>();
        assert!(bytes > 30_000_000, "only {bytes}");
        assert!(bytes < 70_000_000, "{bytes} bytes");
    }

    #[test]
    fn no_output_brings_it_out_of_step() {
        // A generator of its own: the same bytes in every run.
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as u8
        };
        let mut page = Page::default();
        let mut parser = vte::Parser::new();
        for _ in 0..200_000 {
            let byte = next();
            // Many of them in sequences that move the cursor.
            let bytes = [
                0x1b,
                b'[',
                b'0' + byte % 10,
                b"ABCDEFGHJKm"[usize::from(byte) % 11],
            ];
            if byte % 3 == 0 {
                parser.advance(&mut page, &bytes);
            } else {
                parser.advance(&mut page, &[next()]);
            }
        }
        assert!(page.row() <= page.end());
    }
}
