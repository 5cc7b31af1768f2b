//! Tables for people: a header, columns as wide as what stands in them, and a last one that is not
//! padded. In a terminal they keep to its width: the last column is wrapped, the widest of the
//! others are cut short in the middle. Elsewhere everything stands there in full.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output;

/// Between two columns.
const GAP: usize = 2;
/// No column is made narrower.
const NARROWEST: usize = 8;
/// What the others leave to the last one.
const LAST: usize = 28;

/// Prints rows under a header; a column in which nothing stands is left out.
pub fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) {
    let used = used(&rows);
    let mut all = vec![header.map(str::to_owned)];
    all.extend(rows);
    fitted(0, &all, used, output::terminal_width())
        .iter()
        .for_each(output::line);
}

/// Rows without a header, each as the lines of one text. `width` is that of a terminal.
pub fn columns<const N: usize>(indent: usize, rows: &[[String; N]], width: Option<usize>) -> Vec<String> {
    fitted(indent, rows, used(rows), width)
}

/// Prints a text, wrapped where there is a terminal.
pub fn paragraph(indent: usize, text: impl Into<String>) {
    columns(indent, &[[text.into()]], output::terminal_width())
        .iter()
        .for_each(output::line);
}

/// The columns in which something stands.
fn used<const N: usize>(rows: &[[String; N]]) -> Vec<usize> {
    let something = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
    (0..N).filter(something).collect()
}

fn fitted<const N: usize>(
    indent: usize,
    rows: &[[String; N]],
    used: Vec<usize>,
    width: Option<usize>,
) -> Vec<String> {
    let Some((&last, others)) = used.split_last() else {
        return Vec::new();
    };
    let widest = |column: &usize| rows.iter().map(|row| row[*column].width()).max().unwrap_or(0);
    let mut widths: Vec<usize> = others.iter().map(widest).collect();
    let mut room = None;
    if let Some(width) = width {
        let free = width.saturating_sub(indent + GAP * others.len());
        shrink(&mut widths, free.saturating_sub(widest(&last).min(LAST)));
        room = Some(free.saturating_sub(widths.iter().sum()).max(NARROWEST));
    }
    let begin = indent + widths.iter().map(|width| width + GAP).sum::<usize>();
    let line = |row: &[String; N]| {
        let mut text = " ".repeat(indent);
        for (column, width) in others.iter().zip(&widths) {
            let cell = shortened(&row[*column], *width);
            text.push_str(&cell);
            text.extend(std::iter::repeat_n(' ', width - cell.width() + GAP));
        }
        let end = match room {
            Some(room) => wrapped(&row[last], room).join(&format!("\n{}", " ".repeat(begin))),
            None => row[last].clone(),
        };
        text.push_str(&end);
        text.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Takes from the widest column until all have room.
fn shrink(widths: &mut [usize], room: usize) {
    while widths.iter().sum::<usize>() > room
        && let Some(widest) = widths.iter_mut().max()
        && *widest > NARROWEST
    {
        *widest -= 1;
    }
}

/// The text with its middle left out where it is wider.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head = taken(text.chars(), kept.div_ceil(2));
    let tail: String = taken(text.chars().rev(), kept / 2).chars().rev().collect();
    format!("{head}…{tail}")
}

/// As many characters as the width has room for.
fn taken(chars: impl Iterator<Item = char>, width: usize) -> String {
    let mut left = width;
    let fits = |c: &char| {
        let wide = c.width().unwrap_or(0);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    chars.take_while(fits).collect()
}

/// The text in lines of this width, broken between words where it can be.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word = word;
        if !line.is_empty() {
            if line.width() + 1 + word.width() <= width {
                line.push(' ');
                line.push_str(word);
                continue;
            }
            lines.push(std::mem::take(&mut line));
        }
        while word.width() > width {
            let piece = taken(word.chars(), width);
            if piece.is_empty() {
                break;
            }
            word = &word[piece.len()..];
            lines.push(piece);
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    fn lines<const N: usize>(rows: &[[&str; N]], width: Option<usize>) -> Vec<String> {
        let rows: Vec<_> = rows.iter().map(|cells| row(*cells)).collect();
        columns(0, &rows, width)
    }

    #[test]
    fn columns_are_aligned_by_what_is_seen_and_the_last_one_is_not_padded() {
        let rows = [
            ["PROFILE", "KIND", "NOTE"],
            ["openai:ada", "login", ""],
            ["google:太郎", "API key", "in main's store"],
            ["x:e\u{301}", "token", "end"],
        ];
        let expected = [
            "PROFILE      KIND     NOTE",
            "openai:ada   login",
            "google:太郎  API key  in main's store",
            "x:e\u{301}          token    end",
        ];
        assert_eq!(lines(&rows, None), expected);
        assert_eq!(lines(&rows, Some(80)), expected);
    }

    #[test]
    fn a_column_in_which_nothing_stands_is_left_out_whatever_its_header() {
        let rows = [row(["main", "", "/a"]), row(["work", "", "/b"])];
        assert_eq!(used(&rows), [0, 2]);
        assert_eq!(columns(2, &rows, None), ["  main  /a", "  work  /b"]);
        assert!(columns(0, &[row(["", ""])], None).is_empty());
    }

    #[test]
    fn a_narrow_terminal_wraps_the_last_column_and_cuts_the_others_in_the_middle() {
        let id = "openai-codex:a.very.long.name.of.somebody@department.example.com";
        let note = "it expired two hours ago and nobody has renewed it";
        let rows = [[id, "/a/very/long/path/to/a/store/of/accounts", "oauth", note]];
        let full = lines(&rows, None);
        assert!(full[0].contains(id) && full[0].ends_with(note), "{full:?}");
        let narrow = lines(&rows, Some(80)).join("\n");
        assert!(narrow.lines().all(|line| line.width() <= 80), "{narrow}");
        // the wide ones give, a narrow one nothing
        let begin = "openai-cod…xample.com  /a/very/lo…/accounts  oauth  it expired";
        assert!(narrow.starts_with(begin), "{narrow}");
        let words: Vec<&str> = narrow.split_whitespace().collect();
        assert!(words.join(" ").ends_with(note), "{narrow}");
        for width in 1..40 {
            assert!(!lines(&rows, Some(width)).is_empty());
        }
    }

    #[test]
    fn a_word_that_is_wider_than_its_line_is_broken_and_nothing_is_lost() {
        let path = "/home/ada/.openclaw/agents/main/agent/auth-profiles.json";
        let broken = wrapped(&format!("in {path}"), 20);
        assert!(broken.iter().all(|line| line.width() <= 20), "{broken:?}");
        assert_eq!(broken.concat(), format!("in{path}"));
        assert_eq!(wrapped("太郎太", 3), ["太", "郎", "太"]);
    }

    #[test]
    fn what_is_cut_keeps_both_ends_and_the_width() {
        assert_eq!(shortened("openai:ada@example.com", 22), "openai:ada@example.com");
        assert_eq!(shortened("openai:ada@example.com", 11), "opena…e.com");
        assert_eq!(shortened("太郎太郎太郎", 8).width(), 7);
    }
}
