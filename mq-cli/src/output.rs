//! Standard output: buffered, flushed when asked, JSON or tables. Data goes here; remarks go to standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::exit::Result;

/// Where a verb prints what it was asked for.
#[derive(Debug)]
pub(crate) struct Output<W: Write = Stdout> {
    to: BufWriter<W>,
}

impl Output {
    /// The program's standard output.
    pub(crate) fn stdout() -> Output {
        Output::new(io::stdout())
    }
}

impl<W: Write> Output<W> {
    /// Prints to `to`.
    pub(crate) fn new(to: W) -> Output<W> {
        Output {
            to: BufWriter::new(to),
        }
    }

    /// Prints one line.
    ///
    /// # Errors
    /// When the reader is gone or the device is full.
    pub(crate) fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.to, "{line}")
    }

    /// Prints a value as one line of JSON.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result {
        serde_json::to_writer(&mut self.to, value)?;
        self.to.write_all(b"\n")?;
        Ok(())
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)
    }

    /// Prints rows below their headings. Cells must be safe to print.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn table(&mut self, headings: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(headings.to_vec())
            .add_rows(rows);
        for line in table.lines() {
            writeln!(self.to, "{}", line.trim())?;
        }
        Ok(())
    }

    /// Hands everything printed so far to the reader.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(print: impl FnOnce(&mut Output<&mut Vec<u8>>)) -> String {
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes);
        print(&mut output);
        output.flush().unwrap();
        drop(output);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_table_lines_up_under_its_headings() {
        let rows = vec![
            vec!["mail".to_owned(), "7".to_owned()],
            vec!["images".to_owned(), "12".to_owned()],
        ];
        let text = printed(|output| output.table(&["QUEUE", "READY"], rows).unwrap());
        assert_eq!(text, "QUEUE   READY\nmail    7\nimages  12\n");
    }

    #[test]
    fn json_is_one_line_whatever_is_in_it() {
        let text = printed(|output| output.json(&vec!["a\nb", "\u{1b}"]).unwrap());
        assert_eq!(text, "[\"a\\nb\",\"\\u001b\"]\n");
    }
}
