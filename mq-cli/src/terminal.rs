//! The reader's terminal: how wide it is, if there is one.

use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

/// Cells of a line where a terminal does not say.
const WIDTH_DEFAULT: usize = 80;

/// Cells below which nothing could be read any more.
const WIDTH_MIN: usize = 20;

/// Cells of a line of standard output; `None` if it is no terminal and lines may be as long as they are.
///
/// `COLUMNS` has the first word, as in other programs.
pub(crate) fn width() -> Option<usize> {
    let output = io::stdout();
    if !output.is_terminal() {
        return None;
    }
    let given = std::env::var("COLUMNS").ok();
    let given = given.and_then(|columns| columns.parse().ok());
    let own = || {
        tcgetwinsize(&output)
            .ok()
            .map(|size| usize::from(size.ws_col))
    };
    let width = given.or_else(own).filter(|width| *width > 0);
    Some(width.unwrap_or(WIDTH_DEFAULT).max(WIDTH_MIN))
}
