//! Standard output: buffered, flushed when asked, JSON or tables. Data goes here; remarks go to standard error.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::exit::Result;
use crate::{table, terminal};

/// Says something on standard error, as `mq: REMARK`.
///
/// If standard error is closed or full the remark is lost: what it is about has happened all the same, and the exit code tells it.
pub(crate) fn remark(remark: impl Display) {
    writeln!(io::stderr(), "mq: {remark}").ok();
}

/// Where a verb prints what it was asked for.
#[derive(Debug)]
pub(crate) struct Output<W: Write = Stdout> {
    to: BufWriter<W>,
    /// Cells of a line, if it is a terminal.
    width: Option<usize>,
}

impl Output {
    /// The program's standard output.
    pub(crate) fn stdout() -> Output {
        Output {
            width: terminal::width(),
            ..Output::new(io::stdout())
        }
    }
}

impl<W: Write> Output<W> {
    /// Prints to `to`.
    pub(crate) fn new(to: W) -> Output<W> {
        Output {
            to: BufWriter::new(to),
            width: None,
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
        for line in table::lines(headings, rows, self.width) {
            writeln!(self.to, "{line}")?;
        }
        Ok(())
    }

    /// Prints names with their values, the values below each other; on a narrow terminal a value stands below its name.
    /// Values must be safe to print.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn facts<N: Display, V: Display>(
        &mut self,
        facts: impl IntoIterator<Item = (N, V)>,
    ) -> io::Result<()> {
        let facts: Vec<(String, String)> = facts
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let pad = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let is_narrow = self.width.is_some_and(|width| width < 2 * pad);
        for (name, value) in facts {
            if is_narrow {
                writeln!(self.to, "{name}\n  {value}")?;
            } else {
                writeln!(self.to, "{name:<pad$} {value}")?;
            }
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
