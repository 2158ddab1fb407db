//! `mq top`: a store at work, on a terminal, until a key ends it; or one picture of it as text.

mod draw;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::time::Duration;

use mq::control::{Answer, Call, TopJson};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::args::Data;
use crate::clock::Stopwatch;
use crate::exit::{Failure, Result};
use crate::output::Output;
use crate::signal::{self, Stopped};
use crate::target::Target;
use crate::{terminal, values};

const EXAMPLES: &str = "\
Examples:
  mq top --data ./data
  mq top --data ./data --every 5s
  mq top --data ./data --once

q, Esc and Ctrl-C end it; any other key looks again at once. Rates are those of the last minute.";

/// How long after a signal the terminal is its owner's again, at most.
const SIGNAL_WITHIN: Duration = Duration::from_millis(200);

/// Cells of a line where output goes elsewhere than to a terminal.
const WIDTH_DEFAULT: usize = 100;

/// Arguments of `mq top`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: Data,
    /// How often to look again
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::duration)]
    every: Duration,
    /// Print one picture as text, and end
    #[arg(long)]
    once: bool,
}

/// Runs `mq top`.
///
/// # Errors
/// When the store cannot be reached, or its owner ends; with [`Exit::Usage`](crate::exit::Exit::Usage) if there is no terminal.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if !arguments.once && !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "standard output is no terminal; use --once to print one picture.",
        ));
    }
    Target::visit(&arguments.data, |target, output| {
        if arguments.once {
            let width = terminal::width().unwrap_or(WIDTH_DEFAULT);
            return print(&look(target)?, width, output);
        }
        let stopped = signal::on_stop(|| {})?;
        let mut screen = ratatui::try_init()?;
        let shown = show(target, &mut screen, arguments.every, &stopped);
        ratatui::try_restore()?;
        shown
    })
}

fn look(target: &Target) -> Result<TopJson> {
    target.ask(Call::Top {}, |answer| match answer {
        Answer::Top(top) => Some(*top),
        _ => None,
    })
}

/// Draws until a key or a signal ends it. A change of the terminal's size is drawn at once; any other key looks again.
fn show(
    target: &Target,
    screen: &mut ratatui::DefaultTerminal,
    every: Duration,
    stopped: &Stopped,
) -> Result {
    loop {
        let top = look(target)?;
        screen.draw(|frame| draw::draw(frame, &top))?;
        let since = Stopwatch::start();
        loop {
            let left = every.saturating_sub(since.elapsed());
            if stopped.is_set() {
                return Ok(());
            }
            if !event::poll(left.min(SIGNAL_WITHIN))? {
                if left.is_zero() {
                    break;
                }
                continue;
            }
            match event::read()? {
                Event::Key(key) if ends(key) => return Ok(()),
                Event::Key(key) if key.kind == KeyEventKind::Press => break,
                Event::Resize(..) => {
                    screen.draw(|frame| draw::draw(frame, &top))?;
                }
                _ => {}
            }
        }
    }
}

/// Whether a key ends the view.
fn ends(key: KeyEvent) -> bool {
    let is_interrupt =
        key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_end = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (is_interrupt || is_end)
}

/// One picture as text, as tall as it needs to be.
fn print(top: &TopJson, width: usize, output: &mut Output) -> Result {
    for line in picture(top, width) {
        output.line(line)?;
    }
    Ok(())
}

/// The lines of a picture.
fn picture(top: &TopJson, width: usize) -> Vec<String> {
    let width = u16::try_from(width).unwrap_or(u16::MAX);
    let height = draw::height(top, width);
    let Ok(mut screen) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = screen.draw(|frame| draw::draw(frame, top));
    let buffer = screen.backend().buffer();
    let rows = buffer.content().chunks(usize::from(width.max(1)));
    let lines = rows.map(|row| {
        row.iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    });
    lines.map(|line| line.trim_end().to_owned()).collect()
}
