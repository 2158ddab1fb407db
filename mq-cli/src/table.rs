//! Rows below headings, as wide as the reader's terminal: what does not fit is laid out anew, never wrapped.
//!
//! A table that fits, or whose output is no terminal, stands as it is. One that is a little too wide has its last column
//! cut. Any other is shown as one block for each row, a line for each column, with the first column (an id or a name)
//! whole, because people copy it.

use comfy_table::{Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Cells that the last column keeps if it is cut.
const LAST_COLUMN_MIN: usize = 16;

/// The lines of a table within `width` cells; cells must be safe to print.
pub(crate) fn lines(
    headings: &[&str],
    rows: Vec<Vec<String>>,
    width: Option<usize>,
) -> Vec<String> {
    let Some(width) = width else {
        return side_by_side(headings, rows);
    };
    let natural = widths(headings, &rows);
    let total: usize = natural
        .iter()
        .map(|width| width + 2)
        .sum::<usize>()
        .saturating_sub(2);
    let last = natural.last().copied().unwrap_or_default();
    let over = total.saturating_sub(width);
    if over == 0 {
        return side_by_side(headings, rows);
    }
    if last.saturating_sub(over) >= LAST_COLUMN_MIN {
        return side_by_side(headings, cut_last(rows, last.saturating_sub(over)));
    }
    blocks(headings, &rows, width)
}

/// Cells of each column.
fn widths(headings: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let column = |index: usize, heading: &&str| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        let widest = cells.map(|cell| cell.width()).max();
        widest.unwrap_or_default().max(heading.width())
    };
    let columns = headings.iter().enumerate();
    columns
        .map(|(index, heading)| column(index, heading))
        .collect()
}

fn side_by_side(headings: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(headings.to_vec())
        .add_rows(rows);
    table.lines().map(|line| line.trim().to_owned()).collect()
}

fn cut_last(mut rows: Vec<Vec<String>>, width: usize) -> Vec<Vec<String>> {
    for cell in rows.iter_mut().filter_map(|row| row.last_mut()) {
        *cell = cut(cell, width);
    }
    rows
}

fn blocks(headings: &[&str], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let label = headings.iter().map(|heading| heading.width()).max();
    let label = label.unwrap_or_default();
    let room = width.saturating_sub(label + 1);
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        for (index, (heading, cell)) in headings.iter().zip(row).enumerate() {
            match cell.width() {
                0 => {}
                needed if needed <= room => lines.push(format!("{heading:<label$} {cell}")),
                // It stands on a line of its own, where at least its beginning is together.
                _ if index == 0 => lines.push(cell.clone()),
                _ if room < LAST_COLUMN_MIN => {
                    lines.push((*heading).to_owned());
                    lines.push(cut(&format!("  {cell}"), width));
                }
                _ => lines.push(format!("{heading:<label$} {}", cut(cell, room))),
            }
        }
    }
    lines
}

/// As much of `text` as fits into `width` cells, with a mark if it is not all.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let mut kept = String::new();
    for character in text.chars() {
        used += character.width().unwrap_or_default();
        if used > width {
            break;
        }
        kept.push(character);
    }
    kept.push('\u{2026}');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> Vec<String> {
        let id = "00000000-03e8-7000-8000-00001c000003";
        let rows = vec![
            vec![
                id.to_owned(),
                "mail".to_owned(),
                "card declined by the bank".to_owned(),
            ],
            vec![id.to_owned(), "\u{6ce8}\u{6587}".to_owned(), String::new()],
        ];
        lines(&["ID", "QUEUE", "LAST ERROR"], rows, width)
    }

    #[test]
    fn a_table_that_fits_and_one_for_a_pipe_stand_as_they_are() {
        assert_eq!(table(None), table(Some(1_000)));
        assert!(table(None)[1].ends_with("mail   card declined by the bank"));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_but_an_id_that_must_be_whole() {
        for width in 20..120 {
            for line in table(Some(width)) {
                let is_id = line.starts_with("00000000-") && line.width() == 36;
                assert!(line.width() <= width || is_id, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_little_too_wide_cuts_the_last_column() {
        let cut = table(Some(66));
        assert!(cut[1].ends_with("card declined by the\u{2026}"), "{cut:?}");
        assert_eq!(cut.len(), 3);
    }

    #[test]
    fn much_too_wide_is_a_block_for_each_row() {
        let lines = table(Some(20));
        let expected = [
            "00000000-03e8-7000-8000-00001c000003",
            "QUEUE      mail",
            "LAST ERROR",
            "  card declined by \u{2026}",
            "",
            "00000000-03e8-7000-8000-00001c000003",
            "QUEUE      \u{6ce8}\u{6587}",
        ];
        assert_eq!(lines, expected);
    }
}
